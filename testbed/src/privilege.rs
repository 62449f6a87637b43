//! For tests that create network namespaces: skips them where this process may not.
//!
//! A test begins with one line. [`skip_without`] stands in its place where the test runs a program too.
//!
//! ```
//! # fn a_test() {
//! if switchyard_testbed::privilege::skip() {
//!     return;
//! }
//! # }
//! # a_test();
//! ```
//!
//! With `SWITCHYARD_REQUIRE_ROOT=1` in the environment nothing is skipped: the test fails and names the reason.

use std::env;
use std::sync::OnceLock;

use crate::namespace::Namespace;

/// The variable that forbids to skip, if its value is `1`. Set it where tests run as root, so that they really run.
pub const REQUIRE_ROOT: &str = "SWITCHYARD_REQUIRE_ROOT";

/// Whether the calling test must be skipped because this process may not create network namespaces. Prints the reason.
///
/// # Panics
/// If it must be skipped and [`REQUIRE_ROOT`] is `1`.
#[must_use = "a test that is skipped returns at once"]
pub fn skip() -> bool {
    told(missing())
}

/// As [`skip`], and whether `program` is not installed.
///
/// # Panics
/// As [`skip`].
#[must_use = "a test that is skipped returns at once"]
pub fn skip_without(program: &str) -> bool {
    told(missing_with(program))
}

/// Why this process may not create network namespaces; `None` if it may. For test harnesses that list ignored tests.
///
/// It is tried once in each process: a namespace is created and removed.
///
/// # Panics
/// If there is a reason and [`REQUIRE_ROOT`] is `1`.
pub fn missing() -> Option<String> {
    judge(root())
}

/// As [`missing`], or that `program` is not installed.
///
/// # Panics
/// As [`missing`].
pub fn missing_with(program: &str) -> Option<String> {
    judge(root().or_else(|| installed(program)))
}

fn root() -> Option<String> {
    static REASON: OnceLock<Option<String>> = OnceLock::new();
    let reason = REASON.get_or_init(|| {
        let error = Namespace::create("privilege").err()?;
        Some(format!("needs root for network namespaces: {error}"))
    });
    reason.clone()
}

fn installed(program: &str) -> Option<String> {
    let path = env::var_os("PATH").unwrap_or_default();
    let found = env::split_paths(&path).any(|folder| folder.join(program).is_file());
    (!found).then(|| format!("needs the program {program}, which is not in PATH"))
}

fn told(reason: Option<String>) -> bool {
    if let Some(reason) = &reason {
        println!("skipped: {reason}");
    }
    reason.is_some()
}

fn judge(reason: Option<String>) -> Option<String> {
    check(reason, env::var(REQUIRE_ROOT).ok().as_deref())
}

fn check(reason: Option<String>, required: Option<&str>) -> Option<String> {
    let reason = reason?;
    assert!(required != Some("1"), "{REQUIRE_ROOT}=1, and this test {reason}");
    Some(reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lacking() -> Option<String> {
        Some("needs root".to_owned())
    }

    #[test]
    fn a_test_is_skipped_only_for_a_reason() {
        assert_eq!(check(None, Some("1")), None);
        for required in [None, Some(""), Some("0")] {
            assert_eq!(check(lacking(), required), lacking(), "{required:?}");
        }
    }

    #[test]
    #[should_panic(expected = "SWITCHYARD_REQUIRE_ROOT=1, and this test needs root")]
    fn where_root_is_required_a_reason_is_a_failure() {
        let _ = check(lacking(), Some("1"));
    }

    #[test]
    fn a_program_is_looked_for_in_the_path() {
        assert_eq!(installed("sh"), None);
        assert!(installed("no-such-program").is_some());
    }
}
