//! Flags that say what is to be done.

use std::path::PathBuf;

use clap::Args;

use super::on;
use crate::config::words::Switch;

/// What is to be done, if not to run as the other flags say.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "What to do")]
pub(in crate::config) struct Deeds {
    /// kube-proxy's configuration file (KubeProxyConfiguration, YAML or JSON), which is watched: changes are applied at
    /// once. Flags that it has fields for are ignored, --hostname-override and -v excepted
    #[arg(long, value_name = "FILE")]
    pub(in crate::config) config: Option<PathBuf>,

    /// Write the whole configuration to this file, as KubeProxyConfiguration, and exit
    #[arg(long, value_name = "FILE")]
    pub(in crate::config) write_config_to: Option<PathBuf>,

    /// Remove everything from the kernel that is ours, and exit, as `switchyard cleanup` does
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    cleanup: Option<Switch>,

    /// Set on the node what needs all privileges, and exit; a second run then gets along with CAP_NET_ADMIN
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
