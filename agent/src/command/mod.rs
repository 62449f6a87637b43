//! The operator's commands: what `switchyard` does when it is called.
//!
//! ```text
//! run      source → resolve → reconcile, until SIGTERM; the rules stay
//! demo     the example cluster in network namespaces
//! status   what the kernel holds
//! cleanup  removes what is ours
//! ```

mod cleanup;
mod level;
mod ordered;
mod run;
mod status;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tracing::error;

use crate::backend::OpenError;
use crate::config::{ConfigError, LogFlags, RunFlags, Verbosity};
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
    /// Forward service traffic until told to stop
    ///
    /// Reads Services and their endpoints from the Kubernetes API or a folder, programs the kernel, and follows every
    /// change. Takes kube-proxy's flags and its configuration file. On SIGTERM and SIGINT it ends and leaves the rules in
    /// place: traffic goes on, and the next run takes them over. Use `switchyard cleanup` to remove them.
    Run(Box<RunFlags>),

    /// Show the example cluster on this machine: dial every service and see who answers
    ///
    /// Builds the node of a small cluster in network namespaces, programs its services through the backend, dials them from a
    /// pod, from outside and from the node, and compares who answered with who should have. Needs root and a
    /// kernel, and nothing else; this machine's own network is left alone. Exits with 0 if all was as expected, 1 if
    /// not, 2 if it could not be shown here.
    #[cfg(feature = "demo")]
    Demo(crate::demo::Args),

    /// Show which frontends the kernel forwards, who answers them, and how many connections they had
    ///
    /// Reads the kernel itself: what is shown is what packets meet, whether an agent runs or not.
    Status(status::StatusFlags),

    /// Remove everything from the kernel that is Switchyard's
    ///
    /// Does so for every backend of this build, and touches nothing else. Stop `switchyard run` first. Doing it twice does no
    /// harm. With --kube-proxy, removes what kube-proxy left instead; `switchyard run` may run then, and should.
    Cleanup(cleanup::CleanupFlags),
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CommandError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("{}: {error}", file.display())]
    NotWritten { file: PathBuf, error: std::io::Error },
    #[error(transparent)]
    Backend(#[from] OpenError),
    #[error("{0}; if `switchyard run` is running, stop it first")]
    Cleanup(OpenError),
    #[error(transparent)]
    KubeProxy(#[from] Failed),
    #[error(transparent)]
    Process(#[from] ProcessError),
    #[error("signals: {0}")]
    Signals(std::io::Error),
    #[error("async runtime: {0}")]
    Runtime(std::io::Error),
}

impl CommandLine {
    /// Does what was asked. 0: done; 1: it failed, and the last line on stderr says why. (2, for a line that makes no
    /// sense, is clap's.)
    pub fn execute(self) -> ExitCode {
        let log = || level::init(self.log.v.unwrap_or(Verbosity::QUIET));
        match self.command {
            Command::Run(flags) => ordered::execute(*flags, self.log.v),
            #[cfg(feature = "demo")]
            Command::Demo(args) => {
                log();
                crate::demo::run(&args)
            }
            Command::Status(flags) => {
                log();
                block_on(status::status(flags))
            }
            Command::Cleanup(flags) => {
                log();
                block_on(cleanup::cleanup(flags))
            }
        }
    }
}

fn block_on(command: impl Future<Output = Result<(), CommandError>>) -> ExitCode {
    let runtime = tokio::runtime::Runtime::new().map_err(CommandError::Runtime);
    match runtime.and_then(|runtime| runtime.block_on(command)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error!("{error}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::CommandLine;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        CommandLine::command().debug_assert();
    }
}
