//! How the binary ends where it cannot do what it is asked, and in which words.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output};

use tempfile::TempDir;

use super::given::Node;

/// A user that has no process but this one, with no privilege.
const USER: &str = "64123";

/// The binary where any user can reach it.
struct Copied {
    folder: TempDir,
}

impl Copied {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let copied = Self { folder };
        fs::copy(env!("CARGO_BIN_EXE_switchyard"), copied.path()).unwrap();
        copied
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("switchyard")
    }

    fn run(&self, node: &Node, through: &[&str], arguments: &[&str]) -> Output {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", USER, "--clear-groups"]).args(through).arg(self.path()).args(arguments);
        node.namespace.run(|| command.output().unwrap())
    }
}

fn said(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn a_normal_user_is_told_which_privilege_is_missing() {
    if testbed::privilege::skip() {
        return;
    }
    let (node, copied) = (Node::new(), Copied::new());
    for arguments in [
        &["run", "--source", "/nowhere"][..],
        &["run", "--source", "/nowhere", "--backend", "ipvs"],
        &["run", "--source", "/nowhere", "--init-only"],
        &["run", "--cleanup"],
        &["status"],
        &["cleanup"],
        &["cleanup", "--kube-proxy"],
    ] {
        let output = copied.run(&node, &[], arguments);
        let said = said(&output);
        assert_eq!(output.status.code(), Some(3), "{arguments:?}: {said}");
        let words = format!("CAP_NET_ADMIN is missing: user {USER} may not program the kernel; run as root");
        assert!(said.lines().last().unwrap().contains(&words), "{arguments:?}: {said}");
    }
}

#[test]
fn initialising_nothing_is_a_failure_and_each_setting_has_its_reason() {
    if testbed::privilege::skip() {
        return;
    }
    let (node, copied) = (Node::new(), Copied::new());
    let flags = ["run", "--source", "/nowhere", "--init-only", "--conntrack-max-per-core=0"];
    let flags = [&flags[..], &["--conntrack-tcp-timeout-established=1h", "--conntrack-udp-timeout=40s"]].concat();
    let output = copied.run(&node, &[], &flags);
    let refused = said(&output);
    assert_eq!(output.status.code(), Some(3), "{refused}");
    for setting in ["tcp_timeout_established: cannot be set to 3600", "udp_timeout: cannot be set to 40"] {
        assert!(refused.contains(setting), "{refused}");
    }
    // With the privilege but without the files, as in a container.
    let read_only = "mount --bind /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys && exec \"$@\"";
    let contained = || {
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", read_only, "sh"]).arg(copied.path()).args(&flags);
        command.output().unwrap()
    };
    let output = node.namespace.run(contained);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains("no setting of the node could be made"), "{}", said(&output));
    // And where all is as it should be, nothing has to be set.
    let set = || Command::new(copied.path()).args(&flags).output().unwrap();
    assert_eq!(node.namespace.run(set).status.code(), Some(0));
    assert_eq!(node.namespace.run(contained).status.code(), Some(0));
}

#[test]
fn a_process_that_may_have_no_threads_says_so() {
    if testbed::privilege::skip() {
        return;
    }
    let (node, copied) = (Node::new(), Copied::new());
    for threads in ["--nproc=1", "--nproc=2"] {
        let output = copied.run(&node, &["prlimit", threads], &["run", "--source", "/nowhere"]);
        let said = said(&output);
        assert_eq!(output.status.code(), Some(1), "{threads}: {said}");
        assert!(said.contains("threads cannot be started, and ") && said.contains("RLIMIT_NPROC"), "{threads}: {said}");
        assert!(!said.contains("panic"), "{threads}: {said}");
    }
}
