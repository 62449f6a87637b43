//! A cluster's objects through the reconcile loop into a dataplane in memory. What holds for any source of services is
//! tested in `reconcile/tests/reconcile_loop.rs`. The tests' clock is paused: time passes only while everything waits
//! for it.

use std::collections::BTreeSet;
use std::time::Duration;

use backend_api::{
    Dataplane, Fake, LocalTraffic, Observed, Report, Scope, ServiceName, ServiceState, SyncError, async_trait,
};
use reconcile::{ReconcileError, Witness, run};
use switchyard_kubernetes::objects::{Item, read};
use switchyard_kubernetes::settings::Settings;
use switchyard_kubernetes::settings::{ClusterCidrs, LocalDetector};
use switchyard_kubernetes::source::{Event, Sender, channel};
use switchyard_kubernetes::{Addresses, ClusterState, Inputs, News, Note};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// A dataplane whose syncs say what they were called with.
#[derive(Clone, Debug)]
struct Watched {
    fake: Fake,
    begun: watch::Sender<Vec<String>>,
}

#[async_trait]
impl Dataplane for Watched {
    fn name(&self) -> &'static str {
        "watched"
    }

    async fn sync(&mut self, desired: &ServiceState, scope: Scope<'_>) -> Result<Report, SyncError> {
        let scope_words = match scope {
            Scope::All => "all".to_owned(),
            Scope::Services(names) => names.iter().map(|name| &*name.name).collect::<Vec<_>>().join(" "),
        };
        self.begun.send_modify(|begun| begun.push(scope_words));
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
    begun: watch::Receiver<Vec<String>>,
    source: Sender,
    addresses: watch::Sender<Addresses>,
    settings: watch::Sender<Settings>,
    heard: watch::Receiver<Vec<String>>,
    ended: JoinHandle<Result<(), ReconcileError>>,
}

/// Writes down what the loop tells, in words.
struct Notes(watch::Sender<Vec<String>>);

impl Witness<ClusterState> for Notes {
    fn hear(&mut self, news: &News<'_>) {
        let word = match news {
            News::Noted(Note::Told(events)) => format!("told {}", events.len()),
            News::Noted(Note::Resolved(changes)) => format!("resolved {}", changes.services.len()),
            News::Conflict(conflict) => format!("conflict {}", conflict.loser),
            News::Unchanged => "unchanged".to_owned(),
            News::Syncing => "syncing".to_owned(),
            News::Synced { state, report, .. } => {
                format!("synced {} of {}", report.writes, state.len())
            }
            News::NotSynced { error, .. } => format!("not synced: {error}"),
            News::Failed { service, reason } => format!("failed {service}: {reason}"),
            News::Drifted => "drifted".to_owned(),
            News::Succeeded { dataplane } => format!("succeeded by {dataplane}"),
        };
        self.0.send_modify(|notes| notes.push(word));
    }
}

fn settings(cluster_cidrs: ClusterCidrs) -> Settings {
    Settings {
        node_name: "node2".parse().unwrap(),
        local_traffic: LocalDetector::ClusterCidrs(cluster_cidrs),
        node_ports: "all".parse().unwrap(),
        node_address: None,
        masquerade_all: false,
        flowtable_after: None,
        budget: switchyard_kubernetes::settings::Budget::default(),
    }
}

impl Running {
    /// A loop that has been told nothing.
    fn new() -> Self {
        let settings = settings(ClusterCidrs::default());
        let fake = Fake::default();
        let (begin, begun) = watch::channel(Vec::new());
        let dataplane = Watched { fake: fake.clone(), begun: begin };
        let (source, objects) = channel();
        let (addresses, found) = watch::channel(None);
        let (decided, decisions) = watch::channel(settings.clone());
        let (hear, heard) = watch::channel(Vec::new());
        let ended = tokio::spawn(async move {
            let inputs = Inputs { settings: Some(decisions), ..Inputs::new(objects, found) };
            let desired = ClusterState::new(settings, inputs);
            run(Box::new(dataplane), desired, None, &mut Notes(hear), std::future::pending()).await
        });
        Self { fake, begun, source, addresses, settings: decided, heard, ended }
    }

    /// A loop that has programmed `web`, `dns` and nothing else.
    async fn settled() -> Self {
        let running = Self::new();
        running.addresses.send_replace(Some(BTreeSet::new()));
        running.tell(vec![service("web", 1), service("dns", 2), Event::Listed]).await;
        running.until("both services are programmed", |fake| names(fake) == ["dns", "web"]).await;
        running
    }

    async fn tell(&self, events: Vec<Event>) {
        self.source.send(events).await.unwrap();
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

fn service(name: &str, last: u8) -> Event {
    let text = format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {{clusterIP: 10.96.0.{last}, ports: [{{port: 80}}]}}\n"
    );
    match read(&text).remove(0) {
        Item::Object(object) => Event::Changed(object),
        other => panic!("{other:?}"),
    }
}

fn deleted(name: &str) -> Event {
    let Event::Changed(object) = service(name, 1) else { unreachable!() };
    Event::Deleted(object.key())
}

fn names(fake: &Fake) -> Vec<String> {
    fake.services().iter().map(|service| service.name.name.to_string()).collect()
}

#[tokio::test(start_paused = true)]
async fn nothing_is_written_before_the_source_has_listed_everything() {
    let running = Running::new();
    running.addresses.send_replace(Some(BTreeSet::new()));
    running.tell(vec![service("web", 1)]).await;
    assert_eq!(running.quiet().await, [""; 0]);
    running.tell(vec![Event::Listed]).await;
    running.until("web is programmed", |fake| names(fake) == ["web"]).await;
    assert_eq!(running.quiet().await, ["all"]);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_written_before_the_nodes_addresses_are_known() {
    let running = Running::new();
    running.tell(vec![service("web", 1), Event::Listed]).await;
    assert_eq!(running.quiet().await, [""; 0]);
    running.addresses.send_replace(Some(BTreeSet::new()));
    running.until("web is programmed", |fake| names(fake) == ["web"]).await;
}

#[tokio::test(start_paused = true)]
async fn only_services_that_changed_are_synced() {
    let mut running = Running::settled().await;
    running.tell(vec![service("web", 3)]).await;
    assert_eq!(running.begun(2).await, ["all", "web"]);
    running.tell(vec![deleted("dns")]).await;
    running.until("dns is gone", |fake| names(fake) == ["web"]).await;
    assert_eq!(running.quiet().await, ["all", "web", "dns"]);
}

#[tokio::test(start_paused = true)]
async fn an_object_that_changes_nothing_is_no_reason_to_sync() {
    let running = Running::settled().await;
    running.tell(vec![service("web", 1)]).await;
    running.tell(vec![deleted("unknown")]).await;
    assert_eq!(running.quiet().await, ["all"]);
}

#[tokio::test(start_paused = true)]
async fn a_change_of_the_nodes_addresses_is_programmed() {
    let running = Running::settled().await;
    let address = "192.168.67.10".parse().unwrap();
    running.addresses.send_replace(Some(BTreeSet::from([address])));
    running.until("the address is there", |fake| fake.node().addresses.contains(&address)).await;
    assert_eq!(running.quiet().await, ["all", "all"]);
}

#[tokio::test(start_paused = true)]
async fn a_source_that_ends_is_an_error() {
    let running = Running::settled().await;
    drop(running.source);
    let error = running.ended.await.unwrap().unwrap_err();
    assert_eq!(error.to_string(), "source: ended unexpectedly");
}

#[tokio::test(start_paused = true)]
async fn what_the_operator_decides_anew_is_programmed_at_once() {
    let running = Running::settled().await;
    running.settings.send_replace(settings("10.244.0.0/16".parse().unwrap()));
    let pods = LocalTraffic::Source("10.244.0.0/16".parse().unwrap());
    running.until("pods are told apart", |fake| fake.node().local_traffic.v4 == pods).await;
    assert_eq!(running.quiet().await, ["all", "all"]);
}

#[tokio::test(start_paused = true)]
async fn witnesses_hear_what_happens_in_its_order() {
    let mut running = Running::settled().await;
    let heard = |running: &mut Running| running.heard.borrow_and_update().clone();
    let begin = heard(&mut running).len();
    running.fake.refuse(ServiceName::new("default", "api"), "element is odd");
    running.tell(vec![service("api", 3)]).await;
    running.begun(2).await;
    tokio::time::sleep(Duration::from_millis(1)).await;
    let expected =
        ["told 1", "resolved 1", "syncing", "synced 0 of 3", "failed default/api: element is odd"].map(str::to_owned);
    assert_eq!(heard(&mut running)[begin..], expected);
    running.fake.flush();
    running.until("everything is back", |fake| names(fake) == ["dns", "web"]).await;
    assert_eq!(heard(&mut running)[begin + expected.len()..][..2], ["drifted", "syncing"]);
}

#[tokio::test(start_paused = true)]
async fn what_another_source_does_not_tell_goes_when_it_has_listed_and_not_before() {
    let running = Running::settled().await;
    running.tell(vec![Event::Anew]).await;
    running.tell(vec![service("web", 1), service("api", 3)]).await;
    running.until("api is programmed", |fake| names(fake) == ["api", "dns", "web"]).await;
    running.tell(vec![Event::Listed]).await;
    running.until("dns is gone", |fake| names(fake) == ["api", "web"]).await;
    assert_eq!(running.quiet().await, ["all", "api", "dns"], "what is the same is not written again");
}
