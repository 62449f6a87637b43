//! HTTP for whoever connects: probes and scrapers, and who means no good.
//!
//! Kept apart from what is answered. A connection is bounded in time and in memory, and their number is bounded: one
//! more closes the oldest, so that nobody can keep a probe out by holding connections open.

use std::collections::VecDeque;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tracing::debug;

/// Connections at the same time, for each server.
const CONNECTIONS: usize = 128;

/// How long a client may take to send a request's head, or to begin another.
const HEAD: Duration = Duration::from_secs(30);

/// How long a connection may last: a client that does not read its answer has it until then.
const LIFE: Duration = Duration::from_secs(600);

/// Bytes that wait to be read or written, for each connection.
const BUFFER: usize = 64 << 10;

/// How long to wait when no connection can be accepted: descriptors are short.
const TRY_AGAIN: Duration = Duration::from_millis(100);

/// Serves until it is dropped; then the listener and every connection close.
pub(super) async fn serve(listener: TcpListener, router: Router) -> std::convert::Infallible {
    let mut connections = JoinSet::new();
    let mut oldest: VecDeque<AbortHandle> = VecDeque::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    if connections.len() >= CONNECTIONS {
                        oldest.retain(|connection| !connection.is_finished());
                        if let Some(connection) = oldest.pop_front() {
                            connection.abort();
                        }
                    }
                    oldest.push_back(connections.spawn(answer(stream, router.clone())));
                }
                Err(error) => {
                    debug!(%error, "connection cannot be accepted");
                    tokio::time::sleep(TRY_AGAIN).await;
                }
            },
            Some(_) = connections.join_next() => oldest.retain(|connection| !connection.is_finished()),
        }
    }
}

async fn answer(stream: TcpStream, router: Router) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(BUFFER)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    match tokio::time::timeout(LIFE, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => debug!(%error, "connection ended"),
        Err(_) => debug!("connection ended: it lasted too long"),
    }
}
