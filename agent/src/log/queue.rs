//! Lines on their way to stderr: written by a thread of their own, so that a reader that has stopped stops nothing
//! else.
//!
//! What waits is bounded. Lines that do not fit are counted, and the count is written once there is a reader again.
//! Stderr is not made non-blocking for that: other programs may share it.

use std::fmt::Write as _;
use std::io::{self, ErrorKind, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};

/// Bytes that may wait.
const WAITING: usize = 1 << 20;

/// For how long lines are gathered behind the first: waking the thread is most of what a line costs.
const GATHERED: Duration = Duration::from_millis(2);

/// Bytes for which room is kept when nothing waits.
const KEPT: usize = 16 << 10;

/// How long to wait if another program has made stderr non-blocking, and it is full.
const TRY_AGAIN: Duration = Duration::from_millis(10);

/// Where lines wait. Cheap to clone; clones are one queue.
#[derive(Clone, Debug)]
pub(super) struct Queue(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    queued: Mutex<Queued>,
    filled: Condvar,
    written: Condvar,
}

#[derive(Debug, Default)]
struct Queued {
    lines: Vec<u8>,
    /// Lines that did not fit behind `lines`.
    lost: u64,
    /// Whether the thread is gathering or writing.
    busy: bool,
}

impl Queue {
    /// Lines will be written to `out`. If no thread can be started, they are written by those that log.
    pub(super) fn to(out: impl Write + Send + 'static) -> Result<Self, io::Error> {
        let queue =
            Self(Arc::new(Shared { queued: Mutex::default(), filled: Condvar::new(), written: Condvar::new() }));
        let shared = queue.0.clone();
        thread::Builder::new().name("log".to_owned()).spawn(move || shared.write_all(out))?;
        Ok(queue)
    }

    /// Waits until everything is written, but no longer than this.
    pub(super) fn flush(&self, patience: Duration) {
        // After the time there is nothing left to do.
        let _ = self.0.written.wait_timeout_while(self.0.lock(), patience, |queued| {
            queued.busy || queued.lost > 0 || !queued.lines.is_empty()
        });
    }

    fn push(&self, line: &[u8]) {
        let mut queued = self.0.lock();
        if queued.lost > 0 || queued.lines.len() + line.len() > WAITING {
            queued.lost += 1;
            return;
        }
        queued.lines.extend_from_slice(line);
        let is_waited_for = !queued.busy;
        drop(queued);
        if is_waited_for {
            self.0.filled.notify_one();
        }
    }
}

impl Shared {
    fn write_all(&self, mut out: impl Write) {
        let mut lines = Vec::new();
        loop {
            let lost = self.take(&mut lines);
            write_or_drop(&mut out, &lines);
            if lost > 0 {
                write_or_drop(&mut out, loss(lost).as_bytes());
            }
        }
    }

    /// Swaps `lines`, which were written, for those that wait, as soon as there are any.
    fn take(&self, lines: &mut Vec<u8>) -> u64 {
        lines.clear();
        lines.shrink_to(KEPT);
        let mut queued = self.lock();
        if queued.lines.is_empty() {
            queued.busy = false;
            self.written.notify_all();
            queued = self
                .filled
                .wait_while(queued, |queued| queued.lines.is_empty())
                .expect("nothing panics while it holds the lines");
            queued.busy = true;
            drop(queued);
            thread::sleep(GATHERED);
            queued = self.lock();
        }
        std::mem::swap(&mut queued.lines, lines);
        std::mem::take(&mut queued.lost)
    }

    fn lock(&self) -> MutexGuard<'_, Queued> {
        self.queued.lock().expect("nothing panics while it holds the lines")
    }
}

/// Without a reader, or with a full disk, lines are dropped.
fn write_or_drop(out: &mut impl Write, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        match out.write(bytes) {
            Ok(0) => return,
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(TRY_AGAIN),
            Err(_) => return,
        }
    }
}

/// A line as the others.
fn loss(lost: u64) -> String {
    let mut line = String::new();
    let time = SystemTime.format_time(&mut Writer::new(&mut line));
    let told = time.and_then(|()| {
        writeln!(line, "  WARN {}: lines of the log were lost, their reader is too slow lost={lost}", module_path!())
    });
    told.expect("writing to a String cannot fail");
    line
}

impl<'a> MakeWriter<'a> for Queue {
    type Writer = &'a Queue;

    fn make_writer(&'a self) -> Self::Writer {
        self
    }
}

/// Each call has whole lines.
impl Write for &Queue {
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        self.push(lines);
        Ok(lines.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    #[test]
    fn every_line_is_written_in_order_and_flushed() {
        let (mut reader, writer) = io::pipe().unwrap();
        let queue = Queue::to(writer).unwrap();
        for i in 0..100 {
            writeln!(&queue, "{i}").unwrap();
        }
        queue.flush(PATIENCE);
        let expected: String = (0..100).map(|i| format!("{i}\n")).collect();
        let mut found = vec![0; expected.len()];
        reader.read_exact(&mut found).unwrap();
        assert_eq!(String::from_utf8(found).unwrap(), expected);
    }

    #[test]
    fn a_reader_that_has_stopped_stops_nobody_and_learns_how_many_lines_it_missed() {
        let (mut reader, writer) = io::pipe().unwrap();
        let queue = Queue::to(writer).unwrap();
        let line = [b"x".repeat(1023), b"\n".to_vec()].concat();
        let sent = 4096;
        for _ in 0..sent {
            (&queue).write_all(&line).unwrap();
        }
        queue.flush(Duration::from_millis(1));
        let (mut read, mut lost, mut text) = (0, None, String::new());
        let mut chunk = [0; 1 << 16];
        while lost.is_none() {
            let length = reader.read(&mut chunk).unwrap();
            text.push_str(std::str::from_utf8(&chunk[..length]).unwrap());
            while let Some((line, rest)) = text.split_once('\n') {
                match line.split_once(" lost=") {
                    Some((_, number)) => lost = Some(number.parse::<usize>().unwrap()),
                    None => read += 1,
                }
                text = rest.to_owned();
            }
        }
        assert_eq!(read + lost.unwrap(), sent);
        assert!(read * 1024 >= WAITING, "{read}");
    }

    #[test]
    fn without_a_reader_lines_are_dropped() {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        let queue = Queue::to(writer).unwrap();
        writeln!(&queue, "line").unwrap();
        queue.flush(PATIENCE);
        assert!(queue.0.lock().lines.is_empty());
    }
}
