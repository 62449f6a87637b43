//! Runs a test in a network namespace of its own, which goes when the test ends, however it ends.
#![allow(dead_code, reason = "not every test file uses everything")]

use std::process::Command;

use netlink::Namespace;
use nix::sched::{CloneFlags, unshare};

/// Runs `test` on a thread in a new network namespace, with a tokio runtime. Skips it where there can be none.
pub(crate) fn isolated<F: Future<Output = ()>>(test: impl FnOnce() -> F + Send + 'static) {
    if testbed::privilege::skip() {
        return;
    }
    let outcome = std::thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(test());
    })
    .join();
    if let Err(panic) = outcome {
        std::panic::resume_unwind(panic);
    }
}

/// Another network namespace, which goes when nothing is open in it any more.
pub(crate) fn another() -> Namespace {
    let made = std::thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace");
        Namespace::current().unwrap()
    });
    made.join().unwrap()
}

/// What `nft` prints, given `input`; none where it is not installed and need not be. Runs in the namespace of this
/// thread.
pub(crate) fn nft(arguments: &[&str], input: &str) -> Option<Result<String, String>> {
    use std::io::Write;
    use std::process::Stdio;
    if testbed::privilege::skip_without("nft") {
        return None;
    }
    let mut child = Command::new("nft")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("nft starts");
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned()).into()
    } else {
        Err(format!("{} {}", output.status, String::from_utf8_lossy(&output.stderr))).into()
    }
}
