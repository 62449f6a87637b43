//! `switchyard run`: the whole agent, until it is told to stop.

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::CommandError;
use crate::config::Config;
use crate::process;

/// Forwards service traffic as the latest of `configs` says, until SIGTERM or SIGINT; then the rules stay in place.
pub(super) async fn run(configs: watch::Receiver<Config>) -> Result<(), CommandError> {
    let stop = stop_signal().map_err(CommandError::Signals)?;
    Ok(process::run(configs, stop).await?)
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
