//! Every duration of the protocol, in units of one interval.

use std::time::Duration;

/// Time since some start, from a clock that goes on while the process is stopped.
pub type Moment = Duration;

/// The durations of the protocol. All nodes should have the same; a receiver counts with the sender's interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// How often a node that holds an address says that it lives. 200 ms is the default.
    pub interval: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self { interval: Duration::from_millis(200) }
    }
}

/// A peer is dead once this many of its intervals have passed in silence.
const MISSED: u32 = 3;
/// Every holder adds this to the interval of all, so that holders send at most 200 messages a second together.
const EACH_HOLDER: Duration = Duration::from_millis(5);

impl Timing {
    /// The interval of a node, with as many nodes that hold something as there are, itself included.
    pub(super) fn holding(&self, holders: usize) -> Duration {
        self.interval.max(EACH_HOLDER * u32::try_from(holders).unwrap_or(u32::MAX).min(2000))
    }

    /// The interval of one of `nodes` that holds nothing.
    pub(super) fn idle(&self, nodes: usize) -> Duration {
        self.holding(nodes).max(self.interval * 5)
    }

    /// When a node is dead that was heard at `heard` and said that `interval` would pass.
    pub(super) fn dead(&self, heard: Moment, interval: Duration) -> Moment {
        heard + interval.max(self.interval / 4) * MISSED
    }

    /// When a node is asked for a sign of life.
    pub(super) fn doubt(&self, heard: Moment, interval: Duration) -> Moment {
        heard + interval.max(self.interval / 4) * (MISSED - 1)
    }

    /// Between two questions of the same kind about one node.
    pub(super) fn ask_again(&self) -> Duration {
        self.interval / 4
    }

    /// How long after a start only listening is done, and how long an unknown table keeps from claiming.
    pub(super) fn listen(&self) -> Duration {
        self.interval * MISSED
    }

    /// Between two probes for an address; three are sent, and the third is waited for as long.
    pub(super) fn probe(&self) -> Duration {
        self.interval
    }

    /// Between two attempts for an address that a foreign station has.
    pub(super) fn blocked(&self) -> Duration {
        self.interval * 5
    }

    /// How much earlier the next best candidate claims than the one after it.
    pub(super) fn stagger(&self) -> Duration {
        self.interval / 8
    }

    /// How long a better node must have been better before it relieves a holder. Services change on all nodes, and not
    /// at the same instant.
    pub(super) fn patience(&self) -> Duration {
        self.interval * 5 / 2
    }

    /// How late a turn may be, after which no answer is given before listening. With the interval before, it is less
    /// than what the others wait.
    pub(super) fn late(&self) -> Duration {
        self.interval * 9 / 5
    }
}

/// Between two defences of an address (RFC 5227 §2.4, `DEFEND_INTERVAL`).
pub(super) const DEFEND: Duration = Duration::from_secs(10);
/// For how long no address is taken from a peer that did not hear that it should yield.
pub(super) const DEAF: Duration = Duration::from_secs(60);
/// No pause is longer.
pub(super) const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Without the API for as long, while a peer has it, a node is doubtful: the time after which Kubernetes calls a node
/// that is silent `NotReady`.
pub(super) const API_GRACE: Duration = Duration::from_secs(40);
/// How long nothing is heard of expected peers before it is told.
pub(super) const SILENCE: Duration = Duration::from_secs(3);
