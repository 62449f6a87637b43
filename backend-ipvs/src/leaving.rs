//! What IPVS left when another backend took over: connections go on until they end, then nothing of it stays.
//!
//! ```text
//!  find ─► hold ─► [the other backend's tables] ─► taken_over ─► over: drain, remove, … restore the node
//!           │ chains that deliver established packets,               │ nothing is left
//!           │ rules and routes                                       ▼
//!           └───────────────────── again after a restart ──────────► gone
//! ```
//!
//! Nothing is remembered here that the kernel does not know: virtual servers are ours by their marks, deadlines are in upper
//! thresholds, and rules, routes and the tables `switchyard-leaving` say that there is something to look after. All protocols
//! drain alike, those without connections too: an endpoint that stays must not lose a flow because the backend is
//! another one. A flow of UDP or SCTP whose endpoint has gone is cut, and its next packet is the other backend's.
//!
//! **Invariant:** what has connections is not removed before its deadline (`tests::what_is_busy_stays_until_its_deadline`).

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::SocketAddr;
use std::time::Duration;

use backend_api::{Protocol, Scope, ServiceState, SyncError};
use backend_nft::marking::LeavingTables;
use tokio::time::{Instant, sleep_until};

use crate::dataplane::Options;
use crate::diff::drains;
use crate::errors::{from_open, from_read, from_refusals, from_socket};
use crate::host::Host;
use crate::host::routing::Routing;
use crate::marks::{cuts, ours};
use crate::port::Port;
use netlink::ipvs::{Ipvs, OpenError, Operation, RealServer, RealServerEntry, Thresholds, VirtualKey};

/// How long first packets may be on their way that were marked before the other's tables were there.
const ON_THEIR_WAY: Duration = Duration::from_secs(1);

/// How often connections are counted, up to [`MANY`] virtual servers.
const ROUND: Duration = Duration::from_secs(5);

/// From so many virtual servers on, less often in proportion.
const MANY: usize = 2_000;

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
}

impl Leaving {
    /// Looks whether IPVS left anything in the network namespace of this thread; none where it did not, or was never used: then
    /// this costs two dumps of tables and one of rules, and no module is loaded.
    ///
    /// # Errors
    /// As [`backend_api::Dataplane::observe`].
    pub async fn find(options: &Options) -> Result<Option<Self>, SyncError> {
        let mut tables = LeavingTables::open(backend_nft::Options::default().others(options.others))?;
        let mut routing = Routing::open().map_err(|error| from_socket(&error))?;
        if !routing.is_there().await? && !tables.tell().await? {
            return Ok(None);
        }
        let (ipvs, hosts) = match (Ipvs::open().await, Ipvs::open().await) {
            (Ok(ipvs), Ok(hosts)) => (ipvs, hosts),
            (Err(OpenError::Missing), _) | (_, Err(OpenError::Missing)) => {
                tracing::info!(
                    "IPVS was used on this node and is not in its kernel any more: what led to it is removed"
                );
                tables.remove().await?;
                routing.remove().await?;
                return Ok(None);
            }
            (Err(error), _) | (_, Err(error)) => return Err(from_open(error)),
        };
        let host = Host::left(routing, hosts)?;
        tracing::info!("IPVS was used on this node: connections that it has go on until they end");
        Ok(Some(Self { ipvs, tables, host, drain: options.drain, cutting: None, next: None }))
    }

    /// Makes established packets find IPVS whatever tables are in force, and cuts flows whose endpoints are not there any more.
    /// To be called before each sync of the other backend. How many writes that took.
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

    /// Resolves when nothing is left, and all that was for its sake is removed. Cancel-safe.
    pub async fn over(&mut self) {
        let Some(mut next) = self.next else { return std::future::pending().await };
        loop {
            tokio::select! {
                () = sleep_until(next) => {}
                () = self.host.changed() => {
                    if let Err(error) = self.host.route().await {
                        tracing::warn!(%error, "rules and routes that connections of IPVS need are not there");
                    }
                    continue;
                }
            }
            let left = match self.look().await {
                Ok(0) => match self.end().await {
                    Ok(()) => return,
                    Err(error) => {
                        tracing::warn!(%error, "what IPVS needed could not be removed, trying again");
                        0
                    }
                },
                Ok(left) => left,
                Err(error) => {
                    tracing::warn!(%error, "what IPVS left could not be looked at, trying again");
                    0
                }
            };
            next = Instant::now() + ROUND * u32::try_from(left / MANY + 1).unwrap_or(u32::MAX);
            self.next = Some(next);
        }
    }

    /// Removes everything at once; its connections end.
    ///
    /// # Errors
    /// As [`backend_api::Dataplane::remove_all`].
    pub async fn remove_all(&mut self) -> Result<(), SyncError> {
        self.tables.remove().await?;
        let servers = self.servers().await?;
        let operations: Vec<_> = servers.into_keys().map(Operation::RemoveVirtual).collect();
        self.execute(&operations).await?;
        self.host.restore().await
    }

    /// Drains what does not yet, and removes what has. How many virtual servers are left.
    async fn look(&mut self) -> Result<usize, SyncError> {
        let servers = self.servers().await?;
        let now = self.ipvs.now();
        let deadline = now.saturating_add(u32::try_from(self.drain.as_secs()).unwrap_or(u32::MAX));
        let mut left = 0;
        let mut operations = Vec::new();
        for (key, reals) in &servers {
            let retired = retire(*key, reals, now, deadline);
            left += usize::from(!retired.contains(&Operation::RemoveVirtual(*key)));
            operations.extend(retired);
        }
        self.execute(&operations).await?;
        Ok(left)
    }

    /// What was for connections' sake goes.
    async fn end(&mut self) -> Result<(), SyncError> {
        self.tables.remove().await?;
        self.host.hand_over().await?;
        tracing::info!("the last connection of IPVS has ended, and nothing of it is left");
        Ok(())
    }

    async fn cut(&mut self, desired: &ServiceState) -> Result<usize, SyncError> {
        let cutting = match self.cutting.take() {
            Some(cutting) => cutting,
            None => self.cutting_now().await?,
        };
        if cutting.is_empty() {
            self.cutting = Some(cutting);
            return Ok(0);
        }
        let untied = desired.services().flat_map(|service| &service.ports).filter(|port| is_cut(port.protocol));
        let there: HashSet<SocketAddr> =
            untied.flat_map(|port| &port.endpoints).map(|endpoint| endpoint.address.into()).collect();
        let mut kept = cutting;
        let mut operations = Vec::new();
        for (key, reals) in &mut kept {
            let (stay, gone) = std::mem::take(reals).into_iter().partition(|address| there.contains(address));
            let gone: BTreeSet<SocketAddr> = gone;
            *reals = stay;
            operations.extend(gone.into_iter().map(|address| Operation::RemoveReal(*key, address)));
        }
        kept.retain(|_, reals| !reals.is_empty());
        self.execute(&operations).await?;
        self.cutting = Some(kept);
        Ok(operations.len())
    }

    async fn cutting_now(&mut self) -> Result<BTreeMap<VirtualKey, BTreeSet<SocketAddr>>, SyncError> {
        let mut cutting = BTreeMap::new();
        for entry in self.ipvs.virtual_servers().await.map_err(from_read)? {
            let key = entry.server.key;
            if ours(key).is_some_and(cuts) {
                let reals = self.ipvs.real_servers(&key).await.map_err(from_read)?;
                cutting.insert(key, reals.into_iter().map(|entry| entry.server.address).collect());
            }
        }
        Ok(cutting)
    }

    async fn servers(&mut self) -> Result<BTreeMap<VirtualKey, Vec<RealServerEntry>>, SyncError> {
        let mut servers = BTreeMap::new();
        for entry in self.ipvs.virtual_servers().await.map_err(from_read)? {
            let key = entry.server.key;
            if ours(key).is_some() {
                servers.insert(key, self.ipvs.real_servers(&key).await.map_err(from_read)?);
            }
        }
        Ok(servers)
    }

    /// Executes; what is gone already is as good.
    async fn execute(&mut self, operations: &[Operation]) -> Result<(), SyncError> {
        if operations.is_empty() {
            return Ok(());
        }
        let refusals = self.ipvs.execute(operations).await.map_err(|error| from_socket(&error))?;
        from_refusals(&refusals).map_or(Ok(()), Err)
    }
}

fn is_cut(protocol: Protocol) -> bool {
    match protocol {
        Protocol::Tcp => false,
        Protocol::Udp | Protocol::Sctp => true,
    }
}

/// What is to be done to a virtual server that nothing new comes to. The weight is set to 0 for what that allows: the
/// deadline is kept in the upper threshold then.
fn retire(key: VirtualKey, reals: &[RealServerEntry], now: u32, deadline: u32) -> Vec<Operation> {
    let mut operations = Vec::new();
    let mut left = false;
    for RealServerEntry { server, connections, .. } in reals {
        let is_idle = connections.active == 0 && connections.inactive == 0;
        if is_idle || (drains(server) && server.thresholds.upper <= now) {
            operations.push(Operation::RemoveReal(key, server.address));
            continue;
        }
        left = true;
        if !drains(server) {
            let thresholds = Thresholds { upper: deadline.max(1), lower: 0 };
            operations.push(Operation::EditReal(key, RealServer { weight: 0, thresholds, ..*server }));
        }
    }
    if left { operations } else { vec![Operation::RemoveVirtual(key)] }
}

#[cfg(test)]
mod tests {
    use netlink::Family;

    use super::*;
    use netlink::ipvs::{Connections, Forwarding, Statistics};

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
        assert_eq!(retire(KEY, reals, 100, 150), expected, "{reals:?}");
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
