//! Golden listings: what is rendered for a state with every feature, as nft would print it. Reviewed like code; written
//! anew with `UPDATE_GOLDEN=1`.
//!
//! Left out: chains `pick-…` of sizes that nothing in the state has, and the elements that lead there.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::path::Path;

use backend_api::{
    Family, FrontendKey, LocalTraffic, NodeNetwork, NodePortAddresses, Offload, PerFamily, Pool, Protocol, ServiceName,
    ServicePort, ServiceState,
};

use crate::content::Found;
use crate::marks::{Marks, Target};
use crate::ownership::Layout;
use crate::plan::{Plan, Terms};
use crate::render::{base, rules};
use crate::ruleset::name::keyword;
use crate::ruleset::{ChainName, Element, FLOWTABLE, Mark, Policy, SetName, TABLE, Tag, Value};
use crate::sample;
use crate::transaction::Transaction;

/// Marks that say what they are for: the host of an endpoint, or the length of a service's name and the pool.
#[derive(Debug)]
struct Readable;

impl Marks for Readable {
    fn mark(&self, service: &ServiceName, port: &ServicePort, _: FrontendKey, target: Target) -> Option<Mark> {
        let number = match target {
            Target::Endpoint(endpoint) => match endpoint.ip {
                IpAddr::V4(v4) => 0x100 | u32::from(v4.octets()[3]),
                IpAddr::V6(v6) => 0x200 | u32::from(v6.segments()[7]),
            },
            Target::Pool(pool) => {
                (service.name.len() as u32) << 4
                    | u32::from(port.protocol == Protocol::Udp) << 1
                    | u32::from(pool == Pool::Local)
            }
        };
        Some(Mark(Mark::PREFIX | number))
    }

    fn unfit(&self, _: &ServiceName) -> Option<String> {
        None
    }
}

fn check(name: &str, state: &ServiceState) {
    check_kind(name, state, None);
}

fn check_kind(name: &str, state: &ServiceState, marks: Option<&dyn Marks>) {
    let found = PerFamily { v4: Found::Nothing, v6: Found::Nothing };
    let terms = Terms { marks, node: state.node().clone() };
    let plan = Plan::adopt(&found, state, &terms, &BTreeSet::new());
    assert_eq!(plan.failed, []);
    let text: String = Family::ALL
        .iter()
        .map(|family| listing(&plan.transaction, state.node(), *family))
        .collect::<Vec<_>>()
        .join("\n");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name).with_extension("nft");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    for (number, (rendered, expected)) in text.lines().zip(golden.lines()).enumerate() {
        assert_eq!(rendered, expected, "{}:{}; UPDATE_GOLDEN=1 writes it anew", path.display(), number + 1);
    }
    assert_eq!(text.lines().count(), golden.lines().count(), "{}", path.display());
}

/// The chains that elements lead to.
fn used(elements: &[Element]) -> BTreeSet<ChainName> {
    let chains = elements.iter().filter_map(|element| match (element.set, element.value) {
        (SetName::Services(by) | SetName::Inside(by) | SetName::Outside(by), Value::Code(code)) => {
            Policy::of(code)?.sized_chain(by)
        }
        (SetName::StickyPicks(by), Value::Code(code)) => Some(ChainName::Slot(by, Tag::of(code))),
        _ => None,
    });
    chains.collect()
}

/// Every chain but those `pick-…` of sizes that nothing in the state has.
fn is_shown(chain: ChainName, picks: &BTreeSet<ChainName>) -> bool {
    !matches!(chain, ChainName::Pick(..)) || picks.contains(&chain)
}

fn listing(transaction: &Transaction, node: &NodeNetwork, family: Family) -> String {
    let mut elements: Vec<Element> =
        transaction.add_elements.iter().filter(|element| element.family == family).copied().collect();
    elements.sort_unstable();
    let shown_picks = used(&elements);
    let mut text = format!(
        "table {} {TABLE} {{\n  comment \"switchyard layout {}\"\n",
        keyword(family),
        Layout::from(transaction.delivery).text()
    );
    for set in SetName::of(transaction.delivery) {
        writeln!(text, "\n  {} {set} {{", set.noun()).unwrap();
        set.declaration(family, transaction.delivery).iter().for_each(|line| writeln!(text, "    {line}").unwrap());
        let shown = |element: &&Element| match element.value {
            Value::Goto(chain) => element.set == set && is_shown(chain, &shown_picks),
            _ => element.set == set,
        };
        let own: Vec<String> = elements.iter().filter(shown).map(|element| format!("      {element},\n")).collect();
        if !own.is_empty() {
            write!(text, "    elements = {{\n{}    }}\n", own.concat()).unwrap();
        }
        text.push_str("  }\n");
    }
    if let Some(offload) = node.offload.as_ref().filter(|_| transaction.add_flowtables.contains(&family)) {
        let devices = offload.devices.values().map(|device| format!("\"{device}\"")).collect::<Vec<_>>().join(", ");
        writeln!(text, "\n  flowtable {FLOWTABLE} {{\n    hook ingress priority 0;").unwrap();
        writeln!(text, "    devices = {{ {devices} }};\n  }}").unwrap();
    }
    for (_, chain) in
        transaction.add_chains.iter().filter(|(of, chain)| *of == family && is_shown(*chain, &shown_picks))
    {
        writeln!(text, "\n  chain {chain} {{").unwrap();
        if let Some(base) = base(*chain, transaction.delivery) {
            let hook = format!("{:?}", base.hook).to_lowercase();
            writeln!(text, "    type {} hook {hook} priority {}; policy accept;", base.kind, base.priority).unwrap();
        }
        rules(*chain, node, family, transaction.delivery)
            .iter()
            .for_each(|rule| writeln!(text, "    {}", rule.text(family)).unwrap());
        text.push_str("  }\n");
    }
    text.push_str("}\n");
    text
}

#[test]
fn every_feature_is_rendered_as_reviewed() {
    check("every-feature", &sample::everything());
}

#[test]
fn every_feature_is_rendered_for_ipvs_as_reviewed() {
    check_kind("every-feature-for-ipvs", &sample::everything(), Some(&Readable));
}

#[test]
fn an_empty_state_is_rendered_as_reviewed() {
    check("empty", &ServiceState::new(NodeNetwork::unknown()));
}

/// Established connections are handed over.
#[test]
fn a_flowtable_is_rendered_as_reviewed() {
    let devices = [(2, "eth0"), (7, "veth1")].map(|(index, device)| (index, device.to_owned())).into();
    let offload = Some(Offload { after: NonZeroU32::new(16).unwrap(), devices });
    let mut state = ServiceState::new(NodeNetwork::unknown());
    state.set_node(NodeNetwork { offload, ..NodeNetwork::unknown() });
    check("flowtable", &state);
}

/// Pods told by interfaces, node ports on every address, everything masqueraded.
#[test]
fn another_node_is_rendered_as_reviewed() {
    let local_traffic =
        PerFamily { v4: LocalTraffic::Bridge("cni0".to_owned()), v6: LocalTraffic::InterfacePrefix("veth".to_owned()) };
    let node_ports = PerFamily { v4: NodePortAddresses::All, v6: NodePortAddresses::All };
    let mut state = sample::everything();
    state.set_node(NodeNetwork { local_traffic, node_ports, masquerade_all: true, ..NodeNetwork::unknown() });
    check("another-node", &state);
}
