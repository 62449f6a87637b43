//! Reads our tables while the first state is still being collected, on a thread of its own.
//!
//! The ruleset's generation grows with every commit of any program in the network namespace. So what was read at one
//! generation is what is there for as long as that is the generation; otherwise it is thrown away, and read again.

use std::thread;

use backend_api::{Family, PerFamily};
use tokio::runtime::Builder;
use tokio::sync::oneshot;

use crate::content::Content;
use crate::read::{ASKED_FROM, Reader};
use crate::ruleset::TABLE;
use crate::ruleset::lower::kernel_family;
use netlink::nftables::Nftables;
use netlink::{Namespace, ReadError};

/// What is being read, or was.
#[derive(Debug, Default)]
pub(crate) enum Ahead {
    /// A thread reads.
    Reading(oneshot::Receiver<Box<Seen>>),
    /// It has read.
    Seen(Box<Seen>),
    /// There is nothing, or it counts no more.
    #[default]
    Nothing,
}

/// Our tables as they were at one generation of the ruleset.
#[derive(Debug)]
pub(crate) struct Seen {
    generation: u32,
    contents: PerFamily<Option<Content>>,
}

impl Ahead {
    /// Begins to read in this network namespace. What fails is left to the look itself.
    pub(crate) fn start(namespace: Namespace) -> Self {
        let (told, reading) = oneshot::channel();
        let thread = thread::Builder::new().name("look-ahead".to_owned()).spawn(move || {
            let Ok(runtime) = Builder::new_current_thread().enable_io().build() else { return };
            if let Ok(Some(seen)) = runtime.block_on(look(&namespace)) {
                // Nothing is lost with a dataplane that has ended.
                let _ = told.send(seen);
            }
        });
        thread.map_or(Self::Nothing, |_| Self::Reading(reading))
    }

    /// What is in the table of `family`, if that is known.
    pub(crate) async fn take(&mut self, family: Family, nftables: &mut Nftables) -> Option<Content> {
        if let Self::Reading(reading) = self {
            *self = reading.await.map_or(Self::Nothing, Self::Seen);
        }
        let Self::Seen(seen) = self else { return None };
        if nftables.generation().await.ok() != Some(seen.generation) {
            *self = Self::Nothing;
            return None;
        }
        seen.contents.of_mut(family).take()
    }
}

/// None if the ruleset was changed meanwhile.
async fn look(namespace: &Namespace) -> Result<Option<Box<Seen>>, ReadError> {
    let mut nftables = Nftables::open_in(namespace, TABLE)?;
    let generation = nftables.generation().await?;
    let tables = nftables.tables().await?;
    let mut contents = PerFamily::default();
    for family in Family::ALL {
        if tables.iter().any(|table| table.family == kernel_family(family)) {
            let mut reader = Reader { nftables: &mut nftables, asked_from: ASKED_FROM };
            *contents.of_mut(family) = Some(reader.content(family).await?);
        }
    }
    let seen = Box::new(Seen { generation, contents });
    Ok((nftables.generation().await? == generation).then_some(seen))
}

#[cfg(test)]
mod tests {
    use backend_api::{Dataplane, NodeNetwork, Scope, ServiceState};

    use super::*;
    use crate::netns::isolated;
    use crate::{NftDataplane, Options, sample};

    #[test]
    fn what_was_read_ahead_counts_until_the_next_commit() {
        isolated(async || {
            let mut dataplane = NftDataplane::open(Options::default()).await.unwrap();
            dataplane.sync(&sample::everything(), Scope::All).await.unwrap();
            let mut nftables = Nftables::open(TABLE).unwrap();
            let mut ahead = Ahead::start(Namespace::Current);
            for family in Family::ALL {
                let now = Reader { nftables: &mut nftables, asked_from: ASKED_FROM }.content(family).await.unwrap();
                assert_eq!(ahead.take(family, &mut nftables).await.unwrap().elements, now.elements);
                assert!(ahead.take(family, &mut nftables).await.is_none(), "twice");
            }
            let mut ahead = Ahead::start(Namespace::Current);
            assert!(ahead.take(Family::V4, &mut nftables).await.is_some());
            dataplane.sync(&ServiceState::new(NodeNetwork::unknown()), Scope::All).await.unwrap();
            assert!(ahead.take(Family::V6, &mut nftables).await.is_none());
        });
    }
}
