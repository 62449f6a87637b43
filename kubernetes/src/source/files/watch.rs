//! What inotify says of a folder: which files may have changed, and whether they are complete.
//!
//! A notice names a file and never says what is in it: the file is read again.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::io::ErrorKind;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use futures_util::{FutureExt, StreamExt};
use inotify::{EventMask, EventStream, Inotify, WatchMask};
use nix::errno::Errno;

use super::disk::{Identity, Which, errno};

/// The kernel follows no more links in one path.
const LINKS: usize = 40;

/// What the last event about a file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Notice {
    /// It appeared: by `open`, and then it will be written and closed, or by a link to what is complete.
    Created,
    /// It was written or cut, and the writer may go on.
    Written,
    /// Its writer closed it, or it was renamed to this name.
    Complete,
    /// Its rights, times or number of names are others.
    Attributes,
    /// It was deleted or renamed.
    Removed,
}

/// What may have changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Notices {
    pub(super) files: BTreeMap<String, Notice>,
    /// Those that were written meanwhile, whatever the last event says.
    pub(super) written: BTreeSet<String>,
    /// Any file: events were lost, a mounted ConfigMap was swapped, or a link of the folder's path leads elsewhere.
    pub(super) everything: bool,
    /// The folder was deleted, moved away or unmounted.
    pub(super) lost: bool,
}

/// A watch that was set up, before anything waits for it.
pub(super) struct Set {
    inotify: Inotify,
    watched: Watched,
}

/// A watched folder.
pub(super) struct Watch {
    events: EventStream<[u8; 4096]>,
    /// The same queue, to see what is in it now: the stream sees it when the runtime has looked.
    now: Inotify,
    watched: Watched,
}

/// Of a watch, in the queue's events.
type Descriptor = i32;

/// What is watched: what an event is about.
struct Watched {
    folder: Descriptor,
    which: Which,
    /// The links along the folder's path, each in the folder that it is in.
    links: Vec<(Descriptor, OsString)>,
    identity: Identity,
}

impl Set {
    /// Watches `folder`, and the links along its path, from now on. May hang.
    pub(super) fn on(folder: &Path, which: Which) -> Result<Self, Errno> {
        let inotify = Inotify::init().map_err(errno)?;
        let names = WatchMask::MOVE | WatchMask::CREATE | WatchMask::DELETE | WatchMask::ONLYDIR | WatchMask::MASK_ADD;
        let files = WatchMask::MODIFY | WatchMask::CLOSE_WRITE | WatchMask::ATTRIB;
        let itself = WatchMask::DELETE_SELF | WatchMask::MOVE_SELF;
        let identity = Identity::at(folder)?;
        let watch = |path: &Path, mask| Ok(inotify.watches().add(path, mask)?.get_watch_descriptor_id());
        let watched = watch(folder, names | files | itself).map_err(errno)?;
        if Identity::at(folder)? != identity {
            return Err(Errno::ESTALE);
        }
        // A link that cannot be watched is noticed when the folder is looked at.
        let links = links(folder).into_iter();
        let links = links.filter_map(|(parent, link)| Some((watch(&parent, names).ok()?, link))).collect();
        Ok(Self { inotify, watched: Watched { folder: watched, which, links, identity } })
    }

    /// Ready to be waited for.
    pub(super) fn listen(self) -> Result<Watch, Errno> {
        let now = Inotify::from(self.inotify.as_fd().try_clone_to_owned().map_err(errno)?);
        Ok(Watch { events: self.inotify.into_event_stream([0; 4096]).map_err(errno)?, now, watched: self.watched })
    }
}

impl Watch {
    /// Which folder is watched.
    pub(super) fn identity(&self) -> Identity {
        self.watched.identity
    }

    /// Waits until something happened, and adds it to `notices`. Cancel-safe.
    pub(super) async fn wait(&mut self, notices: &mut Notices) {
        match self.events.next().await {
            Some(Ok(event)) => notices.note(&self.watched, event.wd.get_watch_descriptor_id(), event.mask, &event.name),
            _ => notices.lost = true,
        }
        self.take(notices);
    }

    /// Adds what happened until now to `notices`.
    pub(super) fn take(&mut self, notices: &mut Notices) {
        while let Some(Some(Ok(event))) = self.events.next().now_or_never() {
            notices.note(&self.watched, event.wd.get_watch_descriptor_id(), event.mask, &event.name);
        }
        let mut buffer = [0; 4096];
        loop {
            match self.now.read_events(&mut buffer) {
                Ok(events) => events.for_each(|event| {
                    notices.note(&self.watched, event.wd.get_watch_descriptor_id(), event.mask, &event.name);
                }),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => {
                    // The watch itself failed; a new one starts with looking at everything.
                    notices.lost = true;
                    return;
                }
            }
        }
    }
}

impl Notices {
    fn note(&mut self, watched: &Watched, about: Descriptor, mask: EventMask, name: &Option<impl AsRef<OsStr>>) {
        let name = name.as_ref().map(AsRef::as_ref);
        self.everything |= mask.contains(EventMask::Q_OVERFLOW);
        self.everything |=
            watched.links.iter().any(|(parent, link)| about == *parent && name == Some(link.as_os_str()));
        if about != watched.folder {
            return;
        }
        let lost = EventMask::DELETE_SELF | EventMask::MOVE_SELF | EventMask::UNMOUNT | EventMask::IGNORED;
        self.lost |= mask.intersects(lost);
        let Some(name) = name else { return };
        self.everything |= name.as_bytes().starts_with(b"..");
        let Some(name) = name.to_str().filter(|name| watched.which.has(name)) else { return };
        let notice = match mask {
            mask if mask.intersects(EventMask::DELETE | EventMask::MOVED_FROM) => Notice::Removed,
            mask if mask.intersects(EventMask::CLOSE_WRITE | EventMask::MOVED_TO) => Notice::Complete,
            mask if mask.contains(EventMask::CREATE) => Notice::Created,
            mask if mask.contains(EventMask::MODIFY) => Notice::Written,
            // Says less than what was noticed before.
            _ if self.files.contains_key(name) => return,
            _ => Notice::Attributes,
        };
        if notice == Notice::Written {
            self.written.insert(name.to_owned());
        }
        self.files.insert(name.to_owned(), notice);
    }
}

/// The links along `path`, each with the folder that it is in.
fn links(path: &Path) -> Vec<(PathBuf, OsString)> {
    let mut links = Vec::new();
    let mut at = PathBuf::from(".");
    let mut rest: Vec<OsString> = parts(path);
    while let Some(part) = rest.pop() {
        let next = at.join(&part);
        match std::fs::read_link(&next) {
            Ok(target) if links.len() < LINKS => {
                links.push((at.clone(), part));
                rest.extend(parts(&target));
            }
            _ => at = next,
        }
    }
    links
}

/// The parts of `path`, the first one last.
fn parts(path: &Path) -> Vec<OsString> {
    path.components().rev().map(|part: Component<'_>| part.as_os_str().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn every_link_along_a_path_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::create_dir_all(path("real/inner")).unwrap();
        symlink("real", path("first")).unwrap();
        symlink("../first/inner", path("real/second")).unwrap();
        let found: Vec<_> = links(&path("first/second")).into_iter().map(|(_, link)| link).collect();
        assert_eq!(found, ["first", "second", "first"]);
        symlink("circle", path("circle")).unwrap();
        assert_eq!(links(&path("circle")).len(), LINKS);
    }
}
