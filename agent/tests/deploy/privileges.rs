//! The real binary with the privileges that the DaemonSet gives, and no more: one capability, nothing of the file
//! system or of /proc/sys can be written.

use std::fs::{self, File};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use backend_api::Protocol;
use switchyard_agent::backend::Backend;
use testbed::{Dial, Outcome, World, WorldPlan};

const SEED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/examples/seed");
const PATIENCE: Duration = Duration::from_secs(30);

/// As a container runtime does it; `$0` is the capability, `$@` the program.
const CONTAINED: &str = r#"
set -e
mount --make-rprivate /
mount --bind /proc/sys /proc/sys
mount -o remount,bind,ro /proc/sys
mount -o remount,bind,ro /
exec setpriv --no-new-privs --bounding-set "-all,$0" --inh-caps "-all,$0" --ambient-caps -all "$@"
"#;

struct Agent(Child);

impl Drop for Agent {
    fn drop(&mut self) {
        // Already dead is as good.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn contained(capability: &str) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", CONTAINED, capability, env!("CARGO_BIN_EXE_switchyard")]);
    command.args(["run", "--source", SEED, "--hostname-override", "node2", "--cluster-cidr", "10.244.0.0/16"]);
    command.stdin(Stdio::null());
    command
}

#[test]
fn net_admin_is_enough_to_forward_with_nftables() {
    if testbed::privilege::skip() {
        return;
    }
    let world = World::build(&WorldPlan::example()).unwrap();
    let executor = world.node().namespace.executor().unwrap();
    drop(executor.run(Backend::Nftables.open()).unwrap());
    let log = tempfile::NamedTempFile::new().unwrap();
    let mut command = contained("+net_admin");
    command.stderr(File::create(log.path()).unwrap());
    let mut agent = Agent(world.node().namespace.run(|| command.spawn().unwrap()));
    let said = || fs::read_to_string(log.path()).unwrap();
    let deadline = Instant::now() + PATIENCE;
    while !said().contains("every service was checked") {
        assert!(agent.0.try_wait().unwrap().is_none() && Instant::now() < deadline, "waited in vain:\n{}", said());
        std::thread::sleep(Duration::from_millis(5));
    }
    let status = fs::read_to_string(format!("/proc/{}/status", agent.0.id())).unwrap();
    let held = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        u64::from_str_radix(line.trim(), 16).unwrap()
    };
    // CAP_NET_ADMIN is the twelfth (linux/capability.h).
    assert_eq!((held("CapEff:"), held("CapBnd:")), (1 << 12, 1 << 12));
    // Its own filter of system calls (SECCOMP_MODE_FILTER).
    assert_eq!((held("NoNewPrivs:"), held("Seccomp:")), (1, 2));
    let dial = Dial::new(Protocol::Tcp, "10.105.145.136:8080".parse().unwrap()).within(Duration::from_secs(5));
    let outcome = world.dial("mytools", &dial);
    assert!(matches!(outcome, Outcome::Answered(_)), "{outcome}\n{}", said());
    // Only what is another container's to set, or kubelet's.
    let log = said();
    let denied = log.lines().filter(|line| line.contains("os error")).collect::<Vec<_>>();
    assert!(denied.iter().all(|line| line.contains("nf_conntrack_") || line.contains("oom_score_adj")), "{denied:?}");
}

#[test]
fn without_net_admin_the_missing_privilege_is_named() {
    if testbed::privilege::skip() {
        return;
    }
    let world = World::build(&WorldPlan::example()).unwrap();
    let output = world.node().namespace.run(|| contained("+chown").output().unwrap());
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(3) && said.contains("CAP_NET_ADMIN is missing"), "{said}");
}
