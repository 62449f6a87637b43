//! An answer's body as it arrives: all of it, or lines, and never silent for longer than is allowed.

use std::future::poll_fn;
use std::pin::Pin;
use std::time::Duration;

use futures_util::FutureExt;
use http_body::Body as _;
use kube::client::Body;

use crate::source::list_watch::Failure;

/// What arrives at once is one batch, up to this many bytes.
const BATCH: usize = 1 << 20;

/// A buffer that has grown beyond this is given back when it is empty.
const KEPT: usize = 64 << 10;

/// A body that is being read.
pub(super) struct BodyReader {
    body: Body,
    /// How long nothing may come.
    silence: Duration,
    /// What has come and is not read.
    rest: Vec<u8>,
}

/// What became of waiting.
enum Arrival {
    Bytes,
    End,
}

impl BodyReader {
    pub(super) fn new(body: Body, silence: Duration) -> Self {
        Self { body, silence, rest: Vec::new() }
    }

    /// Everything, at its end.
    pub(super) async fn whole(mut self) -> Result<Vec<u8>, Failure> {
        while let Arrival::Bytes = self.wait().await? {}
        Ok(self.rest)
    }

    /// Waits for whole lines, and calls `each` with all that have come; `None` at the end. Cancel-safe.
    pub(super) async fn lines(&mut self, mut each: impl FnMut(&[u8])) -> Result<Option<()>, Failure> {
        let mut searched = 0;
        loop {
            if let Some(last) = self.rest[searched..].iter().rposition(|byte| *byte == b'\n') {
                let end = searched + last + 1;
                let lines = self.rest[..end].split(|byte| *byte == b'\n');
                lines.filter(|line| !line.trim_ascii().is_empty()).for_each(&mut each);
                self.rest.drain(..end);
                if self.rest.is_empty() && self.rest.capacity() > KEPT {
                    self.rest = Vec::new();
                }
                return Ok(Some(()));
            }
            searched = self.rest.len();
            match self.wait().await? {
                Arrival::Bytes => {}
                Arrival::End if self.rest.is_empty() => return Ok(None),
                Arrival::End => return Err(Failure::Cut),
            }
        }
    }

    /// Waits for bytes, and takes with them what else is there already.
    async fn wait(&mut self) -> Result<Arrival, Failure> {
        let silence = self.silence;
        let arrival = tokio::time::timeout(silence, self.frame()).await.map_err(|_| Failure::Silent)??;
        if let Arrival::Bytes = arrival {
            let before = self.rest.len();
            // What ends or fails right now does so again at the next call.
            while self.rest.len() - before < BATCH
                && let Some(Ok(Arrival::Bytes)) = self.frame().now_or_never()
            {}
        }
        Ok(arrival)
    }

    async fn frame(&mut self) -> Result<Arrival, Failure> {
        match poll_fn(|context| Pin::new(&mut self.body).poll_frame(context)).await {
            Some(Ok(frame)) => {
                if let Some(bytes) = frame.data_ref() {
                    self.rest.extend_from_slice(bytes);
                }
                Ok(Arrival::Bytes)
            }
            Some(Err(_)) => Err(Failure::Cut),
            None => Ok(Arrival::End),
        }
    }
}
