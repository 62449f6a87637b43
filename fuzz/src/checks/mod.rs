//! What each target checks of any bytes, as functions: the fuzzer calls them, and so does a test
//! (`conformance/tests/fuzz_targets.rs`) with the seeds and some of their mutations.

mod api_lists;
mod attributes;
mod configuration;
mod conntrack_dump;
mod flags;
mod ipvs_dump;
mod kubeconfig;
mod nftables_dump;
mod notifications;
mod objects;
mod rtnetlink_dump;
mod told;
mod watch_lines;

/// What takes any bytes, and panics where it finds a fault.
pub type Check = fn(&[u8]);

/// Every target, by the name of its folder in `seeds/`.
pub const TARGETS: [(&str, Check); 12] = [
    ("api_lists", api_lists::check),
    ("attributes", attributes::check),
    ("configuration", configuration::check),
    ("conntrack_dump", conntrack_dump::check),
    ("flags", flags::check),
    ("ipvs_dump", ipvs_dump::check),
    ("kubeconfig", kubeconfig::check),
    ("nftables_dump", nftables_dump::check),
    ("notifications", notifications::check),
    ("objects", objects::check),
    ("rtnetlink_dump", rtnetlink_dump::check),
    ("watch_lines", watch_lines::check),
];

/// Plays one input to the target of this name.
pub fn check(target: &str, bytes: &[u8]) {
    let (_, check) = TARGETS.iter().find(|(name, _)| *name == target).expect("a target has its name in the table");
    check(bytes);
}
