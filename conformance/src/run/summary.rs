//! What came of many scenarios.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::play::{Counts, play};
use super::subject::{Gap, Promise, Source, Subject};
use crate::scenario::Scenario;

/// What came of a run.
#[derive(Clone, Debug)]
pub struct Summary {
    /// Every scenario that was played, in order of names.
    pub verdicts: Vec<Verdict>,
    /// Promises that the subject declares not to keep, each with the reason.
    pub unkept: BTreeMap<Promise, String>,
    /// From the first start to the last end.
    pub took: Duration,
}

/// What came of one scenario.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// `topic/claim`.
    pub scenario: String,
    /// Whether it holds.
    pub outcome: Outcome,
    /// What was sent and checked.
    pub counts: Counts,
    /// How long it took.
    pub took: Duration,
}

/// Whether a scenario holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It does.
    Passed,
    /// It does not, as was declared.
    Gap(String),
    /// It is not for this backend, as it says itself.
    NotMeant(String),
    /// It does not, or it does although a gap is declared.
    Failed(String),
}

/// Plays one scenario, minding declared gaps.
pub fn judge(subject: &Subject, scenario: &Scenario) -> Verdict {
    let started = Instant::now();
    if let Some(reason) = not_meant(subject, scenario) {
        let outcome = Outcome::NotMeant(reason);
        return Verdict { scenario: scenario.name(), outcome, counts: Counts::default(), took: Duration::ZERO };
    }
    let (played, counts) = play(subject, scenario);
    let weighed = outcome(played.map_err(|failure| failure.to_string()), subject.gap(&scenario.name()));
    Verdict { scenario: scenario.name(), outcome: weighed, counts, took: started.elapsed() }
}

fn not_meant(subject: &Subject, scenario: &Scenario) -> Option<String> {
    let about_files = match subject.source() {
        Source::Files => None,
        #[cfg(feature = "kube")]
        Source::Kubernetes => scenario.script.about_files(),
    };
    scenario.script.not_for(subject.name()).or(about_files)
}

fn outcome(played: Result<(), String>, gap: Option<&Gap>) -> Outcome {
    match (played, gap) {
        (Ok(()), None) => Outcome::Passed,
        (Ok(()), Some(gap)) => {
            Outcome::Failed(format!("passes although a gap is declared ({}): take the gap out", gap.reason))
        }
        (Err(_), Some(gap)) => Outcome::Gap(gap.reason.clone()),
        (Err(failure), None) => Outcome::Failed(failure),
    }
}

/// Judges `scenarios` on `jobs` threads, and tells of each verdict as it falls.
pub(super) fn collect(
    scenarios: &[Scenario],
    jobs: usize,
    judge: impl Fn(&Scenario) -> Verdict + Sync,
    told: &(dyn Fn(&Verdict) + Sync),
) -> Summary {
    let started = Instant::now();
    let next = AtomicUsize::new(0);
    let verdicts = Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            scope.spawn(|| {
                while let Some(scenario) = scenarios.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let verdict = judge(scenario);
                    told(&verdict);
                    verdicts.lock().expect("no verdict panics while held").insert(scenario.name(), verdict);
                }
            });
        }
    });
    let verdicts = verdicts.into_inner().expect("every thread has ended").into_values().collect();
    Summary { verdicts, unkept: BTreeMap::new(), took: started.elapsed() }
}

impl Summary {
    /// Every verdict that is a failure.
    pub fn failures(&self) -> impl Iterator<Item = &Verdict> {
        self.verdicts.iter().filter(|verdict| matches!(verdict.outcome, Outcome::Failed(_)))
    }
}

/// `topic/claim: …`.
impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.outcome {
            Outcome::Passed => write!(f, "{}: passed", self.scenario),
            Outcome::Gap(reason) => write!(f, "{}: gap: {reason}", self.scenario),
            Outcome::NotMeant(reason) => write!(f, "{}: not played: {reason}", self.scenario),
            Outcome::Failed(reason) => write!(f, "{}: failed\n{reason}", self.scenario),
        }
    }
}

/// A table: topic, scenarios, gaps, failures, probes, connections, checks, time; and the promises that are not kept.
impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut topics: BTreeMap<&str, Line> = BTreeMap::new();
        let mut all = Line::default();
        for verdict in &self.verdicts {
            let topic = verdict.scenario.split('/').next().unwrap_or_default();
            topics.entry(topic).or_default().add(verdict);
            all.add(verdict);
        }
        writeln!(
            f,
            "{:<16} {:>9} {:>5} {:>7} {:>7} {:>12} {:>7} {:>8}",
            "topic", "scenarios", "gaps", "failed", "probes", "connections", "checks", "seconds"
        )?;
        for (topic, line) in &topics {
            line.write(f, topic)?;
        }
        all.write(f, "all")?;
        for (promise, reason) in &self.unkept {
            writeln!(f, "not promised: {promise} ({reason})")?;
        }
        write!(f, "in {:.1} s", self.took.as_secs_f64())
    }
}

#[derive(Default)]
struct Line {
    scenarios: usize,
    gaps: usize,
    failed: usize,
    counts: Counts,
    took: Duration,
}

impl Line {
    fn add(&mut self, verdict: &Verdict) {
        match verdict.outcome {
            Outcome::NotMeant(_) => return,
            Outcome::Passed => {}
            Outcome::Gap(_) => self.gaps += 1,
            Outcome::Failed(_) => self.failed += 1,
        }
        self.scenarios += 1;
        self.counts.add(verdict.counts);
        self.took += verdict.took;
    }

    fn write(&self, f: &mut fmt::Formatter<'_>, name: &str) -> fmt::Result {
        let Self { scenarios, gaps, failed, counts: Counts { probes, connections, checks }, took } = self;
        let seconds = took.as_secs_f64();
        writeln!(
            f,
            "{name:<16} {scenarios:>9} {gaps:>5} {failed:>7} {probes:>7} {connections:>12} {checks:>7} {seconds:>8.1}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_excuses_a_failure_and_nothing_else() {
        let gap = Gap { scenario: "a/b".into(), reason: "no SCTP".into() };
        assert_eq!(outcome(Ok(()), None), Outcome::Passed);
        assert_eq!(outcome(Err("x".into()), None), Outcome::Failed("x".into()));
        assert_eq!(outcome(Err("x".into()), Some(&gap)), Outcome::Gap("no SCTP".into()));
        let unexpected = outcome(Ok(()), Some(&gap));
        assert!(matches!(unexpected, Outcome::Failed(reason) if reason.contains("take the gap out")));
    }
}
