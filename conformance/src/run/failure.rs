//! What went wrong in a scenario, with everything that is needed to look into it.

use std::fmt;
use std::path::PathBuf;

/// A scenario that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The scenario's file.
    pub file: PathBuf,
    /// The line of the step; 0 before the first and after the last.
    pub line: u64,
    /// What was awaited, and what came.
    pub reason: String,
    /// What is programmed, as the kernel's own tools and the backend tell it.
    pub listing: String,
    /// How to look into the node's namespace, if it was kept.
    pub entrance: Option<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}:{}: {}", self.file.display(), self.line, self.reason)?;
        if !self.listing.is_empty() {
            writeln!(f, "\nwhat is programmed:\n{}", self.listing)?;
        }
        match &self.entrance {
            Some(entrance) => write!(f, "the world is kept until Enter is pressed: {entrance}"),
            None => write!(f, "to look into the world: SWITCHYARD_KEEP=1 and this scenario alone"),
        }
    }
}

impl std::error::Error for Failure {}
