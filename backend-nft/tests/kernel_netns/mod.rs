//! A network namespace of a test's own, gone with its thread.
//!
//! Nothing here has a name in the file system, so a panic leaves nothing behind.

use std::future::Future;
use std::process::Command;

use netlink::attr::align;
use netlink_sys::Socket;
use netlink_sys::protocols::NETLINK_ROUTE;
use nix::sched::{CloneFlags, unshare};
use nix::unistd::geteuid;

/// Runs a test on a thread in a fresh network namespace whose loopback is up.
pub(crate) fn in_netns<F: Future<Output = ()>>(test: impl FnOnce() -> F + Send) {
    assert!(geteuid().is_root(), "this test makes network namespaces and needs root");
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace");
            loopback_up();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(test());
        });
        if let Err(panic) = thread.join() {
            std::panic::resume_unwind(panic);
        }
    });
}

/// `RTM_NEWLINK` with `struct ifinfomsg` (linux/rtnetlink.h): interface 1, `IFF_UP`.
fn loopback_up() {
    const RTM_NEWLINK: u16 = 16;
    const NLM_F_REQUEST_ACK: u16 = 5;
    let mut message = Vec::new();
    message.extend_from_slice(&32u32.to_ne_bytes());
    message.extend_from_slice(&RTM_NEWLINK.to_ne_bytes());
    message.extend_from_slice(&NLM_F_REQUEST_ACK.to_ne_bytes());
    message.extend_from_slice(&[0; 12]);
    for word in [1u32, 1, 1] {
        message.extend_from_slice(&word.to_ne_bytes());
    }
    assert_eq!(message.len(), align(32));
    let socket = Socket::new(NETLINK_ROUTE).expect("a socket");
    socket.send(&message, 0).expect("loopback comes up");
    let mut answer = Vec::with_capacity(256);
    socket.recv(&mut answer, 0).expect("an answer");
    assert_eq!(answer[16..20], [0; 4], "loopback does not come up");
}

/// Runs `nft` in the namespace of this thread; its output, or its complaint.
#[allow(dead_code, reason = "not every test file asks nft")]
pub(crate) fn nft(arguments: &[&str]) -> Result<String, String> {
    let output = Command::new("nft").args(arguments).output().expect("nft is installed");
    if output.status.success() {
        Ok(String::from_utf8(output.stdout).expect("text"))
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

/// Feeds `nft -f -`, in the namespace of this thread.
#[allow(dead_code, reason = "not every test file asks nft")]
pub(crate) fn nft_load(arguments: &[&str], listing: &str) -> Result<(), String> {
    use std::io::Write;
    use std::process::Stdio;
    let mut child = Command::new("nft")
        .args(arguments)
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("nft is installed");
    child.stdin.take().expect("a pipe").write_all(listing.as_bytes()).expect("nft reads");
    let output = child.wait_with_output().expect("nft ends");
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
}
