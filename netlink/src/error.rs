//! What can go wrong when the kernel is asked something.

use std::io;

use nix::errno::Errno;

/// Why something could not be read or done outside a batch.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The kernel said no.
    #[error("{object}: {}{}", .errno.desc(), message(.text))]
    Refused {
        /// What was being read.
        object: String,
        /// The kernel's error.
        errno: Errno,
        /// The extended acknowledgement; mostly empty.
        text: String,
    },
    /// Others changed it each time that we read.
    #[error("{object}: changed by somebody else while it was read, {attempts} times")]
    Raced {
        /// What was being read.
        object: String,
        /// How often we tried.
        attempts: u32,
    },
    /// The socket failed.
    #[error("netlink socket: {0}")]
    Socket(#[from] io::Error),
}

/// What the kernel said beside its error number, in brackets; nothing if it said nothing.
pub(crate) fn message(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!(" ({text})") }
}
