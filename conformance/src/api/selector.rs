//! Label and field selectors, as far as a proxy uses them; others are refused as the real server does.

use serde_json::Value;

use super::store::Resource;

/// Which objects are meant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Selector {
    labels: Vec<Condition>,
    /// JSON pointers.
    fields: Vec<Condition>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Condition {
    Exists(String),
    Missing(String),
    Equals(String, String),
    Differs(String, String),
}

impl Selector {
    /// Reads both kinds of selector.
    pub(super) fn parse(resource: Resource, labels: &str, fields: &str) -> Result<Self, String> {
        let labels = parts(labels).map(label).collect::<Result<_, _>>()?;
        let fields = parts(fields).map(|part| field(resource, part)).collect::<Result<_, _>>()?;
        Ok(Self { labels, fields })
    }

    pub(super) fn chooses(&self, object: &Value) -> bool {
        self.labels
            .iter()
            .all(|label| label.holds(&|key| object["metadata"]["labels"].get(key).and_then(Value::as_str)))
            && self.fields.iter().all(|field| {
                field.holds(&|pointer| Some(object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()))
            })
    }
}

impl Condition {
    fn holds<'a>(&self, value: &dyn Fn(&str) -> Option<&'a str>) -> bool {
        match self {
            Self::Exists(key) => value(key).is_some(),
            Self::Missing(key) => value(key).is_none(),
            Self::Equals(key, wanted) => value(key) == Some(wanted),
            Self::Differs(key, unwanted) => value(key) != Some(unwanted),
        }
    }
}

fn parts(selector: &str) -> impl Iterator<Item = &str> {
    selector.split(',').map(str::trim).filter(|part| !part.is_empty())
}

fn label(part: &str) -> Result<Condition, String> {
    let condition = comparison(part).unwrap_or_else(|| match part.strip_prefix('!') {
        Some(key) => Condition::Missing(key.to_owned()),
        None => Condition::Exists(part.to_owned()),
    });
    let (Condition::Exists(key) | Condition::Missing(key) | Condition::Equals(key, _) | Condition::Differs(key, _)) =
        &condition;
    if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte)) {
        return Err(format!("unable to parse requirement: found '{part}', expected: a label"));
    }
    Ok(condition)
}

fn field(resource: Resource, part: &str) -> Result<Condition, String> {
    match comparison(part) {
        Some(Condition::Equals(key, value)) => Ok(Condition::Equals(pointer(resource, &key)?, value)),
        Some(Condition::Differs(key, value)) => Ok(Condition::Differs(pointer(resource, &key)?, value)),
        _ => Err(format!("invalid selector: '{part}'; can't understand it")),
    }
}

/// Where an object has this field.
fn pointer(resource: Resource, key: &str) -> Result<String, String> {
    match (key, resource) {
        ("metadata.name" | "metadata.namespace", _)
        | ("spec.clusterIP" | "spec.type", Resource::Services)
        | ("spec.unschedulable", Resource::Nodes) => Ok(format!("/{}", key.replace('.', "/"))),
        _ => Err(format!("field label not supported: {key}")),
    }
}

fn comparison(part: &str) -> Option<Condition> {
    if let Some((key, value)) = part.split_once("!=") {
        return Some(Condition::Differs(trimmed(key), trimmed(value)));
    }
    let (key, value) = part.split_once("==").or_else(|| part.split_once('='))?;
    Some(Condition::Equals(trimmed(key), trimmed(value)))
}

fn trimmed(text: &str) -> String {
    text.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn objects_are_chosen_by_labels_and_fields() {
        let object = json!({"metadata": {"name": "web", "labels": {"a/b": "c"}}, "spec": {"clusterIP": "None"}});
        for (labels, fields, expected) in [
            ("", "", true),
            ("a/b", "", true),
            ("!a/b", "", false),
            ("!x", "", true),
            ("a/b=c", "", true),
            ("a/b!=c,x!=y", "", false),
            ("x!=y", "metadata.name=web", true),
            ("", "metadata.name==other", false),
            ("", "spec.clusterIP!=None", false),
        ] {
            let selector = Selector::parse(Resource::Services, labels, fields).unwrap();
            assert_eq!(selector.chooses(&object), expected, "{labels} {fields}");
        }
    }

    #[test]
    fn what_the_real_server_does_not_know_is_refused() {
        for (labels, fields) in [("a b", ""), ("!", ""), ("", "spec.ports=1"), ("", "metadata.name")] {
            assert!(Selector::parse(Resource::Services, labels, fields).is_err(), "{labels} {fields}");
        }
        assert!(Selector::parse(Resource::Nodes, "", "spec.clusterIP!=None").is_err());
    }
}
