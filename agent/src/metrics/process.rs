//! The process itself, by the names of Prometheus' client libraries, read from /proc at each scrape.

use std::fs;

use nix::unistd::{SysconfVar, sysconf};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

/// Reads /proc/self. What cannot be read is left out.
#[derive(Debug)]
pub(super) struct ProcessMetrics;

/// Numbers of /proc/self/stat.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Stat {
    /// User and system time, in clock ticks.
    ticks: u64,
    /// Since boot, in clock ticks.
    started: u64,
    /// In bytes.
    virtual_size: u64,
    /// In pages.
    resident: u64,
}

impl Collector for ProcessMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let stat = fs::read_to_string("/proc/self/stat").ok().and_then(|text| Stat::read(&text));
        let per_second = number(SysconfVar::CLK_TCK);
        let resident = stat.zip(number(SysconfVar::PAGE_SIZE)).map(|(stat, page)| stat.resident as f64 * page);
        let virtual_size = stat.map(|stat| stat.virtual_size as f64);
        let started = stat.zip(per_second).zip(booted()).map(|((stat, hz), boot)| boot + stat.started as f64 / hz);
        let open = fs::read_dir("/proc/self/fd").ok().map(|entries| entries.count() as f64);
        for (name, help, value) in [
            ("process_resident_memory_bytes", "Resident memory size in bytes", resident),
            ("process_virtual_memory_bytes", "Virtual memory size in bytes", virtual_size),
            ("process_start_time_seconds", "Start time since the Unix epoch in seconds", started),
            ("process_open_fds", "Number of open file descriptors", open),
            ("process_max_fds", "Maximum number of open file descriptors", most_descriptors()),
        ] {
            if let Some(value) = value {
                let gauge = ConstGauge::new(value);
                gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
            }
        }
        if let Some((stat, hz)) = stat.zip(per_second) {
            let counter = ConstCounter::new(stat.ticks as f64 / hz);
            let help = "User and system CPU time spent in seconds";
            counter.encode(encoder.encode_descriptor("process_cpu_seconds", help, None, counter.metric_type())?)?;
        }
        Ok(())
    }
}

impl Stat {
    /// Fields by their numbers in proc(5), which counts from the process's number on; the name in parentheses may hold
    /// anything.
    fn read(text: &str) -> Option<Self> {
        const FIRST_BEHIND_NAME: usize = 3;
        let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
        let mut numbers = [0; 5];
        for (number, field) in numbers.iter_mut().zip([14, 15, 22, 23, 24]) {
            *number = fields.get(field - FIRST_BEHIND_NAME)?.parse::<u64>().ok()?;
        }
        let [user, system, started, virtual_size, resident] = numbers;
        Some(Self { ticks: user + system, started, virtual_size, resident })
    }
}

fn number(variable: SysconfVar) -> Option<f64> {
    sysconf(variable).ok().flatten().map(|number| number as f64)
}

/// When the machine was booted, since the Unix epoch in seconds.
fn booted() -> Option<f64> {
    let text = fs::read_to_string("/proc/stat").ok()?;
    text.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

fn most_descriptors() -> Option<f64> {
    let text = fs::read_to_string("/proc/self/limits").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_behind_any_name() {
        let text = "7 (a) b (c) S 1 7 7 0 -1 4194560 1 0 0 0 30 12 0 0 20 0 4 0 999 2048 5 18446744073709551615";
        assert_eq!(Stat::read(text), Some(Stat { ticks: 42, started: 999, virtual_size: 2048, resident: 5 }));
    }
}
