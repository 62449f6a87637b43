//! What the operator decided: flags with kube-proxy's names, and kube-proxy's configuration file, parsed into values
//! that cannot be wrong.
//!
//! ```text
//! argv ──► flags (clap) ──┐ each value by its    ┌─► Action: run, write, initialise, clean up
//!                         ├─► own FromStr ──► Written ──► Config ──► configz, --write-config-to
//! file ──► tree (YAML) ───┘                                │
//!   └──────────────── live (inotify) ── again ─────────────┴──► process::Views: which parts act
//! ```
//!
//! The type of each value refuses what makes no sense, so nothing downstream checks again. All mistakes of a file are
//! reported at once. Options without effect are in one table (`idle`), with the reason.
//!
//! This module knows neither the backends nor any other part of the agent: [`crate::backend`] opens what it names, and
//! [`crate::process::Views`] divides it among the parts.

mod action;
mod announcing;
mod backend;
mod duration;
mod file;
mod findings;
mod flags;
mod idle;
mod ipvs;
pub mod live;
pub mod reference;
mod settings;
mod verbosity;
mod words;

pub use action::{Action, ConfigFile, Order, parse_file};
pub(crate) use announcing::POOL_NAMESPACE;
pub use announcing::{Announce, AnnounceConfig, OnStop};
pub use backend::Backend;
pub use file::{configz, yaml};
pub use findings::{ConfigError, Mistake, Place, Remark};
pub use flags::{LogFlags, RunFlags};
pub use ipvs::{IpvsConfig, IpvsTimeouts};
pub use settings::{ByService, Config, ConntrackConfig, HostConfig, KubeProxyRules, ServersConfig, Unbound};
pub use verbosity::{Verbosity, VerbosityError};
pub(crate) use words::PoolRange;
