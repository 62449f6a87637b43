//! The kernel's messages about nf_tables, decoded: what a dump answers, and what is announced after each commit.
//!
//! ```text
//!  datagram ──► Messages ──► Notification::decode ──► Object { Put | Removed, table, object }
//!                                                     Generation { number, process, program }
//! ```
//!
//! The kernel announces a commit as one notification for each operation, and the new generation behind them.

use std::io;

use super::abi::*;
use super::expr::Family;
use super::object::{Chain, Element, Flowtable, Rule, Set, Table};
use super::wire::{read_chain, read_element, read_flowtable, read_rule, read_set, read_table, table_name};
use crate::attr::{Attr, Attrs};
use crate::message::{Message, Messages};
use crate::namespace::Namespace;
use crate::socket::Socket;

/// A message of the kernel about nf_tables.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Notification<'a> {
    /// An object was put or removed; in a dump, it is there.
    Object {
        /// What happened to it.
        action: Action,
        /// The family of its table.
        family: Family,
        /// The name of its table; the object's own name if it is a table.
        table: &'a str,
        /// What it is. Of a removed object the kernel may tell no more than what names it: its name, a rule's handle,
        /// an element's key.
        object: Object<'a>,
    },
    /// A commit is complete: all objects since the notification before were its operations (`NFT_MSG_NEWGEN`).
    Generation {
        /// The ruleset's new generation. It counts the commits of the network namespace.
        number: u32,
        /// Process id of the program that committed; 0 if the kernel does not tell.
        process: u32,
        /// Name of that program, at most 15 bytes; empty if the kernel does not tell.
        program: &'a str,
    },
}

/// What happened to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// It was added or changed.
    Put,
    /// It was removed.
    Removed,
}

/// An object of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Object<'a> {
    /// The table itself.
    Table(Table),
    /// A chain.
    Chain(Chain),
    /// A rule.
    Rule(Rule),
    /// A set or a map.
    Set(Set),
    /// Elements of a set or a map.
    Elements {
        /// The name of the set or map.
        set: &'a str,
        /// The elements.
        elements: ElementList<'a>,
    },
    /// A flowtable.
    Flowtable(Flowtable),
}

/// Elements as they are in a message: read one by one, without an allocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ElementList<'a>(Attrs<'a>);

impl<'a> ElementList<'a> {
    /// The elements. One that has no key (`*`) is left out.
    pub fn iter(self) -> impl Iterator<Item = Element<'a>> {
        self.0.filter_map(|element| read_element(element.nested()))
    }

    /// The elements in a message about a set; none if it has none.
    pub(super) fn of(attrs: Attrs<'a>) -> Self {
        ElementList(attrs.find(NFTA_SET_ELEM_LIST_ELEMENTS).map_or(Attrs(&[]), Attr::nested))
    }
}

impl<'a> Notification<'a> {
    /// Decodes one message. None for what is not about a table of family `ip` or `ip6`, nor a generation: a message of
    /// another subsystem, an acknowledgement, a kind of object that this crate does not know.
    pub fn decode(message: &Message<'a>) -> Option<Self> {
        if message.kind >> 8 != NFNL_SUBSYS_NFTABLES {
            return None;
        }
        let attrs = message.attrs();
        let kind = message.kind & 0xff;
        if kind == NFT_MSG_NEWGEN {
            return Some(Notification::Generation {
                number: attrs.find(NFTA_GEN_ID)?.be32()?,
                process: attrs.find(NFTA_GEN_PROC_PID).and_then(Attr::be32).unwrap_or_default(),
                program: attrs.find(NFTA_GEN_PROC_NAME).and_then(Attr::str).unwrap_or_default(),
            });
        }
        let family = Family::from_abi(message.family().into())?;
        let (action, object) = match kind {
            NFT_MSG_NEWTABLE => (Action::Put, Object::Table(read_table(family, attrs))),
            NFT_MSG_DELTABLE => (Action::Removed, Object::Table(read_table(family, attrs))),
            NFT_MSG_NEWCHAIN => (Action::Put, Object::Chain(read_chain(attrs)?)),
            NFT_MSG_DELCHAIN => (Action::Removed, Object::Chain(read_chain(attrs)?)),
            NFT_MSG_NEWRULE => (Action::Put, Object::Rule(read_rule(attrs)?)),
            NFT_MSG_DELRULE => (Action::Removed, Object::Rule(read_rule(attrs)?)),
            NFT_MSG_NEWSET => (Action::Put, Object::Set(read_set(attrs)?)),
            NFT_MSG_DELSET => (Action::Removed, Object::Set(read_set(attrs)?)),
            NFT_MSG_NEWSETELEM => (Action::Put, read_elements(attrs)?),
            NFT_MSG_DELSETELEM => (Action::Removed, read_elements(attrs)?),
            NFT_MSG_NEWFLOWTABLE => (Action::Put, Object::Flowtable(read_flowtable(attrs)?)),
            NFT_MSG_DELFLOWTABLE => (Action::Removed, Object::Flowtable(read_flowtable(attrs)?)),
            _ => return None,
        };
        Some(Notification::Object { action, family, table: table_name(attrs)?, object })
    }
}

fn read_elements(attrs: Attrs<'_>) -> Option<Object<'_>> {
    let set = attrs.find(NFTA_SET_ELEM_LIST_SET)?.str()?;
    Some(Object::Elements { set, elements: ElementList::of(attrs) })
}

/// A subscription to all changes of nf_tables in a network namespace (`NFNLGRP_NFTABLES`), decoded.
///
/// Needs no table. [`super::Watch`] costs less for a program that only wants to know that another program changed its
/// tables.
#[derive(Debug)]
pub struct Monitor {
    socket: Socket,
}

impl Monitor {
    /// Subscribes in the network namespace of this thread. Within a tokio runtime.
    ///
    /// # Errors
    /// The socket's.
    pub fn open() -> io::Result<Self> {
        Self::open_in(&Namespace::Current)
    }

    /// Subscribes in a network namespace. Within a tokio runtime.
    ///
    /// # Errors
    /// The socket's, and those of [`Namespace::run`].
    pub fn open_in(namespace: &Namespace) -> io::Result<Self> {
        let socket = Socket::netfilter(namespace)?;
        socket.raw().add_membership(NFNLGRP_NFTABLES)?;
        Ok(Monitor { socket })
    }

    /// Waits for the next notifications. Those of a large commit come in several parts. Cancel-safe.
    ///
    /// # Errors
    /// `ENOBUFS`: notifications were lost because they came faster than they were read. More are lost, without another
    /// error, until all that are queued have been received. Then list what was missed. Others are the socket's.
    pub async fn receive(&mut self) -> io::Result<Notifications<'_>> {
        Ok(Notifications(self.socket.receive().await?))
    }
}

/// The notifications that came in one datagram.
#[derive(Clone, Copy, Debug)]
pub struct Notifications<'a>(pub Messages<'a>);

impl<'a> Iterator for Notifications<'a> {
    type Item = Notification<'a>;

    fn next(&mut self) -> Option<Notification<'a>> {
        self.0.find_map(|message| Notification::decode(&message))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::nftables::{Batch, DataType, Expr, Verdict};

    fn decoded(bytes: &[u8]) -> Vec<String> {
        Notifications(Messages(bytes)).map(|notification| format!("{notification:?}")).collect()
    }

    #[test]
    fn what_is_written_into_a_batch_is_decoded() {
        let mut batch = Batch::new("t");
        let rule = Rule::new("c", vec![Expr::Verdict(Verdict::Accept)]).with_comment("all");
        batch.put_table(0, &Table::new(Family::Ipv6));
        batch.put_chain(1, Family::Ipv4, &Chain::new("c"));
        batch.append_rule(2, Family::Ipv4, &rule);
        batch.put_set(3, Family::Ipv4, &Set::verdict_map("v", DataType::INET_SERVICE));
        batch.put_elements(Family::Ipv4, "v").push(4, &Element::verdict(&[0, 80], Verdict::Drop));
        batch.remove_chain(5, Family::Ipv4, "d");
        let encoded = batch.encoded(1).to_vec();
        let all: Vec<_> = Notifications(Messages(&encoded)).collect();
        assert_eq!(all.len(), 6);
        let put = |family, object| Notification::Object { action: Action::Put, family, table: "t", object };
        assert_eq!(all[0], put(Family::Ipv6, Object::Table(Table::new(Family::Ipv6))));
        assert_eq!(all[1], put(Family::Ipv4, Object::Chain(Chain::new("c"))));
        assert_eq!(all[2], put(Family::Ipv4, Object::Rule(rule)));
        assert!(matches!(&all[3], Notification::Object { object: Object::Set(set), .. } if set.name == "v"));
        let Notification::Object { object: Object::Elements { set: "v", elements }, .. } = &all[4] else { panic!() };
        assert_eq!(elements.iter().collect::<Vec<_>>(), [Element::verdict(&[0, 80], Verdict::Drop)]);
        assert!(matches!(&all[5], Notification::Object { action: Action::Removed, .. }));
    }

    proptest! {
        #[test]
        fn any_message_is_a_notification_or_none(kind in 0u16..32, bytes in prop::collection::vec(any::<u8>(), 0..120)) {
            let mut message = ((bytes.len() + 16) as u32).to_ne_bytes().to_vec();
            message.extend_from_slice(&(NFNL_SUBSYS_NFTABLES << 8 | kind).to_ne_bytes());
            message.extend_from_slice(&[0; 10]);
            message.extend_from_slice(&bytes);
            let _ = decoded(&message);
        }
    }
}
