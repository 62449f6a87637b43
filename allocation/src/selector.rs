//! Label selectors, as Kubernetes has them: which labels match.

use std::collections::BTreeMap;

/// Labels of an object.
pub type Labels = BTreeMap<String, String>;

/// Which labels match: those that meet every requirement. One without requirements matches all.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Selector {
    /// Labels that must have exactly these values.
    pub match_labels: BTreeMap<String, String>,
    /// Other requirements.
    pub match_expressions: Vec<Requirement>,
}

/// What one label must be.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Requirement {
    /// The label's key.
    pub key: String,
    /// What is asked of it.
    pub operator: Operator,
}

/// What is asked of a label.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operator {
    /// It is there, with one of these values.
    In(Vec<String>),
    /// It is not there, or has none of these values.
    NotIn(Vec<String>),
    /// It is there.
    Exists,
    /// It is not there.
    DoesNotExist,
}

impl Selector {
    /// Whether the labels meet every requirement.
    pub fn matches(&self, labels: &Labels) -> bool {
        self.match_labels.iter().all(|(key, value)| labels.get(key) == Some(value))
            && self.match_expressions.iter().all(|requirement| requirement.is_met(labels))
    }
}

impl Requirement {
    fn is_met(&self, labels: &Labels) -> bool {
        let value = labels.get(&self.key);
        match &self.operator {
            Operator::In(values) => value.is_some_and(|value| values.contains(value)),
            Operator::NotIn(values) => value.is_none_or(|value| !values.contains(value)),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
        }
    }
}

/// Whether one of the selectors matches, or there is none.
pub fn any_matches(selectors: &[Selector], labels: &Labels) -> bool {
    selectors.is_empty() || selectors.iter().any(|selector| selector.matches(labels))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn check(operator: Operator, expected: [bool; 3]) {
        let requirement = Requirement { key: "tier".to_owned(), operator };
        let selector = Selector { match_expressions: vec![requirement], ..Selector::default() };
        let of = [labels(&[("tier", "gold")]), labels(&[("tier", "tin")]), labels(&[("app", "gold")])];
        assert_eq!(of.each_ref().map(|labels| selector.matches(labels)), expected, "{selector:?}");
    }

    #[test]
    fn an_operator_asks_one_thing_of_a_label() {
        let gold = vec!["gold".to_owned(), "silver".to_owned()];
        check(Operator::In(gold.clone()), [true, false, false]);
        check(Operator::NotIn(gold), [false, true, true]);
        check(Operator::Exists, [true, true, false]);
        check(Operator::DoesNotExist, [false, false, true]);
    }

    #[test]
    fn every_requirement_must_be_met() {
        let mut selector = Selector { match_labels: labels(&[("app", "web")]), ..Selector::default() };
        assert!(selector.matches(&labels(&[("app", "web"), ("tier", "tin")])));
        selector.match_expressions.push(Requirement { key: "tier".to_owned(), operator: Operator::DoesNotExist });
        assert!(!selector.matches(&labels(&[("app", "web"), ("tier", "tin")])));
        assert!(selector.matches(&labels(&[("app", "web")])));
    }

    #[test]
    fn no_selector_matches_all_and_several_match_where_one_does() {
        assert!(any_matches(&[], &Labels::new()) && any_matches(&[Selector::default()], &Labels::new()));
        let two = ["web", "dns"].map(|app| Selector { match_labels: labels(&[("app", app)]), ..Selector::default() });
        assert!(any_matches(&two, &labels(&[("app", "dns")])) && !any_matches(&two, &labels(&[("app", "mail")])));
    }
}
