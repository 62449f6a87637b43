//! The Kubernetes API as a source.
//!
//! ```text
//! resource (what to ask) ──► servers (whom) ──► body (bytes, lines) ──► answer (slim objects) ──► course ──► Event
//!      ▲                       [I/O]             [I/O]                   [pure]                   [pure]
//!      └──────────────────────────────── what to ask next ────────────────────────────────────────┘
//! ```
//!
//! One [`follower`] for each kind: Services, EndpointSlices, this node's Node, ServiceCIDRs. While the API is away, what was
//! told holds. Own requests instead of a client's reflector: what is decoded are our slim types, item by item, and nothing
//! is stored but keys.

mod answer;
mod body;
mod course;
mod failing_over;
mod follower;
mod json;
mod outage;
mod resource;
mod servers;

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use tokio::sync::watch;

use self::follower::{Follower, Shared};
use self::outage::Outage;
use self::resource::Resource;
use self::servers::Servers;
use super::Sender;
use crate::settings::NodeName;
use crate::source::KubernetesConfig;

pub use failing_over::connect;
pub use servers::ConnectError;

/// How long nothing may come on a watch: an API server sends a bookmark every minute.
const SILENCE: Duration = Duration::from_secs(90);

/// Follows the objects of the cluster that concern a proxy on the node of this name, and tells what is there, until nobody
/// listens.
///
/// An API that is away is waited for: what was told before holds, and what has gone meanwhile is told when all objects
/// of its kind have been listed anew.
pub async fn follow(config: KubernetesConfig, nodes: watch::Receiver<NodeName>, told: Sender) {
    let node = Resource::node(&nodes.borrow());
    let place = config.to_string();
    let shared = Arc::new(Shared {
        silence: config.silence.unwrap_or(SILENCE),
        servers: Servers::new(config),
        outage: Outage::new(place.clone()),
        place,
        told,
        unlisted: AtomicUsize::new(4),
    });
    let follower = |resource| Follower::new(shared.clone(), resource);
    // In one task: when that is ended, nothing more is told.
    tokio::join!(
        follower(Resource::services()).follow(),
        follower(Resource::slices()).follow(),
        follower(Resource::service_cidrs()).follow(),
        follower(node).follow_node(nodes),
    );
}
