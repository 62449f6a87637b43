//! The whole agent: its parts put together, and changed while it runs when its configuration changes.
//!
//! ```text
//! Config ──► Views ─────► source ───────► ┐
//! (watched)  (one a part) settings ─────► │ reconcile::run ──► Dataplane
//!                         backend ──────► ┘       │ News
//!                         servers, localhost ◄────┤
//!                         events, migration ◄─────┘
//! ```
//!
//! Nothing is decided here. [`Agent`] takes a dataplane, witnesses and a source of an embedding program in place of, or
//! beside, those that the configuration names.

mod tasks;
mod views;

use std::future::Future;

use backend_api::Dataplane;
use kubernetes::source::{self, Event, SourceConfig};
use kubernetes::{ClusterState, Inputs};
use reconcile::{ReconcileError, Successors, Witness};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tracing::{info, warn};

use self::tasks::Removal;
pub(crate) use self::views::view;
pub use self::views::{BackendView, Part, Views};
use crate::announce::{Announcing, AnnouncingView};
use crate::backend::OpenError;
use crate::config::{Config, configz};
use crate::descriptors::Descriptors;
use crate::events::{EventWitness, Notice, Outbox, Uids};
use crate::localhost::{Limits, Localhost};
use crate::metrics::{Afresh, Metrics};
use crate::migration::{FirstSync, first_backend};
use crate::node::{watch_addresses, watch_links};
use crate::serving::{Health, Serving, Sources, Unbindable};

/// The agent, before it runs.
///
/// ```no_run
/// # async fn example(configs: tokio::sync::watch::Receiver<switchyard_agent::config::Config>)
/// #     -> Result<(), switchyard_agent::process::ProcessError> {
/// use switchyard_agent::process::Agent;
///
/// // As `switchyard run` does; with a backend of your own: `Agent::new(configs).dataplane(Box::new(mine))`.
/// Agent::new(configs).run(std::future::pending()).await
/// # }
/// ```
pub struct Agent {
    configs: watch::Receiver<Config>,
    dataplane: Option<Box<dyn Dataplane>>,
    witnesses: Vec<Box<dyn Witness<ClusterState>>>,
    objects: Option<mpsc::Receiver<Vec<Event>>>,
}

/// Why an agent ended without being told to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProcessError {
    /// There is no dataplane to begin with.
    #[error(transparent)]
    Backend(#[from] OpenError),
    /// The loop cannot go on.
    #[error(transparent)]
    Reconcile(#[from] ReconcileError),
    /// One of the agent's own servers cannot listen, and `--bind-address-hard-fail` is set.
    #[error(transparent)]
    Unbindable(#[from] Unbindable),
    /// It was left out when this program was built.
    #[error("{0}: not part of this build, which reads folders only")]
    NoSource(SourceConfig),
}

impl Agent {
    /// An agent that does what the latest of `configs` says.
    pub fn new(configs: watch::Receiver<Config>) -> Self {
        Self { configs, dataplane: None, witnesses: Vec::new(), objects: None }
    }

    /// Programs through `dataplane`, in place of the backend that the configuration names. A change of the backend in
    /// the configuration has no effect then.
    pub fn dataplane(self, dataplane: Box<dyn Dataplane>) -> Self {
        Self { dataplane: Some(dataplane), ..self }
    }

    /// Tells `witness` what the loop does, beside the agent's own witnesses. May be called several times.
    pub fn witness(mut self, witness: Box<dyn Witness<ClusterState>>) -> Self {
        self.witnesses.push(witness);
        self
    }

    /// Takes objects from `objects` (see [`kubernetes::source::channel`]), in place of the source that the
    /// configuration names. The agent ends with an error if the sender is dropped. No Kubernetes Events are posted.
    pub fn source(self, objects: mpsc::Receiver<Vec<Event>>) -> Self {
        Self { objects: Some(objects), ..self }
    }

    /// Forwards service traffic until `stop`; then the rules stay in place. Works in the network namespace of the
    /// runtime's threads.
    ///
    /// # Errors
    /// If trying again cannot help. What is programmed stays.
    pub async fn run(self, stop: impl Future<Output = ()>) -> Result<(), ProcessError> {
        let Self { configs, dataplane, witnesses: others, objects } = self;
        let config = configs.borrow().clone();
        if !cfg!(feature = "kubernetes") && objects.is_none() && matches!(config.source, SourceConfig::Kubernetes(_)) {
            return Err(ProcessError::NoSource(config.source));
        }
        // Every task beside the loop ends with it.
        let mut beside = JoinSet::new();
        let (outbox, notices) = crate::events::channel();
        let uids = Uids::default();
        if objects.is_none() {
            beside.spawn(tasks::post_events(view(&configs, |views| views.source), notices, uids.clone()));
        }
        outbox.leave(Notice::Started);
        beside.spawn(tasks::prepare_node(view(&configs, |views| views.host), outbox.clone()));

        let (dataplane, by) = match dataplane {
            Some(dataplane) => (dataplane, Programmer::Embedder),
            None => open_first(&config, &outbox).await?,
        };
        greet(&config, dataplane.name(), objects.is_some());

        let descriptors = Descriptors::of_process();
        if let Some(limit) = descriptors.shortage() {
            let Descriptors { clients, connections, flows, .. } = descriptors;
            warn!(
                limit,
                clients,
                connections,
                flows,
                "limit of open files is low: fewer clients are served at a time; raise RLIMIT_NOFILE"
            );
        }
        let announcing = Announcing::new(&config);
        let localhost = Localhost::new(Limits::within(&descriptors), descriptors.clone());
        let (first_sync, programmed) = FirstSync::new();
        let metrics = Metrics::new(dataplane.name(), Box::new(Afresh))
            .with_localhost(localhost.counts())
            .with_announcing(announcing.clone());
        let leftovers = metrics.leftovers();
        let serving = Serving::new(Health::new(config.node_name.clone(), Health::PATIENCE), metrics, descriptors);
        let mut witnesses: Vec<Box<dyn Witness<ClusterState>>> = vec![
            serving.witness(),
            Box::new(EventWitness::new(outbox.clone(), uids)),
            Box::new(localhost.witness()),
            Box::new(first_sync),
            Box::new(announcing.witness(configs.clone())),
        ];
        witnesses.extend(others);

        beside.spawn(localhost.serve(view(&configs, |views| views.localhost)));
        let (end_announcing, told_to_end) = oneshot::channel();
        let announced = views::derive(&configs, |config| AnnouncingView::from(config));
        let mut announces = JoinSet::new();
        announces.spawn(announcing.serve(announced, outbox.clone(), told_to_end));
        let (tell_alone, alone) = oneshot::channel();
        let removal = Removal { outbox: outbox.clone(), leftovers, alone: Some(tell_alone) };
        beside.spawn(tasks::remove_leftovers(view(&configs, |views| views.kube_proxy), programmed, removal));
        let mut servers = JoinSet::new();
        servers.spawn(serving.serve(Sources {
            config: view(&configs, |views| views.servers),
            configuration: views::derive(&configs, configz),
            notices: outbox.clone(),
        }));

        let inputs = connect_inputs(&configs, objects, &mut beside);
        let successors = by.successors(&configs, alone, outbox, &mut beside);
        let cluster = ClusterState::new(Views::from(&config).settings, inputs);
        tokio::select! {
            outcome = reconcile::run(dataplane, cluster, successors, &mut witnesses, stop) => outcome?,
            Some(Ok(Err(unbindable))) = servers.join_next() => return Err(unbindable.into()),
        }
        // While this process still has what it takes to be stood in for.
        drop(end_announcing);
        announces.join_all().await;
        info!("stopped; the rules stay in place, `switchyard cleanup` removes them");
        Ok(())
    }
}

/// What programs the kernel first.
enum Programmer {
    /// The embedding program's dataplane, until the end.
    Embedder,
    /// The backend that the configuration names.
    Named,
    /// Another one, as long as kube-proxy's rules are there.
    Interim,
}

/// Opens the backend that the configuration names, or the one that has to be first beside kube-proxy's rules.
async fn open_first(config: &Config, outbox: &Outbox) -> Result<(Box<dyn Dataplane>, Programmer), OpenError> {
    let first = first_backend(config.backend, config.kube_proxy).await;
    match first.open_with(&config.ipvs).await {
        Ok(dataplane) if first == config.backend => Ok((dataplane, Programmer::Named)),
        Ok(dataplane) => Ok((dataplane, Programmer::Interim)),
        Err(error) => {
            outbox.leave(Notice::BackendUnavailable { reason: error.to_string() });
            tasks::await_last_event().await;
            Err(error)
        }
    }
}

fn greet(config: &Config, backend: &str, own_source: bool) {
    let source = if own_source { "the embedding program".to_owned() } else { config.source.to_string() };
    info!(version = env!("CARGO_PKG_VERSION"), backend, node = %config.node_name, source, "forwarding service traffic");
    if config.local_traffic.tells_nothing() {
        warn!(
            "pods cannot be told from other clients: --detect-local-mode is ClusterCIDR and --cluster-cidr is missing; \
             give the pods' ranges, or another mode"
        );
    }
}

/// What the state is made of, and the tasks that follow it.
fn connect_inputs(
    configs: &watch::Receiver<Config>,
    objects: Option<mpsc::Receiver<Vec<Event>>>,
    beside: &mut JoinSet<()>,
) -> Inputs {
    let objects = objects.unwrap_or_else(|| {
        let (told, objects) = source::channel();
        beside.spawn(source::follow_choice(view(configs, |views| views.source), told));
        objects
    });
    let (found, addresses) = watch::channel(None);
    beside.spawn(watch_addresses(found));
    let (found, node_links) = watch::channel(None);
    beside.spawn(watch_links(view(configs, |views| views.settings.flowtable_after.is_some()), found));
    let settings = view(configs, |views| views.settings);
    Inputs { links: Some(node_links), settings: Some(settings), ..Inputs::new(objects, addresses) }
}

impl Programmer {
    /// The backends that the configuration names later.
    fn successors(
        self,
        configs: &watch::Receiver<Config>,
        alone: oneshot::Receiver<()>,
        outbox: Outbox,
        beside: &mut JoinSet<()>,
    ) -> Option<Successors> {
        let alone = match self {
            Self::Embedder => return None,
            Self::Named => None,
            Self::Interim => Some(alone),
        };
        let (succeed, successors) = mpsc::channel(1);
        beside.spawn(tasks::open_backends(view(configs, |views| views.backend), alone, succeed, outbox));
        Some(successors)
    }
}
