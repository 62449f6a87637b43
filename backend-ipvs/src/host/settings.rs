//! What to write, and what to remember of it: settings as names and numbers.
//!
//! Kept apart from /proc and IPVS, so that the bookkeeping of originals is one pure function for both.

use std::collections::BTreeMap;

/// Settings by the name under which their originals are remembered.
pub(crate) type Values = BTreeMap<&'static str, u32>;

/// What brings settings to what is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SettingsPlan {
    /// What to write.
    pub(crate) writes: Values,
    /// What is to be remembered then.
    pub(crate) originals: Values,
}

/// From what is set `now`, what is `wanted`, and the `originals` that are remembered.
///
/// Remembered is only what we change, with its first value. What is remembered and wanted no more goes back to its
/// original and is forgotten. A setting that is not in `now` cannot be written, and stays remembered.
pub(crate) fn plan(now: &Values, wanted: &Values, originals: &Values) -> SettingsPlan {
    let mut plan = SettingsPlan { writes: Values::new(), originals: originals.clone() };
    for (name, value) in wanted {
        if let Some(current) = now.get(name).filter(|current| *current != value) {
            plan.writes.insert(name, *value);
            plan.originals.entry(name).or_insert(*current);
        }
    }
    for (name, original) in originals.iter().filter(|(name, _)| !wanted.contains_key(*name)) {
        let Some(current) = now.get(name) else { continue };
        if current != original {
            plan.writes.insert(name, *original);
        }
        plan.originals.remove(name);
    }
    plan
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "ip_forward";
    const B: &str = "vs/conntrack";

    fn check(
        now: &[(&'static str, u32)],
        wanted: &[(&'static str, u32)],
        originals: &[(&'static str, u32)],
    ) -> SettingsPlan {
        let [now, wanted, originals] = [now, wanted, originals].map(|pairs| pairs.iter().copied().collect::<Values>());
        let first = plan(&now, &wanted, &originals);
        let mut after = now.clone();
        after.extend(&first.writes);
        let second = plan(&after, &wanted, &first.originals);
        assert_eq!(second, SettingsPlan { writes: Values::new(), originals: first.originals.clone() }, "written twice");
        first
    }

    #[test]
    fn only_what_differs_is_written_and_remembered() {
        let plan = check(&[(A, 1), (B, 0)], &[(A, 1), (B, 1)], &[]);
        assert_eq!(plan, SettingsPlan { writes: [(B, 1)].into(), originals: [(B, 0)].into() });
    }

    #[test]
    fn the_first_original_stays() {
        let plan = check(&[(B, 5)], &[(B, 1)], &[(B, 0)]);
        assert_eq!(plan, SettingsPlan { writes: [(B, 1)].into(), originals: [(B, 0)].into() });
    }

    #[test]
    fn what_is_wanted_no_more_goes_back_and_is_forgotten() {
        let plan = check(&[(A, 1), (B, 1)], &[(A, 1)], &[(A, 0), (B, 0)]);
        assert_eq!(plan, SettingsPlan { writes: [(B, 0)].into(), originals: [(A, 0)].into() });
    }

    #[test]
    fn what_cannot_be_written_is_neither_changed_nor_forgotten() {
        let plan = check(&[], &[(A, 1)], &[(B, 0)]);
        assert_eq!(plan, SettingsPlan { writes: Values::new(), originals: [(B, 0)].into() });
    }
}
