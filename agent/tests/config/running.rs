//! The real binary with a configuration file that changes while it runs.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use agent::world::Namespace;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

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

/// `switchyard run --config` in a network namespace; killed when dropped.
struct Agent {
    namespace: Namespace,
    folder: TempDir,
    process: Child,
}

impl Agent {
    fn start() -> Self {
        let namespace = Namespace::create("config").unwrap();
        let folder = TempDir::new().unwrap();
        fs::create_dir(folder.path().join("objects")).unwrap();
        fs::write(folder.path().join("objects/web.yaml"), OBJECTS).unwrap();
        let path = |name: &str| folder.path().join(name);
        write(path("config.conf"), &path("objects").display().to_string(), "");
        let mut command = Command::new(env!("CARGO_BIN_EXE_switchyard"));
        command.arg("run").arg("--config").arg(path("config.conf")).args(["--hostname-override=n", "--masquerade-all"]);
        command.stdin(Stdio::null()).stderr(File::create(path("log")).unwrap());
        let process = namespace.run(|| command.spawn().unwrap());
        Self { namespace, folder, process }
    }

    fn configure(&self, fields: &str) {
        let objects = self.folder.path().join("objects").display().to_string();
        write(self.folder.path().join("config.conf"), &objects, fields);
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

fn write(path: PathBuf, objects: &str, fields: &str) {
    let header =
        "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\nconntrack: {maxPerCore: 0}\n";
    let ours = format!("switchyard: {{source: {objects}, serversOff: [healthz, metrics]}}\n");
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
fn a_running_agent_takes_a_changed_file_and_holds_on_to_the_former_where_the_new_one_is_bad() {
    let mut agent = Agent::start();
    agent.until("the service", |agent| agent.status().contains("10.96.0.10:80/TCP"));
    assert!(agent.log().contains("WARN") && agent.log().contains("--masquerade-all: is ignored"), "{}", agent.log());
    assert!(agent.status().contains("never"), "{}", agent.status());
    assert!(!agent.log().contains(" DEBUG "), "{}", agent.log());

    agent.configure("nftables: {masqueradeAll: true}\nlogging: {verbosity: 4}\n");
    agent.until("masquerading", |agent| agent.status().contains("always"));
    let objects = agent.folder.path().join("objects/web.yaml");
    fs::write(objects, OBJECTS.replace("10.244.0.4", "10.244.0.5")).unwrap();
    agent.until("another log level", |agent| agent.log().contains("DEBUG agent::reconcile: changed services"));

    agent.configure("nftables: {masqueradeAll: perhaps}\nmode: some\n");
    agent.until("both mistakes", |agent| {
        let mistakes =
            ["nftables.masqueradeAll: \"perhaps\": must be true or false", "mode: \"some\": must be nftables"];
        mistakes.iter().all(|mistake| agent.log().contains(mistake))
    });
    assert!(agent.status().contains("always"), "{}", agent.status());

    kill(Pid::from_raw(agent.process.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
    assert_eq!(agent.process.wait().unwrap().code(), Some(0), "{}", agent.log());
}
