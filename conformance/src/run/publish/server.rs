//! Objects in an API server on the node's loopback interface.
//!
//! What the source tells passes through a mirror: a scenario goes on when the mirror shows what the server holds,
//! object by object. A source that loses or invents something never gets there.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use kubernetes::objects::{Item, Kind, Object, ObjectKey, read};
use kubernetes::settings::NodeName;
use kubernetes::source::ApiConfig;
use kubernetes::source::{Event, Sender, api, channel};
use serde_json::Value;
use testbed::Executor;
use tokio::sync::{mpsc, watch};

use super::Follow;
use crate::api::{Api, Resource};
use crate::run::patience::patient;
use crate::scenario::Cluster;

/// How long the source may take to tell a change.
const DEADLINE: Duration = Duration::from_secs(20);

type Mirror = BTreeMap<ObjectKey, Object>;

/// An API server, what it was given, and what the source has told of that.
pub(in crate::run) struct Server {
    api: Api,
    held: BTreeMap<(Resource, String, String), Value>,
    node: String,
    told: watch::Receiver<Mirror>,
}

impl Server {
    pub(super) fn start(executor: &Executor) -> io::Result<Self> {
        let api = executor.run(async { Api::local().await })?;
        Ok(Self { api, held: BTreeMap::new(), node: String::new(), told: watch::channel(Mirror::new()).1 })
    }

    /// Makes the server hold these objects, and those in `files`; those that stay the same are not touched.
    pub(super) fn hold(&mut self, cluster: &Cluster, files: &BTreeMap<String, String>) -> Result<(), String> {
        let mut wanted = BTreeMap::new();
        for (name, text) in files {
            let documents = serde_saphyr::from_multiple::<Value>(text).map_err(|error| format!("{name}: {error}"))?;
            // Other kinds of objects are not needed here.
            let ours = documents.into_iter().filter_map(|document| Some((place(&document).ok()?, document)));
            wanted.extend(ours);
        }
        for (id, object) in cluster.objects() {
            match place(object) {
                Ok(place) => drop(wanted.insert(place, object.clone())),
                // The agent does not ask for other kinds. Endpoints would be mirrored by a controller, which we have
                // not.
                Err(error) if id.kind == "Endpoints" => return Err(error),
                Err(_) => {}
            }
        }
        for (place, object) in &wanted {
            if self.held.get(place) != Some(object) {
                self.api.put(object.clone());
            }
        }
        for (resource, namespace, name) in self.held.keys().filter(|place| !wanted.contains_key(*place)) {
            self.api.delete(*resource, namespace, name);
        }
        self.held = wanted;
        Ok(())
    }

    pub(super) fn put(&mut self, object: Value) -> Result<(), String> {
        place(&object)?;
        self.api.put(object);
        Ok(())
    }

    /// The Kubernetes source, with the mirror behind it.
    pub(super) fn follow(&mut self, node: &NodeName) -> Follow {
        node.as_str().clone_into(&mut self.node);
        let config = ApiConfig::of_servers(&self.api.urls()).expect("the double has a URL");
        let node = node.clone();
        let (shown, told) = watch::channel(Mirror::new());
        self.told = told;
        Box::new(move |onwards| {
            Box::pin(async move {
                let (sender, heard) = channel();
                tokio::join!(api::watch_api(config, node, sender), mirror(heard, shown, onwards));
            })
        })
    }

    /// Waits until the mirror shows what the server holds.
    pub(super) fn await_told(&mut self, executor: &Executor) -> Result<(), String> {
        let expected = self.expected();
        let mut told = self.told.clone();
        executor.run(async move {
            let same = told.wait_for(|told| differences(&expected, told).is_empty());
            let waited = tokio::time::timeout(patient(DEADLINE), same).await.map(drop);
            waited.map_err(|_| format!("source: has not told: {}", differences(&expected, &told.borrow()).join(", ")))
        })
    }

    /// What a proxy on this node has to know of what the server holds. None: what is there cannot be read.
    fn expected(&self) -> BTreeMap<ObjectKey, Option<Object>> {
        let own = format!("metadata.name={}", self.node);
        let chosen = [
            (Resource::Services, Kind::Service, "!service.kubernetes.io/service-proxy-name", "spec.clusterIP!=None"),
            (Resource::EndpointSlices, Kind::EndpointSlice, "!service.kubernetes.io/headless", ""),
            (Resource::Nodes, Kind::Node, "", own.as_str()),
            (Resource::ServiceCidrs, Kind::ServiceCidr, "", ""),
        ];
        let mut expected = BTreeMap::new();
        for (resource, kind, labels, fields) in chosen {
            for value in self.api.objects(resource, labels, fields) {
                let (namespace, name) = (text(&value["metadata"]["namespace"]), text(&value["metadata"]["name"]));
                let key = ObjectKey { kind, namespace: namespace.into(), name: name.into() };
                let object = match read(&value.to_string()).pop() {
                    Some(Item::Object(object)) => Some(object),
                    _ => None,
                };
                expected.insert(key, object);
            }
        }
        expected
    }
}

/// Passes on what is told, and shows what that comes to.
async fn mirror(mut heard: mpsc::Receiver<Vec<Event>>, shown: watch::Sender<Mirror>, onwards: Sender) {
    while let Some(events) = heard.recv().await {
        let told = events.clone();
        if onwards.send(events).await.is_err() {
            return;
        }
        shown.send_modify(|mirror| {
            for event in told {
                match event {
                    Event::Changed(object) => drop(mirror.insert(object.key(), object)),
                    Event::Deleted(key) => drop(mirror.remove(&key)),
                    Event::Anew | Event::Listed | Event::Trouble(_) => {}
                }
            }
        });
    }
}

/// What is told and not held, or held and not told.
fn differences(expected: &BTreeMap<ObjectKey, Option<Object>>, told: &Mirror) -> Vec<String> {
    let missing = expected.iter().filter(|(key, object)| object.is_some() && told.get(*key) != object.as_ref());
    let left = told.keys().filter(|key| !expected.contains_key(*key));
    let missing = missing.map(|(key, _)| format!("{key} as it is"));
    missing.chain(left.map(|key| format!("that {key} is gone"))).collect()
}

fn place(object: &Value) -> Result<(Resource, String, String), String> {
    let kind = text(&object["kind"]);
    let resource = Resource::of_kind(&kind).ok_or_else(|| format!("{kind}: not for the API server of the suite"))?;
    let (namespace, name) = (text(&object["metadata"]["namespace"]), text(&object["metadata"]["name"]));
    let namespace = match (resource.is_namespaced(), namespace.as_str()) {
        (false, _) => String::new(),
        (true, "") => "default".to_owned(),
        (true, _) => namespace,
    };
    Ok((resource, namespace, name))
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
