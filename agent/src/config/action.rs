//! What a command line asks for: flags and file put together.

use std::path::{Path, PathBuf};

use super::findings::{ConfigError, Findings, Mistake, Place, Remark};
use super::settings::{Config, Written};
use super::{RunFlags, Verbosity, file};
use kubernetes::source::SourceConfig;

/// What is to be done, and what is to be said before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// What is to be done.
    pub action: Action,
    /// What was accepted, and does something else than it seems to.
    pub remarks: Vec<Remark>,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Forward service traffic.
    Run {
        /// As this says.
        config: Box<Config>,
        /// The file that it comes from, to be watched.
        file: Option<Box<ConfigFile>>,
    },
    /// Write the configuration to a file.
    WriteConfig {
        /// This one.
        config: Box<Config>,
        /// There.
        to: PathBuf,
    },
    /// Set on the node what needs all privileges, and nothing else.
    InitOnly(Box<Config>),
    /// Remove everything that is Switchyard's.
    CleanUp,
}

impl Action {
    /// How much is logged meanwhile.
    pub fn verbosity(&self) -> Verbosity {
        match self {
            Self::Run { config, .. } | Self::InitOnly(config) => config.verbosity,
            Self::WriteConfig { .. } | Self::CleanUp => Verbosity::AGENT,
        }
    }
}

/// A configuration file, and the flags that override it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigFile {
    path: PathBuf,
    above: Written,
    place: Surroundings,
}

/// Whether this process runs in a pod, and can reach its cluster's API by the pod's service account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Surroundings {
    Pod,
    NoPod,
}

impl RunFlags {
    /// What these flags ask for, with `-v`.
    ///
    /// # Errors
    /// Every mistake in the file, or in flags that make no sense together.
    pub fn order(self, verbosity: Option<Verbosity>) -> Result<Order, ConfigError> {
        self.order_in(verbosity, Surroundings::here())
    }

    fn order_in(self, verbosity: Option<Verbosity>, place: Surroundings) -> Result<Order, ConfigError> {
        // Removal depends on the kernel, not on the configuration.
        if self.deeds.cleans_up() && self.deeds.write_config_to.is_none() {
            return Ok(Order { action: Action::CleanUp, remarks: Vec::new() });
        }
        let above = self.above(verbosity);
        let file = self.deeds.config.clone().map(|path| ConfigFile { path, above: above.clone(), place });
        let mut findings = Findings::default();
        let (config, mut remarks) = match &file {
            Some(file) => {
                self.remark_ignored(&mut findings);
                file.look()?
            }
            None => {
                let below = self.below(&above, &mut findings);
                let ((), remarks) = std::mem::take(&mut findings).end(())?;
                (above.over(below).config()?, remarks)
            }
        };
        remarks.splice(..0, findings.remarks);
        let config = Box::new(config);
        let action = if let Some(to) = self.deeds.write_config_to {
            Action::WriteConfig { config, to }
        } else if self.deeds.only_initialises() {
            Action::InitOnly(config)
        } else {
            place.reach(&config)?;
            Action::Run { config, file: file.map(Box::new) }
        };
        Ok(Order { action, remarks })
    }

    /// The configuration that these flags mean, whatever is to be done with it.
    ///
    /// # Errors
    /// As [`RunFlags::order`].
    pub fn config(mut self) -> Result<Config, ConfigError> {
        self.deeds.write_config_to = Some(PathBuf::new());
        match self.order(None)?.action {
            Action::WriteConfig { config, .. } => Ok(*config),
            Action::Run { .. } | Action::InitOnly(_) | Action::CleanUp => unreachable!("writing goes before all else"),
        }
    }
}

impl ConfigFile {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The configuration of an agent that its text means, with what is to be remarked.
    ///
    /// # Errors
    /// Every mistake in it.
    pub fn read(&self, text: &str) -> Result<(Config, Vec<Remark>), ConfigError> {
        let (config, remarks) = self.parse(text)?;
        self.place.reach(&config)?;
        Ok((config, remarks))
    }

    fn look(&self) -> Result<(Config, Vec<Remark>), ConfigError> {
        let text = std::fs::read_to_string(&self.path).map_err(|error| Mistake {
            place: Place::File { file: self.path.display().to_string(), line: None },
            reason: error.to_string(),
        })?;
        self.parse(&text)
    }

    fn parse(&self, text: &str) -> Result<(Config, Vec<Remark>), ConfigError> {
        parse(&self.path.display().to_string(), text, &self.above)
    }
}

/// The configuration that `text` means without flags, with what is to be remarked. Messages name the file `name`.
///
/// # Errors
/// Every mistake in it.
pub fn parse_file(name: &str, text: &str) -> Result<(Config, Vec<Remark>), ConfigError> {
    parse(name, text, &Written::default())
}

fn parse(name: &str, text: &str, above: &Written) -> Result<(Config, Vec<Remark>), ConfigError> {
    let mut findings = Findings::default();
    let below = file::read(name, text, above, &mut findings);
    let ((), remarks) = findings.end(())?;
    Ok((above.clone().over(below).config()?, remarks))
}

impl Surroundings {
    fn here() -> Self {
        if std::env::var_os("KUBERNETES_SERVICE_HOST").is_some() { Self::Pod } else { Self::NoPod }
    }

    /// Checks that there is a way to the source.
    fn reach(self, config: &Config) -> Result<(), Mistake> {
        match &config.source {
            SourceConfig::Kubernetes(way) if way.kubeconfig.is_none() && way.masters.is_empty() => match self {
                Self::Pod => Ok(()),
                Self::NoPod => Err(Mistake {
                    place: Place::Flag("source".into()),
                    reason: "missing: give --source, --kubeconfig, --master or the file's clientConnection.kubeconfig; only in a \
                             pod, where KUBERNETES_SERVICE_HOST is set, none of them is needed"
                        .into(),
                }),
            },
            SourceConfig::Kubernetes(_) | SourceConfig::Folder(_) => Ok(()),
        }
    }
}
