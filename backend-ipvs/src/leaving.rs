//! What IPVS left when another backend took over: connections go on until they end, then nothing of it stays.
//!
//! ```text
//!  find ─► hold ─► [the other backend's tables] ─► taken_over ─► over: drain, remove, … restore the node
//!           │ chains that deliver established packets,               │ nothing is left
//!           │ rules and routes                                       ▼
//!           └───────────────────── again after a restart ──────────► gone
//! ```
//!
//! Nothing is remembered here that the kernel does not know: virtual servers are ours by their marks, deadlines are
//! in upper thresholds, and rules, routes and the tables `switchyard-leaving` say that something is left. All
//! protocols drain alike, those without connections too: an endpoint that stays must not lose a flow because the
//! backend is another one. A flow of UDP or SCTP whose endpoint has gone is cut, and its next packet is the other
//! backend's.
//!
//! **Invariant:** what has connections is not removed before its deadline
//! (`tests::what_is_busy_stays_until_its_deadline`).

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use backend_api::{Scope, ServiceState, SyncError};
use backend_nft::marking::LeavingTables;
use netlink::ipvs::{Ipvs, OpenError, Operation, RealServerEntry, VirtualKey};
use tokio::time::{Instant, sleep_until};

use crate::drain::{Deadline, draining, drains, ends_at_once, is_done};
use crate::errors::{enter, from_open, from_read, from_socket_open};
use crate::host::{Host, Routing, Unwritten};
use crate::marks::cuts;
use crate::options::Options;
use crate::port::{Port, execute, our_servers};
use crate::programmer::until_drained_again;
use crate::servers::{our_mark, socket_address};

/// How long first packets may be on their way that were marked before the other's tables were there.
const ON_THEIR_WAY: Duration = Duration::from_secs(1);

/// Connections that IPVS carries while another backend has taken over.
#[derive(Debug)]
pub struct Leaving {
    ipvs: Ipvs,
    tables: LeavingTables,
    host: Host,
    drain: Duration,
    /// Real servers whose flows are cut when the endpoint goes; none before they were looked for.
    cutting: Option<BTreeMap<VirtualKey, BTreeSet<SocketAddr>>>,
    /// Of the next look; none before the other backend has taken over.
    next: Option<Instant>,
    /// The error that the last warning named.
    warned: Option<SyncError>,
}

impl Leaving {
    /// Looks whether IPVS left anything in the network namespace that `options` name. Where it left nothing, or was
    /// never used, this costs two dumps of tables and one of rules, and no module is loaded.
    ///
    /// # Errors
    /// As [`backend_api::Dataplane::observe`].
    pub async fn find(options: &Options) -> Result<Option<Self>, SyncError> {
        enter(&options.namespace)?;
        let mut tables = LeavingTables::open(options.tables())?;
        let mut routing = Routing::open(&options.namespace).map_err(from_socket_open)?;
        if !routing.is_there().await? && !tables.tell().await? {
            return Ok(None);
        }
        let (ipvs, hosts) = match (Ipvs::open_in(&options.namespace).await, Ipvs::open_in(&options.namespace).await) {
            (Ok(ipvs), Ok(hosts)) => (ipvs, hosts),
            (Err(OpenError::Missing), _) | (_, Err(OpenError::Missing)) => {
                tracing::info!("IPVS was used on this node and is not in its kernel any more, removing what led to it");
                tables.remove().await?;
                routing.remove().await?;
                return Ok(None);
            }
            (Err(error), _) | (_, Err(error)) => return Err(from_open(error)),
        };
        let host = Host::with(routing, hosts, options)?;
        tracing::info!("IPVS was used on this node, its connections go on until they end");
        Ok(Some(Self { ipvs, tables, host, drain: options.drain, cutting: None, next: None, warned: None }))
    }

    /// Makes established packets find IPVS whatever tables are in force, and cuts flows whose endpoints are not there
    /// any more. To be called before each sync of the other backend. How many writes that took.
    ///
    /// # Errors
    /// As [`backend_api::Dataplane::sync`]: the other backend's tables must wait.
    pub async fn hold(&mut self, desired: &ServiceState, scope: Scope<'_>) -> Result<usize, SyncError> {
        let mut writes = 0;
        if self.next.is_none() || matches!(scope, Scope::All) {
            writes += self.tables.establish().await? + self.host.route().await?;
        }
        Ok(writes + self.cut(desired).await?)
    }

    /// To be called when the other backend's tables are there: from now on what is left drains.
    pub fn taken_over(&mut self) {
        self.next.get_or_insert_with(|| Instant::now() + ON_THEIR_WAY);
    }

    /// Resolves when no connection is left, and all that was there for connections is removed. Sysctls that cannot be
    /// written stay, with a warning. Cancel-safe.
    pub async fn over(&mut self) {
        let Some(mut next) = self.next else { return std::future::pending().await };
        loop {
            tokio::select! {
                () = sleep_until(next) => {}
                () = self.host.changed() => {
                    if let Err(error) = self.host.route().await {
                        tracing::warn!(%error, "ip rules and routes that connections of IPVS need could not be set");
                    }
                    continue;
                }
            }
            let left = match self.drain_or_end().await {
                Ok(None) => return,
                Ok(Some(left)) => left,
                Err(error) => {
                    self.warn_once(error);
                    0
                }
            };
            next = Instant::now() + until_drained_again(left);
            self.next = Some(next);
        }
    }

    /// Removes everything at once; its connections end.
    ///
    /// # Errors
    /// As [`backend_api::Dataplane::remove_all`].
    pub async fn remove_all(&mut self) -> Result<(), SyncError> {
        self.tables.remove().await?;
        let servers = our_servers(&mut self.ipvs).await?;
        let operations: Vec<_> = servers.into_iter().map(|server| Operation::RemoveVirtual(server.key)).collect();
        execute(&mut self.ipvs, &operations).await?;
        self.host.restore().await
    }

    /// How many virtual servers are left; none if everything else was removed too.
    async fn drain_or_end(&mut self) -> Result<Option<usize>, SyncError> {
        match self.drain().await? {
            0 => self.end().await.map(|()| None),
            left => Ok(Some(left)),
        }
    }

    /// It is tried again every few seconds: an error that stays is logged once.
    fn warn_once(&mut self, error: SyncError) {
        if self.warned.as_ref() != Some(&error) {
            tracing::warn!(%error, "what IPVS needed could not be removed, trying again");
            self.warned = Some(error);
        }
    }

    /// Drains what does not yet, and removes what has. How many virtual servers are left.
    async fn drain(&mut self) -> Result<usize, SyncError> {
        let now = self.ipvs.now();
        let deadline = Deadline::after(now, self.drain);
        let mut left = 0;
        let mut operations = Vec::new();
        for server in our_servers(&mut self.ipvs).await? {
            let reals = self.ipvs.real_servers(&server.key).await.map_err(from_read)?;
            let retired = retire(server.key, &reals, now, deadline);
            left += usize::from(!retired.contains(&Operation::RemoveVirtual(server.key)));
            operations.extend(retired);
        }
        // What is refused is gone already, or is tried again in the next round.
        execute(&mut self.ipvs, &operations).await?;
        Ok(left)
    }

    /// Removes what was there for the sake of connections.
    async fn end(&mut self) -> Result<(), SyncError> {
        // One does not wait for the other: what can be removed is removed.
        let tables = self.tables.remove().await;
        let unwritten = self.host.hand_over().await?;
        tables?;
        for Unwritten { sysctl, value, reason, .. } in &unwritten {
            tracing::warn!(
                sysctl,
                value,
                reason,
                "sysctl that IPVS needed cannot be set back: set it on the node, or run `switchyard cleanup` there as root"
            );
        }
        if unwritten.is_empty() {
            tracing::info!("the last connection of IPVS has ended, and nothing of it is left");
        } else {
            tracing::info!("the last connection of IPVS has ended, and only sysctls of it are left");
        }
        Ok(())
    }

    /// Ends flows of UDP and SCTP whose endpoints are not there any more. How many writes that took.
    async fn cut(&mut self, desired: &ServiceState) -> Result<usize, SyncError> {
        let mut cutting = match self.cutting.take() {
            Some(cutting) => cutting,
            None => self.cutting_now().await?,
        };
        let mut operations = Vec::new();
        if !cutting.is_empty() {
            let listed = endpoints_that_are_cut(desired);
            for (key, reals) in &mut cutting {
                operations.extend(reals.difference(&listed).map(|gone| Operation::RemoveReal(*key, *gone)));
                reals.retain(|address| listed.contains(address));
            }
            cutting.retain(|_, reals| !reals.is_empty());
        }
        execute(&mut self.ipvs, &operations).await?;
        self.cutting = Some(cutting);
        Ok(operations.len())
    }

    async fn cutting_now(&mut self) -> Result<BTreeMap<VirtualKey, BTreeSet<SocketAddr>>, SyncError> {
        let mut cutting = BTreeMap::new();
        for server in our_servers(&mut self.ipvs).await? {
            if our_mark(server.key).is_some_and(cuts) {
                let reals = self.ipvs.real_servers(&server.key).await.map_err(from_read)?;
                cutting.insert(server.key, reals.into_iter().map(|entry| entry.server.address).collect());
            }
        }
        Ok(cutting)
    }
}

/// Endpoints of ports whose flows end with them.
fn endpoints_that_are_cut(desired: &ServiceState) -> BTreeSet<SocketAddr> {
    let ports = desired.services().flat_map(|service| &service.ports);
    let endpoints = ports.filter(|port| ends_at_once(port.protocol)).flat_map(|port| &port.endpoints);
    endpoints.map(|endpoint| socket_address(endpoint.address)).collect()
}

/// What is to be done to a virtual server that nothing new comes to. The weight is set to 0 for what that allows: the
/// deadline is kept in the upper threshold then.
fn retire(key: VirtualKey, reals: &[RealServerEntry], now: u32, deadline: Deadline) -> Vec<Operation> {
    let mut operations = Vec::new();
    let mut left = false;
    for entry in reals {
        if is_done(entry, now) {
            operations.push(Operation::RemoveReal(key, entry.server.address));
            continue;
        }
        left = true;
        if !drains(&entry.server) {
            operations.push(Operation::EditReal(key, draining(&entry.server, deadline)));
        }
    }
    if left { operations } else { vec![Operation::RemoveVirtual(key)] }
}

#[cfg(test)]
mod tests {
    use netlink::Family;
    use netlink::ipvs::{Connections, Forwarding, RealServer, Statistics, Thresholds};

    use super::*;

    const KEY: VirtualKey = VirtualKey::Mark { family: Family::Ipv4, mark: 0x5300_0007 };

    /// With this weight, upper threshold, and connections of both kinds.
    fn real(host: u8, weight: u32, upper: u32, (active, inactive): (u32, u32)) -> RealServerEntry {
        let address = SocketAddr::new([10, 244, 0, host].into(), 80);
        let thresholds = Thresholds { upper, lower: 0 };
        RealServerEntry {
            server: RealServer { address, forwarding: Forwarding::Masquerade, weight, thresholds },
            connections: Connections { active, inactive, persistent: 0 },
            statistics: Statistics::default(),
        }
    }

    /// At second 100, when what begins to drain has until second 150.
    fn check(reals: &[RealServerEntry], expected: &[Operation]) {
        assert_eq!(retire(KEY, reals, 100, Deadline::after(100, Duration::from_secs(50))), expected, "{reals:?}");
    }

    fn drain(host: u8) -> Operation {
        Operation::EditReal(KEY, real(host, 0, 150, (0, 0)).server)
    }

    fn remove(host: u8) -> Operation {
        Operation::RemoveReal(KEY, real(host, 0, 0, (0, 0)).server.address)
    }

    #[test]
    fn what_is_busy_stays_until_its_deadline() {
        check(&[real(1, 3, 0, (1, 0)), real(2, 1, 0, (0, 1))], &[drain(1), drain(2)]);
        check(&[real(1, 0, 101, (1, 0)), real(2, 0, 100, (1, 0))], &[remove(2)]);
        // Terminating already when the other backend took over: no deadline yet.
        check(&[real(1, 0, 0, (1, 0))], &[drain(1)]);
    }

    #[test]
    fn what_is_idle_goes_at_once_and_the_last_with_its_virtual_server() {
        check(&[real(1, 1, 0, (0, 0)), real(2, 0, 120, (0, 1))], &[remove(1)]);
        check(&[real(1, 1, 0, (0, 0)), real(2, 0, 100, (5, 0))], &[Operation::RemoveVirtual(KEY)]);
        check(&[], &[Operation::RemoveVirtual(KEY)]);
    }
}
