//! Which mark a virtual server gets.
//!
//! A hash of what the virtual server is for says which marks to try first.
//! So a restarted process finds most marks again by itself, and all of them with what the tables say.
//! A number that is taken is passed over in both families at once: a mark alone says which virtual server is meant.

use std::net::IpAddr;

use backend_api::{EndpointAddress, Family, FrontendKey, Pool, ServiceName};
use backend_nft::marking::{Mark, Target};
use netlink::ipvs::VirtualKey;

use crate::drain::ends_at_once;
use crate::render::Role;
use crate::servers::key;

/// No virtual server of a service has this number, the last: schedulers are tried with it.
pub(crate) const TRIAL: Mark = marked(LAST, 0);

/// The last of 20 bits. The first, 0, is [`Mark::DELIVER`]'s.
const LAST: u32 = (1 << 20) - 1;

/// Why a service is left out that needs more marks than are free.
pub(crate) const EXHAUSTED: &str = "no mark is free: there are 1048574 for the virtual servers of all services";

/// How many marks are looked at for a virtual server that is there and belongs to no service.
const NEAR: usize = 8;

/// How many marks a virtual server may have had.
const FAR: usize = 64;

/// Whether connections end with their endpoint instead of going on until they are done.
pub(crate) fn cuts(mark: Mark) -> bool {
    mark.0 & Mark::CUT != 0
}

/// A mark that this virtual server may have had, if `knows` knows it to be its own.
pub(crate) fn recall(service: &ServiceName, role: &Role, knows: impl Fn(Mark) -> bool) -> Option<Mark> {
    marks(service, role).take(FAR).find(|mark| knows(*mark))
}

/// A mark for a new virtual server: that of one that is there for no service, most likely this one's from before;
/// otherwise a mark that is free; none if all are taken.
pub(crate) fn choose(
    service: &ServiceName,
    role: &Role,
    is_taken: impl Fn(Mark) -> bool,
    is_there: impl Fn(VirtualKey) -> bool,
) -> Option<Mark> {
    let idle = marks(service, role).take(NEAR).find(|mark| !is_taken(*mark) && is_there(role.key(*mark)));
    let is_free = |mark: &Mark| !is_taken(*mark) && !Family::ALL.iter().any(|family| is_there(key(*family, *mark)));
    let mut spread = marks(service, role).take(FAR);
    // Where most are taken, those that are free are found by counting.
    idle.or_else(|| spread.find(is_free)).or_else(|| (1..LAST).map(|number| marked(number, cut(role))).find(is_free))
}

/// What the mark says of connections that end with their endpoint.
fn cut(role: &Role) -> u32 {
    if ends_at_once(role.port.protocol) { Mark::CUT } else { 0 }
}

/// All marks that a virtual server can have, in an order of its own.
fn marks<'a>(service: &ServiceName, role: &'a Role) -> impl Iterator<Item = Mark> + use<'a> {
    let cut = cut(role);
    let identity = hash(service, role);
    (0..).map(move |attempt| marked(number(identity.wrapping_add(attempt)), cut))
}

/// Which number comes of a hash.
fn number(hash: u64) -> u32 {
    1 + (mix(hash) % u64::from(LAST - 1)) as u32
}

/// A mark of this number. Bits 13 to 15 stay 0: `KUBE-MARK-DROP`, `KUBE-MARK-MASQ` and the CNI plugin `portmap` look
/// for one of them each, in whatever mark a packet has.
const fn marked(number: u32, cut: u32) -> Mark {
    Mark(Mark::PREFIX | cut | (number >> 13) << 16 | number & 0x1fff)
}

/// FNV-1a: the same in every build and on every machine, because marks outlive the process.
fn hash(service: &ServiceName, role: &Role) -> u64 {
    let texts = [&*service.namespace, &*service.name, &*role.port.name];
    let texts = texts.iter().flat_map(|text| text.bytes().chain([0]));
    let numbers = [role.port.protocol.number(), role.port.family.bits()];
    let target = match role.target {
        Target::Pool(Pool::Cluster) => vec![0],
        Target::Pool(Pool::Local) => vec![1],
        Target::Endpoint(EndpointAddress { ip, port }) => address(ip, port),
    };
    let frontend = match role.frontend {
        None => vec![],
        Some(FrontendKey::Address { address: ip, port, .. }) => address(ip, port),
        Some(FrontendKey::NodePort { port, .. }) => port.to_be_bytes().to_vec(),
    };
    let bytes = texts.chain(numbers).chain(target).chain(frontend);
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

fn address(ip: IpAddr, port: u16) -> Vec<u8> {
    let mut bytes = match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    bytes.extend(port.to_be_bytes());
    bytes
}

/// Spreads neighbours: the finalizer of SplitMix64.
fn mix(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use backend_api::{Protocol, ServicePort};

    use super::*;
    use crate::servers::our_mark;

    fn role(protocol: Protocol, target: Target) -> Role {
        let frontend = FrontendKey::address([10, 96, 0, 1].into(), protocol, 80);
        let port = ServicePort { name: "web".into(), ..ServicePort::new(Family::V4, protocol) };
        Role::of(&port, frontend, target)
    }

    fn name(number: u32) -> ServiceName {
        ServiceName::new("default", &format!("service-{number}"))
    }

    const CLUSTER: Target = Target::Pool(Pool::Cluster);

    /// A change here cuts every connection at the next upgrade.
    #[test]
    fn marks_are_the_same_in_every_build() {
        let first = |target, protocol| marks(&name(1), &role(protocol, target)).next().unwrap().to_string();
        let endpoint = Target::Endpoint(EndpointAddress::new([10, 244, 0, 1].into(), 80));
        let found = [first(CLUSTER, Protocol::Tcp), first(CLUSTER, Protocol::Udp), first(endpoint, Protocol::Tcp)];
        assert_eq!(found, ["0x535711e4", "0x53a714ca", "0x536b1dd9"]);
    }

    #[test]
    fn marks_are_ours_and_leave_others_bits_alone() {
        for protocol in Protocol::ALL {
            for mark in marks(&name(1), &role(protocol, CLUSTER)).take(10_000).chain([TRIAL]) {
                assert!(mark.is_ours() && mark.0 & 0xe000 == 0, "{mark}");
                assert!(mark == TRIAL || cuts(mark) == (protocol != Protocol::Tcp));
            }
        }
        assert_eq!(TRIAL.to_string(), "0x537f1fff");
    }

    #[test]
    fn ten_thousand_services_have_a_mark_each() {
        let mut taken = HashSet::new();
        let cluster = role(Protocol::Tcp, CLUSTER);
        for number in 0..10_000 {
            let mark = choose(&name(number), &cluster, |mark| taken.contains(&mark), |_| false).unwrap();
            assert!(taken.insert(mark));
        }
        let first: HashSet<_> = (0..10_000).map(|number| marks(&name(number), &cluster).next().unwrap()).collect();
        assert!(first.len() > 9_900, "{} differ at first", first.len());
    }

    #[test]
    fn a_virtual_server_of_no_service_is_taken_over() {
        let (service, web) = (name(1), role(Protocol::Tcp, CLUSTER));
        let all: Vec<Mark> = marks(&service, &web).take(4).collect();
        assert_eq!(choose(&service, &web, |_| false, |key| our_mark(key) == Some(all[2])), Some(all[2]));
        assert_eq!(choose(&service, &web, |mark| mark == all[2], |key| our_mark(key) == Some(all[2])), Some(all[0]));
        assert_eq!(choose(&service, &web, |mark| mark == all[0], |_| false), Some(all[1]));
        let in_ipv6 = key(Family::V6, all[0]);
        let other = choose(&service, &web, |_| false, |key| key == in_ipv6);
        assert_eq!(other, Some(all[1]), "the mark alone must say it all");
    }

    #[test]
    fn the_last_free_mark_is_found_and_none_beyond_it() {
        let (service, web) = (name(1), role(Protocol::Udp, CLUSTER));
        let last = marked(77, Mark::CUT);
        assert_eq!(choose(&service, &web, |mark| mark != last, |_| false), Some(last));
        assert_eq!(choose(&service, &web, |_| true, |_| false), None);
    }
}
