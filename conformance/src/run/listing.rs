//! What `nft` says of a namespace, for the report of a failure.
//!
//! `nft` is asked where it is installed; nothing else depends on it.

use std::io::{self, Write};
use std::process::{Command, Stdio};
use std::sync::{PoisonError, RwLock};

use testbed::Namespace;

/// Held for reading while an `nft` runs. A child has copies of every descriptor of this process until it executes, so a
/// netlink socket that is closed meanwhile still owns its tables.
static CHILDREN: RwLock<()> = RwLock::new(());

/// The namespace's ruleset as `nft list ruleset` prints it, or why there is none.
pub(super) fn ruleset(namespace: &Namespace) -> Result<String, String> {
    nft(namespace, &["list", "ruleset"], "").unwrap_or_else(|| Err("nft is not installed".into()))
}

/// What `nft` prints; nothing where it is not installed.
pub(super) fn nft(namespace: &Namespace, arguments: &[&str], input: &str) -> Option<Result<String, String>> {
    let _running = CHILDREN.read().unwrap_or_else(PoisonError::into_inner);
    match namespace.run(|| feed(Command::new("nft").args(arguments), input)) {
        Ok(output) if output.status.success() => Some(Ok(String::from_utf8_lossy(&output.stdout).into_owned())),
        Ok(output) => Some(Err(failed(arguments, &String::from_utf8_lossy(&output.stderr)))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => Some(Err(failed(arguments, &error.to_string()))),
    }
}

fn failed(arguments: &[&str], reason: &str) -> String {
    format!("nft {}: {}", arguments.join(" "), reason.trim())
}

/// Waits until no child holds a descriptor that was closed before this call.
pub(super) fn children_are_gone() {
    drop(CHILDREN.write().unwrap_or_else(PoisonError::into_inner));
}

fn feed(command: &mut Command, input: &str) -> io::Result<std::process::Output> {
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = piped.spawn()?;
    child.stdin.take().expect("piped above").write_all(input.as_bytes())?;
    child.wait_with_output()
}
