//! How a command ends: its exit code, which scripts and container runtimes read.

use std::process::ExitCode;

use backend_api::SyncError;

use super::CommandError;
use crate::backend::OpenError;
use crate::process::ProcessError;

/// The exit codes, as in `docs/operating.md`. 101 is a panic's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Exit {
    /// What was asked for is done.
    Done = 0,
    /// It failed; the last line on stderr says why.
    Failed = 1,
    /// The command line or the configuration file is wrong. clap's, too.
    Mistake = 2,
    /// A privilege is missing.
    Unprivileged = 3,
    /// The kernel, or this build, lacks what is needed.
    Unsupported = 4,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

impl CommandError {
    pub(super) fn exit(&self) -> Exit {
        match self {
            Self::Config(_) | Self::NotInFolder { .. } => Exit::Mistake,
            Self::Unprivileged(_) => Exit::Unprivileged,
            Self::Backend(error) | Self::Cleanup(error) | Self::Process(ProcessError::Backend(error)) => of_open(error),
            Self::Process(ProcessError::NoSource(_)) => Exit::Unsupported,
            Self::Process(_)
            | Self::KubeProxy(_)
            | Self::NothingSet(_)
            | Self::NotWritten { .. }
            | Self::Output(_)
            | Self::Signals(_)
            | Self::Threads { .. }
            | Self::Runtime(_) => Exit::Failed,
        }
    }
}

fn of_open(error: &OpenError) -> Exit {
    match error {
        OpenError::NotCompiled(_) => Exit::Unsupported,
        OpenError::Refused { source: SyncError::Unsupported { feature, .. }, .. } if feature == "CAP_NET_ADMIN" => {
            Exit::Unprivileged
        }
        OpenError::Refused { source: SyncError::Unsupported { .. }, .. } => Exit::Unsupported,
        OpenError::Refused { .. } => Exit::Failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(feature: &str) -> CommandError {
        let source = SyncError::Unsupported { feature: feature.to_owned(), reason: "because".to_owned() };
        CommandError::Backend(OpenError::Refused { backend: "nftables", source })
    }

    #[test]
    fn the_exit_code_says_what_kind_of_failure_it_was() {
        for (error, expected) in [
            (refused("CAP_NET_ADMIN"), Exit::Unprivileged),
            (refused("CONFIG_NFT_NUMGEN"), Exit::Unsupported),
            (CommandError::Backend(OpenError::NotCompiled("ipvs")), Exit::Unsupported),
            (CommandError::Runtime(std::io::ErrorKind::Other.into()), Exit::Failed),
        ] {
            assert_eq!(error.exit(), expected, "{error}");
        }
    }
}
