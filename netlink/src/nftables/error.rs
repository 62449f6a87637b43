//! What can go wrong with a batch, by what it means for the caller.

use std::fmt;
use std::io;

use nix::errno::Errno;

use crate::error::message;

/// Why a batch changed nothing. The kernel is as it was, but for [`CommitError::Unclear`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CommitError {
    /// Operations that the kernel refused; so none was done.
    #[error("{}", refusals(.0))]
    Refused(Vec<Refusal>),
    /// The ruleset is not at the generation that the batch was made for (`ERESTART`), or the kernel was interrupted:
    /// read again and try again.
    #[error("batch: the ruleset changed meanwhile")]
    Raced,
    /// The kernel refused the batch as a whole: not permitted, out of memory, no nf_tables in this kernel, too large
    /// for the socket.
    #[error("batch: {}{}", .errno.desc(), message(.text))]
    Whole {
        /// The kernel's error.
        errno: Errno,
        /// What else it said; mostly empty.
        text: String,
    },
    /// The kernel's answers were lost, and the generation does not tell either: whether the batch was done is
    /// unknown.
    #[error("batch: answers lost, its outcome is unknown")]
    Unclear,
    /// The socket failed.
    #[error("netlink socket: {0}")]
    Socket(#[from] io::Error),
}

/// An operation that the kernel refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The caller's indexes of the operations that it may be: one, except where the kernel (before 6.0) does not say
    /// which element of a message it is; then those of the message.
    pub operations: Vec<u32>,
    /// The object: `map services`, `chain pick-3`.
    pub object: String,
    /// The kernel's error.
    pub errno: Errno,
    /// The extended acknowledgement; mostly empty.
    pub text: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: kernel refused it: {}{}", self.object, self.errno.desc(), message(&self.text))
    }
}

fn refusals(refusals: &[Refusal]) -> String {
    match refusals {
        [] => "batch: refused".to_owned(),
        [one] => one.to_string(),
        [first, rest @ ..] => format!("{first}, and {} more", rest.len()),
    }
}
