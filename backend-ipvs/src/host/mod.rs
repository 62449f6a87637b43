//! The node as IPVS needs it: where marked packets go, and settings of the kernel.
//!
//! ```text
//!  Host::establish ─┬─► routing: lo up, rules, routes ─► rtnetlink ─► watch ─► Host::changed
//!  Host::restore  ──┘
//!                   └─► sysctls, timeouts ─► settings::plan ─┬─► /proc/sys, IPVS
//!                                                            └─► originals: table `ip switchyard-originals`
//! ```
//!
//! Kept apart from services: all of it is static, the same for none and for 10,000. Everything is read before it is
//! written, so a second call and a restarted process write nothing.

mod errors;
pub mod originals;
pub mod routing;
pub mod rules;
pub mod settings;
pub mod sysctls;
pub mod timeouts;
pub mod watch;

use backend_api::SyncError;

use self::errors::from_open;
use self::originals::OriginalsTable;
use self::routing::Routing;
use self::settings::{Plan, Values, plan};
use self::sysctls::Sysctls;
pub use self::timeouts::Timeouts;
use netlink::ipvs::Ipvs;

/// What may be chosen of the node's settings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HostOptions {
    /// Answer ARP for an address only on the interface that has it.
    pub strict_arp: bool,
    /// How long IPVS remembers connections.
    pub timeouts: Timeouts,
}

/// The node's routing and settings.
///
/// Sockets and files are those of the network namespace that it was opened in, whatever thread uses them later. Everything
/// stays when this is dropped.
#[derive(Debug)]
pub struct Host {
    options: HostOptions,
    routing: Routing,
    sysctls: Sysctls,
    ipvs: Ipvs,
    originals: OriginalsTable,
}

impl Host {
    /// Opens sockets and files in the network namespace of this thread; writes nothing. Within a tokio runtime.
    ///
    /// # Errors
    /// [`SyncError::Unsupported`], naming what the kernel or the process lacks.
    pub async fn open(options: HostOptions) -> Result<Self, SyncError> {
        // IPVS first: its sysctls are there only once its module is.
        let ipvs = Ipvs::open().await.map_err(crate::errors::from_open)?;
        let routing = Routing::open().map_err(from_open)?;
        let mut host = Self { options, ..Self::left(routing, ipvs)? };
        host.sysctls.current(options.strict_arp)?;
        Ok(host)
    }

    /// What another left behind: to be looked after, and restored.
    ///
    /// # Errors
    /// The sockets'.
    pub(crate) fn left(routing: Routing, ipvs: Ipvs) -> Result<Self, SyncError> {
        let originals = OriginalsTable::open().map_err(from_open)?;
        Ok(Self { options: HostOptions::default(), routing, sysctls: Sysctls::open(), ipvs, originals })
    }

    /// Makes rules and routes be there, and nothing else; how many writes that took.
    ///
    /// # Errors
    /// The kernel's; what was written before stays.
    pub(crate) async fn route(&mut self) -> Result<usize, SyncError> {
        self.routing.establish().await
    }

    /// Makes the node as IPVS needs it; how many writes that took.
    ///
    /// # Errors
    /// What was written before stays written, and is not written again next time.
    pub async fn establish(&mut self) -> Result<usize, SyncError> {
        let routed = self.routing.establish().await?;
        Ok(routed + self.set().await?)
    }

    async fn set(&mut self) -> Result<usize, SyncError> {
        let sysctls = self.sysctls.current(self.options.strict_arp)?;
        let current = timeouts::read(&mut self.ipvs).await?;
        let mut now = sysctls.now;
        now.extend(timeouts::values(current));
        let mut wanted = sysctls.wanted;
        wanted.extend(self.options.timeouts.wanted(current, self.sysctls.tcp_established()));
        let known = self.originals.read().await?;
        let Plan { writes, originals } = plan(&now, &wanted, &known);
        // Remembered before it is changed: whoever comes after a crash knows what was.
        let remembered = self.originals.write(&originals).await?;
        self.write(&writes).await?;
        Ok(remembered + writes.len())
    }

    /// Takes rules and routes of ours away, and gives settings their first values back.
    ///
    /// # Errors
    /// The first; what could be done besides is done. Originals are remembered until all are back.
    pub async fn restore(&mut self) -> Result<(), SyncError> {
        let unrouted = self.routing.remove().await.map(drop);
        unrouted.and(self.unset(&[]).await)
    }

    /// As [`Host::restore`], for a node that forwards services in another way from now on: it needs forwarding as much, so
    /// that stays on, and how it was before stays remembered.
    ///
    /// # Errors
    /// As there.
    pub(crate) async fn hand_over(&mut self) -> Result<(), SyncError> {
        self.unset(&[sysctls::FORWARDING]).await?;
        // Last: what is there tells who comes next that something is left.
        self.routing.remove().await.map(drop)
    }

    /// Gives settings their first values back, but for those `kept`.
    async fn unset(&mut self, kept: &[&str]) -> Result<(), SyncError> {
        let originals = self.originals.read().await?;
        let mut now = self.sysctls.all();
        now.extend(timeouts::values(timeouts::read(&mut self.ipvs).await?));
        let kept = now.iter().filter(|(name, _)| kept.contains(name)).map(|(name, value)| (*name, *value)).collect();
        let Plan { writes, originals } = plan(&now, &kept, &originals);
        self.write(&writes).await?;
        self.originals.write(&originals).await.map(drop)
    }

    async fn write(&mut self, writes: &Values) -> Result<(), SyncError> {
        let sysctls = self.sysctls.write(writes);
        sysctls.and(timeouts::write(&mut self.ipvs, writes).await)
    }

    /// Resolves when a rule or route of ours is not as it should be any more. Cancel-safe.
    pub async fn changed(&mut self) {
        if let Err(error) = self.routing.changed().await {
            tracing::warn!(%error, "changes of rules and routes by others are not noticed any more");
            std::future::pending().await
        }
    }
}
