//! A process's life, in which one call meets a fault.

use std::collections::BTreeSet;
use std::marker::PhantomData;
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::process::Command;
use std::sync::Mutex;
use std::time::Duration;

use backend_api::*;
use netlink::conntrack::Conntrack;
use netlink::nftables::{Batch, Family as KernelFamily, Nftables, Table};
use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use tokio::runtime::Builder;

use super::calls::{Call, Calls, Fault};

/// How often something may fail for one fault.
const TRIES: usize = 4;

/// How many faults are played at a time: they wait for the kernel more than they compute.
const WORLDS: usize = 8;

const UDP: u8 = 17;
const TCP: u8 = 6;

/// What is opened, and what it leaves in the kernel.
pub(crate) trait Subject: Sync {
    /// It.
    type Dataplane: Dataplane;

    /// Opens it in the network namespace of this thread.
    async fn open() -> Result<Self::Dataplane, SyncError>;

    /// What the kernel holds that a process without a fault would have left. Read without another program: a child has
    /// our sockets until it runs, and meanwhile none of them closes.
    async fn listing() -> BTreeSet<String>;
}

/// Plays a process's life with one fault after the other, of each call those that are chosen.
pub(crate) fn sweep<S: Subject>(choose: impl Fn(usize, Vec<Fault>) -> Vec<Fault>) {
    let (undisturbed, calls) = in_namespace::<S, _>(async |world| {
        let played = world.play(None).await;
        assert_eq!(world.play(None).await, played, "the same each time");
        played
    });
    let mut plans = Vec::new();
    for (number, call) in calls.iter().enumerate() {
        plans.extend(choose(number, faults(*call)).into_iter().map(|fault| (number, fault)));
    }
    println!("{} calls, {} faults", calls.len(), plans.len());
    let plans = Mutex::new(plans.into_iter());
    std::thread::scope(|scope| {
        for _ in 0..WORLDS {
            scope.spawn(|| in_namespace::<S, _>(async |world| world.play_all(&plans, &undisturbed).await));
        }
    });
}

/// Runs `work` on a thread in a new network namespace, with its links, in a runtime whose calls are watched.
fn in_namespace<S: Subject, T: Send>(work: impl AsyncFnOnce(&World<S>) -> T + Send) -> T {
    let played = std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace");
            set_up_links();
            let calls = Calls::default();
            calls.enter();
            let world = World { calls: calls.clone(), subject: PhantomData };
            let runtime =
                Builder::new_current_thread().enable_all().on_thread_start(move || calls.enter()).build().unwrap();
            runtime.block_on(work(&world))
        });
        thread.join()
    });
    played.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// What can happen to a call.
fn faults(call: Call) -> Vec<Fault> {
    let errnos: &[Errno] = match call {
        Call::Socket => &[Errno::EMFILE, Errno::ENFILE, Errno::ENOMEM, Errno::ENOBUFS, Errno::EPERM],
        Call::SetUp => &[Errno::ENOMEM, Errno::ENOBUFS, Errno::EPERM],
        Call::Send | Call::Receive => &[Errno::ENOBUFS, Errno::ENOMEM, Errno::EINTR, Errno::EAGAIN, Errno::EPERM],
    };
    let more: &[Fault] = match call {
        Call::Socket | Call::SetUp => &[],
        Call::Send => &[
            Fault::Unheard,
            Fault::Answers(Errno::ENOBUFS),
            Fault::Answers(Errno::ENOMEM),
            Fault::Answers(Errno::EINTR),
            Fault::Answers(Errno::EAGAIN),
            Fault::Answers(Errno::EPERM),
        ],
        Call::Receive => &[Fault::Lost, Fault::Missing, Fault::Truncated],
    };
    errnos.iter().map(|errno| Fault::Fails(*errno)).chain(more.iter().copied()).collect()
}

/// What a process leaves behind each of its steps.
type Ends = Vec<BTreeSet<String>>;

/// A network namespace in which processes run one after the other.
struct World<S> {
    calls: Calls,
    subject: PhantomData<S>,
}

impl<S: Subject> World<S> {
    async fn play_all(&self, plans: &Mutex<impl Iterator<Item = (usize, Fault)>>, undisturbed: &Ends) {
        loop {
            let Some((number, fault)) = plans.lock().unwrap().next() else { return };
            println!("call {number}: {fault:?}");
            let (ends, _) = self.play(Some((number, fault))).await;
            for (end, undisturbed) in ends.iter().zip(undisturbed) {
                let more: Vec<_> = end.difference(undisturbed).collect();
                let less: Vec<_> = undisturbed.difference(end).collect();
                assert!(more.is_empty() && less.is_empty(), "call {number}: {fault:?}: {more:?} for {less:?}");
            }
        }
    }

    /// A process's life with this fault: what it leaves, and which calls it made.
    async fn play(&self, plan: Option<(usize, Fault)>) -> (Ends, Vec<Call>) {
        let mut ends = Vec::new();
        self.calls.plan(plan);
        let mut process = Process::<S>::start(&self.calls).await;
        let states = [state(&[]), first(), second()];
        for (before, after) in states.iter().zip(&states[1..]) {
            process.sync(before, after).await;
            ends.push(process.end().await);
        }
        // Another process, which has missed a change.
        drop(process);
        let mut process = Process::<S>::start(&self.calls).await;
        // What was read ahead, on a thread that is not watched, counts no more: it is read again.
        self.change_the_generation().await;
        process.sync(&second(), &third()).await;
        ends.push(process.end().await);
        process.remove_all().await;
        ends.push(process.end().await);
        (ends, self.calls.made())
    }

    /// Another program commits, which is nothing to us.
    async fn change_the_generation(&self) {
        self.calls.watch(false);
        let mut nftables = Nftables::open("another").unwrap();
        let mut batch = Batch::new("another");
        batch.put_table(0, &Table::new(KernelFamily::Ipv4));
        nftables.commit(&mut batch).await.unwrap();
        let mut batch = Batch::new("another");
        batch.remove_table(0, KernelFamily::Ipv4);
        nftables.commit(&mut batch).await.unwrap();
        self.calls.watch(true);
    }
}

/// A dataplane, opened anew where a process would end.
struct Process<'a, S: Subject> {
    calls: &'a Calls,
    /// None while one process has ended and the next has not begun.
    dataplane: Option<S::Dataplane>,
}

impl<'a, S: Subject> Process<'a, S> {
    async fn start(calls: &'a Calls) -> Self {
        for _ in 0..TRIES {
            match S::open().await {
                Ok(dataplane) => return Self { calls, dataplane: Some(dataplane) },
                Err(error) => expect_error(calls, &error),
            }
        }
        panic!("cannot be opened");
    }

    /// Only a fault may fail anything. Where it would end the process, another begins.
    async fn failed(&mut self, error: SyncError) {
        expect_error(self.calls, &error);
        if matches!(error, SyncError::Unsupported { .. }) {
            self.dataplane = None;
            *self = Self::start(self.calls).await;
        }
    }

    /// Makes the kernel equal to `after`; clients come while it is as `before`.
    async fn sync(&mut self, before: &ServiceState, after: &ServiceState) {
        clients_come();
        for _ in 0..TRIES {
            match self.running().sync(after, Scope::All).await {
                Ok(report) => {
                    assert_eq!(report.failed, []);
                    if report.unfinished {
                        continue;
                    }
                    // Twice, as what could not be done at first is tried again.
                    self.running().settle().await;
                    self.running().settle().await;
                    return;
                }
                Err(error) => {
                    self.expect_either(before, after, &error).await;
                    self.failed(error).await;
                }
            }
        }
        panic!("cannot be synced");
    }

    /// After a sync that failed the kernel forwards as before, or as it shall.
    async fn expect_either(&self, before: &ServiceState, after: &ServiceState, error: &SyncError) {
        self.calls.watch(false);
        let mut other = S::open().await.unwrap();
        let now = other.observe().await.unwrap();
        let is_either = [before, after].iter().any(|state| is(&now, &Observed::expected(state)));
        assert!(is_either, "after {error}: {now:#?}");
        self.calls.watch(true);
    }

    async fn remove_all(&mut self) {
        for _ in 0..TRIES {
            match self.running().remove_all().await {
                Ok(()) => return,
                Err(error) => self.failed(error).await,
            }
        }
        panic!("cannot be removed");
    }

    fn running(&mut self) -> &mut S::Dataplane {
        self.dataplane.as_mut().expect("another is started where one ends")
    }

    async fn end(&self) -> BTreeSet<String> {
        self.calls.watch(false);
        let end = S::listing().await;
        self.calls.watch(true);
        end
    }
}

/// What is no lack of a privilege can be tried again.
fn expect_error(calls: &Calls, error: &SyncError) {
    assert!(calls.met(), "{error}");
    let denied = matches!(error, SyncError::Unsupported { reason, .. } if reason.contains("not permitted"));
    assert!(denied || matches!(error, SyncError::Transient { .. } | SyncError::Raced { .. }), "{error:?}");
}

fn is(observed: &Observed, expected: &Observed) -> bool {
    observed.frontends.keys().eq(expected.frontends.keys())
        && observed.frontends.iter().all(|(key, frontend)| frontend.forwards_like(&expected.frontends[key]))
}

/// What the tables are and hold, and what is tracked of clients.
pub(crate) async fn tables_and_flows() -> BTreeSet<String> {
    let mut nftables = Nftables::open("switchyard").unwrap();
    let mut listing = BTreeSet::new();
    let tables = nftables.tables().await.unwrap();
    listing.extend(tables.iter().map(|table| format!("{table:?} owned: {}", table.owner.is_some())));
    for family in tables.iter().map(|table| table.family) {
        let sets = nftables.sets(family).await.unwrap();
        listing.extend(nftables.chains(family).await.unwrap().iter().map(|chain| format!("{family:?} {chain:?}")));
        let rules = nftables.rules(family).await.unwrap();
        listing.extend(rules.iter().map(|rule| format!("{family:?} {} {:?}", rule.chain, rule.exprs)));
        for set in sets {
            let elements = nftables.elements(family, &set.name, Vec::new, |all, element| {
                all.push(format!(
                    "{family:?} {} {:?} {:?} {:?}",
                    set.name, element.key, element.key_end, element.value
                ));
            });
            listing.extend(elements.await.unwrap());
            listing.insert(format!("{family:?} {set:?}"));
        }
    }
    let mut conntrack = Conntrack::open().unwrap();
    for protocol in [UDP, TCP] {
        conntrack
            .flows(KernelFamily::Ipv4, protocol, |flow| {
                let (to, by) = (flow.original.destination, flow.reply.source);
                let (to_port, by_port) = (flow.original.destination_port, flow.reply.source_port);
                listing.insert(format!("flow {protocol} {to}:{to_port} {by}:{by_port}"));
            })
            .await
            .unwrap();
    }
    listing
}

/// Each sends a packet to every frontend that there is at some time.
fn clients_come() {
    for host in [1, 2] {
        let client = UdpSocket::bind("10.9.0.1:0").unwrap();
        client.send_to(b"?", (std::net::Ipv4Addr::new(10, 96, 0, host), 53)).unwrap();
        let address = SocketAddr::from(([10, 96, 0, host], 80));
        let _ = TcpStream::connect_timeout(&address, Duration::from_millis(1));
    }
}

/// A link on which packets are lost, with the way to services and endpoints.
fn set_up_links() {
    for command in [
        "link set lo up",
        "link add near type veth peer name far",
        "link set near arp off up",
        "link set far arp off up",
        "address add 10.9.0.1/24 dev near",
        "route add default dev near",
    ] {
        let status = Command::new("ip").args(command.split(' ')).status().expect("ip starts");
        assert!(status.success(), "ip {command}");
    }
}

/// The first service, with these endpoints, and more.
fn service(host: u8, endpoints: &[u8]) -> Service {
    let ports = [(Protocol::Udp, 53), (Protocol::Tcp, 80)].map(|(protocol, port)| ServicePort {
        frontends: vec![Frontend::cluster_ip([10, 96, 0, host].into(), protocol, port)],
        endpoints: endpoints
            .iter()
            .map(|host| Endpoint::elsewhere(EndpointAddress::new([10, 9, 0, *host].into(), port)))
            .collect(),
        name: format!("{protocol}").as_str().into(),
        ..ServicePort::new(Family::V4, protocol)
    });
    Service::new(ServiceName::new("default", &format!("service-{host}")), ports.into())
}

fn state(services: &[Service]) -> ServiceState {
    let mut state = ServiceState::new(NodeNetwork::unknown());
    for service in services {
        state.upsert(service.clone()).unwrap();
    }
    state
}

fn first() -> ServiceState {
    state(&[service(1, &[11])])
}

/// An endpoint is replaced, and a service comes.
fn second() -> ServiceState {
    state(&[service(1, &[12]), service(2, &[21])])
}

/// A service goes, and another endpoint is replaced.
fn third() -> ServiceState {
    state(&[service(2, &[22])])
}
