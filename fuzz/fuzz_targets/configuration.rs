//! Any text is a configuration file or a list of mistakes, and any words are flags or refused. What a file means is
//! written back as a file that means the same.
#![no_main]

use std::sync::LazyLock;

use agent::config::{RunFlags, parse_file, yaml};
use clap::{Args, Command, FromArgMatches};
use libfuzzer_sys::fuzz_target;

/// Made once, because names of flags are never freed.
static RUN: LazyLock<Command> = LazyLock::new(|| RunFlags::augment_args(Command::new("run").no_binary_name(true)));

/// Without it nothing else of a file is read, and random text hardly ever begins so.
const HEADER: &str = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n";

fuzz_target!(|text: &str| {
    check_file(text);
    check_file(&format!("{HEADER}{text}"));
    // One word a line. A file that --config names would be read.
    if !text.lines().any(|word| word == "--config" || word.starts_with("--config=")) {
        check_flags(text);
    }
});

fn check_file(text: &str) {
    let Ok((config, _)) = parse_file("file", text) else { return };
    let (again, remarks) = parse_file("file", &yaml(&config)).expect("what was written can be read");
    assert_eq!(again, config, "from {text:?}");
    assert_eq!(remarks, [], "from {text:?}");
}

fn check_flags(text: &str) {
    let Ok(matches) = RUN.clone().try_get_matches_from(text.lines()) else { return };
    let flags = RunFlags::from_arg_matches(&matches).expect("clap has checked the values");
    // Flags that make no sense together are mistakes.
    let _ = flags.config();
}
