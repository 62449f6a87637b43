//! The kernel's errors, by what a caller of the dataplane can do about them.

use backend_api::SyncError;
use nix::errno::Errno;

use netlink::nftables::CommitError;
use netlink::{ReadError, is_passing};

/// Why nothing was written.
pub(crate) fn from_commit(error: CommitError) -> SyncError {
    let object = "transaction".to_owned();
    match error {
        CommitError::Refused(refusals) => match refusals.into_iter().next() {
            // The error names the object by itself: a refusal as text would name it again.
            Some(first) => SyncError::Refused { object: first.object, reason: why(first.errno, &first.text) },
            None => SyncError::Refused { object, reason: "no reason given".to_owned() },
        },
        CommitError::Raced => SyncError::Raced { object },
        CommitError::Whole { errno, text } => from_errno(object, errno, &text),
        CommitError::Unclear => {
            SyncError::Transient { object, reason: "the kernel's answers were lost, the outcome is unknown".to_owned() }
        }
        CommitError::Socket(error) => SyncError::Transient { object, reason: error.to_string() },
        other => SyncError::Transient { object, reason: other.to_string() },
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
        other => SyncError::Transient { object: "netlink".to_owned(), reason: other.to_string() },
    }
}

/// Why a socket could not be opened.
pub(crate) fn from_open(error: std::io::Error) -> SyncError {
    let reason = error.to_string();
    match error.raw_os_error().map(Errno::from_raw) {
        Some(errno) if is_passing(errno) => SyncError::Transient { object: "netlink socket".to_owned(), reason },
        _ => SyncError::Unsupported { feature: "netlink (netfilter)".to_owned(), reason },
    }
}

fn from_errno(object: String, errno: Errno, text: &str) -> SyncError {
    let reason = why(errno, text);
    match errno {
        Errno::EPERM | Errno::EACCES => SyncError::Unsupported { feature: "CAP_NET_ADMIN".to_owned(), reason },
        Errno::EOPNOTSUPP | Errno::EPROTONOSUPPORT | Errno::EAFNOSUPPORT => {
            SyncError::Unsupported { feature: "nf_tables".to_owned(), reason }
        }
        Errno::EMSGSIZE => SyncError::Transient { object, reason },
        errno if is_passing(errno) => SyncError::Transient { object, reason },
        _ => SyncError::Refused { object, reason },
    }
}

/// The kernel's error, and what it said beside.
fn why(errno: Errno, text: &str) -> String {
    if text.is_empty() { errno.desc().to_owned() } else { format!("{} ({text})", errno.desc()) }
}

#[cfg(test)]
mod tests {
    use netlink::nftables::Refusal;

    use super::*;

    fn check(error: SyncError, expected: &str) {
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn an_error_names_its_object_once() {
        let refusal = |text: &str| {
            let (object, text) = ("table ip switchyard".to_owned(), text.to_owned());
            CommitError::Refused(vec![Refusal { operations: vec![0], object, errno: Errno::EEXIST, text }])
        };
        check(from_commit(refusal("")), "table ip switchyard: kernel refused: File exists");
        check(from_commit(refusal("said more")), "table ip switchyard: kernel refused: File exists (said more)");
        check(from_commit(CommitError::Refused(Vec::new())), "transaction: kernel refused: no reason given");
        let whole = CommitError::Whole { errno: Errno::ENOMEM, text: String::new() };
        check(from_commit(whole), "transaction: Out of memory");
        let (object, text) = ("map services".to_owned(), String::new());
        let read = ReadError::Refused { object, errno: Errno::EINVAL, text };
        check(from_read(read), "map services: kernel refused: Invalid argument");
    }

    #[test]
    fn a_shortage_passes_and_a_lack_does_not() {
        for (errno, expected) in [
            (Errno::EMFILE, "netlink socket: Too many open files (os error 24)"),
            (Errno::ENFILE, "netlink socket: Too many open files in system (os error 23)"),
            (Errno::ENOMEM, "netlink socket: Cannot allocate memory (os error 12)"),
            (Errno::ENOBUFS, "netlink socket: No buffer space available (os error 105)"),
            (Errno::EPERM, "netlink (netfilter): not available: Operation not permitted (os error 1)"),
            (Errno::EPROTONOSUPPORT, "netlink (netfilter): not available: Protocol not supported (os error 93)"),
            (
                Errno::EAFNOSUPPORT,
                "netlink (netfilter): not available: Address family not supported by protocol (os error 97)",
            ),
        ] {
            check(from_open(errno.into()), expected);
        }
    }
}
