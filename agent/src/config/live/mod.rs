//! Watches the configuration file while the agent runs.
//!
//! ```text
//! inotify ──► watch (it may have changed) ──► text, if another ──► ConfigFile::read ──► watch::Sender<Config>
//!                                                                        └─► mistakes: the former one stays
//! ```
//!
//! The file may be edited in place, replaced by rename, or be in a mounted ConfigMap (`..data` is swapped). A file that
//! cannot be read, or has a mistake, changes nothing.

mod watch;

use std::time::Duration;

use tokio::sync::watch::Sender;

use self::watch::Watch;
use super::action::ConfigFile;
use super::findings::{ConfigError, Mistake, Place, Remark};
use super::settings::Config;

/// How often a file is looked for whose folder is not there.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// What became of a new text of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reread {
    /// It is in force.
    Applied {
        /// The configuration before.
        former: Box<Config>,
        /// The configuration from now on.
        config: Box<Config>,
        /// What is to be said of it.
        remarks: Vec<Remark>,
    },
    /// The former configuration stays in force.
    Refused(ConfigError),
}

/// Publishes each new configuration that `file` means, until `configs` has no receiver any more. `told` hears what
/// became of each new text.
pub async fn watch_file(file: ConfigFile, configs: Sender<Config>, mut told: impl FnMut(&Reread)) {
    let mut former = None;
    loop {
        // Set up before the file is read, so that a later change is not missed.
        let watch = Watch::on(file.path());
        let text = std::fs::read_to_string(file.path()).map_err(|error| error.to_string());
        if former.as_ref() != Some(&text) {
            let outcome = reread(&file, &text, &configs);
            let same = matches!(&outcome, Reread::Applied { former, config, .. } if former == config);
            // The first text is the one that the agent was started with, unless it has changed since.
            if former.is_some() || !same {
                told(&outcome);
            }
            former = Some(text);
        }
        tokio::select! {
            () = changed(watch) => {}
            () = configs.closed() => return,
        }
    }
}

fn reread(file: &ConfigFile, text: &Result<String, String>, configs: &Sender<Config>) -> Reread {
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
            let mut former = config.clone();
            configs.send_if_modified(|current| {
                std::mem::swap(current, &mut former);
                *current != former
            });
            Reread::Applied { former: Box::new(former), config: Box::new(config), remarks }
        }
        Err(error) => Reread::Refused(error),
    }
}

/// Waits until the file may have changed.
async fn changed(watch: std::io::Result<Watch>) {
    match watch {
        Ok(watch) => watch.noticed().await,
        Err(_) => tokio::time::sleep(LOOK_AGAIN).await,
    }
}
