//! kube-proxy itself beside ours, where the operator has one: `SWITCHYARD_PEER=/path/to/kube-proxy`.
//!
//! It is given an API server of this crate's own ([`crate::api`]) with the same objects, unless
//! `SWITCHYARD_PEER_KUBECONFIG` names the configuration of another, which is then taken to have that many services and
//! to be reachable from an empty network namespace with nothing but loopback.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use testbed::Namespace;

use super::cluster::Cluster;

/// The peer's program.
const PEER: &str = "SWITCHYARD_PEER";
/// The API server that it talks to.
const KUBECONFIG: &str = "SWITCHYARD_PEER_KUBECONFIG";
/// The longest that is waited for it.
const PATIENCE: Duration = Duration::from_secs(1800);
/// Between two looks: a look lists what it has, and takes the processor from it.
const PACE: Duration = Duration::from_millis(200);

/// From its start until its map of services has them all; none where no peer was given.
///
/// # Errors
/// A sentence: it is not there, has no API server, ended, or did not do it in time.
pub(super) fn first_sync(cluster: Cluster, progress: &dyn Fn(&str)) -> Result<Option<f64>, String> {
    let Some(program) = env::var_os(PEER).map(PathBuf::from) else { return Ok(None) };
    if !program.is_file() {
        return Err(format!("{PEER}: {}: no such program", program.display()));
    }
    let kubeconfig = env::var_os(KUBECONFIG).map(PathBuf::from).ok_or(format!("{KUBECONFIG}: not given"))?;
    fs::metadata(&kubeconfig).map_err(|error| format!("{KUBECONFIG}: {}: {error}", kubeconfig.display()))?;
    progress("the peer");
    let namespace = Namespace::create("peer").map_err(|error| error.to_string())?;
    let start = Instant::now();
    let mut peer = Peer::start(&namespace, &program, &kubeconfig)?;
    loop {
        if let Some(status) = peer.0.try_wait().map_err(|error| format!("{PEER}: {error}"))? {
            return Err(format!("{PEER}: ended: {status}"));
        }
        if services(&namespace) >= cluster.services as usize {
            return Ok(Some(start.elapsed().as_secs_f64()));
        }
        if start.elapsed() > PATIENCE {
            return Err(format!("{PEER}: not every service was programmed within {PATIENCE:?}"));
        }
        std::thread::sleep(PACE);
    }
}

/// How many services the peer has programmed.
fn services(namespace: &Namespace) -> usize {
    let listed = super::programs::run(namespace, &["nft", "list", "map", "ip", "kube-proxy", "service-ips"], "");
    listed.map_or(0, |(_, text)| text.matches(" : goto ").count())
}

/// Ends with the measurement.
struct Peer(Child);

impl Peer {
    fn start(namespace: &Namespace, program: &Path, kubeconfig: &Path) -> Result<Self, String> {
        let mut command = Command::new(program);
        command
            .arg("--kubeconfig")
            .arg(kubeconfig)
            .args(["--proxy-mode=nftables", "--hostname-override=node0", "--conntrack-max-per-core=0"])
            .args(["--cluster-cidr", super::cluster::POD_RANGE])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::inherit());
        namespace.run(|| command.spawn()).map(Self).map_err(|error| format!("{PEER}: {error}"))
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // Already ended is as good.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
