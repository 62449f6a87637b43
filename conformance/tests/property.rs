//! The property test against the backend that `SWITCHYARD_BACKEND` names; `PROPTEST_CASES` sets the number of cases.

use switchyard_conformance::{Subject, property, under_test};

/// Cases, where the environment does not say how many: half a minute on two processors.
const CASES: u32 = 60;

#[test]
fn the_kernel_does_what_the_oracle_says() {
    if testbed::privilege::skip() {
        return;
    }
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(CASES);
    match property::run(&Subject::of(under_test()), cases) {
        Ok(tried) => println!("{tried:?}"),
        Err(error) => panic!("{error}"),
    }
}
