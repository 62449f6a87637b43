//! A folder of YAML and JSON files as a source: no Kubernetes needed.
//!
//! ```text
//! watch (inotify) ─┐
//! place (which folder, its names) ─┼─► followed (texts that changed) ──► folder (pure: what that means) ──► Event
//! disk (one file) ─┘  on threads of their own: aside
//! ```
//!
//! Every `*.yaml`, `*.yml` and `*.json` in the folder counts, hidden files and sub-folders do not. Files may be
//! replaced by rename or edited in place, and the folder may be a mounted ConfigMap (`..data` is swapped).

mod aside;
mod disk;
mod folder;
mod followed;
mod place;
mod watch;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use self::folder::Folder;
pub use self::followed::{FollowedFiles, Seen};
use super::{Event, Sender, Trouble};

/// How often troubles of one file are told: one that is rewritten all the time has others each time.
const TROUBLES: Duration = Duration::from_secs(1);

/// Tells what is in the folder `path`, now and whenever it changes, until the receiver of `told` is dropped.
///
/// A folder that is not there is waited for: an unmounted folder is no order to delete every service. So is one that
/// vanishes, while files that are deleted one by one are gone.
pub async fn watch_folder(path: PathBuf, told: Sender) {
    let place = path.display().to_string();
    let mut files = FollowedFiles::in_folder(path);
    let mut folder = Folder::default();
    let mut quiet: BTreeMap<String, Instant> = BTreeMap::new();
    loop {
        let mut events = Vec::new();
        let mut all = None;
        files
            .look(&mut |seen| match seen {
                Seen::Text { name, text } => events.extend(folder.read(&name, &text)),
                Seen::Unreadable { name, reason } => folder.unreadable(&name, &reason),
                Seen::Gone { name } => events.extend(folder.gone(&name)),
                Seen::NoFolder { reason } => {
                    let reason = format!("{reason}; waiting for it, objects read before are kept");
                    events.push(Event::Trouble(Trouble { place: place.clone(), line: None, object: None, reason }));
                }
                Seen::All => all = Some(Event::Listed),
            })
            .await;
        events.extend(say_troubles(&mut folder, &mut quiet).into_iter().map(Event::Trouble));
        for batch in [events, Vec::from_iter(all)] {
            if !batch.is_empty() && told.send(batch).await.is_err() {
                return;
            }
        }
        let unsaid = folder.unsaid().filter_map(|file| quiet.get(file)).min().copied();
        tokio::select! {
            () = files.changed() => {}
            () = until(unsaid) => {}
            () = told.closed() => return,
        }
    }
}

/// The troubles that are new, of files that have not just had others.
fn say_troubles(folder: &mut Folder, quiet: &mut BTreeMap<String, Instant>) -> Vec<Trouble> {
    let now = Instant::now();
    quiet.retain(|_, until| *until > now);
    let files: Vec<String> = folder.unsaid().filter(|file| !quiet.contains_key(*file)).cloned().collect();
    let mut troubles = Vec::new();
    for file in files {
        let said = folder.say(&file);
        if !said.is_empty() {
            quiet.insert(file, now + TROUBLES);
        }
        troubles.extend(said);
    }
    troubles
}

async fn until(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}
