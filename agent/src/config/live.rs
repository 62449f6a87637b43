//! Watches the configuration file while the agent runs.
//!
//! ```text
//! FollowedFiles (another text) ──► ConfigFile::read ──► watch::Sender<Config>
//!                                       └─► mistakes: the former one stays
//! ```
//!
//! The file may be edited in place, replaced by rename, be in a mounted ConfigMap (`..data` is swapped), or behind links
//! that are switched. A file that cannot be read, or has a mistake, changes nothing.

use kubernetes::source::files::{FollowedFiles, Seen};
use tokio::sync::watch::Sender;

use super::action::ConfigFile;
use super::findings::{ConfigError, Mistake, Place, Remark};
use super::settings::Config;

const ABSENT: &str = "is not there";

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
pub async fn watch_file(file: ConfigFile, configs: Sender<Config>, mut told: impl FnMut(&Reread) + Send) {
    // A path that names no file could not be read at the start either.
    let Some(mut followed) = FollowedFiles::one(file.path()) else { return configs.closed().await };
    let mut former = None;
    loop {
        let mut texts = Vec::new();
        followed
            .look(&mut |seen| match seen {
                Seen::Text { text, .. } => texts.push(Ok(text)),
                Seen::Unreadable { reason, .. } | Seen::NoFolder { reason } => texts.push(Err(reason)),
                Seen::Gone { .. } => texts.push(Err(ABSENT.to_owned())),
                Seen::All if texts.is_empty() => texts.push(Err(ABSENT.to_owned())),
                _ => {}
            })
            .await;
        for text in texts.into_iter().filter(|text| former.as_ref() != Some(text)).collect::<Vec<_>>() {
            let outcome = reread(&file, &text, &configs);
            let same = matches!(&outcome, Reread::Applied { former, config, .. } if former == config);
            // The first text is the one that the agent was started with, unless it has changed since.
            if former.is_some() || !same {
                told(&outcome);
            }
            former = Some(text);
        }
        tokio::select! {
            () = followed.changed() => {}
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
