//! What must go and what must come, for what is to become what shall be.
//!
//! **Invariant:** `apply(diff(a, b), a) == b` (`tests::a_diff_leads_from_one_to_the_other`).

use std::cmp::Ordering;

use crate::ruleset::Element;

/// Elements that go, and elements that come; each in order. Both inputs are sorted and without repetition. An element
/// whose value changes goes and comes: the kernel refuses to overwrite.
pub(crate) fn diff(from: Vec<Element>, to: Vec<Element>) -> (Vec<Element>, Vec<Element>) {
    let (mut going, mut coming) = (Vec::new(), Vec::new());
    let (mut from, mut to) = (from.iter().peekable(), to.iter().peekable());
    loop {
        let order = match (from.peek(), to.peek()) {
            (None, None) => return (going, coming),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(from), Some(to)) => from.cmp(to),
        };
        match order {
            Ordering::Less => going.extend(from.next()),
            Ordering::Greater => coming.extend(to.next()),
            Ordering::Equal => {
                from.next();
                to.next();
            }
        }
    }
}

/// The same for lists in any order. Where nothing goes, nothing is compared: what comes is grouped by sets, and no
/// more.
pub(crate) fn diff_of_unsorted(mut from: Vec<Element>, mut to: Vec<Element>) -> (Vec<Element>, Vec<Element>) {
    if from.is_empty() {
        to.sort_unstable_by_key(|element| (element.family, element.set));
        return (from, to);
    }
    from.sort_unstable();
    to.sort_unstable();
    diff(from, to)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use backend_api::{Family, FrontendKey, Protocol};
    use proptest::prelude::*;

    use super::*;
    use crate::ruleset::{By, Code, Key, SetName, Value};

    fn elements() -> impl Strategy<Value = BTreeMap<u16, u32>> {
        prop::collection::btree_map(1u16..20, 0u32..3, 0..12)
    }

    fn render(elements: &BTreeMap<u16, u32>) -> Vec<Element> {
        let key = |port| Key::Frontend(FrontendKey::node_port(Family::V4, Protocol::Tcp, port));
        let element = |(port, code): (&u16, &u32)| {
            Element::maps(Family::V4, SetName::Services(By::NodePort), key(*port), Value::Code(Code(*code)))
        };
        elements.iter().map(element).collect()
    }

    proptest! {
        #[test]
        fn a_diff_leads_from_one_to_the_other(from in elements(), to in elements()) {
            let (from, to) = (render(&from), render(&to));
            let (going, coming) = diff(from.clone(), to.clone());
            let mut kernel: BTreeMap<_, _> = from.iter().map(|element| (element.place(), *element)).collect();
            for element in &going {
                prop_assert_eq!(kernel.remove(&element.place()), Some(*element));
            }
            for element in &coming {
                prop_assert_eq!(kernel.insert(element.place(), *element), None);
            }
            prop_assert_eq!(kernel.into_values().collect::<Vec<_>>(), to);
            let (nothing, none) = diff(from.clone(), from);
            prop_assert!(nothing.is_empty() && none.is_empty());
        }
    }
}
