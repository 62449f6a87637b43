//! Commands that the documentation shows exist: subcommands and flags of `switchyard`; packages, binaries, tests,
//! examples and features of cargo.

use std::collections::BTreeMap;

use clap::{Arg, CommandFactory};
use switchyard_agent::command::CommandLine;

use super::{at_top, blocks, pages, read};

/// Text in backticks that begins like a command and is none: comments of tables in the kernel.
const NO_COMMANDS: [&str; 3] = ["switchyard layout N", "switchyard layout N leaving", "switchyard originals:"];

/// Subcommands of cargo that come with it or that CONTRIBUTING.md says how to install.
const CARGO: [&str; 11] =
    ["bench", "build", "check", "clippy", "doc", "fmt", "fuzz", "install", "nextest", "package", "run"];

/// Every command of a page: lines of console blocks, and text in backticks.
fn commands(page: &str) -> Vec<Vec<String>> {
    let mut lines = Vec::new();
    for (kind, block) in blocks(page) {
        if matches!(kind, "console" | "sh" | "bash") {
            lines.extend(block.replace("\\\n", " ").lines().map(str::to_owned));
        }
    }
    for (i, piece) in page.split('`').enumerate() {
        if i % 2 == 1 && !piece.contains('\n') && !NO_COMMANDS.contains(&piece) {
            lines.push(piece.to_owned());
        }
    }
    let mut commands = Vec::new();
    for line in lines {
        let line = line.split(" #").next().unwrap_or_default();
        for part in line.split(['|', ';', '&', '(', ')']) {
            let words: Vec<String> = part.split_whitespace().map(str::to_owned).collect();
            let begin = words.iter().position(|word| {
                word == "cargo"
                    || word == "switchyard"
                    || ["bin", "release", "debug"].iter().any(|folder| word.ends_with(&format!("/{folder}/switchyard")))
            });
            commands.extend(begin.map(|begin| words[begin..].to_vec()).filter(|command| command.len() > 1));
        }
    }
    commands
}

/// What is wrong with the words behind `switchyard`.
fn check_switchyard(words: &[String]) -> Result<(), String> {
    let line = CommandLine::command();
    if matches!(words[0].as_str(), "--version" | "--help" | "…") {
        return Ok(());
    }
    let command = line.find_subcommand(&words[0]).ok_or_else(|| format!("no subcommand {}", words[0]))?;
    for flag in words[1..].iter().filter_map(|word| word.strip_prefix("--")).filter(|flag| !flag.is_empty()) {
        let name = flag.split(['=', ',', '.']).next().unwrap_or_default();
        let known = |arg: &Arg| {
            arg.get_long() == Some(name) || arg.get_all_aliases().is_some_and(|aliases| aliases.contains(&name))
        };
        if name != "help" && !command.get_arguments().any(known) {
            return Err(format!("switchyard {} has no flag --{name}", words[0]));
        }
    }
    Ok(())
}

/// The folders of the packages, by name.
fn packages() -> BTreeMap<String, String> {
    let workspace = read("Cargo.toml");
    let members = workspace.split("members = [").nth(1).unwrap().split(']').next().unwrap();
    let members = members.split(',').map(|member| member.trim().trim_matches('"')).filter(|member| !member.is_empty());
    let mut packages = BTreeMap::new();
    for member in members {
        let manifest = read(&format!("{member}/Cargo.toml"));
        let name = manifest.lines().find_map(|line| line.strip_prefix("name = \"")).unwrap();
        packages.insert(name.trim_end_matches('"').to_owned(), member.to_owned());
    }
    packages
}

/// What is wrong with the words behind `cargo`.
fn check_cargo(words: &[String]) -> Result<(), String> {
    if !CARGO.contains(&words[0].as_str()) {
        return Err(format!("cargo {}: not among the subcommands that are used here", words[0]));
    }
    if matches!(words[0].as_str(), "install" | "fuzz") {
        return Ok(());
    }
    let end = words.iter().position(|word| word == "--").unwrap_or(words.len());
    let (own, passed) = words.split_at(end);
    let value = |names: &[&str]| {
        let flag = own.iter().position(|word| names.contains(&word.as_str()))?;
        own.get(flag + 1).map(String::as_str)
    };
    let package = value(&["-p", "--package"]).unwrap_or("switchyard-agent");
    let folder = packages().remove(package).ok_or_else(|| format!("no package {package}"))?;
    let manifest = read(&format!("{folder}/Cargo.toml"));
    for (flag, place) in [("--bin", "src/bin"), ("--test", "tests"), ("--example", "examples"), ("--bench", "benches")]
    {
        let Some(name) = value(&[flag]) else { continue };
        let files = [format!("{folder}/{place}/{name}.rs"), format!("{folder}/{place}/{name}/main.rs")];
        let declared = manifest.contains(&format!("name = \"{name}\""));
        if !declared && !files.iter().any(|file| at_top(file).exists()) {
            return Err(format!("{package} has no {} {name}", &flag[2..]));
        }
    }
    for feature in value(&["--features"]).into_iter().flat_map(|features| features.split(',')) {
        if !manifest.contains(&format!("\n{feature} = [")) {
            return Err(format!("{package} has no feature {feature}"));
        }
    }
    match passed {
        [_, rest @ ..] if words[0] == "run" && package == "switchyard-agent" && !rest.is_empty() => {
            check_switchyard(rest)
        }
        _ => Ok(()),
    }
}

#[test]
fn every_command_in_the_documentation_exists() {
    let (mut checked, mut wrong) = (0, Vec::new());
    for page in pages() {
        for command in commands(&read(&page)) {
            let (program, words) = command.split_first().unwrap();
            let outcome = if program == "cargo" { check_cargo(words) } else { check_switchyard(words) };
            checked += 1;
            wrong.extend(outcome.err().map(|error| format!("{page}: {}: {error}", command.join(" "))));
        }
    }
    assert!(checked > 30, "only {checked} commands were found");
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn code_that_embedding_md_quotes_from_a_test_is_in_that_test() {
    let test = read("agent/tests/embed.rs");
    let mut quotes = 0;
    for (_, block) in blocks(&read("docs/embedding.md")) {
        if let Some(code) = block.strip_prefix("// From agent/tests/embed.rs, which a test runs.\n") {
            assert!(test.contains(code), "not in agent/tests/embed.rs:\n{code}");
            quotes += 1;
        }
    }
    assert_eq!(quotes, 1);
}
