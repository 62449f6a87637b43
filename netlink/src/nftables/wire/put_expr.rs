//! Expressions to attributes, as `nft --debug=netlink` shows them.

use crate::attr::{put, put_be32, put_be64, put_nested, put_str, put_u8};
use crate::nftables::abi::*;
use crate::nftables::expr::*;

/// Writes a list of expressions: `NFTA_RULE_EXPRESSIONS`, `NFTA_SET_EXPRESSIONS`.
pub(super) fn put_exprs(bytes: &mut Vec<u8>, kind: u16, exprs: &[Expr]) {
    put_nested(bytes, kind, |bytes| exprs.iter().for_each(|expr| put_expr(bytes, NFTA_LIST_ELEM, expr)));
}

/// Writes one expression.
pub(super) fn put_expr(bytes: &mut Vec<u8>, kind: u16, expr: &Expr) {
    put_nested(bytes, kind, |bytes| {
        put_str(bytes, NFTA_EXPR_NAME, name(expr));
        match expr {
            Expr::Unknown { data, .. } => put(bytes, NFTA_EXPR_DATA, data),
            expr => put_nested(bytes, NFTA_EXPR_DATA, |bytes| put_body(bytes, expr)),
        }
    });
}

/// Writes a value: `struct nft_data` in its container.
pub(super) fn put_value(bytes: &mut Vec<u8>, kind: u16, value: &[u8]) {
    put_nested(bytes, kind, |bytes| put(bytes, NFTA_DATA_VALUE, value));
}

/// Writes a verdict in its container.
pub(super) fn put_verdict(bytes: &mut Vec<u8>, kind: u16, verdict: Verdict<&str>) {
    let (code, chain) = match verdict {
        Verdict::Accept => (NF_ACCEPT, None),
        Verdict::Drop => (NF_DROP, None),
        Verdict::Continue => (NFT_CONTINUE, None),
        Verdict::Return => (NFT_RETURN, None),
        Verdict::Jump(chain) => (NFT_JUMP, Some(chain)),
        Verdict::Goto(chain) => (NFT_GOTO, Some(chain)),
    };
    put_nested(bytes, kind, |bytes| {
        put_nested(bytes, NFTA_DATA_VERDICT, |bytes| {
            put_be32(bytes, NFTA_VERDICT_CODE, code);
            if let Some(chain) = chain {
                put_str(bytes, NFTA_VERDICT_CHAIN, chain);
            }
        });
    });
}

/// The body of a counter, which elements carry without being rules.
pub(super) fn put_counter(bytes: &mut Vec<u8>, counter: Counter) {
    put_be64(bytes, NFTA_COUNTER_BYTES, counter.bytes);
    put_be64(bytes, NFTA_COUNTER_PACKETS, counter.packets);
}

fn name(expr: &Expr) -> &str {
    match expr {
        Expr::Payload { .. } | Expr::PayloadSet { .. } => "payload",
        Expr::Meta { .. } | Expr::MetaSet { .. } => "meta",
        Expr::Ct { .. } | Expr::CtSet { .. } => "ct",
        Expr::Fib { .. } => "fib",
        Expr::Cmp { .. } => "cmp",
        Expr::Bitwise { .. } => "bitwise",
        Expr::Byteorder { .. } => "byteorder",
        Expr::Lookup { .. } => "lookup",
        Expr::NumgenRandom { .. } => "numgen",
        Expr::Immediate { .. } | Expr::Verdict(_) => "immediate",
        Expr::Nat { .. } => "nat",
        Expr::Masquerade { .. } => "masq",
        Expr::Reject(_) => "reject",
        Expr::Dynset { .. } => "dynset",
        Expr::FlowOffload { .. } => "flow_offload",
        Expr::Counter(_) => "counter",
        Expr::Unknown { name, .. } => name,
    }
}

fn put_reg(bytes: &mut Vec<u8>, kind: u16, reg: Reg) {
    put_be32(bytes, kind, reg.abi());
}

fn put_body(bytes: &mut Vec<u8>, expr: &Expr) {
    match expr {
        Expr::Payload { base, offset, len, dreg } => {
            put_reg(bytes, NFTA_PAYLOAD_DREG, *dreg);
            put_be32(bytes, NFTA_PAYLOAD_BASE, base.abi());
            put_be32(bytes, NFTA_PAYLOAD_OFFSET, *offset);
            put_be32(bytes, NFTA_PAYLOAD_LEN, *len);
        }
        Expr::PayloadSet { base, offset, len, sreg } => {
            put_reg(bytes, NFTA_PAYLOAD_SREG, *sreg);
            put_be32(bytes, NFTA_PAYLOAD_BASE, base.abi());
            put_be32(bytes, NFTA_PAYLOAD_OFFSET, *offset);
            put_be32(bytes, NFTA_PAYLOAD_LEN, *len);
            put_be32(bytes, NFTA_PAYLOAD_CSUM_TYPE, NFT_PAYLOAD_CSUM_NONE);
            put_be32(bytes, NFTA_PAYLOAD_CSUM_OFFSET, 0);
            put_be32(bytes, NFTA_PAYLOAD_CSUM_FLAGS, 0);
        }
        Expr::Meta { key, dreg } => {
            put_be32(bytes, NFTA_META_KEY, key.abi());
            put_reg(bytes, NFTA_META_DREG, *dreg);
        }
        Expr::MetaSet { key, sreg } => {
            put_be32(bytes, NFTA_META_KEY, key.abi());
            put_reg(bytes, NFTA_META_SREG, *sreg);
        }
        Expr::Ct { key, direction, dreg } => {
            put_be32(bytes, NFTA_CT_KEY, key.abi());
            put_reg(bytes, NFTA_CT_DREG, *dreg);
            if let Some(direction) = direction {
                put_u8(bytes, NFTA_CT_DIRECTION, direction.abi() as u8);
            }
        }
        Expr::CtSet { key, sreg } => {
            put_be32(bytes, NFTA_CT_KEY, key.abi());
            put_reg(bytes, NFTA_CT_SREG, *sreg);
        }
        Expr::Fib { result, flags, dreg } => {
            put_be32(bytes, NFTA_FIB_FLAGS, *flags);
            put_be32(bytes, NFTA_FIB_RESULT, result.abi());
            put_reg(bytes, NFTA_FIB_DREG, *dreg);
        }
        Expr::Cmp { op, sreg, value } => {
            put_reg(bytes, NFTA_CMP_SREG, *sreg);
            put_be32(bytes, NFTA_CMP_OP, op.abi());
            put_value(bytes, NFTA_CMP_DATA, value);
        }
        Expr::Bitwise { sreg, dreg, mask, xor } => {
            put_reg(bytes, NFTA_BITWISE_SREG, *sreg);
            put_reg(bytes, NFTA_BITWISE_DREG, *dreg);
            put_be32(bytes, NFTA_BITWISE_OP, NFT_BITWISE_MASK_XOR);
            put_be32(bytes, NFTA_BITWISE_LEN, mask.len() as u32);
            put_value(bytes, NFTA_BITWISE_MASK, mask);
            put_value(bytes, NFTA_BITWISE_XOR, xor);
        }
        Expr::Byteorder { op, sreg, dreg, len, size } => {
            put_reg(bytes, NFTA_BYTEORDER_SREG, *sreg);
            put_reg(bytes, NFTA_BYTEORDER_DREG, *dreg);
            put_be32(bytes, NFTA_BYTEORDER_OP, op.abi());
            put_be32(bytes, NFTA_BYTEORDER_LEN, *len);
            put_be32(bytes, NFTA_BYTEORDER_SIZE, *size);
        }
        Expr::Lookup { set, sreg, dreg, expect } => {
            put_reg(bytes, NFTA_LOOKUP_SREG, *sreg);
            if let Some(dreg) = dreg {
                put_reg(bytes, NFTA_LOOKUP_DREG, *dreg);
            }
            put_str(bytes, NFTA_LOOKUP_SET, set);
            if *expect == Membership::Absent {
                put_be32(bytes, NFTA_LOOKUP_FLAGS, NFT_LOOKUP_F_INV);
            }
        }
        Expr::NumgenRandom { dreg, modulus, offset } => {
            put_reg(bytes, NFTA_NG_DREG, *dreg);
            put_be32(bytes, NFTA_NG_MODULUS, *modulus);
            put_be32(bytes, NFTA_NG_TYPE, NFT_NG_RANDOM);
            put_be32(bytes, NFTA_NG_OFFSET, *offset);
        }
        Expr::Immediate { dreg, value } => {
            put_reg(bytes, NFTA_IMMEDIATE_DREG, *dreg);
            put_value(bytes, NFTA_IMMEDIATE_DATA, value);
        }
        Expr::Verdict(verdict) => {
            put_reg(bytes, NFTA_IMMEDIATE_DREG, Reg::VERDICT);
            put_verdict(bytes, NFTA_IMMEDIATE_DATA, verdict.borrowed());
        }
        Expr::Nat { kind, family, addr, port, flags } => {
            put_be32(bytes, NFTA_NAT_TYPE, kind.abi());
            put_be32(bytes, NFTA_NAT_FAMILY, family.abi());
            if let Some(addr) = addr {
                put_reg(bytes, NFTA_NAT_REG_ADDR_MIN, *addr);
            }
            if let Some(port) = port {
                put_reg(bytes, NFTA_NAT_REG_PROTO_MIN, *port);
            }
            if *flags != 0 {
                put_be32(bytes, NFTA_NAT_FLAGS, *flags);
            }
        }
        Expr::Masquerade { flags } => {
            if *flags != 0 {
                put_be32(bytes, NFTA_MASQ_FLAGS, *flags);
            }
        }
        Expr::Reject(Reject::TcpReset) => put_be32(bytes, NFTA_REJECT_TYPE, NFT_REJECT_TCP_RST),
        Expr::Reject(Reject::Icmp(code)) => {
            put_be32(bytes, NFTA_REJECT_TYPE, NFT_REJECT_ICMP_UNREACH);
            put_u8(bytes, NFTA_REJECT_ICMP_CODE, *code);
        }
        Expr::Dynset { op, set, key, data, timeout } => {
            put_reg(bytes, NFTA_DYNSET_SREG_KEY, *key);
            if let Some(data) = data {
                put_reg(bytes, NFTA_DYNSET_SREG_DATA, *data);
            }
            put_be32(bytes, NFTA_DYNSET_OP, op.abi());
            if !timeout.is_zero() {
                put_be64(bytes, NFTA_DYNSET_TIMEOUT, timeout.as_millis() as u64);
            }
            put_str(bytes, NFTA_DYNSET_SET_NAME, set);
        }
        Expr::FlowOffload { flowtable } => put_str(bytes, NFTA_FLOW_TABLE_NAME, flowtable),
        Expr::Counter(counter) => put_counter(bytes, *counter),
        Expr::Unknown { .. } => {}
    }
}
