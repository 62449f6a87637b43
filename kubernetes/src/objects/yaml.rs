//! YAML and JSON: a text's documents, and what is wrong with one, in words for its author.
//!
//! Kept apart from objects, because the agent's configuration is written in YAML, too.

use serde::de::{DeserializeOwned, IgnoredAny};
use serde_saphyr::Error;
use serde_saphyr::budget::BudgetBreach;

/// A part of a text that is parsed by itself.
#[derive(Clone, Copy, Debug)]
pub struct Document<'a> {
    /// What stands in it.
    pub text: &'a str,
    /// Line in which it starts, from 1.
    pub line: u64,
    syntax: Syntax,
}

#[derive(Clone, Copy, Debug)]
enum Syntax {
    Yaml,
    Json,
}

/// What is wrong with a document, and its line in the whole text, where the parser knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// The line, from 1.
    pub line: Option<u64>,
    /// What is wrong.
    pub reason: String,
}

/// The text's documents; those without content are left out.
pub fn documents(text: &str) -> impl Iterator<Item = Document<'_>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut rest = Some((text, 1));
    let parts = std::iter::from_fn(move || {
        let (text, line) = rest.take()?;
        let end = separator(text);
        let (part, after) = text.split_at(end.unwrap_or(text.len()));
        if end.is_some() {
            // The rest of the separator's line stays: a document may start there, `--- {…}`.
            rest = Some((&after[SEPARATOR..], line + lines(part)));
        }
        Some((part, line))
    });
    parts.filter(|(part, _)| has_content(part)).flat_map(|(part, line)| {
        if is_json(part) {
            json_documents(part, line)
        } else {
            vec![Document { text: part, line, syntax: Syntax::Yaml }]
        }
    })
}

const SEPARATOR: usize = 3;

/// Where the next line that starts with `---` or `...` starts.
fn separator(text: &str) -> Option<usize> {
    let mut from = 0;
    for line in text.split_inclusive('\n') {
        let after = line.strip_prefix("---").or_else(|| line.strip_prefix("..."));
        if after.is_some_and(|after| after.is_empty() || after.starts_with(char::is_whitespace)) {
            return Some(from);
        }
        from += line.len();
    }
    None
}

/// Whether an object starts as JSON writes it; YAML's own `{a: b}` does not quote.
fn is_json(part: &str) -> bool {
    let inside = part.trim_start().strip_prefix('{');
    inside.is_some_and(|inside| inside.trim_start().starts_with(['"', '}']))
}

/// Whether there is more than comments and directives, such as `%YAML 1.1`.
fn has_content(part: &str) -> bool {
    part.lines().any(|line| !line.starts_with('%') && !line.trim().is_empty() && !line.trim_start().starts_with('#'))
}

fn lines(text: &str) -> u64 {
    text.bytes().filter(|byte| *byte == b'\n').count() as u64
}

/// JSON values one after the other; what cannot be parsed is one document with the rest.
fn json_documents(text: &str, line: u64) -> Vec<Document<'_>> {
    let mut documents = Vec::new();
    let mut from = 0;
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<IgnoredAny>();
    while let Some(value) = values.next() {
        let to = if value.is_ok() { values.byte_offset() } else { text.len() };
        documents.push(Document { text: &text[from..to], line: line + lines(&text[..from]), syntax: Syntax::Json });
        from = to;
    }
    documents
}

impl Document<'_> {
    /// The document as a value.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, Mistake> {
        match self.syntax {
            Syntax::Yaml => self.parse_yaml(self.options()),
            Syntax::Json => serde_json::from_str(self.text).map_err(|error| {
                let reason = if error.is_eof() { UNFINISHED.to_owned() } else { plain(&error.to_string()) };
                self.mistake(Some(error.line() as u64), reason)
            }),
        }
    }

    /// The document as a value, read as YAML in this way. JSON is YAML, too.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn parse_yaml<T: DeserializeOwned>(&self, options: serde_saphyr::Options) -> Result<T, Mistake> {
        serde_saphyr::from_str_with_options(self.text, options).map_err(|error| {
            let line = error.location().map(|location| location.line()).filter(|line| *line > 0);
            self.mistake(line, yaml_words(&error))
        })
    }

    /// How YAML is read: as much of it as the text has. The parser's own limits end at some 2,000 services; without
    /// aliases, which stay limited, a text cannot hold more of anything than it has bytes.
    pub fn options(&self) -> serde_saphyr::Options {
        let bytes = self.text.len() + 1;
        serde_saphyr::options! {
            with_snippet: false,
            strict_booleans: true,
            budget: serde_saphyr::budget! {
                max_events: 4 * bytes,
                max_nodes: 2 * bytes,
                max_total_scalar_bytes: 2 * bytes,
                max_total_comment_bytes: bytes,
            },
        }
    }

    /// A mistake in `line` of this document, with what stands there.
    fn mistake(&self, line: Option<u64>, reason: String) -> Mistake {
        let number = line.and_then(|line| usize::try_from(line).ok()).and_then(|line| line.checked_sub(1));
        let written = number.and_then(|number| self.text.lines().nth(number)).map(str::trim).unwrap_or_default();
        let reason = match written {
            "" => reason,
            written if written.chars().count() <= SHOWN => format!("{written:?}: {reason}"),
            written => format!("{:?}: {reason}", written.chars().take(SHOWN).chain(['…']).collect::<String>()),
        };
        Mistake { line: line.map(|line| self.line + line - 1), reason }
    }
}

/// How much is shown of a line, and of a parser's message.
const SHOWN: usize = 60;
const MESSAGE: usize = 200;

const UNFINISHED: &str = "the document ends in the middle of a value";
const DEEP: &str = "is nested too deep to be read";
const ALIASES: &str = "aliases (`*name`) repeat more than the whole file holds; write the values out";

/// What a YAML parser's error says.
fn yaml_words(error: &Error) -> String {
    match error {
        Error::WithSnippet { error, .. } | Error::AliasError { error, .. } => yaml_words(error),
        Error::Budget { breach: BudgetBreach::Depth { .. }, .. } => DEEP.to_owned(),
        Error::Budget { .. }
        | Error::AliasReplayCounterOverflow { .. }
        | Error::AliasReplayLimitExceeded { .. }
        | Error::AliasExpansionLimitExceeded { .. }
        | Error::AliasReplayStackDepthExceeded { .. } => ALIASES.to_owned(),
        Error::Eof { .. } => UNFINISHED.to_owned(),
        Error::UnknownAnchor { .. } => "an alias (`*name`) without its anchor (`&name`)".to_owned(),
        Error::DuplicateMappingKey { key: Some(key), .. } => format!("`{key}` is there twice"),
        Error::DuplicateMappingKey { .. } => "a field is there twice".to_owned(),
        Error::InvalidBooleanStrict { .. } => "must be true or false".to_owned(),
        Error::NullIntoString { .. } => "must be text, and is empty".to_owned(),
        Error::Unexpected { expected, .. } => format!("must be {}", expected_words(expected)),
        other => match other.to_string() {
            message if message.starts_with("recursion limit exceeded") => DEEP.to_owned(),
            message => plain(&message),
        },
    }
}

/// What a message of serde says; what it does not know is shown as it is.
pub(super) fn plain(message: &str) -> String {
    let mut message = message;
    if let Some(place) = message.rfind(" at line ") {
        // A place in the document, which is none in the file.
        message = &message[..place];
    }
    let wrong = ["invalid type: ", "invalid value: ", "invalid length "];
    let wrong = wrong.iter().find_map(|start| message.strip_prefix(start)?.split_once(", expected "));
    let words = match wrong {
        Some((found, expected)) => format!("{}: must be {}", found_words(found), expected_words(expected)),
        None => match message.strip_prefix("missing field ") {
            Some(field) => format!("{field} is missing"),
            None => format!("cannot be read: {message}"),
        },
    };
    match words.char_indices().nth(MESSAGE) {
        Some((end, _)) => format!("{}…", &words[..end]),
        None => words,
    }
}

fn found_words(found: &str) -> &str {
    match found {
        "map" => "a section",
        "sequence" => "a list",
        "null" | "unit value" | "Option value" => "nothing",
        found => ["integer ", "floating point ", "boolean ", "string "]
            .iter()
            .find_map(|kind| found.strip_prefix(kind))
            .unwrap_or(found)
            .trim_matches('`'),
    }
}

fn expected_words(expected: &str) -> &str {
    match expected {
        "sequence start" | "a sequence" => "a list",
        "mapping start" | "a map" => "a section of fields",
        "string scalar" | "scalar" | "a string" | "a text" => "text, in quotes if it looks like something else",
        "i64" | "integer" => "a whole number",
        "a boolean" => "true or false",
        expected if expected.starts_with("struct ") => "a section of fields",
        expected => expected,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &[(u64, &str)]) {
        let found: Vec<_> = documents(text).map(|document| (document.line, document.text.trim())).collect();
        assert_eq!(found, expected, "{text:?}");
    }

    #[test]
    fn documents_without_content_are_passed_over() {
        check("", &[]);
        check("---\n---\n...\n# nothing\n", &[]);
        check("---\na: b\n---\n", &[(1, "a: b")]);
        check("a: b\n...\n", &[(1, "a: b")]);
        check("a: b\n...\nc: d\n", &[(1, "a: b"), (2, "c: d")]);
        check("%YAML 1.1\n---\na: b\n...\n%YAML 1.2\n%TAG ! !x\n--- c\n", &[(2, "a: b"), (7, "c")]);
        check("\u{feff}a: b\r\n---\r\nc: d\r\n", &[(1, "a: b"), (2, "c: d")]);
        check("a: |\n  ---\nb: x---\n----: c\n....\n", &[(1, "a: |\n  ---\nb: x---\n----: c\n....")]);
    }

    #[test]
    fn messages_are_for_the_author_of_the_file() {
        fn reason<T: DeserializeOwned + std::fmt::Debug>(text: &str) -> String {
            documents(text).next().unwrap().parse::<T>().unwrap_err().reason
        }
        type Fields = std::collections::BTreeMap<String, Vec<i64>>;
        assert_eq!(reason::<Fields>("a: 7"), "\"a: 7\": must be a list");
        assert_eq!(reason::<Fields>("{\"a\": 7}"), "\"{\\\"a\\\": 7}\": 7: must be a list");
        assert_eq!(reason::<Fields>("{\"a\": [7"), "\"{\\\"a\\\": [7\": the document ends in the middle of a value");
        let deep = "[".repeat(5000);
        assert!(reason::<serde_json::Value>(&deep).ends_with("…\": is nested too deep to be read"));
    }
}
