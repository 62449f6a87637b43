//! Reads texts as `kubectl get -o yaml` and `-o json` print them: one object, several documents, lists.
//!
//! One bad object costs itself alone: the other documents of a text and the other items of a list are read.

use std::fmt;
use std::sync::Arc;

use serde::de::{DeserializeOwned, IgnoredAny};

use super::apparent::apparent_key;
use super::header::Header;
use super::{Kind, Object, ObjectKey};

/// What stood in a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// An object of a kind that a proxy reads.
    Object(Object),
    /// One of another kind.
    Foreign {
        /// Line in which it starts, from 1.
        line: u64,
        /// Its API version and kind.
        kind: String,
    },
    /// One that cannot be read.
    Refused(Refused),
}

/// Why a document, or an item of a list, cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Line of the mistake if known, else the one in which the object starts; from 1.
    pub line: u64,
    /// Which object it would have been, if that can be told.
    pub object: Option<ObjectKey>,
    /// What is wrong.
    pub reason: String,
}

/// Reads every object in `text`, YAML or JSON, in order.
pub fn read(text: &str) -> Vec<Item> {
    documents(text).flat_map(|document| document.read()).collect()
}

/// A part of a text that is parsed by itself.
#[derive(Clone, Copy)]
struct Document<'a> {
    text: &'a str,
    /// Line in which it starts, from 1.
    line: u64,
    syntax: Syntax,
}

#[derive(Clone, Copy)]
enum Syntax {
    Yaml,
    Json,
}

/// A mistake, and its line where the parser knows it.
struct Mistake {
    line: Option<u64>,
    reason: String,
}

/// The text's documents; those without content are left out.
fn documents(text: &str) -> impl Iterator<Item = Document<'_>> {
    let mut rest = Some((text, 1));
    let parts = std::iter::from_fn(move || {
        let (text, line) = rest.take()?;
        let end = separator(text);
        let (part, after) = text.split_at(end.unwrap_or(text.len()));
        if end.is_some() {
            // The rest of the separator's line stays: a document may start there, `--- {…}`.
            rest = Some((&after["---".len()..], line + lines(part)));
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

/// Where the next line that starts with `---` starts.
fn separator(text: &str) -> Option<usize> {
    for (at, dashes) in text.match_indices("---") {
        let after = &text[at + dashes.len()..];
        let starts_line = at == 0 || text[..at].ends_with('\n');
        if starts_line && (after.is_empty() || after.starts_with(char::is_whitespace)) {
            return Some(at);
        }
    }
    None
}

/// Whether an object starts as JSON writes it; YAML's own `{a: b}` does not quote.
fn is_json(part: &str) -> bool {
    let inside = part.trim_start().strip_prefix('{');
    inside.is_some_and(|inside| inside.trim_start().starts_with(['"', '}']))
}

fn has_content(part: &str) -> bool {
    part.lines().map(str::trim).any(|line| !line.is_empty() && !line.starts_with('#') && line != "...")
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

/// Both parsers append the place in the document, which is none in the file.
fn without_place(mut reason: String) -> String {
    reason.truncate(reason.rfind(" at line ").unwrap_or(reason.len()));
    reason
}

/// How YAML is read: as much of it as the text has. The parser's own limits end at some 2,000 services; without
/// aliases, which stay limited, a text cannot hold more of anything than it has bytes.
fn options(text: &str) -> serde_saphyr::Options {
    let bytes = text.len() + 1;
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

impl Document<'_> {
    fn read(self) -> Vec<Item> {
        let mut header: Header = match self.parse::<Option<Header>>() {
            Ok(header) => header.unwrap_or_default(),
            Err(mistake) => return vec![self.refused(apparent_key(self.text), mistake)],
        };
        let items = header.items.take();
        let Some(items_kind) = header.items_kind() else { return vec![self.read_object(&header)] };
        items.into_iter().flatten().map(|item| item.place(self.line, &header.api_version, items_kind)).collect()
    }

    fn read_object(self, header: &Header) -> Item {
        match header.kind() {
            Ok(Some(kind)) => match self.parse_object(kind) {
                Ok(object) => Item::Object(object),
                Err(mistake) => self.refused(header.key(), mistake),
            },
            Ok(None) => Item::Foreign { line: self.line, kind: header.to_string() },
            Err(reason) => self.refused(header.key(), Mistake { line: None, reason }),
        }
    }

    fn parse_object(self, kind: Kind) -> Result<Object, Mistake> {
        Ok(match kind {
            Kind::Service => Object::Service(Arc::new(self.parse()?)),
            Kind::EndpointSlice => Object::EndpointSlice(Arc::new(self.parse()?)),
            Kind::Endpoints => Object::Endpoints(Arc::new(self.parse()?)),
            Kind::Node => Object::Node(Arc::new(self.parse()?)),
            Kind::ServiceCidr => Object::ServiceCidr(Arc::new(self.parse()?)),
        })
    }

    fn parse<T: DeserializeOwned>(self) -> Result<T, Mistake> {
        match self.syntax {
            Syntax::Yaml => {
                let options = options(self.text);
                serde_saphyr::from_str_with_options(self.text, options).map_err(|error| Mistake {
                    line: error.location().map(|location| location.line()).filter(|line| *line > 0),
                    reason: without_place(error.to_string()),
                })
            }
            Syntax::Json => serde_json::from_str(self.text)
                .map_err(|error| Mistake { line: Some(error.line() as u64), reason: without_place(error.to_string()) }),
        }
    }

    fn refused(self, object: Option<ObjectKey>, mistake: Mistake) -> Item {
        let line = mistake.line.map_or(self.line, |line| self.line + line - 1);
        Item::Refused(Refused { line, object, reason: mistake.reason })
    }
}

/// `line 12: Service default/web: …`.
impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: ", self.line)?;
        if let Some(object) = &self.object {
            write!(f, "{object}: ")?;
        }
        f.write_str(&self.reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines_of(text: &str) -> Vec<String> {
        let describe = |item| match item {
            Item::Object(object) => object.key().to_string(),
            Item::Foreign { line, kind } => format!("line {line}: foreign {kind}"),
            Item::Refused(refused) => format!("refused: {refused}"),
        };
        read(text).into_iter().map(describe).collect()
    }

    fn check(text: &str, expected: &[&str]) {
        assert_eq!(lines_of(text), expected, "{text}");
    }

    #[test]
    fn documents_and_lists_are_read_whatever_the_syntax() {
        check("", &[]);
        check("---\n# nothing\n---\n...\n", &[]);
        check("apiVersion: v1\nkind: Service\nmetadata: {name: a}\n", &["Service default/a"]);
        check(
            "---\napiVersion: v1\nkind: Service\nmetadata: {name: a}\n--- {apiVersion: v1, kind: Node, metadata: {name: n}}\n",
            &["Service default/a", "Node n"],
        );
        check(
            r#"{"apiVersion":"v1","kind":"Node","metadata":{"name":"n","labels":null}}
               {"apiVersion":"v1","kind":"Service","metadata":{"name":"a","namespace":"x"},"spec":null}"#,
            &["Node n", "Service x/a"],
        );
        let list = "apiVersion: v1\nitems:\n- {apiVersion: v1, kind: Service, metadata: {name: a}}\n- apiVersion: networking.k8s.io/v1\n  kind: ServiceCIDR\n  metadata: {name: kubernetes}\n  spec: {cidrs: [10.96.0.0/12]}\nkind: List\n";
        check(list, &["Service default/a", "ServiceCIDR kubernetes"]);
        let typed = r#"{"kind":"EndpointSliceList","apiVersion":"discovery.k8s.io/v1","items":[{"metadata":{"name":"s"},"addressType":"IPv4"}]}"#;
        check(typed, &["EndpointSlice default/s"]);
        check("apiVersion: v1\nkind: List\nitems: null\n", &[]);
    }

    #[test]
    fn a_separator_is_a_whole_line_start() {
        check(
            "apiVersion: v1\nkind: Service\nmetadata:\n  name: a---b\n  annotations:\n    text: |\n      ---\n      x\n    ---y: z\n",
            &["Service default/a---b"],
        );
    }

    #[test]
    fn kinds_of_others_are_named_and_left() {
        check(
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\nspec: {ports: 7}\n---\napiVersion: example.com/v1\nkind: Service\nmetadata: {name: a}\n",
            &["line 1: foreign apps/v1 Deployment", "line 5: foreign example.com/v1 Service"],
        );
    }

    #[test]
    fn a_bad_object_costs_itself_alone_and_is_named_with_its_line() {
        let text = "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec:\n  ports: 7\n---\napiVersion: v1\nkind: Service\nmetadata: {name: b}\n---\n{ a: [\n";
        check(
            text,
            &[
                "refused: line 5: Service default/a: expected sequence start",
                "Service default/b",
                "refused: line 11: unclosed bracket '['",
            ],
        );
        check("{\"kind\": \n7}", &["refused: line 2: invalid type: integer `7`, expected a string"]);
    }

    #[test]
    fn a_bad_item_of_a_list_costs_itself_alone_and_is_named_with_its_line() {
        let text = "apiVersion: v1\nitems:\n- apiVersion: v1\n  kind: Service\n  metadata: {name: a}\n  spec: {ports: 7}\n- apiVersion: v1\n  kind: Service\n  metadata: {name: b}\n- apiVersion: discovery.k8s.io/v1beta1\n  kind: EndpointSlice\n  metadata: {name: c}\n- 7\nkind: List\n";
        let lines = lines_of(text);
        assert!(lines[0].starts_with("refused: line 3: Service default/a: "), "{}", lines[0]);
        assert_eq!(lines[1], "Service default/b");
        assert!(lines[2].starts_with("refused: line 10: API version \"discovery.k8s.io/v1beta1\""), "{}", lines[2]);
        assert!(lines[3].starts_with("refused: line 13: "), "{}", lines[3]);
    }

    /// More nodes than the parser's own budget of 250,000, which is a list of some 2,000 services.
    #[test]
    fn a_text_may_be_as_long_as_a_big_cluster() {
        let many = "1,".repeat(260_000);
        check(&format!("apiVersion: v1\nkind: Other\nlist: [{many}]\n"), &["line 1: foreign v1 Other"]);
    }

    #[test]
    fn aliases_that_multiply_are_refused() {
        let mut text = "apiVersion: v1\nkind: List\na0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for i in 1..9 {
            let before = format!("*a{}, ", i - 1).repeat(10);
            text.push_str(&format!("a{i}: &a{i} [{before}]\n"));
        }
        text.push_str("items: [*a8]\n");
        assert!(matches!(read(&text)[..], [Item::Refused(_)]));
    }

    #[test]
    fn a_text_without_kind_is_refused() {
        check("hello: world\n", &["refused: line 1: no kind"]);
    }
}
