//! The folder that a path leads to now: which one it is, the names in it, and the watch on it.
//!
//! A path may lead to another folder than before: a link was switched, something was mounted or unmounted.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use nix::errno::Errno;
use tokio::time::Instant;
use tracing::{info, warn};

use super::aside::{Hung, PATIENCE, aside};
use super::disk::{Identity, Listing, Which, list};
use super::watch::{Notices, Set, Watch};

/// How long a folder in another's place may be one that is being filled.
const FILL: Duration = Duration::from_secs(1);

/// A path, and where it leads.
pub(super) struct Place {
    pub(super) path: PathBuf,
    pub(super) which: Which,
    /// The folder whose files are those that were told.
    known: Option<Identity>,
    /// Whether that was away since: a new file system may have the identity of one that is gone.
    was_away: bool,
    /// Another folder in its place, and since when it has these files.
    other: Option<(Listing, Instant)>,
    watch: Option<Watch>,
    /// Why it is not watched, as it was said.
    unwatched: Option<Errno>,
    hangs: Option<Hung>,
}

/// The names in a folder.
pub(super) struct Names {
    pub(super) names: BTreeSet<String>,
    /// Whether it is another folder than before.
    pub(super) another: bool,
    /// Whether a file that is not here is gone. Not in another folder that is being filled.
    pub(super) whole: bool,
}

impl Place {
    pub(super) fn at(path: PathBuf, which: Which) -> Self {
        Self { path, which, known: None, was_away: false, other: None, watch: None, unwatched: None, hangs: None }
    }

    /// Whether `folder` is the one whose files were told.
    pub(super) fn is_known(&self, folder: Identity) -> bool {
        self.known == Some(folder) && !self.was_away
    }

    /// Waits for notices, for ever where there is no watch. Cancel-safe.
    pub(super) async fn wait(&mut self, notices: &mut Notices) {
        match &mut self.watch {
            Some(watch) => watch.wait(notices).await,
            None => std::future::pending().await,
        }
    }

    /// Takes the notices that are there.
    pub(super) fn take(&mut self, notices: &mut Notices) {
        if let Some(watch) = &mut self.watch {
            watch.take(notices);
        }
    }

    /// The watched folder is not there any more.
    pub(super) fn lost(&mut self) {
        self.watch = None;
        self.was_away = true;
    }

    /// The names in the folder, which is watched from before, if it can be. `told`: whether files of it were told.
    ///
    /// # Errors
    /// There is no such folder, or its names cannot be had, or it has taken another's place and is empty.
    pub(super) async fn list(&mut self, told: bool) -> Result<Names, String> {
        if self.hangs.as_ref().is_some_and(Hung::lasts) {
            return Err(hangs());
        }
        let mut listing = self.list_watched().await?;
        if self.watch.as_ref().is_some_and(|watch| watch.identity() != listing.identity) {
            self.watch = None;
            listing = self.list_watched().await?;
        }
        self.compare(listing, told)
    }

    async fn list_watched(&mut self) -> Result<Listing, String> {
        if self.watch.is_none() {
            self.set_watch().await?;
        }
        let (path, which) = (self.path.clone(), self.which.clone());
        match self.aside(move || list(&path, &which)).await? {
            Ok(listing) => Ok(listing),
            Err(Errno::ENOENT) if self.known.is_some() => {
                self.was_away = true;
                Err("folder is gone".to_owned())
            }
            Err(errno) => Err(format!("folder cannot be listed: {}", errno.desc())),
        }
    }

    async fn set_watch(&mut self) -> Result<(), String> {
        let (path, which) = (self.path.clone(), self.which.clone());
        let set = self.aside(move || Set::on(&path, which)).await?;
        match set.and_then(Set::listen) {
            Ok(watch) => {
                if self.unwatched.take().is_some() {
                    info!("{}: is watched again", self.path.display());
                }
                self.watch = Some(watch);
            }
            // Then it cannot be listed either, which is said.
            Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ESTALE) => {}
            Err(errno) => {
                if self.unwatched.replace(errno) != Some(errno) {
                    warn!(
                        "{}: cannot be watched: {}; it is looked at every second instead, raise \
                         fs.inotify.max_user_instances or max_user_watches, or the limit of open files",
                        self.path.display(),
                        errno.desc()
                    );
                }
            }
        }
        Ok(())
    }

    async fn aside<T: Send + 'static>(&mut self, call: impl FnOnce() -> T + Send + 'static) -> Result<T, String> {
        match aside(call).await {
            Ok(Some(answer)) => Ok(answer),
            Ok(None) => Err("folder cannot be listed: no thread can be had".to_owned()),
            Err(hung) => {
                self.hangs = Some(hung);
                Err(hangs())
            }
        }
    }

    /// What `listing` is beside what was told.
    fn compare(&mut self, listing: Listing, told: bool) -> Result<Names, String> {
        let now = Instant::now();
        self.was_away |= self.known.is_some_and(|known| known != listing.identity);
        let another = self.was_away;
        let is_one = matches!(self.which, Which::Named(_));
        if is_one || !another || !told {
            self.settle(listing.identity);
            return Ok(Names { names: listing.names, another, whole: !is_one });
        }
        if listing.names.is_empty() {
            self.other = None;
            return Err(
                "folder is another one than before, and has no files; is something not mounted? If it is meant, put \
                        an empty file into it"
                    .to_owned(),
            );
        }
        let filled = match &self.other {
            Some((other, since)) if *other == listing => now.duration_since(*since) >= FILL,
            _ => {
                self.other = Some((listing.clone(), now));
                false
            }
        };
        if filled {
            self.settle(listing.identity);
        }
        Ok(Names { names: listing.names, another, whole: filled })
    }

    /// From now on, what is missing in `folder` is gone.
    fn settle(&mut self, folder: Identity) {
        self.known = Some(folder);
        self.was_away = false;
        self.other = None;
    }
}

fn hangs() -> String {
    format!("folder does not answer for {} s; is it on a network that is away?", PATIENCE.as_secs())
}
