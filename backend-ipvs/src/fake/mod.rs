//! IPVS and the tables in memory, refusing what the kernel refuses (`agreement` proves it against the real
//! one).

mod agreement;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};

use backend_api::{
    Affinity, Answer, EndpointAddress, Family, Frontend, Pool, Report, Route, Scheduler, Scope, Service, ServiceName,
    ServicePort, ServiceState, SyncError,
};
use backend_nft::marking::{Mark, Marked, Marks, Target};
use netlink::ReadError;
use netlink::ipvs::{
    Connections, Operation, RealServer, RealServerEntry, Refusal, Statistics, VirtualKey, VirtualServer,
    VirtualServerEntry,
};
use nix::errno::Errno;

use crate::port::{Port, Tables};
use crate::servers::{endpoint, key};

/// A process's way to a kernel; a clone is another's.
#[derive(Clone, Debug, Default)]
pub(crate) struct FakeIpvs(pub(crate) Arc<Mutex<FakeKernel>>);

/// What a kernel has.
#[derive(Debug)]
pub(crate) struct FakeKernel {
    pub(crate) servers: BTreeMap<VirtualKey, (VirtualServer, BTreeMap<SocketAddr, RealServerEntry>)>,
    pub(crate) schedulers: BTreeSet<&'static str>,
    /// Real servers at these addresses are invalid.
    pub(crate) refuses: BTreeSet<IpAddr>,
    /// The next operation fails with this.
    pub(crate) breaks: Option<Errno>,
    /// Seconds since boot.
    pub(crate) now: u32,
    /// Whether every real server of weight above 0 has a connection as soon as it is there.
    pub(crate) is_busy: bool,
    /// Real servers that were removed with connections, and when their time would have been up.
    pub(crate) cut: Vec<(VirtualKey, RealServer)>,
    /// Whether each question is answered only when asked about again.
    pub(crate) pauses: bool,
}

impl Default for FakeKernel {
    fn default() -> Self {
        Self {
            servers: BTreeMap::new(),
            schedulers: Scheduler::ALL.into_iter().map(Scheduler::name).collect(),
            refuses: BTreeSet::new(),
            breaks: None,
            now: 1000,
            is_busy: false,
            cut: Vec::new(),
            pauses: false,
        }
    }
}

impl FakeIpvs {
    /// Looks at the kernel, or changes it.
    pub(crate) fn with<T>(&self, look: impl FnOnce(&mut FakeKernel) -> T) -> T {
        look(&mut self.0.lock().unwrap())
    }

    fn execute_now(&self, operations: &[Operation]) -> Vec<Refusal> {
        let mut kernel = self.0.lock().unwrap();
        let mut refusals = Vec::new();
        for (at, operation) in operations.iter().enumerate() {
            if let Err(errno) = kernel.apply(operation) {
                refusals.push(Refusal { operation: at, object: operation.to_string(), errno, text: String::new() });
            }
        }
        refusals
    }

    async fn pause(&self) {
        if self.with(|kernel| kernel.pauses) {
            tokio::task::yield_now().await;
        }
    }
}

impl FakeKernel {
    fn apply(&mut self, operation: &Operation) -> Result<(), Errno> {
        if let Some(errno) = self.breaks.take() {
            return Err(errno);
        }
        match operation {
            Operation::AddVirtual(server) => {
                if self.servers.contains_key(&server.key) {
                    return Err(Errno::EEXIST);
                }
                self.check_scheduler(server)?;
                self.servers.insert(server.key, (server.clone(), BTreeMap::new()));
            }
            Operation::EditVirtual(server) => {
                let checked = self.check_scheduler(server);
                let (there, _) = self.servers.get_mut(&server.key).ok_or(Errno::ESRCH)?;
                checked?;
                *there = server.clone();
            }
            Operation::RemoveVirtual(key) => {
                let (_, reals) = self.servers.remove(key).ok_or(Errno::ESRCH)?;
                reals.values().for_each(|entry| self.note_cut(*key, entry));
            }
            Operation::AddReal(key, real) => {
                let is_refused = self.refuses.contains(&real.address.ip());
                let connections = Connections { active: u32::from(self.is_busy), ..Connections::default() };
                let (_, reals) = self.servers.get_mut(key).ok_or(Errno::ESRCH)?;
                if is_refused {
                    return Err(Errno::EINVAL);
                }
                if reals.contains_key(&real.address) {
                    return Err(Errno::EEXIST);
                }
                let connections = if real.weight > 0 { connections } else { Connections::default() };
                let entry = RealServerEntry { server: *real, connections, statistics: Statistics::default() };
                reals.insert(real.address, entry);
            }
            Operation::EditReal(key, real) => {
                let (_, reals) = self.servers.get_mut(key).ok_or(Errno::ESRCH)?;
                reals.get_mut(&real.address).ok_or(Errno::ENOENT)?.server = *real;
            }
            Operation::RemoveReal(key, address) => {
                let (_, reals) = self.servers.get_mut(key).ok_or(Errno::ESRCH)?;
                let entry = reals.remove(address).ok_or(Errno::ENOENT)?;
                self.note_cut(*key, &entry);
            }
            Operation::Zero(_) | Operation::ZeroAll | Operation::Flush | Operation::SetTimeouts(_) => {
                unreachable!("never sent")
            }
        }
        Ok(())
    }

    fn check_scheduler(&self, server: &VirtualServer) -> Result<(), Errno> {
        if self.schedulers.contains(&*server.scheduler) { Ok(()) } else { Err(Errno::ENOENT) }
    }

    fn note_cut(&mut self, key: VirtualKey, entry: &RealServerEntry) {
        if entry.connections.active > 0 {
            self.cut.push((key, entry.server));
        }
    }
}

impl Port for FakeIpvs {
    async fn execute(&mut self, operations: &[Operation]) -> io::Result<Vec<Refusal>> {
        let refused = self.execute_now(operations);
        // The kernel has done it, and we may not live to hear so.
        self.pause().await;
        Ok(refused)
    }

    async fn virtual_servers(&mut self) -> Result<Vec<VirtualServerEntry>, ReadError> {
        Ok(self.with(|kernel| {
            let servers = kernel.servers.values().map(|(server, _)| server.clone());
            servers.map(|server| VirtualServerEntry { server, statistics: Statistics::default() }).collect()
        }))
    }

    async fn virtual_server(&mut self, key: &VirtualKey) -> Result<Option<VirtualServerEntry>, ReadError> {
        Ok(self.virtual_servers().await?.into_iter().find(|entry| entry.server.key == *key))
    }

    async fn real_servers(&mut self, key: &VirtualKey) -> Result<Vec<RealServerEntry>, ReadError> {
        self.pause().await;
        Ok(self.with(|kernel| match kernel.servers.get(key) {
            Some((_, reals)) => reals.values().copied().collect(),
            None => Vec::new(),
        }))
    }

    fn now(&self) -> u32 {
        self.with(|kernel| kernel.now)
    }
}

/// The tables of a network namespace; a clone is another process's way to them.
#[derive(Clone, Debug, Default)]
pub(crate) struct FakeTables {
    kernel: Arc<Mutex<BTreeMap<ServiceName, Vec<Marked>>>>,
    /// Where marks lead to: always to a real server.
    ipvs: FakeIpvs,
    knows: bool,
    /// Whether they may lead to no real server: another program changes the kernel.
    pub(crate) is_lenient: bool,
    /// The next sync fails with this.
    pub(crate) breaks: Option<SyncError>,
}

impl FakeTables {
    /// Tables that lead there.
    pub(crate) fn new(ipvs: &FakeIpvs) -> Self {
        Self { ipvs: ipvs.clone(), ..Self::default() }
    }

    /// Notices what a dataplane would have told it.
    pub(crate) fn forget_if(&mut self, forgets: bool) {
        self.knows &= !forgets;
    }

    /// Every mark, by frontend.
    pub(crate) fn marked(&self) -> Vec<Marked> {
        self.kernel.lock().unwrap().values().flatten().copied().collect()
    }

    fn render(&self, service: &Service, marks: &dyn Marks) -> Vec<Marked> {
        let mut marked = Vec::new();
        for port in &service.ports {
            for frontend in &port.frontends {
                for pool in [Pool::Cluster, Pool::Local].into_iter().filter(|pool| leads_to(frontend, *pool)) {
                    self.render_pool((service, port, frontend), pool, marks, &mut marked);
                }
            }
        }
        marked
    }

    fn render_pool(
        &self,
        (service, port, frontend): (&Service, &ServicePort, &Frontend),
        pool: Pool,
        marks: &dyn Marks,
        into: &mut Vec<Marked>,
    ) {
        match port.affinity {
            Affinity::None => {
                let target = Target::Pool(pool);
                let live: BTreeMap<_, _> =
                    port.pool(pool).map(|endpoint| (endpoint.address, endpoint.weight.into())).collect();
                if !live.is_empty() {
                    let mark = marks.mark(&service.name, port, frontend.key, target).expect(MARKED);
                    let mut found = self.live(port.family, mark);
                    found.retain(|endpoint, _| live.contains_key(endpoint));
                    assert!(self.is_lenient || found == live, "{found:?} instead of {live:?}");
                    into.push(Marked { frontend: frontend.key, pool: Some(pool), mark });
                }
            }
            Affinity::ClientIp { .. } => {
                for endpoint in port.pool(pool).map(|endpoint| endpoint.address) {
                    let mark = marks.mark(&service.name, port, frontend.key, Target::Endpoint(endpoint)).expect(MARKED);
                    let found = self.live(port.family, mark);
                    assert!(self.is_lenient || found.contains_key(&endpoint), "{found:?} instead of {endpoint}");
                    into.push(Marked { frontend: frontend.key, pool: None, mark });
                }
            }
        }
    }

    /// The endpoints that get new connections of a mark, with their weights.
    fn live(&self, family: Family, mark: Mark) -> BTreeMap<EndpointAddress, u32> {
        self.ipvs.with(|kernel| {
            let reals = kernel.servers.get(&key(family, mark)).into_iter().flat_map(|(_, reals)| reals.values());
            let live = reals.map(|entry| entry.server).filter(|real| real.weight > 0);
            live.map(|real| (endpoint(&real), real.weight)).collect()
        })
    }
}

/// Why the planner has a mark for each service that the tables render.
const MARKED: &str = "every service that is not left out has a mark";

fn leads_to(frontend: &Frontend, pool: Pool) -> bool {
    let wanted = Answer::Balance(pool);
    match frontend.route {
        Route::Everyone(answer) => answer == wanted,
        Route::Split { inside, outside } => inside == wanted || outside == wanted,
    }
}

impl Tables for FakeTables {
    type Synced = Report;

    async fn marks(&mut self) -> Result<Vec<Marked>, SyncError> {
        Ok(self.marked())
    }

    async fn sync(&mut self, desired: &ServiceState, scope: Scope<'_>, marks: &dyn Marks) -> Result<Report, SyncError> {
        if let Some(error) = self.breaks.take() {
            self.knows = false;
            return Err(error);
        }
        let before = self.kernel.lock().unwrap().clone();
        let mut report = Report::default();
        let all = before.keys().cloned().chain(desired.services().map(|service| service.name.clone())).collect();
        let names = match scope {
            Scope::Services(names) if self.knows => names,
            Scope::Services(_) | Scope::All => &all,
        };
        for name in names {
            let service = desired.service(name).filter(|_| match marks.unfit(name) {
                Some(reason) => {
                    let kind = backend_api::FailureKind::Refused;
                    report.failed.push(backend_api::Failure::new(name.clone(), kind, reason));
                    false
                }
                None => true,
            });
            let rendered = service.map(|service| self.render(service, marks)).unwrap_or_default();
            if before.get(name).map(Vec::as_slice).unwrap_or_default() != rendered {
                report.writes += 1;
            }
            let mut kernel = self.kernel.lock().unwrap();
            match rendered.is_empty() {
                true => kernel.remove(name),
                false => kernel.insert(name.clone(), rendered),
            };
        }
        self.knows = true;
        Ok(report)
    }

    fn forget(&mut self) {
        self.knows = false;
    }

    fn report(synced: &mut Report) -> &mut Report {
        synced
    }
}
