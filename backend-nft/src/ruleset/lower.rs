//! Statements as the kernel's expressions.
//!
//! Pure, and the only place that knows registers. What it yields has the form in which the kernel dumps a rule, so that
//! a restarted process can tell its rules from others by comparing.

use std::net::IpAddr;
use std::time::Duration;

use backend_api::{Cidr, Family};

use super::delivery::{Label, Mark};
use super::name::{FLOWTABLE, SetName};
use super::rule::{CLIENT_SEED, CLIENTS, Field, REMEMBERED_BY, Rule, Statement, loopback};
use netlink::attr;
use netlink::nftables as kernel;
use netlink::nftables::expr::{
    CT_STATE_ESTABLISHED, CT_STATE_NEW, CmpOp, CtDirection, CtKey, DynsetOp, FIB_DADDR, FIB_SADDR, FibResult,
    ICMP_PORT_UNREACH, ICMPV6_PORT_UNREACH, IPS_DST_NAT, Membership, MetaKey, NAT_FULLY_RANDOM, NatKind, PayloadBase,
    RTN_LOCAL, Reject,
};
use netlink::nftables::{Counter, Expr, Reg, Verdict};

/// The expressions of a rule in the table of `family`.
pub(crate) fn lower(rule: &Rule, family: Family) -> Vec<Expr> {
    let mut exprs = Vec::new();
    for statement in &rule.0 {
        lower_statement(&mut exprs, statement, family);
    }
    exprs
}

/// The rule as the kernel is given it, and gives it back.
pub(crate) fn kernel_rule(chain: &str, rule: &Rule, family: Family) -> kernel::Rule {
    kernel::Rule::new(chain, lower(rule, family))
}

/// The kernel's word for a family.
pub fn kernel_family(family: Family) -> kernel::Family {
    match family {
        Family::V4 => kernel::Family::Ipv4,
        Family::V6 => kernel::Family::Ipv6,
    }
}

const FIRST: Reg = Reg::word(0);

fn lower_statement(out: &mut Vec<Expr>, statement: &Statement, family: Family) {
    match statement {
        Statement::ProtocolIs(protocol) => {
            out.push(Expr::Meta { key: MetaKey::L4Proto, dreg: FIRST });
            out.push(equal(vec![protocol.number()]));
        }
        Statement::SourceIn(cidr) => match_range(out, Field::Source, *cidr, CmpOp::Eq),
        Statement::DestinationIn(cidr) => match_range(out, Field::Destination, *cidr, CmpOp::Eq),
        Statement::DestinationNotLoopback => match_range(out, Field::Destination, loopback(family), CmpOp::Neq),
        Statement::EnteredThrough(name) => {
            let mut padded = name.as_bytes().to_vec();
            padded.resize(IFNAMSIZ, 0);
            out.push(Expr::Meta { key: MetaKey::IifName, dreg: FIRST });
            out.push(equal(padded));
        }
        Statement::EnteredThroughPrefix(prefix) => {
            out.push(Expr::Meta { key: MetaKey::IifName, dreg: FIRST });
            out.push(equal(prefix.as_bytes().to_vec()));
        }
        Statement::NotLeavingThroughLo => {
            let mut padded = b"lo".to_vec();
            padded.resize(IFNAMSIZ, 0);
            out.push(Expr::Meta { key: MetaKey::OifName, dreg: FIRST });
            out.push(Expr::Cmp { op: CmpOp::Neq, sreg: FIRST, value: padded });
        }
        Statement::SourceIsLocal => match_local(out, FIB_SADDR, CmpOp::Eq),
        Statement::DestinationIsLocal => match_local(out, FIB_DADDR, CmpOp::Eq),
        Statement::DestinationIsNotLocal => match_local(out, FIB_DADDR, CmpOp::Neq),
        Statement::FromClient => match_direction(out, CtDirection::Original),
        Statement::FromServer => match_direction(out, CtDirection::Reply),
        Statement::IsNew => match_state(out, CT_STATE_NEW),
        Statement::IsEstablished => match_state(out, CT_STATE_ESTABLISHED),
        Statement::Labelled(label) => {
            out.push(Expr::Ct { key: CtKey::Labels, direction: None, dreg: FIRST });
            out.push(Expr::Bitwise { sreg: FIRST, dreg: FIRST, mask: bitmap(*label), xor: vec![0; 16] });
            out.push(Expr::Cmp { op: CmpOp::Neq, sreg: FIRST, value: vec![0; 16] });
        }
        Statement::SetLabel(label) => {
            out.push(Expr::Immediate { dreg: FIRST, value: bitmap(*label) });
            out.push(Expr::CtSet { key: CtKey::Labels, sreg: FIRST });
        }
        Statement::FlipSourcePort => {
            out.push(Expr::Payload { base: PayloadBase::Transport, offset: 0, len: 2, dreg: FIRST });
            out.push(Expr::Bitwise { sreg: FIRST, dreg: FIRST, mask: vec![0xff; 2], xor: vec![0xff; 2] });
            out.push(Expr::PayloadSet { base: PayloadBase::Transport, offset: 0, len: 2, sreg: FIRST });
        }
        Statement::NotTranslated => {
            out.push(Expr::Ct { key: CtKey::Status, direction: None, dreg: FIRST });
            let (mask, xor) = (IPS_DST_NAT.to_ne_bytes().to_vec(), vec![0; 4]);
            out.push(Expr::Bitwise { sreg: FIRST, dreg: FIRST, mask, xor });
            out.push(equal(vec![0; 4]));
        }
        Statement::NotDrawn(of) => {
            load(out, Field::Random { modulus: of.get(), offset: 0 }, family, 0);
            out.push(Expr::Cmp { op: CmpOp::Neq, sreg: FIRST, value: vec![0; 4] });
        }
        Statement::Marked => match_mark(out, CmpOp::Eq),
        Statement::NotMarked => match_mark(out, CmpOp::Neq),
        Statement::MarkIs(mark) => {
            out.push(Expr::Meta { key: MetaKey::Mark, dreg: FIRST });
            out.push(equal(mark.0.to_ne_bytes().to_vec()));
        }
        Statement::PriorityIs(code) => {
            out.push(Expr::Meta { key: MetaKey::Priority, dreg: FIRST });
            out.push(equal(code.0.to_ne_bytes().to_vec()));
        }
        Statement::In(key, set) => lookup(out, key, *set, family, (None, Membership::Present)),
        Statement::NotIn(key, set) => lookup(out, key, *set, family, (None, Membership::Absent)),
        Statement::SetPriority(code) => {
            out.push(Expr::Immediate { dreg: FIRST, value: code.0.to_ne_bytes().to_vec() });
            out.push(SET_PRIORITY);
        }
        Statement::SetPriorityLowBit => {
            out.push(Expr::Meta { key: MetaKey::Priority, dreg: FIRST });
            let (mask, xor) = ((!1u32).to_ne_bytes().to_vec(), 1u32.to_ne_bytes().to_vec());
            out.push(Expr::Bitwise { sreg: FIRST, dreg: FIRST, mask, xor });
            out.push(SET_PRIORITY);
        }
        Statement::SetPriorityFrom(key, map) => {
            lookup(out, key, *map, family, (Some(FIRST), Membership::Present));
            out.push(SET_PRIORITY);
        }
        Statement::Follow(map) => {
            lookup(out, &[Field::Priority], *map, family, (Some(Reg::VERDICT), Membership::Present));
        }
        Statement::Remember { code, timeout } => {
            dynset(out, DynsetOp::Update, code.0, Duration::from_secs((*timeout).into()), family);
        }
        Statement::Forget { code } => dynset(out, DynsetOp::Delete, code.0, Duration::ZERO, family),
        Statement::Translate(key, map) => {
            lookup(out, key, *map, family, (Some(FIRST), Membership::Present));
            out.push(Expr::Nat {
                kind: NatKind::Destination,
                family: kernel_family(family),
                addr: Some(FIRST),
                port: Some(Reg::word(width(Field::Destination, family))),
                flags: 0,
            });
        }
        Statement::SetMark(mark) => {
            out.push(Expr::Immediate { dreg: FIRST, value: mark.0.to_ne_bytes().to_vec() });
            out.push(SET_MARK);
        }
        Statement::SetMarkFrom(key, map) => {
            lookup(out, key, *map, family, (Some(FIRST), Membership::Present));
            out.push(SET_MARK);
        }
        Statement::Masquerade => out.push(Expr::Masquerade { flags: NAT_FULLY_RANDOM }),
        Statement::HandOver => out.push(Expr::FlowOffload { flowtable: FLOWTABLE.to_owned() }),
        Statement::RejectWithReset => out.push(Expr::Reject(Reject::TcpReset)),
        Statement::Reject => out.push(Expr::Reject(Reject::Icmp(match family {
            Family::V4 => ICMP_PORT_UNREACH,
            Family::V6 => ICMPV6_PORT_UNREACH,
        }))),
        Statement::Counter => out.push(Expr::Counter(Counter::default())),
        Statement::Accept => out.push(Expr::Verdict(Verdict::Accept)),
        Statement::Drop => out.push(Expr::Verdict(Verdict::Drop)),
        Statement::Goto(chain) => out.push(Expr::Verdict(Verdict::Goto(chain.to_string()))),
        Statement::Jump(chain) => out.push(Expr::Verdict(Verdict::Jump(chain.to_string()))),
    }
}

/// `IFNAMSIZ` (linux/if.h): an exact name is compared with its padding.
const IFNAMSIZ: usize = 16;

const SET_PRIORITY: Expr = Expr::MetaSet { key: MetaKey::Priority, sreg: FIRST };
const SET_MARK: Expr = Expr::MetaSet { key: MetaKey::Mark, sreg: FIRST };

fn equal(value: Vec<u8>) -> Expr {
    Expr::Cmp { op: CmpOp::Eq, sreg: FIRST, value }
}

/// Compares whole bytes where the prefix allows, as nft does; else under a mask.
fn match_range(out: &mut Vec<Expr>, field: Field, cidr: Cidr, op: CmpOp) {
    let family = cidr.family();
    let bytes = match cidr.network() {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    };
    let prefix = usize::from(cidr.prefix());
    if prefix.is_multiple_of(8) && prefix > 0 {
        let len = prefix / 8;
        out.push(address(field, family, FIRST, len as u32));
        out.push(Expr::Cmp { op, sreg: FIRST, value: bytes[..len].to_vec() });
    } else {
        let mask: Vec<u8> = (0..bytes.len()).map(|byte| ones(prefix.saturating_sub(byte * 8).min(8))).collect();
        out.push(address(field, family, FIRST, bytes.len() as u32));
        out.push(Expr::Bitwise { sreg: FIRST, dreg: FIRST, xor: vec![0; mask.len()], mask });
        out.push(Expr::Cmp { op, sreg: FIRST, value: bytes });
    }
}

/// A byte that begins with so many ones, at most 8.
fn ones(count: usize) -> u8 {
    !0xff_u8.checked_shr(count as u32).unwrap_or(0)
}

fn match_direction(out: &mut Vec<Expr>, direction: CtDirection) {
    out.push(Expr::Ct { key: CtKey::Direction, direction: None, dreg: FIRST });
    out.push(equal(vec![direction.abi() as u8]));
}

fn match_state(out: &mut Vec<Expr>, state: u32) {
    out.push(Expr::Ct { key: CtKey::State, direction: None, dreg: FIRST });
    out.push(Expr::Bitwise { sreg: FIRST, dreg: FIRST, mask: state.to_ne_bytes().to_vec(), xor: vec![0; 4] });
    out.push(Expr::Cmp { op: CmpOp::Neq, sreg: FIRST, value: vec![0; 4] });
}

/// The label as the kernel keeps it: a bitmap of machine words.
fn bitmap(Label(label): Label) -> Vec<u8> {
    (1u128 << label)
        .to_le_bytes()
        .chunks(8)
        .flat_map(|word| u64::from_le_bytes(word.try_into().expect("8 bytes")).to_ne_bytes())
        .collect()
}

/// Whether the mark is one of ours.
fn match_mark(out: &mut Vec<Expr>, op: CmpOp) {
    out.push(Expr::Meta { key: MetaKey::Mark, dreg: FIRST });
    out.push(Expr::Bitwise { sreg: FIRST, dreg: FIRST, mask: Mark::MASK.to_ne_bytes().to_vec(), xor: vec![0; 4] });
    out.push(Expr::Cmp { op, sreg: FIRST, value: Mark::PREFIX.to_ne_bytes().to_vec() });
}

fn match_local(out: &mut Vec<Expr>, flags: u32, op: CmpOp) {
    out.push(Expr::Fib { result: FibResult::AddrType, flags, dreg: FIRST });
    out.push(Expr::Cmp { op, sreg: FIRST, value: RTN_LOCAL.to_ne_bytes().to_vec() });
}

fn lookup(out: &mut Vec<Expr>, key: &[Field], set: SetName, family: Family, to: (Option<Reg>, Membership)) {
    load_all(out, key, family);
    let (dreg, expect) = to;
    out.push(Expr::Lookup { set: set.as_str().to_owned(), sreg: FIRST, dreg, expect });
}

/// Loads fields side by side from the first register on; answers the first word behind them.
fn load_all(out: &mut Vec<Expr>, fields: &[Field], family: Family) -> u32 {
    let mut word = 0;
    for field in fields {
        load(out, *field, family, word);
        word += width(*field, family);
    }
    word
}

fn load(out: &mut Vec<Expr>, field: Field, family: Family, word: u32) {
    let dreg = Reg::word(word);
    match (field, family) {
        (Field::Source, _) | (Field::Destination, _) => {
            out.push(address(field, family, dreg, u32::from(family.bits()) / 8));
        }
        (Field::Protocol, _) => out.push(Expr::Meta { key: MetaKey::L4Proto, dreg }),
        (Field::Port, _) => out.push(Expr::Payload { base: PayloadBase::Transport, offset: 2, len: 2, dreg }),
        (Field::OriginalDestination, Family::V4) => out.push(original(CtKey::DstIp, dreg)),
        (Field::OriginalDestination, Family::V6) => out.push(original(CtKey::DstIp6, dreg)),
        (Field::OriginalPort, _) => out.push(original(CtKey::ProtoDst, dreg)),
        (Field::Priority, _) => out.push(Expr::Meta { key: MetaKey::Priority, dreg }),
        (Field::Random { modulus, offset }, _) => out.push(Expr::NumgenRandom { dreg, modulus, offset }),
        (Field::Client, _) => {
            // Behind the key, where nothing has been loaded yet.
            let (scratch, len) = (Reg::word(4), u32::from(family.bits()) / 8);
            out.push(address(Field::Source, family, scratch, len));
            out.push(hash(scratch, len, dreg));
        }
    }
}

/// What the client dialled, whatever has been translated since.
fn original(key: CtKey, dreg: Reg) -> Expr {
    Expr::Ct { key, direction: Some(CtDirection::Original), dreg }
}

fn address(field: Field, family: Family, dreg: Reg, len: u32) -> Expr {
    let offset = match (field, family) {
        (Field::Destination, Family::V4) => 16,
        (Field::Destination, Family::V6) => 24,
        (_, Family::V4) => 12,
        (_, Family::V6) => 8,
    };
    Expr::Payload { base: PayloadBase::Network, offset, len, dreg }
}

/// Registers of 32 bits that a field takes.
fn width(field: Field, family: Family) -> u32 {
    match field {
        Field::Source | Field::Destination | Field::OriginalDestination => u32::from(family.bits()) / 32,
        Field::Protocol
        | Field::Port
        | Field::OriginalPort
        | Field::Priority
        | Field::Random { .. }
        | Field::Client => 1,
    }
}

fn dynset(out: &mut Vec<Expr>, op: DynsetOp, code: u32, timeout: Duration, family: Family) {
    let behind = load_all(out, &REMEMBERED_BY, family);
    let data = Reg::word(behind);
    out.push(Expr::Immediate { dreg: data, value: code.to_ne_bytes().to_vec() });
    out.push(Expr::Dynset { op, set: SetName::Affinity.as_str().to_owned(), key: FIRST, data: Some(data), timeout });
}

/// `[ hash reg 1 = jhash(reg 2, 4, 0x53575357) % mod 8192 ]`, in the order in which `nft_jhash_dump` writes.
fn hash(sreg: Reg, len: u32, dreg: Reg) -> Expr {
    let mut data = Vec::new();
    attr::put_be32(&mut data, NFTA_HASH_SREG, sreg.abi());
    attr::put_be32(&mut data, NFTA_HASH_DREG, dreg.abi());
    attr::put_be32(&mut data, NFTA_HASH_LEN, len);
    attr::put_be32(&mut data, NFTA_HASH_MODULUS, CLIENTS);
    attr::put_be32(&mut data, NFTA_HASH_SEED, CLIENT_SEED);
    attr::put_be32(&mut data, NFTA_HASH_TYPE, NFT_HASH_JENKINS);
    Expr::Unknown { name: "hash".to_owned(), data }
}

// `enum nft_hash_attributes`, linux/netfilter/nf_tables.h.
const NFTA_HASH_SREG: u16 = 1;
const NFTA_HASH_DREG: u16 = 2;
const NFTA_HASH_LEN: u16 = 3;
const NFTA_HASH_MODULUS: u16 = 4;
const NFTA_HASH_SEED: u16 = 5;
const NFTA_HASH_TYPE: u16 = 7;
/// `NFT_HASH_JENKINS`
const NFT_HASH_JENKINS: u32 = 0;
