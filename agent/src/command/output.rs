//! What commands write beside the log: results on stdout, remarks on stderr. Each is one line, whatever it holds.
//!
//! A reader that closes its end, as `head` does, stops neither a removal nor the agent.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write};

use crate::log::escaped;

/// Writes a line to stdout; without a reader it is dropped.
///
/// # Errors
/// If the line cannot be written for another reason, such as a full disk.
pub(super) fn line(text: impl Display) -> io::Result<()> {
    write(&mut io::stdout(), text)
}

/// Writes a line to stderr; without a reader it is dropped.
///
/// # Errors
/// As [`line`].
pub(super) fn error_line(text: impl Display) -> io::Result<()> {
    write(&mut io::stderr(), text)
}

fn write(out: &mut impl Write, text: impl Display) -> io::Result<()> {
    match writeln!(out, "{}", escaped(text)).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Refusing(ErrorKind);

    impl Write for Refusing {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_has_gone_is_no_error_and_a_full_disk_is() {
        assert!(write(&mut Refusing(ErrorKind::BrokenPipe), "text").is_ok());
        assert!(write(&mut Refusing(ErrorKind::StorageFull), "text").is_err());
    }
}
