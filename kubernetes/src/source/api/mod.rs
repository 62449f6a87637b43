//! The Kubernetes API as a source.
//!
//! ```text
//!                        credentials [I/O]
//!                               ▼
//! list_watch (what to ask) ──► servers (which one) ──► body (bytes, lines) ──► list_watch (what it means) ──► Event
//!      [pure]                   [I/O]              [I/O]                   [pure]
//! ```
//!
//! `outage` is what all kinds know together, `waits` is when to ask again [both pure].
//!
//! One `KindWatcher` for each kind: Services, EndpointSlices, this node's Node, ServiceCIDRs for a proxy. While the API is away,
//! what was told holds. Own requests instead of a client's reflector: what is decoded are our slim types, item by item,
//! and nothing is stored but keys.

mod body;
mod coalesce;
mod credentials;
mod outage;
mod servers;
mod waits;
mod watcher;

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use futures_util::future::join_all;

use self::outage::Outage;
use self::servers::{Servers, Warnings};
use self::watcher::{KindWatcher, Session};
use super::list_watch::Resource;
use super::{ApiConfig, Sender};
use crate::settings::NodeName;

pub use credentials::check_kubeconfig;
pub use servers::{ConnectError, connect};

/// How long nothing may come on a watch: an API server sends a bookmark every minute.
const SILENCE: Duration = Duration::from_secs(90);

/// Tells of the objects of the cluster that concern a proxy on the node `node_name`, now and whenever they change,
/// until the receiver of `told` is dropped.
///
/// An API that is away is waited for: what was told before holds, and what has gone meanwhile is told when all objects
/// of its kind have been listed again.
pub async fn watch_api(config: ApiConfig, node_name: NodeName, told: Sender) {
    watch_resources(config, Resource::of_proxy(&node_name), told).await;
}

/// As [`watch_api`], for objects of these kinds: see [`Resource::of_allocator`].
pub async fn watch_resources(config: ApiConfig, resources: Vec<Resource>, told: Sender) {
    let place = config.to_string();
    let session = Arc::new(Session {
        silence: config.silence.unwrap_or(SILENCE),
        servers: Servers::new(config, Warnings::Logged),
        outage: Outage::new(place.clone()),
        place,
        told,
        unlisted: AtomicUsize::new(resources.len()),
    });
    // In one task: when that is ended, nothing more is told.
    let kinds = resources.into_iter().map(|resource| KindWatcher::new(session.clone(), resource).watch_kind());
    let watching = join_all(kinds);
    tokio::select! {
        _ = watching => {}
        never = session.servers.watch_files() => match never {},
    }
}
