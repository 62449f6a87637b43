//! Deletes the tracked flows that changes have left stale, beside the syncs.
//!
//! Kept apart from what a sync does itself because nearly every change can leave such flows, and the kernel walks all of
//! connection tracking to find them: no change shall wait for that. A client of TCP repeats its first packet after a
//! second, one of UDP asks again: a little later is as good.
//!
//! ```text
//! syncs ─► owed ─► [a moment later] ─► asked ─► dump, on a thread for blocking ─► is_stale? delete ─► rest
//!            └─────── follow ───────────┘
//! ```
//!
//! What if we die here? The next process looks at every frontend in its first sync.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use backend_api::{
    Cleaning, EndpointAddress, Family, Flow, FrontendKey, NodeNetwork, PerFamily, Protocol, Service, ServiceState,
    StaleFlows,
};
use netlink::ReadError;
use netlink::conntrack::Conntrack;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::sleep;

use crate::ruleset::lower::kernel_family;

/// How long changes gather, and how long packets on their way may take past our hooks.
const GATHER: Duration = Duration::from_millis(20);

/// A look is followed by this many times its own length of rest, so that looking takes a tenth of one processor at most,
/// however large connection tracking is and however fast changes come.
const REST: u32 = 10;

/// How long to wait after a look that failed.
const AFTER_FAILURE: Duration = Duration::from_secs(1);

/// The task that looks. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Cleaner {
    shared: Arc<Shared>,
    task: AbortHandle,
}

#[derive(Debug)]
struct Shared {
    work: Mutex<Work>,
    /// Something is owed.
    wake: Notify,
    /// It is wanted at once.
    hurry: Notify,
    /// A look has ended.
    looked: Notify,
}

#[derive(Debug)]
struct Work {
    /// What changed since the last look began.
    owed: StaleFlows,
    /// What the look under way is about.
    asked: StaleFlows,
    /// What looks came to that no sync has reported.
    cleanings: PerFamily<Option<Cleaning>>,
}

impl Cleaner {
    /// Starts the task. Within a tokio runtime.
    pub(crate) fn start(conntrack: Conntrack) -> Self {
        let nothing = StaleFlows::new(Arc::new(NodeNetwork::unknown()));
        let work = Work { owed: nothing.clone(), asked: nothing, cleanings: PerFamily::default() };
        let shared = Arc::new(Shared {
            work: Mutex::new(work),
            wake: Notify::new(),
            hurry: Notify::new(),
            looked: Notify::new(),
        });
        let task = tokio::spawn(look_at_times(shared.clone(), conntrack)).abort_handle();
        Self { shared, task }
    }

    /// The kernel held `held` when it was read, and is programmed for `now`.
    pub(crate) fn restarted(&self, held: impl IntoIterator<Item = FrontendKey>, now: &ServiceState) {
        let mut work = self.shared.work();
        let Work { owed, asked, .. } = &mut *work;
        let nothing = asked.emptied();
        std::mem::replace(asked, nothing).hand_back(owed);
        owed.restarted(held, now);
        asked.follow_node(now.node());
        self.shared.wake_if_owed(&work);
    }

    /// Services changed: each as it was programmed before and as it is now. So may have the node.
    pub(crate) fn changed<'a>(
        &self,
        now: &ServiceState,
        changes: impl Iterator<Item = (Option<&'a Arc<Service>>, Option<&'a Arc<Service>>)>,
    ) {
        let mut work = self.shared.work();
        let Work { owed, asked, .. } = &mut *work;
        owed.node_changed(now);
        asked.follow_node(now.node());
        for (before, after) in changes {
            owed.service_changed(before, after, now);
            asked.follow(before, after);
        }
        self.shared.wake_if_owed(&work);
    }

    /// Flows of these frontends may be stale as well.
    pub(crate) fn suspect(&self, frontends: impl IntoIterator<Item = FrontendKey>, now: &ServiceState) {
        let mut work = self.shared.work();
        work.owed.suspect(frontends, now);
        self.shared.wake_if_owed(&work);
    }

    /// Looks at once, and returns when nothing is owed, or could not be looked at.
    pub(crate) async fn settle(&self) {
        let looked = self.shared.looked.notified();
        if self.shared.work().is_settled() {
            return;
        }
        self.shared.hurry.notify_one();
        looked.await;
    }

    /// What looks came to since this was asked last.
    pub(crate) fn take_cleanings(&self) -> PerFamily<Option<Cleaning>> {
        std::mem::take(&mut self.shared.work().cleanings)
    }
}

impl Drop for Cleaner {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Work {
    fn is_settled(&self) -> bool {
        self.owed.is_empty() && self.asked.is_empty()
    }
}

impl Shared {
    fn work(&self) -> MutexGuard<'_, Work> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake_if_owed(&self, work: &Work) {
        if !work.owed.is_empty() {
            self.wake.notify_one();
        }
    }

    async fn rest(&self, time: Duration) {
        tokio::select! {
            () = sleep(time) => {}
            () = self.hurry.notified() => {}
        }
    }

    /// Moves what is owed to what is asked. Whether there is anything.
    fn ask(&self) -> bool {
        let mut work = self.work();
        let Work { owed, asked, .. } = &mut *work;
        std::mem::swap(owed, asked);
        !asked.is_empty()
    }

    /// Notes that what was asked was done, or is owed still.
    fn answered(&self, outcome: &Result<(), ReadError>) {
        let mut work = self.work();
        let Work { owed, asked, .. } = &mut *work;
        let done = asked.emptied();
        let asked = std::mem::replace(asked, done);
        if outcome.is_err() {
            asked.hand_back(owed);
        }
        self.looked.notify_waiters();
    }
}

async fn look_at_times(shared: Arc<Shared>, mut conntrack: Conntrack) {
    let mut warned = false;
    loop {
        shared.wake.notified().await;
        shared.rest(GATHER).await;
        while shared.ask() {
            let started = Instant::now();
            let asked = shared.clone();
            // The kernel walks on the calling thread, for as long as its table is large.
            let looking = tokio::task::spawn_blocking(move || {
                let outcome = Handle::current().block_on(look(&asked, &mut conntrack));
                (conntrack, outcome)
            });
            let Ok((opened, outcome)) = looking.await else { return };
            conntrack = opened;
            shared.answered(&outcome);
            let rest = match &outcome {
                Ok(()) => GATHER.max(started.elapsed() * REST),
                Err(_) => AFTER_FAILURE,
            };
            if let (Err(error), false) = (&outcome, warned) {
                tracing::warn!(%error, "stale flows may be left, trying again soon");
            }
            warned = outcome.is_err();
            shared.rest(rest).await;
        }
    }
}

/// Looks once, and deletes what is stale by what was told until then.
async fn look(shared: &Shared, conntrack: &mut Conntrack) -> Result<(), ReadError> {
    let kinds = shared.work().asked.kinds();
    for (family, protocol) in kinds {
        let started = Instant::now();
        let mut found = Vec::new();
        show(conntrack, (family, protocol), |flow| {
            if shared.work().asked.is_stale(&as_seen(&flow, protocol)) {
                found.push(flow);
            }
        })
        .await?;
        // What changed during the dump counts too.
        found.retain(|flow| shared.work().asked.is_stale(&as_seen(flow, protocol)));
        let deleted = conntrack.delete(&found).await?;
        let mut work = shared.work();
        let cleaning = work.cleanings.of_mut(family).get_or_insert_default();
        cleaning.deleted += deleted;
        cleaning.took += started.elapsed();
    }
    Ok(())
}

/// Shows the flows that can be stale: of TCP those without an answer.
async fn show(
    conntrack: &mut Conntrack,
    (family, protocol): (Family, Protocol),
    each: impl FnMut(netlink::conntrack::Flow),
) -> Result<(), ReadError> {
    let (family, number) = (kernel_family(family), protocol.number());
    match protocol {
        Protocol::Tcp => conntrack.unanswered(family, number, each).await,
        Protocol::Udp | Protocol::Sctp => conntrack.flows(family, number, each).await,
    }
}

/// A tracked flow in the words of the desired state.
fn as_seen(flow: &netlink::conntrack::Flow, protocol: Protocol) -> Flow {
    debug_assert_eq!(kernel_family(Family::of(flow.original.source)), flow.family);
    let (original, reply) = (&flow.original, &flow.reply);
    Flow {
        protocol,
        source: EndpointAddress::new(original.source, original.source_port).into(),
        destination: EndpointAddress::new(original.destination, original.destination_port).into(),
        reply_source: EndpointAddress::new(reply.source, reply.source_port).into(),
        answered: flow.is_answered(),
    }
}
