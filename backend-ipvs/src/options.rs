//! What a caller chooses when it opens the dataplane, the host, or what is left of them.

use std::time::Duration;

use backend_api::Scheduler;
use backend_nft::Others;
use netlink::Namespace;

/// Options of [`IpvsDataplane::open`](crate::IpvsDataplane::open), [`Host::open`](crate::Host::open) and
/// [`Leaving::find`](crate::Leaving::find).
///
/// ```no_run
/// use std::time::Duration;
/// # use backend_api as switchyard_api;
/// use switchyard_api::Scheduler;
/// use switchyard_ipvs::{IpvsDataplane, Namespace, Options};
///
/// # async fn open() -> Result<(), Box<dyn std::error::Error>> {
/// let node = Namespace::of_path("/run/netns/node")?;
/// let options = Options::default().namespace(node).scheduler(Scheduler::Lc).drain(Duration::from_secs(3600));
/// let dataplane = IpvsDataplane::open(options).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// The network namespace whose packets are forwarded. Sockets and files are opened in it, and rules, routes and
    /// sysctls are its own. To enter another than the thread's needs `CAP_SYS_ADMIN`.
    pub namespace: Namespace,
    /// Whether other programs may change our tables while we run.
    pub others: Others,
    /// The scheduler of service ports that ask for none.
    pub scheduler: Scheduler,
    /// Whether the node answers ARP for an address only on the interface that has it.
    pub strict_arp: bool,
    /// How long IPVS remembers connections.
    pub timeouts: Timeouts,
    /// How long connections of TCP may go on when their endpoint has left.
    pub drain: Duration,
}

/// As the nftables backend does it, as far as IPVS can: by weight, and nothing is cut within a day.
impl Default for Options {
    fn default() -> Self {
        Self {
            namespace: Namespace::Current,
            others: Others::default(),
            scheduler: Scheduler::Wrr,
            strict_arp: false,
            timeouts: Timeouts::default(),
            drain: Duration::from_secs(24 * 60 * 60),
        }
    }
}

impl Options {
    /// The same, in this network namespace instead of the calling thread's.
    #[must_use]
    pub fn namespace(self, namespace: Namespace) -> Self {
        Self { namespace, ..self }
    }

    /// The same, with this answer to whether other programs may change our tables.
    #[must_use]
    pub fn others(self, others: Others) -> Self {
        Self { others, ..self }
    }

    /// The same, with this scheduler for service ports that ask for none.
    #[must_use]
    pub fn scheduler(self, scheduler: Scheduler) -> Self {
        Self { scheduler, ..self }
    }

    /// The same, with this answer to whether ARP is answered only on the interface that has the address.
    #[must_use]
    pub fn strict_arp(self, strict_arp: bool) -> Self {
        Self { strict_arp, ..self }
    }

    /// The same, with these timeouts of connections.
    #[must_use]
    pub fn timeouts(self, timeouts: Timeouts) -> Self {
        Self { timeouts, ..self }
    }

    /// The same, with this time for connections of TCP whose endpoint has left.
    #[must_use]
    pub fn drain(self, drain: Duration) -> Self {
        Self { drain, ..self }
    }

    /// Those of the tables.
    pub(crate) fn tables(&self) -> backend_nft::Options {
        backend_nft::Options::default().others(self.others).namespace(self.namespace.clone())
    }
}

/// How long a connection without packets is remembered. None leaves the kernel's, but for TCP: there a timeout below
/// conntrack's is raised to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timeouts {
    /// TCP, established.
    pub tcp: Option<Duration>,
    /// TCP after a FIN.
    pub tcp_fin: Option<Duration>,
    /// UDP.
    pub udp: Option<Duration>,
}
