//! How a set is declared to the kernel, and what nft keeps beside it to print it: the expressions that its key and
//! value came from.
//!
//! Where a field has no type of its own (`numgen`, `meta priority`), nft prints a map by the expressions that its key
//! came from: `typeof`, kept as user data. `tcp dport` stands for any port there: with `th dport` nft 1.0.6 refuses to
//! load what it listed.

use std::time::Duration;

use backend_api::Family;

use super::delivery::Delivery;
use super::name::SetName;
use super::spec::{AFFINITY_SIZE, Declared, Maps, Part, Spec};
use netlink::nftables::object::{SET_CONCAT, SET_EVAL, SET_INTERVAL, SET_TIMEOUT};
use netlink::nftables::udata::{
    self, SET_DATA_BYTEORDER, SET_DATA_INTERVAL, SET_DATA_TYPEOF, SET_KEY_BYTEORDER, SET_KEY_TYPEOF, TYPEOF_DATA,
    TYPEOF_EXPR,
};
use netlink::nftables::{Counter, Expr, Set, SetData};

impl SetName {
    /// The set as the kernel is given it, in the table of `family`.
    pub(crate) fn kernel_set(self, family: Family, delivery: Delivery) -> Set {
        let spec = self.spec(delivery);
        let (flags, size) = match self {
            Self::Affinity => (SET_TIMEOUT | SET_EVAL, AFFINITY_SIZE),
            _ if self.is_interval() => (SET_INTERVAL | SET_CONCAT, 0),
            _ => (0, 0),
        };
        Set {
            name: self.as_str().to_owned(),
            flags,
            key_type: nft_type(&spec.key, family),
            key_len: spec.key.iter().map(|part| padded(part.len(family))).sum(),
            fields: match self.is_interval() {
                true => spec.key.iter().map(|part| part.len(family)).collect(),
                false => Vec::new(),
            },
            data: spec.maps.kernel_data(family),
            timeout: Duration::ZERO,
            size,
            userdata: userdata(&spec, family),
            exprs: if self.counts() { vec![Expr::Counter(Counter::default())] } else { Vec::new() },
        }
    }
}

impl Maps {
    fn kernel_data(self, family: Family) -> Option<SetData> {
        match self {
            Self::Nothing => None,
            Self::Verdict => Some(SetData::Verdict),
            Self::Code | Self::Endpoint | Self::Mark => Some(SetData::Value {
                kind: nft_type(self.parts(), family),
                len: self.parts().iter().map(|part| padded(part.len(family))).sum(),
            }),
        }
    }
}

/// nft's number of a type: 6 bits for each field of a concatenation.
fn nft_type(key: &[Part], family: Family) -> u32 {
    key.iter().fold(0, |number, part| number << 6 | part.nft_type(family))
}

fn padded(len: u32) -> u32 {
    len.next_multiple_of(4)
}

/// The user data that nft 1.0.6 writes for such a declaration, byte for byte.
fn userdata(spec: &Spec, family: Family) -> Vec<u8> {
    let mut bytes = Vec::new();
    udata::put_u32(&mut bytes, SET_KEY_BYTEORDER, byte_order(&spec.key));
    if spec.maps != Maps::Nothing {
        let data = if spec.maps == Maps::Verdict { NO_ORDER } else { byte_order(spec.maps.parts()) };
        udata::put_u32(&mut bytes, SET_DATA_BYTEORDER, data);
    }
    if spec.declared == Declared::Type {
        udata::put_nested(&mut bytes, SET_KEY_TYPEOF, |bytes| put_expr(bytes, EXPR_CONCAT, |_| {}));
        if spec.maps != Maps::Nothing {
            udata::put_u32(&mut bytes, SET_DATA_INTERVAL, 0);
        }
        return bytes;
    }
    udata::put_nested(&mut bytes, SET_KEY_TYPEOF, |bytes| put_concat(bytes, &spec.key, family));
    match spec.maps {
        Maps::Nothing => return bytes,
        Maps::Verdict => {
            udata::put_nested(&mut bytes, SET_DATA_TYPEOF, |bytes| put_expr(bytes, EXPR_VERDICT, |_| {}));
        }
        Maps::Code | Maps::Endpoint | Maps::Mark => {
            udata::put_nested(&mut bytes, SET_DATA_TYPEOF, |bytes| put_concat(bytes, spec.maps.parts(), family));
        }
    }
    udata::put_u32(&mut bytes, SET_DATA_INTERVAL, 0);
    bytes
}

/// None where there are several parts.
fn byte_order(parts: &[Part]) -> u32 {
    match parts {
        [one] => one.byte_order(),
        _ => NO_ORDER,
    }
}

impl Part {
    /// In the machine's order, or in the network's.
    fn byte_order(self) -> u32 {
        match self {
            Self::Number | Self::Code | Self::Mark => HOST_ENDIAN,
            Self::Source | Self::Destination | Self::Protocol | Self::Port => BIG_ENDIAN,
        }
    }

    /// `typeof`, as nft keeps it: the number of the expression, then its parameters.
    fn put_typeof(self, bytes: &mut Vec<u8>, family: Family) {
        match (self, family) {
            (Self::Source, Family::V4) => put_payload(bytes, PROTO_IP, IPHDR_SADDR),
            (Self::Destination, Family::V4) => put_payload(bytes, PROTO_IP, IPHDR_DADDR),
            (Self::Source, Family::V6) => put_payload(bytes, PROTO_IP6, IP6HDR_SADDR),
            (Self::Destination, Family::V6) => put_payload(bytes, PROTO_IP6, IP6HDR_DADDR),
            (Self::Port, _) => put_payload(bytes, PROTO_TCP, TCPHDR_DPORT),
            (Self::Protocol, _) => put_expr(bytes, EXPR_META, |bytes| udata::put_u32(bytes, 0, META_L4PROTO)),
            (Self::Code, _) => put_expr(bytes, EXPR_META, |bytes| udata::put_u32(bytes, 0, META_PRIORITY)),
            (Self::Mark, _) => put_expr(bytes, EXPR_META, |bytes| udata::put_u32(bytes, 0, META_MARK)),
            (Self::Number, _) => put_expr(bytes, EXPR_NUMGEN, |bytes| {
                udata::put_u32(bytes, 0, NUMGEN_RANDOM);
                udata::put_u32(bytes, 1, 2);
                udata::put_u32(bytes, 2, 0);
            }),
        }
    }
}

fn put_payload(bytes: &mut Vec<u8>, protocol: u32, template: u32) {
    put_expr(bytes, EXPR_PAYLOAD, |bytes| {
        udata::put_u32(bytes, 0, protocol);
        udata::put_u32(bytes, 1, template);
    });
}

fn put_concat(bytes: &mut Vec<u8>, parts: &[Part], family: Family) {
    if let [one] = parts {
        return one.put_typeof(bytes, family);
    }
    put_expr(bytes, EXPR_CONCAT, |bytes| {
        for (i, part) in (0u8..).zip(parts) {
            udata::put_nested(bytes, i, |bytes| part.put_typeof(bytes, family));
        }
    });
}

fn put_expr(bytes: &mut Vec<u8>, number: u32, parameters: impl FnOnce(&mut Vec<u8>)) {
    udata::put_u32(bytes, TYPEOF_EXPR, number);
    udata::put_nested(bytes, TYPEOF_DATA, parameters);
}

// nftables 1.0.6: `enum byteorder` (include/datatype.h).
const NO_ORDER: u32 = 0;
const HOST_ENDIAN: u32 = 1;
const BIG_ENDIAN: u32 = 2;
// `enum expr_types` (include/expression.h).
const EXPR_VERDICT: u32 = 1;
const EXPR_PAYLOAD: u32 = 7;
const EXPR_META: u32 = 9;
const EXPR_CONCAT: u32 = 13;
const EXPR_NUMGEN: u32 = 23;
// `enum proto_desc_id` and the header templates (include/proto.h).
const PROTO_TCP: u32 = 8;
const PROTO_IP: u32 = 12;
const PROTO_IP6: u32 = 13;
const TCPHDR_DPORT: u32 = 2;
const IPHDR_SADDR: u32 = 11;
const IPHDR_DADDR: u32 = 12;
const IP6HDR_SADDR: u32 = 8;
const IP6HDR_DADDR: u32 = 9;
// linux/netfilter/nf_tables.h.
const META_PRIORITY: u32 = 2;
const META_MARK: u32 = 3;
const META_L4PROTO: u32 = 16;
const NUMGEN_RANDOM: u32 = 1;
