//! The whole agent: every part of it put together, and changed while it runs when its configuration does.
//!
//! ```text
//! Config ──► derive ──► source ─────────► ┐
//! (watched)  (a part's  settings ───────► │ reconcile::run ──► Dataplane
//!             own view) backends ───────► ┘       │ News
//!                       servers, localhost ◄──────┤
//!                       events, migration ◄───────┘
//! ```
//!
//! Nothing is decided here. Each part is given a view of the configuration that changes only when something that concerns
//! it does.

mod backends;
mod derive;
mod events;
mod migration;
mod preparation;

use std::future::Future;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tracing::{info, warn};

use self::derive::derive;
use self::migration::Audience;
use crate::backend::OpenError;
use crate::config::{Config, configz};
use crate::events::{EventWitness, Notice, Uids};
use crate::localhost::{Limits, Localhost, OnLocalhost};
use crate::metrics::{Afresh, Metrics};
use crate::migration::{FirstSync, first_backend};
use crate::node::{watch_addresses, watch_links};
use crate::serving::{Health, Serving, Sources, Unbindable};
use kubernetes::settings::Settings;
use kubernetes::source::{self, SourceChoice, SourceConfig};
use kubernetes::{ClusterState, Inputs};
use reconcile::{ReconcileError, Witness};

/// Why an agent ended without being told to.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// There is no dataplane to begin with.
    #[error(transparent)]
    Backend(#[from] OpenError),
    /// The loop cannot go on.
    #[error(transparent)]
    Reconcile(#[from] ReconcileError),
    /// One of the agent's own servers cannot listen, and was told that it must.
    #[error(transparent)]
    Unbindable(#[from] Unbindable),
    /// It was left out when this program was built.
    #[error("{0}: not part of this build, which reads folders only")]
    NoSource(SourceConfig),
}

/// Forwards service traffic as `configs` says, until `stop`; then the rules stay in place. In the network namespace of the
/// runtime's threads.
///
/// # Errors
/// Where trying again cannot help. What is programmed stays.
pub async fn run(configs: watch::Receiver<Config>, stop: impl Future<Output = ()>) -> Result<(), ProcessError> {
    let config = configs.borrow().clone();
    if !cfg!(feature = "kubernetes") && matches!(config.source, SourceConfig::Kubernetes(_)) {
        return Err(ProcessError::NoSource(config.source));
    }
    let (outbox, notices) = crate::events::channel();
    let uids = Uids::default();
    // Everything beside the loop ends with it.
    let mut beside = JoinSet::new();
    beside.spawn(events::follow(derive(&configs, |config| SourceChoice::from(config)), notices, uids.clone()));
    outbox.leave(Notice::Started);
    beside.spawn(preparation::follow(derive(&configs, |config| config.host.clone()), outbox.clone()));

    let first = first_backend(config.backend, config.kube_proxy).await;
    let dataplane = match first.open_with(&config.ipvs).await {
        Ok(dataplane) => dataplane,
        Err(error) => {
            outbox.leave(Notice::BackendUnavailable { reason: error.to_string() });
            events::linger().await;
            return Err(error.into());
        }
    };
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

    let localhost = Localhost::new(Limits::default());
    let (first_sync, programmed) = FirstSync::new();
    let metrics = Metrics::new(dataplane.name(), Box::new(Afresh)).with_localhost(localhost.counts());
    let leftovers = metrics.leftovers();
    let serving = Serving::new(Health::new(config.node_name.clone(), Health::PATIENCE), metrics);
    let mut witnesses: Vec<Box<dyn Witness<ClusterState>>> = vec![
        serving.witness(),
        Box::new(EventWitness::new(outbox.clone(), uids)),
        Box::new(localhost.witness()),
        Box::new(first_sync),
    ];
    beside.spawn(localhost.serve(derive(&configs, OnLocalhost::wanted)));
    let (tell_alone, alone) = oneshot::channel();
    let audience = Audience { outbox: outbox.clone(), leftovers, alone: Some(tell_alone) };
    beside.spawn(migration::follow(derive(&configs, |config| config.kube_proxy), programmed, audience));
    let mut servers = JoinSet::new();
    servers.spawn(serving.serve(Sources {
        config: derive(&configs, |config| config.servers.clone()),
        configuration: derive(&configs, configz),
        notices: outbox.clone(),
    }));

    let (told, objects) = source::channel();
    beside.spawn(source::follow_choice(derive(&configs, |config| SourceChoice::from(config)), told));
    let (found, addresses) = watch::channel(None);
    beside.spawn(watch_addresses(found));
    let (found, node_links) = watch::channel(None);
    beside.spawn(watch_links(derive(&configs, |config| config.flowtable_after.is_some()), found));
    let (succeed, successors) = mpsc::channel(1);
    // Whoever was chosen waits where another had to be first.
    let until = (first != config.backend).then_some(alone);
    beside.spawn(backends::follow(derive(&configs, |config| backends::Choice::from(config)), until, succeed, outbox));

    let settings = derive(&configs, |config| Settings::from(config));
    let inputs = Inputs { links: Some(node_links), settings: Some(settings), ..Inputs::new(objects, addresses) };
    let cluster = ClusterState::new(Settings::from(&config), inputs);
    tokio::select! {
        outcome = reconcile::run(dataplane, cluster, Some(successors), &mut witnesses, stop) => outcome?,
        Some(Ok(Err(unbindable))) = servers.join_next() => return Err(unbindable.into()),
    }
    info!("stopped; the rules stay in place, `switchyard cleanup` removes them");
    Ok(())
}
