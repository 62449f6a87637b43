//! `switchyard run`: does what its flags ask for: run the agent, write the configuration, prepare the node, or clean
//! up.

use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tracing::{debug, error, info, warn};

use super::cleanup::{self, CleanupFlags};
use super::confine::{ConfineError, Confinement, PacketSockets, confine};
use super::exit::Exit;
use super::{CommandError, block_on, logging, privilege};
use crate::config::live::{self, Reread};
use crate::config::{self, Action, Announce, Config, ConfigFile, Order, RunFlags, Verbosity};
use crate::descriptors::raise_limit;
use crate::host::Host;
use crate::log::LogLevel;
use crate::process::{Agent, Views, view};

pub(super) fn execute(flags: RunFlags, verbosity: Option<Verbosity>) -> ExitCode {
    match flags.order(verbosity) {
        Ok(Order { action, remarks }) => {
            // Before the log, which has the first thread.
            let confined = match &action {
                Action::Run { config, file } => {
                    let fixed = file.is_none() && config.announcing.announce == Announce::Off;
                    let packets = if fixed { PacketSockets::Refused } else { PacketSockets::Allowed };
                    Some(confine(&config.source, packets))
                }
                Action::WriteConfig { .. } | Action::InitOnly(_) | Action::CleanUp => None,
            };
            logging(verbosity.unwrap_or_else(|| action.verbosity()), |log| {
                remarks.iter().for_each(|remark| warn!("{remark}"));
                confined.iter().for_each(log_confinement);
                block_on(act(action, log.level()))
            })
        }
        Err(mistakes) => logging(verbosity.unwrap_or(Verbosity::AGENT), |_| {
            mistakes.mistakes().iter().for_each(|mistake| error!("{mistake}"));
            Exit::Mistake.into()
        }),
    }
}

fn log_confinement(confined: &Result<Confinement, ConfineError>) {
    match confined {
        Ok(Confinement::Listed) => debug!("system calls are restricted to those that the agent makes"),
        Ok(Confinement::RunsPrograms) => {
            info!("system calls are not restricted: the kubeconfig names a program to run")
        }
        Err(error) => warn!(%error, "system calls and privileges of the process are not restricted"),
    }
}

async fn act(action: Action, level: LogLevel) -> Result<(), CommandError> {
    match action {
        Action::Run { config, file } => run(*config, file.map(|file| *file), level).await,
        Action::WriteConfig { config, to } => match std::fs::write(&to, config::yaml(&config)?) {
            Ok(()) => {
                info!(file = %to.display(), "configuration was written");
                Ok(())
            }
            Err(error) => Err(CommandError::NotWritten { file: to, error }),
        },
        Action::InitOnly(config) => {
            // Each setting that could not be made has been logged. One does not keep the agent from forwarding.
            let set = Host::default().initialise(&config.host);
            set.map_err(|nothing| privilege::check().map_or_else(CommandError::from, |()| nothing.into()))?;
            Ok(config.backend.prepare(&config.ipvs).await?)
        }
        Action::CleanUp => cleanup::cleanup(CleanupFlags::default()).await,
    }
}

/// Runs the agent until SIGTERM or SIGINT, with a configuration that changes with its file. The log level changes here;
/// all else in the agent.
async fn run(config: Config, file: Option<ConfigFile>, level: LogLevel) -> Result<(), CommandError> {
    privilege::check()?;
    if let Err(error) = raise_limit() {
        warn!(%error, "limit of open files cannot be raised");
    }
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
pub(super) fn stop_signal() -> std::io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
