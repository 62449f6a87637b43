//! Compares what was met with what was expected. Pure.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::itinerary::{Expected, Visit};
use testbed::{Outcome, Tally};

/// What a verdict must know of the world.
pub(super) trait Geography {
    /// The client's own address and the node's towards `answerer`.
    fn sources(&self, client: &str, answerer: &str) -> Option<(IpAddr, IpAddr)>;
}

/// Every way in which `tally` differs from what `visit` expects, in sentences; none is good.
pub(super) fn mismatches(visit: &Visit, tally: &Tally, geography: &impl Geography) -> Vec<String> {
    match &visit.expected {
        Expected::Answers(names, source) => {
            let mut found = strangers(tally, names);
            found.extend(unwanted(tally, |_| false));
            found.extend(unevenness(tally, names));
            for (answerer, seen) in tally.sources.keys().filter(|(name, _)| names.contains(&name.as_str())) {
                let Some(addresses) = geography.sources(visit.from, answerer) else { continue };
                let awaited = source.of(answerer, visit.from, addresses);
                if *seen != awaited {
                    found.push(format!("{answerer} saw {seen}, expected {awaited}"));
                }
            }
            found
        }
        Expected::Refusal(refusal) => {
            let mut found = strangers(tally, &[]);
            found.extend(unwanted(tally, |outcome| *outcome == Outcome::Refused(*refusal)));
            found
        }
        Expected::Silence => {
            let mut found = strangers(tally, &[]);
            found.extend(unwanted(tally, |outcome| *outcome == Outcome::Silent));
            found
        }
    }
}

/// Answers of others than those that are expected.
fn strangers(tally: &Tally, names: &[&str]) -> Vec<String> {
    let strange = tally.answers.iter().filter(|(name, _)| !names.contains(&name.as_str()));
    let expected =
        if names.is_empty() { "expected no answer".to_owned() } else { format!("expected {}", names.join(", ")) };
    strange.map(|(name, count)| format!("{count} answered by {name}, {expected}")).collect()
}

/// Failures other than those expected, each kind once.
fn unwanted(tally: &Tally, expected: impl Fn(&Outcome) -> bool) -> Vec<String> {
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    for outcome in tally.failures.iter().filter(|outcome| !expected(outcome)) {
        *kinds.entry(outcome.to_string()).or_default() += 1;
    }
    kinds.into_iter().map(|(kind, count)| format!("{count} of {} {kind}", tally.total())).collect()
}

fn unevenness(tally: &Tally, names: &[&str]) -> Option<String> {
    let weights = names.iter().map(|name| ((*name).to_owned(), 1)).collect();
    let evenness = tally.evenness(&weights).filter(|evenness| !evenness.is_even())?;
    let (deviation, bound) = (evenness.deviation, evenness.bound);
    Some(format!("shares are uneven: chi-square {deviation:.1}, chance explains {bound:.1}"))
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::time::Duration;

    use backend_api::Protocol;

    use super::super::itinerary::Source;
    use super::*;
    use testbed::{Answer, Refusal};

    struct Flat;

    impl Geography for Flat {
        fn sources(&self, _client: &str, _answerer: &str) -> Option<(IpAddr, IpAddr)> {
            Some((IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 254])))
        }
    }

    fn answered(name: &str, source: &str) -> Outcome {
        let source: SocketAddr = format!("{source}:1").parse().unwrap();
        Outcome::Answered(Answer { name: name.into(), source, latency: Duration::ZERO })
    }

    fn check(expected: Expected, outcomes: Vec<Outcome>, mismatch: Option<&str>) {
        let to = "10.0.0.9:80".parse().unwrap();
        let visit = Visit { from: "a", service: "", protocol: Protocol::Tcp, to, expected };
        let found = mismatches(&visit, &outcomes.into_iter().collect(), &Flat);
        assert_eq!(found.first().map(String::as_str), mismatch);
        assert!(found.len() <= 1, "{found:?}");
    }

    #[test]
    fn each_difference_is_named() {
        let (own, node) = ("10.0.0.1", "10.0.0.254");
        let both = |source| Expected::Answers(&["a", "b"], source);
        check(both(Source::Kept), vec![answered("a", own), answered("b", own)], None);
        check(both(Source::Node), vec![answered("a", node), answered("b", node)], None);
        check(both(Source::NodeForItself), vec![answered("a", node), answered("b", own)], None);
        check(both(Source::NodeForItself), vec![answered("a", own)], Some("a saw 10.0.0.1, expected 10.0.0.254"));
        check(both(Source::Kept), vec![answered("sink", own)], Some("1 answered by sink, expected a, b"));
        check(both(Source::Kept), vec![Outcome::Silent], Some("1 of 1 silent"));
        check(
            both(Source::Kept),
            vec![answered("a", own); 100],
            Some("shares are uneven: chi-square 100.0, chance explains 38.3"),
        );
        check(Expected::Silence, vec![Outcome::Silent], None);
        check(Expected::Silence, vec![Outcome::Refused(Refusal::Reset)], Some("1 of 1 refused by reset"));
        check(Expected::Refusal(Refusal::Reset), vec![Outcome::Refused(Refusal::Reset)], None);
        check(
            Expected::Refusal(Refusal::Reset),
            vec![answered("sink", own)],
            Some("1 answered by sink, expected no answer"),
        );
    }
}
