//! Durations as Go writes them, which is how kube-proxy's flags take them.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A duration that is not negative, as `time.ParseDuration` of Go reads it: `0`, `300ms`, `1.5h`, `1h30m`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct GoDuration(pub(super) Duration);

/// Not such a text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum DurationError {
    /// Of another form, or longer than Go can say.
    #[error("{0:?}: must be a duration such as 0s, 15m or 1h30m")]
    Form(String),
    /// Below zero.
    #[error("{0:?}: must not be negative")]
    Negative(String),
}

/// The units and their nanoseconds; a unit that another begins with comes behind it.
const UNITS: [(&str, u128); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("μs", 1_000), // U+03BC, Greek letter mu
    ("µs", 1_000), // U+00B5, micro sign, which is written
    ("ms", 1_000_000),
    ("s", SECOND),
    ("m", MINUTE),
    ("h", HOUR),
];

/// In nanoseconds.
const SECOND: u128 = 1_000_000_000;
const MINUTE: u128 = 60 * SECOND;
const HOUR: u128 = 60 * MINUTE;

impl From<GoDuration> for Duration {
    fn from(GoDuration(duration): GoDuration) -> Self {
        duration
    }
}

impl FromStr for GoDuration {
    type Err = DurationError;

    fn from_str(text: &str) -> Result<Self, DurationError> {
        let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
        let duration = nanoseconds(unsigned).and_then(|nanoseconds| i64::try_from(nanoseconds).ok());
        match duration {
            None => Err(DurationError::Form(text.to_owned())),
            Some(1..) if text.starts_with('-') => Err(DurationError::Negative(text.to_owned())),
            Some(nanoseconds) => Ok(Self(Duration::from_nanos(nanoseconds.unsigned_abs()))),
        }
    }
}

/// As Go writes it: `24h0m0s`, `1m30s`, `1.5s`, `300ms`, `0s`.
impl fmt::Display for GoDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanoseconds = self.0.as_nanos();
        let below_a_second = UNITS.into_iter().filter(|(_, size)| *size <= nanoseconds).max_by_key(|(_, size)| *size);
        if let Some((unit, size @ ..1_000_000_000)) = below_a_second {
            return write!(f, "{}{unit}", decimal(nanoseconds, size));
        }
        let (hours, minutes) = (nanoseconds / HOUR, nanoseconds % HOUR / MINUTE);
        if hours > 0 {
            write!(f, "{hours}h")?;
        }
        if hours > 0 || minutes > 0 {
            write!(f, "{minutes}m")?;
        }
        write!(f, "{}s", decimal(nanoseconds % MINUTE, SECOND))
    }
}

/// `count` as a number of units of `size`, which is a power of ten.
fn decimal(count: u128, size: u128) -> String {
    let digits = size.ilog10() as usize;
    let text = format!("{}.{:0digits$}", count / size, count % size);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// The sum of numbers with units; 0 needs none.
fn nanoseconds(text: &str) -> Option<u128> {
    if text == "0" {
        return Some(0);
    }
    let mut rest = Some(text).filter(|text| !text.is_empty())?;
    let mut sum: u128 = 0;
    while !rest.is_empty() {
        let number = rest.split(|c: char| !c.is_ascii_digit() && c != '.').next()?;
        let behind = &rest[number.len()..];
        let (unit, size) = UNITS.into_iter().find(|(unit, _)| behind.starts_with(unit))?;
        sum = sum.checked_add(product(number, size)?)?;
        rest = &behind[unit.len()..];
    }
    Some(sum)
}

/// A decimal number of units; what is below a nanosecond is cut off.
fn product(number: &str, unit: u128) -> Option<u128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
        return None;
    }
    let whole = if whole.is_empty() { 0 } else { whole.parse::<u128>().ok()? };
    // An hour has 13 digits of nanoseconds.
    let fraction = &fraction[..fraction.len().min(13)];
    let below = if fraction.is_empty() {
        0
    } else {
        fraction.parse::<u128>().ok()? * unit / 10_u128.pow(u32::try_from(fraction.len()).ok()?)
    };
    whole.checked_mul(unit)?.checked_add(below)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_reads_them() {
        let cases = [
            ("0", 0),
            ("-0", 0),
            ("+0s", 0),
            ("0s", 0),
            ("15m", 900_000_000_000),
            ("1h30m", 5_400_000_000_000),
            ("30m1h", 5_400_000_000_000),
            ("+5s", 5_000_000_000),
            ("1.5h", 5_400_000_000_000),
            (".5s", 500_000_000),
            ("5.s", 5_000_000_000),
            ("1s500ms", 1_500_000_000),
            ("7us", 7_000),
            ("7µs", 7_000),
            ("7μs", 7_000),
            ("3ns", 3),
            ("0.4ns", 0),
            ("9223372036854775807ns", i64::MAX.unsigned_abs()),
        ];
        for (text, nanoseconds) in cases {
            assert_eq!(text.parse(), Ok(GoDuration(Duration::from_nanos(nanoseconds))), "{text:?}");
        }
    }

    #[test]
    fn durations_are_written_as_go_writes_them() {
        for (nanoseconds, text) in [
            (0, "0s"),
            (3, "3ns"),
            (1_500, "1.5µs"),
            (300_000_000, "300ms"),
            (1_500_000_000, "1.5s"),
            (90_000_000_000, "1m30s"),
            (3_600_000_000_000, "1h0m0s"),
            (86_400_000_000_000, "24h0m0s"),
            (i64::MAX.unsigned_abs(), "2562047h47m16.854775807s"),
        ] {
            let duration = GoDuration(Duration::from_nanos(nanoseconds));
            assert_eq!(duration.to_string(), text);
            assert_eq!(text.parse(), Ok(duration));
        }
    }

    #[test]
    fn what_go_refuses_is_refused() {
        for text in [
            "",
            "s",
            ".s",
            "3",
            "1.5",
            "15 m",
            " 15m",
            "15min",
            "1d",
            "1..5s",
            "1.2.3s",
            "+",
            "--5s",
            "1h-30m",
            "15M",
            "é",
            "9223372036854775808ns",
            "99999999999999999999999999999999999999999h",
        ] {
            assert_eq!(text.parse::<GoDuration>(), Err(DurationError::Form(text.into())), "{text:?}");
        }
        assert_eq!("-1ns".parse::<GoDuration>(), Err(DurationError::Negative("-1ns".into())));
    }
}
