//! Puts a scenario's objects where the agent's source finds them: a folder, or an API server.

mod folder;
#[cfg(feature = "kube")]
mod server;

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::path::Path;
use std::pin::Pin;

use kubernetes::settings::NodeName;
use kubernetes::source::{Sender, files};
use serde_json::{Value, json};
use testbed::Executor;

use self::folder::Folder;
#[cfg(feature = "kube")]
use self::server::Server;
use super::recorder::MARKER;
use super::subject::Source;
use crate::scenario::Cluster;

/// A source that is about to follow what is published.
pub(super) type Follow = Box<dyn FnOnce(Sender) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send>;

/// Where objects are published.
pub(super) enum Published {
    Files(Folder),
    #[cfg(feature = "kube")]
    Api(Box<Server>),
}

impl Published {
    #[cfg_attr(not(feature = "kube"), expect(unused_variables))]
    pub(super) fn through(source: Source, executor: &Executor) -> io::Result<Self> {
        Ok(match source {
            Source::Files => Self::Files(Folder::new()?),
            #[cfg(feature = "kube")]
            Source::Kubernetes => Self::Api(Box::new(Server::start(executor)?)),
        })
    }

    /// What the flag `--source` says.
    pub(super) fn folder(&self) -> &Path {
        match self {
            Self::Files(folder) => folder.path(),
            #[cfg(feature = "kube")]
            Self::Api(_) => Path::new("/nowhere"),
        }
    }

    /// Holds these objects and files, and nothing else.
    pub(super) fn hold(&mut self, cluster: &Cluster, files: &BTreeMap<String, String>) -> Result<(), String> {
        match self {
            Self::Files(folder) => folder.hold(cluster, files).map_err(|error| error.to_string()),
            #[cfg(feature = "kube")]
            Self::Api(server) => server.hold(cluster, files),
        }
    }

    /// Waits until a source that runs has told all of it. One folder is read in order; an API's kinds come each by
    /// itself.
    #[cfg_attr(not(feature = "kube"), expect(unused_variables))]
    pub(super) fn await_told(&mut self, executor: &Executor) -> Result<(), String> {
        match self {
            Self::Files(_) => Ok(()),
            #[cfg(feature = "kube")]
            Self::Api(server) => server.await_told(executor),
        }
    }

    /// Publishes the marker, after everything else.
    pub(super) fn mark(&mut self, marker: u16) -> Result<(), String> {
        match self {
            Self::Files(folder) => folder.mark(&marked(marker)).map_err(|error| error.to_string()),
            #[cfg(feature = "kube")]
            Self::Api(server) => server.put(marked(marker)),
        }
    }

    /// A source of what is published, for the node of this name.
    #[cfg_attr(not(feature = "kube"), expect(unused_variables))]
    pub(super) fn follow(&mut self, node: &NodeName) -> Follow {
        match self {
            Self::Files(folder) => {
                let path = folder.path().to_owned();
                Box::new(|told| Box::pin(files::watch_folder(path, told)))
            }
            #[cfg(feature = "kube")]
            Self::Api(server) => server.follow(node),
        }
    }
}

fn marked(marker: u16) -> Value {
    let (namespace, name) = MARKER;
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"namespace": namespace, "name": name, "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"clusterIP": "192.0.2.1", "ports": [{"port": marker}]},
    })
}
