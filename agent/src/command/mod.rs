//! The operator's commands: what `switchyard` does when it is called.
//!
//! ```text
//! run      source → resolve → reconcile, until SIGTERM; the rules stay
//! controller  addresses for LoadBalancer services, until SIGTERM
//! demo     the example cluster in network namespaces
//! status   what the kernel holds
//! cleanup  removes what is Switchyard's
//! ```

mod cleanup;
mod confine;
mod controller;
mod exit;
mod output;
mod privilege;
mod run;
mod status;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::Duration;
use std::{io, thread};

use clap::error::ContextValue;
use clap::{Parser, Subcommand};
use kubernetes::source::ServerUrl;
use tokio::runtime::Runtime;
use tracing::error;

use self::exit::Exit;
use self::privilege::Unprivileged;
use crate::backend::OpenError;
use crate::config::{ConfigError, LogFlags, RunFlags, Verbosity};
use crate::host::NothingSet;
use crate::log::Log;
use crate::migration::Failed;
use crate::process::ProcessError;

/// Forwards the traffic of Kubernetes Services on this node.
#[derive(Debug, Parser)]
#[command(name = "switchyard", version, propagate_version = true)]
pub struct CommandLine {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    log: LogFlags,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Forward service traffic until SIGTERM or SIGINT
    ///
    /// Reads Services and their endpoints from the Kubernetes API or a folder, programs the kernel, and follows every
    /// change. Takes kube-proxy's flags and its configuration file. On SIGTERM and SIGINT it ends and leaves the rules
    /// in place: traffic continues, and the next run takes the rules over. `switchyard cleanup` removes them.
    Run(Box<RunFlags>),

    /// Give addresses to LoadBalancer services until SIGTERM or SIGINT
    ///
    /// Reads Services and IPAddressPools from a folder, and writes which service has which address into a file of that
    /// folder, where `switchyard run` finds it. What was given stays when it ends. It needs no privilege.
    Controller(Box<controller::ControllerFlags>),

    /// Build the example cluster on this machine, and dial each of its services
    ///
    /// Builds a node, its pods and its neighbours in network namespaces, and programs the services of the example
    /// through the backend. Dials them from a pod, from outside and from the node, and compares which endpoints answer
    /// with which should. Needs root. The network of this machine is not touched. Exit codes: 0 if all was as expected,
    /// 1 if not, 2 if the demo cannot run here.
    #[cfg(feature = "demo")]
    Demo(crate::demo::Args),

    /// Show which addresses the kernel forwards, their endpoints, and their connections
    ///
    /// Reads the kernel, not the agent: it shows what packets meet, whether an agent runs or not.
    Status(status::StatusFlags),

    /// Remove everything from the kernel that is Switchyard's
    ///
    /// Removes what every backend of this build has in the kernel, and touches nothing else. Stop `switchyard run`
    /// first. It may be repeated. With --kube-proxy it removes what kube-proxy left instead; `switchyard run` should
    /// run meanwhile.
    Cleanup(cleanup::CleanupFlags),
}

/// How long what still runs may take when a command is over.
const LAST_TASKS: Duration = Duration::from_millis(500);

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CommandError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("{}: {error}", file.display())]
    NotWritten { file: PathBuf, error: io::Error },
    #[error("--write {}: must be a .yaml file in the folder that --source names, {}: it is read from there", file.display(), folder.display())]
    NotInFolder { file: PathBuf, folder: PathBuf },
    #[error(transparent)]
    Backend(#[from] OpenError),
    #[error("{0}; if `switchyard run` is running, stop it first")]
    Cleanup(OpenError),
    #[error(transparent)]
    KubeProxy(#[from] Failed),
    #[error(transparent)]
    Process(#[from] ProcessError),
    #[error(transparent)]
    Unprivileged(#[from] Unprivileged),
    #[error(transparent)]
    NothingSet(#[from] NothingSet),
    #[error("output: {0}")]
    Output(#[from] io::Error),
    #[error("signals: {0}")]
    Signals(io::Error),
    #[error(
        "threads cannot be started, and {count} are needed: {error}; raise RLIMIT_NPROC (`ulimit -u`), or the cgroup's limit of processes"
    )]
    Threads { count: usize, error: io::Error },
    #[error("async runtime: {0}")]
    Runtime(io::Error),
}

impl CommandLine {
    /// What this process was called with; ends it where that makes no sense. Unlike [`Parser::parse`] the message holds
    /// no password.
    pub fn given() -> Self {
        Self::try_parse().unwrap_or_else(|mistake| redacted(mistake).exit())
    }

    /// Does what was asked. The exit code is 0 if it is done; if not, it says what kind of failure it was
    /// (docs/operating.md), and the last line on stderr says why.
    pub fn execute(self) -> ExitCode {
        let Self { command, log } = self;
        let verbosity = log.v;
        match command {
            // Its level may be in its file.
            Command::Run(flags) => run::execute(*flags, verbosity),
            Command::Controller(flags) => {
                logging(verbosity.unwrap_or(Verbosity::AGENT), |_| block_on(controller::control(*flags)))
            }
            #[cfg(feature = "demo")]
            Command::Demo(args) => logging(verbosity.unwrap_or(Verbosity::QUIET), |_| crate::demo::run(&args)),
            Command::Status(flags) => {
                logging(verbosity.unwrap_or(Verbosity::QUIET), |_| block_on(status::status(flags)))
            }
            Command::Cleanup(flags) => {
                logging(verbosity.unwrap_or(Verbosity::QUIET), |_| block_on(cleanup::cleanup(flags)))
            }
        }
    }
}

/// A mistake is shown with what was written, which may be the URL of a server, or become one by a quote that is missing.
fn redacted(mut mistake: clap::Error) -> clap::Error {
    let written: Vec<_> = mistake.context().map(|(kind, value)| (kind, value.clone())).collect();
    for (kind, value) in written {
        if let ContextValue::String(text) = value {
            mistake.insert(kind, ContextValue::String(ServerUrl::redacted(&text)));
        }
    }
    mistake
}

/// Does `work` with a log, whose last lines are written before the program ends.
fn logging(verbosity: Verbosity, work: impl FnOnce(&Log) -> ExitCode) -> ExitCode {
    match Log::start(verbosity) {
        Ok(log) => work(&log),
        Err(error) => {
            // Without a reader the exit code says it alone.
            let _ = output::error_line(CommandError::Threads { count: 1, error });
            Exit::Failed.into()
        }
    }
}

fn block_on(command: impl Future<Output = Result<(), CommandError>>) -> ExitCode {
    let outcome = runtime().and_then(|runtime| {
        let outcome = runtime.block_on(command);
        // A thread that waits for the kernel, for a network file system for instance, holds up nothing.
        runtime.shutdown_timeout(LAST_TASKS);
        outcome
    });
    match outcome {
        Ok(()) => Exit::Done.into(),
        Err(error) => {
            error!("{error}");
            error.exit().into()
        }
    }
}

fn runtime() -> Result<Runtime, CommandError> {
    // The runtime panics where it cannot start its threads. One more than its workers: it reads files on another.
    let count = thread::available_parallelism().map_or(1, usize::from) + 1;
    start_threads(count).map_err(|error| CommandError::Threads { count, error })?;
    Runtime::new().map_err(CommandError::Runtime)
}

/// Starts so many threads at the same time, and ends them.
fn start_threads(count: usize) -> io::Result<()> {
    let end = Mutex::new(());
    thread::scope(|scope| {
        // Dropped before the scope waits for them.
        let _not_yet = end.lock();
        (0..count).try_for_each(|_| {
            let started = thread::Builder::new().spawn_scoped(scope, || drop(end.lock()));
            started.map(drop)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::{CommandLine, redacted};
    use clap::{CommandFactory, Parser};

    #[test]
    fn the_command_line_is_consistent() {
        CommandLine::command().debug_assert();
    }

    #[test]
    fn a_mistake_shows_no_password() {
        for (arguments, shown) in [
            (&["--master", "https://user:hunter2@"][..], "'https://***@'"),
            (&["--master=https://a,https://user:hunter2@b c"], "'https://***@b c'"),
            (&["--master", "https://a,", "https://user:hunter2@b"], "'https://***@b'"),
            (&["--backend", "user:hunter2@b"], "'***@b'"),
        ] {
            let given = ["switchyard", "run"].iter().chain(arguments);
            let mistake = redacted(CommandLine::try_parse_from(given).unwrap_err()).to_string();
            assert!(mistake.contains(shown) && !mistake.contains("hunter2"), "{mistake}");
        }
    }
}
