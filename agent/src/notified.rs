//! Values that rtnetlink tells of, kept as they are now.
//!
//! A notification only says that something changed; the value is then read anew. So nothing depends on the order or the
//! completeness of notifications.

use std::future::Future;
use std::time::Duration;

use futures_util::StreamExt;
use rtnetlink::{Handle, MulticastGroup, new_multicast_connection};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::warn;

/// How long to wait before rtnetlink is tried again after a failure.
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// An interface that comes up gets several addresses: what follows within this time is read once.
const SETTLE: Duration = Duration::from_millis(2);

/// What is followed.
pub(crate) struct Followed<R> {
    /// Its name in the log.
    pub(crate) name: &'static str,
    /// Who tells that it changed.
    pub(crate) groups: &'static [MulticastGroup],
    /// Asks what it is now.
    pub(crate) read: R,
}

impl<R> Followed<R> {
    /// Keeps `values` equal to what is read, until nobody looks; `None` until it has been read first. The network namespace is
    /// that of the thread that calls first.
    pub(crate) async fn follow<T, F>(self, values: watch::Sender<Option<T>>)
    where
        T: PartialEq,
        F: Future<Output = Result<T, rtnetlink::Error>>,
        R: Fn(Handle) -> F,
    {
        loop {
            tokio::select! {
                () = values.closed() => return,
                outcome = self.follow_one_connection(&values) => {
                    if let Err(reason) = outcome {
                        warn!(reason, "{}: cannot be read, trying again", self.name);
                    }
                }
            }
            tokio::time::sleep(TRY_AGAIN).await;
        }
    }

    async fn follow_one_connection<T, F>(&self, values: &watch::Sender<Option<T>>) -> Result<(), String>
    where
        T: PartialEq,
        F: Future<Output = Result<T, rtnetlink::Error>>,
        R: Fn(Handle) -> F,
    {
        let (connection, handle, mut notifications) =
            new_multicast_connection(self.groups).map_err(|error| error.to_string())?;
        let mut reader = JoinSet::new(); // ends with this function, cancelled or not
        reader.spawn(connection);
        loop {
            match (self.read)(handle.clone()).await {
                Ok(now) => values.send_if_modified(|known| {
                    let changed = known.as_ref() != Some(&now);
                    *known = Some(now);
                    changed
                }),
                Err(error) => return Err(error.to_string()),
            };
            if notifications.next().await.is_none() {
                return Err("notifications ended".to_owned());
            }
            tokio::time::sleep(SETTLE).await;
            while let Ok(Some(_)) = tokio::time::timeout(Duration::ZERO, notifications.next()).await {}
        }
    }
}
