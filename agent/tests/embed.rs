//! The whole agent inside another program: a dataplane, a source and a witness of the program's own.
//!
//! `docs/embedding.md` quotes [`run_agent`] (`tests/docs/commands.rs` compares them). Needs no root: nothing on the node is
//! written.

use std::time::Duration;

use backend_api::{Dataplane, Fake, FrontendKey, Masquerade, Protocol};
use kubernetes::objects::{Item, read};
use kubernetes::settings::LocalDetector;
use kubernetes::source::{self, Event};
use kubernetes::{ClusterState, News};
use reconcile::Witness;
use switchyard_agent::config::{Backend, Config, HostConfig, KubeProxyRules, ServersConfig};
use switchyard_agent::process::{Agent, ProcessError};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;

/// Settings of an agent that leaves the node alone: no servers, no sysctls, no removal of kube-proxy's rules.
fn settings() -> Result<Config, Box<dyn std::error::Error>> {
    Ok(Config {
        local_traffic: LocalDetector::ClusterCidrs("10.244.0.0/16".parse()?),
        servers: ServersConfig { healthz: None, metrics: None, ..ServersConfig::default() },
        host: HostConfig::untouched(),
        kube_proxy: KubeProxyRules::Left,
        ..Config::new("node-1".parse()?)
    })
}

/// Runs the agent over any dataplane, with objects and a witness of the program's own, until `stop` resolves.
async fn run_agent(
    configs: watch::Receiver<Config>,
    dataplane: Box<dyn Dataplane>,
    objects: mpsc::Receiver<Vec<Event>>,
    witness: Box<dyn Witness<ClusterState>>,
    stop: impl Future<Output = ()>,
) -> Result<(), ProcessError> {
    Agent::new(configs).dataplane(dataplane).source(objects).witness(witness).run(stop).await
}

/// Tells a channel of each sync.
struct Synced(mpsc::UnboundedSender<()>);

impl Witness<ClusterState> for Synced {
    fn hear(&mut self, news: &News<'_>) {
        if let News::Synced { .. } = news {
            let _ = self.0.send(());
        }
    }
}

const OBJECTS: &str = "\
apiVersion: v1
kind: Service
metadata: {name: web, namespace: default}
spec: {clusterIP: 10.96.0.10, clusterIPs: [10.96.0.10], ports: [{port: 80, protocol: TCP}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, namespace: default, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{port: 8080, protocol: TCP}]
endpoints: [{addresses: [10.244.0.4]}]
";

#[tokio::test]
async fn an_embedding_program_runs_the_agent_with_its_own_dataplane_source_and_witness() {
    let kernel = Fake::default();
    let (configure, configs) = watch::channel(settings().unwrap());
    let (source, objects) = source::channel();
    let (tell, mut synced) = mpsc::unbounded_channel();
    let (stop, stopped) = oneshot::channel::<()>();
    let agent =
        tokio::spawn(run_agent(configs, Box::new(kernel.clone()), objects, Box::new(Synced(tell)), async move {
            drop(stopped.await)
        }));

    let object = |item| match item {
        Item::Object(object) => Event::Changed(object),
        other => panic!("{other:?}"),
    };
    source.send(read(OBJECTS).into_iter().map(object).chain([Event::Listed]).collect()).await.unwrap();
    timeout(Duration::from_secs(20), synced.recv()).await.expect("a first sync").unwrap();
    assert_eq!(masquerade(&kernel).await, Masquerade::UnlessPod);

    // The configuration goes on being watched; the backend that it names is not opened.
    configure.send_modify(|config| {
        config.backend = Backend::Ipvs;
        config.masquerade_all = true;
    });
    timeout(Duration::from_secs(20), synced.recv()).await.expect("a sync after the change").unwrap();
    assert_eq!(masquerade(&kernel).await, Masquerade::Always);

    drop(stop);
    agent.await.unwrap().unwrap();
    assert_eq!(masquerade(&kernel).await, Masquerade::Always, "the rules stay");
}

/// Of the service's only frontend.
async fn masquerade(kernel: &Fake) -> Masquerade {
    let observed = kernel.clone().observe().await.unwrap();
    let key = FrontendKey::Address { address: "10.96.0.10".parse().unwrap(), protocol: Protocol::Tcp, port: 80 };
    assert_eq!(observed.frontends.len(), 1);
    observed.frontends[&key].masquerade
}
