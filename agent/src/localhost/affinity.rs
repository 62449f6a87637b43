//! Session affinity: which endpoint the processes of this node got last, by service port.

use std::collections::HashMap;

use backend_api::EndpointAddress;
use tokio::time::Instant;

use super::plan::{AffinityKey, PortEndpoints};

/// Up to so many entries, none is looked at to see whether it has expired.
const FEW: usize = 64;

/// The endpoints that are remembered.
#[derive(Debug, Default)]
pub(super) struct AffinityTable {
    chosen: HashMap<AffinityKey, Chosen>,
    /// With more entries than this, those that have expired are removed.
    crowded: usize,
}

#[derive(Debug)]
struct Chosen {
    endpoint: EndpointAddress,
    expires: Instant,
}

impl AffinityTable {
    /// The endpoint for a new connection at `now`: the remembered one, if the port has affinity and still has that
    /// endpoint.
    pub(super) fn choose(&mut self, endpoints: &PortEndpoints, now: Instant, dice: u64) -> EndpointAddress {
        let Some((key, timeout)) = endpoints.affinity() else { return endpoints.choose(None, dice) };
        let remembered = self.chosen.get(&key).filter(|chosen| now < chosen.expires);
        let endpoint = endpoints.choose(remembered.map(|chosen| chosen.endpoint), dice);
        self.chosen.insert(key, Chosen { endpoint, expires: now + timeout });
        if self.chosen.len() > self.crowded.max(FEW) {
            self.chosen.retain(|_, chosen| now < chosen.expires);
            self.crowded = 2 * self.chosen.len();
        }
        endpoint
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::num::NonZeroU32;
    use std::sync::Arc;
    use std::time::Duration;

    use backend_api::{Affinity, Endpoint, Family, Frontend, Protocol, Service, ServiceName, ServicePort};

    use super::super::NodePort;
    use super::*;

    fn endpoints_of(name: &str, seconds: u32, count: u8) -> PortEndpoints {
        let endpoint = |last| Endpoint::elsewhere(EndpointAddress::new([10, 244, 0, last].into(), 80));
        let frontend = Frontend::node_port(Family::V4, Protocol::Tcp, 30080);
        let port = ServicePort {
            affinity: Affinity::ClientIp { timeout: NonZeroU32::new(seconds).unwrap() },
            frontends: vec![frontend.clone()],
            endpoints: (0..count).map(endpoint).collect(),
            ..ServicePort::new(Family::V4, Protocol::Tcp)
        };
        let service = Arc::new(Service::new(ServiceName::new("default", name), vec![port]));
        PortEndpoints::of(&service, 0, &frontend, NodePort { family: Family::V4, protocol: Protocol::Tcp, port: 30080 })
            .unwrap()
    }

    #[test]
    fn an_endpoint_is_remembered_until_the_timeout_after_the_last_connection() {
        let (mut table, start) = (AffinityTable::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        let web = endpoints_of("web", 10, 8);
        let first = table.choose(&web, at(0), 3);
        // Each connection starts the timeout again.
        for (seconds, dice) in [(9, 1), (18, 2), (27, 0)] {
            assert_eq!(table.choose(&web, at(seconds), dice), first);
        }
        assert_ne!(table.choose(&web, at(37), 4), first);
    }

    #[test]
    fn services_are_remembered_apart_and_endpoints_that_are_gone_are_not_chosen() {
        let (mut table, now) = (AffinityTable::default(), Instant::now());
        let (one, other) = (endpoints_of("one", 10, 8), endpoints_of("other", 10, 8));
        assert_ne!(table.choose(&one, now, 7), table.choose(&other, now, 1));
        assert_eq!(table.choose(&one, now, 1), table.choose(&one, now, 2));
        let fewer = endpoints_of("one", 10, 2);
        assert!(fewer.keeps(table.choose(&fewer, now, 5)));
    }

    #[test]
    fn chance_reaches_every_endpoint_and_what_has_expired_takes_no_room() {
        let (mut table, start) = (AffinityTable::default(), Instant::now());
        let web = endpoints_of("web", 10, 8);
        let chosen: BTreeSet<_> = (0..8).map(|dice| web.choose(None, dice)).collect();
        assert_eq!(chosen.len(), 8);
        for i in 0..1000 {
            table.choose(&endpoints_of(&format!("web-{i}"), 1, 1), start + Duration::from_secs(i), 0);
        }
        assert!(table.chosen.len() <= FEW + 1, "{}", table.chosen.len());
    }
}
