//! Notices through inotify that files of a folder may have changed.
//!
//! Says which, never what: whoever is told reads the file and sees for himself.

use std::collections::BTreeSet;
use std::io::Error;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::StreamExt;
use inotify::{EventMask, EventOwned, EventStream, Inotify, WatchMask};

use super::disk::counts;

/// A watched folder.
pub(super) struct Watch {
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

impl Watch {
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
