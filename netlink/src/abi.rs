//! Numbers of the kernel's ABI, named as in the UAPI headers.
//!
//! Here in one place, so that whoever doubts a number compares one file with three headers. Enumerations that callers
//! see are beside their values ([`super::expr`], [`super::object`]).

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

            /// From the kernel's number; none for what we have no use for.
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

/// Declares constants that count up, as a C `enum` does.
macro_rules! count_up {
    ($first:expr => $name:ident $(, $rest:ident)*) => {
        #[allow(dead_code, reason = "enumerations are listed without gaps")]
        pub(crate) const $name: u16 = $first;
        count_up!($first + 1 => $($rest),*);
    };
    ($first:expr =>) => {};
}

// linux/netlink.h
pub(crate) const NLMSG_HDRLEN: usize = 16;
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
count_up!(1 => NLMSGERR_ATTR_MSG, NLMSGERR_ATTR_OFFS);

// linux/netfilter/nfnetlink.h
pub(crate) const NFGENMSG_LEN: usize = 4;
pub(crate) const NFNETLINK_V0: u8 = 0;
pub(crate) const NFNL_SUBSYS_CTNETLINK: u16 = 1;
pub(crate) const NFNL_SUBSYS_NFTABLES: u16 = 10;
pub(crate) const NFNL_MSG_BATCH_BEGIN: u16 = NLMSG_MIN_TYPE;
pub(crate) const NFNL_MSG_BATCH_END: u16 = NLMSG_MIN_TYPE + 1;
pub(crate) const NFNL_BATCH_GENID: u16 = 1;
pub(crate) const NFNLGRP_NFTABLES: u32 = 7;

// linux/netfilter/nf_tables.h: enum nf_tables_msg_types
count_up!(0 => NFT_MSG_NEWTABLE, NFT_MSG_GETTABLE, NFT_MSG_DELTABLE, NFT_MSG_NEWCHAIN, NFT_MSG_GETCHAIN,
    NFT_MSG_DELCHAIN, NFT_MSG_NEWRULE, NFT_MSG_GETRULE, NFT_MSG_DELRULE, NFT_MSG_NEWSET, NFT_MSG_GETSET,
    NFT_MSG_DELSET, NFT_MSG_NEWSETELEM, NFT_MSG_GETSETELEM, NFT_MSG_DELSETELEM, NFT_MSG_NEWGEN, NFT_MSG_GETGEN,
    NFT_MSG_TRACE, NFT_MSG_NEWOBJ, NFT_MSG_GETOBJ, NFT_MSG_DELOBJ, NFT_MSG_GETOBJ_RESET, NFT_MSG_NEWFLOWTABLE,
    NFT_MSG_GETFLOWTABLE, NFT_MSG_DELFLOWTABLE);

// The attributes of each object, from the same header.
pub(crate) const NFTA_LIST_ELEM: u16 = 1;
count_up!(1 => NFTA_HOOK_HOOKNUM, NFTA_HOOK_PRIORITY);
count_up!(1 => NFTA_TABLE_NAME, NFTA_TABLE_FLAGS, NFTA_TABLE_USE, NFTA_TABLE_HANDLE, NFTA_TABLE_PAD,
    NFTA_TABLE_USERDATA, NFTA_TABLE_OWNER);
count_up!(1 => NFTA_CHAIN_TABLE, NFTA_CHAIN_HANDLE, NFTA_CHAIN_NAME, NFTA_CHAIN_HOOK, NFTA_CHAIN_POLICY,
    NFTA_CHAIN_USE, NFTA_CHAIN_TYPE, NFTA_CHAIN_COUNTERS, NFTA_CHAIN_PAD, NFTA_CHAIN_FLAGS, NFTA_CHAIN_ID,
    NFTA_CHAIN_USERDATA);
count_up!(1 => NFTA_RULE_TABLE, NFTA_RULE_CHAIN, NFTA_RULE_HANDLE, NFTA_RULE_EXPRESSIONS, NFTA_RULE_COMPAT,
    NFTA_RULE_POSITION, NFTA_RULE_USERDATA);
count_up!(1 => NFTA_SET_DESC_SIZE, NFTA_SET_DESC_CONCAT);
pub(crate) const NFTA_SET_FIELD_LEN: u16 = 1;
count_up!(1 => NFTA_SET_TABLE, NFTA_SET_NAME, NFTA_SET_FLAGS, NFTA_SET_KEY_TYPE, NFTA_SET_KEY_LEN,
    NFTA_SET_DATA_TYPE, NFTA_SET_DATA_LEN, NFTA_SET_POLICY, NFTA_SET_DESC, NFTA_SET_ID, NFTA_SET_TIMEOUT,
    NFTA_SET_GC_INTERVAL, NFTA_SET_USERDATA, NFTA_SET_PAD, NFTA_SET_OBJ_TYPE, NFTA_SET_HANDLE, NFTA_SET_EXPR,
    NFTA_SET_EXPRESSIONS, NFTA_SET_TYPE, NFTA_SET_COUNT);
count_up!(1 => NFTA_SET_ELEM_KEY, NFTA_SET_ELEM_DATA, NFTA_SET_ELEM_FLAGS, NFTA_SET_ELEM_TIMEOUT,
    NFTA_SET_ELEM_EXPIRATION, NFTA_SET_ELEM_USERDATA, NFTA_SET_ELEM_EXPR, NFTA_SET_ELEM_PAD, NFTA_SET_ELEM_OBJREF,
    NFTA_SET_ELEM_KEY_END, NFTA_SET_ELEM_EXPRESSIONS);
pub(crate) const NFT_SET_ELEM_INTERVAL_END: u32 = 0x1;
pub(crate) const NFT_SET_ELEM_CATCHALL: u32 = 0x2;
count_up!(1 => NFTA_SET_ELEM_LIST_TABLE, NFTA_SET_ELEM_LIST_SET, NFTA_SET_ELEM_LIST_ELEMENTS);
/// `enum nft_data_types`: beyond every type that user space may name.
pub(crate) const NFT_DATA_VERDICT: u32 = 0xffff_ff00;
count_up!(1 => NFTA_DATA_VALUE, NFTA_DATA_VERDICT);
count_up!(1 => NFTA_VERDICT_CODE, NFTA_VERDICT_CHAIN);
count_up!(1 => NFTA_EXPR_NAME, NFTA_EXPR_DATA);
count_up!(1 => NFTA_FLOWTABLE_TABLE, NFTA_FLOWTABLE_NAME, NFTA_FLOWTABLE_HOOK, NFTA_FLOWTABLE_USE,
    NFTA_FLOWTABLE_HANDLE, NFTA_FLOWTABLE_PAD, NFTA_FLOWTABLE_FLAGS);
count_up!(1 => NFTA_FLOWTABLE_HOOK_NUM, NFTA_FLOWTABLE_HOOK_PRIORITY, NFTA_FLOWTABLE_HOOK_DEVS);
count_up!(1 => NFTA_DEVICE_NAME);
count_up!(1 => NFTA_GEN_ID);

// linux/netfilter.h and enum nft_verdicts
pub(crate) const NF_DROP: u32 = 0;
pub(crate) const NF_ACCEPT: u32 = 1;
pub(crate) const NFT_CONTINUE: u32 = -1i32 as u32;
pub(crate) const NFT_JUMP: u32 = -3i32 as u32;
pub(crate) const NFT_GOTO: u32 = -4i32 as u32;
pub(crate) const NFT_RETURN: u32 = -5i32 as u32;
/// `enum nf_dev_hooks`
pub(crate) const NF_NETDEV_INGRESS: u32 = 0;

// The attributes of each expression.
count_up!(1 => NFTA_IMMEDIATE_DREG, NFTA_IMMEDIATE_DATA);
count_up!(1 => NFTA_BITWISE_SREG, NFTA_BITWISE_DREG, NFTA_BITWISE_LEN, NFTA_BITWISE_MASK, NFTA_BITWISE_XOR,
    NFTA_BITWISE_OP);
pub(crate) const NFT_BITWISE_MASK_XOR: u32 = 0;
count_up!(1 => NFTA_BYTEORDER_SREG, NFTA_BYTEORDER_DREG, NFTA_BYTEORDER_OP, NFTA_BYTEORDER_LEN,
    NFTA_BYTEORDER_SIZE);
count_up!(1 => NFTA_CMP_SREG, NFTA_CMP_OP, NFTA_CMP_DATA);
count_up!(1 => NFTA_LOOKUP_SET, NFTA_LOOKUP_SREG, NFTA_LOOKUP_DREG, NFTA_LOOKUP_SET_ID, NFTA_LOOKUP_FLAGS);
pub(crate) const NFT_LOOKUP_F_INV: u32 = 1;
count_up!(1 => NFTA_DYNSET_SET_NAME, NFTA_DYNSET_SET_ID, NFTA_DYNSET_OP, NFTA_DYNSET_SREG_KEY,
    NFTA_DYNSET_SREG_DATA, NFTA_DYNSET_TIMEOUT, NFTA_DYNSET_EXPR, NFTA_DYNSET_PAD, NFTA_DYNSET_FLAGS);
count_up!(1 => NFTA_PAYLOAD_DREG, NFTA_PAYLOAD_BASE, NFTA_PAYLOAD_OFFSET, NFTA_PAYLOAD_LEN, NFTA_PAYLOAD_SREG,
    NFTA_PAYLOAD_CSUM_TYPE, NFTA_PAYLOAD_CSUM_OFFSET, NFTA_PAYLOAD_CSUM_FLAGS);
pub(crate) const NFT_PAYLOAD_CSUM_NONE: u32 = 0;
count_up!(1 => NFTA_META_DREG, NFTA_META_KEY, NFTA_META_SREG);
count_up!(1 => NFTA_CT_DREG, NFTA_CT_KEY, NFTA_CT_DIRECTION, NFTA_CT_SREG);
count_up!(1 => NFTA_COUNTER_BYTES, NFTA_COUNTER_PACKETS, NFTA_COUNTER_PAD);
count_up!(1 => NFTA_REJECT_TYPE, NFTA_REJECT_ICMP_CODE);
pub(crate) const NFT_REJECT_ICMP_UNREACH: u32 = 0;
pub(crate) const NFT_REJECT_TCP_RST: u32 = 1;
count_up!(1 => NFTA_NAT_TYPE, NFTA_NAT_FAMILY, NFTA_NAT_REG_ADDR_MIN, NFTA_NAT_REG_ADDR_MAX,
    NFTA_NAT_REG_PROTO_MIN, NFTA_NAT_REG_PROTO_MAX, NFTA_NAT_FLAGS);
count_up!(1 => NFTA_FLOW_TABLE_NAME);
/// linux/netfilter/nf_nat.h
pub(crate) const NF_NAT_RANGE_MAP_IPS: u32 = 1 << 0;
/// linux/netfilter/nf_nat.h
pub(crate) const NF_NAT_RANGE_PROTO_SPECIFIED: u32 = 1 << 1;
count_up!(1 => NFTA_MASQ_FLAGS);
count_up!(1 => NFTA_FIB_DREG, NFTA_FIB_RESULT, NFTA_FIB_FLAGS);
count_up!(1 => NFTA_NG_DREG, NFTA_NG_MODULUS, NFTA_NG_TYPE, NFTA_NG_OFFSET);
pub(crate) const NFT_NG_RANDOM: u32 = 1;

// linux/netfilter/nfnetlink_conntrack.h
pub(crate) const IPCTNL_MSG_CT_GET: u16 = 1;
pub(crate) const IPCTNL_MSG_CT_DELETE: u16 = 2;
pub(crate) const CTA_TUPLE_ORIG: u16 = 1;
pub(crate) const CTA_TUPLE_REPLY: u16 = 2;
pub(crate) const CTA_STATUS: u16 = 3;
pub(crate) const CTA_ID: u16 = 12;
pub(crate) const CTA_ZONE: u16 = 18;
pub(crate) const CTA_FILTER: u16 = 25;
count_up!(1 => CTA_TUPLE_IP, CTA_TUPLE_PROTO);
count_up!(1 => CTA_IP_V4_SRC, CTA_IP_V4_DST, CTA_IP_V6_SRC, CTA_IP_V6_DST);
count_up!(1 => CTA_PROTO_NUM, CTA_PROTO_SRC_PORT, CTA_PROTO_DST_PORT);
pub(crate) const CTA_FILTER_ORIG_FLAGS: u16 = 1;
/// The bits are the kernel's own (`include/net/netfilter/nf_conntrack_core.h` has no UAPI twin):
/// net/netfilter/nf_conntrack_netlink.c, `CTA_FILTER_F_CTA_PROTO_NUM`.
pub(crate) const CTA_FILTER_F_CTA_PROTO_NUM: u32 = 1 << 3;
