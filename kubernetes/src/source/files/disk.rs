//! The folder on disk: names, texts, and what inotify says may have changed.
//!
//! A notice names a file and never says what is in it: the file is read again.

use std::collections::BTreeSet;
use std::io::{Error, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::StreamExt;
use inotify::{EventMask, EventOwned, EventStream, Inotify, WatchMask};

/// A watched folder.
pub(super) struct FolderWatch {
    folder: PathBuf,
    events: EventStream<[u8; 4096]>,
    noticed: Noticed,
}

/// What may have changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Noticed {
    /// These files.
    pub(super) files: BTreeSet<String>,
    /// Any file: events were lost, or a mounted ConfigMap was swapped.
    pub(super) everything: bool,
    /// The folder was deleted, moved away or unmounted.
    pub(super) folder_lost: bool,
}

impl FolderWatch {
    /// Watches `folder` from now on.
    pub(super) fn on(folder: &Path) -> Result<Self, Error> {
        let inotify = Inotify::init()?;
        // Not MODIFY: a file is read when its writer has closed it, never half written.
        let mask = WatchMask::CLOSE_WRITE
            | WatchMask::MOVE
            | WatchMask::CREATE
            | WatchMask::DELETE
            | WatchMask::ATTRIB
            | WatchMask::DELETE_SELF
            | WatchMask::MOVE_SELF
            | WatchMask::ONLYDIR;
        inotify.watches().add(folder, mask)?;
        Ok(Self {
            folder: folder.to_owned(),
            events: inotify.into_event_stream([0; 4096])?,
            noticed: Noticed::default(),
        })
    }

    /// Waits until something may have changed, and takes with it what follows within `settle`. Cancel-safe.
    pub(super) async fn next(&mut self, settle: Duration) -> Noticed {
        while self.noticed == Noticed::default() {
            let event = self.events.next().await;
            self.note(event);
        }
        let settled = tokio::time::sleep(settle);
        tokio::pin!(settled);
        while !self.noticed.folder_lost {
            tokio::select! {
                () = &mut settled => break,
                event = self.events.next() => self.note(event),
            }
        }
        std::mem::take(&mut self.noticed)
    }

    fn note(&mut self, event: Option<Result<EventOwned, Error>>) {
        let Some(Ok(event)) = event else {
            // The watch itself failed; a new one starts with reading everything.
            self.noticed.folder_lost = true;
            return;
        };
        let lost = EventMask::DELETE_SELF | EventMask::MOVE_SELF | EventMask::UNMOUNT | EventMask::IGNORED;
        self.noticed.folder_lost |= event.mask.intersects(lost);
        self.noticed.everything |= event.mask.contains(EventMask::Q_OVERFLOW);
        let Some(name) = event.name.as_ref().and_then(|name| name.to_str()) else { return };
        self.noticed.everything |= name.starts_with("..");
        if counts(name) && !(event.mask.contains(EventMask::CREATE) && self.is_being_written(name)) {
            self.noticed.files.insert(name.to_owned());
        }
    }

    /// Whether a name that just appeared is a new file, which its writer will close, and no link.
    fn is_being_written(&self, name: &str) -> bool {
        self.folder.join(name).symlink_metadata().is_ok_and(|file| file.is_file() && file.nlink() == 1)
    }
}

/// What became of an attempt to read a file.
pub(super) enum FileText {
    Text(String),
    /// It is not there, or it is no file.
    Gone,
    Failed(Error),
}

/// Names of the files in `folder` that count.
pub(super) fn names(folder: &Path) -> Result<BTreeSet<String>, Error> {
    let mut names = BTreeSet::new();
    for entry in std::fs::read_dir(folder)? {
        if let Ok(name) = entry?.file_name().into_string()
            && counts(&name)
        {
            names.insert(name);
        }
    }
    Ok(names)
}

/// Whether a file of this name counts: YAML or JSON, and not hidden.
pub(super) fn counts(name: &str) -> bool {
    let extension = Path::new(name).extension().and_then(|extension| extension.to_str());
    !name.starts_with('.') && matches!(extension, Some("yaml" | "yml" | "json"))
}

/// Reads the file `name`, through symbolic links.
pub(super) fn read(folder: &Path, name: &str) -> FileText {
    match std::fs::read_to_string(folder.join(name)) {
        Ok(text) => FileText::Text(text),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::IsADirectory) => FileText::Gone,
        Err(error) => FileText::Failed(error),
    }
}

#[cfg(test)]
mod tests {
    use super::counts;

    #[test]
    fn hidden_files_and_other_formats_do_not_count() {
        for name in ["a.yaml", "a.yml", "a.json", "a.b.yaml"] {
            assert!(counts(name), "{name}");
        }
        for name in [".a.yaml", "..data", ".a.yaml.swp", "a.yaml~", "a.txt", "yaml", "4913"] {
            assert!(!counts(name), "{name}");
        }
    }
}
