//! Errors of what only the host speaks to, by what a caller of the dataplane can do about them.

use std::fmt::Display;
use std::io;

use backend_api::SyncError;
use netlink::nftables::CommitError;
use nix::errno::Errno;

use crate::errors::from_socket;

/// What this kernel or process cannot do.
pub(super) fn unsupported(feature: &str, reason: impl Display) -> SyncError {
    SyncError::Unsupported { feature: feature.to_owned(), reason: reason.to_string() }
}

/// Why a socket could not be opened.
pub(super) fn from_open(error: io::Error) -> SyncError {
    unsupported("netlink", error)
}

/// Why a table could not be written.
pub(super) fn from_commit(object: String, error: CommitError) -> SyncError {
    match error {
        CommitError::Refused(refusals) => match refusals.into_iter().next() {
            Some(first) => from_errno(first.object, first.errno, &first.text),
            None => SyncError::Refused { object, reason: "no reason given".to_owned() },
        },
        CommitError::Raced => SyncError::Raced { object },
        CommitError::Whole { errno, text } => from_errno(object, errno, &text),
        CommitError::Unclear => SyncError::Transient { object, reason: "the kernel's answers were lost".to_owned() },
        CommitError::Socket(error) => from_socket(&error),
        error => SyncError::Transient { object, reason: error.to_string() },
    }
}

/// Why rtnetlink did not do something.
pub(super) fn from_rtnetlink(object: &str, error: &rtnetlink::Error) -> SyncError {
    match errno(error) {
        Some(errno) => from_errno(object.to_owned(), errno, ""),
        None => SyncError::Transient { object: object.to_owned(), reason: error.to_string() },
    }
}

/// The kernel's error in rtnetlink's.
pub(super) fn errno(error: &rtnetlink::Error) -> Option<Errno> {
    match error {
        rtnetlink::Error::NetlinkError(message) => Some(Errno::from_raw(message.raw_code().abs())),
        _ => None,
    }
}

/// The kernel's answer to what was asked of `object`.
pub(super) fn from_errno(object: String, errno: Errno, text: &str) -> SyncError {
    let reason = if text.is_empty() { errno.desc().to_owned() } else { format!("{} ({text})", errno.desc()) };
    match errno {
        Errno::EPERM | Errno::EACCES => SyncError::Unsupported { feature: "CAP_NET_ADMIN".to_owned(), reason },
        Errno::EOPNOTSUPP | Errno::EPROTONOSUPPORT | Errno::EAFNOSUPPORT => {
            SyncError::Unsupported { feature: object, reason }
        }
        Errno::ENOMEM | Errno::ENOBUFS | Errno::EAGAIN | Errno::EINTR | Errno::EBUSY | Errno::EMSGSIZE => {
            SyncError::Transient { object, reason }
        }
        _ => SyncError::Refused { object, reason },
    }
}
