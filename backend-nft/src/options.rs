//! What a caller chooses when it opens our tables.

/// Options of [`crate::NftDataplane::open`] and of the tables that mark.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Options {
    /// Whether other programs may change our tables while we run.
    pub others: Others,
}

/// Whether other programs may change our tables.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Others {
    /// Not while we run, where the kernel can keep them off (Linux 6.9): `nft flush ruleset` passes over the tables.
    #[default]
    KeptOut,
    /// Yes. We repair what they change.
    LetIn,
}

impl Options {
    /// The same, with another answer to whether other programs may change our tables.
    #[must_use]
    pub fn others(self, others: Others) -> Self {
        Self { others, ..self }
    }
}
