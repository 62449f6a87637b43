//! The fields of the configuration file as a list, for the documentation: `docs/configuration.md` is made of it, and of
//! the flags as clap has them (`tests/docs/configuration.rs`).

use serde_json::Value;

use super::file::{EFFECTS, configz};
use super::idle::IDLE;
use super::settings::Config;

/// A field of the configuration file.
#[derive(Clone, Debug, PartialEq)]
pub struct FieldReference {
    /// Where it is: `conntrack.min`.
    pub path: &'static str,
    /// The long name of the flag that has the same effect.
    pub flag: Option<&'static str>,
    /// Its value if nothing is written; `None` if it depends on the node, or has none.
    pub default: Option<Value>,
    /// What it does.
    pub effect: Effect,
}

/// What a field does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// What its flag does, if it has one, and what is said here.
    Is(&'static str),
    /// Nothing, for this reason.
    Nothing(&'static str),
}

/// Every field of the configuration file; those with an effect come first.
pub fn fields() -> Vec<FieldReference> {
    // Any name will do: the field for it has no default that is the same on every node.
    let node = "node".parse().expect("a node's name");
    let form = configz(&Config::new(node));
    let mut fields = Vec::new();
    for (path, flag, note) in EFFECTS {
        let default = default_of(&form, path).filter(|_| path != "hostnameOverride");
        fields.push(FieldReference { path, flag, default, effect: Effect::Is(note) });
    }
    for idle in &IDLE {
        for path in idle.fields {
            let default = default_of(&form, path);
            fields.push(FieldReference { path, flag: idle.flag, default, effect: Effect::Nothing(idle.why) });
        }
    }
    fields
}

fn default_of(form: &Value, path: &str) -> Option<Value> {
    form.pointer(&format!("/{}", path.replace('.', "/"))).cloned()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// The paths of `form`, but for those below a field of the list.
    fn paths(form: &Value, above: &str, known: &BTreeSet<&str>) -> Vec<String> {
        match form {
            Value::Object(section) if !known.contains(above) => {
                let below = |(name, value): (&String, &Value)| {
                    let path = if above.is_empty() { name.clone() } else { format!("{above}.{name}") };
                    paths(value, &path, known)
                };
                section.iter().flat_map(below).collect()
            }
            _ => vec![above.to_owned()],
        }
    }

    #[test]
    fn every_field_that_is_written_is_in_the_list_and_is_there_once() {
        let listed = fields();
        let known: BTreeSet<&str> = listed.iter().map(|field| field.path).collect();
        assert_eq!(known.len(), listed.len());
        let form = configz(&Config::new("node".parse().unwrap()));
        for path in paths(&form, "", &known) {
            assert!(known.contains(path.as_str()), "{path} has no line in EFFECTS or IDLE");
        }
        let gone = listed.iter().filter(|field| field.default.is_none() && field.path != "hostnameOverride");
        let gone: Vec<_> = gone.map(|field| field.path).collect();
        assert_eq!(gone, ["udpIdleTimeout", "resourceContainer", "conntrack.max"]);
    }
}
