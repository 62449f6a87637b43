//! The 32-bit numbers that stand for answers in the maps of services.
//!
//! A number, not a verdict, because an added element that holds `goto` makes the kernel validate the whole table anew.
//! nft prints them as traffic classes, `5352:3`: the high half says what, the low half how many.
//! They travel from one lookup to the next in `meta priority`, in the first packet of a connection alone.

use std::fmt;

use backend_api::{Masquerade, Pool};

use super::chain::ChainName;
use super::name::{By, LOCAL_STICKY_SLOT, Tag};

/// A number that `meta priority` carries from one lookup to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Code(pub(crate) u32);

/// What a code of [`super::SetName::Services`] and its kin stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Policy {
    /// `5350:0`: no answer, and the client is told.
    Refuse,
    /// `5350:1`: no answer, and the client waits.
    Drop,
    /// `5351:0`: pods and the node meet one answer, other clients another.
    Split,
    /// `5352:n`, `5353:n`: one of n endpoints.
    Pick(Pool, u16),
    /// `5354:n`, `5355:n`: one of n endpoints, the same one next time.
    Sticky(Pool, u16),
}

impl Policy {
    /// Its number.
    pub(crate) fn code(self) -> Code {
        let (kind, size) = match self {
            Self::Refuse => (0x5350, 0),
            Self::Drop => (0x5350, 1),
            Self::Split => (0x5351, 0),
            Self::Pick(Pool::Cluster, size) => (0x5352, size),
            Self::Pick(Pool::Local, size) => (0x5353, size),
            Self::Sticky(Pool::Cluster, size) => (0x5354, size),
            Self::Sticky(Pool::Local, size) => (0x5355, size),
        };
        Code(kind << 16 | u32::from(size))
    }

    /// What a number stands for; none where it is none of ours.
    pub(crate) fn of(code: Code) -> Option<Self> {
        match (code.0 >> 16, code.0 as u16) {
            (0x5350, 0) => Some(Self::Refuse),
            (0x5350, 1) => Some(Self::Drop),
            (0x5351, 0) => Some(Self::Split),
            (_, 0) => None,
            (0x5352, size) => Some(Self::Pick(Pool::Cluster, size)),
            (0x5353, size) => Some(Self::Pick(Pool::Local, size)),
            (0x5354, size) => Some(Self::Sticky(Pool::Cluster, size)),
            (0x5355, size) => Some(Self::Sticky(Pool::Local, size)),
            _ => None,
        }
    }

    /// The chain that exists for it alone; none for those that need no chain of their own size.
    pub(crate) fn sized_chain(self, by: By) -> Option<ChainName> {
        match self {
            Self::Refuse | Self::Drop | Self::Split => None,
            Self::Pick(pool, size) => Some(ChainName::Pick(by, pool, size)),
            Self::Sticky(pool, size) => Some(ChainName::Sticky(by, pool, size)),
        }
    }
}

impl Tag {
    /// The longest timeout in seconds that a code can say: a day and a half.
    pub(crate) const MAX_TIMEOUT: u32 = (1 << 17) - 1;

    /// Its number in `sticky-picks`: the timeout above the slot.
    pub(crate) fn code(self) -> Code {
        Code(self.timeout << 15 | u32::from(self.slot))
    }

    /// The tag of a number in `sticky-picks`.
    pub(crate) fn of(code: Code) -> Self {
        Self { slot: (code.0 & 0x7fff) as u16, timeout: code.0 >> 15 }
    }

    /// The pool that its slot belongs to.
    pub(crate) fn pool(self) -> Pool {
        if self.slot < LOCAL_STICKY_SLOT { Pool::Cluster } else { Pool::Local }
    }
}

/// The code of a masquerade: `5356:0` to `5356:3`.
pub(crate) fn masquerade_code(masquerade: Masquerade) -> Code {
    let number = match masquerade {
        Masquerade::Never => 0,
        Masquerade::Always => 1,
        Masquerade::UnlessPod => 2,
        Masquerade::FromNode => 3,
    };
    Code(0x5356 << 16 | number)
}

/// The masquerade that a code stands for.
pub(crate) fn masquerade_of(code: Code) -> Option<Masquerade> {
    Masquerade::ALL.into_iter().find(|masquerade| masquerade_code(*masquerade) == code)
}

/// What clients are remembered to have: `5357:slot`.
pub(crate) fn remembered(slot: u16) -> Code {
    Code(0x5357 << 16 | u32::from(slot))
}

/// The slot of what a client is remembered to have.
pub(crate) fn slot_of(remembered: Code) -> Option<u16> {
    (remembered.0 >> 16 == 0x5357).then_some(remembered.0 as u16)
}

/// As nft prints a traffic class.
impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => f.write_str("none"),
            u32::MAX => f.write_str("root"),
            code => write!(f, "{:x}:{:x}", code >> 16, code & 0xffff),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_policy_is_read_back() {
        for pool in [Pool::Cluster, Pool::Local] {
            for policy in
                [Policy::Refuse, Policy::Drop, Policy::Split, Policy::Pick(pool, 3), Policy::Sticky(pool, u16::MAX)]
            {
                assert_eq!(Policy::of(policy.code()), Some(policy));
            }
        }
        for masquerade in Masquerade::ALL {
            assert_eq!(masquerade_of(masquerade_code(masquerade)), Some(masquerade));
        }
        for code in [0, 6, 0x5352_0000, 0x5356_0001, u32::MAX] {
            assert_eq!(Policy::of(Code(code)), None, "{code:x}");
            assert!(code == 0x5356_0001 || masquerade_of(Code(code)).is_none(), "{code:x}");
        }
    }

    #[test]
    fn the_longest_day_and_the_last_slot_fit_a_tag() {
        for tag in [Tag { slot: 0x7fff, timeout: Tag::MAX_TIMEOUT }, Tag { slot: 0, timeout: 1 }] {
            assert_eq!(Tag::of(tag.code()), tag);
        }
    }

    #[test]
    fn numbers_read_as_traffic_classes() {
        assert_eq!(Policy::Pick(Pool::Cluster, 10).code().to_string(), "5352:a");
        assert_eq!(remembered(5).to_string(), "5357:5");
    }
}
