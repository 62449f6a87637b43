//! The operator's commands: what `switchyard` does when it is called.
//!
//! ```text
//! run      source → resolve → reconcile, until SIGTERM; the rules stay
//! status   what the kernel holds
//! cleanup  removes what is ours
//! ```

mod run;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tracing::error;

use crate::backend::OpenError;
use crate::config::{LogFlags, NameError, RunFlags};

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
    /// Reads Services and their endpoints from a folder, programs the kernel, and follows every change. On SIGTERM and
    /// SIGINT it ends and leaves the rules in place: traffic goes on, and the next run takes them over. Use
    /// `switchyard cleanup` to remove them.
    Run(RunFlags),
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CommandError {
    #[error(transparent)]
    Name(#[from] NameError),
    #[error(transparent)]
    Backend(#[from] OpenError),
    #[error("async runtime: {0}")]
    Runtime(std::io::Error),
}

impl CommandLine {
    /// Does what was asked. 0: done; 1: it failed, and the last line on stderr says why. (2, for a line that makes no
    /// sense, is clap's.)
    pub fn execute(self) -> ExitCode {
        tracing_subscriber::fmt().with_writer(std::io::stderr).with_max_level(self.log.v.level()).init();
        let outcome = tokio::runtime::Runtime::new()
            .map_err(CommandError::Runtime)
            .and_then(|runtime| runtime.block_on(self.command.execute()));
        match outcome {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                error!("{error}");
                ExitCode::FAILURE
            }
        }
    }
}

impl Command {
    async fn execute(self) -> Result<(), CommandError> {
        match self {
            Self::Run(flags) => run::run(flags.config()?).await,
        }
    }
}
