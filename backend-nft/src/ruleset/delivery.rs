//! What is done with a connection once its answer is known: the one thing in which two kinds of our tables differ.
//!
//! Either its destination is rewritten here, or it is marked for a virtual server of IPVS, which does that. Everything
//! else (which endpoints answer, what is refused, which sources are rewritten) is the same rules.

use std::fmt;

/// What translates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum Delivery {
    /// These tables.
    #[default]
    Translate,
    /// IPVS, by the packet's mark.
    Mark,
}

/// A packet mark of ours: the name of a virtual server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mark(pub u32);

/// A conntrack label. They are 128 bits of which others use few, with names of their own in `connlabel.conf`; setting
/// one leaves the others alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Label(pub(crate) u8);

impl Label {
    /// Of connections that IPVS translates.
    pub(crate) const SERVED: Self = Self(117);
    /// Of connections that were forwarded without it.
    pub(crate) const BYSTANDER: Self = Self(118);
}

impl Mark {
    /// The bits by which marks of ours are told from others'.
    pub const MASK: u32 = 0xff00_0000;
    /// What those bits are.
    pub const PREFIX: u32 = 0x5300_0000;
    /// Of packets that are to be delivered to IPVS, which knows their connections: no virtual server has it.
    pub const DELIVER: Self = Self(Self::PREFIX);
    /// The bit of virtual servers whose flows are cut when what answers them goes: UDP's and SCTP's.
    pub const CUT: u32 = 1 << 23;

    /// Whether it names a virtual server of ours.
    pub fn is_ours(self) -> bool {
        self.0 & Self::MASK == Self::PREFIX && self != Self::DELIVER
    }
}

/// As nft prints it.
impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#010x}", self.0)
    }
}
