//! Every element, through bytes and back.

use proptest::prelude::*;

use super::*;
use crate::ruleset::{LOCAL_STICKY_SLOT, Tag};
use backend_api::Pool;

fn address(family: Family) -> BoxedStrategy<IpAddr> {
    match family {
        Family::V4 => any::<[u8; 4]>().prop_map(IpAddr::from).boxed(),
        Family::V6 => any::<[u8; 16]>().prop_map(IpAddr::from).boxed(),
    }
}

fn frontend(family: Family, by: By) -> BoxedStrategy<FrontendKey> {
    let protocol = prop::sample::select(&Protocol::ALL);
    (address(family), protocol, 1u16..)
        .prop_map(move |(address, protocol, port)| match by {
            By::Address => FrontendKey::Address { address, protocol, port },
            By::NodePort => FrontendKey::NodePort { family, protocol, port },
        })
        .boxed()
}

fn element() -> impl Strategy<Value = Element> {
    let by = prop::sample::select(&By::ALL);
    let family = prop::sample::select(&Family::ALL);
    (family, by, 0u8..9).prop_flat_map(|(family, by, kind)| {
        (frontend(family, by), address(family), any::<u32>(), any::<u16>(), any::<u8>()).prop_map(
            move |(frontend, address, number, small, prefix)| {
                let endpoint = Value::Endpoint(EndpointAddress { ip: address, port: small });
                let code = Value::Code(Code(number));
                let cidr = Cidr::new(address, prefix % (family.bits() + 1)).expect("a prefix within the address");
                let (set, key, value) = match kind {
                    0 => (SetName::Services(by), Key::Frontend(frontend), code),
                    1 => (SetName::Endpoints(by), Key::Slot(frontend, number), endpoint),
                    2 => (SetName::StickyPicks(by), Key::Slot(frontend, number), code),
                    3 => (SetName::StickyEndpoints(by), Key::Remembered(frontend, small), endpoint),
                    4 => (SetName::Allowed(by), Key::Source(frontend, cidr), Value::None),
                    5 => (SetName::Masquerade(by), Key::Frontend(frontend), code),
                    6 => (SetName::Hairpin, Key::Itself(address), Value::None),
                    7 => (SetName::ClusterIps, Key::Address(address), Value::None),
                    _ => {
                        let tag = Tag { slot: small | LOCAL_STICKY_SLOT, timeout: number };
                        let chains = [ChainName::Slot(by, tag), ChainName::Pick(by, Pool::Local, small)];
                        let chain = chains[usize::from(prefix) % 2];
                        (SetName::Policies(by), Key::Code(Code(number)), Value::Goto(chain))
                    }
                };
                Element { family, set, key, value }
            },
        )
    })
}

proptest! {
    #[test]
    fn every_element_is_read_back(element in element()) {
        let mut encoder = Encoder::default();
        let encoded = encoder.encode(&element);
        prop_assert_eq!(decode(element.family, element.set, &encoded), Some(element));
    }
}

#[test]
fn a_range_that_no_prefix_says_is_not_ours() {
    let frontend = FrontendKey::node_port(Family::V4, Protocol::Tcp, 80);
    let (mut key, mut end) = (Vec::new(), Vec::new());
    for (bytes, last) in [(&mut key, 1), (&mut end, 6)] {
        put_frontend(bytes, frontend);
        bytes.extend_from_slice(&[10, 0, 0, last]);
    }
    let element = kernel::Element { key_end: Some(&end), ..kernel::Element::key(&key) };
    assert_eq!(decode(Family::V4, SetName::Allowed(By::NodePort), &element), None);
}
