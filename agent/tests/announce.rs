//! The real binary announces: the example's load-balancer address is found by ARP and answers, with no route to it.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use backend_api::Protocol;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use switchyard_agent::backend::Backend;
use tempfile::TempDir;
use testbed::{Dial, Namespace, Outcome, World, WorldPlan};

const SEED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/examples/seed");
const ADDRESS: &str = "192.168.67.240";
const FRONTEND: &str = "192.168.67.240:8082";
const CLIENT: &str = "outsider";
const PATIENCE: Duration = Duration::from_secs(30);

const POOL: &str = "apiVersion: metallb.io/v1beta1\nkind: IPAddressPool\n\
    metadata: {name: lab, namespace: metallb-system}\nspec: {addresses: [192.168.67.240-192.168.67.250]}\n";
const ADVERTISEMENT: &str = "apiVersion: metallb.io/v1beta1\nkind: L2Advertisement\n\
    metadata: {name: lab, namespace: metallb-system}\nspec: {ipAddressPools: [lab]}\n";

/// The example cluster on a segment where nothing leads to load-balancer addresses, and a folder with its objects.
struct Segment {
    world: World,
    folder: TempDir,
    logs: TempDir,
}

/// A running `switchyard run`; killed when dropped.
struct Agent {
    process: Child,
    log: PathBuf,
}

impl Segment {
    /// `None` if this process has no root.
    fn new() -> Option<Self> {
        if testbed::privilege::skip() {
            return None;
        }
        let world = World::build(&WorldPlan { announced: Vec::new(), ..WorldPlan::example() }).unwrap();
        let folder = tempfile::tempdir().unwrap();
        for entry in fs::read_dir(SEED).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), folder.path().join(entry.file_name())).unwrap();
        }
        Some(Self { world, folder, logs: tempfile::tempdir().unwrap() })
    }

    fn put(&self, file: &str, text: &str) {
        fs::write(self.folder.path().join(file), text).unwrap();
    }

    fn take_away(&self, file: &str) {
        fs::remove_file(self.folder.path().join(file)).unwrap();
    }

    fn start(&self, place: &str, backend: Backend, flags: &[&str]) -> Agent {
        let log = self.logs.path().join(place);
        let mut command = Command::new(env!("CARGO_BIN_EXE_switchyard"));
        command
            .args(["run", "--source", self.folder.path().to_str().unwrap(), "--hostname-override", place, "-v", "4"])
            .args(["--cluster-cidr", "10.244.0.0/16", "--backend", backend.name()])
            .args(flags)
            .stdin(Stdio::null())
            .stderr(File::create(&log).unwrap());
        let process = self.namespace(place).run(|| command.spawn().unwrap());
        Agent { process, log }
    }

    fn namespace(&self, place: &str) -> &Namespace {
        &self.world.place(place).unwrap().namespace
    }

    fn dial(&self) -> Outcome {
        let to: SocketAddr = FRONTEND.parse().unwrap();
        self.world.dial(CLIENT, &Dial::new(Protocol::Tcp, to).within(Duration::from_secs(2)))
    }

    /// Whether a pod answers a client that has to find the address anew.
    fn answers(&self) -> bool {
        ip(self.namespace(CLIENT), "neigh flush dev eth0");
        matches!(self.dial(), Outcome::Answered(_))
    }

    /// What the agent of a place counts.
    fn metric(&self, place: &str, name: &str) -> Option<u64> {
        let text = self.namespace(place).run(|| {
            let mut server = TcpStream::connect("127.0.0.1:10249").unwrap();
            server.write_all(b"GET /metrics HTTP/1.1\r\nHost: n\r\nConnection: close\r\n\r\n").unwrap();
            let mut text = String::new();
            server.read_to_string(&mut text).unwrap();
            text
        });
        text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
    }

    /// Which hardware address the client has found.
    fn found(&self) -> Option<String> {
        after(&ip(self.namespace(CLIENT), &format!("neigh show {ADDRESS} dev eth0")), "lladdr ")
    }

    fn mac(&self, place: &str) -> Option<String> {
        after(&ip(self.namespace(place), "-o link show dev eth0"), "link/ether ")
    }
}

impl Agent {
    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    fn until_logged(&self, words: &str) {
        until(&format!("{words:?} to be logged"), self, || self.log().contains(words));
    }

    /// Stops it as an init system does, and returns its log.
    fn terminate(mut self) -> String {
        kill(Pid::from_raw(self.process.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
        assert_eq!(self.process.wait().unwrap().code(), Some(0), "{}", self.log());
        self.log()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // Already dead is as good.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn ip(namespace: &Namespace, arguments: &str) -> String {
    let output = namespace.run(|| Command::new("ip").args(arguments.split_whitespace()).output().unwrap());
    String::from_utf8(output.stdout).unwrap()
}

/// The word behind `before`.
fn after(text: &str, before: &str) -> Option<String> {
    Some(text.split_once(before)?.1.split_whitespace().next()?.to_owned())
}

fn until(awaited: &str, agent: &Agent, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "waited in vain for {awaited}; the agent's log:\n{}", agent.log());
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn an_advertised_address_is_found_by_arp_and_a_pod_answers_with_nftables() {
    an_advertised_address_is_found_by_arp_and_a_pod_answers(Backend::Nftables);
}

#[test]
fn an_advertised_address_is_found_by_arp_and_a_pod_answers_with_ipvs() {
    an_advertised_address_is_found_by_arp_and_a_pod_answers(Backend::Ipvs);
}

fn an_advertised_address_is_found_by_arp_and_a_pod_answers(backend: Backend) {
    let Some(segment) = Segment::new() else { return };
    let executor = segment.namespace("node2").executor().unwrap();
    if executor.run(backend.open()).is_err_and(|error| error.is_unsupported()) {
        eprintln!("not tested: this kernel cannot run {}", backend.name());
        return;
    }
    segment.put("pool.yaml", POOL);
    segment.put("advertisement.yaml", ADVERTISEMENT);
    let agent = segment.start("node2", backend, &["--announce=on"]);
    until("the address to answer", &agent, || segment.answers());
    assert_eq!(segment.found(), segment.mac("node2"), "{}", agent.log());
    agent.until_logged("this node answers for the address");
    // The example has two such addresses.
    until("both addresses to be held", &agent, || {
        segment.metric("node2", "switchyard_announced_addresses{state=\"holding\"}") == Some(2)
    });
    // The first answer may have been a gratuitous one.
    until("a request to be answered", &agent, || {
        let answered = segment.answers() && segment.found() == segment.mac("node2");
        answered && segment.metric("node2", "switchyard_announce_requests_answered_total") > Some(0)
    });
    let log = agent.terminate();
    assert!(!log.contains("WARN") || !log.contains("announce"), "{log}");
}

#[test]
fn an_address_without_an_advertisement_is_answered_by_no_node() {
    let Some(segment) = Segment::new() else { return };
    segment.put("pool.yaml", POOL);
    let agent = segment.start("node2", Backend::Nftables, &["--announce=on"]);
    agent.until_logged("no L2Advertisement selects pool lab");
    agent.until_logged("every service was checked");
    assert!(!segment.answers() && segment.found().is_none(), "{}", agent.log());

    // It follows its advertisement.
    segment.put("advertisement.yaml", ADVERTISEMENT);
    until("the address to answer", &agent, || segment.answers());
    segment.take_away("advertisement.yaml");
    until("the address to be silent", &agent, || !segment.answers());
    drop(agent);

    // Not announced at all.
    segment.put("advertisement.yaml", ADVERTISEMENT);
    let agent = segment.start("node2", Backend::Nftables, &[]);
    agent.until_logged("every service was checked");
    assert!(!segment.answers(), "{}", agent.log());
}

/// Writes a configuration file whose section `switchyard:` is this.
fn configure(file: &Path, own: &str) {
    let header = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n";
    fs::write(file, format!("{header}switchyard: {own}\n")).unwrap();
}

#[test]
fn announcing_follows_the_configuration_file() {
    let Some(segment) = Segment::new() else { return };
    segment.put("pool.yaml", POOL);
    segment.put("advertisement.yaml", ADVERTISEMENT);
    let file = segment.logs.path().join("config.conf");
    configure(&file, "{announce: 'off'}");
    let agent = segment.start("node2", Backend::Nftables, &["--config", file.to_str().unwrap()]);
    agent.until_logged("every service was checked");
    assert!(!segment.answers(), "{}", agent.log());
    for (own, answers) in [
        ("{announce: 'on'}", true),
        ("{announce: 'on', loadBalancerClass: example.com/other}", false),
        ("{announce: 'on', announceFailback: true}", true),
        ("{announce: 'on', loadBalancerNamespace: other}", false),
        ("{announce: 'on', loadBalancerNamespace: other, loadBalancerPool: [192.168.67.240/29]}", true),
        ("{announce: 'off'}", false),
        ("{announce: 'on', announceOnStop: leave}", true),
    ] {
        configure(&file, own);
        until(&format!("{own} to be in force"), &agent, || segment.answers() == answers);
    }
    agent.terminate();
    assert!(!segment.answers(), "it has left");
}

#[test]
fn another_node_stands_in_for_an_agent_that_ends_and_the_address_stays_where_it_was() {
    let Some(segment) = Segment::new() else { return };
    let flags = ["--announce=on", "--load-balancer-pool=192.168.67.240-192.168.67.250"];
    let agent = segment.start("node2", Backend::Nftables, &flags);
    until("the address to answer", &agent, || segment.answers());
    let other = segment.start("node1", Backend::Nftables, &flags);
    other.until_logged("another announcing node is heard");
    agent.until_logged("another announcing node is heard");
    other.until_logged("every service was checked");
    agent.terminate();
    assert!(segment.answers(), "{}", other.log());
    assert_eq!(segment.found(), segment.mac("node2"), "{}", other.log());
}
