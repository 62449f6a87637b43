//! Foreign objects in the node: they must be the same before and after a scenario, and nothing else may be left.
//!
//! ```text
//! plant: tables of nftables, IP rules and routes, virtual servers of IPVS ──► Snapshot ─┐
//! the scenario; remove_all ─────────────────────────────────────────────────► Snapshot ─┴─► equal
//! ```
//!
//! Everything is compared whatever the backend: one that programs nftables alone has no business in IPVS either. Where
//! the kernel has no IPVS, nothing of it is planted or read.

mod routing;
mod servers;
mod tables;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use testbed::Namespace;

/// Kernel settings of a network namespace that a backend may change while it runs, besides all of IPVS.
const SETTINGS: [&str; 3] = ["ipv4/ip_forward", "ipv4/conf/all/arp_ignore", "ipv4/conf/all/arp_announce"];

/// Where IPVS keeps its own.
const IPVS_SETTINGS: &str = "/proc/sys/net/ipv4/vs";

/// What stood in the namespace before the agent came.
#[derive(Debug)]
pub(super) struct Foreign {
    before: Snapshot,
}

/// Everything in a namespace that a backend may touch, and what is said of it, as text for a reader of the difference.
#[derive(Debug, PartialEq, Eq)]
struct Snapshot(BTreeMap<String, String>);

impl Foreign {
    /// Makes the foreign objects.
    pub(super) fn plant(namespace: &Namespace) -> Result<Self, String> {
        inside(namespace, async {
            tables::plant().await?;
            routing::plant().await?;
            servers::plant().await
        })?;
        Ok(Self { before: now(namespace)? })
    }

    /// What is another than before.
    pub(super) fn difference(&self, namespace: &Namespace) -> Option<String> {
        match now(namespace) {
            Ok(after) if after == self.before => None,
            Ok(after) => Some(self.before.difference(&after)),
            Err(error) => Some(error),
        }
    }
}

impl Snapshot {
    fn difference(&self, after: &Self) -> String {
        let mut text = String::new();
        for (object, value) in self.0.iter().filter(|(object, value)| after.0.get(*object) != Some(value)) {
            let now = after.0.get(object).map_or("gone", String::as_str);
            text += &format!("{object}: before: {value}; after: {now}\n");
        }
        for (object, value) in after.0.iter().filter(|(object, _)| !self.0.contains_key(*object)) {
            text += &format!("{object}: was not there before: {value}\n");
        }
        text
    }
}

fn now(namespace: &Namespace) -> Result<Snapshot, String> {
    let mut all = inside(namespace, async {
        let mut all = tables::list().await?;
        all.extend(routing::list().await?);
        all.extend(servers::list().await?);
        Ok(all)
    })?;
    all.extend(namespace.run(settings)?);
    Ok(Snapshot(all))
}

fn settings() -> Result<BTreeMap<String, String>, String> {
    let mut files: Vec<PathBuf> = SETTINGS.iter().map(|name| format!("/proc/sys/net/{name}").into()).collect();
    files.extend(fs::read_dir(IPVS_SETTINGS).into_iter().flatten().flatten().map(|entry| entry.path()));
    let mut settings = BTreeMap::new();
    for file in files {
        let value = fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))?;
        settings.insert(format!("setting {}", file.display()), value.trim().to_owned());
    }
    Ok(settings)
}

/// Runs `work` in the namespace.
fn inside<T: Send>(namespace: &Namespace, work: impl Future<Output = Result<T, String>> + Send) -> Result<T, String> {
    namespace.run(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.map_err(|error| error.to_string())?.block_on(work)
    })
}

#[cfg(test)]
mod tests {
    use testbed::World;

    use super::*;
    use crate::plan;
    use crate::run::listing::nft;

    fn snapshot(others: &[(&str, &str)]) -> Snapshot {
        let others = others.iter().map(|(object, value)| ((*object).to_owned(), (*value).to_owned())).collect();
        Snapshot(others)
    }

    #[test]
    fn what_went_what_changed_and_what_was_left_is_named() {
        let before = snapshot(&[("rule 7000", "there"), ("setting a", "0"), ("setting b", "1")]);
        let after = snapshot(&[("rule 100", "there"), ("setting a", "1"), ("setting b", "1")]);
        let told = "rule 7000: before: there; after: gone\nsetting a: before: 0; after: 1\nrule 100: was not there before: there\n";
        assert_eq!(before.difference(&after), told);
    }

    #[test]
    fn a_rule_that_is_left_behind_is_noticed() {
        if testbed::privilege::skip() {
            return;
        }
        let world = World::build(&plan()).unwrap();
        let namespace = &world.node().namespace;
        let foreign = Foreign::plant(namespace).unwrap();
        assert_eq!(foreign.difference(namespace), None);
        inside(namespace, routing::leave_a_rule()).unwrap();
        let told = foreign.difference(namespace).expect("a rule more than before");
        assert!(told.contains("was not there before") && told.contains("Priority(101)"), "{told}");
    }

    #[test]
    fn a_table_that_comes_between_two_looks_is_noticed() {
        if testbed::privilege::skip_without("nft") {
            return;
        }
        let world = World::build(&plan()).unwrap();
        let namespace = &world.node().namespace;
        let foreign = Foreign::plant(namespace).unwrap();
        assert_eq!(foreign.difference(namespace), None);
        nft(namespace, &["-f", "-"], "table inet late {\n set s { type ipv4_addr; }\n}\n").unwrap().unwrap();
        let told = foreign.difference(namespace).expect("a table more than before");
        assert!(told.contains("table of nftables, family 1: late") && told.contains("set of nftables"), "{told}");
    }

    #[test]
    fn a_foreign_element_that_goes_is_noticed() {
        if testbed::privilege::skip_without("nft") {
            return;
        }
        let world = World::build(&plan()).unwrap();
        let namespace = &world.node().namespace;
        let foreign = Foreign::plant(namespace).unwrap();
        nft(namespace, &["delete", "element", "ip", "foreign", "names", "{ 192.0.2.7 }"], "").unwrap().unwrap();
        let told = foreign.difference(namespace).expect("an element less");
        assert!(told.contains("elements of Ipv4 foreign names"), "{told}");
    }
}
