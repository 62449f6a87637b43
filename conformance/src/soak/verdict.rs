//! What was seen, and whether it is as it should be. Pure.

use std::collections::BTreeMap;
use std::fmt;
use std::process::ExitStatus;
use std::time::Duration;

use super::agent::{Log, Process, sum};
use super::dials::Counted;
use crate::scale::time;

/// How much more memory the last samples may have than those of the second quarter.
const GROWTH: f64 = 1.05;
/// Allocators keep some pages now and then.
const PAGES: u64 = 1 << 20;
/// From so long a run on, growth and rates are judged; before that caches fill.
const LONG: Duration = Duration::from_secs(600);
/// Metrics that count what must not happen.
const NEVER: [&str; 5] = [
    "switchyard_drift_repaired_total",
    "switchyard_source_troubles_total",
    "switchyard_refused_services",
    "switchyard_frontend_conflicts_total",
    "kubeproxy_sync_proxy_rules_nftables_sync_failures_total",
];

/// What was seen at a time.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Since the changes began.
    pub after: Duration,
    /// Changes until then.
    pub changes: u64,
    /// What came of the dials since the sample before.
    pub dialled: Counted,
    /// What the agent holds.
    pub process: Process,
    /// Connections that the kernel tracks.
    pub tracked: u64,
    /// Elements of the kernel's tables.
    pub elements: u32,
}

/// How many elements each set and map of the kernel's tables has.
pub type Elements = BTreeMap<String, u32>;

/// Everything that was seen.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// In order.
    pub samples: Vec<Sample>,
    /// Before the first change.
    pub elements: Elements,
    /// The same when all is as it was at first.
    pub elements_at_rest: Elements,
    /// Services that there are then, and that the agent has.
    pub(super) services_at_rest: (usize, usize),
    /// Dials after the last sample.
    pub(super) tail: Counted,
    /// Changes and dials a second that were asked for.
    pub(super) asked: (u32, u32),
    pub(super) metrics: String,
    pub(super) end: Option<(Log, Option<ExitStatus>)>,
}

impl Sample {
    /// The line above the samples.
    pub fn headings() -> String {
        format!(
            "{:>7} {:>9} {:>8} {:>6} {:>6} {:>8} {:>8} {:>8} {:>9} {:>5} {:>7} {:>8} {:>7}",
            "time",
            "changes",
            "dials",
            "failed",
            "again",
            "p50",
            "p99",
            "longest",
            "memory",
            "files",
            "tracked",
            "elements",
            "cpu time"
        )
    }
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counted { dials, asked_again, failures, latency, .. } = &self.dialled;
        let latency = latency.percentiles().unwrap_or_default();
        let [half, most, longest] = [latency.p50, latency.p99, latency.max].map(time);
        let Process { resident, descriptors, processor } = self.process;
        write!(
            f,
            "{:>6.0}s {:>9} {dials:>8} {failures:>6} {asked_again:>6} {half:>8} {most:>8} {longest:>8} {:>6} kB \
             {descriptors:>5} {:>7} {:>8} {:>7.1}s",
            self.after.as_secs_f64(),
            self.changes,
            resident / 1024,
            self.tracked,
            self.elements,
            processor.as_secs_f64(),
        )
    }
}

impl Verdict {
    /// Everything that is not as it should be, a sentence each.
    pub fn faults(&self) -> Vec<String> {
        let all = self.dialled();
        let mut faults = Vec::new();
        if all.failures > 0 || all.dials == 0 {
            faults.push(format!("{} of {} dials failed", all.failures, all.dials));
        }
        for (set, after) in &self.elements_at_rest {
            let before = self.elements.get(set).copied().unwrap_or_default();
            if before != *after {
                faults.push(format!("{set} had {before} elements at first and {after} at rest"));
            }
        }
        let (there, known) = self.services_at_rest;
        if there != known {
            faults.push(format!("{there} services at rest, and the agent has {known}"));
        }
        let counts = NEVER.iter().map(|name| (*name, sum(&self.metrics, name, |_labels| true)));
        faults
            .extend(counts.filter(|(_, count)| *count != Some(0.0)).map(|(name, count)| format!("{name}: {count:?}")));
        let failed = sum(&self.metrics, "switchyard_syncs_total", |labels| !labels.contains(r#"result="done""#));
        faults.extend(failed.filter(|failed| *failed > 0.0).map(|failed| format!("{failed} syncs failed")));
        faults.extend(self.end());
        if self.lasted() >= LONG {
            faults.extend(self.growth());
            faults.extend(self.rates());
        }
        faults
    }

    fn dialled(&self) -> Counted {
        let mut all = Counted::default();
        self.samples.iter().map(|sample| &sample.dialled).chain([&self.tail]).for_each(|dialled| all.merge(dialled));
        all
    }

    fn lasted(&self) -> Duration {
        self.samples.last().map(|sample| sample.after).unwrap_or_default()
    }

    fn end(&self) -> Vec<String> {
        let mut faults = Vec::new();
        if let Some((log, status)) = &self.end {
            if log.errors + log.warnings > 0 {
                faults.push(format!("the log has {} errors and {} warnings", log.errors, log.warnings));
                faults.extend(log.kept.iter().map(|line| format!("  {line}")));
            }
            match status {
                Some(status) if status.success() => {}
                Some(status) => faults.push(format!("the agent ended with {status}")),
                None => faults.push("the agent did not end".to_owned()),
            }
        }
        faults
    }

    /// The last quarter against the second one.
    fn growth(&self) -> Vec<String> {
        let quarter = self.samples.len() / 4;
        let [early, late] = [&self.samples[quarter..2 * quarter], &self.samples[3 * quarter..]];
        let [before, after] = [early, late].map(|samples| middle(samples, |sample| sample.process.resident));
        let mut faults = Vec::new();
        if after as f64 > before as f64 * GROWTH + PAGES as f64 {
            faults.push(format!("the agent's memory grew from {} to {} kB", before / 1024, after / 1024));
        }
        let [before, after] = [early, late].map(|samples| middle(samples, |sample| sample.process.descriptors));
        if after > before {
            faults.push(format!("the agent's descriptors grew from {before} to {after}"));
        }
        faults
    }

    fn rates(&self) -> Vec<String> {
        let seconds = self.lasted().as_secs_f64();
        let changes = self.samples.last().map_or(0, |sample| sample.changes);
        let all = [("changes", changes, self.asked.0), ("dials", self.dialled().dials, self.asked.1)];
        let slow = all.into_iter().filter(|(_, made, asked)| (*made as f64) < f64::from(*asked) * seconds * 0.95);
        slow.map(|(what, made, asked)| {
            format!("{asked} {what} a second were asked for, {:.0} were made", made as f64 / seconds)
        })
        .collect()
    }
}

/// What was seen in all, in a few lines.
impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = self.dialled();
        let changes = self.samples.last().map_or(0, |sample| sample.changes);
        let latency = all.latency.percentiles().unwrap_or_default();
        writeln!(f, "{} s, {changes} changes, {} dials, {} failed", self.lasted().as_secs(), all.dials, all.failures)?;
        writeln!(f, "dials: p50 {}, p99 {}, longest {}", time(latency.p50), time(latency.p99), time(latency.max))?;
        writeln!(f, "{} datagrams to services that change were sent again", all.asked_again)?;
        let [before, after] = [&self.elements, &self.elements_at_rest].map(|sets| sets.values().sum::<u32>());
        writeln!(f, "elements of the kernel's tables: {before} at first, {after} at rest")?;
        match self.faults().as_slice() {
            [] => write!(f, "nothing failed, nothing grew"),
            faults => write!(f, "not as it should be:\n{}", faults.join("\n")),
        }
    }
}

fn middle<T: Ord + Copy + Default>(samples: &[Sample], value: impl Fn(&Sample) -> T) -> T {
    let mut values: Vec<_> = samples.iter().map(value).collect();
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clean(samples: usize) -> Verdict {
        let sample = |minute: usize| {
            let seconds = minute as u64 * 60;
            Sample {
                after: Duration::from_secs(seconds),
                changes: seconds * 500,
                dialled: Counted { dials: 30_000, ..Counted::default() },
                process: Process { resident: 20 << 20, descriptors: 20, processor: Duration::ZERO },
                tracked: 9000,
                elements: 100,
            }
        };
        let never: Vec<_> = NEVER.iter().map(|name| format!("{name} 0\n")).collect();
        Verdict {
            samples: (1..=samples).map(sample).collect(),
            elements: Elements::from([("frontends".to_owned(), 100)]),
            elements_at_rest: Elements::from([("frontends".to_owned(), 100)]),
            asked: (500, 500),
            metrics: never.concat(),
            ..Verdict::default()
        }
    }

    /// Whether what `spoil` does to an hour is one fault, which says this.
    fn check(spoil: impl FnOnce(&mut Verdict), expected: &str) {
        let mut verdict = clean(60);
        assert_eq!(verdict.faults(), Vec::<String>::new());
        spoil(&mut verdict);
        let faults = verdict.faults();
        assert!(faults.len() == 1 && faults[0].contains(expected), "{expected}: {faults:?}");
    }

    #[test]
    fn what_is_lost_and_what_grows_is_a_fault() {
        check(|verdict| verdict.samples[7].dialled.failures = 1, "1 of 1800000 dials failed");
        check(
            |verdict| *verdict.elements_at_rest.get_mut("frontends").unwrap() = 101,
            "frontends had 100 elements at first and 101 at rest",
        );
        check(|verdict| verdict.services_at_rest = (7, 8), "7 services at rest, and the agent has 8");
        check(|verdict| verdict.metrics = verdict.metrics.replacen(" 0", " 1", 1), "drift_repaired_total: Some(1.0)");
        check(|verdict| verdict.metrics = verdict.metrics.replacen("drift", "", 1), "drift_repaired_total: None");
        check(|verdict| verdict.metrics += "switchyard_syncs_total{result=\"failed\"} 2\n", "2 syncs failed");
        check(|verdict| verdict.end = Some((Log::default(), None)), "did not end");
        check(|verdict| grow(verdict, |sample| sample.process.resident += 3 << 20), "grew from 20480 to 23552 kB");
        check(|verdict| grow(verdict, |sample| sample.process.descriptors += 1), "grew from 20 to 21");
        check(|verdict| verdict.asked.0 = 600, "600 changes a second were asked for, 500 were made");
    }

    #[test]
    fn a_short_run_is_not_judged_by_growth() {
        let mut verdict = clean(4);
        grow(&mut verdict, |sample| sample.process.resident += 3 << 20);
        assert_eq!(verdict.faults(), Vec::<String>::new());
    }

    fn grow(verdict: &mut Verdict, grow: impl Fn(&mut Sample)) {
        let late = verdict.samples.len() * 3 / 4;
        verdict.samples[late..].iter_mut().for_each(grow);
    }
}
