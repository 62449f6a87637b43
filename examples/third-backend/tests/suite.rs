//! The whole suite against the example: it passes everything but its declared gaps.

use conformance::Outcome;
use switchyard_third_backend::subject;
use testbed::privilege;

#[test]
fn the_example_passes_all_scenarios_but_its_gaps() {
    if privilege::skip_without("nft") {
        return;
    }
    let jobs = 2 * std::thread::available_parallelism().map_or(1, usize::from);
    let summary = conformance::run(&subject(), "", jobs, &|_| ()).unwrap();
    println!("{summary}");
    let failures: Vec<_> = summary.failures().map(ToString::to_string).collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    let count = |wanted: fn(&Outcome) -> bool| summary.verdicts.iter().filter(|one| wanted(&one.outcome)).count();
    let passed = count(|outcome| matches!(outcome, Outcome::Passed));
    let gaps = count(|outcome| matches!(outcome, Outcome::Gap(_)));
    assert!(passed > 200 && gaps < passed / 4, "{passed} passed, {gaps} gaps");
}
