//! The keys that a set should have, by what other sets say: the codes of frontends tell the sizes of their pools.
//!
//! A large set is asked for by these keys, at a constant price each, where listing it costs the square of its size. If
//! the kernel then counts more elements than were found, it is listed after all: a wrong guess costs time alone.

use std::collections::BTreeMap;

use backend_api::FrontendKey;

use crate::assign::first_slot;
use crate::ruleset::{By, Element, Key, Policy, SetName, Tag, Value};

/// What was read of the sets before one, in [`SetName::ALL`].
pub(crate) type Before = BTreeMap<SetName, Vec<Element>>;

/// The keys that `set` should have; none if what comes before it says nothing about it.
pub(crate) fn likely_keys(set: SetName, before: &Before) -> Option<Vec<Key>> {
    let keys = match set {
        SetName::Endpoints(by) => {
            let picks = draws(by, before).filter(|(_, policy)| matches!(policy, Policy::Pick(..)));
            picks.flat_map(slots).collect()
        }
        SetName::StickyPicks(by) => sticky(by, before).flat_map(slots).collect(),
        // An endpoint with a larger share is drawn by several numbers.
        SetName::StickyEndpoints(by) => {
            each_once(of(before, SetName::StickyPicks(by)).filter_map(|element| remembered(*element)))
        }
        SetName::AffinityIds(by) => each_once(sticky(by, before).map(|(frontend, _)| Key::Frontend(frontend))),
        SetName::ClusterIps => {
            each_once(of(before, SetName::Services(By::Address)).filter_map(|element| address(element.key)))
        }
        _ => return None,
    };
    Some(keys)
}

fn of(before: &Before, set: SetName) -> impl Iterator<Item = &Element> {
    before.get(&set).into_iter().flatten()
}

fn each_once(keys: impl Iterator<Item = Key>) -> Vec<Key> {
    let mut keys: Vec<Key> = keys.collect();
    keys.sort_unstable();
    keys.dedup();
    keys
}

/// The answers that frontends have, in the maps of `by`.
fn draws(by: By, before: &Before) -> impl Iterator<Item = (FrontendKey, Policy)> {
    let maps = [SetName::Services(by), SetName::Inside(by), SetName::Outside(by)];
    maps.into_iter().flat_map(|set| of(before, set)).filter_map(|element| match (element.key, element.value) {
        (Key::Frontend(frontend), Value::Code(code)) => Some((frontend, Policy::of(code)?)),
        _ => None,
    })
}

fn sticky(by: By, before: &Before) -> impl Iterator<Item = (FrontendKey, Policy)> {
    draws(by, before).filter(|(_, policy)| matches!(policy, Policy::Sticky(..)))
}

/// The numbers that a policy draws from.
fn slots((frontend, policy): (FrontendKey, Policy)) -> impl Iterator<Item = Key> {
    let (first, size) = match policy {
        Policy::Pick(pool, size) | Policy::Sticky(pool, size) => (first_slot(pool), size),
        Policy::Refuse | Policy::Drop | Policy::Split => (0, 0),
    };
    (first..).take(size.into()).map(move |slot| Key::Slot(frontend, slot))
}

fn remembered(pick: Element) -> Option<Key> {
    match (pick.key, pick.value) {
        (Key::Slot(frontend, _), Value::Code(code)) => Some(Key::Remembered(frontend, Tag::of(code).slot)),
        _ => None,
    }
}

fn address(key: Key) -> Option<Key> {
    match key {
        Key::Frontend(FrontendKey::Address { address, .. }) => Some(Key::Address(address)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use backend_api::{Dataplane, Family, Scope};

    use super::*;
    use crate::netns::isolated;
    use crate::read::Reader;
    use crate::ruleset::{Delivery, TABLE};
    use crate::{NftDataplane, Options, sample};
    use netlink::nftables::Nftables;

    /// Programs everything there is, and shows the table of each family.
    async fn programmed(mut check: impl AsyncFnMut(Family, &mut Nftables)) {
        let mut dataplane = NftDataplane::open(Options::default()).await.unwrap();
        assert!(dataplane.sync(&sample::everything(), Scope::All).await.unwrap().writes > 0);
        let mut nftables = Nftables::open(TABLE).unwrap();
        for family in Family::ALL {
            check(family, &mut nftables).await;
        }
    }

    #[test]
    fn codes_tell_every_key_of_what_is_asked_for() {
        isolated(async || {
            programmed(async |family, nftables| {
                let mut before = Before::new();
                let listed = Reader { nftables, asked_from: u32::MAX }.content(family).await.unwrap();
                for element in listed.elements {
                    before.entry(element.set).or_default().push(element);
                }
                let mut told = 0;
                for set in SetName::of(Delivery::Translate) {
                    let Some(likely) = likely_keys(set, &before) else { continue };
                    let there: Vec<Key> = of(&before, set).map(|element| element.key).collect();
                    assert!(there.iter().all(|key| likely.contains(key)), "{family} {set}: {there:?}, not {likely:?}");
                    told += there.len();
                }
                assert!(told > 5, "{family}: {told} elements are hardly everything");
            })
            .await;
        });
    }

    #[test]
    fn what_is_asked_for_is_what_is_listed() {
        isolated(async || {
            programmed(async |family, nftables| {
                let listed = Reader { nftables, asked_from: u32::MAX }.content(family).await.unwrap();
                let asked = Reader { nftables, asked_from: 1 }.content(family).await.unwrap();
                assert_eq!(listed.elements, asked.elements);
                assert_eq!(listed.counters.len(), asked.counters.len());
                assert_eq!(listed.strange.len(), asked.strange.len());
            })
            .await;
        });
    }
}
