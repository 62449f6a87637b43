//! The real binary: turned on and off while it runs, and links that come and go.

use std::fs::{self, File};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use testbed::Namespace;
use testbed::links::{LOOPBACK, Links};
use tokio::runtime::Runtime;

const PATIENCE: Duration = Duration::from_secs(60);

const SERVICE: &str = "\
apiVersion: v1
kind: Service
metadata: {name: web, namespace: default}
spec: {clusterIP: 10.96.0.10, clusterIPs: [10.96.0.10], ports: [{port: 80, protocol: TCP}]}
";

/// `switchyard run --config` in a network namespace; killed when dropped.
struct Agent {
    namespace: Namespace,
    folder: TempDir,
    process: Child,
}

impl Agent {
    fn start(namespace: Namespace) -> Self {
        let folder = TempDir::new().unwrap();
        fs::create_dir(folder.path().join("objects")).unwrap();
        fs::write(folder.path().join("objects/web.yaml"), SERVICE).unwrap();
        configure(&folder, 0);
        let mut command = Command::new(env!("CARGO_BIN_EXE_switchyard"));
        command.arg("run").arg("--config").arg(folder.path().join("config.conf")).arg("--hostname-override=n");
        command.stdin(Stdio::null()).stderr(File::create(folder.path().join("log")).unwrap());
        let process = namespace.run(|| command.spawn().unwrap());
        Self { namespace, folder, process }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    fn status(&self) -> String {
        let status = || Command::new(env!("CARGO_BIN_EXE_switchyard")).arg("status").output().unwrap();
        String::from_utf8(self.namespace.run(status).stdout).unwrap()
    }

    fn until(&self, awaited: &str, holds: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !holds(self) {
            let (log, status) = (self.log(), self.status());
            assert!(Instant::now() < deadline, "waited in vain for {awaited}; log:\n{log}\nkernel:\n{status}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // Already dead is as good.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn configure(folder: &TempDir, after: u32) {
    let objects = folder.path().join("objects").display().to_string();
    let text = format!(
        "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\nconntrack: {{maxPerCore: 0}}\n\
         switchyard: {{source: {objects}, serversOff: [healthz, metrics], flowtableAfter: {after}}}\n"
    );
    fs::write(folder.path().join("config.conf"), text).unwrap();
}

#[test]
fn a_running_agent_follows_the_option_and_the_links() {
    if testbed::privilege::skip() {
        return;
    }
    let namespace = Namespace::create("links").unwrap();
    let runtime = Runtime::new().unwrap();
    let add = |namespace: &Namespace, name: &str| {
        let links = Links::open(namespace, runtime.handle()).unwrap();
        runtime.block_on(async {
            links.up(LOOPBACK).await.unwrap();
            links.bridge(name).await.unwrap();
        });
    };
    add(&namespace, "pod0");
    let agent = Agent::start(namespace);
    agent.until("the service", |agent| agent.status().contains("10.96.0.10:80/TCP"));
    assert!(!agent.status().contains("flowtable"), "{}", agent.status());

    configure(&agent.folder, 16);
    let (lacking, told) = ("CONFIG_NF_FLOW_TABLE", "To the flowtable after about 16 packets");
    agent.until("the option", |agent| agent.log().contains(lacking) || agent.status().contains(told));
    add(&agent.namespace, "pod1");
    if agent.log().contains(lacking) {
        configure(&agent.folder, 17);
        fs::remove_file(agent.folder.path().join("objects/web.yaml")).unwrap();
        agent.until("the service to go", |agent| agent.status().starts_with("No frontends"));
        assert_eq!(agent.log().matches("connections are not handed").count(), 1, "{}", agent.log());
        return;
    }
    for family in ["IPv4", "IPv6"] {
        let devices = format!("{told} ({family}): pod0, pod1\n");
        agent.until(&devices, |agent| agent.status().contains(&devices));
    }
    configure(&agent.folder, 0);
    agent.until("the option to be off", |agent| !agent.status().contains("flowtable"));
    assert!(!agent.log().contains("sync failed"), "{}", agent.log());
}
