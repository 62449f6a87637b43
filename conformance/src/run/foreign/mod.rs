//! What is somebody else's in the node: it must be the same before and after a scenario, and nothing else be left.
//!
//! ```text
//! plant: a table of nftables, IP rules and routes, virtual servers of IPVS ──► Snapshot ─┐
//! the scenario; remove_all ─────────────────────────────────────────────────► Snapshot ─┴─► equal
//! ```
//!
//! Everything is compared whatever the backend: one that programs nftables alone has no business in IPVS either. Where the
//! kernel has no IPVS, nothing of it is planted or read.

mod routing;
mod servers;

use std::collections::BTreeMap;
use std::fs;
use std::sync::{Mutex, OnceLock, PoisonError};

use agent::world::Namespace;
use backend_nft::kernel::Nftables;

use super::listing::{nft, ruleset};

/// A foreign table with what ours is made of: chains at our priorities, a map, a set.
const TABLE: &str = "table inet foreign {
    map ports { type inet_service : ipv4_addr; elements = { 7777 : 192.0.2.7 }; }
    set names { type ipv4_addr; elements = { 192.0.2.8 }; }
    chain prerouting { type nat hook prerouting priority dstnat; ip daddr @names counter accept; }
    chain forward { type filter hook forward priority filter; policy accept; }
}
";

/// Kernel settings of a network namespace that a backend may change while it runs, besides all of IPVS.
const SETTINGS: [&str; 3] = ["ipv4/ip_forward", "ipv4/conf/all/arp_ignore", "ipv4/conf/all/arp_announce"];

/// Where IPVS keeps its own.
const IPVS_SETTINGS: &str = "/proc/sys/net/ipv4/vs";

/// What stood in the namespace before the agent came.
#[derive(Debug)]
pub(super) struct Foreign {
    before: Snapshot,
    /// The ruleset's generation when it was last found to be as before: while it is that, nobody has written.
    same_at: Mutex<Option<u32>>,
}

/// Everything in a namespace that a backend may touch, as text for whoever reads a difference.
#[derive(Debug, PartialEq, Eq)]
struct Snapshot {
    ruleset: String,
    /// What is said of each object: rules, routes, virtual servers, settings.
    others: BTreeMap<String, String>,
}

impl Foreign {
    /// Makes what is somebody else's.
    pub(super) fn plant(namespace: &Namespace) -> Result<Self, String> {
        // Not skipped: a check that is left out in silence looks like one that passed.
        nft(namespace, &["-f", "-"], TABLE)
            .ok_or("nft: not installed, others' rules cannot be watched without it")??;
        inside(namespace, async {
            routing::plant().await?;
            servers::plant().await
        })?;
        // The table that was just made, alone in a fresh world: every world's is listed alike.
        static RULESET: OnceLock<Result<String, String>> = OnceLock::new();
        let ruleset = RULESET.get_or_init(|| ruleset(namespace)).clone()?;
        Ok(Self { before: Snapshot { ruleset, others: others(namespace)? }, same_at: Mutex::default() })
    }

    /// What is another than before.
    pub(super) fn difference(&self, namespace: &Namespace) -> Option<String> {
        match self.now(namespace) {
            Ok(after) if after == self.before => None,
            Ok(after) => Some(self.before.difference(&after)),
            Err(error) => Some(error),
        }
    }

    fn now(&self, namespace: &Namespace) -> Result<Snapshot, String> {
        let mut same_at = self.same_at.lock().unwrap_or_else(PoisonError::into_inner);
        let generation = generation(namespace)?;
        let ruleset = match *same_at {
            Some(same) if same == generation => self.before.ruleset.clone(),
            _ => ruleset(namespace)?,
        };
        // Read before the listing: if somebody wrote in between, the next generation is another.
        *same_at = (ruleset == self.before.ruleset).then_some(generation);
        Ok(Snapshot { ruleset, others: others(namespace)? })
    }
}

impl Snapshot {
    fn difference(&self, after: &Self) -> String {
        let mut text = String::new();
        if self.ruleset != after.ruleset {
            text += &format!("before:\n{}\nafter:\n{}\n", self.ruleset, after.ruleset);
        }
        for (object, value) in self.others.iter().filter(|(object, value)| after.others.get(*object) != Some(value)) {
            let now = after.others.get(object).map_or("gone", String::as_str);
            text += &format!("{object}: before: {value}; after: {now}\n");
        }
        for (object, value) in after.others.iter().filter(|(object, _)| !self.others.contains_key(*object)) {
            text += &format!("{object}: was not there before: {value}\n");
        }
        text
    }
}

/// The generation of the namespace's ruleset.
fn generation(namespace: &Namespace) -> Result<u32, String> {
    inside(namespace, async {
        let mut kernel = Nftables::open("foreign").map_err(|error| error.to_string())?;
        kernel.generation().await.map_err(|error| error.to_string())
    })
}

fn others(namespace: &Namespace) -> Result<BTreeMap<String, String>, String> {
    let mut others = inside(namespace, async {
        let mut all = routing::list().await?;
        all.extend(servers::list().await?);
        Ok(all)
    })?;
    others.extend(namespace.run(settings)?);
    Ok(others)
}

fn settings() -> Result<BTreeMap<String, String>, String> {
    let mut files: Vec<_> = SETTINGS.iter().map(|name| format!("/proc/sys/net/{name}").into()).collect();
    files.extend(fs::read_dir(IPVS_SETTINGS).into_iter().flatten().flatten().map(|entry| entry.path()));
    let read = |file: std::path::PathBuf| match fs::read_to_string(&file) {
        Ok(value) => Ok((format!("setting {}", file.display()), value.trim().to_owned())),
        Err(error) => Err(format!("{}: {error}", file.display())),
    };
    files.into_iter().map(read).collect()
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
    use agent::world::World;

    use super::*;
    use crate::plan;

    fn snapshot(others: &[(&str, &str)]) -> Snapshot {
        let others = others.iter().map(|(object, value)| ((*object).to_owned(), (*value).to_owned())).collect();
        Snapshot { ruleset: "table inet foreign".into(), others }
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
        let world = World::build(&plan()).unwrap();
        let namespace = &world.node().namespace;
        let foreign = Foreign::plant(namespace).unwrap();
        assert_eq!(foreign.difference(namespace), None);
        nft(namespace, &["-f", "-"], "table ip late {}").unwrap().unwrap();
        let told = foreign.difference(namespace).expect("a table more than before");
        assert!(told.contains("table ip late"), "{told}");
    }
}
