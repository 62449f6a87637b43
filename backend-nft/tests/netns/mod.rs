//! Runs a test in a network namespace of its own, which goes when the test ends, however it ends.

use std::process::Command;

use nix::sched::{CloneFlags, unshare};

/// Runs `test` on a thread in a new network namespace, with a tokio runtime.
pub(crate) fn isolated<F: Future<Output = ()>>(test: impl FnOnce() -> F + Send + 'static) {
    let outcome = std::thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET).expect("network namespaces need CAP_SYS_ADMIN");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(test());
    })
    .join();
    if let Err(panic) = outcome {
        std::panic::resume_unwind(panic);
    }
}

/// What `nft` prints, given `input`; none where it is not installed. Runs in the namespace of this thread.
#[allow(dead_code, reason = "not every test file asks nft")]
pub(crate) fn nft(arguments: &[&str], input: &str) -> Option<Result<String, String>> {
    use std::io::Write;
    use std::process::Stdio;
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
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Some(if output.status.success() {
        Ok(text(output.stdout))
    } else {
        Err(format!("{} {}", output.status, text(output.stderr)))
    })
}
