//! Which object a text seems to be that no parser understands: its lines at their usual place often tell.
//!
//! Kept apart from parsing because it guesses. It is used to name an object in a complaint, and to know which object
//! to leave as it was; where the guess could be wrong it says nothing.

use std::collections::BTreeMap;

use super::ObjectKey;
use super::header::{Header, HeaderMetadata};

/// The object that block-style YAML is about, from its lines at the margin and the first level of `metadata`. None if a
/// line that counts is there twice: then two documents have run into one.
pub(super) fn apparent_key(text: &str) -> Option<ObjectKey> {
    let mut found: BTreeMap<(&str, &str), &str> = BTreeMap::new();
    let (mut section, mut depth) = ("", None);
    for line in text.lines() {
        let content = line.trim_start();
        let indent = line.len() - content.len();
        let Some((key, value)) = content.split_once(':').filter(|_| !content.starts_with(['#', '-'])) else {
            continue;
        };
        let place = if indent == 0 {
            (section, depth) = (key, None);
            ("", key)
        } else if section == "metadata" && depth.is_none_or(|depth| depth == indent) {
            depth = Some(indent);
            ("metadata", key)
        } else {
            continue;
        };
        if found.insert(place, scalar(value)).is_some() {
            return None;
        }
    }
    let metadata = HeaderMetadata {
        namespace: found.get(&("metadata", "namespace")).map(|text| (*text).to_owned()),
        name: found.get(&("metadata", "name")).map(|text| (*text).to_owned()),
    };
    let (api_version, kind) = (found.get(&("", "apiVersion"))?, found.get(&("", "kind"))?);
    let (api_version, kind) = ((*api_version).to_owned(), (*kind).to_owned());
    Header { api_version, kind, metadata: Some(metadata), items: None }.key()
}

/// A plain or quoted value, without a comment behind it.
fn scalar(value: &str) -> &str {
    value.split(" #").next().unwrap_or_default().trim().trim_matches(['"', '\''])
}

#[cfg(test)]
mod tests {
    use super::*;

    const BROKEN: &str = "\
kind: Service # a comment
apiVersion: v1
spec:
  name: no
  ports: [
metadata:
  labels:
    name: no
  name: \"web\"
  namespace: shop
";

    fn check(text: &str, expected: Option<&str>) {
        assert_eq!(apparent_key(text).map(|key| key.to_string()).as_deref(), expected, "{text}");
    }

    #[test]
    fn lines_at_their_place_name_the_object() {
        check(BROKEN, Some("Service shop/web"));
        check("apiVersion: v1\nkind: Node\nmetadata:\n    name: n\n\tspec: [", Some("Node n"));
    }

    #[test]
    fn two_documents_that_have_run_into_one_are_neither() {
        check(&format!("{BROKEN}--\n{BROKEN}"), None);
    }

    #[test]
    fn what_says_too_little_is_nothing() {
        check("", None);
        check("apiVersion: v1\nkind: Service\nspec: [", None);
        check("apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: a\n", None);
    }
}
