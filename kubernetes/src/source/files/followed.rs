//! Files of a folder that are followed: their texts, now and whenever they change.
//!
//! Kept apart from what the texts mean, so that objects and the agent's configuration are followed by the same rules.
//!
//! inotify says at once what was written here. Everything is looked at every second besides: inotify says nothing of a
//! mount, of the target of a link, of a network file system and of mapped memory, and a look, a read or a watch that
//! failed is tried again.
//!
//! **Invariant:** a file is gone only if it is missing from the folder in which it was read, or from one that took that
//! folder's place and has other files (`tests/source_files/places.rs::an_unmounted_folder_deletes_nothing`).

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use tracing::info;

use super::aside::{Answer, Hung, PATIENCE, Round};
use super::disk::{Found, Identity, OpenFolder, Stamp, Which};
use super::place::Place;
use super::watch::{Notice, Notices};

/// An editor needs several steps to save a file: what follows within this time is read once.
const SETTLE: Duration = Duration::from_millis(5);

/// How often everything is looked at, and how long what no notice tells must stay the same until it counts.
const LOOK: Duration = Duration::from_secs(1);

/// A look takes at most a hundredth of the time, but comes this often at least.
const SELDOM: Duration = Duration::from_secs(30);

/// How often a folder is looked for that is not there.
const LOOK_FOR: Duration = Duration::from_millis(500);

/// How long a new name may be a file that its writer has not begun to write. A link to what is complete is not written.
const BEGIN: Duration = Duration::from_millis(50);

/// How long a writer may pause before it closes its file. Some cut a file without opening it, some never close it.
const PAUSE: Duration = Duration::from_secs(5);

/// How many files may hang at one time; no more are tried then.
const MOST_HUNG: usize = 8;

/// What is seen of the files.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Seen {
    /// The file `name` holds `text`, which is another than before.
    Text {
        /// Its name.
        name: String,
        /// All of it.
        text: String,
    },
    /// The file `name` is there and cannot be read. It is tried again.
    Unreadable {
        /// Its name.
        name: String,
        /// Why.
        reason: String,
    },
    /// The file `name` is not there any more.
    Gone {
        /// Its name.
        name: String,
    },
    /// The folder is not there, or cannot be read. It is tried again.
    NoFolder {
        /// Why.
        reason: String,
    },
    /// Every file that is there has been seen. Once.
    All,
}

/// A folder, and what was seen in it.
pub struct FollowedFiles {
    place: Place,
    /// The files that were told.
    files: BTreeMap<String, File>,
    doubts: BTreeMap<String, Doubt>,
    /// Files that a notice said to be removed, and that were not looked at since.
    removed: BTreeSet<String>,
    notices: Notices,
    hung: Vec<(String, Hung)>,
    look_at: Instant,
    /// Until then, what happens is gathered, so that a flood of changes costs a part of the time.
    rest_until: Instant,
    /// Why there is no folder, as it was told.
    missing: Option<String>,
    all_seen: bool,
    hashes: RandomState,
}

#[derive(Debug, Default)]
struct File {
    /// Of the text that was told; none if the text may have changed since without another stamp.
    stamp: Option<Stamp>,
    told: Option<Told>,
    /// Whether its last text had any content.
    has_content: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum Told {
    /// A text of this hash.
    Text(u64),
    Unreadable(String),
}

/// Why a file is not believed yet, and when it is looked at again.
#[derive(Debug)]
struct Doubt {
    until: Instant,
    why: Why,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    /// It was created or written, and not closed. Each write puts the end of this off.
    Open,
    /// It was found like this, and may be being written.
    Found(Stamp),
    /// It has lost all its content, and may be about to be written.
    Blank(Stamp),
    /// It is a link whose target is missing, and may be about to be removed.
    Dangling,
}

/// When a file counts that is another than before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Belief {
    AtOnce,
    IfItStays,
}

impl FollowedFiles {
    /// The files in `folder` that hold objects: `*.yaml`, `*.yml` and `*.json`, and not hidden.
    pub fn in_folder(folder: PathBuf) -> Self {
        Self::of(Place::at(folder, Which::Objects))
    }

    /// The file `path` alone. None if `path` names no file.
    pub fn one(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_str()?.to_owned();
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        Some(Self::of(Place::at(folder.to_owned(), Which::Named(name))))
    }

    fn of(place: Place) -> Self {
        let now = Instant::now();
        Self {
            place,
            files: BTreeMap::new(),
            doubts: BTreeMap::new(),
            removed: BTreeSet::new(),
            notices: Notices::default(),
            hung: Vec::new(),
            look_at: now,
            rest_until: now,
            missing: None,
            all_seen: false,
            hashes: RandomState::new(),
        }
    }

    /// Waits until there may be something to see, and takes with it what follows at once. Cancel-safe.
    pub async fn changed(&mut self) {
        while self.notices == Notices::default() {
            let doubted = self.doubts.values().map(|doubt| doubt.until).min();
            let due = doubted.map_or(self.look_at, |doubted| doubted.min(self.look_at));
            tokio::select! {
                () = sleep_until(due) => return,
                () = self.place.wait(&mut self.notices) => {}
            }
        }
        let settled = sleep_until(self.rest_until.max(Instant::now() + SETTLE));
        tokio::pin!(settled);
        while !self.notices.lost {
            tokio::select! {
                () = &mut settled => break,
                () = self.place.wait(&mut self.notices) => {}
            }
        }
    }

    /// Looks at what may have changed, and tells what has. At first that is everything.
    pub async fn look(&mut self, tell: &mut impl FnMut(Seen)) {
        let began = Instant::now();
        self.hung.retain(|(_, hung)| hung.lasts());
        let noticed = std::mem::take(&mut self.notices);
        self.note_removed(&noticed);
        if noticed.lost {
            self.place.lost();
            // Files that were deleted before the folder was, are gone; those that went away with it are not.
            for name in std::mem::take(&mut self.removed) {
                self.gone(&name, tell);
            }
        }
        let mut due = self.doubt(&noticed, began);
        let at_once = noticed.lost || noticed.everything || !self.all_seen;
        let looks = at_once || began >= self.look_at;
        let mut whole = looks;
        if looks {
            match self.look_at_everything(if at_once { Belief::AtOnce } else { Belief::IfItStays }, tell).await {
                Ok(changed) => due.extend(changed),
                Err(NotWhole) => whole = false,
            }
        }
        whole &= self.read(due, tell).await.is_ok();
        if whole && !std::mem::replace(&mut self.all_seen, true) {
            tell(Seen::All);
        }
        self.rest_until = Instant::now() + began.elapsed().min(LOOK);
    }

    /// A file that was removed may not be found to be, because its folder is removed too before it is looked at.
    fn note_removed(&mut self, noticed: &Notices) {
        if noticed.everything {
            self.removed.clear();
        }
        for (name, notice) in &noticed.files {
            match notice {
                Notice::Removed => self.removed.insert(name.clone()),
                _ => self.removed.remove(name),
            };
        }
    }

    /// Notes which files may be incomplete, and says which are to be read now.
    fn doubt(&mut self, noticed: &Notices, now: Instant) -> BTreeSet<String> {
        let mut due = BTreeSet::new();
        for (name, notice) in &noticed.files {
            match notice {
                Notice::Created if self.doubts.contains_key(name) => {}
                Notice::Created => self.doubted(name, now + BEGIN, Why::Open),
                Notice::Written => self.doubted(name, now + PAUSE, Why::Open),
                Notice::Attributes if self.doubts.contains_key(name) => {}
                Notice::Attributes | Notice::Complete | Notice::Removed => {
                    self.doubts.remove(name);
                    due.insert(name.clone());
                }
            }
        }
        due.extend(self.doubts.iter().filter(|(_, doubt)| doubt.until <= now).map(|(name, _)| name.clone()));
        due
    }

    fn doubted(&mut self, name: &str, until: Instant, why: Why) {
        self.doubts.insert(name.to_owned(), Doubt { until, why });
    }

    /// Compares every file with what was told, and returns those that are to be read now.
    async fn look_at_everything(
        &mut self,
        belief: Belief,
        tell: &mut impl FnMut(Seen),
    ) -> Result<BTreeSet<String>, NotWhole> {
        let began = Instant::now();
        self.look_at = began + LOOK_FOR;
        let listing = match self.place.list(!self.files.is_empty()).await {
            Ok(listing) => listing,
            Err(reason) => {
                if self.missing.as_ref() != Some(&reason) {
                    self.missing = Some(reason.clone());
                    tell(Seen::NoFolder { reason });
                }
                return Err(NotWhole);
            }
        };
        if self.missing.take().is_some() && self.all_seen {
            info!("{}: folder is there again", self.place.path.display());
        }
        let belief = if listing.another { Belief::AtOnce } else { belief };
        if listing.whole {
            let missing: Vec<_> = self.files.keys().filter(|name| !listing.names.contains(*name)).cloned().collect();
            missing.iter().for_each(|name| self.gone(name, tell));
        }
        let mut due = BTreeSet::new();
        let mut waited = Duration::ZERO;
        let mut round = self.round(listing.names, OpenFolder::stamp);
        while let Some((name, answer)) = round.next().await {
            match answer {
                Answer::Is(_, stamp) => {
                    if self.is_due(&name, stamp, belief, began) {
                        due.insert(name);
                    }
                }
                Answer::Hangs(hung) => {
                    waited += PATIENCE;
                    self.hangs(name, hung, &mut round, tell);
                }
            }
        }
        self.look_at = began + (began.elapsed().saturating_sub(waited) * 100).clamp(LOOK, SELDOM);
        if round.is_over() { Ok(due) } else { Err(NotWhole) }
    }

    /// Whether a file that looks like this is to be read now. If it is to stay the same for a while before, that is
    /// noted.
    fn is_due(&mut self, name: &str, stamp: Option<Stamp>, belief: Belief, now: Instant) -> bool {
        let file = self.files.get(name);
        match (file.and_then(|file| file.told.as_ref()), stamp) {
            (Some(Told::Text(_)), Some(_)) if file.is_some_and(|file| file.stamp == stamp) => false,
            _ if belief == Belief::AtOnce => {
                self.doubts.remove(name);
                true
            }
            _ if self.doubts.contains_key(name) => false,
            (Some(Told::Unreadable(_)), _) | (_, None) => true,
            (Some(Told::Text(_)) | None, Some(stamp)) => {
                self.doubted(name, now + LOOK, Why::Found(stamp));
                false
            }
        }
    }

    /// Reads these files, and tells what they are now.
    async fn read(&mut self, names: BTreeSet<String>, tell: &mut impl FnMut(Seen)) -> Result<(), NotWhole> {
        let mut round = self.round(names, OpenFolder::read);
        while let Some((name, answer)) = round.next().await {
            self.place.take(&mut self.notices);
            match answer {
                // It may be half of what is being written: the notice leads here again.
                Answer::Is(_, Found::Text { .. }) if self.notices.written.contains(&name) => {}
                Answer::Is(folder, found) => self.judge(folder, &name, found, tell),
                Answer::Hangs(hung) => self.hangs(name, hung, &mut round, tell),
            }
        }
        if round.is_over() {
            return Ok(());
        }
        self.look_at = self.look_at.min(Instant::now() + LOOK_FOR);
        Err(NotWhole)
    }

    fn round<T: Send + 'static>(&self, mut names: BTreeSet<String>, question: fn(&OpenFolder, &str) -> T) -> Round<T> {
        names.retain(|name| self.hung.iter().all(|(hung, _)| hung != name));
        if self.hung.len() >= MOST_HUNG {
            names.clear();
        }
        Round::over(&self.place.path, names, question)
    }

    /// `name` hangs: what it held holds. If it is one too many, so does what is behind it in `round`.
    fn hangs<T: Send + 'static>(
        &mut self,
        name: String,
        hung: Hung,
        round: &mut Round<T>,
        tell: &mut impl FnMut(Seen),
    ) {
        let reason = format!("does not answer for {} s; is it on a network that is away?", PATIENCE.as_secs());
        self.unreadable(&name, reason, tell);
        self.hung.push((name, hung));
        if self.hung.len() >= MOST_HUNG {
            for name in round.give_up() {
                self.unreadable(&name, format!("is not read while {MOST_HUNG} other files do not answer"), tell);
            }
        }
    }

    /// Tells what was found of the file `name`, read in `folder`, if it can be believed.
    fn judge(&mut self, folder: Identity, name: &str, found: Found, tell: &mut impl FnMut(Seen)) {
        let doubt = self.doubts.remove(name).map(|doubt| doubt.why);
        let again = Instant::now() + LOOK;
        match found {
            Found::Text { stamp, text } => {
                let blank = text.trim().is_empty();
                let had_content = self.files.get(name).is_some_and(|file| file.has_content);
                match doubt {
                    _ if blank && had_content && doubt != Some(Why::Blank(stamp)) => {
                        self.doubted(name, again, Why::Blank(stamp));
                    }
                    Some(Why::Blank(_)) if !blank => self.doubted(name, again, Why::Found(stamp)),
                    Some(Why::Found(before)) if before != stamp => self.doubted(name, again, Why::Found(stamp)),
                    _ => self.text(name, stamp, text, tell),
                }
            }
            Found::Dangling if doubt != Some(Why::Dangling) => self.doubted(name, again, Why::Dangling),
            Found::Dangling => self.unreadable(name, "is a link to what is not there".to_owned(), tell),
            Found::Failed(reason) => self.unreadable(name, reason, tell),
            Found::Gone if self.place.is_known(folder) => self.gone(name, tell),
            Found::Gone => {} // of another folder than the one in which it was told
        }
    }

    fn text(&mut self, name: &str, stamp: Stamp, text: String, tell: &mut impl FnMut(Seen)) {
        self.removed.remove(name);
        let told = Some(Told::Text(self.hashes.hash_one(&text)));
        let file = self.files.entry(name.to_owned()).or_default();
        file.stamp = stamp.is_old().then_some(stamp);
        file.has_content = !text.trim().is_empty();
        if file.told != told {
            file.told = told;
            tell(Seen::Text { name: name.to_owned(), text });
        }
    }

    fn unreadable(&mut self, name: &str, reason: String, tell: &mut impl FnMut(Seen)) {
        let told = Some(Told::Unreadable(reason.clone()));
        let file = self.files.entry(name.to_owned()).or_default();
        if file.told != told {
            file.told = told;
            tell(Seen::Unreadable { name: name.to_owned(), reason });
        }
    }

    fn gone(&mut self, name: &str, tell: &mut impl FnMut(Seen)) {
        self.doubts.remove(name);
        self.removed.remove(name);
        if self.files.remove(name).is_some() {
            tell(Seen::Gone { name: name.to_owned() });
        }
    }
}

/// Not every file could be looked at; it is tried again.
struct NotWhole;
