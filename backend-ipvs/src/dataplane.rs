//! The IPVS dataplane: what an embedder sees.

use std::time::Duration;

use async_trait::async_trait;
use backend_api::{Dataplane, Observed, Report, Scheduler, Scope, ServiceState, SyncError};
use backend_nft::Others;
use backend_nft::marking::{LeavingTables, Mark, Marked, MarkingTables, Marks, Synced};
use netlink::Namespace;
use netlink::ipvs::Ipvs;

use crate::errors::{enter, from_open};
use crate::host::{Host, Timeouts};
use crate::port::Tables;
use crate::programmer::{Outcome, Programmer, Rounds, Seen};

/// Options of [`IpvsDataplane::open`], [`Host::open`] and [`Leaving::find`](crate::Leaving::find).
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
            report.add_cleanings(self.tables.delete_stale_flows(synced, desired).await);
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
