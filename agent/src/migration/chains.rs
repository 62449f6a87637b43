//! Which chains of iptables are kube-proxy's, and which of them can be removed without touching a foreign rule.
//!
//! Pure, because every decision about chains is here: chains and jumps in, removals out.
//!
//! **Invariant:** a rule that kube-proxy did not write is neither removed nor left without its target
//! (`tests::a_chain_that_a_foreign_rule_uses_stays_with_all_that_it_needs`).

use std::collections::{BTreeMap, BTreeSet};

use netlink::nftables::{ForeignChain, Hook, Jump, Policy};

/// The tables that iptables knows.
pub(super) const TABLES: [&str; 5] = ["nat", "filter", "mangle", "raw", "security"];

/// A step of a removal, within one table. Steps are in an order that the kernel accepts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Removal {
    /// A rule that leads into kube-proxy's chains.
    Rule {
        /// The chain that it is in.
        chain: String,
        /// The kernel's name for it.
        handle: u64,
    },
    /// The rules of a chain.
    Rules(String),
    /// A chain without rules.
    Chain(String),
}

/// What is to be done to one table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Decision {
    /// What goes.
    pub(super) removals: Vec<Removal>,
    /// Which of kube-proxy's chains stay, and why. What they need stays with them.
    pub(super) kept: BTreeMap<String, Need>,
}

/// Why a chain of kube-proxy's stays.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Need {
    /// A foreign rule, in this chain, jumps to it.
    UsedBy(String),
    /// This base chain drops packets that no rule accepts, and the chain accepts some: established connections may
    /// depend on it.
    AcceptsFor(String),
}

/// Decides which of a table's chains and jumps are kube-proxy's and can be removed.
pub(super) fn decide(table: &str, chains: &[ForeignChain], jumps: &[Jump]) -> Decision {
    let theirs: BTreeSet<&str> = chains.iter().filter(|chain| is_kube_proxys(table, chain)).map(name).collect();
    let bases: BTreeMap<&str, &ForeignChain> =
        chains.iter().filter(|chain| chain.entry.is_some()).map(|base| (name(base), base)).collect();
    let mut entrances = Vec::new();
    let mut kept = BTreeMap::new();
    for jump in jumps.iter().filter(|jump| !theirs.contains(&*jump.chain)) {
        for target in jump.targets.iter().map(String::as_str).filter(|target| theirs.contains(target)) {
            match bases.get(&*jump.chain) {
                Some(base) if accepts(table, base, target) => {
                    kept.insert(target, Need::AcceptsFor(jump.chain.clone()));
                }
                Some(_) if is_entrance(target) => entrances.push((target, jump)),
                Some(_) | None => {
                    kept.entry(target).or_insert_with(|| Need::UsedBy(jump.chain.clone()));
                }
            }
        }
    }
    let staying = with_what_they_need(kept.keys().copied().collect(), &theirs, jumps);
    let mut removals = Vec::new();
    for (target, jump) in entrances {
        if !keeps_entrance(target, kept.get(target), &staying) {
            removals.push(Removal::Rule { chain: jump.chain.clone(), handle: jump.handle });
        }
    }
    let gone: Vec<&str> = theirs.iter().copied().filter(|chain| !staying.contains(chain)).collect();
    // All rules first: a chain that a rule jumps to cannot be removed.
    removals.extend(gone.iter().map(|chain| Removal::Rules((*chain).to_owned())));
    removals.extend(gone.iter().map(|chain| Removal::Chain((*chain).to_owned())));
    Decision { removals, kept: kept.into_iter().map(|(chain, need)| (chain.to_owned(), need)).collect() }
}

/// Whether kube-proxy's own jump to `target` stays. A chain that a foreign rule jumps to does not need it, but
/// masquerading does: it is done in postrouting to packets that were marked before.
fn keeps_entrance(target: &str, need: Option<&Need>, staying: &BTreeSet<&str>) -> bool {
    match need {
        Some(Need::AcceptsFor(_)) => true,
        Some(Need::UsedBy(_)) | None => target == POSTROUTING && staying.contains(POSTROUTING),
    }
}

/// Whether the chain shows that kube-proxy forwards services: only kube-proxy makes these. (Its others were kubelet's
/// too, up to 1.27.)
pub(super) fn serves(chain: &ForeignChain) -> bool {
    ["KUBE-SERVICES", "KUBE-PROXY-CANARY"].contains(&&*chain.name) && TABLES.contains(&&*chain.table)
}

/// Whether a chain is one that kube-proxy makes in this table. Not kubelet's `KUBE-FIREWALL` in `filter`,
/// `KUBE-MARK-DROP`, `KUBE-IPTABLES-HINT` and `KUBE-KUBELET-CANARY`, nor kube-router's `KUBE-ROUTER-…`,
/// `KUBE-POD-FW-…`, `KUBE-NWPLCY-…`.
pub(super) fn is_kube_proxys(table: &str, chain: &ForeignChain) -> bool {
    chain.entry.is_none()
        && match table {
            "nat" => NAT.contains(&&*chain.name) || is_of_a_service(&chain.name) || chain.name == CANARY,
            "filter" => FILTER.contains(&&*chain.name) || chain.name == CANARY,
            _ => chain.name == CANARY,
        }
}

const CANARY: &str = "KUBE-PROXY-CANARY";
const POSTROUTING: &str = "KUBE-POSTROUTING";
const MARK: &str = "KUBE-MARK-MASQ";

/// Of iptables mode; the last three, of IPVS mode (`KUBE-FIREWALL` up to 1.24).
const NAT: [&str; 7] =
    ["KUBE-SERVICES", "KUBE-NODEPORTS", POSTROUTING, MARK, "KUBE-NODE-PORT", "KUBE-LOAD-BALANCER", "KUBE-FIREWALL"];

/// Of iptables mode; the last four, of IPVS mode.
const FILTER: [&str; 9] = [
    "KUBE-SERVICES",
    "KUBE-EXTERNAL-SERVICES",
    "KUBE-NODEPORTS",
    "KUBE-FORWARD",
    "KUBE-PROXY-FIREWALL",
    "KUBE-NODE-PORT",
    "KUBE-SOURCE-RANGES-FIREWALL",
    "KUBE-IPVS-FILTER",
    "KUBE-IPVS-OUT-FILTER",
];

/// Chains of one service or one endpoint: `KUBE-SVC-` and 16 characters of a hash in base 32.
fn is_of_a_service(name: &str) -> bool {
    const PREFIXES: [&str; 6] = ["KUBE-SVC-", "KUBE-SVL-", "KUBE-SEP-", "KUBE-EXT-", "KUBE-FW-", "KUBE-XLB-"];
    let hash = PREFIXES.into_iter().find_map(|prefix| name.strip_prefix(prefix));
    hash.is_some_and(|hash| hash.len() == 16 && hash.bytes().all(|byte| matches!(byte, b'A'..=b'Z' | b'2'..=b'7')))
}

/// Whether kube-proxy's own rules in base chains jump to it. A jump from a base chain to any other chain is foreign.
fn is_entrance(chain: &str) -> bool {
    chain != MARK && (NAT.contains(&chain) || FILTER.contains(&chain))
}

/// Whether the chain is there to accept packets that the base chain's policy would drop: forwarded ones, and those to
/// the ports of health checks.
fn accepts(table: &str, base: &ForeignChain, chain: &str) -> bool {
    table == "filter"
        && match chain {
            "KUBE-FORWARD" => drops_at(base, Hook::Forward),
            "KUBE-NODEPORTS" | "KUBE-NODE-PORT" => drops_at(base, Hook::Input),
            _ => false,
        }
}

fn drops_at(base: &ForeignChain, hook: Hook) -> bool {
    base.entry.is_some_and(|entry| entry.hook == Some(hook) && entry.policy == Policy::Drop)
}

/// These chains, and those of kube-proxy's that they need.
fn with_what_they_need<'a>(
    mut wanted: BTreeSet<&'a str>,
    theirs: &BTreeSet<&'a str>,
    jumps: &'a [Jump],
) -> BTreeSet<&'a str> {
    let mut onward: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for jump in jumps.iter().filter(|jump| theirs.contains(&*jump.chain)) {
        onward.entry(&jump.chain).or_default().extend(jump.targets.iter().map(String::as_str));
    }
    let mut open: Vec<&str> = wanted.iter().copied().collect();
    while let Some(chain) = open.pop() {
        let marks = (chain == MARK).then_some(&POSTROUTING);
        for next in onward.get(chain).into_iter().flatten().chain(marks) {
            if let Some(next) = theirs.get(next)
                && wanted.insert(next)
            {
                open.push(next);
            }
        }
    }
    wanted
}

fn name(chain: &ForeignChain) -> &str {
    &chain.name
}

#[cfg(test)]
mod tests {
    use super::*;
    use netlink::nftables::Entry;

    fn chain(name: &str) -> ForeignChain {
        ForeignChain { table: "nat".into(), name: name.into(), entry: None }
    }

    fn base(name: &str, hook: Hook, policy: Policy) -> ForeignChain {
        ForeignChain { entry: Some(Entry { hook: Some(hook), policy }), ..chain(name) }
    }

    /// `PREROUTING > KUBE-SERVICES`, numbered from 1 on.
    fn jumps(lines: &[&str]) -> Vec<Jump> {
        let jump = |(handle, line): (u64, &&str)| {
            let (from, to) = line.split_once(" > ").unwrap();
            Jump { chain: from.into(), handle, targets: vec![to.into()] }
        };
        (1..).zip(lines).map(jump).collect()
    }

    /// As words: `- PREROUTING 1`, `KUBE-SERVICES gone`, `KUBE-MARK-MASQ kept`.
    fn check(table: &str, chains: &[ForeignChain], lines: &[&str], expected: &[&str]) {
        let decision = decide(table, chains, &jumps(lines));
        let flushed = decision.removals.iter().filter(|removal| matches!(removal, Removal::Rules(_))).count();
        let mut words: Vec<String> = decision
            .removals
            .iter()
            .filter_map(|removal| match removal {
                Removal::Rule { chain, handle } => Some(format!("- {chain} {handle}")),
                Removal::Rules(_) => None,
                Removal::Chain(chain) => Some(format!("{chain} gone")),
            })
            .collect();
        assert_eq!(flushed, words.iter().filter(|word| word.ends_with("gone")).count());
        words.extend(decision.kept.keys().map(|chain| format!("{chain} kept")));
        assert_eq!(words, expected);
    }

    const SVC: &str = "KUBE-SVC-ABCDEFGHIJ234567";
    const SEP: &str = "KUBE-SEP-ABCDEFGHIJ234567";

    fn nat() -> Vec<ForeignChain> {
        let mut chains = vec![
            base("PREROUTING", Hook::Prerouting, Policy::Accept),
            base("POSTROUTING", Hook::Postrouting, Policy::Accept),
        ];
        chains.extend(["KUBE-SERVICES", SVC, SEP, MARK, POSTROUTING, "KUBE-KUBELET-CANARY", "CNI-HP"].map(chain));
        chains
    }

    const LINES: [&str; 6] = [
        "PREROUTING > CNI-HP",
        "PREROUTING > KUBE-SERVICES",
        "POSTROUTING > KUBE-POSTROUTING",
        "KUBE-SERVICES > KUBE-SVC-ABCDEFGHIJ234567",
        "KUBE-SVC-ABCDEFGHIJ234567 > KUBE-SEP-ABCDEFGHIJ234567",
        "KUBE-SEP-ABCDEFGHIJ234567 > KUBE-MARK-MASQ",
    ];

    #[test]
    fn chains_and_the_ways_into_them_go_and_others_stay() {
        let gone = [
            "- PREROUTING 2",
            "- POSTROUTING 3",
            "KUBE-MARK-MASQ gone",
            "KUBE-POSTROUTING gone",
            "KUBE-SEP-ABCDEFGHIJ234567 gone",
            "KUBE-SERVICES gone",
            "KUBE-SVC-ABCDEFGHIJ234567 gone",
        ];
        check("nat", &nat(), &LINES, &gone);
    }

    #[test]
    fn a_chain_that_a_foreign_rule_uses_stays_with_all_that_it_needs() {
        let mut lines = LINES.to_vec();
        lines.push("CNI-HP > KUBE-MARK-MASQ");
        let rest = [
            "- PREROUTING 2",
            "KUBE-SEP-ABCDEFGHIJ234567 gone",
            "KUBE-SERVICES gone",
            "KUBE-SVC-ABCDEFGHIJ234567 gone",
        ];
        check("nat", &nat(), &lines, &[&rest[..], &["KUBE-MARK-MASQ kept"]].concat());

        // Marking without masquerading would have no effect, and an endpoint's chain marks.
        lines[6] = "CNI-HP > KUBE-SVC-ABCDEFGHIJ234567";
        check("nat", &nat(), &lines, &["- PREROUTING 2", "KUBE-SERVICES gone", "KUBE-SVC-ABCDEFGHIJ234567 kept"]);

        // In a base chain too, from which kube-proxy itself never jumps to this chain.
        lines[6] = "PREROUTING > KUBE-MARK-MASQ";
        check("nat", &nat(), &lines, &[&rest[..], &["KUBE-MARK-MASQ kept"]].concat());
    }

    #[test]
    fn what_accepts_stays_where_everything_else_is_dropped() {
        let chains = |policy| {
            let bases = [base("INPUT", Hook::Input, Policy::Accept), base("FORWARD", Hook::Forward, policy)];
            let theirs = ["KUBE-FORWARD", "KUBE-SERVICES", "KUBE-NODEPORTS", "KUBE-FIREWALL", "KUBE-ROUTER-FORWARD"];
            bases.into_iter().chain(theirs.map(chain)).collect::<Vec<_>>()
        };
        let lines =
            ["FORWARD > KUBE-FORWARD", "FORWARD > KUBE-SERVICES", "INPUT > KUBE-NODEPORTS", "INPUT > KUBE-FIREWALL"];
        let (rules, gone) = (["- FORWARD 2", "- INPUT 3"], ["KUBE-NODEPORTS gone", "KUBE-SERVICES gone"]);
        let all = [&["- FORWARD 1"], &rules[..], &["KUBE-FORWARD gone"], &gone].concat();
        check("filter", &chains(Policy::Accept), &lines, &all);
        check("filter", &chains(Policy::Drop), &lines, &[&rules[..], &gone, &["KUBE-FORWARD kept"]].concat());
    }

    #[test]
    fn only_kube_proxys_own_names_are_kube_proxys() {
        let check = |table: &str, name: &str, expected: bool| {
            assert_eq!(is_kube_proxys(table, &chain(name)), expected, "{table} {name}");
        };
        for name in ["KUBE-SERVICES", SVC, SEP, "KUBE-XLB-ABCDEFGHIJ234567", CANARY, "KUBE-FIREWALL"] {
            check("nat", name, true);
        }
        for name in
            ["KUBE-SVC-SHORT", "KUBE-FW-abcdefghij234567", "KUBE-MARK-DROP", "KUBE-HOSTPORTS", "KUBE-KUBELET-CANARY"]
        {
            check("nat", name, false);
        }
        for name in ["KUBE-FIREWALL", "KUBE-POD-FW-ABCDEFGHIJ234567", "KUBE-ROUTER-INPUT", SVC, MARK] {
            check("filter", name, false);
        }
        check("mangle", CANARY, true);
        check("mangle", "KUBE-IPTABLES-HINT", false);
        assert!(!is_kube_proxys("nat", &base("KUBE-SERVICES", Hook::Prerouting, Policy::Accept)));
    }
}
