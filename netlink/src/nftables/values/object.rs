//! nf_tables objects as plain values: tables, chains, rules, sets and maps, elements.
//!
//! None names its table: a [`Batch`] and a [`Nftables`] are about the tables of one name, one in each
//! family.
//!
//! [`Batch`]: crate::nftables::Batch
//! [`Nftables`]: crate::nftables::Nftables

use std::collections::BTreeSet;
use std::time::Duration;

use super::expr::{Counter, Expr, Family, Verdict};
use super::udata;
use crate::abi::abi_enum;

/// A table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// Its family.
    pub family: Family,
    /// `NFT_TABLE_F_*`: see [`TABLE_OWNER`], [`TABLE_PERSIST`].
    pub flags: u32,
    /// The port id of the socket that owns it; read only.
    pub owner: Option<u32>,
    /// TLVs of user space, a comment for example.
    pub userdata: Vec<u8>,
}

/// `NFT_TABLE_F_OWNER` (Linux 5.12): only the owning socket may change the table while it is open.
pub const TABLE_OWNER: u32 = 0x2;
/// `NFT_TABLE_F_PERSIST` (Linux 6.9): the table stays when its owner goes.
pub const TABLE_PERSIST: u32 = 0x4;
/// [`TABLE_OWNER`] and [`TABLE_PERSIST`]: others cannot change the table while its owner lives, and it stays when the
/// owner goes. [`Nftables::ownership`](crate::nftables::Nftables::ownership) tells whether this kernel can.
pub const TABLE_KEPT: u32 = TABLE_OWNER | TABLE_PERSIST;

impl Table {
    /// A table without flags and user data.
    pub const fn new(family: Family) -> Self {
        Table { family, flags: 0, owner: None, userdata: Vec::new() }
    }

    /// The same with flags: `NFT_TABLE_F_*`.
    pub fn with_flags(self, flags: u32) -> Self {
        Table { flags, ..self }
    }

    /// The same with a comment as nft shows it, at most 254 bytes. The kernel keeps the comment that a table was
    /// created with.
    pub fn with_comment(mut self, comment: &str) -> Self {
        udata::put_str(&mut self.userdata, udata::TABLE_COMMENT, comment);
        self
    }

    /// Its comment, if it has one.
    pub fn comment(&self) -> Option<&str> {
        udata::find_str(&self.userdata, udata::TABLE_COMMENT)
    }

    /// Whether it has an owner, or had one, and stays when that goes.
    pub const fn is_kept(&self) -> bool {
        self.flags & TABLE_PERSIST != 0
    }

    /// Whether it had an owner that is gone: it persists, and nothing keeps others off it. Its next owner takes it with
    /// [`TABLE_KEPT`].
    pub const fn is_orphaned(&self) -> bool {
        self.flags & TABLE_KEPT == TABLE_PERSIST
    }
}

/// A chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// Its name.
    pub name: String,
    /// Where packets enter it; none for a chain that only others jump to.
    pub base: Option<Base>,
}

impl Chain {
    /// A chain that only others jump to.
    pub fn new(name: impl Into<String>) -> Self {
        Chain { name: name.into(), base: None }
    }

    /// A chain where packets enter.
    pub fn with_base(name: impl Into<String>, base: Base) -> Self {
        Chain { name: name.into(), base: Some(base) }
    }
}

/// Where packets enter a chain. The policy is always to accept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Base {
    /// `nat`, `filter`, `route`.
    pub kind: String,
    /// The hook.
    pub hook: Hook,
    /// Smaller is earlier.
    pub priority: i32,
}

impl Base {
    /// A hook of a kind (`nat`, `filter`, `route`) at a priority; smaller is earlier.
    pub fn new(kind: impl Into<String>, hook: Hook, priority: i32) -> Self {
        Base { kind: kind.into(), hook, priority }
    }
}

abi_enum! {
    /// `enum nf_inet_hooks` (linux/netfilter.h)
    Hook {
        /// `NF_INET_PRE_ROUTING`
        Prerouting = 0,
        /// `NF_INET_LOCAL_IN`
        Input = 1,
        /// `NF_INET_FORWARD`
        Forward = 2,
        /// `NF_INET_LOCAL_OUT`
        Output = 3,
        /// `NF_INET_POST_ROUTING`
        Postrouting = 4,
    }
}

/// A rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The chain that it is in.
    pub chain: String,
    /// The kernel's name for it; 0 before it is there.
    pub handle: u64,
    /// What it does.
    pub exprs: Vec<Expr>,
    /// TLVs of user space, a comment for example.
    pub userdata: Vec<u8>,
}

impl Rule {
    /// A rule that is not in the kernel yet, without user data.
    pub fn new(chain: impl Into<String>, exprs: Vec<Expr>) -> Self {
        Rule { chain: chain.into(), handle: 0, exprs, userdata: Vec::new() }
    }

    /// The same with a comment as nft shows it, at most 254 bytes.
    pub fn with_comment(mut self, comment: &str) -> Self {
        udata::put_str(&mut self.userdata, udata::RULE_COMMENT, comment);
        self
    }

    /// Its comment, if it has one.
    pub fn comment(&self) -> Option<&str> {
        udata::find_str(&self.userdata, udata::RULE_COMMENT)
    }
}

/// A flowtable: what rules hand to it is forwarded where its devices receive, past every other hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flowtable {
    /// Its name.
    pub name: String,
    /// When it looks at what its devices receive (`NFTA_FLOWTABLE_HOOK_PRIORITY`); smaller is earlier.
    pub priority: i32,
    /// `NFT_FLOWTABLE_*`
    pub flags: u32,
    /// Names of its devices. One that goes takes itself out.
    pub devices: BTreeSet<String>,
}

/// A set or a map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Set {
    /// Its name.
    pub name: String,
    /// `NFT_SET_*`: see [`SET_INTERVAL`] and the following. [`SET_MAP`] is implied by `data`.
    pub flags: u32,
    /// nft's number of the key's type (6 bits for each field of a concatenation); the kernel only keeps it.
    pub key_type: u32,
    /// Bytes of a key, every field of a concatenation padded to 4.
    pub key_len: u32,
    /// The bytes of each field, for a concatenation that holds intervals; empty otherwise.
    pub fields: Vec<u32>,
    /// What a map maps to; none for a set.
    pub data: Option<SetData>,
    /// How long an element lives that does not say; zero is for ever.
    pub timeout: Duration,
    /// The most elements; 0 is any number.
    pub size: u32,
    /// TLVs of user space: byte orders and `typeof`, see [`super::udata`].
    pub userdata: Vec<u8>,
    /// What each element carries, a counter for example.
    pub exprs: Vec<Expr>,
}

impl Set {
    /// A set of keys of a type, without flags, timeout and limit.
    pub fn new(name: impl Into<String>, key: DataType) -> Self {
        Set {
            name: name.into(),
            flags: 0,
            key_type: key.number,
            key_len: key.len,
            fields: Vec::new(),
            data: None,
            timeout: Duration::ZERO,
            size: 0,
            userdata: Vec::new(),
            exprs: Vec::new(),
        }
    }

    /// A map from keys of a type to values of a type.
    pub fn map(name: impl Into<String>, key: DataType, value: DataType) -> Self {
        Set { data: Some(SetData::Value { kind: value.number, len: value.len }), ..Set::new(name, key) }
    }

    /// A map from keys of a type to verdicts.
    pub fn verdict_map(name: impl Into<String>, key: DataType) -> Self {
        Set { data: Some(SetData::Verdict), ..Set::new(name, key) }
    }
}

/// A type of nft: how nft lists keys and values. The kernel only keeps the number, and needs the length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DataType {
    /// nft's number (`enum datatypes`, nftables `include/datatype.h`), 6 bits for each field of a concatenation.
    pub number: u32,
    /// Bytes; in a concatenation every field is padded to 4.
    pub len: u32,
}

impl DataType {
    /// `ipv4_addr`
    pub const IPV4_ADDR: Self = DataType { number: 7, len: 4 };
    /// `ipv6_addr`
    pub const IPV6_ADDR: Self = DataType { number: 8, len: 16 };
    /// `inet_proto`
    pub const INET_PROTO: Self = DataType { number: 12, len: 1 };
    /// `inet_service`: a port
    pub const INET_SERVICE: Self = DataType { number: 13, len: 2 };
    /// `mark`
    pub const MARK: Self = DataType { number: 19, len: 4 };
    /// `ifname`: the name of an interface, filled up with zeros
    pub const IFNAME: Self = DataType { number: 41, len: 16 };

    /// A concatenation: `ipv4_addr . inet_service`.
    ///
    /// # Panics
    /// With more than 5 fields, which is as many as the number has room for.
    pub const fn concatenation(fields: &[DataType]) -> Self {
        assert!(fields.len() <= 5, "a concatenation has at most 5 fields");
        let mut all = DataType { number: 0, len: 0 };
        let mut index = 0;
        while index < fields.len() {
            all.number = all.number << 6 | fields[index].number;
            all.len += fields[index].len.next_multiple_of(4);
            index += 1;
        }
        all
    }
}

/// What a map maps to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SetData {
    /// A verdict.
    Verdict,
    /// A value.
    Value {
        /// nft's number of its type.
        kind: u32,
        /// Its bytes.
        len: u32,
    },
}

/// `NFT_SET_ANONYMOUS`
pub const SET_ANONYMOUS: u32 = 0x1;
/// `NFT_SET_CONSTANT`
pub const SET_CONSTANT: u32 = 0x2;
/// `NFT_SET_INTERVAL`
pub const SET_INTERVAL: u32 = 0x4;
/// `NFT_SET_MAP`
pub const SET_MAP: u32 = 0x8;
/// `NFT_SET_TIMEOUT`
pub const SET_TIMEOUT: u32 = 0x10;
/// `NFT_SET_EVAL`: rules add to it (`flags dynamic`).
pub const SET_EVAL: u32 = 0x20;
/// `NFT_SET_CONCAT`: a concatenation that holds intervals.
pub const SET_CONCAT: u32 = 0x80;

/// An element, borrowed from the program that renders it or from the kernel's answer: 100,000 of them allocate nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Element<'a> {
    /// Its key, or where its interval begins. Every field of a concatenation is padded to 4 bytes.
    pub key: &'a [u8],
    /// Where its interval ends, included, in a concatenation that holds intervals.
    pub key_end: Option<&'a [u8]>,
    /// How a plain interval set sees the key.
    pub bound: Bound,
    /// What it maps to.
    pub value: Value<'a>,
    /// Its counter, if the set has one: on the way in, where it starts.
    pub counter: Option<Counter>,
    /// How long it lives in all, if it says so itself.
    pub timeout: Option<Duration>,
    /// How long it still lives.
    pub expiration: Option<Duration>,
}

impl<'a> Element<'a> {
    /// A key alone: an element of a set.
    pub const fn key(key: &'a [u8]) -> Self {
        Element {
            key,
            key_end: None,
            bound: Bound::Start,
            value: Value::None,
            counter: None,
            timeout: None,
            expiration: None,
        }
    }

    /// A key and its value: an element of a map.
    pub const fn pair(key: &'a [u8], value: &'a [u8]) -> Self {
        Element { value: Value::Bytes(value), ..Element::key(key) }
    }

    /// A key and its verdict: an element of a verdict map.
    pub const fn verdict(key: &'a [u8], verdict: Verdict<&'a str>) -> Self {
        Element { value: Value::Verdict(verdict), ..Element::key(key) }
    }
}

/// What an element of a map maps to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// Nothing: an element of a set, or the end of an interval.
    None,
    /// Bytes.
    Bytes(&'a [u8]),
    /// A verdict.
    Verdict(Verdict<&'a str>),
}

/// What a key is in an interval set without concatenation: such a set is a sorted list of starts and ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Bound {
    /// A key, or the first address of an interval.
    Start,
    /// The first address behind an interval (`NFT_SET_ELEM_INTERVAL_END`).
    End,
}
