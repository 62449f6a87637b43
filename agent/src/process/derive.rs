//! A part's own view of the configuration.

use tokio::sync::watch;

use crate::config::Config;

/// What `view` sees of the configuration, and every other thing that it sees later.
pub(super) fn derive<T: PartialEq + Send + Sync + 'static>(
    configs: &watch::Receiver<Config>,
    view: impl Fn(&Config) -> T + Send + 'static,
) -> watch::Receiver<T> {
    let mut configs = configs.clone();
    let (seen, views) = watch::channel(view(&configs.borrow_and_update()));
    tokio::spawn(async move {
        loop {
            tokio::select! {
                changed = configs.changed() => if changed.is_err() {
                    // The configuration is final; whoever looks at it may go on doing so.
                    return seen.closed().await;
                },
                () = seen.closed() => return,
            }
            let now = view(&configs.borrow_and_update());
            seen.send_if_modified(|before| {
                let other = *before != now;
                *before = now;
                other
            });
        }
    });
    views
}
