//! Which endpoints are near: the hints that the EndpointSlice controller wrote (KEP-2433, KEP-4444, KEP-3015).
//!
//! Only ready endpoints are looked at. Hints are computed for these alone, and a terminating one without hints must not
//! switch the preference off.

use std::sync::Arc;

use super::endpoints::Candidate;
use super::node::NodeFacts;

/// Which endpoints a node's connections go to by preference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Preference {
    /// Endpoints that are hinted for this node.
    SameNode,
    /// Endpoints that are hinted for the node's zone.
    SameZone,
    /// Any.
    None,
}

/// The preference that the hints of all ready endpoints come to: a kind of hint counts if every one has it, and one
/// of them names us. The nearer kind comes first.
pub(super) fn preference<'a, 'b: 'a>(
    ready: impl Iterator<Item = &'a Candidate<'b>> + Clone,
    node: &NodeFacts,
) -> Preference {
    for kind in [Preference::SameNode, Preference::SameZone] {
        let hinted = ready.clone().all(|candidate| !kind.hints(candidate).is_empty());
        if hinted && ready.clone().any(|candidate| kind.admits(candidate, node)) {
            return kind;
        }
    }
    Preference::None
}

impl Preference {
    /// Whether `candidate` is among the preferred.
    pub(super) fn admits(self, candidate: &Candidate<'_>, node: &NodeFacts) -> bool {
        let wanted = match self {
            Self::SameNode => Some(&*node.name),
            Self::SameZone => node.zone.as_deref(),
            Self::None => return true,
        };
        wanted.is_some_and(|wanted| self.hints(candidate).iter().any(|hint| **hint == *wanted))
    }

    fn hints<'a>(self, candidate: &Candidate<'a>) -> &'a [Arc<str>] {
        match (self, candidate.hints) {
            (Self::SameNode, Some(hints)) => &hints.for_nodes,
            (Self::SameZone, Some(hints)) => &hints.for_zones,
            (Self::None, _) | (_, None) => &[],
        }
    }
}
