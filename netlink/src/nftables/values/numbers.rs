//! The enumerations and flags that expressions are made of, each with the kernel's number.

use std::net::IpAddr;

use crate::abi::abi_enum;

/// `ICMP_PORT_UNREACH` (linux/icmp.h): the code of a plain `reject` in `ip`.
pub const ICMP_PORT_UNREACH: u8 = 3;
/// `ICMPV6_PORT_UNREACH` (linux/icmpv6.h): the code of a plain `reject` in `ip6`.
pub const ICMPV6_PORT_UNREACH: u8 = 4;
/// `NF_NAT_RANGE_PROTO_RANDOM_FULLY` (linux/netfilter/nf_nat.h): `fully-random`.
pub const NAT_FULLY_RANDOM: u32 = 1 << 4;
/// `NFTA_FIB_F_SADDR`: of the source.
pub const FIB_SADDR: u32 = 1 << 0;
/// `NFTA_FIB_F_DADDR`: of the destination.
pub const FIB_DADDR: u32 = 1 << 1;
/// `NFTA_FIB_F_IIF`: on the interface that the packet came in through.
pub const FIB_IIF: u32 = 1 << 3;
/// `NFTA_FIB_F_OIF`: on the interface that it leaves through.
pub const FIB_OIF: u32 = 1 << 4;
/// `RTN_LOCAL` (linux/rtnetlink.h): what `fib … type local` compares with, in the machine's byte order.
pub const RTN_LOCAL: u32 = 2;
/// `NF_CT_STATE_BIT(IP_CT_ESTABLISHED)` (linux/netfilter/nf_conntrack_common.h): `ct state established`, in the
/// machine's byte order.
pub const CT_STATE_ESTABLISHED: u32 = 1 << 1;
/// `NF_CT_STATE_BIT(IP_CT_NEW)`: `ct state new`, in the machine's byte order.
pub const CT_STATE_NEW: u32 = 1 << 3;
/// `IPS_DST_NAT` (linux/netfilter/nf_conntrack_common.h): `ct status dnat`, in the machine's byte order.
pub const IPS_DST_NAT: u32 = 1 << 5;

abi_enum! {
    /// An address family, and the family of a table (`NFPROTO_*`, linux/netfilter.h).
    Family {
        /// `ip`
        Ipv4 = 2,
        /// `ip6`
        Ipv6 = 10,
    }
}

impl Family {
    /// The family of `address`.
    pub fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::Ipv4,
            IpAddr::V6(_) => Self::Ipv6,
        }
    }
}

abi_enum! {
    /// `enum nft_payload_bases`
    PayloadBase {
        /// `NFT_PAYLOAD_NETWORK_HEADER`
        Network = 1,
        /// `NFT_PAYLOAD_TRANSPORT_HEADER`
        Transport = 2,
    }
}

abi_enum! {
    /// `enum nft_meta_keys`
    MetaKey {
        /// `NFT_META_PRIORITY`
        Priority = 2,
        /// `NFT_META_MARK`
        Mark = 3,
        /// `NFT_META_IIF`
        Iif = 4,
        /// `NFT_META_OIF`
        Oif = 5,
        /// `NFT_META_IIFNAME`
        IifName = 6,
        /// `NFT_META_OIFNAME`
        OifName = 7,
        /// `NFT_META_NFPROTO`
        NfProto = 15,
        /// `NFT_META_L4PROTO`
        L4Proto = 16,
    }
}

abi_enum! {
    /// `enum nft_ct_keys`
    CtKey {
        /// `NFT_CT_STATE`
        State = 0,
        /// `NFT_CT_DIRECTION`
        Direction = 1,
        /// `NFT_CT_STATUS`
        Status = 2,
        /// `NFT_CT_MARK`
        Mark = 3,
        /// `NFT_CT_PROTOCOL`
        Protocol = 10,
        /// `NFT_CT_PROTO_SRC`
        ProtoSrc = 11,
        /// `NFT_CT_PROTO_DST`
        ProtoDst = 12,
        /// `NFT_CT_LABELS`: 128 bits
        Labels = 13,
        /// `NFT_CT_SRC_IP`
        SrcIp = 19,
        /// `NFT_CT_DST_IP`
        DstIp = 20,
        /// `NFT_CT_SRC_IP6`
        SrcIp6 = 21,
        /// `NFT_CT_DST_IP6`
        DstIp6 = 22,
    }
}

abi_enum! {
    /// `enum ip_conntrack_dir` (linux/netfilter/nf_conntrack_tuple_common.h)
    CtDirection {
        /// `IP_CT_DIR_ORIGINAL`
        Original = 0,
        /// `IP_CT_DIR_REPLY`
        Reply = 1,
    }
}

abi_enum! {
    /// `enum nft_fib_result`
    FibResult {
        /// `NFT_FIB_RESULT_OIF`
        Oif = 1,
        /// `NFT_FIB_RESULT_ADDRTYPE`
        AddrType = 3,
    }
}

abi_enum! {
    /// `enum nft_cmp_ops`
    CmpOp {
        /// `NFT_CMP_EQ`
        Eq = 0,
        /// `NFT_CMP_NEQ`
        Neq = 1,
        /// `NFT_CMP_LT`
        Lt = 2,
        /// `NFT_CMP_LTE`
        Lte = 3,
        /// `NFT_CMP_GT`
        Gt = 4,
        /// `NFT_CMP_GTE`
        Gte = 5,
    }
}

abi_enum! {
    /// `enum nft_byteorder_ops`
    ByteorderOp {
        /// `NFT_BYTEORDER_NTOH`
        NetworkToHost = 0,
        /// `NFT_BYTEORDER_HTON`
        HostToNetwork = 1,
    }
}

abi_enum! {
    /// `enum nft_dynset_ops`
    DynsetOp {
        /// `NFT_DYNSET_OP_ADD`: an element that is there keeps its timer.
        Add = 0,
        /// `NFT_DYNSET_OP_UPDATE`: an element that is there keeps its value and gets a fresh timer.
        Update = 1,
        /// `NFT_DYNSET_OP_DELETE`
        Delete = 2,
    }
}

abi_enum! {
    /// `enum nft_nat_types`
    NatKind {
        /// `NFT_NAT_SNAT`
        Source = 0,
        /// `NFT_NAT_DNAT`
        Destination = 1,
    }
}
