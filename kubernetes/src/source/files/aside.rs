//! Calls that may hang, each on a thread of its own, so that one that hangs stops nothing else.
//!
//! Not on the runtime's threads for blocking calls: at its end the runtime waits for those.

use std::collections::{BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::disk::{Identity, OpenFolder};

/// How long a call may take until what it is about counts as hung.
pub(super) const PATIENCE: Duration = Duration::from_secs(3);

/// The calls are shallow.
const STACK: usize = 256 << 10;

/// A call that did not return in time. It may still do.
#[derive(Debug)]
pub(super) struct Hung(Weak<()>);

impl Hung {
    /// Whether it still has not returned.
    pub(super) fn lasts(&self) -> bool {
        self.0.strong_count() > 0
    }
}

/// What `call` returns. None: no thread could be had.
pub(super) async fn aside<T: Send + 'static>(call: impl FnOnce() -> T + Send + 'static) -> Result<Option<T>, Hung> {
    let (answer, answered) = oneshot::channel();
    let Some(hung) = begin(move || drop(answer.send(call()))) else { return Ok(None) };
    match timeout(PATIENCE, answered).await {
        Ok(answer) => Ok(answer.ok()),
        Err(_) => Err(hung),
    }
}

fn begin(call: impl FnOnce() + Send + 'static) -> Option<Hung> {
    let alive = Arc::new(());
    let hung = Hung(Arc::downgrade(&alive));
    let whole = move || {
        call();
        drop(alive);
    };
    std::thread::Builder::new().name("files".to_owned()).stack_size(STACK).spawn(whole).ok().map(|_| hung)
}

/// The same question about one file after the other of a folder.
pub(super) struct Round<T> {
    folder: PathBuf,
    question: fn(&OpenFolder, &str) -> T,
    rest: VecDeque<String>,
    running: Option<(mpsc::Receiver<(Identity, T)>, Hung)>,
    failed: bool,
}

/// What came of a question.
pub(super) enum Answer<T> {
    /// The answer, and in which folder.
    Is(Identity, T),
    Hangs(Hung),
}

impl<T: Send + 'static> Round<T> {
    pub(super) fn over(folder: &Path, files: BTreeSet<String>, question: fn(&OpenFolder, &str) -> T) -> Self {
        Self { folder: folder.to_owned(), question, rest: files.into_iter().collect(), running: None, failed: false }
    }

    /// The next file and what came of it; none at the end, and if the folder cannot be opened.
    pub(super) async fn next(&mut self) -> Option<(String, Answer<T>)> {
        let name = self.rest.pop_front()?;
        if self.running.is_none() {
            self.running = self.start(&name);
        }
        let answered = match &mut self.running {
            Some((answers, _)) => timeout(PATIENCE, answers.recv()).await,
            None => Ok(None),
        };
        match answered {
            Ok(Some((identity, answer))) => Some((name, Answer::Is(identity, answer))),
            Ok(None) => {
                self.failed = true;
                None
            }
            Err(_) => self.running.take().map(|(_, hung)| (name, Answer::Hangs(hung))),
        }
    }

    /// Whether every file had its turn.
    pub(super) fn is_over(&self) -> bool {
        self.rest.is_empty() && !self.failed
    }

    /// Asks no more, and says which files were not asked about.
    pub(super) fn give_up(&mut self) -> VecDeque<String> {
        std::mem::take(&mut self.rest)
    }

    fn start(&self, first: &str) -> Option<(mpsc::Receiver<(Identity, T)>, Hung)> {
        let names: Vec<String> = std::iter::once(first.to_owned()).chain(self.rest.iter().cloned()).collect();
        let (path, question) = (self.folder.clone(), self.question);
        // Few answers wait, so that the texts of a whole folder are not in memory at once.
        let (answer, answers) = mpsc::channel(2);
        let hung = begin(move || {
            let Ok(folder) = OpenFolder::at(&path) else { return };
            for name in names {
                if answer.blocking_send((folder.identity, question(&folder, &name))).is_err() {
                    return;
                }
            }
        })?;
        Some((answers, hung))
    }
}
