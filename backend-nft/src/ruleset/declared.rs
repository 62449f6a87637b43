//! What nft keeps beside a set to print it: the expressions that its key and value came from.
//!
//! Where a field has no type of its own (`numgen`, `meta priority`), nft prints a map by the expressions that its key came
//! from: `typeof`, kept as user data. `tcp dport` stands for any port there: with `th dport` nft 1.0.6 refuses to load what it listed.

use backend_api::Family;

use super::spec::{Declared, Maps, Part, Spec};
use netlink::nftables::udata::{
    self, SET_DATA_BYTEORDER, SET_DATA_INTERVAL, SET_DATA_TYPEOF, SET_KEY_BYTEORDER, SET_KEY_TYPEOF, TYPEOF_DATA,
    TYPEOF_EXPR,
};

/// The user data that nft 1.0.6 writes for such a declaration, byte for byte.
pub(super) fn userdata(spec: &Spec, family: Family) -> Vec<u8> {
    let order = |parts: &[Part]| match parts {
        [one] => one.byte_order(),
        _ => NO_ORDER,
    };
    let mut bytes = Vec::new();
    udata::put_u32(&mut bytes, SET_KEY_BYTEORDER, order(&spec.key));
    if spec.maps != Maps::Nothing {
        let data = if spec.maps == Maps::Verdict { NO_ORDER } else { order(spec.maps.parts()) };
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
        let payload = |bytes: &mut Vec<u8>, protocol, template| {
            put_expr(bytes, EXPR_PAYLOAD, |bytes| {
                udata::put_u32(bytes, 0, protocol);
                udata::put_u32(bytes, 1, template);
            });
        };
        match (self, family) {
            (Self::Source, Family::V4) => payload(bytes, PROTO_IP, IPHDR_SADDR),
            (Self::Destination, Family::V4) => payload(bytes, PROTO_IP, IPHDR_DADDR),
            (Self::Source, Family::V6) => payload(bytes, PROTO_IP6, IP6HDR_SADDR),
            (Self::Destination, Family::V6) => payload(bytes, PROTO_IP6, IP6HDR_DADDR),
            (Self::Port, _) => payload(bytes, PROTO_TCP, TCPHDR_DPORT),
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
