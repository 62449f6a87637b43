//! One test for each scenario file, named `topic::claim`, against the nftables backend on this machine's kernel.

use std::process::ExitCode;

use agent::backend::Backend;
use conformance::scenario::load_all;
use conformance::{Outcome, Subject, judge, scenarios};
use libtest_mimic::{Arguments, Failed, Trial};

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // A scenario mostly waits, for links, packets and silence: two a processor keep it busy.
    arguments.test_threads.get_or_insert_with(|| 2 * std::thread::available_parallelism().map_or(1, usize::from));
    let scenarios = match load_all(&scenarios()) {
        Ok(scenarios) => scenarios,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    let subject = Subject::of(Backend::Nftables);
    let trial = |scenario: conformance::scenario::Scenario| {
        let subject = subject.clone();
        let name = format!("{}::{}", scenario.topic, scenario.claim);
        Trial::test(name, move || match judge(&subject, &scenario).outcome {
            Outcome::Passed | Outcome::Gap(_) => Ok(()),
            Outcome::Failed(reason) => Err(Failed::from(reason)),
        })
    };
    libtest_mimic::run(&arguments, scenarios.into_iter().map(trial).collect()).exit_code()
}
