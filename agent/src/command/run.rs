//! `switchyard run`: puts source, reconcile and backend together, until it is told to stop.

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tracing::{info, warn};

use super::CommandError;
use crate::config::{Config, SourceConfig};
use crate::node_addresses;
use crate::reconcile::{self, Desired, Inputs};
use crate::resolve::Settings;
use crate::source::{channel, files};

/// Forwards service traffic as the latest of `configs` says, until SIGTERM or SIGINT; then the rules stay in place.
pub(super) async fn run(configs: watch::Receiver<Config>) -> Result<(), CommandError> {
    let config = configs.borrow().clone();
    let stop = stop_signal().map_err(CommandError::Signals)?;
    let dataplane = config.backend.open_with(&config.ipvs).await?;
    info!(
        version = env!("CARGO_PKG_VERSION"),
        backend = dataplane.name(),
        node = %config.node_name,
        source = %config.source,
        "forwarding service traffic"
    );
    if config.local_traffic.tells_nothing() {
        warn!("pods cannot be told from others: --detect-local-mode is ClusterCIDR and no --cluster-cidr is given");
    }
    let (told, objects) = channel();
    let (found, addresses) = watch::channel(None);
    let settings = Settings::from(&config);
    match config.source {
        SourceConfig::Folder(folder) => tokio::spawn(files::follow(folder, told)),
        kubernetes @ SourceConfig::Kubernetes(_) => return Err(CommandError::NoSource(kubernetes)),
    };
    tokio::spawn(node_addresses::follow(found));
    let inputs = Inputs { settings: Some(follow_settings(configs)), ..Inputs::new(objects, addresses) };
    reconcile::run(dataplane, Desired::new(settings), inputs, &mut (), stop).await?;
    info!("stopped; the rules stay in place, `switchyard cleanup` removes them");
    Ok(())
}

/// The settings of the latest configuration, as they change.
fn follow_settings(mut configs: watch::Receiver<Config>) -> watch::Receiver<Settings> {
    let (changed, settings) = watch::channel(Settings::from(&*configs.borrow()));
    tokio::spawn(async move {
        while configs.changed().await.is_ok() {
            let now = Settings::from(&*configs.borrow_and_update());
            changed.send_if_modified(|before| std::mem::replace(before, now.clone()) != now);
        }
    });
    settings
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
