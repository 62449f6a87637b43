//! Random states and random packets: what the kernel does with them is what the oracle says.
//!
//! Addresses and ports come from small pools, so that services collide, share addresses and lose frontends to each other.
//! One dataplane lives through all cases, so each case is also a random change of the one before. `PROPTEST_CASES` sets
//! their number.

mod arbitrary;
mod world;

use proptest::test_runner::{Config, TestCaseError, TestRunner};

use self::arbitrary::case;
use self::world::Laboratory;

/// Cases, where the environment does not say how many: half a minute on two processors.
const CASES: u32 = 60;

#[test]
fn the_kernel_does_what_the_oracle_says() {
    if testbed::privilege::skip() {
        return;
    }
    let mut laboratory = Laboratory::new();
    let config = Config {
        cases: std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(CASES),
        failure_persistence: None,
        max_shrink_time: 60_000,
        ..Config::default()
    };
    let laboratory = std::cell::RefCell::new(&mut laboratory);
    let outcome = TestRunner::new(config)
        .run(&case(), |case| laboratory.borrow_mut().try_case(&case).map_err(TestCaseError::fail));
    if let Err(error) = outcome {
        panic!("{error}");
    }
    laboratory.into_inner().report();
}
