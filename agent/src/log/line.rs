//! Text on its way out of the process: one line, whatever it holds, and no longer than it may be.
//!
//! Names of objects and files, and messages of the API and the kernel, can hold line breaks that look like another
//! line, sequences that a terminal obeys, and characters that hide or reorder what is around them. They are written as
//! Rust writes them in source: `\n`, `\u{1b}`, `\u{202e}`.

use std::fmt::{self, Display, Write};

/// A line in the making.
pub(super) struct Line<W> {
    out: W,
    /// Bytes that may still be written.
    left: usize,
    /// Bytes of the text that were not written.
    cut: usize,
    /// Line breaks that were met last: escaped once it is known that they do not end the line.
    breaks: usize,
}

/// The text as one line.
pub(crate) fn escaped(text: impl Display) -> String {
    let mut line = Line::within(String::new(), usize::MAX);
    write!(line, "{text}").and_then(|()| line.end()).expect("writing to a String cannot fail");
    line.out
}

impl<W: Write> Line<W> {
    /// At most so many bytes, and a few that say how many were cut.
    pub(super) fn within(out: W, bytes: usize) -> Self {
        Self { out, left: bytes, cut: 0, breaks: 0 }
    }

    /// Takes back the line break that ends the text, if one does.
    pub(super) fn take_back_break(&mut self) {
        self.breaks = self.breaks.saturating_sub(1);
    }

    /// Ends it, without a line break.
    pub(super) fn end(&mut self) -> fmt::Result {
        self.escape_breaks()?;
        if self.cut > 0 { write!(self.out, "… ({} bytes cut)", self.cut) } else { Ok(()) }
    }

    fn escape_breaks(&mut self) -> fmt::Result {
        (0..std::mem::take(&mut self.breaks)).try_for_each(|_| self.replace(1, "\\n"))
    }

    fn escape(&mut self, c: char) -> fmt::Result {
        self.replace(c.len_utf8(), &c.escape_default().to_string())
    }

    /// Writes what stands for so many bytes of the text, or nothing of it.
    fn replace(&mut self, bytes: usize, by: &str) -> fmt::Result {
        if by.len() > self.left {
            self.left = 0;
            self.cut += bytes;
            return Ok(());
        }
        self.left -= by.len();
        self.out.write_str(by)
    }

    fn copy(&mut self, text: &str) -> fmt::Result {
        let mut fits = text.len().min(self.left);
        while !text.is_char_boundary(fits) {
            fits -= 1;
        }
        self.cut += text.len() - fits;
        self.left = if fits < text.len() { 0 } else { self.left - fits };
        self.out.write_str(&text[..fits])
    }
}

impl<W: Write> Write for Line<W> {
    fn write_str(&mut self, mut text: &str) -> fmt::Result {
        while let Some(at) = text.find(is_escaped) {
            if at > 0 {
                self.escape_breaks()?;
                self.copy(&text[..at])?;
            }
            let c = text[at..].chars().next().expect("it was found there");
            if c == '\n' {
                self.breaks += 1;
            } else {
                self.escape_breaks()?;
                self.escape(c)?;
            }
            text = &text[at + c.len_utf8()..];
        }
        if text.is_empty() {
            return Ok(());
        }
        self.escape_breaks()?;
        self.copy(text)
    }
}

/// Whether a reader, or a terminal, would take it for something else than a character of the text.
fn is_escaped(c: char) -> bool {
    // The common case first: this looks at every character that is logged.
    if matches!(c, ' '..='~') {
        return false;
    }
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}' // hide or reorder
            | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}' // zero width, left-to-right and right-to-left marks
            | '\u{2028}'..='\u{202e}' // line and paragraph separators, embeddings and overrides
            | '\u{2060}'..='\u{206f}' // joiners, isolates
            | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}'
            | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}') // tags, more variation selectors
}

#[cfg(test)]
mod tests {
    use super::*;

    fn within(bytes: usize, texts: &[&str]) -> String {
        let mut line = Line::within(String::new(), bytes);
        texts.iter().try_for_each(|text| line.write_str(text)).unwrap();
        line.take_back_break();
        line.end().unwrap();
        line.out
    }

    #[test]
    fn what_is_no_character_of_the_text_is_shown_as_a_number() {
        for (text, expected) in [
            ("web/shop: 10.0.0.1:80/TCP ×3, „Köln“ 東京 … \\n", "web/shop: 10.0.0.1:80/TCP ×3, „Köln“ 東京 … \\n"),
            ("a\n2026-01-01T00:00:00Z ERROR b\n", "a\\n2026-01-01T00:00:00Z ERROR b\\n"),
            ("a\r\tb\0", "a\\r\\tb\\u{0}"),
            ("\u{1b}[2Ja\u{7f}\u{9b}31m\u{85}", "\\u{1b}[2Ja\\u{7f}\\u{9b}31m\\u{85}"),
            ("a\u{202e}b\u{2066}c\u{200b}d\u{feff}e\u{2028}", "a\\u{202e}b\\u{2066}c\\u{200b}d\\u{feff}e\\u{2028}"),
            ("a\u{e0041}\u{ad}b\u{61c}", "a\\u{e0041}\\u{ad}b\\u{61c}"),
        ] {
            assert_eq!(escaped(text), expected);
        }
    }

    #[test]
    fn the_break_that_ends_a_line_is_taken_back_and_no_other() {
        assert_eq!(within(99, &["a\n"]), "a");
        assert_eq!(within(99, &["a\n", "\n"]), "a\\n");
        assert_eq!(within(99, &["\na\n", "b", "\n"]), "\\na\\nb");
    }

    #[test]
    fn what_is_too_long_is_cut_between_characters_and_counted() {
        assert_eq!(within(4, &["abcd\n"]), "abcd");
        assert_eq!(within(4, &["ab", "cde", "f\n"]), "abcd… (2 bytes cut)");
        assert_eq!(within(4, &["abcé\n"]), "abc… (2 bytes cut)");
        assert_eq!(within(4, &["abc\u{1b}d\n"]), "abc… (2 bytes cut)");
        assert_eq!(within(0, &["abc\n"]), "… (3 bytes cut)");
    }
}
