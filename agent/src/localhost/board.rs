//! Where the loop leaves what changed, and the doors' task finds it: the latest of each port, so that neither waits for
//! the other and nothing piles up.

use std::mem;
use std::sync::Mutex;

use tokio::sync::Notify;

use super::plan::Changes;

/// Changes that were not taken yet.
#[derive(Debug, Default)]
pub(super) struct Board {
    changes: Mutex<Changes>,
    posted: Notify,
}

impl Board {
    /// Adds changes; a later one of the same port counts.
    pub(super) fn post(&self, changes: Changes) {
        if !changes.is_empty() {
            self.changes.lock().expect("nothing panics while it holds the board").extend(changes);
            self.posted.notify_one();
        }
    }

    /// Takes all changes, once there are any. Cancel-safe.
    pub(super) async fn take(&self) -> Changes {
        loop {
            let changes = mem::take(&mut *self.changes.lock().expect("nothing panics while it holds the board"));
            if !changes.is_empty() {
                return changes;
            }
            self.posted.notified().await;
        }
    }
}
