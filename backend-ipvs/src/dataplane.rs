//! The IPVS dataplane: what an embedder sees.

use std::time::Duration;

use async_trait::async_trait;
use backend_api::{Dataplane, Observed, Report, Scheduler, Scope, ServiceState, SyncError};
use backend_nft::Others;
use backend_nft::marking::{LeavingTables, Mark, Marked, MarkingTables, Marks, Synced};

use crate::errors::from_open;
use crate::host::{Host, HostOptions, Timeouts};
use crate::port::Tables;
use crate::programmer::{Outcome, Programmer, Seen};
use crate::rounds::Rounds;
use netlink::ipvs::Ipvs;

/// What an embedder may choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Whether others may touch our tables while we run.
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
            others: Others::default(),
            scheduler: Scheduler::Wrr,
            strict_arp: false,
            timeouts: Timeouts::default(),
            drain: Duration::from_secs(24 * 60 * 60),
        }
    }
}

/// Programs services into IPVS and the tables `switchyard` of the network namespace that it was opened in.
///
/// All of it stays when this is dropped, and is found again.
#[derive(Debug)]
pub struct IpvsDataplane {
    programmer: Programmer<Ipvs>,
    tables: MarkingTables,
    /// What we left when another backend took over; of no use once ours are back.
    left: LeavingTables,
    host: Host,
    /// Whether the node is as IPVS needs it, as far as we know.
    established: bool,
    rounds: Rounds,
}

impl IpvsDataplane {
    /// Opens the dataplane in the network namespace of this thread; needs `CAP_NET_ADMIN` there, and a tokio runtime.
    /// Nothing stays written before the first sync.
    ///
    /// # Errors
    /// [`SyncError::Unsupported`] where the kernel or the process lacks something.
    pub async fn open(options: Options) -> Result<Self, SyncError> {
        let Options { others, scheduler, strict_arp, timeouts, drain } = options;
        let ipvs = Ipvs::open().await.map_err(from_open)?;
        let programmer = Programmer::new(ipvs, scheduler, drain).await?;
        let host = Host::open(HostOptions { strict_arp, timeouts }).await?;
        let tables = MarkingTables::open(backend_nft::Options::default().others(others)).await?;
        let left = LeavingTables::open(backend_nft::Options::default().others(others))?;
        Ok(Self { programmer, tables, left, host, established: false, rounds: Rounds::begin() })
    }
}

impl IpvsDataplane {
    /// Bytes that were sent to the kernel for services since this was opened.
    fn sent(&self) -> u64 {
        self.programmer.port.sent() + self.tables.sent()
    }
}

#[async_trait]
impl Dataplane for IpvsDataplane {
    fn name(&self) -> &'static str {
        "ipvs"
    }

    async fn sync(&mut self, desired: &ServiceState, scope: Scope<'_>) -> Result<Report, SyncError> {
        let sent = self.sent();
        let mut established = 0;
        // Sysctls tell nobody that they were changed.
        let all = !self.established || matches!(scope, Scope::All);
        if all {
            established = self.host.establish().await?;
            self.established = true;
        }
        let Outcome { mut report, synced } = self.programmer.sync(&mut self.tables, desired, scope).await?;
        if all {
            // Behind the sync: until then nobody else delivers established packets.
            established += self.left.remove().await?;
        }
        report.writes += established;
        for synced in &synced {
            report.add_cleanings(self.tables.delete_stale_flows(synced, desired).await);
        }
        report.bytes_sent = self.sent() - sent;
        Ok(report)
    }

    async fn observe(&mut self) -> Result<Observed, SyncError> {
        let shares = self.programmer.shares().await?;
        self.tables.observe(&|mark: Mark| shares.get(&mark).cloned().unwrap_or_default()).await
    }

    async fn remove_all(&mut self) -> Result<(), SyncError> {
        self.established = false;
        // Tables first: while they are there they lead to virtual servers.
        self.tables.remove_all().await?;
        self.left.remove().await?;
        self.programmer.remove_all().await?;
        self.host.restore().await
    }

    async fn drifted(&mut self) {
        loop {
            tokio::select! {
                () = self.tables.drifted() => return,
                () = self.host.changed() => {
                    self.established = false;
                    return;
                }
                seen = self.rounds.next(&mut self.programmer) => if seen == Seen::Otherwise {
                    // If IPVS itself was away, its settings are new.
                    self.established = false;
                    self.programmer.forget();
                    return;
                }
            }
        }
    }
}

impl Tables for MarkingTables {
    type Synced = Synced;

    async fn marks(&mut self) -> Result<Vec<Marked>, SyncError> {
        MarkingTables::marks(self).await
    }

    async fn sync(&mut self, desired: &ServiceState, scope: Scope<'_>, marks: &dyn Marks) -> Result<Synced, SyncError> {
        MarkingTables::sync(self, desired, scope, marks).await
    }

    fn forget(&mut self) {
        MarkingTables::forget(self);
    }

    fn report(synced: &mut Synced) -> &mut Report {
        &mut synced.report
    }
}
