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
