//! Sets on the node what the configuration says, at the start and whenever it says something else.

use tokio::sync::watch;

use crate::config::HostConfig;
use crate::events::{Notice, Outbox};
use crate::host::Host;

pub(super) async fn follow(mut configs: watch::Receiver<HostConfig>, outbox: Outbox) {
    let mut host = Host::default();
    loop {
        let config = configs.borrow_and_update().clone();
        for unset in host.prepare(&config) {
            outbox.leave(Notice::SettingRefused(unset));
        }
        if configs.changed().await.is_err() {
            return;
        }
    }
}
