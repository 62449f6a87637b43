//! The kernel's errors, by what a caller of the dataplane can do about them.

use std::io;

use backend_api::SyncError;
use netlink::ReadError;
use nix::errno::Errno;

use netlink::ipvs::{OpenError, Refusal};

/// The kernel's option and module, for who must enable it.
const IPVS: &str = "CONFIG_IP_VS (module ip_vs)";

/// Why IPVS could not be opened.
pub(crate) fn from_open(error: OpenError) -> SyncError {
    match error {
        OpenError::Missing => SyncError::Unsupported { feature: IPVS.to_owned(), reason: error.to_string() },
        OpenError::Unreadable(error) => from_read(error),
        OpenError::Socket(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            SyncError::Unsupported { feature: "CAP_NET_ADMIN".to_owned(), reason: error.to_string() }
        }
        OpenError::Socket(error) => SyncError::Unsupported { feature: IPVS.to_owned(), reason: error.to_string() },
        error => SyncError::Unsupported { feature: IPVS.to_owned(), reason: error.to_string() },
    }
}

/// Why something could not be read.
pub(crate) fn from_read(error: ReadError) -> SyncError {
    match error {
        ReadError::Refused { object, errno, text } => {
            let reason = if text.is_empty() { errno.desc().to_owned() } else { format!("{} ({text})", errno.desc()) };
            from_errno(errno, &object, &reason).unwrap_or(SyncError::Refused { object, reason })
        }
        ReadError::Raced { object, .. } => SyncError::Raced { object },
        ReadError::Socket(error) => from_socket(&error),
        error => SyncError::Transient { object: "netlink".to_owned(), reason: error.to_string() },
    }
}

/// The socket failed.
pub(crate) fn from_socket(error: &io::Error) -> SyncError {
    SyncError::Transient { object: "netlink socket".to_owned(), reason: error.to_string() }
}

/// The first refusal that is neither a service's fault nor a sign of others' changes.
pub(crate) fn from_refusals(refusals: &[Refusal]) -> Option<SyncError> {
    refusals.iter().find_map(|refusal| from_errno(refusal.errno, &refusal.object, refusal.errno.desc()))
}

fn from_errno(errno: Errno, object: &str, reason: &str) -> Option<SyncError> {
    let (object, reason) = (object.to_owned(), reason.to_owned());
    match errno {
        Errno::EPERM | Errno::EACCES => Some(SyncError::Unsupported { feature: "CAP_NET_ADMIN".to_owned(), reason }),
        Errno::ENOMEM | Errno::ENOBUFS | Errno::EAGAIN | Errno::EINTR | Errno::EBUSY => {
            Some(SyncError::Transient { object, reason })
        }
        _ => None,
    }
}
