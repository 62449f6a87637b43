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

mod originals;
mod routing;
mod rules;
mod settings;
mod sysctls;
#[cfg(test)]
mod tests;
mod timeouts;
mod watch;

use backend_api::SyncError;
use netlink::ipvs::Ipvs;

use self::originals::OriginalsTable;
pub(crate) use self::routing::Routing;
use self::settings::{SettingsPlan, plan};
use self::sysctls::Sysctls;
pub(crate) use self::sysctls::Unwritten;
use crate::errors::{enter, from_open, from_socket_open, unsupported};
use crate::options::{Options, Timeouts};

/// The node's routing and settings, as IPVS needs them.
///
/// [`IpvsDataplane`](crate::IpvsDataplane) does by itself what this does. It is of use where the process that
/// forwards may not write sysctls, as in a container: a process that may runs [`Host::establish`] before.
///
/// Sockets and files are those of the network namespace that it was opened in, whatever thread uses them later.
/// Everything stays when this is dropped.
#[derive(Debug)]
pub struct Host {
    strict_arp: bool,
    timeouts: Timeouts,
    routing: Routing,
    sysctls: Sysctls,
    ipvs: Ipvs,
    originals: OriginalsTable,
}

impl Host {
    /// Opens sockets and files in the network namespace that `options` name; writes nothing. Within a tokio runtime.
    ///
    /// # Errors
    /// [`SyncError::Unsupported`], naming what the kernel or the process lacks.
    pub async fn open(options: &Options) -> Result<Self, SyncError> {
        enter(&options.namespace)?;
        // IPVS first: its sysctls are there only once its module is.
        let ipvs = Ipvs::open_in(&options.namespace).await.map_err(from_open)?;
        let routing = Routing::open(&options.namespace).map_err(from_socket_open)?;
        let mut host = Self::with(routing, ipvs, options)?;
        host.sysctls.current(options.strict_arp)?;
        Ok(host)
    }

    /// As [`Host::open`], with what is open already, and whether or not sysctls can be set.
    ///
    /// # Errors
    /// The sockets'.
    pub(crate) fn with(routing: Routing, ipvs: Ipvs, options: &Options) -> Result<Self, SyncError> {
        Ok(Self {
            strict_arp: options.strict_arp,
            timeouts: options.timeouts,
            routing,
            sysctls: Sysctls::open(&options.namespace).map_err(from_socket_open)?,
            ipvs,
            originals: OriginalsTable::open(&options.namespace).map_err(from_socket_open)?,
        })
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
        let sysctls = self.sysctls.current(self.strict_arp)?;
        self.sysctls.warn_of_bridges();
        let current = timeouts::read(&mut self.ipvs).await?;
        let mut now = sysctls.now;
        now.extend(timeouts::values(current));
        let mut wanted = sysctls.wanted;
        wanted.extend(self.timeouts.wanted(current, self.sysctls.tcp_established()));
        let known = self.originals.read().await?;
        let SettingsPlan { writes, originals } = plan(&now, &wanted, &known);
        // Remembered before it is changed: a process that starts after a crash knows what was.
        let remembered = self.originals.write(&originals).await?;
        let unwritten = self.sysctls.write(&writes);
        timeouts::write(&mut self.ipvs, &writes).await?;
        all_written(unwritten)?;
        Ok(remembered + writes.len())
    }

    /// Takes rules and routes of ours away, and gives settings their first values back.
    ///
    /// # Errors
    /// The first; what could be done besides is done. Originals are remembered until all are back.
    pub async fn restore(&mut self) -> Result<(), SyncError> {
        let unrouted = self.routing.remove().await.map(drop);
        let unset = self.unset(&[]).await.and_then(all_written);
        unrouted.and(unset)
    }

    /// As [`Host::restore`], for a node that forwards services in another way from now on: it needs forwarding as
    /// much, so that stays on, and how it was before stays remembered.
    ///
    /// Returns sysctls that could not be written; their originals stay remembered. In a container /proc/sys is
    /// read-only for good, and rules and routes must not stay because of it.
    ///
    /// # Errors
    /// As [`Host::restore`]; rules and routes are removed all the same.
    pub(crate) async fn hand_over(&mut self) -> Result<Vec<Unwritten>, SyncError> {
        let unset = self.unset(&[sysctls::FORWARDING]).await;
        // Last: what is there tells the next process that something is left.
        let unrouted = self.routing.remove().await;
        unset.and_then(|unwritten| unrouted.map(|_| unwritten))
    }

    /// Gives settings their first values back, but for those `kept`. What cannot be written stays remembered.
    async fn unset(&mut self, kept: &[&str]) -> Result<Vec<Unwritten>, SyncError> {
        let known = self.originals.read().await?;
        let mut now = self.sysctls.all();
        now.extend(timeouts::values(timeouts::read(&mut self.ipvs).await?));
        let kept = now.iter().filter(|(name, _)| kept.contains(name)).map(|(name, value)| (*name, *value)).collect();
        let SettingsPlan { writes, mut originals } = plan(&now, &kept, &known);
        let unwritten = self.sysctls.write(&writes);
        timeouts::write(&mut self.ipvs, &writes).await?;
        originals.extend(unwritten.iter().map(|unwritten| (unwritten.name, unwritten.value)));
        self.originals.write(&originals).await?;
        Ok(unwritten)
    }

    /// Resolves when a rule or route of ours is not as it should be any more. Cancel-safe.
    pub async fn changed(&mut self) {
        if let Err(error) = self.routing.changed().await {
            tracing::warn!(%error, "changes of rules and routes by others are not noticed any more");
            std::future::pending().await
        }
    }
}

fn all_written(unwritten: Vec<Unwritten>) -> Result<(), SyncError> {
    match unwritten.into_iter().next() {
        None => Ok(()),
        Some(Unwritten { sysctl, value, reason, .. }) => Err(unsupported(&format!("sysctl {sysctl}={value}"), reason)),
    }
}
