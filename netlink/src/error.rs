//! What can go wrong when the kernel is asked for something.

use std::io;

use nix::errno::Errno;

/// Why something could not be read or done outside a batch.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The kernel refused.
    #[error("{object}: {}{}", .errno.desc(), message(.text))]
    Refused {
        /// What was being read.
        object: String,
        /// The kernel's error.
        errno: Errno,
        /// The extended acknowledgement; mostly empty.
        text: String,
    },
    /// It changed each time that it was read: try again later.
    #[error("{object}: changed while it was read, {attempts} times in a row")]
    Raced {
        /// What was being read.
        object: String,
        /// How often it was read.
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

/// Whether an error says that the process or the kernel is short of something, or was interrupted: the same may succeed
/// a moment later.
pub fn is_passing(errno: Errno) -> bool {
    matches!(
        errno,
        Errno::EMFILE | Errno::ENFILE | Errno::ENOMEM | Errno::ENOBUFS | Errno::EAGAIN | Errno::EINTR | Errno::EBUSY
    )
}
