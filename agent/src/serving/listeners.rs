//! Keeps a server open wherever a service's health is asked for, and nowhere else.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::Instant;
use tracing::{debug, warn};

use super::service::{Asked, Board, router};
use super::{http, listen};
use crate::events::{Notice, Outbox};

/// How long to wait before a port is tried again that could not be bound.
const TRY_AGAIN: Duration = Duration::from_secs(5);

/// What is open, and what could not be opened.
#[derive(Debug, Default)]
struct Listeners {
    open: BTreeMap<Asked, Open>,
    /// Each with the reason that was told.
    failed: BTreeMap<Asked, String>,
}

/// A server; closed when dropped.
#[derive(Debug)]
struct Open(JoinHandle<Infallible>);

/// Serves until it is dropped. A port that cannot be bound is told of once for each reason, and tried again.
pub(super) async fn keep(board: Arc<Board>, notices: Outbox) -> Infallible {
    let mut listeners = Listeners::default();
    loop {
        listeners.become_equal(&board, &notices).await;
        let retry = (!listeners.failed.is_empty()).then(|| Instant::now() + TRY_AGAIN);
        tokio::select! {
            () = board.moved() => {}
            () = until(retry) => {}
        }
    }
}

async fn until(instant: Option<Instant>) {
    match instant {
        Some(instant) => tokio::time::sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

impl Listeners {
    async fn become_equal(&mut self, board: &Arc<Board>, notices: &Outbox) {
        let asked = board.asked();
        self.close_others(&asked).await;
        for asked in asked {
            if self.open.contains_key(&asked) {
                continue;
            }
            match listen::listen_in_family(asked.at) {
                Ok(listener) => {
                    debug!(service = %asked.service, at = %asked.at, "answering health checks");
                    let server = http::serve(listener, router(board.clone(), asked.clone()));
                    self.failed.remove(&asked);
                    self.open.insert(asked, Open(tokio::spawn(server)));
                }
                Err(error) => self.fail(asked, error.to_string(), notices),
            }
        }
    }

    /// Closes before anything opens: services may have swapped their ports.
    async fn close_others(&mut self, asked: &BTreeSet<Asked>) {
        self.failed.retain(|failed, _| asked.contains(failed));
        let gone: Vec<Asked> = self.open.keys().filter(|open| !asked.contains(open)).cloned().collect();
        for gone in gone {
            debug!(service = %gone.service, at = %gone.at, "health checks end");
            if let Some(mut server) = self.open.remove(&gone) {
                server.0.abort();
                // The socket is closed when the task has gone, and not before.
                let _ = (&mut server.0).await;
            }
        }
    }

    fn fail(&mut self, asked: Asked, reason: String, notices: &Outbox) {
        if self.failed.get(&asked) == Some(&reason) {
            return;
        }
        warn!(service = %asked.service, at = %asked.at, reason, "health checks cannot be answered, trying again");
        let told = format!("{} cannot be bound: {reason}", asked.at);
        notices.leave(Notice::HealthCheckNotStarted {
            service: asked.service.clone(),
            port: asked.at.port(),
            reason: told,
        });
        self.failed.insert(asked, reason);
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.abort();
    }
}
