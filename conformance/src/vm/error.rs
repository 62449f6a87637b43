//! Why a virtual machine gave no exit status, told by what the reader can do about it.

use std::io;
use std::time::Duration;

use crate::debian::Unavailable;

/// A machine that could not be had, or that did not get to the end of its order.
#[derive(Debug, thiserror::Error)]
pub enum VmError {
    /// Something that the machine is made of is not here and could not be fetched.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// A file, a process or a pipe of ours.
    #[error("{what}: {source}")]
    Io {
        /// What was touched, and how.
        what: String,
        /// The system's own words.
        source: io::Error,
    },
    /// Nothing was heard for too long: the machine, or the command in it, hangs.
    #[error("machine: no output for {}; its console ends:\n{console}", in_seconds(.limit))]
    Silent {
        /// How long it may be silent.
        limit: Duration,
        /// The last lines of the kernel's console.
        console: String,
    },
    /// It talks, but does not end.
    #[error("machine: not done after {}; its console ends:\n{console}", in_seconds(.limit))]
    Overdue {
        /// How long it may run.
        limit: Duration,
        /// The last lines of the kernel's console.
        console: String,
    },
    /// It ended without an exit status: a kernel panic, or QEMU refused.
    #[error("machine: stopped without an exit status ({qemu}); its console ends:\n{console}")]
    Stopped {
        /// How QEMU ended, and what it said.
        qemu: String,
        /// The last lines of the kernel's console.
        console: String,
    },
    /// The system in the machine could not be set up as ordered.
    #[error("machine: {0}")]
    Inside(String),
}

impl VmError {
    /// For `map_err`: names what was touched.
    pub(super) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }

    pub(super) fn unavailable(what: impl Into<String>, reason: impl Into<String>) -> Self {
        Unavailable::new(what, reason).into()
    }
}

fn in_seconds(limit: &Duration) -> String {
    format!("{} s", limit.as_secs())
}
