//! What the terminal shows. Rendering is pure; a [`Page`] only writes.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::io::{self, Write};
use std::time::Duration;

use super::itinerary::Visit;
use super::verdict::Geography;
use testbed::Tally;

/// Where the demo writes.
pub(super) struct Page {
    out: Box<dyn Write + Send>,
    style: Style,
    audience: Audience,
    /// Whether the terminal's line is taken by what is being done.
    said: bool,
}

/// What reads the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Audience {
    /// A terminal: a line on stderr says what is being done.
    Watching,
    /// A file or a program.
    Absent,
}

/// Whether colours are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// Escape sequences.
    Coloured,
    /// None.
    Plain,
}

/// Length of a bar of all connections.
const BAR: usize = 30;
/// Partly filled blocks, by eighths.
const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];

impl Page {
    pub(super) fn new(out: Box<dyn Write + Send>, style: Style, audience: Audience) -> Self {
        Self { out, style, audience, said: false }
    }

    pub(super) fn style(&self) -> Style {
        self.style
    }

    /// A heading with an empty line before it.
    pub(super) fn heading(&mut self, text: &str) -> io::Result<()> {
        let text = self.style.bold(text);
        self.line(&format!("\n{text}"))
    }

    pub(super) fn line(&mut self, text: &str) -> io::Result<()> {
        self.done();
        writeln!(self.out, "{text}")?;
        self.out.flush()
    }

    /// Says on a terminal what is being done; the next line replaces it.
    pub(super) fn doing(&mut self, what: impl Display) {
        match self.audience {
            Audience::Watching => {
                eprint!("\r\x1b[2K  … {what}");
                self.said = true;
            }
            Audience::Absent => {}
        }
    }

    /// Takes away what [`Page::doing`] said.
    pub(super) fn done(&mut self) {
        if std::mem::take(&mut self.said) {
            eprint!("\r\x1b[2K");
        }
    }
}

impl Style {
    pub(super) fn bold(self, text: &str) -> String {
        self.wrap("1", text)
    }

    pub(super) fn dim(self, text: &str) -> String {
        self.wrap("2", text)
    }

    /// A mark before a line, and `text` in red if it is bad.
    pub(super) fn mark(self, good: bool) -> String {
        if good { self.wrap("32", "✓") } else { self.wrap("31", "✗") }
    }

    pub(super) fn red(self, text: &str) -> String {
        self.wrap("31", text)
    }

    fn wrap(self, code: &str, text: &str) -> String {
        match self {
            Self::Coloured => format!("\x1b[{code}m{text}\x1b[0m"),
            Self::Plain => text.to_owned(),
        }
    }
}

/// A visit: what was dialled, which pods answered how often and which source they saw, what else happened, what was
/// wrong.
pub(super) fn visit(
    visit: &Visit,
    (tally, mismatches): (&Tally, &[String]),
    geography: &impl Geography,
    style: Style,
) -> Vec<String> {
    let speed = tally.median().map(|median| format!("median {}", brief(median))).unwrap_or_default();
    let what = format!("{:<9}→ {:<38}{:<26}", visit.from, visit.service, visit.address());
    let what = if speed.is_empty() { what.trim_end().to_owned() } else { what + &style.dim(&speed) };
    let mut lines = vec![format!("  {} {what}", style.mark(mismatches.is_empty()))];
    lines.extend(answers(tally).into_iter().map(|(name, bar)| {
        let seen = sources(visit, tally, name, geography);
        format!("      {name:<11}{bar}  {}", style.dim(&format!("saw {seen}")))
    }));
    let mut failures: BTreeMap<String, usize> = BTreeMap::new();
    for failure in &tally.failures {
        *failures.entry(failure.to_string()).or_default() += 1;
    }
    lines.extend(failures.into_iter().map(|(kind, count)| format!("      {count} × {kind}")));
    lines.extend(mismatches.iter().map(|mismatch| style.red(&format!("      ✗ {mismatch}"))));
    lines
}

/// Each answerer with a bar, a count and a share.
pub(super) fn answers(tally: &Tally) -> Vec<(&str, String)> {
    let total = tally.total().max(1);
    let mut rows = Vec::new();
    for (name, count) in &tally.answers {
        let share = 100.0 * *count as f64 / total as f64;
        rows.push((name.as_str(), format!("{}{count:>6}  {share:>5.1} %", bar(*count, total))));
    }
    rows
}

fn sources(visit: &Visit, tally: &Tally, name: &str, geography: &impl Geography) -> String {
    let known = geography.sources(visit.from, name);
    let seen = tally.sources.keys().filter(|(answerer, _)| answerer == name).map(|(_, source)| match known {
        Some((_, node)) if node == *source => format!("{source}, the node's"),
        Some((own, _)) if own == *source => format!("{source}, the client's own"),
        _ => source.to_string(),
    });
    seen.collect::<Vec<_>>().join(" and ")
}

/// A bar of [`BAR`] columns, to an eighth of a column.
fn bar(count: usize, total: usize) -> String {
    let eighths = count * BAR * 8 / total;
    let filled = "█".repeat(eighths / 8) + EIGHTHS[eighths % 8];
    let columns = filled.chars().count();
    filled + &" ".repeat(BAR.saturating_sub(columns))
}

/// A duration as people say it: `83 µs`, `2.1 ms`, `1.5 s`.
pub(super) fn brief(duration: Duration) -> String {
    match duration.as_micros() {
        micros @ 0..=999 => format!("{micros} µs"),
        micros @ 1_000..=999_999 => format!("{:.1} ms", micros as f64 / 1e3),
        micros => format!("{:.1} s", micros as f64 / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_as_long_as_its_share() {
        assert_eq!(bar(0, 10), " ".repeat(BAR));
        assert_eq!(bar(10, 10), "█".repeat(BAR));
        assert_eq!(bar(1, 2), "█".repeat(15) + &" ".repeat(15));
        // 12.5 columns of 30.
        assert_eq!(bar(100, 240), "█".repeat(12) + "▌" + &" ".repeat(17));
    }

    #[test]
    fn durations_are_brief() {
        for (micros, expected) in [(83, "83 µs"), (2_140, "2.1 ms"), (1_500_000, "1.5 s")] {
            assert_eq!(brief(Duration::from_micros(micros)), expected);
        }
    }

    #[test]
    fn plain_text_has_no_escapes() {
        assert_eq!(Style::Plain.bold("x") + &Style::Plain.mark(true), "x✓");
        assert!(Style::Coloured.red("x").starts_with('\x1b'));
    }
}
