//! Session affinity: which endpoint this node's processes were given, by service port.

use std::collections::HashMap;

use backend_api::EndpointAddress;
use tokio::time::Instant;

use super::answerer::{Answerer, Identity};

/// Fewer entries than this are never looked through.
const FEW: usize = 64;

/// What is remembered.
#[derive(Debug, Default)]
pub(super) struct Memory {
    chosen: HashMap<Identity, Chosen>,
    /// How many entries may be there until those that have expired are taken out.
    crowded: usize,
}

#[derive(Debug)]
struct Chosen {
    endpoint: EndpointAddress,
    expires: Instant,
}

impl Memory {
    /// The endpoint for a new connection, `now`: the one that is remembered, if it still answers and the port has affinity.
    pub(super) fn choose(&mut self, answerer: &Answerer, now: Instant, dice: u64) -> EndpointAddress {
        let Some((identity, timeout)) = answerer.affinity() else { return answerer.choose(None, dice) };
        let remembered = self.chosen.get(&identity).filter(|chosen| now < chosen.expires);
        let endpoint = answerer.choose(remembered.map(|chosen| chosen.endpoint), dice);
        self.chosen.insert(identity, Chosen { endpoint, expires: now + timeout });
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

    fn answerer(name: &str, seconds: u32, endpoints: u8) -> Answerer {
        let endpoint = |last| Endpoint::elsewhere(EndpointAddress::new([10, 244, 0, last].into(), 80));
        let frontend = Frontend::node_port(Family::V4, Protocol::Tcp, 30080);
        let port = ServicePort {
            affinity: Affinity::ClientIp { timeout: NonZeroU32::new(seconds).unwrap() },
            frontends: vec![frontend.clone()],
            endpoints: (0..endpoints).map(endpoint).collect(),
            ..ServicePort::new(Family::V4, Protocol::Tcp)
        };
        let service = Arc::new(Service::new(ServiceName::new("default", name), vec![port]));
        Answerer::of(&service, 0, &frontend, NodePort { family: Family::V4, protocol: Protocol::Tcp, port: 30080 })
            .unwrap()
    }

    #[test]
    fn an_endpoint_is_remembered_until_the_timeout_after_the_last_connection() {
        let (mut memory, start) = (Memory::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        let web = answerer("web", 10, 8);
        let first = memory.choose(&web, at(0), 3);
        // Each one counts anew.
        for (seconds, dice) in [(9, 1), (18, 2), (27, 0)] {
            assert_eq!(memory.choose(&web, at(seconds), dice), first);
        }
        assert_ne!(memory.choose(&web, at(37), 4), first);
    }

    #[test]
    fn services_are_remembered_apart_and_endpoints_that_are_gone_are_not_chosen() {
        let (mut memory, now) = (Memory::default(), Instant::now());
        let (one, other) = (answerer("one", 10, 8), answerer("other", 10, 8));
        assert_ne!(memory.choose(&one, now, 7), memory.choose(&other, now, 1));
        assert_eq!(memory.choose(&one, now, 1), memory.choose(&one, now, 2));
        let fewer = answerer("one", 10, 2);
        assert!(fewer.keeps(memory.choose(&fewer, now, 5)));
    }

    #[test]
    fn chance_reaches_every_endpoint_and_what_has_expired_takes_no_room() {
        let (mut memory, start) = (Memory::default(), Instant::now());
        let web = answerer("web", 10, 8);
        let chosen: BTreeSet<_> = (0..8).map(|dice| web.choose(None, dice)).collect();
        assert_eq!(chosen.len(), 8);
        for i in 0..1000 {
            memory.choose(&answerer(&format!("web-{i}"), 1, 1), start + Duration::from_secs(i), 0);
        }
        assert!(memory.chosen.len() <= FEW + 1, "{}", memory.chosen.len());
    }
}
