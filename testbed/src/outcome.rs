//! What a client met. Pure, but for the kernel's error numbers.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use nix::errno::Errno;

use super::responder::parse;

/// What a client met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A server answered.
    Answered(Answer),
    /// Refused.
    Refused(Refusal),
    /// A router or the own kernel said that there is no way (ICMP host or network unreachable, prohibited).
    Unreachable,
    /// Nothing came before the deadline.
    Silent,
    /// A connection that stood was closed by the other side.
    Closed,
    /// The probe itself could not be made: its source is not there, its port is taken. Says nothing about the network.
    Failed(String),
}

/// An answer: its sender, and what that saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The answerer's name.
    pub name: String,
    /// The client as the answerer saw it.
    pub source: SocketAddr,
    /// From dialling to the answer.
    pub latency: Duration,
}

/// How a refusal came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Refusal {
    /// TCP's RST, SCTP's ABORT.
    Reset,
    /// ICMP port unreachable.
    PortUnreachable,
}

impl Answer {
    pub(super) fn read(text: &str, started: Instant) -> Result<Self, Outcome> {
        let latency = started.elapsed();
        match parse(text) {
            Some((name, source)) => Ok(Self { name, source, latency }),
            None => Err(Outcome::Failed(format!("answer {text:?}: not a name and an address"))),
        }
    }
}

impl Outcome {
    /// The answer, if one came.
    pub fn answer(&self) -> Option<&Answer> {
        match self {
            Self::Answered(answer) => Some(answer),
            _ => None,
        }
    }

    /// The name of the answerer, if an answer came.
    pub fn name(&self) -> Option<&str> {
        self.answer().map(|answer| answer.name.as_str())
    }

    pub(super) fn of_connect(errno: Errno, by_icmp: impl Fn() -> bool) -> Self {
        match errno {
            Errno::EADDRNOTAVAIL | Errno::EADDRINUSE => Self::Failed(errno.to_string()),
            // What a timeout of connect is called (connect(2)).
            Errno::EINPROGRESS => Self::Silent,
            Errno::ECONNREFUSED if by_icmp() => Self::Refused(Refusal::PortUnreachable),
            Errno::ECONNREFUSED => Self::Refused(Refusal::Reset),
            other => Self::of(other),
        }
    }

    pub(super) fn of(errno: Errno) -> Self {
        match errno {
            Errno::EAGAIN | Errno::ETIMEDOUT => Self::Silent,
            Errno::ECONNREFUSED => Self::Refused(Refusal::PortUnreachable),
            Errno::ECONNRESET | Errno::EPIPE => Self::Closed,
            Errno::EHOSTUNREACH | Errno::ENETUNREACH | Errno::EACCES | Errno::ENOPROTOOPT | Errno::EPROTO => {
                Self::Unreachable
            }
            other => Self::Failed(other.to_string()),
        }
    }

    pub(super) fn of_error(error: &io::Error) -> Self {
        error.raw_os_error().map_or_else(|| Self::Failed(error.to_string()), |raw| Self::of(Errno::from_raw(raw)))
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answered(answer) => write!(f, "answered by {}, which saw {}", answer.name, answer.source),
            Self::Refused(Refusal::Reset) => f.write_str("refused by reset"),
            Self::Refused(Refusal::PortUnreachable) => f.write_str("refused by ICMP port unreachable"),
            Self::Unreachable => f.write_str("unreachable"),
            Self::Silent => f.write_str("silent"),
            Self::Closed => f.write_str("closed"),
            Self::Failed(reason) => write!(f, "probe failed: {reason}"),
        }
    }
}
