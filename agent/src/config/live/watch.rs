//! Notices through inotify that one file may have changed.
//!
//! Unlike the watch of the file source, which has a folder's files for its objects, this one has one file, of any name,
//! and follows links out of the folder. It lasts for one notice: links may lead elsewhere afterwards.

use std::ffi::OsString;
use std::io::{Error, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::StreamExt;
use inotify::{EventMask, EventOwned, EventStream, Inotify, WatchMask};

/// An editor needs several steps to save a file: what follows within this time is read once.
const SETTLE: Duration = Duration::from_millis(5);

pub(super) struct Watch {
    path: PathBuf,
    name: OsString,
    events: EventStream<[u8; 4096]>,
}

impl Watch {
    /// Watches the file `path`, and its name, from now on.
    pub(super) fn on(path: &Path) -> Result<Self, Error> {
        let name = path.file_name().ok_or(ErrorKind::IsADirectory)?.to_owned();
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let inotify = Inotify::init()?;
        // Not MODIFY: a file is read when its writer has closed it, never half written.
        let itself = WatchMask::CLOSE_WRITE | WatchMask::ATTRIB | WatchMask::DELETE_SELF | WatchMask::MOVE_SELF;
        let names = itself | WatchMask::MOVE | WatchMask::CREATE | WatchMask::DELETE | WatchMask::ONLYDIR;
        inotify.watches().add(folder, names)?;
        match inotify.watches().add(path, itself) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {} // where it is not there yet, its name tells
        }
        Ok(Self { path: path.to_owned(), name, events: inotify.into_event_stream([0; 4096])? })
    }

    /// Waits until the file may have changed.
    pub(super) async fn noticed(mut self) {
        while let Some(Ok(event)) = self.events.next().await {
            if self.concerns(&event) {
                break;
            }
        }
        tokio::time::sleep(SETTLE).await;
    }

    fn concerns(&self, event: &EventOwned) -> bool {
        match &event.name {
            // The file itself, or the folder.
            None => true,
            Some(name) if *name == self.name => !(event.mask.contains(EventMask::CREATE) && self.is_being_written()),
            // `..data` of a mounted ConfigMap.
            Some(name) => name.as_bytes().starts_with(b".."),
        }
    }

    /// Whether the name that just appeared is a new file, which its writer will close, and no link.
    fn is_being_written(&self) -> bool {
        self.path.symlink_metadata().is_ok_and(|file| file.is_file() && file.nlink() == 1)
    }
}
