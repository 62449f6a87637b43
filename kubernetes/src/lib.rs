//! From Kubernetes objects to the desired state of one node: what kube-proxy decides, without what it programs.
//!
//! ```text
//! source/ ──► batches of Event ──► ClusterState: Desired ──► reconcile::run ──► any Dataplane
//! files, API                          │ objects/ ► resolve/ ► ServiceState
//! [I/O]        settings, addresses ───┘ [pure]
//! ```
//!
//! | you have | you use |
//! |---|---|
//! | objects as text, and want the state | [`objects::read`], [`resolve::Resolver`] |
//! | a folder of YAML, or an API server | [`source::files::watch_folder`], `source::api::watch_api`, [`ClusterState`] |
//! | informers of your own | [`source::channel`], [`source::Event`], [`ClusterState`] |
//! | an HTTP client of your own | [`source::list_watch::ListWatch`] |
//!
//! Objects in, a state out, no I/O:
//!
//! ```
//! # extern crate backend_api as switchyard_api;
//! use switchyard_api::{NodeNetwork, ServiceName, ServiceState};
//! use switchyard_kubernetes::objects::{Item, read};
//! use switchyard_kubernetes::resolve::Resolver;
//! use switchyard_kubernetes::settings::{LocalDetector, Settings};
//!
//! let cluster = "
//! apiVersion: v1
//! kind: Service
//! metadata: {name: web}
//! spec: {clusterIP: 10.96.0.10, ports: [{port: 80}, {name: odd, port: 70000}]}
//! ---
//! apiVersion: discovery.k8s.io/v1
//! kind: EndpointSlice
//! metadata: {name: web-1, labels: {kubernetes.io/service-name: web}}
//! addressType: IPv4
//! endpoints: [{addresses: [10.244.0.4], nodeName: node1}, {addresses: [10.244.1.2], nodeName: node2}]
//! ports: [{port: 8080}]
//! ";
//! let mut resolver = Resolver::new(Settings::new("node1".parse()?, LocalDetector::NodeCidrs));
//! for item in read(cluster) {
//!     match item {
//!         Item::Object(object) => resolver.upsert(&object),
//!         other => panic!("{other:?}"),
//!     }
//! }
//! let changes = resolver.resolve();
//! let warning = "Service default/web: spec.ports[1].port: 70000 is no port, 1 to 65535";
//! assert_eq!(changes.warnings[0].to_string(), warning);
//!
//! let mut state = ServiceState::new(NodeNetwork::unknown());
//! changes.apply(&mut state);
//! let web = state.service(&ServiceName::new("default", "web")).expect("it has a cluster address");
//! let endpoints: Vec<_> = web.ports[0].endpoints.iter().map(|endpoint| endpoint.address.to_string()).collect();
//! assert_eq!(endpoints, ["10.244.0.4:8080", "10.244.1.2:8080"]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A watched folder, kept programmed by the reconcile loop; here by a dataplane in memory:
//!
//! ```
//! # extern crate backend_api as switchyard_api;
//! # extern crate reconcile as switchyard_reconcile;
//! use std::collections::BTreeSet;
//! use std::time::Duration;
//!
//! use switchyard_api::Fake;
//! use switchyard_kubernetes::settings::{LocalDetector, Settings};
//! use switchyard_kubernetes::source::{channel, files::watch_folder};
//! use switchyard_kubernetes::{ClusterState, Inputs};
//! use tokio::sync::watch;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let web = "{apiVersion: v1, kind: Service, metadata: {name: web}, spec: {clusterIP: 10.96.0.10, ports: [{port: 80}]}}";
//! # std::fs::write(folder.path().join("web.yaml"), web)?;
//! # let folder = folder.path().to_owned();
//! let (told, objects) = channel();
//! tokio::spawn(watch_folder(folder, told));
//! // Sent again whenever the node's addresses change: see `Inputs::addresses`.
//! let (_addresses, addresses) = watch::channel(Some(BTreeSet::from(["192.0.2.1".parse()?])));
//! let settings = Settings::new("node1".parse()?, LocalDetector::NodeCidrs);
//! let cluster = ClusterState::new(settings, Inputs::new(objects, addresses));
//!
//! let dataplane = Fake::default();
//! let programmed = dataplane.clone();
//! let stop = async {
//!     while programmed.services().is_empty() {
//!         tokio::time::sleep(Duration::from_millis(1)).await;
//!     }
//! };
//! switchyard_reconcile::run(Box::new(dataplane), cluster, None, &mut (), stop).await?;
//! assert_eq!(programmed.services()[0].name.to_string(), "default/web");
//! # Ok(())
//! # }
//! ```
//!
//! # Features
//!
//! `api` (default): the source that asks an API server, with TLS and credentials of the `kube` crate. Without it there
//! are files, events, and [`source::list_watch`].
//!
//! # Invariants
//!
//! - `objects`, `resolve`, `settings` and `source::list_watch` do no I/O, but for [`settings::NodeName::of_host`].
//! - What comes out of a [`resolve::Resolver`] depends on the objects alone, not on the order in which they came
//!   (`tests/resolve/resolver.rs::order_of_arrival_decides_nothing`).
//! - One bad object, or one bad part of an object, costs itself alone, and is named (`tests/resolve/mistakes.rs`).
//! - Nothing is programmed before everything was listed and the node's addresses are known (`tests/reconcile_loop.rs`).

mod cluster_state;
pub mod load_balancer;
pub mod objects;
pub mod resolve;
pub mod settings;
pub mod source;

pub use cluster_state::{Addresses, ClusterState, Inputs, Links, News, Note};
