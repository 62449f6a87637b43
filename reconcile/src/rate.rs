//! How often lines about one subject are logged: neither an object that changes a thousand times a second nor ten
//! thousand broken ones may fill the disk.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use tokio::time::Instant;

/// Lines about one subject within [`LineRate::WINDOW`].
const OF_SUBJECT: u32 = 10;

/// Lines about all subjects within [`LineRate::WINDOW`].
const IN_ALL: u32 = 1_000;

/// Lets lines pass, so many about each subject and so many in all, and counts those that it holds back.
#[derive(Clone, Debug)]
pub struct LineRate<S> {
    subjects: HashMap<S, Window>,
    all: Window,
}

/// Whether a line is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    /// It is.
    Passes,
    /// It is, and is the last one about its subject for a while.
    Last,
    /// It is, and so many before it were held back.
    After(u64),
    /// It is not.
    HeldBack,
}

#[derive(Clone, Copy, Debug)]
struct Window {
    since: Instant,
    passed: u32,
    held_back: u64,
}

impl<S: Clone + Eq + Hash> LineRate<S> {
    /// For how long lines are counted together.
    pub const WINDOW: Duration = Duration::from_secs(60);

    /// Nothing has passed before `now`.
    pub fn new(now: Instant) -> Self {
        Self { subjects: HashMap::new(), all: Window::beginning(now) }
    }

    /// Takes a line about `subject` at `now`.
    pub fn line(&mut self, subject: &S, now: Instant) -> Line {
        if self.all.is_over(now) {
            // Subjects that are quiet by now are forgotten, so no more are remembered than lines can pass.
            self.subjects.retain(|_, window| !window.is_over(now) || window.held_back > 0 && !window.is_old(now));
            self.all = Window::beginning(now);
        }
        if self.all.passed >= IN_ALL {
            self.all.held_back += 1;
            return Line::HeldBack;
        }
        let window = self.subjects.entry(subject.clone()).or_insert(Window::beginning(now));
        let held_back =
            if window.is_over(now) { std::mem::replace(window, Window::beginning(now)).held_back } else { 0 };
        if window.passed >= OF_SUBJECT {
            window.held_back += 1;
            return Line::HeldBack;
        }
        window.passed += 1;
        self.all.passed += 1;
        match (held_back, window.passed == OF_SUBJECT || self.all.passed == IN_ALL) {
            (0, false) => Line::Passes,
            (0, true) => Line::Last,
            (held_back, _) => Line::After(held_back),
        }
    }
}

impl Window {
    fn beginning(now: Instant) -> Self {
        Self { since: now, passed: 0, held_back: 0 }
    }

    fn is_over(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.since) >= LineRate::<()>::WINDOW
    }

    /// Whether it is too late to tell how many lines were held back.
    fn is_old(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.since) >= LineRate::<()>::WINDOW * 60
    }
}

/// To stand behind a line.
impl std::fmt::Display for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Passes | Self::HeldBack => Ok(()),
            Self::Last => f.write_str(" (further lines about this are left out for a minute)"),
            Self::After(held_back) => write!(f, " ({held_back} lines about this were left out before)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passed(rate: &mut LineRate<u32>, subject: u32, at: Instant, lines: u32) -> u32 {
        (0..lines).map(|_| u32::from(rate.line(&subject, at) != Line::HeldBack)).sum()
    }

    #[test]
    fn a_subject_passes_ten_times_in_a_minute_and_says_what_it_left_out() {
        let start = Instant::now();
        let mut rate = LineRate::new(start);
        let lines: Vec<_> = (0..12).map(|_| rate.line(&1, start)).collect();
        assert_eq!(lines[..9], [Line::Passes; 9]);
        assert_eq!(lines[9..], [Line::Last, Line::HeldBack, Line::HeldBack]);
        assert_eq!(rate.line(&2, start), Line::Passes, "another subject");
        let later = start + LineRate::<u32>::WINDOW;
        assert_eq!(rate.line(&1, later), Line::After(2));
        assert_eq!(rate.line(&1, later), Line::Passes);
    }

    #[test]
    fn many_subjects_pass_a_thousand_times_in_a_minute_and_are_forgotten() {
        let start = Instant::now();
        let mut rate = LineRate::new(start);
        let all: u32 = (0..5_000).map(|subject| passed(&mut rate, subject, start, 3)).sum();
        assert_eq!(all, IN_ALL);
        let later = start + LineRate::<u32>::WINDOW;
        assert_eq!(passed(&mut rate, 9_999, later, 1), 1);
        assert_eq!(rate.subjects.len(), 1);
    }

    #[test]
    fn the_words_stand_behind_a_line() {
        let shown = [Line::Passes, Line::Last, Line::After(7)].map(|line| line.to_string());
        let expected =
            ["", " (further lines about this are left out for a minute)", " (7 lines about this were left out before)"];
        assert_eq!(shown, expected);
    }
}
