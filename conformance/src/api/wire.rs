//! Connections that can be cut, go silent, and be slow.

use std::future::Future;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{Sleep, sleep};

/// How fast bytes come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// At most so many at a time.
    pub bytes: usize,
    /// And then none for this long.
    pub pause: Duration,
}

/// How connections behave.
#[derive(Clone, Debug, Default)]
pub(super) struct Mood {
    /// How often all of them were cut.
    pub(super) cuts: u64,
    /// Nothing comes: at this address, or at every one.
    pub(super) silent: Option<Option<SocketAddr>>,
    pub(super) pace: Option<Pace>,
}

/// A listener whose connections have moods.
pub(super) struct Wire {
    listener: TcpListener,
    address: SocketAddr,
    mood: watch::Receiver<Mood>,
    accepted: Arc<AtomicU64>,
}

type Waiting = Pin<Box<dyn Future<Output = ()> + Send>>;

/// One of its connections.
pub(super) struct Line {
    stream: TcpStream,
    address: SocketAddr,
    mood: watch::Receiver<Mood>,
    cut: Waiting,
    silence: Option<Waiting>,
    pause: Option<Pin<Box<Sleep>>>,
}

impl Wire {
    pub(super) fn new(
        listener: TcpListener,
        address: SocketAddr,
        mood: watch::Receiver<Mood>,
        accepted: Arc<AtomicU64>,
    ) -> Self {
        Self { listener, address, mood, accepted }
    }
}

impl Listener for Wire {
    type Io = Line;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Line, SocketAddr) {
        loop {
            if let Ok((stream, peer)) = self.listener.accept().await {
                let _ = stream.set_nodelay(true);
                self.accepted.fetch_add(1, Ordering::Relaxed);
                return (Line::new(stream, self.address, self.mood.clone()), peer);
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }
}

impl Line {
    fn new(stream: TcpStream, address: SocketAddr, mood: watch::Receiver<Mood>) -> Self {
        let cuts = mood.borrow().cuts;
        let cut = until(&mood, move |mood| mood.cuts > cuts);
        Self { stream, address, mood, cut, silence: None, pause: None }
    }

    /// Ready as long as bytes may flow.
    fn open(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.cut.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(ErrorKind::ConnectionReset.into()));
        }
        loop {
            if let Some(silence) = &mut self.silence {
                ready!(silence.as_mut().poll(context));
                self.silence = None;
            }
            let address = self.address;
            if !is_silent(&self.mood.borrow(), address) {
                return Poll::Ready(Ok(()));
            }
            self.silence = Some(until(&self.mood, move |mood| !is_silent(mood, address)));
        }
    }
}

fn is_silent(mood: &Mood, address: SocketAddr) -> bool {
    mood.silent.is_some_and(|only_at| only_at.is_none_or(|only| only == address))
}

/// Resolves when `holds` does, or when the server is gone.
fn until(mood: &watch::Receiver<Mood>, mut holds: impl FnMut(&Mood) -> bool + Send + 'static) -> Waiting {
    let mut mood = mood.clone();
    Box::pin(async move {
        let _ = mood.wait_for(|mood| holds(mood)).await;
    })
}

impl AsyncRead for Line {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        ready!(self.open(context))?;
        Pin::new(&mut self.stream).poll_read(context, into)
    }
}

impl AsyncWrite for Line {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.open(context))?;
        if let Some(pause) = &mut self.pause {
            ready!(pause.as_mut().poll(context));
            self.pause = None;
        }
        let pace = self.mood.borrow().pace;
        let Some(Pace { bytes: most, pause }) = pace else {
            return Pin::new(&mut self.stream).poll_write(context, bytes);
        };
        let written = ready!(Pin::new(&mut self.stream).poll_write(context, &bytes[..bytes.len().min(most)]))?;
        self.pause = Some(Box::pin(sleep(pause)));
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
