//! The IPVS dataplane: what an embedder sees.

use async_trait::async_trait;
use backend_api::{Cleaning, Dataplane, Observed, PerFamily, Report, Scope, ServiceState, SyncError};
use backend_nft::marking::{LeavingTables, Mark, Marked, MarkingTables, Marks, Synced};
use netlink::ipvs::Ipvs;

use crate::errors::{enter, from_open};
use crate::host::Host;
use crate::options::Options;
use crate::port::Tables;
use crate::programmer::{Outcome, Programmer, Rounds, Seen};

/// Programs services into IPVS and the tables `switchyard` of one network namespace.
///
/// All of it stays when this is dropped, and is found again.
#[derive(Debug)]
pub struct IpvsDataplane {
    programmer: Programmer<Ipvs>,
    tables: MarkingTables,
    /// What we left when another backend took over; of no use once our tables are back.
    left: LeavingTables,
    host: Host,
    /// Whether the node is as IPVS needs it, as far as we know.
    established: bool,
    rounds: Rounds,
}

impl IpvsDataplane {
    /// Opens the dataplane in the network namespace that `options` name: that of this thread, if they name none.
    /// Needs `CAP_NET_ADMIN` there, and a tokio runtime. Before the first sync nothing stays written: only a virtual
    /// server is added and removed, to try the scheduler.
    ///
    /// # Errors
    /// [`SyncError::Unsupported`] where the kernel or the process lacks something.
    pub async fn open(options: Options) -> Result<Self, SyncError> {
        enter(&options.namespace)?;
        let ipvs = Ipvs::open_in(&options.namespace).await.map_err(from_open)?;
        Ok(Self {
            programmer: Programmer::new(ipvs, options.scheduler, options.drain).await?,
            host: Host::open(&options).await?,
            tables: MarkingTables::open(options.tables()).await?,
            left: LeavingTables::open(options.tables())?,
            established: false,
            rounds: Rounds::begin(),
        })
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
        let sent_before = self.sent();
        let mut host_writes = 0;
        // No notification says that a sysctl was changed.
        let all = !self.established || matches!(scope, Scope::All);
        if all {
            host_writes = self.host.establish().await?;
            self.established = true;
        }
        let Outcome { mut report, synced } = self.programmer.sync(&mut self.tables, desired, scope).await?;
        if all {
            // After the sync: until then only these tables deliver established packets.
            host_writes += self.left.remove().await?;
        }
        report.writes += host_writes;
        for synced in &synced {
            report.add_cleanings(self.tables.clean_up_after(synced, desired));
        }
        report.bytes_sent = self.sent() - sent_before;
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

    async fn settle(&mut self) -> PerFamily<Option<Cleaning>> {
        self.tables.settle().await
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
