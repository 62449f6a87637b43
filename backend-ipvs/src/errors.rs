//! The kernel's errors, by what a caller of the dataplane can do about them.

use std::fmt::Display;
use std::io;

use backend_api::SyncError;
use netlink::ipvs::{OpenError, Refusal};
use netlink::nftables::CommitError;
use netlink::{Namespace, ReadError, is_passing};
use nix::errno::Errno;

/// What the kernel must have, as an operator enables it.
const IPVS: &str = "CONFIG_IP_VS (module ip_vs)";

/// What the process must have.
const PRIVILEGE: &str = "CAP_NET_ADMIN";

/// What this kernel or process cannot do.
pub(crate) fn unsupported(feature: &str, reason: impl Display) -> SyncError {
    SyncError::Unsupported { feature: feature.to_owned(), reason: reason.to_string() }
}

/// Tries whether a network namespace can be entered, so that it is named if it cannot, and not what was to be opened
/// in it.
///
/// # Errors
/// [`SyncError::Unsupported`], mostly because `CAP_SYS_ADMIN` is missing, or [`SyncError::Transient`].
pub(crate) fn enter(namespace: &Namespace) -> Result<(), SyncError> {
    namespace.run(|| ()).map_err(|error| not_open("network namespace", error))
}

/// Why IPVS could not be opened.
pub(crate) fn from_open(error: OpenError) -> SyncError {
    match error {
        OpenError::Missing => unsupported(IPVS, "not in this kernel, and could not be loaded"),
        OpenError::Unreadable(error) => from_read(error),
        OpenError::Socket(error) if error.kind() == io::ErrorKind::PermissionDenied => unsupported(PRIVILEGE, error),
        OpenError::Socket(error) => not_open("netlink", error),
        other => unsupported("netlink", other),
    }
}

/// Why another socket could not be opened.
pub(crate) fn from_socket_open(error: io::Error) -> SyncError {
    not_open("netlink", error)
}

/// What cannot be opened: for now, or because something is missing.
fn not_open(what: &str, error: io::Error) -> SyncError {
    match error.raw_os_error().map(Errno::from_raw) {
        Some(errno) if is_passing(errno) => SyncError::Transient { object: what.to_owned(), reason: error.to_string() },
        _ => unsupported(what, error),
    }
}

/// Why something could not be read.
pub(crate) fn from_read(error: ReadError) -> SyncError {
    match error {
        ReadError::Refused { object, errno, text } => {
            let reason = reason(errno, &text);
            general(errno, &object, &reason).unwrap_or(SyncError::Refused { object, reason })
        }
        ReadError::Raced { object, .. } => SyncError::Raced { object },
        ReadError::Socket(error) => from_socket(&error),
        other => SyncError::Transient { object: "netlink".to_owned(), reason: other.to_string() },
    }
}

/// The socket failed.
pub(crate) fn from_socket(error: &io::Error) -> SyncError {
    SyncError::Transient { object: "netlink socket".to_owned(), reason: error.to_string() }
}

/// The first refusal that says nothing of its own object: a privilege is missing, or the kernel is short of something.
pub(crate) fn from_refusals(refusals: &[Refusal]) -> Option<SyncError> {
    refusals.iter().find_map(|Refusal { object, errno, text, .. }| general(*errno, object, &reason(*errno, text)))
}

/// A refusal that nothing can be done about.
pub(crate) fn from_refusal(Refusal { object, errno, text, .. }: Refusal) -> SyncError {
    SyncError::Refused { object, reason: reason(errno, &text) }
}

/// Why a table could not be written.
pub(crate) fn from_commit(object: String, error: CommitError) -> SyncError {
    match error {
        CommitError::Refused(refusals) => match refusals.into_iter().next() {
            Some(first) => from_errno(first.object, first.errno, &first.text),
            None => SyncError::Refused { object, reason: "no reason given".to_owned() },
        },
        CommitError::Raced => SyncError::Raced { object },
        CommitError::Whole { errno, text } => from_errno(object, errno, &text),
        CommitError::Unclear => SyncError::Transient { object, reason: "the kernel's answers were lost".to_owned() },
        CommitError::Socket(error) => from_socket(&error),
        other => SyncError::Transient { object, reason: other.to_string() },
    }
}

/// Why rtnetlink did not do something.
pub(crate) fn from_rtnetlink(object: &str, error: &rtnetlink::Error) -> SyncError {
    match errno(error) {
        Some(errno) => from_errno(object.to_owned(), errno, ""),
        None => SyncError::Transient { object: object.to_owned(), reason: error.to_string() },
    }
}

/// The kernel's error in rtnetlink's.
pub(crate) fn errno(error: &rtnetlink::Error) -> Option<Errno> {
    match error {
        rtnetlink::Error::NetlinkError(message) => Some(Errno::from_raw(message.raw_code().abs())),
        _ => None,
    }
}

/// The kernel's answer to what was asked of an `object` that every state needs.
pub(crate) fn from_errno(object: String, errno: Errno, text: &str) -> SyncError {
    let reason = reason(errno, text);
    if let Some(error) = general(errno, &object, &reason) {
        return error;
    }
    match errno {
        Errno::EOPNOTSUPP | Errno::EPROTONOSUPPORT | Errno::EAFNOSUPPORT => {
            SyncError::Unsupported { feature: object, reason }
        }
        Errno::EMSGSIZE => SyncError::Transient { object, reason },
        _ => SyncError::Refused { object, reason },
    }
}

/// What an error number says whatever the object is; none if it is about the object.
fn general(errno: Errno, object: &str, reason: &str) -> Option<SyncError> {
    match errno {
        Errno::EPERM | Errno::EACCES => Some(unsupported(PRIVILEGE, reason)),
        errno if is_passing(errno) => {
            Some(SyncError::Transient { object: object.to_owned(), reason: reason.to_owned() })
        }
        _ => None,
    }
}

fn reason(errno: Errno, text: &str) -> String {
    if text.is_empty() { errno.desc().to_owned() } else { format!("{} ({text})", errno.desc()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(error: SyncError, expected: &str) {
        assert_eq!(error.to_string(), expected);
    }

    fn refusal(errno: Errno, text: &str) -> Refusal {
        let object = "virtual server mark 0x53000001 ip".to_owned();
        Refusal { operation: 0, object, errno, text: text.to_owned() }
    }

    /// Object, what happened, why; nothing twice.
    #[test]
    fn an_error_names_its_object_once() {
        let missing = "CONFIG_IP_VS (module ip_vs): not available: not in this kernel, and could not be loaded";
        check(from_open(OpenError::Missing), missing);
        let denied = || io::Error::from_raw_os_error(Errno::EPERM as i32);
        let denied_text = "Operation not permitted (os error 1)";
        check(from_open(OpenError::Socket(denied())), &format!("CAP_NET_ADMIN: not available: {denied_text}"));
        let many = io::Error::from_raw_os_error(Errno::EMFILE as i32);
        check(from_open(OpenError::Socket(many)), "netlink: Too many open files (os error 24)");
        check(from_socket_open(Errno::ENOBUFS.into()), "netlink: No buffer space available (os error 105)");
        let none = "netlink: not available: Protocol not supported (os error 93)";
        check(from_socket_open(Errno::EPROTONOSUPPORT.into()), none);
        check(from_read(ReadError::Socket(denied())), &format!("netlink socket: {denied_text}"));
        check(
            from_refusal(refusal(Errno::EINVAL, "")),
            "virtual server mark 0x53000001 ip: kernel refused: Invalid argument",
        );
        let read =
            ReadError::Refused { object: "virtual servers".to_owned(), errno: Errno::ENOMEM, text: String::new() };
        check(from_read(read), "virtual servers: Out of memory");
        let table = || "table ip switchyard-originals".to_owned();
        let whole = CommitError::Whole { errno: Errno::EINVAL, text: "no such hook".to_owned() };
        check(
            from_commit(table(), whole),
            "table ip switchyard-originals: kernel refused: Invalid argument (no such hook)",
        );
        check(
            from_errno("ip rule 100".to_owned(), Errno::EOPNOTSUPP, ""),
            "ip rule 100: not available: Operation not supported on transport endpoint",
        );
    }

    #[test]
    fn only_what_is_about_no_object_stops_a_sync() {
        assert_eq!(from_refusals(&[refusal(Errno::EINVAL, ""), refusal(Errno::ENOENT, "")]), None);
        let refusals = [refusal(Errno::EINVAL, ""), refusal(Errno::ENOBUFS, "")];
        assert!(matches!(from_refusals(&refusals), Some(SyncError::Transient { .. })));
    }
}
