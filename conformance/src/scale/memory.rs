//! What a process and the kernel hold, from `/proc`.

use std::fs;

use serde::{Deserialize, Serialize};

/// Resident memory of the measuring process, which is the agent's pipeline and little else, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resident {
    /// After the first sync.
    pub after_sync: u64,
    /// After all changes.
    pub after_changes: u64,
    /// The most at any time.
    pub peak: u64,
}

/// Resident memory of this process now, in bytes.
pub(super) fn resident() -> u64 {
    field("/proc/self/status", "VmRSS:")
}

/// The most that it ever was, in bytes.
pub(super) fn peak() -> u64 {
    field("/proc/self/status", "VmHWM:")
}

/// What the kernel holds that it cannot give back at will: slabs, vmalloc and per-processor memory of the whole
/// machine, in bytes. A difference says something on a machine that does little else.
pub(super) fn of_kernel() -> u64 {
    ["SUnreclaim:", "VmallocUsed:", "Percpu:"].iter().map(|name| field("/proc/meminfo", name)).sum()
}

/// A field that is written in kB; 0 where the kernel does not have it.
fn field(file: &str, name: &str) -> u64 {
    let text = fs::read_to_string(file).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kilobytes.unwrap_or(0) * 1024
}
