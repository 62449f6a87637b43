//! What can go wrong between a program and IPVS.

use std::fmt;
use std::io;

use nix::errno::Errno;

use crate::ReadError;

/// Why there is no connection to IPVS.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The kernel has no IPVS, and cannot load it.
    #[error("generic netlink family IPVS: not in this kernel, and module ip_vs could not be loaded")]
    Missing,
    /// The kernel refused, or its answer cannot be read.
    #[error(transparent)]
    Unreadable(#[from] ReadError),
    /// The socket failed.
    #[error("netlink socket: {0}")]
    Socket(#[from] io::Error),
}

/// An operation that the kernel refused. All others of the call were done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Index of the operation.
    pub operation: usize,
    /// What it was about.
    pub object: String,
    /// The kernel's error.
    pub errno: Errno,
    /// The extended acknowledgement; mostly empty.
    pub text: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: kernel refused it: {}", self.object, self.errno.desc())?;
        if self.text.is_empty() { Ok(()) } else { write!(f, " ({})", self.text) }
    }
}
