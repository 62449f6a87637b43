//! What a caller chooses when it opens our tables.

use netlink::Namespace;

/// Options of [`crate::NftDataplane::open`], and of the tables in [`crate::marking`].
///
/// ```no_run
/// use switchyard_nft::{Namespace, NftDataplane, Options, Others};
///
/// # async fn open() -> Result<(), Box<dyn std::error::Error>> {
/// let node = Namespace::of_path("/run/netns/node")?;
/// let dataplane = NftDataplane::open(Options::default().namespace(node).others(Others::LetIn)).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Options {
    /// Whether other programs may change our tables while we run.
    pub others: Others,
    /// The network namespace whose packets are forwarded. Everything that is opened is in it.
    pub namespace: Namespace,
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
    /// The same, with this answer to whether other programs may change our tables.
    #[must_use]
    pub fn others(self, others: Others) -> Self {
        Self { others, ..self }
    }

    /// The same, in this network namespace instead of the calling thread's.
    #[must_use]
    pub fn namespace(self, namespace: Namespace) -> Self {
        Self { namespace, ..self }
    }
}
