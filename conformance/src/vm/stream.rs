//! Hands the machine's output on as it comes, and notices when it stops coming.
//!
//! Apart from QEMU, so that the deadlines can be tested without a machine.

use std::io::{Read, Write};
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

/// How long a machine may take to speak, be silent, and run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest time until the first output. Generous: beside other work a boot of 6 s takes 80.
    pub boot: Duration,
    /// Longest time without output after that.
    pub silence: Duration,
    /// Longest time in all.
    pub total: Duration,
}

/// How a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The other side closed it.
    Closed,
    /// Nothing came for this long: [`Limits::boot`] or [`Limits::silence`].
    Silent(Duration),
    /// It was still open after [`Limits::total`].
    Overdue,
}

/// Copies until the end. What was read is flushed at once. An output that can no longer be written to is ignored:
/// the exit status is still wanted.
pub(super) fn copy(source: impl Read + Send + 'static, output: &mut dyn Write, limits: Limits) -> End {
    let (sender, pieces) = sync_channel(16);
    // Not joined: at a deadline it may sit in a read that only the machine's end will wake.
    thread::spawn(move || read_pieces(source, &sender));
    let deadline = Instant::now() + limits.total;
    let mut patience = limits.boot;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match pieces.recv_timeout(patience.min(left)) {
            Ok(piece) => {
                patience = limits.silence;
                let _ = output.write_all(&piece).and_then(|()| output.flush());
            }
            Err(RecvTimeoutError::Disconnected) => return End::Closed,
            Err(RecvTimeoutError::Timeout) if left <= patience => return End::Overdue,
            Err(RecvTimeoutError::Timeout) => return End::Silent(patience),
        }
    }
}

fn read_pieces(mut source: impl Read, sender: &SyncSender<Vec<u8>>) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = source.read(&mut buffer) {
        if sender.send(buffer[..length].to_vec()).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_millis(50);
    const LONG: Duration = Duration::from_secs(60);

    fn check(limits: Limits, feed: impl FnOnce(std::io::PipeWriter), expected: End) -> Vec<u8> {
        let (source, writer) = std::io::pipe().unwrap();
        feed(writer);
        let mut output = Vec::new();
        assert_eq!(copy(source, &mut output, limits), expected);
        output
    }

    #[test]
    fn all_output_arrives_before_the_end() {
        let limits = Limits { boot: LONG, silence: LONG, total: LONG };
        let output = check(limits, |mut writer| writer.write_all(b"one\0two\n").unwrap(), End::Closed);
        assert_eq!(output, b"one\0two\n");
    }

    #[test]
    fn silence_ends_it_though_the_stream_is_open() {
        let limits = Limits { boot: LONG, silence: SHORT, total: LONG };
        let output = check(limits, hold_open_after(b"hello"), End::Silent(SHORT));
        assert_eq!(output, b"hello");
    }

    #[test]
    fn the_first_word_has_its_own_limit() {
        let limits = Limits { boot: SHORT, silence: LONG, total: LONG };
        check(limits, hold_open_after(b""), End::Silent(SHORT));
    }

    #[test]
    fn endless_talk_ends_at_the_total() {
        check(Limits { boot: LONG, silence: LONG, total: SHORT }, talk_on, End::Overdue);
    }

    fn talk_on(mut writer: std::io::PipeWriter) {
        thread::spawn(move || while writer.write_all(b"tick").is_ok() {});
    }

    fn hold_open_after(text: &'static [u8]) -> impl FnOnce(std::io::PipeWriter) {
        move |mut writer| {
            writer.write_all(text).unwrap();
            std::mem::forget(writer);
        }
    }
}
