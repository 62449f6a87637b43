//! Settings of the node that do not depend on services: connection tracking, and which process the kernel kills first.
//!
//! ```text
//! HostConfig ─► wanted (pure) ─► Setting… ─► write ─► Unset…: why not, logged once each
//!                  ▲ present, cores                    nothing here is fatal
//! ```
//!
//! Kept apart from the dataplanes: these settings belong to the node, outlive the agent, and forwarding works without
//! them. So no original value is remembered, and a setting that is removed from the configuration keeps its last value.
//!
//! Connection tracking's timeouts belong to the network namespace of the calling thread; its size belongs to the
//! machine, and only the machine's own namespace may set it.

mod files;
mod wanted;

use std::collections::BTreeSet;
use std::{fmt, io};

use tracing::{info, warn};

pub use wanted::{Knob, Present, Setting, wanted};

use self::files::Files;
use self::wanted::kept;
use crate::config::HostConfig;

/// Makes the settings that the configuration says.
#[derive(Debug, Default)]
pub struct Host {
    files: Files,
    logged: BTreeSet<Unset>,
    /// What was kept, and logged.
    kept: Option<Setting>,
}

/// Nothing is as the configuration says, and nothing could be set; why not was logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no setting of the node could be made; the lines before say why")]
#[non_exhaustive]
pub struct NothingSet;

/// A setting that could not be made.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Unset {
    /// The setting, with the value that it should have.
    pub setting: Setting,
    /// The value that it has instead, if that can be read.
    pub present: Option<i64>,
    /// The kernel's reason.
    pub reason: String,
}

impl Host {
    /// Sets what is not yet as `config` says, and returns what could not be set. Logs both, a failure only the first
    /// time. What was left by default, and needs a privilege that most containers lack, is no failure.
    pub fn prepare(&mut self, config: &HostConfig) -> Vec<Unset> {
        let present = self.files.present(config);
        let kept = kept(config, self.files.cores(), &present);
        if let Some(Setting { knob, value }) = kept.filter(|_| self.kept != kept) {
            info!(setting = %knob, present = present[&knob], wanted = value, "is larger than configured, and is kept");
        }
        self.kept = kept;
        let mut all = Vec::new();
        for setting in wanted(config, self.files.cores(), &present) {
            let before = present.get(&setting.knob).copied();
            match self.files.write(setting) {
                Ok(()) => info!(setting = %setting, ?before, "set on this node"),
                Err(error) => {
                    let unset = Unset { setting, present: before, reason: error.to_string() };
                    if !is_optional(setting, &error) {
                        all.push(unset);
                    } else if self.logged.insert(unset.clone()) {
                        info!("{unset}; it is left as it is");
                    }
                }
            }
        }
        for unset in &all {
            if self.logged.insert(unset.clone()) {
                warn!("{unset}");
            }
        }
        all
    }

    /// As [`Host::prepare`], for a process that ends then: what is the process's own is left.
    ///
    /// # Errors
    /// If something had to be set, nothing could be, and nothing was as `config` says before.
    pub fn initialise(&mut self, config: &HostConfig) -> Result<(), NothingSet> {
        let config = HostConfig { oom_score_adj: None, ..config.clone() };
        let unset = self.prepare(&config);
        let all = wanted(&config, self.files.cores(), &Present::new());
        let is_unset = |setting: &Setting| unset.iter().any(|unset| unset.setting.knob == setting.knob);
        let holds = |setting: &Setting| !is_unset(setting) && self.kept != Some(*setting);
        if unset.is_empty() || all.iter().any(holds) { Ok(()) } else { Err(NothingSet) }
    }
}

/// Whether it is no loss: the default score, which no operator has asked for, in a container without
/// CAP_SYS_RESOURCE.
fn is_optional(Setting { knob, value }: Setting, error: &io::Error) -> bool {
    let default = HostConfig::default().oom_score_adj.map(i64::from);
    knob == Knob::OomScoreAdj && Some(value) == default && error.kind() == io::ErrorKind::PermissionDenied
}

/// `net.netfilter.nf_conntrack_max: cannot be set to 131072, is 65536: Read-only file system`
impl fmt::Display for Unset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Setting { knob, value } = self.setting;
        write!(f, "{knob}: cannot be set to {value}")?;
        match self.present {
            Some(present) => write!(f, ", is {present}: {}", self.reason),
            None => write!(f, ": {}", self.reason),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use tempfile::TempDir;

    use super::*;

    /// A node's files, with these values.
    fn node(values: &[(Knob, &str)]) -> (TempDir, Host) {
        let root = tempfile::tempdir().unwrap();
        for (path, value) in values.iter().map(|(knob, value)| (knob.path(), value)) {
            put(root.path(), path, value);
        }
        put(root.path(), "sys/devices/system/cpu/online", "0-3,5\n");
        let host = Host { files: Files::below(root.path()), logged: BTreeSet::new(), kept: None };
        (root, host)
    }

    fn put(root: &Path, path: &str, value: &str) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, value).unwrap();
    }

    fn read(root: &TempDir, knob: Knob) -> String {
        fs::read_to_string(root.path().join(knob.path())).unwrap()
    }

    const NODE: [(Knob, &str); 5] = [
        (Knob::ConntrackMax, "65536\n"),
        (Knob::ConntrackBuckets, "16384\n"),
        (Knob::TcpEstablished, "432000\n"),
        (Knob::TcpCloseWait, "60\n"),
        (Knob::OomScoreAdj, "0\n"),
    ];

    #[test]
    fn the_defaults_are_written_and_then_nothing_is_left_to_write() {
        let (root, mut host) = node(&NODE);
        assert_eq!(host.prepare(&HostConfig::default()), []);
        for (knob, value) in [
            (Knob::ConntrackMax, "163840"), // five processors
            (Knob::ConntrackBuckets, "40960"),
            (Knob::TcpEstablished, "86400"),
            (Knob::TcpCloseWait, "3600"),
            (Knob::OomScoreAdj, "-999"),
        ] {
            assert_eq!(read(&root, knob), value, "{knob}");
        }
        let present = host.files.present(&HostConfig::default());
        assert_eq!(wanted(&HostConfig::default(), host.files.cores(), &present), []);
    }

    #[test]
    fn what_cannot_be_written_is_returned_and_logged_once_and_the_rest_is_set() {
        let (root, mut host) = node(&NODE[3..]);
        let missing = host.prepare(&HostConfig::default());
        let knobs: Vec<_> = missing.iter().map(|unset| unset.setting.knob).collect();
        assert_eq!(knobs, [Knob::ConntrackMax, Knob::TcpEstablished]);
        assert!(
            missing[0].to_string().starts_with("net.netfilter.nf_conntrack_max: cannot be set to 163840: No such file")
        );
        assert_eq!((read(&root, Knob::TcpCloseWait), host.logged.len()), ("3600".to_owned(), 2));
        assert_eq!(host.prepare(&HostConfig::default()), missing);
        assert_eq!(host.logged.len(), 2);
    }

    #[test]
    fn a_score_that_is_not_permitted_is_a_failure_only_if_it_was_asked_for() {
        let refused = io::Error::from(io::ErrorKind::PermissionDenied);
        let score = |value| Setting { knob: Knob::OomScoreAdj, value };
        assert!(is_optional(score(-999), &refused));
        assert!(!is_optional(score(-998), &refused));
        assert!(!is_optional(score(-999), &io::Error::from(io::ErrorKind::NotFound)));
        assert!(!is_optional(Setting { knob: Knob::ConntrackMax, value: -999 }, &refused));
    }
}
