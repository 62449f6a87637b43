//! Runs a test in a network namespace of its own, which goes when the test ends, however it ends.
//!
//! Nothing here has a name in the file system, so a panic leaves nothing behind.

#![allow(dead_code, reason = "not every test file needs all of it")]

use std::io::Write;
use std::process::{Command, Stdio};

use netlink_sys::Socket;
use netlink_sys::protocols::NETLINK_ROUTE;
use nix::sched::{CloneFlags, unshare};

/// Runs a test on a thread in a new network namespace whose loopback is up, with a tokio runtime.
///
/// Where this process may not create namespaces it is skipped with a note, unless `SWITCHYARD_REQUIRE_ROOT=1` makes
/// that a failure.
pub(crate) fn isolated<F: Future<Output = ()>>(test: impl FnOnce() -> F + Send) {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            if let Err(error) = unshare(CloneFlags::CLONE_NEWNET) {
                return skip(&format!("cannot create a network namespace: {}", error.desc()));
            }
            loopback_up();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(test());
        });
        if let Err(panic) = thread.join() {
            std::panic::resume_unwind(panic);
        }
    });
}

fn skip(reason: &str) {
    let required = std::env::var("SWITCHYARD_REQUIRE_ROOT").is_ok_and(|value| value == "1");
    assert!(!required, "{reason}");
    eprintln!("skipped: {reason}");
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

/// As [`isolated`], for a test that runs `nft`. Skipped with a note where it is not installed.
pub(crate) fn isolated_with_nft<F: Future<Output = ()>>(test: impl FnOnce() -> F + Send) {
    match Command::new("nft").arg("--version").output() {
        Ok(_) => isolated(test),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => skip("nft is not installed"),
        Err(error) => panic!("nft: {error}"),
    }
}

/// Runs `nft` in the namespace of this thread; its output, or its complaint.
pub(crate) fn nft(arguments: &[&str]) -> Result<String, String> {
    run(arguments, "")
}

/// Feeds a ruleset to `nft -f -` in the namespace of this thread.
pub(crate) fn nft_load(arguments: &[&str], ruleset: &str) -> Result<String, String> {
    run(&[arguments, &["-f", "-"]].concat(), ruleset)
}

fn run(arguments: &[&str], input: &str) -> Result<String, String> {
    let mut command = Command::new("nft");
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("nft is installed");
    child.stdin.take().expect("a pipe").write_all(input.as_bytes()).expect("nft reads");
    let output = child.wait_with_output().expect("nft ends");
    let printed = if output.status.success() { output.stdout } else { output.stderr };
    let printed = String::from_utf8_lossy(&printed).into_owned();
    if output.status.success() { Ok(printed) } else { Err(printed) }
}
