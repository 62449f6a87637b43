//! The loop's laws, against a dataplane in memory and a state that is told service by service. The tests' clock is
//! paused: time passes only while everything waits for it.

use std::sync::Arc;
use std::time::Duration;

use backend_api::{
    Dataplane, Fake, Frontend, LocalTraffic, NodeNetwork, Observed, PerFamily, Protocol, Report, Scope, Service,
    ServiceName, ServicePort, ServiceState, SyncError, async_trait,
};
use switchyard_reconcile::{
    News, NotTold, ReconcileError, StateChange, StateReceiver, StateSender, Witness, run, state_channel,
};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// A dataplane whose syncs wait for permission and say what they were called with.
#[derive(Clone, Debug)]
struct Gated {
    fake: Fake,
    permits: Arc<Semaphore>,
    begun: watch::Sender<Vec<String>>,
}

#[async_trait]
impl Dataplane for Gated {
    fn name(&self) -> &'static str {
        "gated"
    }

    async fn sync(&mut self, desired: &ServiceState, scope: Scope<'_>) -> Result<Report, SyncError> {
        let scope_words = match scope {
            Scope::All => "all".to_owned(),
            Scope::Services(names) => names.iter().map(|name| &*name.name).collect::<Vec<_>>().join(" "),
        };
        self.begun.send_modify(|begun| begun.push(scope_words));
        self.permits.acquire().await.expect("never closed").forget();
        self.fake.sync(desired, scope).await
    }

    async fn observe(&mut self) -> Result<Observed, SyncError> {
        self.fake.observe().await
    }

    async fn remove_all(&mut self) -> Result<(), SyncError> {
        self.fake.remove_all().await
    }

    async fn drifted(&mut self) {
        self.fake.drifted().await;
    }
}

/// A running loop.
struct Running {
    fake: Fake,
    permits: Arc<Semaphore>,
    begun: watch::Receiver<Vec<String>>,
    sender: StateSender,
    successors: mpsc::Sender<Box<dyn Dataplane>>,
    heard: watch::Receiver<Vec<String>>,
    stop: Option<oneshot::Sender<()>>,
    ended: JoinHandle<Result<(), ReconcileError>>,
}

/// Writes down what the loop tells, in words.
struct Notes(watch::Sender<Vec<String>>);

impl Witness<StateReceiver> for Notes {
    fn hear(&mut self, news: &News<'_, ()>) {
        let word = match news {
            News::Noted(()) => "noted".to_owned(),
            News::Conflict(conflict) => format!("conflict {}", conflict.loser),
            News::Unchanged => "unchanged".to_owned(),
            News::Syncing => "syncing".to_owned(),
            News::Synced { state, report, .. } => format!("synced {} of {}", report.writes, state.len()),
            News::NotSynced { error, .. } => format!("not synced: {error}"),
            News::Failed { service, reason } => format!("failed {service}: {reason}"),
            News::Drifted => "drifted".to_owned(),
            News::Succeeded { dataplane } => format!("succeeded by {dataplane}"),
        };
        self.0.send_modify(|notes| notes.push(word));
    }
}

/// Many more than any test needs.
const NO_GATE: usize = 1000;

impl Running {
    /// A loop whose dataplane may sync so often before it waits for more permits.
    fn with_permits(permits: usize) -> Self {
        Self::over(Fake::default(), permits)
    }

    fn over(fake: Fake, permits: usize) -> Self {
        let permits = Arc::new(Semaphore::new(permits));
        let (begin, begun) = watch::channel(Vec::new());
        let dataplane = Gated { fake: fake.clone(), permits: permits.clone(), begun: begin };
        let (sender, desired) = state_channel(node());
        let (stop, stopped) = oneshot::channel::<()>();
        let (successors, next) = mpsc::channel(1);
        let (hear, heard) = watch::channel(Vec::new());
        let ended = tokio::spawn(async move {
            let stop = async { drop(stopped.await) };
            run(Box::new(dataplane), desired, Some(next), &mut Notes(hear), stop).await
        });
        Self { fake, permits, begun, sender, successors, heard, stop: Some(stop), ended }
    }

    /// A loop that has programmed `web`, `dns` and nothing else.
    async fn settled() -> Self {
        let running = Self::with_permits(NO_GATE);
        running.tell(vec![service("web", 1), service("dns", 2), StateChange::Listed]).await;
        running.until("both services are programmed", |fake| names(fake) == ["dns", "web"]).await;
        running
    }

    async fn tell(&self, batch: Vec<StateChange>) {
        self.sender.tell(batch).await.unwrap();
    }

    /// Waits until the kernel is as `state` says.
    async fn until(&self, awaited: &str, state: impl Fn(&Fake) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(120);
        while !state(&self.fake) {
            assert!(Instant::now() < deadline, "{awaited}: not within two minutes, but {:?}", names(&self.fake));
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Waits until so many syncs have begun, and returns what each was called with.
    async fn begun(&mut self, syncs: usize) -> Vec<String> {
        let begun = self.begun.wait_for(|begun| begun.len() >= syncs);
        tokio::time::timeout(Duration::from_secs(120), begun).await.expect("a sync begins").unwrap().clone()
    }

    /// What syncs have been called with when nothing happens for a while.
    async fn quiet(&self) -> Vec<String> {
        tokio::time::sleep(Duration::from_secs(600)).await;
        self.begun.borrow().clone()
    }
}

fn node() -> NodeNetwork {
    NodeNetwork::new(
        PerFamily::both(LocalTraffic::InterfacePrefix("veth".to_owned())),
        ["192.168.67.8".parse().unwrap()],
    )
}

fn service(name: &str, last: u8) -> StateChange {
    let frontends = vec![Frontend::cluster_ip([10, 96, 0, last].into(), Protocol::Tcp, 80)];
    let [port, _] = ServicePort::dual(Protocol::Tcp, frontends, Vec::new());
    StateChange::Upsert(Service::new(ServiceName::new("default", name), vec![port]))
}

fn gone(name: &str) -> StateChange {
    StateChange::Remove(ServiceName::new("default", name))
}

fn names(fake: &Fake) -> Vec<String> {
    fake.services().iter().map(|service| service.name.name.to_string()).collect()
}

fn transient() -> SyncError {
    SyncError::Transient { object: "socket".into(), reason: "no buffer space".into() }
}

fn refused() -> SyncError {
    SyncError::Refused { object: "map services".into(), reason: "invalid argument".into() }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_written_before_the_first_list() {
    let running = Running::with_permits(NO_GATE);
    running.tell(vec![service("web", 1)]).await;
    assert_eq!(running.quiet().await, [""; 0]);
    running.tell(vec![StateChange::Listed]).await;
    running.until("web is programmed", |fake| names(fake) == ["web"]).await;
    assert_eq!(running.quiet().await, ["all"]);
}

#[tokio::test(start_paused = true)]
async fn what_a_former_process_left_is_removed_if_it_is_not_desired() {
    let former = Running::settled().await;
    let fake = former.fake.clone();
    drop(former);
    let running = Running::over(fake, NO_GATE);
    running.tell(vec![service("web", 1), StateChange::Listed]).await;
    running.until("dns is gone", |fake| names(fake) == ["web"]).await;
}

#[tokio::test(start_paused = true)]
async fn only_services_that_changed_are_synced() {
    let mut running = Running::settled().await;
    running.tell(vec![service("web", 3)]).await;
    assert_eq!(running.begun(2).await, ["all", "web"]);
    running.tell(vec![gone("dns")]).await;
    running.until("dns is gone", |fake| names(fake) == ["web"]).await;
    assert_eq!(running.quiet().await, ["all", "web", "dns"]);
}

#[tokio::test(start_paused = true)]
async fn a_change_waits_for_no_timer() {
    let mut running = Running::settled().await;
    // Timers end with a millisecond, and this is in the middle of one.
    tokio::time::advance(Duration::from_micros(300)).await;
    let start = Instant::now();
    running.tell(vec![service("web", 3)]).await;
    running.begun(2).await;
    assert_eq!(start.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_service_that_is_told_again_unchanged_is_no_reason_to_sync() {
    let running = Running::settled().await;
    running.tell(vec![service("web", 1)]).await;
    running.tell(vec![gone("unknown")]).await;
    assert_eq!(running.quiet().await, ["all"]);
}

#[tokio::test(start_paused = true)]
async fn a_change_during_a_sync_is_not_lost_and_changes_coalesce() {
    let mut running = Running::with_permits(0);
    running.tell(vec![service("web", 1), StateChange::Listed]).await;
    running.begun(1).await;
    for last in 2..20 {
        running.tell(vec![service("web", last)]).await;
        running.tell(vec![service("dns", last + 100)]).await;
    }
    running.permits.add_permits(NO_GATE);
    running.until("both are programmed", |fake| names(fake) == ["dns", "web"]).await;
    assert_eq!(running.quiet().await, ["all", "dns web"]);
}

#[tokio::test(start_paused = true)]
async fn errors_retry_and_keep_changes() {
    let running = Running::settled().await;
    running.fake.fail_once(transient());
    running.tell(vec![service("api", 3)]).await;
    running.until("api is programmed", |fake| names(fake) == ["api", "dns", "web"]).await;
    assert_eq!(running.quiet().await, ["all", "api", "all"], "after an error everything is in doubt");
}

#[tokio::test(start_paused = true)]
async fn while_it_waits_after_an_error_changes_wait_too() {
    let mut running = Running::settled().await;
    running.fake.fail_once(transient());
    let start = Instant::now();
    running.tell(vec![service("api", 3)]).await;
    running.begun(2).await;
    running.tell(vec![service("log", 4)]).await;
    running.until("both are programmed", |fake| names(fake) == ["api", "dns", "log", "web"]).await;
    assert!(start.elapsed() >= Duration::from_millis(50), "{:?}", start.elapsed());
    assert_eq!(running.quiet().await, ["all", "api", "all"]);
}

#[tokio::test(start_paused = true)]
async fn waits_between_failures_grow_and_end_with_success() {
    let mut running = Running::settled().await;
    let start = Instant::now();
    running.fake.fail_once(transient());
    running.tell(vec![service("api", 3)]).await;
    for sync in 2..10 {
        running.begun(sync).await;
        running.fake.fail_once(transient());
    }
    let waited = start.elapsed();
    assert!((Duration::from_secs(6)..Duration::from_secs(26)).contains(&waited), "{waited:?}");
    running.until("api is programmed", |fake| names(fake) == ["api", "dns", "web"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_race_is_run_again_at_once() {
    let running = Running::settled().await;
    let start = Instant::now();
    running.fake.fail_once(SyncError::Raced { object: "table switchyard".into() });
    running.tell(vec![service("api", 3)]).await;
    running.until("api is programmed", |fake| names(fake) == ["api", "dns", "web"]).await;
    assert!(start.elapsed() < Duration::from_millis(10), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_changed_state_is_tried_at_once_after_a_refusal() {
    let mut running = Running::settled().await;
    running.fake.fail_once(refused());
    running.tell(vec![service("api", 3)]).await;
    running.begun(2).await;
    let start = Instant::now();
    running.tell(vec![service("api", 4)]).await;
    running.until("api is programmed", |fake| names(fake) == ["api", "dns", "web"]).await;
    assert!(start.elapsed() < Duration::from_millis(10), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_kernel_that_cannot_run_the_backend_ends_the_loop() {
    let running = Running::settled().await;
    running.fake.fail_once(SyncError::Unsupported { feature: "nf_tables".into(), reason: "not permitted".into() });
    running.tell(vec![service("api", 3)]).await;
    let error = running.ended.await.unwrap().unwrap_err();
    assert_eq!(error.to_string(), "backend gated: nf_tables: not available: not permitted");
}

#[tokio::test(start_paused = true)]
async fn a_service_that_fails_alone_holds_up_no_other_and_is_tried_again() {
    let running = Running::settled().await;
    let name = ServiceName::new("default", "api");
    running.fake.refuse(name.clone(), "element is odd");
    running.tell(vec![service("api", 3), service("log", 4)]).await;
    running.until("log is programmed", |fake| names(fake) == ["dns", "log", "web"]).await;
    running.fake.accept(&name);
    running.until("api is programmed", |fake| names(fake) == ["api", "dns", "log", "web"]).await;
    let syncs = running.quiet().await;
    assert_eq!(syncs[..3], ["all", "api log", "all"]);
    assert_eq!(syncs.len(), running.quiet().await.len(), "nothing is tried again when all is well");
}

#[tokio::test(start_paused = true)]
async fn drift_resyncs_everything() {
    let running = Running::settled().await;
    running.fake.flush();
    assert_eq!(names(&running.fake), [""; 0]);
    let start = Instant::now();
    running.until("everything is back", |fake| names(fake) == ["dns", "web"]).await;
    assert!(start.elapsed() < Duration::from_millis(10), "{:?}", start.elapsed());
    running.fake.flush();
    running.until("everything is back again", |fake| names(fake) == ["dns", "web"]).await;
    assert!(
        start.elapsed() >= Duration::from_millis(100),
        "two programs that undo each other do not take the whole processor"
    );
    assert_eq!(running.quiet().await, ["all", "all", "all"]);
}

#[tokio::test(start_paused = true)]
async fn a_stop_lets_a_sync_finish_and_leaves_everything_in_place() {
    let mut running = Running::with_permits(0);
    running.tell(vec![service("web", 1), StateChange::Listed]).await;
    running.begun(1).await;
    running.stop.take().unwrap().send(()).unwrap();
    running.permits.add_permits(1);
    running.ended.await.unwrap().unwrap();
    assert_eq!(names(&running.fake), ["web"]);
}

#[tokio::test(start_paused = true)]
async fn a_sender_that_is_dropped_is_an_error() {
    let running = Running::settled().await;
    drop(running.sender);
    let error = running.ended.await.unwrap().unwrap_err();
    assert_eq!(error.to_string(), "desired state: ended unexpectedly");
}

#[tokio::test(start_paused = true)]
async fn a_successor_programs_everything_at_once_and_goes_on() {
    let running = Running::settled().await;
    let successor = Fake::default();
    running.successors.send(Box::new(successor.clone())).await.unwrap();
    running.until("the successor has programmed all", |_| names(&successor) == ["dns", "web"]).await;
    running.tell(vec![service("api", 3)]).await;
    running.until("it goes on", |_| names(&successor) == ["api", "dns", "web"]).await;
    assert_eq!(names(&running.fake), ["dns", "web"], "what the one before programmed is left alone");
}

#[tokio::test(start_paused = true)]
async fn a_successor_that_fails_is_tried_again() {
    let running = Running::settled().await;
    let successor = Fake::default();
    successor.fail_once(transient());
    running.successors.send(Box::new(successor.clone())).await.unwrap();
    running.until("the successor has programmed all", |_| names(&successor) == ["dns", "web"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_successor_that_this_kernel_cannot_run_does_not_end_the_loop() {
    let running = Running::settled().await;
    let successor = Fake::default();
    successor.fail_once(SyncError::Unsupported { feature: "IPVS".into(), reason: "not there".into() });
    running.successors.send(Box::new(successor.clone())).await.unwrap();
    running.successors.send(Box::new(running.fake.clone())).await.unwrap();
    running.tell(vec![service("api", 3)]).await;
    running.until("the one before goes on", |fake| names(fake) == ["api", "dns", "web"]).await;
    assert!(running.heard.borrow().contains(&"not synced: IPVS: not available: not there".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn witnesses_hear_what_happens_in_the_order_in_which_it_happens() {
    let mut running = Running::settled().await;
    let heard = |running: &mut Running| running.heard.borrow_and_update().clone();
    let begin = heard(&mut running).len();
    running.fake.refuse(ServiceName::new("default", "api"), "element is odd");
    running.tell(vec![service("api", 3)]).await;
    running.begun(2).await;
    tokio::time::sleep(Duration::from_millis(1)).await;
    let expected = ["syncing", "synced 0 of 3", "failed default/api: element is odd"].map(str::to_owned);
    assert_eq!(heard(&mut running)[begin..], expected);
    running.fake.flush();
    running.until("everything is back", |fake| names(fake) == ["dns", "web"]).await;
    assert_eq!(heard(&mut running)[begin + expected.len()..][..2], ["drifted", "syncing"]);
}

#[tokio::test(start_paused = true)]
async fn what_is_not_told_anew_goes_with_the_next_list_and_not_before() {
    let running = Running::settled().await;
    running.tell(vec![StateChange::Anew]).await;
    running.tell(vec![service("web", 1), service("api", 3)]).await;
    running.until("api is programmed", |fake| names(fake) == ["api", "dns", "web"]).await;
    running.tell(vec![StateChange::Listed]).await;
    running.until("dns is gone", |fake| names(fake) == ["api", "web"]).await;
    assert_eq!(running.quiet().await, ["all", "api", "dns"], "what is the same is not written again");
}

#[tokio::test(start_paused = true)]
async fn a_change_of_the_nodes_network_is_programmed() {
    let running = Running::settled().await;
    let changed = NodeNetwork { service_cidrs: ["10.96.0.0/12".parse().unwrap()].into(), ..node() };
    running.tell(vec![StateChange::Network(changed.clone())]).await;
    running.until("the network is programmed", |fake| fake.node() == changed).await;
    running.tell(vec![StateChange::Network(changed)]).await;
    assert_eq!(running.quiet().await, ["all", "all"], "the same network again is no reason to sync");
}

#[tokio::test(start_paused = true)]
async fn nothing_of_a_batch_with_a_flawed_service_is_told() {
    let running = Running::settled().await;
    let StateChange::Upsert(mut flawed) = service("bad", 9) else { unreachable!() };
    flawed.ports[0].protocol = Protocol::Udp;
    let told = running.sender.tell(vec![service("api", 3), StateChange::Upsert(flawed)]).await;
    let error = told.unwrap_err();
    assert!(matches!(error, NotTold::Flawed(_)), "{error:?}");
    assert_eq!(
        error.to_string(),
        "service default/bad: frontend 10.96.0.9:80/TCP: not of its port's family and protocol"
    );
    assert_eq!(running.quiet().await, ["all"]);
}

#[tokio::test(start_paused = true)]
async fn a_sender_learns_that_the_loop_has_ended() {
    let mut running = Running::settled().await;
    running.stop.take().unwrap().send(()).unwrap();
    running.ended.await.unwrap().unwrap();
    assert_eq!(running.sender.tell(vec![StateChange::Listed]).await, Err(NotTold::LoopEnded));
}
