//! Keeps an example from programming the machine by mistake.

use switchyard_nft::Namespace;

/// Refuses the machine's own network namespace, unless the command line says `--here`.
pub(crate) fn check_namespace() -> Result<(), String> {
    let here = std::env::args().skip(1).any(|argument| argument == "--here");
    let is_initial = Namespace::Current.is_initial().map_err(|error| format!("network namespace: {error}"))?;
    check(is_initial, here)
}

pub(crate) fn check(is_initial: bool, here: bool) -> Result<(), String> {
    if !is_initial || here {
        return Ok(());
    }
    Err("network namespace: this is the machine's own, and its packets would be translated: \
         run in another (unshare --net COMMAND), or give --here"
        .to_owned())
}
