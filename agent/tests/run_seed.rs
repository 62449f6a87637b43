//! The real binary in the example cluster's node: objects from a folder end in the kernel, and packets prove it. Once
//! for each backend that this kernel can run.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use backend_api::{Observed, ObservedAnswer, ObservedRoute, Protocol};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use switchyard_agent::backend::Backend;
use tempfile::TempDir;
use testbed::{Answer, Dial, Executor, Held, Outcome, World, WorldPlan};

const SEED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/examples/seed");
const PATIENCE: Duration = Duration::from_secs(30);

/// The example cluster, and a folder with its objects.
struct Cluster {
    backend: Backend,
    world: World,
    executor: Executor,
    folder: TempDir,
    logs: TempDir,
}

/// A running `switchyard run`; killed when dropped.
struct Agent {
    process: Child,
    log: PathBuf,
}

impl Cluster {
    /// `None` if this process has no root, or this kernel cannot run the backend; it prints the reason.
    fn new(backend: Backend) -> Option<Self> {
        if testbed::privilege::skip() {
            return None;
        }
        let world = World::build(&WorldPlan::example()).unwrap();
        let executor = world.node().namespace.executor().unwrap();
        match executor.run(backend.open()) {
            Err(error) if error.is_unsupported() => {
                eprintln!("not tested: {error}");
                return None;
            }
            opened => drop(opened.unwrap()),
        }
        let folder = tempfile::tempdir().unwrap();
        for entry in fs::read_dir(SEED).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), folder.path().join(entry.file_name())).unwrap();
        }
        Some(Self { backend, world, executor, folder, logs: tempfile::tempdir().unwrap() })
    }

    fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    /// Rewrites a file of the folder in place.
    fn edit(&self, file: &str, edit: impl Fn(&str) -> String) {
        let text = edit(&fs::read_to_string(self.path(file)).unwrap());
        fs::write(self.path(file), text).unwrap();
    }

    /// Rewrites a file of the folder aside and renames it to its name.
    fn replace(&self, file: &str, edit: impl Fn(&str) -> String) {
        let text = edit(&fs::read_to_string(self.path(file)).unwrap());
        fs::write(self.path(".aside"), text).unwrap();
        fs::rename(self.path(".aside"), self.path(file)).unwrap();
    }

    /// `switchyard` in the node's namespace.
    fn switchyard(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_switchyard"));
        command.args(arguments).stdin(Stdio::null());
        command
    }

    fn output(&self, arguments: &[&str]) -> Output {
        self.world.node().namespace.run(|| self.switchyard(arguments).output().unwrap())
    }

    fn start(&self, log: &str) -> Agent {
        self.start_with(log, &[])
    }

    fn start_with(&self, log: &str, flags: &[&str]) -> Agent {
        let log = self.logs.path().join(log);
        let source = self.folder.path().to_str().unwrap();
        let mut command = self.switchyard(&["run", "--source", source, "--hostname-override", "node2", "-v", "4"]);
        command
            .args(["--cluster-cidr", "10.244.0.0/16", "--backend", self.backend.name()])
            .args(flags)
            .stderr(File::create(&log).unwrap());
        let process = self.world.node().namespace.run(|| command.spawn().unwrap());
        Agent { process, log }
    }

    /// What the kernel holds.
    fn observed(&self) -> Observed {
        let backend = self.backend;
        self.executor.run(async move { backend.open().await.unwrap().observe().await.unwrap() })
    }

    /// Who answers each frontend for clients inside, as words.
    fn answers(&self) -> BTreeMap<String, String> {
        let word = |answer: &ObservedAnswer| match answer {
            ObservedAnswer::Balance(shares) => shares.keys().map(ToString::to_string).collect::<Vec<_>>().join(" "),
            ObservedAnswer::Reject => "rejected".to_owned(),
            ObservedAnswer::Drop => "dropped".to_owned(),
        };
        let inside = |route: &ObservedRoute| match route {
            ObservedRoute::Everyone(all) => word(all),
            ObservedRoute::Split { inside, .. } => word(inside),
        };
        self.observed().frontends.iter().map(|(key, frontend)| (key.to_string(), inside(&frontend.route))).collect()
    }

    /// Waits until the kernel answers a frontend in these words, or `None`: has no such frontend.
    fn until(&self, agent: &Agent, frontend: &str, words: Option<&str>) {
        let awaited = format!("{frontend} to be answered by {words:?}");
        until(&awaited, agent, || self.answers().get(frontend).map(String::as_str) == words);
    }

    /// A file of the kernel's, as it is inside the node's namespace.
    fn read(&self, path: &str) -> String {
        self.world.node().namespace.run(|| fs::read_to_string(path).unwrap_or_else(|error| panic!("{path}: {error}")))
    }

    /// The schedulers of all virtual servers.
    fn schedulers(&self) -> Vec<String> {
        let servers = self.read("/proc/thread-self/net/ip_vs");
        // `FWM  53000001 wrr`
        let marked = servers.lines().filter_map(|line| line.strip_prefix("FWM"));
        marked.filter_map(|server| Some(server.split_whitespace().nth(1)?.to_owned())).collect()
    }

    fn dial(&self, from: &str, to: &str) -> Outcome {
        let to: SocketAddr = to.parse().unwrap();
        self.world.dial(from, &Dial::new(Protocol::Tcp, to).within(Duration::from_secs(5)))
    }
}

impl Agent {
    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    fn until_logged(&self, words: &str) {
        until(&format!("{words:?} to be logged"), self, || self.log().contains(words));
    }

    /// Stops it as an init system does, and returns its exit code.
    fn terminate(mut self) -> Option<i32> {
        kill(Pid::from_raw(self.process.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
        self.process.wait().unwrap().code()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // Already dead is as good.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn until(awaited: &str, agent: &Agent, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "waited in vain for {awaited}; the agent's log:\n{}", agent.log());
        std::thread::sleep(Duration::from_millis(5));
    }
}

const CLUSTER_IP: &str = "10.105.145.136:8080/TCP";
const NGINX: [&str; 3] = ["10.244.0.4:80", "10.244.1.2:80", "10.244.2.2:80"];

#[test]
fn the_example_cluster_is_programmed_followed_left_adopted_and_removed_by_nftables() {
    the_example_cluster(Backend::Nftables);
}

#[test]
fn the_example_cluster_is_programmed_followed_left_adopted_and_removed_by_ipvs() {
    the_example_cluster(Backend::Ipvs);
}

fn the_example_cluster(backend: Backend) {
    let Some(cluster) = Cluster::new(backend) else { return };
    let agent = cluster.start("first");
    cluster.until(&agent, CLUSTER_IP, Some(&NGINX.join(" ")));
    agent.until_logged("every service was checked");
    let answers = cluster.answers();
    let frontends: Vec<_> = answers.keys().map(String::as_str).collect();
    assert_eq!(
        frontends,
        [
            "10.102.231.147:8081/TCP",
            "10.104.18.201:80/TCP",
            "10.105.145.136:8080/TCP",
            "10.107.148.84:8082/TCP",
            "10.108.154.253:8080/TCP",
            "10.96.0.10:53/TCP",
            "10.96.0.10:53/UDP",
            "10.96.0.10:9153/TCP",
            "10.96.0.1:443/TCP",
            "192.168.67.240:8082/TCP",
            "192.168.67.241:80/TCP",
            "node port 30080/TCP (IPv4)",
            "node port 30673/TCP (IPv4)",
            "node port 31868/TCP (IPv4)",
        ]
    );
    for (from, to) in
        [("mytools", "10.105.145.136:8080"), ("outsider", "192.168.67.10:30673"), ("node2", "10.108.154.253:8080")]
    {
        let outcome = cluster.dial(from, to);
        assert!(matches!(outcome, Outcome::Answered(_)), "{from} → {to}: {outcome}\n{}", agent.log());
    }

    // Changes: in place, by rename, by deletion; a bad document in between.
    cluster.edit("nginx-clusterip.yaml", |text| text.replace("10.244.1.2", "10.244.1.3"));
    cluster.until(&agent, CLUSTER_IP, Some("10.244.0.4:80 10.244.1.3:80 10.244.2.2:80"));
    cluster.edit("nginx-clusterip.yaml", |text| text.replace("endpoints:", "endpoints: broken\nbroken:"));
    agent.until_logged("EndpointSlice default/nginx-deploy-clusterip-svc-c6qzs");
    assert!(agent.log().contains("nginx-clusterip.yaml:"), "{}", agent.log());
    cluster.replace("whoami.yaml", |text| text.replace("port: 8080", "port: 8088"));
    cluster.until(&agent, "10.108.154.253:8088/TCP", Some("10.244.0.5:80 10.244.1.5:80 10.244.2.4:80"));
    assert_eq!(cluster.answers()[CLUSTER_IP], "10.244.0.4:80 10.244.1.3:80 10.244.2.2:80", "the last good state holds");
    assert_eq!(cluster.answers().get("10.108.154.253:8080/TCP"), None);
    fs::remove_file(cluster.path("kube-dns.yaml")).unwrap();
    cluster.until(&agent, "10.96.0.10:53/UDP", None);

    // Stopped: the rules stay, and traffic goes on.
    let before = cluster.answers();
    let log = agent.log.clone();
    assert_eq!(agent.terminate(), Some(0), "{}", fs::read_to_string(log).unwrap());
    assert_eq!(cluster.answers(), before);
    let outcome = cluster.dial("mytools", "10.108.154.253:8088");
    assert!(matches!(outcome, Outcome::Answered(_)), "{outcome}");

    // Started again: all is as it should be, so nothing is written.
    cluster.edit("nginx-clusterip.yaml", |text| text.replace("endpoints: broken\nbroken:", "endpoints:"));
    let agent = cluster.start("second");
    agent.until_logged("every service was checked");
    let log = agent.log();
    let checked = log.lines().find(|line| line.contains("every service was checked")).unwrap();
    assert!(checked.contains(" writes=0 "), "{checked}");

    let status = cluster.output(&["status"]);
    let table = String::from_utf8(status.stdout).unwrap();
    assert!(table.lines().any(|line| line.starts_with(CLUSTER_IP) && line.ends_with("10.244.2.2:80")), "{table}");
    let json = cluster.output(&["status", "--backend", backend.name(), "--output", "json"]);
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(json.as_array().unwrap().len(), before.len());
    assert_eq!(agent.terminate(), Some(0));

    // A reader that closes its end at once, as `head` may, is no failure.
    let (reader, unread) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = cluster.switchyard(&["status"]);
    command.stdout(unread).stderr(Stdio::piped());
    let status = cluster.world.node().namespace.run(|| command.spawn().unwrap().wait_with_output().unwrap());
    assert_eq!((status.status.code(), status.stderr), (Some(0), Vec::new()));

    // Cleaned up, twice.
    for expected in ["clean; 11 frontends were removed", "clean; no frontend was programmed"] {
        let cleanup = cluster.output(&["cleanup"]);
        assert!(cleanup.status.success(), "{cleanup:?}");
        let said = String::from_utf8(cleanup.stdout).unwrap();
        let (own, others) = said.lines().partition::<Vec<_>, _>(|line| line.starts_with(backend.name()));
        assert_eq!(own, [format!("{}: {expected}", backend.name())]);
        // The other backend was not run and has nothing to remove, whether this kernel can run it or not.
        for other in others {
            assert!(other.contains("no frontend was programmed") || other.contains("nothing to remove"), "{said}");
        }
    }
    assert_eq!(cluster.answers(), BTreeMap::new());
}

#[test]
fn node_ports_follow_the_nodes_addresses() {
    let Some(mut cluster) = Cluster::new(Backend::Nftables) else { return };
    let agent = cluster.start_with("addresses", &["--nodeport-addresses", "192.168.0.0/16,fd00::/8"]);
    cluster.until(&agent, "node port 30673/TCP (IPv4)", Some(&NGINX.join(" ")));
    let added = "192.168.67.77".parse().unwrap();
    cluster.world.add_node_address(added).unwrap();
    until(
        "the new address to carry node ports",
        &agent,
        || matches!(cluster.dial("outsider", "192.168.67.77:30673"), Outcome::Answered(answer) if answer.name.starts_with("nginx")),
    );
    cluster.world.remove_node_address(added).unwrap();
    until("the old address to be forgotten", &agent, || agent.log().matches("every service was checked").count() >= 3);
}

#[test]
fn ipvs_does_what_flags_and_annotations_say_until_cleanup() {
    const ARP: [&str; 2] = ["/proc/sys/net/ipv4/conf/all/arp_ignore", "/proc/sys/net/ipv4/conf/all/arp_announce"];
    let Some(cluster) = Cluster::new(Backend::Ipvs) else { return };
    let before = ARP.map(|path| cluster.read(path));
    let asks = "metadata:\n  annotations: {switchyard.dev/scheduler: sh}\n";
    cluster.edit("whoami.yaml", |text| text.replacen("metadata:\n", asks, 1));

    let agent = cluster.start_with("flags", &["--ipvs-scheduler", "lc", "--ipvs-strict-arp"]);
    agent.until_logged("every service was checked");
    let schedulers = cluster.schedulers();
    let count = |name: &str| schedulers.iter().filter(|scheduler| *scheduler == name).count();
    assert_eq!((count("sh"), count("lc")), (1, schedulers.len() - 1), "{schedulers:?}\n{}", agent.log());
    assert!(schedulers.len() > 5, "{schedulers:?}");
    assert_eq!(ARP.map(|path| cluster.read(path)), ["1\n", "2\n"]);
    // By the client's address: the same pod each time.
    let answers: Vec<_> = (0..8).map(|_| cluster.dial("mytools", "10.108.154.253:8080")).collect();
    let names: BTreeSet<_> = answers.iter().map(Outcome::name).collect();
    assert!(names.len() == 1 && !names.contains(&None), "{answers:?}");

    // An edit is a change like any other.
    cluster.edit("whoami.yaml", |text| text.replace("scheduler: sh", "scheduler: rr"));
    until("the other scheduler", &agent, || cluster.schedulers().iter().any(|scheduler| scheduler == "rr"));

    assert_eq!(agent.terminate(), Some(0));
    assert!(cluster.output(&["cleanup"]).status.success());
    assert_eq!(cluster.schedulers(), Vec::<String>::new());
    assert_eq!(ARP.map(|path| cluster.read(path)), before);
}

#[test]
fn each_backend_takes_over_from_the_other_in_place_and_connections_go_on() {
    let Some(mut cluster) = Cluster::new(Backend::Ipvs) else { return };
    let run = |cluster: &mut Cluster, backend| {
        cluster.backend = backend;
        let agent = cluster.start(backend.name());
        agent.until_logged("every service was checked");
        let dialled = [("mytools", "10.105.145.136:8080"), ("outsider", "192.168.67.10:30673")];
        for (from, to) in dialled {
            let outcome = cluster.dial(from, to);
            assert!(matches!(outcome, Outcome::Answered(_)), "{from} → {to}: {outcome}\n{}", agent.log());
        }
        agent
    };
    let to: SocketAddr = "10.105.145.136:8080".parse().unwrap();
    let open = |cluster: &Cluster| cluster.world.open("mytools", &Dial::new(Protocol::Tcp, to)).unwrap();
    let mut held = Vec::new();
    for backend in [Backend::Nftables, Backend::Ipvs, Backend::Nftables, Backend::Nftables, Backend::Ipvs] {
        let agent = run(&mut cluster, backend);
        for (held, first) in &mut held {
            let (held, first): (&mut Held, &Answer) = (held, first);
            let later = held.ask();
            assert_eq!(later.name(), Some(first.name.as_str()), "{later}, with {}\n{}", backend.name(), agent.log());
        }
        held.push(open(&cluster));
        assert_eq!(agent.terminate(), Some(0));
    }
    drop(held);

    // With something left of IPVS: cleanup leaves nothing of either.
    assert_eq!(run(&mut cluster, Backend::Nftables).terminate(), Some(0));
    assert!(!cluster.schedulers().is_empty());
    assert!(cluster.output(&["cleanup"]).status.success());
    assert_eq!(cluster.schedulers(), Vec::<String>::new());
    assert_eq!(cluster.answers(), BTreeMap::new());
}

#[test]
fn a_kernel_that_another_program_has_flushed_is_programmed_again_by_nftables() {
    a_flushed_kernel(Backend::Nftables);
}

#[test]
fn a_kernel_that_another_program_has_flushed_is_programmed_again_by_ipvs() {
    a_flushed_kernel(Backend::Ipvs);
}

fn a_flushed_kernel(backend: Backend) {
    let Some(cluster) = Cluster::new(backend) else { return };
    let agent = cluster.start("flushed");
    cluster.until(&agent, CLUSTER_IP, Some(&NGINX.join(" ")));
    // With or without an owner of the tables: in the end they are whole.
    let flushed =
        cluster.world.node().namespace.run(|| Command::new("nft").args(["flush", "ruleset"]).status().unwrap());
    assert!(flushed.success());
    cluster.until(&agent, CLUSTER_IP, Some(&NGINX.join(" ")));
}
