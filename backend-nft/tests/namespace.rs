//! Opened from outside, everything is in the network namespace that the options name, and nothing is here.

mod netns;
mod sample;

use std::net::UdpSocket;
use std::process::Command;
use std::time::Duration;

use backend_api::*;
use netlink::conntrack::Conntrack;
use netlink::nftables::{Batch, Family as KernelFamily, Nftables};
use netns::{another, isolated};
use switchyard_nft::marking::{LeavingTables, MarkingTables};
use switchyard_nft::{Namespace, NftDataplane, Options, Others, RefusedConnections};

/// A service on a loopback address, so that no other link is needed.
fn service(endpoints: &[u16]) -> Service {
    let port = ServicePort {
        frontends: vec![Frontend {
            masquerade: Masquerade::Never, // loopback has no address of a scope that would do
            ..Frontend::cluster_ip([127, 0, 0, 96].into(), Protocol::Udp, 53)
        }],
        endpoints: endpoints
            .iter()
            .map(|port| Endpoint::elsewhere(EndpointAddress::new([127, 0, 0, 1].into(), *port)))
            .collect(),
        ..ServicePort::new(Family::V4, Protocol::Udp)
    };
    Service::new(ServiceName::new("default", "dns"), vec![port])
}

async fn tables(namespace: &Namespace, name: &str) -> usize {
    Nftables::open_in(namespace, name).unwrap().tables().await.unwrap().len()
}

async fn flows(namespace: &Namespace) -> usize {
    let mut count = 0;
    let mut conntrack = Conntrack::open_in(namespace).unwrap();
    conntrack.flows(KernelFamily::Ipv4, Protocol::Udp.number(), |_| count += 1).await.unwrap();
    count
}

/// A client that dials the service, and the endpoint that answers it.
fn exchange() {
    let server = UdpSocket::bind("127.0.0.1:5353").unwrap();
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.connect("127.0.0.96:53").unwrap();
    let mut buffer = [0; 16];
    client.send(b"ping").unwrap();
    let (_, from) = server.recv_from(&mut buffer).unwrap();
    server.send_to(b"pong", from).unwrap();
    client.recv(&mut buffer).unwrap();
}

#[test]
fn a_dataplane_is_in_the_namespace_that_its_options_name() {
    isolated(|| async {
        let node = another();
        let before = Nftables::open("switchyard").unwrap().generation().await.unwrap();
        let options = Options::default().others(Others::LetIn).namespace(node.clone());
        let mut dataplane = NftDataplane::open(options).await.unwrap();
        let mut state = ServiceState::new(sample::node());
        state.upsert(service(&[5353])).unwrap();
        assert!(dataplane.sync(&state, Scope::All).await.unwrap().writes > 0);
        assert_eq!(tables(&node, "switchyard").await, 2, "one in each family");
        let observed = dataplane.observe().await.unwrap();
        assert_eq!(observed.frontends.len(), 1);
        let mut refused = RefusedConnections::open_in(&node).unwrap();
        assert!(refused.read().await.unwrap().is_empty());

        // Packets there are translated, and what became stale there is deleted.
        let up = node.run(|| Command::new("ip").args(["link", "set", "lo", "up"]).status());
        if up.unwrap().is_ok() {
            node.run(exchange).unwrap();
            assert_eq!(flows(&node).await, 1);
            let change = state.upsert(service(&[])).unwrap();
            dataplane.sync(&state, Scope::Services(&change.touched)).await.unwrap();
            let cleanings = dataplane.settle().await;
            assert_eq!(cleanings.v4.unwrap().deleted, 1);
            assert_eq!(flows(&node).await, 0);
        }

        // A change by another program there is noticed and repaired.
        let mut batch = Batch::new("switchyard");
        batch.remove_table(0, KernelFamily::Ipv6);
        Nftables::open_in(&node, "switchyard").unwrap().commit(&mut batch).await.unwrap();
        let noticed = tokio::time::timeout(Duration::from_secs(10), dataplane.drifted()).await;
        assert!(noticed.is_ok(), "waited 10 s for the dataplane to notice");
        assert!(dataplane.sync(&state, Scope::All).await.unwrap().writes > 0);
        assert_eq!(tables(&node, "switchyard").await, 2);

        let after = Nftables::open("switchyard").unwrap().generation().await.unwrap();
        assert_eq!(after, before, "nothing was written here");
        dataplane.remove_all().await.unwrap();
        assert_eq!(tables(&node, "switchyard").await, 0);
    });
}

#[test]
fn the_tables_for_ipvs_are_in_the_namespace_that_their_options_name() {
    isolated(|| async {
        let node = another();
        let options = Options::default().namespace(node.clone());
        let mut leaving = LeavingTables::open(options.clone()).unwrap();
        assert_eq!(leaving.establish().await.unwrap(), 2);
        assert_eq!(tables(&node, "switchyard-leaving").await, 2);
        assert_eq!(tables(&Namespace::Current, "switchyard-leaving").await, 0);
        assert!(!LeavingTables::open(Options::default()).unwrap().tell().await.unwrap());
        assert_eq!(leaving.remove().await.unwrap(), 2);
        let mut marking = MarkingTables::open(options).await.unwrap();
        assert_eq!(marking.marks().await.unwrap(), []);
        marking.remove_all().await.unwrap();
    });
}
