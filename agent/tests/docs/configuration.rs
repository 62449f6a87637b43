//! docs/configuration.md is made from clap's definitions of the flags and from the list of the file's fields.
//!
//! `just docs`, or `UPDATE_DOCS=1 cargo nextest run -p switchyard-agent --test docs`, writes it.

use std::fmt::Write;

use clap::{Arg, Command, CommandFactory};
use serde_json::Value;
use switchyard_agent::command::CommandLine;
use switchyard_agent::config::reference::{Effect, FieldReference, fields};

use super::{at_top, read};

const PAGE: &str = "docs/configuration.md";

const BEFORE: &str = "\
# Configuration

Made from the program by `UPDATE_DOCS=1 cargo nextest run -p switchyard-agent --test docs`; do not edit.

- [Flags of `switchyard run`](#switchyard-run)
- Flags of [`status`](#switchyard-status), [`cleanup`](#switchyard-cleanup), [`demo`](#switchyard-demo)
- [The configuration file](#the-configuration-file)

`switchyard run` takes kube-proxy's flags and kube-proxy's configuration file.
Every flag may be written with underscores, and the last one counts if it is there twice.
A switch is `--flag`, `--flag=true` or `--flag=false`.
Durations are written as Go writes them: `300ms`, `15m`, `1h30m`.
[How the configuration is parsed, watched and divided](design/configuration.md).

";

const FILE: &str = "\
## The configuration file

`--config FILE` reads KubeProxyConfiguration in YAML or JSON.
The file is watched, and every change is applied while the agent runs.
A file with a mistake changes nothing; all its mistakes are logged with line and field.
Settings that kube-proxy does not have are in the section `switchyard`; kube-proxy logs that it does not know it.
Flags [that override the file](#options-that-override---config) are added to it.
`switchyard run --config FILE --write-config-to /dev/stdout` shows the whole configuration in effect.

```yaml
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: nftables
clusterCIDR: 10.244.0.0/16
conntrack:
  maxPerCore: 32768
switchyard:
  flowtableAfter: 20
```

A field that is missing or empty has its default.

";

/// A flag without a default does nothing if it is not given.
const NONE: &str = "–";

fn render() -> String {
    let mut page = BEFORE.to_owned();
    let mut line = CommandLine::command();
    line.build();
    for name in ["run", "status", "cleanup", "demo"] {
        let command = line.find_subcommand(name).expect("a subcommand");
        write!(page, "## switchyard {name}\n\n{}.\n\n", command.get_about().expect("its help")).unwrap();
        render_flags(&mut page, command, name == "run");
    }
    page.push_str(FILE);
    let (idle, effective): (Vec<_>, Vec<_>) =
        fields().into_iter().partition(|field| matches!(field.effect, Effect::Nothing(_)));
    let (own, kube_proxys): (Vec<_>, Vec<_>) =
        effective.into_iter().partition(|field| field.path.starts_with("switchyard."));
    let run = line.find_subcommand("run").expect("a subcommand");
    render_fields(&mut page, "Fields of kube-proxy", &kube_proxys, run);
    render_fields(&mut page, "Fields of the section `switchyard`", &own, run);
    page.push_str("### Fields without effect\n\n");
    page.push_str(
        "They are accepted and checked. A value that is not kube-proxy's default is logged with the reason.\n\n",
    );
    page.push_str("| field | flag | kube-proxy's default | no effect, because |\n|---|---|---|---|\n");
    for field in &idle {
        let Effect::Nothing(why) = field.effect else { continue };
        writeln!(page, "| `{}` | {} | {} | {} |", field.path, flag(field), default(field), cell(why)).unwrap();
    }
    page
}

/// The flags of a command, a table for each heading of its help; those of every command only once.
fn render_flags(page: &mut String, command: &Command, is_first: bool) {
    let mut headings: Vec<Option<&str>> = Vec::new();
    let shown = |arg: &&Arg| is_shown(arg) && (is_first || !arg.is_global_set());
    for arg in command.get_arguments().filter(shown) {
        if !headings.contains(&arg.get_help_heading()) {
            headings.push(arg.get_help_heading());
        }
    }
    // Those without a heading are for every command.
    headings.sort_by_key(|heading| heading.is_none());
    for heading in &headings {
        let idle = heading.is_some_and(|heading| heading.contains("without effect"));
        if headings.len() > 1 {
            write!(page, "### {}\n\n", heading.unwrap_or("Options of every command")).unwrap();
        }
        let columns = if idle {
            "| flag | no effect, because |\n|---|---|\n"
        } else {
            "| flag | default | meaning |\n|---|---|---|\n"
        };
        page.push_str(columns);
        for arg in command.get_arguments().filter(shown).filter(|arg| arg.get_help_heading() == *heading) {
            let (meaning, default) = meaning(arg);
            let default = default.map_or(NONE.to_owned(), |default| value(&default));
            let (name, meaning) = (usage(arg), cell(&meaning));
            if idle {
                writeln!(page, "| {name} | {meaning} |").unwrap();
            } else {
                writeln!(page, "| {name} | {default} | {meaning} |").unwrap();
            }
        }
        page.push('\n');
    }
}

fn render_fields(page: &mut String, title: &str, fields: &[FieldReference], run: &Command) {
    write!(page, "### {title}\n\n| field | flag | default | effect |\n|---|---|---|---|\n").unwrap();
    for field in fields {
        let Effect::Is(note) = field.effect else { continue };
        let of_flag = field.flag.map(|name| meaning(argument(run, name)).0);
        let parts: Vec<_> = of_flag.iter().map(String::as_str).chain([note]).filter(|part| !part.is_empty()).collect();
        let effect = cell(&parts.join(". "));
        writeln!(page, "| `{}` | {} | {} | {effect} |", field.path, flag(field), default(field)).unwrap();
    }
    page.push('\n');
}

fn argument<'a>(command: &'a Command, long: &str) -> &'a Arg {
    command.get_arguments().find(|arg| arg.get_long() == Some(long)).unwrap_or_else(|| panic!("no flag --{long}"))
}

fn is_shown(arg: &Arg) -> bool {
    !arg.is_hide_set() && !matches!(arg.get_id().as_str(), "help" | "version")
}

/// `--cluster-cidr CIDR[,CIDR]`.
fn usage(arg: &Arg) -> String {
    let short = arg.get_short().map(|short| format!("`-{short}`, ")).unwrap_or_default();
    let long = arg.get_long().expect("every flag has a long name");
    match arg.get_value_names() {
        Some([value]) if arg.get_action().takes_values() => format!("{short}`--{long}` `{}`", cell(value)),
        _ => format!("{short}`--{long}`"),
    }
}

/// What a flag's help says, and its default, which the help has at its end.
fn meaning(arg: &Arg) -> (String, Option<String>) {
    let help = arg.get_help().expect("every flag has help").to_string();
    let (mut meaning, mut default) = match help.rsplit_once(" [default: ") {
        Some((meaning, default)) => (meaning.to_owned(), Some(default.trim_end_matches(']').to_owned())),
        None => (help, None),
    };
    for value in arg.get_possible_values() {
        if let Some(help) = value.get_help() {
            write!(meaning, "; `{}`: {help}", value.get_name()).unwrap();
        }
    }
    if let [value, ..] = arg.get_default_values() {
        default = Some(value.to_string_lossy().into_owned());
    }
    (meaning, default)
}

fn flag(field: &FieldReference) -> String {
    match field.flag {
        Some("v") => "`-v`".to_owned(),
        Some(name) => format!("`--{name}`"),
        None => NONE.to_owned(),
    }
}

fn default(field: &FieldReference) -> String {
    match &field.default {
        _ if matches!(field.path, "apiVersion" | "kind") => NONE.to_owned(),
        _ if field.path == "hostnameOverride" => "the host's name".to_owned(),
        None => NONE.to_owned(),
        Some(Value::String(text)) if text.is_empty() => "empty".to_owned(),
        Some(Value::String(text)) => format!("`{text}`"),
        Some(other) => format!("`{other}`"),
    }
}

/// A value as code; a phrase as it is.
fn value(text: &str) -> String {
    if text.contains(' ') { text.to_owned() } else { format!("`{text}`") }
}

/// Text in a cell of a table.
fn cell(text: &str) -> String {
    text.replace('\n', " ").replace('|', "\\|")
}

#[test]
fn docs_configuration_md_is_current() {
    let rendered = render();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(at_top(PAGE), &rendered).unwrap();
    }
    let page = read(PAGE);
    for (number, (line, expected)) in page.lines().zip(rendered.lines()).enumerate() {
        assert_eq!(line, expected, "{PAGE}:{}: write it again with UPDATE_DOCS=1", number + 1);
    }
    assert_eq!(page.lines().count(), rendered.lines().count(), "{PAGE}: write it again with UPDATE_DOCS=1");
}
