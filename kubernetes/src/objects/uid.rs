//! An object's uid, in a third of the memory that its text takes.

use std::fmt;

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer};

/// `metadata.uid`, where it is a UUID as the API server makes them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uid([u8; 16]);

impl Uid {
    /// Of a hand-written object, or one whose uid is no UUID.
    pub const UNKNOWN: Self = Self([0; 16]);

    /// Where the hyphens are, in bytes of the text.
    const HYPHENS: [usize; 4] = [8, 13, 18, 23];

    fn read(text: &str) -> Self {
        let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b'-').collect();
        let hyphens = text.bytes().enumerate().filter(|(_, byte)| *byte == b'-').map(|(i, _)| i);
        let whole = digits.len() == 32 && hyphens.eq(Self::HYPHENS);
        // Uppercase is another text, and would be written back as this one.
        let lower = digits.iter().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
        if !whole || !lower {
            return Self::UNKNOWN;
        }
        let value = |digit: u8| if digit.is_ascii_digit() { digit - b'0' } else { digit - b'a' + 10 };
        Self(std::array::from_fn(|i| value(digits[2 * i]) << 4 | value(digits[2 * i + 1])))
    }
}

impl<'de> Deserialize<'de> for Uid {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Written)
    }
}

/// Whatever stands there: a text that is no UUID is no reason to refuse the object, and neither is a number.
struct Written;

impl Visitor<'_> for Written {
    type Value = Uid;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a uid")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Uid, E> {
        Ok(Uid::read(text))
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Uid, E> {
        Ok(Uid::UNKNOWN)
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Uid, E> {
        Ok(Uid::UNKNOWN)
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Uid, E> {
        Ok(Uid::UNKNOWN)
    }
}

/// `0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0`.
impl fmt::Display for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, byte) in self.0.iter().enumerate() {
            if [4, 6, 8, 10].contains(&i) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uid_prints_as_it_was_read() {
        let text = "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0";
        let uid: Uid = serde_json::from_str(&format!("{text:?}")).unwrap();
        assert_eq!((uid.to_string().as_str(), size_of::<Uid>()), (text, 16));
    }

    #[test]
    fn another_text_is_no_uid_and_no_error() {
        for text in ["", "u", "0F1E2D3C-4b5a-6978-8796-a5b4c3d2e1f0", "0f1e2d3c4b5a69788796a5b4c3d2e1f0", "é-e-e-e-e"]
        {
            assert_eq!(serde_json::from_str::<Uid>(&format!("{text:?}")).unwrap(), Uid::UNKNOWN, "{text}");
        }
        for number in ["7", "-7", "7.5"] {
            assert_eq!(serde_json::from_str::<Uid>(number).unwrap(), Uid::UNKNOWN, "{number}");
        }
    }
}
