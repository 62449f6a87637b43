//! The log of the commands, on stderr.
//!
//! ```text
//! events of tracing ─► filter ─► Lines: escaped, bounded ─► Queue: bounded ─► thread ─► stderr
//! ```
//!
//! An embedding program has a log of its own: nothing here is used then.
//!
//! **Invariant:** an event is one line, whatever it holds (`tests/process: nothing_that_is_logged_can_look_like_a_line`).

mod line;
mod queue;

use std::fmt;
use std::io::{self, IsTerminal};
use std::panic::PanicHookInfo;
use std::time::Duration;

use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Subscriber, error};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::{Format, Full, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Registry, reload};

pub(crate) use line::escaped;

use self::line::Line;
use self::queue::Queue;
use crate::config::Verbosity;

/// The longest line, in bytes.
const LONGEST: usize = 8 << 10;

/// How long the last lines may take.
const LAST_LINES: Duration = Duration::from_secs(1);

/// The log; when it is dropped, the last lines are written, if they are read.
#[derive(Debug)]
pub(crate) struct Log {
    level: LogLevel,
    queue: Queue,
}

/// What is logged, to be changed while the program runs.
#[derive(Clone, Debug)]
pub(crate) struct LogLevel(reload::Handle<Targets, Registry>);

impl Log {
    /// Logs from now on. Once in a program.
    ///
    /// # Errors
    /// If its thread cannot be started.
    pub(crate) fn start(verbosity: Verbosity) -> io::Result<Self> {
        let queue = Queue::to(io::stderr())?;
        let (filter, handle) = reload::Layer::new(targets(verbosity));
        let lines = Lines { plain: Format::default(), colours: io::stderr().is_terminal() };
        let output = tracing_subscriber::fmt::layer().with_ansi(false).event_format(lines).with_writer(queue.clone());
        tracing_subscriber::registry().with(filter).with(output).init();
        if std::env::var_os("RUST_BACKTRACE").is_none() {
            std::panic::set_hook(Box::new(log_panic));
        }
        Ok(Self { level: LogLevel(handle), queue })
    }

    /// To change it.
    pub(crate) fn level(&self) -> LogLevel {
        self.level.clone()
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.queue.flush(LAST_LINES);
    }
}

impl LogLevel {
    /// Logs as much as this from now on.
    pub(crate) fn set(&self, verbosity: Verbosity) {
        self.0.reload(targets(verbosity)).expect("the log lives as long as the program");
    }
}

/// Libraries speak to programmers: what an operator needs to know of them is said in our words.
fn targets(verbosity: Verbosity) -> Targets {
    let level = verbosity.level();
    let libraries = match level {
        LevelFilter::TRACE => LevelFilter::TRACE,
        LevelFilter::DEBUG => LevelFilter::INFO,
        _ => LevelFilter::OFF,
    };
    Targets::new().with_target("switchyard", level).with_default(libraries)
}

fn log_panic(panic: &PanicHookInfo<'_>) {
    let thread = std::thread::current();
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    let payload = panic.payload();
    let message = payload.downcast_ref::<&str>().copied().or(payload.downcast_ref::<String>().map(String::as_str));
    let message = message.unwrap_or("no message");
    error!(place, thread = thread.name(), "panicked, which is a bug; please report it: {message}");
}

/// Writes each event as one line of bounded length.
#[derive(Debug)]
struct Lines {
    plain: Format<Full>,
    /// Whether a terminal shows them.
    colours: bool,
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut out: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let colour = if self.colours { colour(*event.metadata().level()) } else { "" };
        out.write_str(colour)?;
        let mut line = Line::within(&mut out, LONGEST);
        self.plain.format_event(context, Writer::new(&mut line), event)?;
        line.take_back_break();
        line.end()?;
        out.write_str(if colour.is_empty() { "\n" } else { "\u{1b}[0m\n" })
    }
}

/// The sequence by which a terminal shows what follows in the colour of this level.
fn colour(level: Level) -> &'static str {
    match level {
        Level::ERROR => "\u{1b}[31m",
        Level::WARN => "\u{1b}[33m",
        Level::INFO => "",
        _ => "\u{1b}[2m",
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Seek};
    use std::sync::Arc;

    use tracing::{debug, info, info_span, warn};

    use super::*;

    /// What `log` leads to with this verbosity.
    fn logged(verbosity: &str, colours: bool, log: impl FnOnce()) -> String {
        let mut file = tempfile::tempfile().unwrap();
        let out = Arc::new(file.try_clone().unwrap());
        let lines = Lines { plain: Format::default(), colours };
        let output = tracing_subscriber::fmt::layer().with_ansi(false).event_format(lines).with_writer(out);
        let subscriber = tracing_subscriber::registry().with(targets(verbosity.parse().unwrap())).with(output);
        tracing::subscriber::with_default(subscriber, log);
        let mut text = String::new();
        file.rewind().unwrap();
        file.read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn messages_fields_and_spans_are_escaped() {
        let name = "a\nb\u{1b}[31m\u{202e}";
        let text = logged("2", false, || {
            let _span = info_span!("span", name).entered();
            info!(name, other = ?name, displayed = %name, "message {name}\n");
        });
        assert!(text.matches("a\\nb").count() == 5 && text.contains("\\u{202e}"), "{text}");
        assert!(!text.trim_end_matches('\n').contains(|c: char| c.is_control() || c == '\u{202e}'), "{text:?}");
    }

    #[test]
    fn a_message_of_ten_megabytes_is_one_line_of_some_kilobytes() {
        let text = logged("2", false, || warn!("{}", "x\n".repeat(5 << 20)));
        assert!(text.len() < LONGEST + 40 && text.ends_with(" bytes cut)\n"), "{}", text.len());
    }

    #[test]
    fn libraries_are_silent_until_faults_are_looked_for() {
        let log = || {
            warn!(target: "kube_runtime::watcher", "expected Event");
            debug!(target: "hyper_util::client", "connecting");
            warn!(target: "switchyard_agent::process", "ours");
        };
        assert!(!logged("2", false, log).contains("expected Event") && logged("0", false, log).contains("ours"));
        assert!(logged("3", false, log).contains("expected Event") && !logged("5", false, log).contains("connecting"));
        assert!(logged("6", false, log).contains("connecting"));
    }

    #[test]
    fn colours_are_around_a_line_and_never_from_within_it() {
        let text = logged("2", true, || warn!("a\u{1b}[0m"));
        assert!(text.starts_with("\u{1b}[33m20") && text.ends_with("a\\x1b[0m\u{1b}[0m\n"), "{text:?}");
    }
}
