//! The operator's commands: what `switchyard` does when it is called.
//!
//! ```text
//! run      source → resolve → reconcile, until SIGTERM; the rules stay
//! demo     the example cluster in network namespaces
//! status   what the kernel holds
//! cleanup  removes what is Switchyard's
//! ```

mod cleanup;
mod output;
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
    /// Forward service traffic until SIGTERM or SIGINT
    ///
    /// Reads Services and their endpoints from the Kubernetes API or a folder, programs the kernel, and follows every
    /// change. Takes kube-proxy's flags and its configuration file. On SIGTERM and SIGINT it ends and leaves the rules
    /// in place: traffic continues, and the next run takes the rules over. `switchyard cleanup` removes them.
    Run(Box<RunFlags>),

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
    #[error("output: {0}")]
    Output(#[from] std::io::Error),
    #[error("signals: {0}")]
    Signals(std::io::Error),
    #[error("async runtime: {0}")]
    Runtime(std::io::Error),
}

impl CommandLine {
    /// Does what was asked. 0: done; 1: it failed, and the last line on stderr says why. 2 is clap's, for a command
    /// line that cannot be parsed.
    pub fn execute(self) -> ExitCode {
        let Self { command, log } = self;
        if !matches!(command, Command::Run(_)) {
            output::init(log.v.unwrap_or(Verbosity::QUIET));
        }
        match command {
            // Its level may be in its file.
            Command::Run(flags) => run::execute(*flags, log.v),
            #[cfg(feature = "demo")]
            Command::Demo(args) => crate::demo::run(&args),
            Command::Status(flags) => block_on(status::status(flags)),
            Command::Cleanup(flags) => block_on(cleanup::cleanup(flags)),
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
