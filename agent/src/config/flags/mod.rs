//! The flags of `switchyard run`: all of kube-proxy's, with its names and meanings, and a few of our own.
//!
//! ```text
//! argv ──► clap ──┬─► Deeds          what to do: --config, --write-config-to, --cleanup, --init-only
//!                 ├─► OwnFlags       override the file: --source, --backend, …, --hostname-override, --master
//!                 ├─► KubeProxyFlags ignored with --config: the file has fields for them
//!                 └─► IDLE           accepted without effect
//! ```

mod kube_proxy;
mod own;

use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};

use self::kube_proxy::KubeProxyFlags;
use self::own::OwnFlags;
use super::Verbosity;
use super::findings::{Findings, Place};
use super::idle::{IDLE, Idle, Shape};
use super::settings::Written;
use super::words::Switch;

/// Flags of `switchyard run`.
#[derive(Clone, Debug)]
pub struct RunFlags {
    pub(super) deeds: Deeds,
    own: OwnFlags,
    kube_proxy: KubeProxyFlags,
    /// Those of `kube_proxy` that were given, by their long names.
    given: Vec<String>,
    idle: Vec<&'static Idle>,
}

/// What to do, if not to run as the other flags say.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "What to do")]
pub(in crate::config) struct Deeds {
    /// kube-proxy's configuration file (KubeProxyConfiguration, YAML or JSON). It is watched, and changes are applied
    /// at once. Flags for which it has fields are ignored, but for --hostname-override and -v
    #[arg(long, value_name = "FILE")]
    pub(in crate::config) config: Option<PathBuf>,

    /// Write the whole configuration to this file, as KubeProxyConfiguration, and exit
    #[arg(long, value_name = "FILE")]
    pub(in crate::config) write_config_to: Option<PathBuf>,

    /// Remove everything from the kernel that is Switchyard's, as `switchyard cleanup` does, and exit [default: false]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    cleanup: Option<Switch>,

    /// Set on the node what needs all privileges, and exit; a second run then needs CAP_NET_ADMIN alone [default:
    /// false]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    init_only: Option<Switch>,
}

impl Deeds {
    pub(in crate::config) fn cleans_up(&self) -> bool {
        on(self.cleanup).unwrap_or(false)
    }

    pub(in crate::config) fn only_initialises(&self) -> bool {
        on(self.init_only).unwrap_or(false)
    }
}

/// How much is logged; for every command.
#[derive(Clone, Debug, Args)]
pub struct LogFlags {
    /// How much to log on stderr: 0 warnings and errors, 1 and 2 what an operator needs, 3 to 5 decisions, 6 to 10
    /// every object [default: 2 for `run`, else 0]
    #[arg(short, long = "v", value_name = "LEVEL", global = true)]
    pub v: Option<Verbosity>,
}

const IDLE_HEADING: &str = "Options of kube-proxy without effect, accepted and logged with the reason";

impl RunFlags {
    /// What overrides a file.
    pub(super) fn above(&self, verbosity: Option<Verbosity>) -> Written {
        Written { verbosity, ..self.own.written() }
    }

    /// What is ignored with a file.
    pub(super) fn below(&self, above: &Written, findings: &mut Findings) -> Written {
        self.remark_idle(findings);
        self.kube_proxy.written(above, findings)
    }

    /// Names the flags that are ignored because there is a file.
    pub(super) fn remark_ignored(&self, findings: &mut Findings) {
        let ignored = self.given.iter().map(String::as_str).chain(self.idle.iter().filter_map(|idle| idle.flag));
        for flag in ignored {
            findings.remark(Place::Flag(flag.to_owned()), "is ignored: with --config, the file alone says this");
        }
    }

    fn remark_idle(&self, findings: &mut Findings) {
        for idle in &self.idle {
            findings.remark(Place::Flag(idle.flag.unwrap_or_default().to_owned()), idle.remark());
        }
    }
}

/// The flags of the table, as clap has them.
fn idle_flags() -> impl Iterator<Item = Arg> {
    IDLE.iter().filter_map(|idle| {
        let flag = Arg::new(idle.flag?)
            .long(idle.flag?)
            .help(format!("{}{}", idle.why[..1].to_uppercase(), &idle.why[1..]))
            .help_heading(IDLE_HEADING)
            .action(ArgAction::Set)
            .allow_negative_numbers(true)
            .value_parser(|text: &str| admitted(idle, text));
        Some(match idle.shape {
            Shape::Switch => flag.value_name("BOOL").num_args(0..=1).require_equals(true).default_missing_value("true"),
            _ => flag.value_name("VALUE"),
        })
    })
}

/// `--cluster_cidr` for `--cluster-cidr`, as older manifests have it.
fn with_underscores(arg: Arg) -> Arg {
    match arg.get_long().filter(|long| long.contains('-')).map(|long| long.replace('-', "_")) {
        // clap's names live for ever; these are some fifty, and made once.
        Some(long) => arg.alias(&*long.leak()),
        None => arg,
    }
}

fn admitted(idle: &Idle, text: &str) -> Result<(), String> {
    if idle.shape.admits(text) { Ok(()) } else { Err(idle.shape.allowed()) }
}

/// Long names of the flags of `T` that were given, in their own order.
fn given<T: Args>(matches: &ArgMatches) -> Vec<String> {
    let command = T::augment_args(Command::new("given"));
    let flags = command.get_arguments().filter(|arg| was_given(matches, arg.get_id().as_str()));
    flags.filter_map(Arg::get_long).map(str::to_owned).collect()
}

fn was_given(matches: &ArgMatches, id: &str) -> bool {
    matches.value_source(id) == Some(ValueSource::CommandLine)
}

impl FromArgMatches for RunFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Self::from_arg_matches_mut(&mut matches.clone())
    }

    fn from_arg_matches_mut(matches: &mut ArgMatches) -> Result<Self, clap::Error> {
        // Before the values are taken out.
        let given = given::<KubeProxyFlags>(matches);
        let idle = IDLE.iter().filter(|idle| idle.flag.is_some_and(|flag| was_given(matches, flag))).collect();
        Ok(Self {
            deeds: Deeds::from_arg_matches_mut(matches)?,
            own: OwnFlags::from_arg_matches_mut(matches)?,
            kube_proxy: KubeProxyFlags::from_arg_matches_mut(matches)?,
            given,
            idle,
        })
    }

    fn update_from_arg_matches(&mut self, _: &ArgMatches) -> Result<(), clap::Error> {
        Err(clap::Error::raw(ErrorKind::InvalidSubcommand, "flags are parsed once\n"))
    }
}

impl Args for RunFlags {
    fn augment_args(command: Command) -> Command {
        let command = KubeProxyFlags::augment_args(OwnFlags::augment_args(Deeds::augment_args(command)));
        // The last one counts, and underscores are hyphens, as for kube-proxy.
        command.args(idle_flags()).args_override_self(true).mut_args(with_underscores)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

/// A switch that was given, as a truth value.
fn on(switch: Option<Switch>) -> Option<bool> {
    switch.map(|Switch(on)| on)
}
