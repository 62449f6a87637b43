//! The real binary with a configuration file that changes while it runs.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;
use testbed::Namespace;

const PATIENCE: Duration = Duration::from_secs(30);

const OBJECTS: &str = "\
apiVersion: v1
kind: Service
metadata: {name: web, namespace: default}
spec: {clusterIP: 10.96.0.10, clusterIPs: [10.96.0.10], ports: [{port: 80, protocol: TCP}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, namespace: default, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{port: 8080, protocol: TCP}]
endpoints: [{addresses: [10.244.0.4]}]
";

const NO_SERVERS: &str = "serversOff: [healthz, metrics]";

/// `switchyard run --config` in a network namespace; killed when dropped.
struct Agent {
    namespace: Namespace,
    folder: TempDir,
    process: Child,
}

impl Agent {
    /// With `ours` in the section `switchyard`.
    fn start(namespace: Namespace, ours: &str) -> Self {
        let folder = TempDir::new().unwrap();
        fs::create_dir(folder.path().join("objects")).unwrap();
        fs::write(folder.path().join("objects/web.yaml"), OBJECTS).unwrap();
        let path = |name: &str| folder.path().join(name);
        write(path("config.conf"), &path("objects").display().to_string(), ours, "");
        let mut command = Command::new(env!("CARGO_BIN_EXE_switchyard"));
        command.arg("run").arg("--config").arg(path("config.conf")).args(["--hostname-override=n", "--masquerade-all"]);
        command.stdin(Stdio::null()).stderr(File::create(path("log")).unwrap());
        let process = namespace.run(|| command.spawn().unwrap());
        Self { namespace, folder, process }
    }

    fn configure(&self, ours: &str, fields: &str) {
        let objects = self.folder.path().join("objects").display().to_string();
        write(self.folder.path().join("config.conf"), &objects, ours, fields);
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    /// What the kernel holds, as `switchyard status` says it.
    fn status(&self) -> String {
        let status = || Command::new(env!("CARGO_BIN_EXE_switchyard")).arg("status").output().unwrap();
        String::from_utf8(self.namespace.run(status).stdout).unwrap()
    }

    fn until(&self, awaited: &str, holds: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !holds(self) {
            let (log, status) = (self.log(), self.status());
            assert!(Instant::now() < deadline, "waited in vain for {awaited}; log:\n{log}\nkernel:\n{status}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

fn write(path: PathBuf, objects: &str, ours: &str, fields: &str) {
    let header =
        "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\nconntrack: {maxPerCore: 0}\n";
    let ours = format!("switchyard: {{source: {objects}, {ours}}}\n");
    fs::write(path, format!("{header}{ours}{fields}")).unwrap();
}

impl Drop for Agent {
    fn drop(&mut self) {
        // Already dead is as good.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn a_running_agent_applies_a_changed_file_and_keeps_the_former_if_the_new_one_is_bad() {
    if testbed::privilege::skip() {
        return;
    }
    let mut agent = Agent::start(Namespace::create("config").unwrap(), NO_SERVERS);
    agent.until("the service", |agent| agent.status().contains("10.96.0.10:80/TCP"));
    assert!(agent.log().contains("WARN") && agent.log().contains("--masquerade-all: is ignored"), "{}", agent.log());
    assert!(agent.status().contains("never"), "{}", agent.status());
    assert!(!agent.log().contains(" DEBUG "), "{}", agent.log());

    agent.configure(NO_SERVERS, "nftables: {masqueradeAll: true}\nlogging: {verbosity: 4}\n");
    agent.until("masquerading", |agent| agent.status().contains("always"));
    let objects = agent.folder.path().join("objects/web.yaml");
    fs::write(objects, OBJECTS.replace("10.244.0.4", "10.244.0.5")).unwrap();
    agent.until("another log level", |agent| agent.log().contains("DEBUG switchyard_reconcile: changed services"));

    agent.configure(NO_SERVERS, "nftables: {masqueradeAll: perhaps}\nmode: some\n");
    agent.until("both mistakes", |agent| {
        let mistakes =
            ["nftables.masqueradeAll: \"perhaps\": must be true or false", "mode: \"some\": must be nftables"];
        mistakes.iter().all(|mistake| agent.log().contains(mistake))
    });
    assert!(agent.status().contains("always"), "{}", agent.status());

    kill(Pid::from_raw(agent.process.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
    assert_eq!(agent.process.wait().unwrap().code(), Some(0), "{}", agent.log());
}

/// A FIFO, and a file of a server that never answers.
#[test]
fn a_file_that_hangs_stops_neither_the_others_nor_the_end() {
    if testbed::privilege::skip() || !std::path::Path::new("/dev/fuse").exists() {
        return;
    }
    let mut agent = Agent::start(Namespace::create("hang").unwrap(), NO_SERVERS);
    agent.until("the service", |agent| agent.status().contains("10.96.0.10:80/TCP"));
    let folder = agent.folder.path().to_owned();
    nix::unistd::mkfifo(&folder.join("objects/fifo.yaml"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    agent.until("a word about the FIFO", |agent| agent.log().contains("fifo.yaml: is no regular file but a FIFO"));
    let mount = Hanging::mount(folder.join("hangs"));
    std::os::unix::fs::symlink("../hangs/a.yaml", folder.join("objects/hangs.yaml")).unwrap();
    agent.until("a word about what hangs", |agent| agent.log().contains("hangs.yaml: does not answer for 3 s"));
    fs::write(folder.join("objects/web.yaml"), OBJECTS.replace("10.96.0.10", "10.96.0.11")).unwrap();
    agent.until("another address", |agent| agent.status().contains("10.96.0.11:80/TCP"));
    kill(Pid::from_raw(agent.process.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
    let asked = Instant::now();
    assert_eq!(agent.process.wait().unwrap().code(), Some(0), "{}", agent.log());
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    drop(mount);
}

/// A mounted file system in user space that never answers, until it is dropped.
struct Hanging {
    server: Option<File>,
    path: PathBuf,
}

impl Hanging {
    fn mount(path: PathBuf) -> Self {
        use std::os::fd::AsRawFd;

        fs::create_dir(&path).unwrap();
        let server = File::options().read(true).write(true).open("/dev/fuse").unwrap();
        let options = format!("fd={},rootmode=40000,user_id=0,group_id=0", server.as_raw_fd());
        nix::mount::mount(Some("h"), &path, Some("fuse"), nix::mount::MsFlags::empty(), Some(options.as_str()))
            .unwrap();
        Self { server: Some(server), path }
    }
}

impl Drop for Hanging {
    fn drop(&mut self) {
        // What waits for an answer gets an error.
        self.server = None;
        let _ = nix::mount::umount2(&self.path, nix::mount::MntFlags::MNT_DETACH);
    }
}

#[test]
fn what_kube_proxy_left_is_removed_when_the_file_says_so() {
    if testbed::privilege::skip_without("nft") {
        return;
    }
    let namespace = Namespace::create("leftovers").unwrap();
    let nft = |rules: &str| {
        namespace.run(|| {
            let mut nft = Command::new("nft").args(["-f", "-"]).stdin(Stdio::piped()).spawn().unwrap();
            nft.stdin.take().unwrap().write_all(rules.as_bytes()).unwrap();
            assert!(nft.wait().unwrap().success());
        });
    };
    nft("table ip kube-proxy { comment \"rules for kube-proxy\"; }");
    let metrics = |agent: &Agent| {
        agent.namespace.run(|| {
            let mut stream = TcpStream::connect("127.0.0.1:10249").ok()?;
            stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: n\r\nConnection: close\r\n\r\n").ok()?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).ok().map(|_| answer)
        })
    };
    let lists = |agent: &Agent| {
        let list = agent.namespace.run(|| Command::new("nft").args(["list", "tables"]).output().unwrap());
        String::from_utf8(list.stdout).unwrap()
    };
    // A namespace is made with its loopback down.
    namespace.run(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (connection, handle, _) = rtnetlink::new_connection().unwrap();
            tokio::spawn(connection);
            handle.link().set(rtnetlink::LinkUnspec::new_with_index(1).up().build()).execute().await.unwrap();
        });
    });
    let mut agent = Agent::start(namespace, "cleanupKubeProxy: false");
    agent.until("the service", |agent| agent.status().contains("10.96.0.10:80/TCP"));
    agent.until("the rules to stay", |agent| agent.log().contains("stay in the kernel, as configured"));
    assert!(lists(&agent).contains("table ip kube-proxy"));

    agent.configure("cleanupKubeProxy: true", "");
    agent.until("the table to go", |agent| !lists(agent).contains("kube-proxy"));
    assert!(metrics(&agent).unwrap().contains("switchyard_kube_proxy_leftovers_failed 0"));
    assert!(agent.status().contains("10.96.0.10:80/TCP"));
    assert_eq!(agent.process.try_wait().unwrap(), None);
}
