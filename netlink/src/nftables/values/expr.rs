//! nf_tables expressions as plain values: what a rule is made of.
//!
//! Kept apart from the wire, so that a program that renders or compares rules speaks of values only.

use std::time::Duration;

pub use super::numbers::*;

/// One expression of a rule, in the kernel's words (linux/netfilter/nf_tables.h).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Expr {
    /// `[ payload load 4b @ network header + 16 => reg 1 ]`: bytes of the packet.
    Payload {
        /// Which header.
        base: PayloadBase,
        /// Where in it.
        offset: u32,
        /// How many bytes.
        len: u32,
        /// Into which register.
        dreg: Reg,
    },
    /// `[ payload write reg 1 => 2b @ transport header + 0 csum_type 0 csum_off 0 csum_flags 0x0 ]`: no checksum
    /// follows.
    PayloadSet {
        /// Which header.
        base: PayloadBase,
        /// Where in it.
        offset: u32,
        /// How many bytes.
        len: u32,
        /// From which register.
        sreg: Reg,
    },
    /// `[ meta load l4proto => reg 1 ]`
    Meta {
        /// What.
        key: MetaKey,
        /// Into which register.
        dreg: Reg,
    },
    /// `[ meta set priority with reg 1 ]`
    MetaSet {
        /// What.
        key: MetaKey,
        /// From which register.
        sreg: Reg,
    },
    /// `[ ct load dst_ip => reg 1 , dir original ]`
    Ct {
        /// What.
        key: CtKey,
        /// Of which direction; none for what belongs to the whole connection.
        direction: Option<CtDirection>,
        /// Into which register.
        dreg: Reg,
    },
    /// `[ ct set label with reg 1 ]`
    CtSet {
        /// What.
        key: CtKey,
        /// From which register.
        sreg: Reg,
    },
    /// `[ fib daddr type => reg 1 ]`
    Fib {
        /// What is asked of the routing tables.
        result: FibResult,
        /// `NFTA_FIB_F_*`: see [`FIB_SADDR`], [`FIB_DADDR`], [`FIB_IIF`], [`FIB_OIF`].
        flags: u32,
        /// Into which register.
        dreg: Reg,
    },
    /// `[ cmp eq reg 1 0x00000006 ]`
    Cmp {
        /// How.
        op: CmpOp,
        /// Which register.
        sreg: Reg,
        /// With what, in the register's byte order.
        value: Vec<u8>,
    },
    /// `[ bitwise reg 1 = ( reg 1 & 0x0000f0ff ) ^ 0x00000000 ]`
    Bitwise {
        /// From which register.
        sreg: Reg,
        /// Into which register.
        dreg: Reg,
        /// What is kept; as long as the value.
        mask: Vec<u8>,
        /// What is flipped then; as long as the mask.
        xor: Vec<u8>,
    },
    /// `[ byteorder reg 9 = hton(reg 9, 2, 1) ]`
    Byteorder {
        /// Which way.
        op: ByteorderOp,
        /// From which register.
        sreg: Reg,
        /// Into which register.
        dreg: Reg,
        /// Bytes in all.
        len: u32,
        /// Bytes of each number.
        size: u32,
    },
    /// `[ lookup reg 1 set endpoints dreg 1 ]`
    Lookup {
        /// The set or map.
        set: String,
        /// The key's first register.
        sreg: Reg,
        /// Where a map's value goes ([`Reg::VERDICT`] for a verdict map); none for a set.
        dreg: Option<Reg>,
        /// What lets the rule go on.
        expect: Membership,
    },
    /// `[ numgen reg 11 = random mod 3 offset 65536 ]`
    NumgenRandom {
        /// Into which register.
        dreg: Reg,
        /// The number of numbers.
        modulus: u32,
        /// The smallest of them.
        offset: u32,
    },
    /// `[ immediate reg 1 0x00000005 ]`
    Immediate {
        /// Into which register.
        dreg: Reg,
        /// What.
        value: Vec<u8>,
    },
    /// `[ immediate reg 0 goto -> refuse ]`
    Verdict(Verdict),
    /// `[ nat dnat ip addr_min reg 1 proto_min reg 9 flags 0x… ]`
    Nat {
        /// Which end of the packet is rewritten.
        kind: NatKind,
        /// Of which family the address is.
        family: Family,
        /// The new address.
        addr: Option<Reg>,
        /// The new port.
        port: Option<Reg>,
        /// `NF_NAT_RANGE_*` beyond what the registers imply.
        flags: u32,
    },
    /// `[ masq flags 0x10 ]`
    Masquerade {
        /// `NF_NAT_RANGE_*`: see [`NAT_FULLY_RANDOM`].
        flags: u32,
    },
    /// `[ reject type 1 code 0 ]`
    Reject(Reject),
    /// `[ dynset update reg_key 1 set affinity sreg_data 2 timeout 10800000ms ]`
    Dynset {
        /// What is done to the set.
        op: DynsetOp,
        /// The set or map.
        set: String,
        /// The key's first register.
        key: Reg,
        /// The value's register, for a map.
        data: Option<Reg>,
        /// The element's own timeout; zero is the set's.
        timeout: Duration,
    },
    /// `[ flow_offload flowtable fastpath ]`
    FlowOffload {
        /// The flowtable's name.
        flowtable: String,
    },
    /// `[ counter pkts 0 bytes 0 ]`
    Counter(Counter),
    /// An expression, or a form of one, that this crate does not know. Written back, it is the same.
    Unknown {
        /// `NFTA_EXPR_NAME`.
        name: String,
        /// `NFTA_EXPR_DATA`, as it came.
        data: Vec<u8>,
    },
}

/// A register of 32 bits, or of 128 where an aligned one is named: the kernel's numbers, in the form that it dumps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reg(u32);

impl Reg {
    /// `NFT_REG_VERDICT`.
    pub const VERDICT: Reg = Reg(0);

    /// `NFT_REG32_00 + n`, n from 0 to 15; every fourth of them is named as the kernel names it, `NFT_REG_1` to
    /// `NFT_REG_4`. Fields of a concatenation follow each other: IPv4 addresses, protocols and ports take one each,
    /// IPv6 addresses four.
    pub const fn word(n: u32) -> Reg {
        assert!(n < 16, "there are 16 registers");
        if n.is_multiple_of(4) { Reg(1 + n / 4) } else { Reg(8 + n) }
    }

    /// The kernel's number.
    pub const fn abi(self) -> u32 {
        self.0
    }

    /// From the kernel's number.
    pub const fn from_abi(number: u32) -> Option<Reg> {
        match number {
            0..=4 => Some(Reg(number)),
            8..=23 => Some(Reg::word(number - 8)),
            _ => None,
        }
    }
}

/// What happens to the packet, or where evaluation goes on. `N` is a chain's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict<N = String> {
    /// `NF_ACCEPT`
    Accept,
    /// `NF_DROP`
    Drop,
    /// `NFT_CONTINUE`: the next rule.
    Continue,
    /// `NFT_RETURN`: the rule behind the jump.
    Return,
    /// `NFT_JUMP`: to a chain, and back.
    Jump(N),
    /// `NFT_GOTO`: to a chain.
    Goto(N),
}

impl<N: AsRef<str>> Verdict<N> {
    /// The same with a borrowed name.
    pub fn borrowed(&self) -> Verdict<&str> {
        match self {
            Verdict::Accept => Verdict::Accept,
            Verdict::Drop => Verdict::Drop,
            Verdict::Continue => Verdict::Continue,
            Verdict::Return => Verdict::Return,
            Verdict::Jump(chain) => Verdict::Jump(chain.as_ref()),
            Verdict::Goto(chain) => Verdict::Goto(chain.as_ref()),
        }
    }

    /// The same with a name of its own.
    pub fn owned(&self) -> Verdict {
        match self {
            Verdict::Accept => Verdict::Accept,
            Verdict::Drop => Verdict::Drop,
            Verdict::Continue => Verdict::Continue,
            Verdict::Return => Verdict::Return,
            Verdict::Jump(chain) => Verdict::Jump(chain.as_ref().to_owned()),
            Verdict::Goto(chain) => Verdict::Goto(chain.as_ref().to_owned()),
        }
    }
}

/// Packets and bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Counter {
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
}

/// How a packet is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reject {
    /// `reject with tcp reset`
    TcpReset,
    /// `reject with icmp <code>` in `ip`, `reject with icmpv6 <code>` in `ip6`; see [`ICMP_PORT_UNREACH`],
    /// [`ICMPV6_PORT_UNREACH`].
    Icmp(u8),
}

/// Whether a key must be in the set for the rule to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Membership {
    /// It must.
    Present,
    /// It must not (`NFT_LOOKUP_F_INV`).
    Absent,
}
