//! Any words, one a line, are flags or refused.

use std::cell::RefCell;

use agent::config::RunFlags;
use clap::{Args, Command, FromArgMatches};

thread_local! {
    /// Made once, because names of flags are never freed, and some hundred of them take longer to make than to read.
    static RUN: RefCell<Command> =
        RefCell::new(RunFlags::augment_args(Command::new("run").no_binary_name(true).disable_help_flag(true)));
}

pub(super) fn check(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    // A file that --config names would be read.
    if text.lines().any(|word| word.starts_with("--config=") || word == "--config") {
        return;
    }
    let Ok(mut matches) = RUN.with_borrow_mut(|run| run.try_get_matches_from_mut(text.lines())) else { return };
    let flags = RunFlags::from_arg_matches_mut(&mut matches).expect("clap has checked the values");
    // Flags that make no sense together are mistakes.
    if let Err(mistakes) = flags.config() {
        assert!(!mistakes.to_string().is_empty());
    }
}
