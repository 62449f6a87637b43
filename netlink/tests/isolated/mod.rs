//! Runs a test in a network namespace of its own, which goes when the test ends, however it ends.
//!
//! Nothing here has a name in the file system, so a panic leaves nothing behind.

#![allow(dead_code, reason = "not every test file needs all of it")]

use std::io::Write;
use std::process::{Command, Stdio};

use netlink_sys::Socket;
use netlink_sys::protocols::NETLINK_ROUTE;
use nix::sched::{CloneFlags, unshare};
use nix::unistd::geteuid;

/// Runs a test on a thread in a new network namespace whose loopback is up, with a tokio runtime.
///
/// Without root it is skipped with a note, unless `SWITCHYARD_REQUIRE_ROOT=1` makes that a failure.
pub(crate) fn isolated<F: Future<Output = ()>>(test: impl FnOnce() -> F + Send) {
    if !geteuid().is_root() {
        let required = std::env::var("SWITCHYARD_REQUIRE_ROOT").is_ok_and(|value| value == "1");
        assert!(!required, "this test makes network namespaces and needs root");
        eprintln!("skipped: this test makes network namespaces and needs root");
        return;
    }
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).expect("network namespaces need CAP_SYS_ADMIN");
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
    let socket = Socket::new(NETLINK_ROUTE).expect("a socket");
    socket.send(&message, 0).expect("loopback comes up");
    let mut answer = Vec::with_capacity(256);
    socket.recv(&mut answer, 0).expect("an answer");
    assert_eq!(answer[16..20], [0; 4], "loopback does not come up");
}

/// What `nft` prints, given `input`, or its complaint. None, with a note, where it is not installed. Runs in the
/// namespace of this thread.
pub(crate) fn nft(arguments: &[&str], input: &str) -> Option<Result<String, String>> {
    let spawned =
        Command::new("nft").args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = match spawned {
        Ok(child) => child,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            eprintln!("skipped: no nft binary on this machine");
            return None;
        }
        Err(error) => panic!("nft: {error}"),
    };
    child.stdin.take().expect("a pipe").write_all(input.as_bytes()).expect("nft reads");
    let output = child.wait_with_output().expect("nft ends");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Some(if output.status.success() {
        Ok(text(output.stdout))
    } else {
        Err(format!("{} {}", output.status, text(output.stderr)))
    })
}
