//! The task that runs an announcer as the configuration says, and hands it the plan's bids.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use announce::election::{Incumbency, Progress};
use announce::kernel::{Announcer, Settings, Snapshot};
use announce::wire::heartbeat::Name;
use kubernetes::settings::NodeName;
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep};
use tracing::{error, info, warn};

use super::{Announces, Announcing, Shared, log};
use crate::config::{Announce, Config, OnStop};
use crate::events::{Notice, Outbox};

/// How long other nodes keep what is held, and how long they may take to take it over.
const BOUND: Duration = Duration::from_secs(10);

/// How often the announcer is told that this process lives.
const TICK: Duration = Duration::from_secs(1);

/// Without a tick for as long, other nodes take over.
const WATCHDOG: Duration = Duration::from_secs(10);

/// How often it is looked whether another node has taken over.
const LOOK: Duration = Duration::from_millis(50);

/// Nodes that say another name are not listened to.
const CLUSTER: &str = "switchyard";

/// What the task sees of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnnouncingView {
    announces: Option<Announces>,
    announcer: Option<Setup>,
    on_stop: OnStop,
}

/// What an announcer is started with: with another one it is started again.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Setup {
    node_name: NodeName,
    incumbency: Incumbency,
}

impl From<&Config> for AnnouncingView {
    fn from(config: &Config) -> Self {
        let setup = Setup { node_name: config.node_name.clone(), incumbency: config.announcing.incumbency };
        Self {
            announces: Announces::of(config),
            announcer: (config.announcing.announce == Announce::On).then_some(setup),
            on_stop: config.announcing.on_stop,
        }
    }
}

impl Announcing {
    /// Announces what the plan bids for, in the network namespace of the runtime's threads, until `stop` is sent or
    /// dropped. Returns when other nodes have what was held, or have been told.
    pub async fn serve(
        self,
        mut views: watch::Receiver<AnnouncingView>,
        outbox: Outbox,
        mut stop: oneshot::Receiver<()>,
    ) {
        let shared = self.shared;
        let _ends_with_this = EndOnDrop(&shared);
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut runs: Option<Setup> = None;
        let mut said = None;
        loop {
            let AnnouncingView { announces, announcer: wanted, on_stop } = views.borrow_and_update().clone();
            shared.plan().configure(announces);
            if runs != wanted {
                end_for(&shared, wanted.is_some());
                runs = None;
            }
            if let (None, Some(setup)) = (&runs, &wanted) {
                match start(&shared, setup, &outbox) {
                    Ok(()) => (runs, said) = (wanted.clone(), None),
                    Err(error) => complain(&error, &mut said, &outbox),
                }
            }
            if let Some(announcer) = &*shared.announcer() {
                announcer.bid(shared.plan().bids().clone());
            }
            log::reasons(&mut shared.plan());
            tokio::select! {
                _ = &mut stop => return end(&shared, on_stop).await,
                changed = views.changed() => if changed.is_err() { return },
                () = shared.changed.notified() => {}
                () = ticked(&mut ticks, &shared), if wanted.is_some() => runs = None,
            }
        }
    }
}

/// Ends the announcer where the task is dropped. What else has a share of it outlives the task.
struct EndOnDrop<'a>(&'a Shared);

impl Drop for EndOnDrop<'_> {
    fn drop(&mut self) {
        drop(self.0.announcer().take());
    }
}

/// Ticks as long as the announcer runs; returns where it is to be started.
async fn ticked(ticks: &mut Interval, shared: &Shared) {
    loop {
        ticks.tick().await;
        match &*shared.announcer() {
            Some(announcer) if announcer.is_running() => announcer.tick(),
            Some(_) => return error!("announcing has ended by a defect, starting it again"),
            None => return,
        }
    }
}

fn named(text: &str) -> io::Result<Name> {
    Name::new(text).ok_or_else(|| io::Error::other(format!("{text:?} is no name")))
}

fn start(shared: &Arc<Shared>, setup: &Setup, outbox: &Outbox) -> io::Result<()> {
    let mut settings = Settings::new(named(CLUSTER)?, named(setup.node_name.as_str())?);
    settings.incumbency = setup.incumbency;
    settings.watchdog = Some(WATCHDOG);
    let (announcer, told) = Announcer::start(settings)?;
    let (shared_there, outbox) = (shared.clone(), outbox.clone());
    // Ends with the announcer.
    std::thread::Builder::new()
        .name("announce-log".to_owned())
        .spawn(move || told.into_iter().for_each(|told| log::say(&told, &shared_there, &outbox)))?;
    *shared.announcer() = Some(announcer);
    info!(node = %setup.node_name, "announcing addresses of LoadBalancer services");
    Ok(())
}

fn complain(error: &io::Error, said: &mut Option<String>, outbox: &Outbox) {
    let reason = error.to_string();
    if said.as_ref() != Some(&reason) {
        warn!(%error, "addresses cannot be announced, trying again");
        outbox.leave(Notice::AnnounceFailed { reason: reason.clone() });
        *said = Some(reason);
    }
}

/// Ends an announcer because of the configuration.
fn end_for(shared: &Shared, is_started_again: bool) {
    let Some(announcer) = shared.announcer().take() else { return };
    if is_started_again {
        announcer.pause(BOUND);
    } else {
        info!("announcing is off, other nodes take the addresses over");
    }
}

async fn end(shared: &Shared, on_stop: OnStop) {
    match on_stop {
        OnStop::Pause => {
            if let Some(announcer) = shared.announcer().take() {
                announcer.pause(BOUND);
            }
        }
        OnStop::Leave => leave(shared).await,
    }
}

/// Gives everything that is held to other nodes first.
async fn leave(shared: &Shared) {
    let deadline = Instant::now() + BOUND;
    if let Some(announcer) = &*shared.announcer() {
        announcer.leave();
    }
    while Instant::now() < deadline {
        let snapshot = shared.announcer().as_ref().map(Announcer::snapshot).unwrap_or_default();
        let held = held(&snapshot);
        if held == 0 || !has_peers(&snapshot) {
            break;
        }
        sleep(LOOK).await;
    }
    // Dropped, it says that all its bids are void.
    drop(shared.announcer().take());
}

fn held(snapshot: &Snapshot) -> usize {
    snapshot.addresses.iter().filter(|state| matches!(state.progress, Progress::Holding(_))).count()
}

fn has_peers(snapshot: &Snapshot) -> bool {
    snapshot.interfaces.values().any(|counters| counters.peers > 0)
}
