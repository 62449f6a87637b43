//! The log on stderr, whose level can change while the program runs.

use std::io::IsTerminal;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Registry, fmt, reload};

use crate::config::Verbosity;

/// What is logged.
#[derive(Clone, Debug)]
pub(super) struct LogLevel(reload::Handle<LevelFilter, Registry>);

/// Logs from now on. Once in a program.
pub(super) fn init(verbosity: Verbosity) -> LogLevel {
    let (filter, handle) = reload::Layer::new(verbosity.level());
    let colours = std::io::stderr().is_terminal();
    let output = fmt::layer().with_writer(std::io::stderr).with_ansi(colours);
    tracing_subscriber::registry().with(filter).with(output).init();
    LogLevel(handle)
}

impl LogLevel {
    /// Logs as much as this from now on.
    pub(super) fn set(&self, verbosity: Verbosity) {
        self.0.reload(verbosity.level()).expect("the log lives as long as the program");
    }
}
