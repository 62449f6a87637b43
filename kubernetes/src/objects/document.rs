//! Reads texts as `kubectl get -o yaml` and `-o json` print them: one object, several documents, lists.
//!
//! One bad object costs itself alone: the other documents of a text and the other items of a list are read.

use std::fmt;
use std::sync::Arc;

use super::apparent::apparent_key;
use super::header::Header;
use super::likeness::Means;
use super::metallb::UnservedForm;
use super::names::check_names;
use super::yaml::{Document, Mistake, documents};
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

impl Document<'_> {
    /// The objects in it.
    fn read(self) -> Vec<Item> {
        let mut header: Header = match self.parse::<Option<Header>>() {
            Ok(header) => header.unwrap_or_default(),
            Err(mistake) => return vec![self.refused(apparent_key(self.text), mistake)],
        };
        let items = header.items.take();
        let Some(items_kind) = header.items_kind() else { return vec![self.read_object(&header)] };
        match items {
            Some(items) => {
                items.into_iter().flatten().map(|item| item.place(self.line, &header.api_version, items_kind)).collect()
            }
            None if header.is_list_of_ours() => {
                vec![self.refused(None, Mistake { line: None, reason: format!("{} without `items`", header.kind) })]
            }
            None => Vec::new(),
        }
    }

    fn read_object(self, header: &Header) -> Item {
        let mistake = match header.means() {
            Means::Ours(kind) => match self.parse_object(kind) {
                Ok(object) => match check_names(&object) {
                    Ok(()) => return Item::Object(object),
                    Err(reason) => Mistake { line: None, reason },
                },
                Err(mistake) => mistake,
            },
            Means::Others => return Item::Foreign { line: self.line, kind: header.to_string() },
            Means::Mistake(_, reason) => Mistake { line: None, reason },
        };
        self.refused(header.key(), mistake)
    }

    fn parse_object(self, kind: Kind) -> Result<Object, Mistake> {
        Ok(match kind {
            Kind::Service => Object::Service(Arc::new(self.parse()?)),
            Kind::EndpointSlice => Object::EndpointSlice(Arc::new(self.parse()?)),
            Kind::Endpoints => Object::Endpoints(Arc::new(self.parse()?)),
            Kind::Node => Object::Node(Arc::new(self.parse()?)),
            Kind::ServiceCidr => Object::ServiceCidr(Arc::new(self.parse()?)),
            Kind::Namespace => Object::Namespace(Arc::new(self.parse()?)),
            Kind::IpAddressPool => Object::IpAddressPool(Arc::new(self.parse()?)),
            Kind::L2Advertisement => Object::L2Advertisement(Arc::new(self.parse()?)),
            Kind::ServiceAddresses => Object::ServiceAddresses(Arc::new(self.parse()?)),
            Kind::Unserved(kind) => Object::Unserved(Arc::new(self.parse::<UnservedForm>()?.of_kind(kind))),
        })
    }

    fn refused(self, object: Option<ObjectKey>, mistake: Mistake) -> Item {
        Item::Refused(Refused { line: mistake.line.unwrap_or(self.line), object, reason: mistake.reason })
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
                "refused: line 5: Service default/a: \"ports: 7\": must be a list",
                "Service default/b",
                "refused: line 11: \"{ a: [\": cannot be read: unclosed bracket '['",
            ],
        );
        check(
            "{\"kind\": \n7}",
            &["refused: line 2: \"7}\": 7: must be text, in quotes if it looks like something else"],
        );
    }

    #[test]
    fn a_bad_item_of_a_list_costs_itself_alone_and_is_named_with_its_line() {
        let text = "apiVersion: v1\nitems:\n- apiVersion: v1\n  kind: Service\n  metadata: {name: a}\n  spec: {ports: 7}\n- apiVersion: v1\n  kind: Service\n  metadata: {name: b}\n- apiVersion: discovery.k8s.io/v1beta1\n  kind: EndpointSlice\n  metadata: {name: c}\n- 7\nkind: List\n";
        let lines = lines_of(text);
        assert!(lines[0].starts_with("refused: line 3: Service default/a: "), "{}", lines[0]);
        assert_eq!(lines[1], "Service default/b");
        assert!(
            lines[2]
                .starts_with("refused: line 10: EndpointSlice default/c: `apiVersion: \"discovery.k8s.io/v1beta1\"`"),
            "{}",
            lines[2]
        );
        assert!(lines[3].starts_with("refused: line 13: "), "{}", lines[3]);
    }

    /// More nodes than the parser's own budget of 250,000, which is a list of some 2,000 services.
    #[test]
    fn a_text_may_be_as_long_as_a_big_cluster() {
        let many = "1,".repeat(260_000);
        check(&format!("apiVersion: v1\nkind: Secret\nlist: [{many}]\n"), &["line 1: foreign v1 Secret"]);
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
        check("hello: world\n", &["refused: line 1: no `kind`"]);
    }

    #[test]
    fn a_typing_error_is_no_kind_of_others() {
        let service = |kind, version| format!("apiVersion: {version}\nkind: {kind}\nmetadata: {{name: a}}\n");
        for (kind, version) in [("Servise", "v1"), ("service", "v1"), ("Services", "v1"), ("Service", "core/v1")] {
            let lines = lines_of(&service(kind, version));
            assert!(lines[0].starts_with("refused: line 1: Service default/a: `"), "{lines:?}");
        }
        check(&service("Svc", "v1"), &["refused: line 1: `kind: \"Svc\"`: v1 has no such kind"]);
        let list = "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: List\n  items: []\n";
        check(list, &["refused: line 4: a list in a list: put its items into the outer one"]);
        check("apiVersion: v1\nkind: List\nitmes: []\n", &["refused: line 1: List without `items`"]);
        check("apiVersion: v1\nkind: Lits\nitems: []\n", &["refused: line 1: `kind: \"Lits\"`: v1 has no such kind"]);
        check("apiVersion: example.com/v1\nkind: AllowList\nspec: {}\n", &[]);
    }

    #[test]
    fn names_that_the_api_refuses_are_refused() {
        let rule = "must be a label (RFC 1123)";
        for name in ["a\\r\\nb", "a\\e[31m", "a\\0", "a\\u202eb", "A"] {
            let lines = lines_of(&format!("apiVersion: v1\nkind: Service\nmetadata: {{name: \"{name}\"}}\n"));
            assert!(lines[0].starts_with("refused: line 1: metadata.name \"") && lines[0].contains(rule), "{lines:?}");
            assert!(!lines[0].contains(|c: char| c.is_control() || c == '\u{202e}'), "{lines:?}");
        }
        let lines =
            lines_of("apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {ports: [{name: A_B, port: 1}]}\n");
        assert!(
            lines[0].starts_with("refused: line 1: Service default/a: spec.ports.name \"A_B\": must be"),
            "{lines:?}"
        );
    }
}
