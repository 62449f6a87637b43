//! Flows made by real traffic on loopback are seen and forgotten.

use std::net::UdpSocket;

use crate::isolated::isolated;
use switchyard_netlink::conntrack::{Conntrack, Flow};
use switchyard_netlink::nftables::expr::CtKey;
use switchyard_netlink::nftables::{Base, Batch, Chain, Expr, Family, Hook, Nftables, Reg, Rule, Table};

const UDP: u8 = 17;
const TCP: u8 = 6;

/// A rule that looks at connection tracking switches it on.
async fn track() -> Nftables {
    let mut nftables = Nftables::open("t").unwrap();
    let mut batch = Batch::new("t");
    for family in [Family::Ipv4, Family::Ipv6] {
        batch.put_table(0, &Table::new(family));
        let base = Base::new("nat", Hook::Output, -100);
        batch.put_chain(0, family, &Chain::with_base("c", base));
        let exprs = vec![Expr::Ct { key: CtKey::Status, direction: None, dreg: Reg::word(0) }];
        batch.append_rule(0, family, &Rule::new("c", exprs));
    }
    nftables.commit(&mut batch).await.unwrap();
    nftables
}

async fn flows(conntrack: &mut Conntrack, family: Family, protocol: u8) -> Vec<Flow> {
    let mut flows = Vec::new();
    conntrack.flows(family, protocol, |flow| flows.push(flow)).await.unwrap();
    flows
}

fn talk(client: &UdpSocket, server: &UdpSocket) {
    client.send_to(b"hello", server.local_addr().unwrap()).unwrap();
    let (_, from) = server.recv_from(&mut [0; 16]).unwrap();
    server.send_to(b"hello", from).unwrap();
    client.recv_from(&mut [0; 16]).unwrap();
}

async fn check(loopback: &str, family: Family) {
    let _nftables = track().await;
    let mut conntrack = Conntrack::open().unwrap();
    let server = UdpSocket::bind((loopback, 0)).unwrap();
    let clients = [UdpSocket::bind((loopback, 0)).unwrap(), UdpSocket::bind((loopback, 0)).unwrap()];
    clients.iter().for_each(|client| talk(client, &server));

    let seen = flows(&mut conntrack, family, UDP).await;
    assert_eq!(seen.len(), 2, "{seen:?}");
    assert_eq!(flows(&mut conntrack, family, TCP).await, []);
    let other = if family == Family::Ipv4 { Family::Ipv6 } else { Family::Ipv4 };
    assert_eq!(flows(&mut conntrack, other, UDP).await, []);
    let port = clients[0].local_addr().unwrap().port();
    let flow = *seen.iter().find(|flow| flow.original.source_port == port).expect("the first client's flow");
    assert_eq!((flow.family, flow.protocol, flow.zone), (family, UDP, 0));
    assert_eq!(flow.original.source, clients[0].local_addr().unwrap().ip());
    assert_eq!(flow.original.destination_port, server.local_addr().unwrap().port());
    assert_eq!((flow.reply.source, flow.reply.destination_port), (flow.original.destination, port));

    assert_eq!(conntrack.delete(&[flow]).await.unwrap(), 1);
    assert_eq!(conntrack.delete(&[flow]).await.unwrap(), 0, "it was gone");
    assert_eq!(flows(&mut conntrack, family, UDP).await.len(), 1);

    // The same addresses again are another flow, which the old one's id does not hit.
    talk(&clients[0], &server);
    assert_eq!(flows(&mut conntrack, family, UDP).await.len(), 2);
    let again = Flow { id: flow.id.wrapping_add(1), ..flow };
    assert_eq!(conntrack.delete(&[again]).await.unwrap(), 0);
    let all = flows(&mut conntrack, family, UDP).await;
    assert_eq!(conntrack.delete(&all).await.unwrap(), 2);
    assert_eq!(flows(&mut conntrack, family, UDP).await, []);
}

#[test]
fn a_flow_is_seen_and_forgotten_alone() {
    isolated(|| check("127.0.0.1", Family::Ipv4));
}

#[test]
fn a_flow_is_seen_and_forgotten_alone_in_ipv6() {
    isolated(|| check("::1", Family::Ipv6));
}
