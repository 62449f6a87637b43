//! Foreign tables of nftables; and every table as text.
//!
//! Told by netlink itself: an `nft` process takes longer than all the rest of a scenario's check, where the processor
//! is emulated.

use std::collections::BTreeMap;

use netlink::attr::Attrs;
use netlink::nftables::expr::{CmpOp, Membership, PayloadBase};
use netlink::nftables::object::{Base, Chain, Element, Hook, Rule, Set, SetData, Table};
use netlink::nftables::{Batch, Counter, Expr, Family, Nftables, Reg, Verdict};

const TABLE: &str = "foreign";
const PORTS: &str = "ports";
const NAMES: &str = "names";

/// nft's numbers of the types `ipv4_addr`, `ipv6_addr` and `inet_service`.
const PORT_TYPE: u32 = 13;

/// `NF_IP_PRI_NAT_DST` and `NF_IP_PRI_FILTER` (linux/netfilter_ipv4.h).
const DESTINATION_NAT: i32 = -100;
const FILTER: i32 = 0;
const SOURCE_NAT: i32 = 100;

/// What the addresses of pods begin with.
const PODS: (&[u8], &[u8]) = (&[10, 244], &[0xfd, 0x00, 0x00, 0x10, 0x02, 0x44]);

/// A table of each family with what ours is made of: chains at our priorities, a map, a set, a rule that counts, and one
/// that masquerades pods as network plugins do.
pub(super) async fn plant() -> Result<(), String> {
    let mut nftables = Nftables::open(TABLE).map_err(|error| error.to_string())?;
    let mut batch = Batch::new(TABLE);
    Family::ALL.iter().for_each(|family| put(&mut batch, *family));
    nftables.commit(&mut batch).await.map_err(|error| format!("foreign tables: {error}"))
}

/// Every table, chain, rule and set there is, and the elements of those that were planted.
pub(super) async fn list() -> Result<BTreeMap<String, String>, String> {
    let mut nftables = Nftables::open(TABLE).map_err(|error| error.to_string())?;
    let objects = nftables.foreign_objects().await.map_err(|error| error.to_string())?;
    let described = objects.iter().map(|object| {
        let names = words(Attrs(&object.attributes)).join(" ");
        format!("{} of nftables, family {}: {names} {:02x?}", object.kind, object.family, object.attributes)
    });
    let mut all: BTreeMap<String, String> = described.map(|object| (object, "there".to_owned())).collect();
    for family in Family::ALL {
        for set in nftables.sets(*family).await.map_err(|error| error.to_string())? {
            let elements = nftables.elements(*family, &set.name, Vec::new, |all: &mut Vec<String>, element| {
                all.push(format!("{element:?}"));
            });
            let mut elements = elements.await.map_err(|error| error.to_string())?;
            elements.sort();
            all.insert(format!("elements of {family:?} {TABLE} {}", set.name), elements.join(", "));
        }
    }
    Ok(all)
}

fn put(batch: &mut Batch, family: Family) {
    let (source, bytes, own_type, some): (u32, u32, u32, [u8; 16]) = match family {
        Family::Ipv4 => (16, 4, 7, [192, 0, 2, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        Family::Ipv6 => (24, 16, 8, [0x20, 0x01, 0x0d, 0xb8, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7]),
    };
    let address = &some[..bytes as usize];
    batch.put_table(0, &Table { family, flags: 0, owner: None, userdata: Vec::new() });
    let names = set(NAMES, (own_type, bytes), None);
    let ports = set(PORTS, (PORT_TYPE, 2), Some(SetData::Value { kind: own_type, len: bytes }));
    batch.put_set(0, family, &names);
    batch.put_set(0, family, &ports);
    batch.put_elements(family, NAMES).push(0, &Element::key(address));
    batch.put_elements(family, PORTS).push(0, &Element::pair(&7777u16.to_be_bytes(), address));
    for (name, kind, hook, priority) in [
        ("prerouting", "nat", Hook::Prerouting, DESTINATION_NAT),
        ("forward", "filter", Hook::Forward, FILTER),
        ("postrouting", "nat", Hook::Postrouting, SOURCE_NAT),
    ] {
        let base = Base { kind: kind.to_owned(), hook, priority };
        batch.put_chain(0, family, &Chain { name: name.to_owned(), base: Some(base) });
    }
    // ip daddr @names counter accept
    let first = Reg::word(0);
    let exprs = vec![
        Expr::Payload { base: PayloadBase::Network, offset: source, len: bytes, dreg: first },
        Expr::Lookup { set: NAMES.to_owned(), sreg: first, dreg: None, expect: Membership::Present },
        Expr::Counter(Counter::default()),
        Expr::Verdict(Verdict::Accept),
    ];
    batch.append_rule(0, family, &Rule { chain: "prerouting".to_owned(), handle: 0, exprs, userdata: Vec::new() });
    let exprs = masquerade_what_leaves(family);
    batch.append_rule(0, family, &Rule { chain: "postrouting".to_owned(), handle: 0, exprs, userdata: Vec::new() });
}

/// As network plugins do it: `ip saddr 10.244.0.0/16 ip daddr != 10.244.0.0/16 masquerade`.
fn masquerade_what_leaves(family: Family) -> Vec<Expr> {
    let (source, destination, pods) = match family {
        Family::Ipv4 => (12, 16, PODS.0),
        Family::Ipv6 => (8, 24, PODS.1),
    };
    let (dreg, sreg) = (Reg::word(0), Reg::word(0));
    vec![
        Expr::Payload { base: PayloadBase::Network, offset: source, len: pods.len() as u32, dreg },
        Expr::Cmp { op: CmpOp::Eq, sreg, value: pods.to_owned() },
        Expr::Payload { base: PayloadBase::Network, offset: destination, len: pods.len() as u32, dreg },
        Expr::Cmp { op: CmpOp::Neq, sreg, value: pods.to_owned() },
        Expr::Masquerade { flags: 0 },
    ]
}

fn set(name: &str, (key_type, key_len): (u32, u32), data: Option<SetData>) -> Set {
    Set {
        name: name.to_owned(),
        flags: 0,
        key_type,
        key_len,
        fields: Vec::new(),
        data,
        timeout: std::time::Duration::ZERO,
        size: 0,
        userdata: Vec::new(),
        exprs: Vec::new(),
    }
}

/// The names among the attributes, for a reader of the difference.
fn words(attributes: Attrs<'_>) -> Vec<String> {
    let texts = attributes.filter_map(|attribute| attribute.str());
    texts.filter(|text| text.len() > 1 && text.chars().all(|c| c.is_ascii_graphic())).map(str::to_owned).collect()
}
