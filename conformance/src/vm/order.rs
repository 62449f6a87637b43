//! What the machine is told to do, and what it answers: the two messages between the host and `init`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::initramfs;

/// Name of the virtio port that carries the commands' output, raw.
pub(super) const OUTPUT_PORT: &str = "switchyard.output";
/// Name of the virtio port that carries the [`Outcome`].
pub(super) const OUTCOME_PORT: &str = "switchyard.outcome";
/// Where the order lies in the first file system.
pub(super) const ORDER_FILE: &str = "/order.json";
/// Tag of the shared file system that is this machine's `/`.
pub(super) const SHARED_ROOT: &str = "root";

/// Commands for the machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// One command line after the other, each run whatever the one before it said.
    pub commands: Vec<Vec<String>>,
    /// Their environment, nothing else.
    pub environment: BTreeMap<String, String>,
    /// The directory that they start in.
    pub directory: PathBuf,
    /// Where they read from and write to.
    pub terminal: Terminal,
    /// Whether each command's output begins with its name, and the last line names those that failed.
    pub titled: bool,
    /// Files that are opened again and again: copied into the machine's memory once, for each opening of a file of this
    /// machine's takes a dozen messages.
    pub resident: Vec<PathBuf>,
}

/// Where the machine's commands read from and write to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Terminal {
    /// No input; output comes as it is, byte for byte.
    Stream,
    /// A terminal that is joined to this process's own.
    Interactive,
}

/// How an order ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// All commands ran. The first exit status that is not 0, else 0; 128 and the signal's number where one was killed.
    Exited(u8),
    /// The system in the machine could not be set up, or a command not be started.
    Failed(String),
}

impl Order {
    /// One command, with what of this process's environment and directory it may need.
    pub fn new(commands: Vec<Vec<String>>, terminal: Terminal) -> Self {
        let environment = std::env::vars().filter(|(name, _)| is_passed(name)).collect();
        let directory = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/"));
        Self { commands, environment, directory, terminal, titled: false, resident: initramfs::resident() }
    }
}

fn is_passed(name: &str) -> bool {
    // Not all of `CARGO_*`: a registry's token is among it.
    const NAMES: [&str; 7] = ["PATH", "HOME", "USER", "TERM", "LANG", "NO_COLOR", "LD_LIBRARY_PATH"];
    const PREFIXES: [&str; 5] = ["CARGO_BIN_EXE_", "CARGO_MANIFEST_", "RUST_", "PROPTEST_", "SWITCHYARD_"];
    NAMES.contains(&name) || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}
