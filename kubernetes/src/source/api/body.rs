//! An answer's body as it arrives: all of it, or lines, never silent for longer and never longer than is allowed.

use std::future::poll_fn;
use std::pin::Pin;
use std::time::Duration;

use futures_util::FutureExt;
use http_body::Body as _;
use kube::client::Body;
use serde::de::IgnoredAny;

use crate::source::list_watch::{Failure, LONGEST_LINE};

/// What arrives at once is one batch, up to this many bytes.
const BATCH: usize = 1 << 20;

/// A buffer that has grown beyond this is given back when it is empty.
const KEPT: usize = 64 << 10;

/// How much of a refusal is read.
const REFUSAL: usize = 64 << 10;

/// A body that is being read.
pub(super) struct BodyReader {
    body: Body,
    /// How long nothing may come.
    silence: Duration,
    /// What has come and is not read.
    rest: Vec<u8>,
    /// How many bytes of white space have come since the last line.
    blank: usize,
}

/// What became of waiting.
enum Arrival {
    Bytes,
    End,
}

impl BodyReader {
    pub(super) fn new(body: Body, silence: Duration) -> Self {
        Self { body, silence, rest: Vec::new(), blank: 0 }
    }

    /// Everything, at its end.
    pub(super) async fn whole(mut self, longest: usize) -> Result<Vec<u8>, Failure> {
        while let Arrival::Bytes = self.wait().await? {
            check("an answer", self.rest.len(), longest)?;
        }
        Ok(self.rest)
    }

    /// The beginning of a refusal, or as much of it as comes in time.
    pub(super) async fn start(mut self) -> Vec<u8> {
        let silence = self.silence;
        let reading = async { while self.rest.len() < REFUSAL && matches!(self.wait().await, Ok(Arrival::Bytes)) {} };
        let _ = tokio::time::timeout(silence, reading).await;
        self.rest.truncate(REFUSAL);
        self.rest
    }

    /// Waits for whole lines, and calls `each` with all that have come; `None` at the end. Cancel-safe.
    pub(super) async fn lines(&mut self, mut each: impl FnMut(&[u8])) -> Result<Option<()>, Failure> {
        let mut searched = 0;
        loop {
            if let Some(last) = self.rest[searched..].iter().rposition(|byte| *byte == b'\n') {
                let end = searched + last + 1;
                let lines = self.rest[..end].split(|byte| *byte == b'\n');
                self.blank += end;
                for line in lines.filter(|line| !line.trim_ascii().is_empty()) {
                    self.blank = 0;
                    each(line);
                }
                self.rest.drain(..end);
                if self.rest.is_empty() && self.rest.capacity() > KEPT {
                    self.rest = Vec::new();
                }
                return Ok(Some(()));
            }
            check("a line of a watch", self.blank + self.rest.len(), LONGEST_LINE)?;
            searched = self.rest.len();
            match self.wait().await? {
                Arrival::Bytes => {}
                Arrival::End if self.rest.trim_ascii().is_empty() => return Ok(None),
                Arrival::End if is_cut(&self.rest) => return Err(Failure::Cut),
                Arrival::End => {
                    each(&std::mem::take(&mut self.rest));
                    return Ok(Some(()));
                }
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

/// Whether this is the beginning of JSON, and not the whole: what is no JSON at all was not cut.
fn is_cut(text: &[u8]) -> bool {
    serde_json::from_slice::<IgnoredAny>(text).is_err_and(|error| error.is_eof())
}

fn check(what: &str, length: usize, longest: usize) -> Result<(), Failure> {
    if length <= longest {
        return Ok(());
    }
    Err(Failure::TooLong(format!("{what} is longer than {} MiB", longest >> 20)))
}
