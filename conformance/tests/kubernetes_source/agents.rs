//! Whole agents that follow a double: source, resolver, loop, and a dataplane.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use backend_api::{Dataplane, Observed, ObservedAnswer, ObservedRoute};
use kubernetes::settings::Settings;
use kubernetes::settings::{ClusterCidrs, LocalDetector, NodePortSelection};
use kubernetes::source::ApiConfig;
use kubernetes::source::{api, channel};
use kubernetes::{ClusterState, Inputs};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

/// An agent that runs on the current runtime.
pub(crate) struct Agent {
    stop: oneshot::Sender<()>,
    loops: JoinHandle<()>,
    source: JoinHandle<()>,
}

impl Agent {
    /// Starts one that programs `dataplane`.
    pub(crate) fn start(masters: Vec<String>, dataplane: Box<dyn Dataplane>) -> Self {
        let config = ApiConfig::of_servers(&masters).unwrap();
        let node_name: kubernetes::settings::NodeName = "node2".parse().unwrap();
        let (told, objects) = channel();
        let source = tokio::spawn(api::watch_api(config, node_name.clone(), told));
        let (known, addresses) = watch::channel(None);
        known.send_replace(Some(BTreeSet::from(["192.168.67.10".parse().unwrap()])));
        let settings = Settings {
            node_name,
            local_traffic: LocalDetector::ClusterCidrs(ClusterCidrs::default()),
            node_ports: "all".parse::<NodePortSelection>().unwrap(),
            node_address: None,
            masquerade_all: false,
            flowtable_after: None,
            budget: kubernetes::settings::Budget::default(),
        };
        let (stop, stopped) = oneshot::channel();
        let loops = tokio::spawn(async move {
            let until = async {
                let _ = stopped.await;
            };
            let inputs = Inputs::new(objects, addresses);
            reconcile::run(dataplane, ClusterState::new(settings, inputs), None, &mut (), until).await.unwrap();
            drop(known);
        });
        Self { stop, loops, source }
    }

    /// Ends it; what it programmed stays.
    pub(crate) async fn stop(self) {
        let _ = self.stop.send(());
        self.loops.await.unwrap();
        self.source.abort();
    }
}

/// The endpoints of each frontend, as words: `10.96.0.80:80/TCP` → `10.244.2.2:80`.
pub(crate) fn answers(observed: &Observed) -> BTreeMap<String, String> {
    observed.frontends.iter().map(|(key, frontend)| (key.to_string(), inside(&frontend.route))).collect()
}

fn inside(route: &ObservedRoute) -> String {
    match route {
        ObservedRoute::Everyone(answer) | ObservedRoute::Split { inside: answer, .. } => words(answer),
    }
}

fn words(answer: &ObservedAnswer) -> String {
    match answer {
        ObservedAnswer::Balance(shares) => shares.keys().map(ToString::to_string).collect::<Vec<_>>().join(" "),
        other => format!("{other:?}"),
    }
}

/// Waits until `dataplane` holds these answers.
pub(crate) async fn until_answers(dataplane: &mut dyn Dataplane, expected: &[(&str, &str)]) {
    let expected: BTreeMap<_, _> = expected.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    loop {
        let found = answers(&dataplane.observe().await.unwrap());
        if found == expected {
            return;
        }
        assert!(tokio::time::Instant::now() < deadline, "waited in vain for {expected:?}; there is {found:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
