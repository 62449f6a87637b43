//! Takes a JSON text apart without reading what is in its parts.
//!
//! A list of 500 objects never exists as values: each item is a piece of the text, which is read by itself, so that one
//! that cannot be read costs itself alone.

use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::{Deserializer, Error};

/// Calls `each` with every field of the object `text`: its name, and the text that begins with its value, which `each`
/// takes.
///
/// # Errors
/// `text` is no JSON object.
pub(super) fn fields<'a>(
    text: &'a [u8],
    mut each: impl FnMut(&str, &mut Rest<'a>) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut rest = Rest { text, at: 0 };
    rest.opens_with(b'{')?;
    while !rest.closes_with(b'}') {
        let name: String = serde_json::from_slice(rest.value()?)?;
        rest.skip(b':');
        each(&name, &mut rest)?;
        rest.skip(b',');
    }
    Ok(())
}

/// A text that is read up to some place.
pub(super) struct Rest<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Rest<'a> {
    fn space(&mut self) {
        self.at += self.text[self.at..].iter().take_while(|byte| byte.is_ascii_whitespace()).count();
    }

    fn opens_with(&mut self, bracket: u8) -> Result<(), Error> {
        self.space();
        if self.text.get(self.at) == Some(&bracket) {
            self.at += 1;
            Ok(())
        } else {
            Err(mistake(if bracket == b'{' { "no object" } else { "no list" }))
        }
    }

    fn closes_with(&mut self, bracket: u8) -> bool {
        self.space();
        self.text.get(self.at) == Some(&bracket)
    }

    fn skip(&mut self, separator: u8) {
        self.space();
        self.at += usize::from(self.text.get(self.at) == Some(&separator));
    }

    /// Takes an array, and calls `each` with the text of every item; null has none.
    ///
    /// # Errors
    /// What comes next is no JSON array.
    pub(super) fn items(&mut self, mut each: impl FnMut(&'a [u8])) -> Result<(), Error> {
        self.space();
        if self.text[self.at..].starts_with(b"null") {
            self.at += b"null".len();
            return Ok(());
        }
        self.opens_with(b'[')?;
        while !self.closes_with(b']') {
            each(self.value()?);
            self.skip(b',');
        }
        self.skip(b']');
        Ok(())
    }

    /// Takes the next value, of any kind.
    pub(super) fn value(&mut self) -> Result<&'a [u8], Error> {
        self.space();
        let text = &self.text[self.at..];
        let mut values = Deserializer::from_slice(text).into_iter::<IgnoredAny>();
        match values.next() {
            Some(Ok(IgnoredAny)) => {
                let length = values.byte_offset();
                self.at += length;
                Ok(&text[..length])
            }
            Some(Err(error)) => Err(error),
            None => Err(mistake("an end in the middle")),
        }
    }
}

/// Reads `text`; what is null or missing is the default.
pub(super) fn lenient<T: Default + DeserializeOwned>(text: Option<&[u8]>) -> Result<T, Error> {
    text.map_or(Ok(None), serde_json::from_slice::<Option<T>>).map(Option::unwrap_or_default)
}

fn mistake(what: &str) -> Error {
    serde::de::Error::custom(what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(text: &str) -> Result<Vec<String>, Error> {
        let mut found = Vec::new();
        fields(text.as_bytes(), |name, rest| {
            found.push(format!("{name}={}", String::from_utf8_lossy(rest.value()?)));
            Ok(())
        })?;
        Ok(found)
    }

    /// The items of an array, and what comes behind it.
    fn pieces(text: &str) -> Result<(Vec<&str>, &str), Error> {
        let (mut rest, mut found) = (Rest { text: text.as_bytes(), at: 0 }, Vec::new());
        rest.items(|item| found.push(str::from_utf8(item).unwrap()))?;
        Ok((found, &text[rest.at..]))
    }

    #[test]
    fn fields_are_pieces_of_the_text() {
        assert_eq!(named("{}").unwrap(), [""; 0]);
        let text = r#" { "a" : [1, {"}": 2}], "b\"c":"x,y", "d": null , "e": -1.5e3}"#;
        assert_eq!(named(text).unwrap(), [r#"a=[1, {"}": 2}]"#, r#"b"c="x,y""#, "d=null", "e=-1.5e3"]);
    }

    #[test]
    fn items_are_pieces_of_the_text() {
        assert_eq!(pieces(" null,").unwrap(), (vec![], ","));
        assert_eq!(pieces(" [ ]}").unwrap(), (vec![], "}"));
        assert_eq!(pieces(r#"[{"a":"]"}, 7,[ ]]"#).unwrap(), (vec![r#"{"a":"]"}"#, "7", "[ ]"], ""));
    }

    #[test]
    fn what_ends_in_the_middle_is_a_mistake() {
        for text in ["", "7", "{", r#"{"a"#, r#"{"a":"#, r#"{"a": 1"#, r#"{"a": [1}"#] {
            assert!(named(text).is_err(), "{text}");
        }
        for text in ["", "{}", "[", "[1", "[1, {]"] {
            assert!(pieces(text).is_err(), "{text}");
        }
    }
}
