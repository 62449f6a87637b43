//! What is programmed in a namespace, for whoever reads a failure.
//!
//! `nft` is asked where it is installed; nothing depends on it.

use std::process::Command;

use agent::world::Namespace;

/// The namespace's ruleset as `nft list ruleset` prints it, or why there is none.
pub(super) fn ruleset(namespace: &Namespace) -> Result<String, String> {
    nft(namespace, &["list", "ruleset"])
}

/// What `nft` prints.
pub(super) fn nft(namespace: &Namespace, arguments: &[&str]) -> Result<String, String> {
    let output =
        namespace.run(|| Command::new("nft").args(arguments).output()).map_err(|error| format!("nft: {error}"))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(format!("nft {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim()))
    }
}
