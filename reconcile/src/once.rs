//! Says a thing once for as long as it holds, however often it is looked at.

use std::collections::BTreeSet;

/// What holds and has been said.
#[derive(Clone, Debug)]
pub(super) struct Once<T> {
    said: BTreeSet<T>,
}

impl<T: Ord + Clone> Once<T> {
    /// What of `now` has not been said. What holds no longer is forgotten, and said again when it returns.
    pub(super) fn news(&mut self, now: BTreeSet<T>) -> Vec<T> {
        let news = now.difference(&self.said).cloned().collect();
        self.said = now;
        news
    }
}

impl<T> Default for Once<T> {
    fn default() -> Self {
        Self { said: BTreeSet::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_holds_is_said_once_and_again_when_it_returns() {
        let mut once = Once::default();
        assert_eq!(once.news([1, 2].into()), [1, 2]);
        assert_eq!(once.news([2, 3].into()), [3]);
        assert_eq!(once.news([1, 2].into()), [1]);
    }
}
