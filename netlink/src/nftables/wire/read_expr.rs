//! Attributes to expressions.
//!
//! Strict about meaning: an attribute that this crate does not write makes the expression [`Expr::Unknown`].

use std::time::Duration;

use crate::attr::Attrs;
use crate::nftables::abi::*;
use crate::nftables::expr::*;

/// Reads a list of expressions.
pub(super) fn read_exprs(list: Attrs<'_>) -> Vec<Expr> {
    list.map(|element| read_expr(element.nested())).collect()
}

/// Reads one expression.
pub(super) fn read_expr(attrs: Attrs<'_>) -> Expr {
    let name = attrs.find(NFTA_EXPR_NAME).and_then(|attr| attr.str()).unwrap_or_default();
    let data = attrs.find(NFTA_EXPR_DATA).map(|attr| attr.payload).unwrap_or_default();
    read_body(name, Attrs(data)).unwrap_or_else(|| Expr::Unknown { name: name.to_owned(), data: data.to_owned() })
}

/// Reads a value from its container.
pub(super) fn read_value(container: Attrs<'_>) -> Option<&[u8]> {
    container.find(NFTA_DATA_VALUE).map(|attr| attr.payload)
}

/// Reads a verdict from its container.
pub(crate) fn read_verdict(container: Attrs<'_>) -> Option<Verdict<&str>> {
    let verdict = container.find(NFTA_DATA_VERDICT)?.nested();
    match verdict.find(NFTA_VERDICT_CODE)?.be32()? {
        NF_ACCEPT => Some(Verdict::Accept),
        NF_DROP => Some(Verdict::Drop),
        NFT_CONTINUE => Some(Verdict::Continue),
        NFT_RETURN => Some(Verdict::Return),
        NFT_JUMP => Some(Verdict::Jump(verdict.find(NFTA_VERDICT_CHAIN)?.str()?)),
        NFT_GOTO => Some(Verdict::Goto(verdict.find(NFTA_VERDICT_CHAIN)?.str()?)),
        _ => None,
    }
}

fn read_body(name: &str, attrs: Attrs<'_>) -> Option<Expr> {
    match name {
        "payload" => {
            let base = PayloadBase::from_abi(u32_in(attrs, NFTA_PAYLOAD_BASE)?)?;
            let (offset, len) = (u32_in(attrs, NFTA_PAYLOAD_OFFSET)?, u32_in(attrs, NFTA_PAYLOAD_LEN)?);
            if attrs.find(NFTA_PAYLOAD_SREG).is_none() {
                only(attrs, &[NFTA_PAYLOAD_DREG, NFTA_PAYLOAD_BASE, NFTA_PAYLOAD_OFFSET, NFTA_PAYLOAD_LEN])?;
                return Some(Expr::Payload { base, offset, len, dreg: reg(attrs, NFTA_PAYLOAD_DREG)? });
            }
            let checksum = [NFTA_PAYLOAD_CSUM_TYPE, NFTA_PAYLOAD_CSUM_OFFSET, NFTA_PAYLOAD_CSUM_FLAGS];
            let place = [NFTA_PAYLOAD_SREG, NFTA_PAYLOAD_BASE, NFTA_PAYLOAD_OFFSET, NFTA_PAYLOAD_LEN];
            only(attrs, &[&place[..], &checksum].concat())?;
            let untouched = checksum.into_iter().all(|kind| u32_in(attrs, kind).is_none_or(|number| number == 0));
            untouched.then_some(Expr::PayloadSet { base, offset, len, sreg: reg(attrs, NFTA_PAYLOAD_SREG)? })
        }
        "meta" => {
            only(attrs, &[NFTA_META_KEY, NFTA_META_DREG, NFTA_META_SREG])?;
            let key = MetaKey::from_abi(u32_in(attrs, NFTA_META_KEY)?)?;
            match (attrs.find(NFTA_META_DREG), attrs.find(NFTA_META_SREG)) {
                (Some(_), None) => Some(Expr::Meta { key, dreg: reg(attrs, NFTA_META_DREG)? }),
                (None, Some(_)) => Some(Expr::MetaSet { key, sreg: reg(attrs, NFTA_META_SREG)? }),
                _ => None,
            }
        }
        "ct" => {
            only(attrs, &[NFTA_CT_KEY, NFTA_CT_DREG, NFTA_CT_DIRECTION, NFTA_CT_SREG])?;
            let direction = match attrs.find(NFTA_CT_DIRECTION) {
                Some(direction) => Some(CtDirection::from_abi(direction.u8()?.into())?),
                None => None,
            };
            let key = CtKey::from_abi(u32_in(attrs, NFTA_CT_KEY)?)?;
            match (attrs.find(NFTA_CT_DREG), attrs.find(NFTA_CT_SREG), direction) {
                (Some(_), None, _) => Some(Expr::Ct { key, direction, dreg: reg(attrs, NFTA_CT_DREG)? }),
                (None, Some(_), None) => Some(Expr::CtSet { key, sreg: reg(attrs, NFTA_CT_SREG)? }),
                _ => None,
            }
        }
        "fib" => {
            only(attrs, &[NFTA_FIB_DREG, NFTA_FIB_RESULT, NFTA_FIB_FLAGS])?;
            Some(Expr::Fib {
                result: FibResult::from_abi(u32_in(attrs, NFTA_FIB_RESULT)?)?,
                flags: u32_in(attrs, NFTA_FIB_FLAGS)?,
                dreg: reg(attrs, NFTA_FIB_DREG)?,
            })
        }
        "cmp" => {
            only(attrs, &[NFTA_CMP_SREG, NFTA_CMP_OP, NFTA_CMP_DATA])?;
            Some(Expr::Cmp {
                op: CmpOp::from_abi(u32_in(attrs, NFTA_CMP_OP)?)?,
                sreg: reg(attrs, NFTA_CMP_SREG)?,
                value: value(attrs, NFTA_CMP_DATA)?,
            })
        }
        "bitwise" => {
            let known = [NFTA_BITWISE_SREG, NFTA_BITWISE_DREG, NFTA_BITWISE_OP, NFTA_BITWISE_LEN];
            only(attrs, &[&known[..], &[NFTA_BITWISE_MASK, NFTA_BITWISE_XOR]].concat())?;
            let (mask, xor) = (value(attrs, NFTA_BITWISE_MASK)?, value(attrs, NFTA_BITWISE_XOR)?);
            let length = u32_in(attrs, NFTA_BITWISE_LEN)? as usize;
            // The operation came with Linux 5.6; without it there is only this one.
            let op = u32_or(attrs, NFTA_BITWISE_OP, NFT_BITWISE_MASK_XOR)?;
            (op == NFT_BITWISE_MASK_XOR && mask.len() == length && xor.len() == length).then_some(())?;
            Some(Expr::Bitwise {
                sreg: reg(attrs, NFTA_BITWISE_SREG)?,
                dreg: reg(attrs, NFTA_BITWISE_DREG)?,
                mask,
                xor,
            })
        }
        "byteorder" => {
            let known = [NFTA_BYTEORDER_SREG, NFTA_BYTEORDER_DREG, NFTA_BYTEORDER_OP, NFTA_BYTEORDER_LEN];
            only(attrs, &[&known[..], &[NFTA_BYTEORDER_SIZE]].concat())?;
            Some(Expr::Byteorder {
                op: ByteorderOp::from_abi(u32_in(attrs, NFTA_BYTEORDER_OP)?)?,
                sreg: reg(attrs, NFTA_BYTEORDER_SREG)?,
                dreg: reg(attrs, NFTA_BYTEORDER_DREG)?,
                len: u32_in(attrs, NFTA_BYTEORDER_LEN)?,
                size: u32_in(attrs, NFTA_BYTEORDER_SIZE)?,
            })
        }
        "lookup" => {
            only(attrs, &[NFTA_LOOKUP_SET, NFTA_LOOKUP_SREG, NFTA_LOOKUP_DREG, NFTA_LOOKUP_FLAGS])?;
            Some(Expr::Lookup {
                set: text(attrs, NFTA_LOOKUP_SET)?,
                sreg: reg(attrs, NFTA_LOOKUP_SREG)?,
                dreg: reg_or_none(attrs, NFTA_LOOKUP_DREG)?,
                expect: match u32_or(attrs, NFTA_LOOKUP_FLAGS, 0)? {
                    0 => Membership::Present,
                    NFT_LOOKUP_F_INV => Membership::Absent,
                    _ => return None,
                },
            })
        }
        "numgen" => {
            only(attrs, &[NFTA_NG_DREG, NFTA_NG_MODULUS, NFTA_NG_TYPE, NFTA_NG_OFFSET])?;
            (u32_in(attrs, NFTA_NG_TYPE)? == NFT_NG_RANDOM).then_some(())?;
            Some(Expr::NumgenRandom {
                dreg: reg(attrs, NFTA_NG_DREG)?,
                modulus: u32_in(attrs, NFTA_NG_MODULUS)?,
                offset: u32_or(attrs, NFTA_NG_OFFSET, 0)?,
            })
        }
        "immediate" => {
            only(attrs, &[NFTA_IMMEDIATE_DREG, NFTA_IMMEDIATE_DATA])?;
            match reg(attrs, NFTA_IMMEDIATE_DREG)? {
                Reg::VERDICT => Some(Expr::Verdict(read_verdict(attrs.find(NFTA_IMMEDIATE_DATA)?.nested())?.owned())),
                dreg => Some(Expr::Immediate { dreg, value: value(attrs, NFTA_IMMEDIATE_DATA)? }),
            }
        }
        "nat" => read_nat(attrs),
        "masq" => {
            only(attrs, &[NFTA_MASQ_FLAGS])?;
            Some(Expr::Masquerade { flags: u32_or(attrs, NFTA_MASQ_FLAGS, 0)? })
        }
        "reject" => {
            only(attrs, &[NFTA_REJECT_TYPE, NFTA_REJECT_ICMP_CODE])?;
            match u32_in(attrs, NFTA_REJECT_TYPE)? {
                NFT_REJECT_TCP_RST => Some(Expr::Reject(Reject::TcpReset)),
                NFT_REJECT_ICMP_UNREACH => Some(Expr::Reject(Reject::Icmp(attrs.find(NFTA_REJECT_ICMP_CODE)?.u8()?))),
                _ => None,
            }
        }
        "dynset" => {
            let known = [NFTA_DYNSET_SET_NAME, NFTA_DYNSET_OP, NFTA_DYNSET_SREG_KEY, NFTA_DYNSET_SREG_DATA];
            only(attrs, &[&known[..], &[NFTA_DYNSET_TIMEOUT, NFTA_DYNSET_PAD, NFTA_DYNSET_FLAGS]].concat())?;
            (u32_or(attrs, NFTA_DYNSET_FLAGS, 0)? == 0).then_some(())?;
            Some(Expr::Dynset {
                op: DynsetOp::from_abi(u32_in(attrs, NFTA_DYNSET_OP)?)?,
                set: text(attrs, NFTA_DYNSET_SET_NAME)?,
                key: reg(attrs, NFTA_DYNSET_SREG_KEY)?,
                data: reg_or_none(attrs, NFTA_DYNSET_SREG_DATA)?,
                timeout: match attrs.find(NFTA_DYNSET_TIMEOUT) {
                    Some(timeout) => Duration::from_millis(timeout.be64()?),
                    None => Duration::ZERO,
                },
            })
        }
        "flow_offload" => {
            only(attrs, &[NFTA_FLOW_TABLE_NAME])?;
            Some(Expr::FlowOffload { flowtable: text(attrs, NFTA_FLOW_TABLE_NAME)? })
        }
        "counter" => Some(Expr::Counter(read_counter(attrs)?)),
        _ => None,
    }
}

/// The body of a counter.
pub(super) fn read_counter(attrs: Attrs<'_>) -> Option<Counter> {
    only(attrs, &[NFTA_COUNTER_BYTES, NFTA_COUNTER_PACKETS, NFTA_COUNTER_PAD])?;
    Some(Counter { packets: attrs.find(NFTA_COUNTER_PACKETS)?.be64()?, bytes: attrs.find(NFTA_COUNTER_BYTES)?.be64()? })
}

fn read_nat(attrs: Attrs<'_>) -> Option<Expr> {
    let known = [NFTA_NAT_TYPE, NFTA_NAT_FAMILY, NFTA_NAT_REG_ADDR_MIN, NFTA_NAT_REG_ADDR_MAX];
    only(attrs, &[&known[..], &[NFTA_NAT_REG_PROTO_MIN, NFTA_NAT_REG_PROTO_MAX, NFTA_NAT_FLAGS]].concat())?;
    let addr = reg_or_none(attrs, NFTA_NAT_REG_ADDR_MIN)?;
    let port = reg_or_none(attrs, NFTA_NAT_REG_PROTO_MIN)?;
    // The kernel dumps the ends of ranges even if only their beginnings were given, equal to them, and flags that
    // follow from the registers.
    let (addr_max, port_max) =
        (reg_or_none(attrs, NFTA_NAT_REG_ADDR_MAX)?, reg_or_none(attrs, NFTA_NAT_REG_PROTO_MAX)?);
    (addr_max.is_none_or(|max| Some(max) == addr) && port_max.is_none_or(|max| Some(max) == port)).then_some(())?;
    let mut implied = 0;
    if addr.is_some() {
        implied |= NF_NAT_RANGE_MAP_IPS;
    }
    if port.is_some() {
        implied |= NF_NAT_RANGE_PROTO_SPECIFIED;
    }
    Some(Expr::Nat {
        kind: NatKind::from_abi(u32_in(attrs, NFTA_NAT_TYPE)?)?,
        family: Family::from_abi(u32_in(attrs, NFTA_NAT_FAMILY)?)?,
        addr,
        port,
        flags: u32_or(attrs, NFTA_NAT_FLAGS, 0)? & !implied,
    })
}

/// Whether every attribute is known.
fn only(mut attrs: Attrs<'_>, known: &[u16]) -> Option<()> {
    attrs.all(|attr| known.contains(&attr.kind)).then_some(())
}

fn u32_in(attrs: Attrs<'_>, kind: u16) -> Option<u32> {
    attrs.find(kind)?.be32()
}

fn u32_or(attrs: Attrs<'_>, kind: u16, absent: u32) -> Option<u32> {
    attrs.find(kind).map_or(Some(absent), |attr| attr.be32())
}

fn reg(attrs: Attrs<'_>, kind: u16) -> Option<Reg> {
    Reg::from_abi(u32_in(attrs, kind)?)
}

/// None where the attribute cannot be read; none inside where it is not there.
fn reg_or_none(attrs: Attrs<'_>, kind: u16) -> Option<Option<Reg>> {
    match attrs.find(kind) {
        Some(_) => Some(Some(reg(attrs, kind)?)),
        None => Some(None),
    }
}

fn value(attrs: Attrs<'_>, kind: u16) -> Option<Vec<u8>> {
    read_value(attrs.find(kind)?.nested()).map(<[u8]>::to_vec)
}

fn text(attrs: Attrs<'_>, kind: u16) -> Option<String> {
    attrs.find(kind)?.str().map(str::to_owned)
}
