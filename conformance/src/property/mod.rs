//! Random states and random packets: what the kernel does with them is what the oracle says.
//!
//! ```text
//! arbitrary ──► Case (node, stages of services, packets) ──► Laboratory ──► sync, dial ─┐
//!                                                                 backend_api::oracle ──┴─► equal
//! ```
//!
//! Addresses and ports come from small pools, so that services collide, share addresses and lose frontends to each
//! other. One dataplane lives through all cases, so each case is also a random change of the one before.

mod arbitrary;
mod laboratory;

use std::cell::RefCell;

use proptest::test_runner::{Config, TestCaseError, TestRunner};

use self::arbitrary::case;
use self::laboratory::Laboratory;
use crate::Subject;

pub use laboratory::Tried;

/// Plays so many random cases against `subject`, and reduces the first that fails. Blocks. Needs root; nothing outside
/// network namespaces of its own is touched. Sixty cases take half a minute on two processors.
///
/// # Errors
/// The smallest failing case that was found: what was programmed, what was sent, what the oracle says and what was met;
/// or why there is no world or no dataplane.
pub fn run(subject: &Subject, cases: u32) -> Result<Tried, String> {
    let laboratory = RefCell::new(Laboratory::new(subject)?);
    let config = Config { cases, failure_persistence: None, max_shrink_time: 60_000, ..Config::default() };
    let played = TestRunner::new(config)
        .run(&case(), |case| laboratory.borrow_mut().try_case(&case).map_err(TestCaseError::fail));
    played.map_err(|error| error.to_string())?;
    Ok(laboratory.into_inner().tried)
}
