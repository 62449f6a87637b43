//! What the examples print about a table of a fresh network namespace.

use std::time::Duration;

use switchyard_netlink::nftables::expr::{Membership, PayloadBase};
use switchyard_netlink::nftables::{
    Base, Batch, Chain, DataType, Element, Expr, Family, Hook, Monitor, Nftables, Reg, Rule, Set, Table, Verdict,
};

use crate::isolated::isolated;

#[allow(dead_code, reason = "its main is not run here")]
#[path = "../../examples/list_table.rs"]
mod list_table;

#[allow(dead_code, reason = "its main is not run here")]
#[path = "../../examples/watch_changes.rs"]
mod watch_changes;

/// The table of the crate's front page, with an address map beside it.
fn table() -> Batch {
    let mut batch = Batch::new("web");
    let ip = Family::Ipv4;
    batch.put_table(0, &Table::new(ip).with_comment("by example"));
    batch.put_chain(1, ip, &Chain::new("closed"));
    batch.append_rule(2, ip, &Rule::new("closed", vec![Expr::Verdict(Verdict::Drop)]));
    batch.put_set(3, ip, &Set::verdict_map("ports", DataType::INET_SERVICE));
    let mut ports = batch.put_elements(ip, "ports");
    ports.push(4, &Element::verdict(&80u16.to_be_bytes(), Verdict::Accept));
    ports.push(5, &Element::verdict(&81u16.to_be_bytes(), Verdict::Goto("closed")));
    drop(ports);
    let pair = DataType::concatenation(&[DataType::IPV4_ADDR, DataType::INET_SERVICE]);
    batch.put_set(6, ip, &Set::map("dials", pair, DataType::IPV6_ADDR));
    batch.put_elements(ip, "dials").push(7, &Element::pair(&[10, 0, 0, 1, 0, 80, 0, 0], &[0xfd; 16]));
    batch.put_chain(8, ip, &Chain::with_base("input", Base::new("filter", Hook::Input, 0)));
    let port = Reg::word(0);
    let rule = vec![
        Expr::Payload { base: PayloadBase::Transport, offset: 2, len: 2, dreg: port },
        Expr::Lookup { set: "ports".to_owned(), sreg: port, dreg: Some(Reg::VERDICT), expect: Membership::Present },
    ];
    batch.append_rule(9, ip, &Rule::new("input", rule).with_comment("what a port is for"));
    batch
}

#[test]
fn a_table_is_listed_with_everything_in_it() {
    isolated(|| async {
        let mut nftables = Nftables::open("web").unwrap();
        nftables.commit(&mut table()).await.unwrap();
        let mut listing = Vec::new();
        list_table::list(&mut nftables, &mut listing).await.unwrap();
        let handles: Vec<_> = nftables.rules(Family::Ipv4).await.unwrap().iter().map(|rule| rule.handle).collect();
        let expected = format!(
            r#"table ip web comment "by example"
  map ports: 2 elements
    80 : accept
    81 : goto -> closed
  map dials: 1 elements
    10.0.0.1 . 80 : fdfd:fdfd:fdfd:fdfd:fdfd:fdfd:fdfd:fdfd
  chain closed
    rule {}
      [ immediate reg 0 drop ]
  chain input: filter hook input priority 0
    rule {} comment "what a port is for"
      [ payload load 2b @ transport header + 2 => reg 1 ]
      [ lookup reg 1 set ports dreg 0 ]
"#,
            handles[0], handles[1]
        );
        assert_eq!(String::from_utf8(listing).unwrap(), expected);
    });
}

#[test]
fn changes_are_reported_commit_by_commit() {
    isolated(|| async {
        let mut nftables = Nftables::open("web").unwrap();
        let mut monitor = Monitor::open().unwrap();
        nftables.commit(&mut table()).await.unwrap();
        let mut other = Batch::new("other");
        other.put_table(0, &Table::new(Family::Ipv6));
        nftables.commit(&mut other).await.unwrap();
        let mut removal = Batch::new("web");
        removal.remove_elements(Family::Ipv4, "ports").push(0, &Element::key(&81u16.to_be_bytes()));
        nftables.commit(&mut removal).await.unwrap();
        let generation = nftables.generation().await.unwrap();

        let mut changes = watch_changes::Changes::of("web");
        let mut reports = Vec::new();
        while reports.len() < 2 {
            let received = tokio::time::timeout(Duration::from_secs(5), monitor.receive()).await;
            let notifications = received.expect("a report for each commit").unwrap();
            reports.extend(notifications.filter_map(|notification| changes.note(&notification)));
        }
        let first: Vec<_> = reports[0].lines().skip(1).collect();
        assert_eq!(first[..2], ["  + ip web table", "  + ip web chain closed"], "{first:?}");
        assert!(first.iter().any(|line| line.ends_with("[ lookup reg 1 set ports dreg 0 ]")), "{first:?}");
        let elements = first.iter().filter(|line| line.ends_with("elements in set ports")).count();
        assert!(elements >= 1, "{first:?}");
        let (head, removed) = reports[1].split_once('\n').unwrap();
        assert!(head.starts_with(&format!("generation {generation}, by ")), "{head}");
        assert_eq!(removed, "  - ip web 1 elements in set ports");
    });
}
