//! Numbers that every user of netlink shares, named as in linux/netlink.h and linux/netfilter/nfnetlink.h.
//!
//! The numbers of one subsystem are beside its code: `nftables/abi.rs`, `ipvs/abi.rs`, `conntrack.rs`, `ipset.rs`.
//! Enumerations that callers see are beside the values that hold them.

/// Declares an enumeration with the kernel's numbers, and the way there and back.
macro_rules! abi_enum {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $number:expr,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)+
        }

        impl $name {
            /// Every one.
            pub const ALL: &'static [$name] = &[$($name::$variant,)+];

            /// The kernel's number.
            pub const fn abi(self) -> u32 {
                match self {
                    $($name::$variant => $number,)+
                }
            }

            /// From the kernel's number; none for a number that this crate does not know.
            pub const fn from_abi(number: u32) -> Option<$name> {
                match number {
                    $($number => Some($name::$variant),)+
                    _ => None,
                }
            }
        }
    };
}
pub(crate) use abi_enum;

/// Declares constants of a type that count up, as a C `enum` does.
macro_rules! count_up {
    ($kind:ty, $first:expr => $name:ident $(, $rest:ident)*) => {
        #[allow(dead_code, reason = "enumerations are listed without gaps")]
        pub(crate) const $name: $kind = $first;
        $crate::abi::count_up!($kind, $first + 1 => $($rest),*);
    };
    ($kind:ty, $first:expr =>) => {};
}
pub(crate) use count_up;

// linux/netlink.h
pub(crate) const NLMSG_HDRLEN: usize = 16;
pub(crate) const NLMSG_NOOP: u16 = 1;
pub(crate) const NLMSG_ERROR: u16 = 2;
pub(crate) const NLMSG_DONE: u16 = 3;
pub(crate) const NLMSG_MIN_TYPE: u16 = 16;
pub(crate) const NLM_F_REQUEST: u16 = 0x1;
pub(crate) const NLM_F_ACK: u16 = 0x4;
pub(crate) const NLM_F_DUMP_INTR: u16 = 0x10;
pub(crate) const NLM_F_CAPPED: u16 = 0x100;
pub(crate) const NLM_F_DUMP: u16 = 0x300;
pub(crate) const NLM_F_EXCL: u16 = 0x200;
pub(crate) const NLM_F_CREATE: u16 = 0x400;
pub(crate) const NLM_F_APPEND: u16 = 0x800;
count_up!(u16, 1 => NLMSGERR_ATTR_MSG, NLMSGERR_ATTR_OFFS);

// linux/netfilter/nfnetlink.h
pub(crate) const NFGENMSG_LEN: usize = 4;
pub(crate) const NFNETLINK_V0: u8 = 0;
pub(crate) const NFNL_SUBSYS_CTNETLINK: u16 = 1;
pub(crate) const NFNL_SUBSYS_NFTABLES: u16 = 10;
pub(crate) const NFNL_MSG_BATCH_BEGIN: u16 = NLMSG_MIN_TYPE;
pub(crate) const NFNL_MSG_BATCH_END: u16 = NLMSG_MIN_TYPE + 1;
pub(crate) const NFNL_BATCH_GENID: u16 = 1;
pub(crate) const NFNLGRP_NFTABLES: u32 = 7;
