//! Follows the configuration file while the agent runs.
//!
//! ```text
//! inotify ──► watch (it may have changed) ──► text, if another ──► ConfigFile::read ──► watch::Sender<Config>
//!                                                                        └─► mistakes: the former one holds
//! ```
//!
//! The file may be edited in place, replaced by rename, or be in a mounted ConfigMap (`..data` is swapped). A file that
//! cannot be read, or has a mistake, changes nothing.

mod watch;

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::sync::watch::Sender;
use tracing::{error, info, warn};

use self::watch::Watch;
use super::Config;
use super::action::ConfigFile;
use super::difference::{Part, changes};
use super::findings::{ConfigError, Mistake, Place, Remark};

/// How often a file is looked for whose folder is not there.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// What became of another text of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is in force.
    Taken {
        /// Who has to act.
        parts: BTreeSet<Part>,
        /// What is to be said of it.
        remarks: Vec<Remark>,
    },
    /// The former configuration holds.
    Refused(ConfigError),
}

/// Publishes each new configuration that `file` means, until nobody listens to `configs`. `heard` is told what became of each
/// new text; [`log`] is usual.
pub async fn follow(file: ConfigFile, configs: Sender<Config>, mut heard: impl FnMut(&Outcome)) {
    let mut former = None;
    loop {
        // Before it is read: what changes later is noticed.
        let watch = Watch::on(file.path());
        let text = std::fs::read_to_string(file.path()).map_err(|error| error.to_string());
        if former.as_ref() != Some(&text) {
            let outcome = take(&file, &text, &configs);
            let nothing_new = matches!(&outcome, Outcome::Taken { parts, .. } if parts.is_empty());
            // The first text is the one that the agent was started with, unless it has changed since.
            if former.is_some() || !nothing_new {
                heard(&outcome);
            }
            former = Some(text);
        }
        tokio::select! {
            () = noticed(watch) => {}
            () = configs.closed() => return,
        }
    }
}

fn take(file: &ConfigFile, text: &Result<String, String>, configs: &Sender<Config>) -> Outcome {
    let read = match text {
        Ok(text) => file.read(text),
        Err(reason) => Err(Mistake {
            place: Place::File { file: file.path().display().to_string(), line: None },
            reason: reason.clone(),
        }
        .into()),
    };
    match read {
        Ok((config, remarks)) => {
            let parts = changes(&configs.borrow(), &config);
            configs.send_if_modified(|former| {
                let other = *former != config;
                *former = config;
                other
            });
            Outcome::Taken { parts, remarks }
        }
        Err(error) => Outcome::Refused(error),
    }
}

async fn noticed(watch: std::io::Result<Watch>) {
    match watch {
        Ok(watch) => watch.noticed().await,
        Err(_) => tokio::time::sleep(LOOK_AGAIN).await,
    }
}

/// Logs what became of another text of the file.
pub fn log(outcome: &Outcome) {
    match outcome {
        Outcome::Taken { parts, remarks } => {
            remarks.iter().for_each(|remark| warn!("{remark}"));
            info!(?parts, "configuration file was changed and is in force");
        }
        Outcome::Refused(mistakes) => {
            mistakes.mistakes().iter().for_each(|mistake| error!("{mistake}"));
            error!("configuration file was changed and is refused, the former configuration holds");
        }
    }
}
