//! The kernel's errors, by what a caller of the dataplane can do about them.

use backend_api::SyncError;
use nix::errno::Errno;

use netlink::ReadError;
use netlink::nftables::CommitError;

/// Why nothing was written.
pub(crate) fn from_commit(error: CommitError) -> SyncError {
    let object = "transaction".to_owned();
    match error {
        CommitError::Refused(refusals) => {
            let first = refusals.into_iter().next();
            let object = first.as_ref().map_or(object, |refusal| refusal.object.clone());
            SyncError::Refused { object, reason: first.map_or_else(String::new, |refusal| refusal.to_string()) }
        }
        CommitError::Raced => SyncError::Raced { object },
        CommitError::Whole { errno, text } => from_errno(object, errno, &text),
        CommitError::Unclear => {
            SyncError::Transient { object, reason: "the kernel's answers were lost, the outcome is unknown".to_owned() }
        }
        CommitError::Socket(error) => SyncError::Transient { object, reason: error.to_string() },
        error => SyncError::Transient { object, reason: error.to_string() },
    }
}

/// Why nothing could be read.
pub(crate) fn from_read(error: ReadError) -> SyncError {
    match error {
        ReadError::Refused { object, errno, text } => from_errno(object, errno, &text),
        ReadError::Raced { object, .. } => SyncError::Raced { object },
        ReadError::Socket(error) => {
            SyncError::Transient { object: "netlink socket".to_owned(), reason: error.to_string() }
        }
        error => SyncError::Transient { object: "netlink".to_owned(), reason: error.to_string() },
    }
}

/// Why a socket could not be opened.
pub(crate) fn from_open(error: std::io::Error) -> SyncError {
    SyncError::Unsupported { feature: "netlink (netfilter)".to_owned(), reason: error.to_string() }
}

fn from_errno(object: String, errno: Errno, text: &str) -> SyncError {
    let reason = if text.is_empty() { errno.desc().to_owned() } else { format!("{} ({text})", errno.desc()) };
    match errno {
        Errno::EPERM | Errno::EACCES => SyncError::Unsupported { feature: "CAP_NET_ADMIN".to_owned(), reason },
        Errno::EOPNOTSUPP | Errno::EPROTONOSUPPORT | Errno::EAFNOSUPPORT => {
            SyncError::Unsupported { feature: "nf_tables".to_owned(), reason }
        }
        Errno::ENOMEM | Errno::ENOBUFS | Errno::EAGAIN | Errno::EINTR | Errno::EBUSY | Errno::EMSGSIZE => {
            SyncError::Transient { object, reason }
        }
        _ => SyncError::Refused { object, reason },
    }
}
