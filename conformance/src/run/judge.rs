//! Whether what clients met is what a probe awaits. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use testbed::sink;
use testbed::{Outcome, Tally};

use super::stage::NODE;
use crate::scenario::{self, Probe, Shares, Source};

/// One connection: the client's own address, if there was a socket, and what it met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Met {
    pub(super) client: Option<SocketAddr>,
    pub(super) outcome: Outcome,
}

/// Checks what a probe met; returns the endpoint that answered, if it was the same every time.
pub(super) fn judge(
    probe: &Probe,
    met: &[Met],
    node_addresses: &BTreeSet<IpAddr>,
    remembered: &BTreeMap<String, String>,
) -> Result<Option<String>, String> {
    check(probe, met, node_addresses, remembered)
        .map_err(|awaited| format!("{} → {}: awaited: {awaited}\ncame: {}", probe.from, probe.to, describe(met)))
}

/// As [`judge`]; an error is what was awaited.
fn check(
    probe: &Probe,
    met: &[Met],
    node_addresses: &BTreeSet<IpAddr>,
    remembered: &BTreeMap<String, String>,
) -> Result<Option<String>, String> {
    if let Some(expected) = probe.expect {
        let as_expected = met.iter().all(|met| meets(&met.outcome, expected));
        return if as_expected { Ok(None) } else { Err(outcome_in_words(expected).into()) };
    }
    let (allowed, each) = match (&probe.answered_by, &probe.answered_by_one_of) {
        (Some(names), _) => (names, true),
        (None, Some(names)) => (names, false),
        (None, None) => unreachable!("a scenario that was parsed awaits something"),
    };
    let names: BTreeSet<&str> = met.iter().filter_map(|met| met.outcome.name()).collect();
    if met.iter().any(|met| !met.outcome.name().is_some_and(|name| allowed.iter().any(|known| known == name))) {
        return Err(format!("answers of {} and of no other", allowed.join(", ")));
    }
    if let Some(missing) = allowed.iter().find(|name| each && !names.contains(name.as_str())) {
        return Err(format!("answers of each of {}; {missing} never answered", allowed.join(", ")));
    }
    if let Some(source) = probe.source
        && !met.iter().all(|met| has_source(met, source, node_addresses))
    {
        return Err(source_in_words(source).into());
    }
    if probe.shares == Some(Shares::Even) {
        let tally: Tally = met.iter().map(|met| met.outcome.clone()).collect();
        let weights = allowed.iter().map(|name| (name.clone(), 1)).collect();
        if let Some(evenness) = tally.evenness(&weights).filter(|evenness| !evenness.is_even()) {
            return Err(format!("even shares (chi-square {:.1} ≤ {:.1})", evenness.deviation, evenness.bound));
        }
    }
    same_endpoint(probe, &names, remembered)
}

/// What a probe says of the one endpoint that answered.
fn same_endpoint(
    probe: &Probe,
    names: &BTreeSet<&str>,
    remembered: &BTreeMap<String, String>,
) -> Result<Option<String>, String> {
    let only = match names.iter().collect::<Vec<_>>().as_slice() {
        [only] => Some((**only).to_owned()),
        _ => None,
    };
    if (probe.same_endpoint || probe.remember.is_some()) && only.is_none() {
        return Err("the same endpoint every time".into());
    }
    if let Some(name) = &probe.same_endpoint_as {
        let endpoint = earlier(remembered, name)?;
        if only.as_ref() != Some(endpoint) {
            return Err(format!("the endpoint remembered as {name}, {endpoint}, every time"));
        }
    }
    if let Some(name) = &probe.another_endpoint_than {
        let endpoint = earlier(remembered, name)?;
        if names.contains(endpoint.as_str()) {
            return Err(format!("another endpoint than the one remembered as {name}, {endpoint}"));
        }
    }
    Ok(only)
}

fn earlier<'a>(remembered: &'a BTreeMap<String, String>, name: &str) -> Result<&'a String, String> {
    remembered.get(name).ok_or_else(|| format!("{name}: no step has remembered this"))
}

/// Whether `outcome` is what is awaited instead of an endpoint's answer.
pub(super) fn meets(outcome: &Outcome, expected: scenario::Outcome) -> bool {
    match expected {
        scenario::Outcome::Refused => matches!(outcome, Outcome::Refused(_)),
        scenario::Outcome::Silent => *outcome == Outcome::Silent,
        scenario::Outcome::Untouched => outcome.name() == Some(sink::NAME),
        scenario::Outcome::Node => outcome.name() == Some(NODE),
    }
}

fn outcome_in_words(expected: scenario::Outcome) -> &'static str {
    match expected {
        scenario::Outcome::Refused => "a refusal",
        scenario::Outcome::Silent => "silence",
        scenario::Outcome::Untouched => "to leave the node untranslated (the sink answers)",
        scenario::Outcome::Node => "to reach the node itself, untranslated",
    }
}

fn source_in_words(source: Source) -> &'static str {
    match source {
        Source::Client => "the client's own address as source",
        Source::Node => "an address of the node, and not the client's own, as source",
    }
}

fn has_source(met: &Met, source: Source, node_addresses: &BTreeSet<IpAddr>) -> bool {
    let Some(seen) = met.outcome.answer().map(|answer| answer.source.ip()) else { return false };
    let own = met.client.is_some_and(|client| client.ip() == seen);
    match source {
        Source::Client => own,
        Source::Node => !own && node_addresses.contains(&seen),
    }
}

/// Everything that was met, alike together.
pub(super) fn describe(met: &[Met]) -> String {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for met in met {
        let words = match (&met.outcome, met.client) {
            (Outcome::Answered(answer), Some(client)) => {
                format!("answered by {}, which saw {} (client {})", answer.name, answer.source.ip(), client.ip())
            }
            (outcome, _) => outcome.to_string(),
        };
        *counts.entry(words).or_default() += 1;
    }
    if counts.is_empty() {
        return "nothing".into();
    }
    counts.iter().map(|(words, count)| format!("{count} × {words}")).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use testbed::{Answer, Refusal};

    use super::*;

    const CLIENT: &str = "10.244.2.3:40000";

    fn answered(name: &str, source: &str) -> Met {
        let source = source.parse().unwrap();
        let outcome = Outcome::Answered(Answer { name: name.into(), source, latency: Duration::ZERO });
        Met { client: Some(CLIENT.parse().unwrap()), outcome }
    }

    fn unanswered(outcome: Outcome) -> Met {
        Met { client: None, outcome }
    }

    fn probe(rest: &str) -> Probe {
        let text = format!("{{from: mytools, to: '10.96.0.80:80/TCP', {rest}}}");
        serde_saphyr::from_str(&text).unwrap()
    }

    fn check(rest: &str, met: &[&Met]) -> Result<Option<String>, String> {
        let met: Vec<_> = met.iter().map(|met| (*met).clone()).collect();
        let node = BTreeSet::from(["10.244.2.1".parse().unwrap()]);
        judge(&probe(rest), &met, &node, &BTreeMap::from([("mine".to_owned(), "a".to_owned())]))
    }

    #[test]
    fn every_endpoint_and_no_other_place_must_answer() {
        let (a, b) = (answered("a", CLIENT), answered("b", CLIENT));
        assert_eq!(check("answered-by: [a, b]", &[&a, &b]), Ok(None));
        assert_eq!(check("answered-by: [a]", &[&a]), Ok(Some("a".into())));
        let missing = check("answered-by: [a, b]", &[&a, &a]).unwrap_err();
        assert!(missing.contains("b never answered") && missing.contains("2 × answered by a"), "{missing}");
        assert!(check("answered-by: [a]", &[&a, &b]).is_err());
        let refused = unanswered(Outcome::Refused(Refusal::Reset));
        assert!(check("answered-by: [a]", &[&a, &refused]).is_err());
    }

    #[test]
    fn the_source_is_the_clients_or_the_nodes() {
        let (own, masqueraded) = (answered("a", CLIENT), answered("a", "10.244.2.1:1"));
        assert!(check("answered-by: [a], source: client", &[&own]).is_ok());
        assert!(check("answered-by: [a], source: node", &[&own]).is_err());
        assert!(check("answered-by: [a], source: node", &[&masqueraded]).is_ok());
        assert!(check("answered-by: [a], source: client", &[&own, &masqueraded]).is_err());
        assert!(check("answered-by: [a], source: node", &[&answered("a", "9.9.9.9:1")]).is_err());
    }

    #[test]
    fn what_is_no_answer_is_told_apart() {
        for (word, outcome) in [
            ("refused", unanswered(Outcome::Refused(Refusal::PortUnreachable))),
            ("silent", unanswered(Outcome::Silent)),
            ("untouched", answered(sink::NAME, CLIENT)),
            ("node", answered(NODE, CLIENT)),
        ] {
            for other in ["refused", "silent", "untouched", "node"] {
                let outcome = check(&format!("expect: {other}"), &[&outcome]);
                assert_eq!(outcome.is_ok(), word == other, "{word} awaited {other}");
            }
        }
        assert!(check("expect: untouched", &[&answered("a", CLIENT)]).is_err());
    }

    #[test]
    fn endpoints_are_remembered() {
        let (a, b) = (answered("a", CLIENT), answered("b", CLIENT));
        assert!(one_of("same-endpoint: true", &[&b, &b]));
        assert!(!one_of("same-endpoint: true", &[&a, &b]));
        assert!(one_of("same-endpoint-as: mine", &[&a]));
        assert!(!one_of("same-endpoint-as: mine", &[&b]));
        assert!(one_of("another-endpoint-than: mine", &[&b]));
        assert!(!one_of("another-endpoint-than: mine", &[&a, &b]));
        assert!(!one_of("same-endpoint-as: nobody", &[&a]));
    }

    fn one_of(rest: &str, met: &[&Met]) -> bool {
        check(&format!("answered-by-one-of: [a, b], {rest}"), met).is_ok()
    }

    #[test]
    fn shares_are_judged() {
        assert!(are_even(190, 210));
        assert!(!are_even(100, 300));
    }

    fn are_even(by_a: usize, by_b: usize) -> bool {
        let (a, b) = (answered("a", CLIENT), answered("b", CLIENT));
        check("answered-by: [a, b], shares: even", &[vec![&a; by_a], vec![&b; by_b]].concat()).is_ok()
    }
}
