//! A folder of YAML and JSON files as a source: no Kubernetes needed.
//!
//! ```text
//! inotify ──► disk (which files may have changed, and their text) ──► folder (pure: what that means) ──► Event
//! ```
//!
//! Every `*.yaml`, `*.yml` and `*.json` in the folder counts, hidden files and sub-folders do not. Files may be
//! replaced by rename or edited in place, and the folder may be a mounted ConfigMap (`..data` is swapped).

mod disk;
mod folder;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::Instant;

use self::disk::{FileText, FolderWatch, Noticed};
use self::folder::Folder;
use super::{Event, Sender, Trouble};

/// An editor needs several steps to save a file: what follows within this time is read once.
const SETTLE: Duration = Duration::from_millis(5);

/// How long a file that has lost all its content may be one that is written anew right now.
const HOLLOW: Duration = Duration::from_secs(1);

/// How often a folder that is not there is looked for: nothing can be watched where nothing is.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// Tells what is in the folder `path`, now and whenever it changes, until the receiver of `told` is dropped.
///
/// A folder that is not there is waited for: an unmounted folder is no order to delete every service. So is one that
/// vanishes, while files that are deleted one by one are gone.
pub async fn watch_folder(path: PathBuf, told: Sender) {
    let mut reader = FolderReader { folder: Folder::default(), hollow: BTreeSet::new(), listed: false, path, told };
    let mut absent = None;
    loop {
        match FolderWatch::on(&reader.path) {
            Ok(mut watch) => {
                absent = None;
                if reader.while_there(&mut watch).await.is_none() {
                    return;
                }
            }
            Err(error) => {
                let reason = format!("{error}; waiting for it, objects read before are kept");
                if absent.replace(reason.clone()) != Some(reason.clone()) && reader.complain(reason).await.is_none() {
                    return;
                }
                tokio::select! {
                    () = tokio::time::sleep(LOOK_AGAIN) => {}
                    () = reader.told.closed() => return,
                }
            }
        }
    }
}

struct FolderReader {
    path: PathBuf,
    folder: Folder,
    /// Files without content that had some, and may be about to have some again.
    hollow: BTreeSet<(Instant, String)>,
    listed: bool,
    told: Sender,
}

/// `None`: the receiver of events is dropped.
type Alive = Option<()>;

impl FolderReader {
    /// Reads everything, then what changes, for as long as the folder is there.
    async fn while_there(&mut self, watch: &mut FolderWatch) -> Alive {
        self.read_everything().await?;
        loop {
            let deadline = self.hollow.first().map(|(until, _)| *until);
            let noticed = tokio::select! {
                noticed = watch.next(SETTLE) => noticed,
                () = sleep_until(deadline) => Noticed::default(),
                () = self.told.closed() => return None,
            };
            if noticed.folder_lost {
                // Files that were deleted before the folder was, are gone; those that went away with it are not.
                self.read(noticed.files).await?;
                return self.complain("folder is gone; waiting for it, objects read before are kept".into()).await;
            }
            if noticed.everything {
                self.read_everything().await?;
            } else {
                self.read(noticed.files).await?;
            }
        }
    }

    async fn read_everything(&mut self) -> Alive {
        let there = match disk::names(&self.path) {
            Ok(there) => there,
            Err(error) => return self.complain(format!("{error}; objects read before are kept")).await,
        };
        let files = there.union(&self.folder.files()).cloned().collect();
        self.read(files).await?;
        if !self.listed {
            self.listed = true;
            self.tell(vec![Event::Listed]).await?;
        }
        Some(())
    }

    /// Reads `files` and those whose time to stay without content is over.
    async fn read(&mut self, files: BTreeSet<String>) -> Alive {
        let now = Instant::now();
        let mut events = Vec::new();
        for name in self.expired(now).into_iter().chain(files).collect::<BTreeSet<_>>() {
            let waited = self.forget_hollow(&name).is_some_and(|until| until <= now);
            match disk::read(&self.path, &name) {
                FileText::Text(text) if !waited && self.folder.would_lose_all(&name, &text) => {
                    self.hollow.insert((now + HOLLOW, name));
                }
                FileText::Text(text) => events.extend(self.folder.read(&name, &text)),
                FileText::Gone => events.extend(self.folder.gone(&name)),
                FileText::Failed(error) => events.extend(self.folder.unreadable(&name, &error)),
            }
        }
        self.tell(events).await
    }

    fn expired(&self, now: Instant) -> Vec<String> {
        self.hollow.iter().filter(|(until, _)| *until <= now).map(|(_, name)| name.clone()).collect()
    }

    fn forget_hollow(&mut self, name: &str) -> Option<Instant> {
        let entry = self.hollow.iter().find(|(_, hollow)| hollow == name).cloned()?;
        self.hollow.remove(&entry);
        Some(entry.0)
    }

    async fn complain(&self, reason: String) -> Alive {
        let place = Path::display(&self.path).to_string();
        self.tell(vec![Event::Trouble(Trouble { place, line: None, object: None, reason })]).await
    }

    async fn tell(&self, events: Vec<Event>) -> Alive {
        if events.is_empty() { Some(()) } else { self.told.send(events).await.ok() }
    }
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
