//! `switchyard run`: does what its flags ask for, which may be something else than to run.

use std::process::ExitCode;

use tokio::sync::watch;
use tracing::{error, info, warn};

use super::cleanup::{self, CleanupFlags};
use super::level::{self, LogLevel};
use super::{CommandError, block_on, run};
use crate::config::{self, Action, Config, ConfigFile, RunFlags, Verbosity, live};
use crate::host::Host;

pub(super) fn execute(flags: RunFlags, verbosity: Option<Verbosity>) -> ExitCode {
    let order = match flags.order(verbosity) {
        Ok(order) => order,
        Err(mistakes) => {
            level::init(verbosity.unwrap_or(Verbosity::AGENT));
            mistakes.mistakes().iter().for_each(|mistake| error!("{mistake}"));
            return ExitCode::FAILURE;
        }
    };
    let level = level::init(verbosity.unwrap_or_else(|| order.action.verbosity()));
    order.remarks.iter().for_each(|remark| warn!("{remark}"));
    match order.action {
        Action::Run { config, file } => block_on(follow(*config, file.map(|file| *file), level)),
        Action::WriteConfig { config, to } => block_on(async {
            std::fs::write(&to, config::yaml(&config))
                .map_err(|error| CommandError::NotWritten { file: to.clone(), error })?;
            info!(file = %to.display(), "configuration was written");
            Ok(())
        }),
        // What could not be set has been logged, and keeps nobody from forwarding.
        Action::InitOnly(config) => block_on(async {
            Host::default().prepare(&config.host);
            Ok(config.backend.prepare(&config.ipvs).await?)
        }),
        Action::CleanUp => block_on(cleanup::cleanup(CleanupFlags::default())),
    }
}

/// Runs with a configuration that may change. How much is logged changes here; all else in `run`.
async fn follow(config: Config, file: Option<ConfigFile>, level: LogLevel) -> Result<(), CommandError> {
    let (changed, configs) = watch::channel(config);
    let mut levels = configs.clone();
    tokio::spawn(async move {
        while levels.changed().await.is_ok() {
            level.set(levels.borrow_and_update().verbosity);
        }
    });
    if let Some(file) = file {
        tokio::spawn(live::follow(file, changed, live::log));
    }
    run::run(configs).await
}
