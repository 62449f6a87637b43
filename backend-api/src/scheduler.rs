//! IPVS's ways to choose an endpoint.
//!
//! Kept apart from the services because only one kind of dataplane asks: one without schedulers picks at random by
//! weight, whatever a service says.

use std::fmt;
use std::str::FromStr;

/// How a new connection's endpoint is chosen, by a scheduler of the kernel (linux/ip_vs.h: `sched_name`;
/// net/netfilter/ipvs/ip_vs_*.c, each a module of its own).
///
/// Whatever it is, only endpoints of the pool with weight above 0 are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scheduler {
    /// Round robin: each in turn, whatever its weight.
    Rr,
    /// Weighted round robin: in turn, the heavier more often.
    Wrr,
    /// Least connections: the endpoint with the fewest, whatever its weight.
    Lc,
    /// Weighted least connections: the endpoint with the fewest for its weight.
    Wlc,
    /// Fail over: all to the heaviest, as long as it is there.
    Fo,
    /// Overflow: all to the heaviest, until it has as many active connections as its weight; then to the next.
    Ovf,
    /// Locality-based least connections: the address dialled keeps its endpoint, until that has more connections than
    /// its weight while another is idle.
    Lblc,
    /// The same with replication: the address dialled keeps a set of endpoints, which grows and shrinks with the load.
    Lblcr,
    /// Destination hashing: by the address dialled. Connections to one address all go to one endpoint.
    Dh,
    /// Source hashing: by the client's address. A change of the endpoints moves many clients.
    Sh,
    /// Maglev hashing: by the client's address, and a change of the endpoints moves few clients.
    Mh,
    /// Shortest expected delay: the endpoint that would have the fewest for its weight with this one.
    Sed,
    /// Never queue: an idle one if there is one, else as [`Scheduler::Sed`].
    Nq,
    /// Power of two choices: two at random by weight, and of them the one with the fewer for its weight.
    Twos,
}

/// A text that names no scheduler.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
#[error("{0:?} is no scheduler, which are {names}", names = Scheduler::names())]
pub struct UnknownScheduler(pub String);

impl Scheduler {
    /// Every scheduler that a kernel may have.
    pub const ALL: [Self; 14] = [
        Self::Rr,
        Self::Wrr,
        Self::Lc,
        Self::Wlc,
        Self::Fo,
        Self::Ovf,
        Self::Lblc,
        Self::Lblcr,
        Self::Dh,
        Self::Sh,
        Self::Mh,
        Self::Sed,
        Self::Nq,
        Self::Twos,
    ];

    /// The name that its module registers.
    pub fn name(self) -> &'static str {
        self.module().strip_prefix("ip_vs_").expect("every module's name begins so")
    }

    /// The kernel module that has it.
    pub fn module(self) -> &'static str {
        match self {
            Self::Rr => "ip_vs_rr",
            Self::Wrr => "ip_vs_wrr",
            Self::Lc => "ip_vs_lc",
            Self::Wlc => "ip_vs_wlc",
            Self::Fo => "ip_vs_fo",
            Self::Ovf => "ip_vs_ovf",
            Self::Lblc => "ip_vs_lblc",
            Self::Lblcr => "ip_vs_lblcr",
            Self::Dh => "ip_vs_dh",
            Self::Sh => "ip_vs_sh",
            Self::Mh => "ip_vs_mh",
            Self::Sed => "ip_vs_sed",
            Self::Nq => "ip_vs_nq",
            Self::Twos => "ip_vs_twos",
        }
    }

    /// All names, for messages: `rr, wrr, …`.
    fn names() -> String {
        Self::ALL.map(Self::name).join(", ")
    }
}

/// Its name, as the kernel has it.
impl fmt::Display for Scheduler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Reads a kernel's name; letters count as they are.
impl FromStr for Scheduler {
    type Err = UnknownScheduler;

    fn from_str(text: &str) -> Result<Self, UnknownScheduler> {
        Self::ALL
            .into_iter()
            .find(|scheduler| scheduler.name() == text)
            .ok_or_else(|| UnknownScheduler(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_scheduler_is_read_back_from_its_name() {
        for scheduler in Scheduler::ALL {
            assert_eq!(scheduler.to_string().parse(), Ok(scheduler));
            assert_eq!(scheduler.module(), format!("ip_vs_{scheduler}"));
        }
        assert_eq!(BTreeSet::from(Scheduler::ALL).len(), Scheduler::ALL.len());
    }

    #[test]
    fn another_name_is_refused_with_those_that_there_are() {
        for text in ["", "RR", " rr", "round-robin", "ip_vs_rr"] {
            assert_eq!(text.parse::<Scheduler>(), Err(UnknownScheduler(text.to_owned())));
        }
        let expected = "\"random\" is no scheduler, which are \
                        rr, wrr, lc, wlc, fo, ovf, lblc, lblcr, dh, sh, mh, sed, nq, twos";
        assert_eq!("random".parse::<Scheduler>().unwrap_err().to_string(), expected);
    }
}
