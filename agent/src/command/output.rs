//! What commands write: the log on stderr, whose level can change while the program runs, and results on stdout.
//!
//! A reader that closes its end, as `head` does, stops neither a removal nor the agent.

use std::fmt::Display;
use std::io::{self, ErrorKind, IsTerminal, Write};

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
    let colours = io::stderr().is_terminal();
    // By default the subscriber reports a failed write on stderr, and panics because that fails too.
    let output = fmt::layer().with_writer(io::stderr).with_ansi(colours).log_internal_errors(false);
    tracing_subscriber::registry().with(filter).with(output).init();
    LogLevel(handle)
}

impl LogLevel {
    /// Logs as much as this from now on.
    pub(super) fn set(&self, verbosity: Verbosity) {
        self.0.reload(verbosity.level()).expect("the log lives as long as the program");
    }
}

/// Writes a line to stdout; without a reader it is dropped.
///
/// # Errors
/// If the line cannot be written for another reason, such as a full disk.
pub(super) fn line(text: impl Display) -> io::Result<()> {
    write(&mut io::stdout(), text)
}

/// Writes a line to stderr; without a reader it is dropped.
///
/// # Errors
/// As [`line`].
pub(super) fn error_line(text: impl Display) -> io::Result<()> {
    write(&mut io::stderr(), text)
}

fn write(out: &mut impl Write, text: impl Display) -> io::Result<()> {
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Refusing(ErrorKind);

    impl Write for Refusing {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_has_gone_is_no_error_and_a_full_disk_is() {
        assert!(write(&mut Refusing(ErrorKind::BrokenPipe), "text").is_ok());
        assert!(write(&mut Refusing(ErrorKind::StorageFull), "text").is_err());
    }
}
