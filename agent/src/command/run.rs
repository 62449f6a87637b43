//! `switchyard run`: does what its flags ask for: run the agent, write the configuration, prepare the node, or clean
//! up.

use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tracing::{error, info, warn};

use super::cleanup::{self, CleanupFlags};
use super::output::{self, LogLevel};
use super::{CommandError, block_on};
use crate::config::live::{self, Reread};
use crate::config::{self, Action, Config, ConfigFile, RunFlags, Verbosity};
use crate::host::Host;
use crate::process::{Agent, Views, view};

pub(super) fn execute(flags: RunFlags, verbosity: Option<Verbosity>) -> ExitCode {
    let order = match flags.order(verbosity) {
        Ok(order) => order,
        Err(mistakes) => {
            output::init(verbosity.unwrap_or(Verbosity::AGENT));
            mistakes.mistakes().iter().for_each(|mistake| error!("{mistake}"));
            return ExitCode::FAILURE;
        }
    };
    let level = output::init(verbosity.unwrap_or_else(|| order.action.verbosity()));
    order.remarks.iter().for_each(|remark| warn!("{remark}"));
    match order.action {
        Action::Run { config, file } => block_on(run(*config, file.map(|file| *file), level)),
        Action::WriteConfig { config, to } => block_on(async {
            std::fs::write(&to, config::yaml(&config))
                .map_err(|error| CommandError::NotWritten { file: to.clone(), error })?;
            info!(file = %to.display(), "configuration was written");
            Ok(())
        }),
        // A setting that could not be made has been logged. It does not keep the agent from forwarding.
        Action::InitOnly(config) => block_on(async {
            Host::default().prepare(&config.host);
            Ok(config.backend.prepare(&config.ipvs).await?)
        }),
        Action::CleanUp => block_on(cleanup::cleanup(CleanupFlags::default())),
    }
}

/// Runs the agent until SIGTERM or SIGINT, with a configuration that changes with its file. The log level changes here;
/// all else in the agent.
async fn run(config: Config, file: Option<ConfigFile>, level: LogLevel) -> Result<(), CommandError> {
    let stop = stop_signal().map_err(CommandError::Signals)?;
    let (changed, configs) = watch::channel(config);
    let mut levels = view(&configs, |views| views.verbosity);
    tokio::spawn(async move {
        while levels.changed().await.is_ok() {
            level.set(*levels.borrow_and_update());
        }
    });
    if let Some(file) = file {
        tokio::spawn(live::watch_file(file, changed, log_reread));
    }
    Ok(Agent::new(configs).run(stop).await?)
}

/// Logs what became of a new text of the configuration file.
fn log_reread(reread: &Reread) {
    match reread {
        Reread::Applied { former, config, remarks } => {
            remarks.iter().for_each(|remark| warn!("{remark}"));
            let parts = Views::from(&**former).changes(&Views::from(&**config));
            info!(?parts, "configuration file was changed and is in force");
        }
        Reread::Refused(mistakes) => {
            mistakes.mistakes().iter().for_each(|mistake| error!("{mistake}"));
            error!("configuration file was changed and is refused; the former configuration stays in force");
        }
    }
}

/// Resolves at the first SIGTERM or SIGINT from now on.
fn stop_signal() -> std::io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
