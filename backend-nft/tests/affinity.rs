//! What session affinity remembers, however many clients there are.

mod netns;
mod sample;

use std::net::{Ipv4Addr, UdpSocket};
use std::num::NonZeroU32;
use std::process::Command;

use backend_api::*;
use netlink::nftables::{Family as KernelFamily, Nftables};
use netns::isolated;
use switchyard_nft::{NftDataplane, Options};

/// More than a service port can tell apart.
const CLIENTS: u32 = 20_000;

/// What it can.
const SHARE: usize = 8_192;

/// A sticky service on a loopback address, so that no other link is needed.
fn sticky(name: &str, host: u8) -> Service {
    let port = ServicePort {
        frontends: vec![Frontend {
            masquerade: Masquerade::Never, // loopback has no address of a scope that would do
            ..Frontend::cluster_ip([127, 0, 0, host].into(), Protocol::Udp, 53)
        }],
        endpoints: [5353, 5354]
            .map(|port| Endpoint::elsewhere(EndpointAddress::new([127, 0, 0, 1].into(), port)))
            .into(),
        affinity: Affinity::ClientIp { timeout: NonZeroU32::new(3600).unwrap() },
        ..ServicePort::new(Family::V4, Protocol::Udp)
    };
    Service::new(ServiceName::new("default", name), vec![port])
}

async fn remembered() -> usize {
    let mut nftables = Nftables::open("switchyard").unwrap();
    nftables.elements(KernelFamily::Ipv4, "affinity", || 0, |count, _| *count += 1).await.unwrap()
}

/// As good as forged: every client has an address of its own, and no endpoint answers.
#[test]
fn a_flood_of_one_service_port_takes_no_more_than_its_share() {
    isolated(|| async {
        if !Command::new("ip").args(["link", "set", "lo", "up"]).status().is_ok_and(|status| status.success()) {
            return;
        }
        let mut dataplane = NftDataplane::open(Options::default()).await.unwrap();
        let mut state = ServiceState::new(sample::node());
        state.upsert(sticky("flooded", 96)).unwrap();
        state.upsert(sticky("other", 97)).unwrap();
        assert_eq!(dataplane.sync(&state, Scope::All).await.unwrap().failed, []);
        let first = u32::from(Ipv4Addr::new(127, 1, 0, 0));
        for client in (first..first + CLIENTS).map(Ipv4Addr::from_bits) {
            let client = UdpSocket::bind((client, 0)).unwrap();
            // Refused now and then: no endpoint listens.
            let _ = client.send_to(b"?", "127.0.0.96:53");
        }
        let flooded = remembered().await;
        assert!((SHARE / 2..=SHARE).contains(&flooded), "{flooded}");
        let client = UdpSocket::bind("127.2.0.1:0").unwrap();
        client.send_to(b"?", "127.0.0.97:53").unwrap();
        assert_eq!(remembered().await, flooded + 1, "another service's client is remembered beside them");
    });
}
