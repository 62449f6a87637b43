//! HTTP for any client: sockets that listen as kube-proxy's do, connections, and answers with kube-proxy's headers.
//!
//! Kept apart from what is answered. A connection is bounded in time and in memory, and the number of connections is
//! bounded by [`Clients`](super::clients::Clients).

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::pin::pin;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode, header};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use nix::sys::socket::{setsockopt, sockopt};
use serde::Serialize;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tracing::debug;

use super::clients::{Seat, ServerClients};
use crate::descriptors::is_shortage;

/// Connections that the kernel accepts before the agent does.
const BACKLOG: u32 = 256;

/// How long a client may take to send a request's head, or to begin another.
const HEAD: Duration = Duration::from_secs(30);

/// How long a connection takes new requests.
const LIFE: Duration = Duration::from_secs(120);

/// How long after that a client may take to read the answer that it is being sent.
const LAST_ANSWER: Duration = Duration::from_secs(30);

/// Bytes that wait to be read or written, for each connection.
const BUFFER: usize = 64 << 10;

/// How long to wait when no connection can be accepted: descriptors are short.
const TRY_AGAIN: Duration = Duration::from_millis(100);

/// Which families a socket is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Families {
    /// That of its address.
    One,
    /// Both, on every address of the node.
    Both,
}

/// Listens at `address`; on every address of both families if it is unspecified, as Go's `net.Listen` does, by which
/// kube-proxy's 0.0.0.0 means IPv6 too.
pub(super) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    if !address.ip().is_unspecified() {
        return open(address, Families::One);
    }
    let any = SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), address.port());
    match open(any, Families::Both) {
        // A kernel without IPv6.
        Err(error) if address.is_ipv4() && error.kind() != io::ErrorKind::AddrInUse => open(address, Families::One),
        opened => opened,
    }
}

/// Listens at `address` in its own family alone.
pub(super) fn listen_in_family(address: SocketAddr) -> io::Result<TcpListener> {
    open(address, Families::One)
}

fn open(address: SocketAddr, families: Families) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => {
            let socket = TcpSocket::new_v6()?;
            setsockopt(&socket, sockopt::Ipv6V6Only, &(families == Families::One))?;
            socket
        }
    };
    // Otherwise a restart would wait until the kernel forgets connections of the process before.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Serves until it is dropped; then the listener and every connection close.
pub(super) async fn serve(listener: TcpListener, router: Router, clients: ServerClients) -> std::convert::Infallible {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    let seat = clients.seat().await;
                    connections.spawn(answer(stream, router.clone(), seat));
                }
                // accept(2) returns errors of the connection itself, which concern no other.
                Err(error) if !is_shortage(&error) => debug!(%error, "connection ended before it was accepted"),
                Err(error) => {
                    debug!(%error, "connection cannot be accepted, trying again");
                    tokio::time::sleep(TRY_AGAIN).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn answer(stream: TcpStream, router: Router, mut seat: Seat) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(BUFFER)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = &mut connection => Some(ended),
        () = seat.asked_to_end() => return debug!("connection closed, another one needs its place"),
        () = tokio::time::sleep(LIFE) => None,
    };
    let ended = match ended {
        Some(ended) => Ok(ended),
        None => {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                ended = tokio::time::timeout(LAST_ANSWER, connection) => ended,
                () = seat.asked_to_end() => return debug!("connection closed, another one needs its place"),
            }
        }
    };
    match ended {
        Ok(Ok(())) => {}
        Ok(Err(error)) => debug!(%error, "connection ended with an error"),
        Err(_) => debug!("connection closed after {:?}, which is the limit", LIFE + LAST_ANSWER),
    }
}

/// An answer in JSON.
pub(super) fn json(status: StatusCode, body: &impl Serialize) -> Response<Body> {
    let text = serde_json::to_string(body).expect("keys are texts");
    with_type(status, "application/json", text)
}

/// An answer in plain text.
pub(super) fn text(body: impl Into<Body>) -> Response<Body> {
    with_type(StatusCode::OK, "text/plain; charset=utf-8", body)
}

/// An answer of any type.
pub(super) fn with_type(status: StatusCode, content_type: &'static str, body: impl Into<Body>) -> Response<Body> {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

#[cfg(test)]
mod tests {
    use axum::routing::any;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::time::Instant;

    use super::*;
    use crate::serving::clients::Clients;

    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: test\r\n\r\n";

    /// A server with a short and a very long answer, and a client of it.
    async fn client() -> (JoinSet<std::convert::Infallible>, TcpStream) {
        let listener = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let at = listener.local_addr().unwrap();
        let router = Router::new()
            .route("/", any(async || text("short")))
            .route("/long", any(async || text("x".repeat(64 << 20))));
        let mut server = JoinSet::new();
        server.spawn(serve(listener, router, Clients::at_most(8).of_one_more_server()));
        (server, TcpStream::connect(at).await.unwrap())
    }

    /// How long the server keeps a connection on which the client sends this and then nothing.
    async fn kept_for(sent: &[u8]) -> Duration {
        let (_server, mut stream) = client().await;
        let start = Instant::now();
        stream.write_all(sent).await.unwrap();
        // A connection that is reset has ended, too.
        let _ = stream.read_to_end(&mut Vec::new()).await;
        start.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_is_silent_before_in_or_between_requests_is_ended() {
        for sent in [&b""[..], b"GET / HTTP/1.1\r\nHost", REQUEST] {
            let kept = kept_for(sent).await;
            assert!((HEAD..HEAD * 2).contains(&kept), "{}: {kept:?}", String::from_utf8_lossy(sent));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_sends_a_byte_now_and_then_is_ended() {
        let (_server, mut stream) = client().await;
        let start = Instant::now();
        while stream.write_all(b"x").await.is_ok() {
            assert!(start.elapsed() < HEAD * 2);
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_asks_often_is_told_when_to_connect_anew() {
        let (_server, mut stream) = client().await;
        let start = Instant::now();
        let mut answers = Vec::new();
        while stream.write_all(REQUEST).await.is_ok() && stream.read_buf(&mut answers).await.is_ok_and(|read| read > 0)
        {
            assert!(start.elapsed() < LIFE * 2);
            tokio::time::sleep(HEAD / 3).await;
        }
        assert!(start.elapsed() >= LIFE, "{:?}", start.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_does_not_read_its_answer_is_ended() {
        let (_server, mut stream) = client().await;
        let start = Instant::now();
        stream.write_all(b"GET /long HTTP/1.1\r\nHost: test\r\n\r\n").await.unwrap();
        tokio::time::sleep(LIFE + LAST_ANSWER * 2).await;
        let mut read = Vec::new();
        let _ = stream.read_to_end(&mut read).await;
        assert!(read.len() < 64 << 20, "after {:?} all was sent", start.elapsed());
    }
}
