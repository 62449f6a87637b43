//! Set elements to attributes and back, without an allocation: there are hundreds of thousands.

use std::time::Duration;

use super::put_expr::{put_counter, put_value, put_verdict};
use super::read_expr::{read_counter, read_value, read_verdict};
use crate::attr::{Attrs, close, open, put_be32, put_be64, put_str};
use crate::nftables::abi::*;
use crate::nftables::expr::Counter;
use crate::nftables::object::{Bound, Element, Value};

/// Writes one element of a list.
pub(crate) fn put_element(bytes: &mut Vec<u8>, element: &Element<'_>) {
    let start = open(bytes, NFTA_LIST_ELEM);
    if element.bound == Bound::End {
        put_be32(bytes, NFTA_SET_ELEM_FLAGS, NFT_SET_ELEM_INTERVAL_END);
    }
    if let Some(timeout) = element.timeout {
        put_be64(bytes, NFTA_SET_ELEM_TIMEOUT, timeout.as_millis() as u64);
    }
    if let Some(expiration) = element.expiration {
        put_be64(bytes, NFTA_SET_ELEM_EXPIRATION, expiration.as_millis() as u64);
    }
    put_value(bytes, NFTA_SET_ELEM_KEY, element.key);
    if let Some(key_end) = element.key_end {
        put_value(bytes, NFTA_SET_ELEM_KEY_END, key_end);
    }
    match element.value {
        Value::None => {}
        Value::Bytes(value) => put_value(bytes, NFTA_SET_ELEM_DATA, value),
        Value::Verdict(verdict) => put_verdict(bytes, NFTA_SET_ELEM_DATA, verdict),
    }
    if let Some(counter) = element.counter {
        let expr = open(bytes, NFTA_SET_ELEM_EXPR);
        put_str(bytes, NFTA_EXPR_NAME, "counter");
        let data = open(bytes, NFTA_EXPR_DATA);
        put_counter(bytes, counter);
        close(bytes, data);
        close(bytes, expr);
    }
    close(bytes, start);
}

/// Reads one element of a list. None for what this crate does not know: an element without a key (`*`), an object
/// reference.
pub(crate) fn read_element(attrs: Attrs<'_>) -> Option<Element<'_>> {
    let mut element = Element::key(&[]);
    let mut keyed = false;
    for attr in attrs {
        match attr.kind {
            NFTA_SET_ELEM_KEY => {
                element.key = read_value(attr.nested())?;
                keyed = true;
            }
            NFTA_SET_ELEM_KEY_END => element.key_end = Some(read_value(attr.nested())?),
            NFTA_SET_ELEM_DATA => {
                element.value = match read_value(attr.nested()) {
                    Some(value) => Value::Bytes(value),
                    None => Value::Verdict(read_verdict(attr.nested())?),
                }
            }
            NFTA_SET_ELEM_FLAGS => {
                let flags = attr.be32()?;
                if flags & NFT_SET_ELEM_CATCHALL != 0 {
                    return None;
                }
                if flags & NFT_SET_ELEM_INTERVAL_END != 0 {
                    element.bound = Bound::End;
                }
            }
            NFTA_SET_ELEM_TIMEOUT => element.timeout = Some(Duration::from_millis(attr.be64()?)),
            NFTA_SET_ELEM_EXPIRATION => element.expiration = Some(Duration::from_millis(attr.be64()?)),
            NFTA_SET_ELEM_EXPR => element.counter = element.counter.or(counter(attr.nested())),
            NFTA_SET_ELEM_EXPRESSIONS => {
                element.counter = element.counter.or(attr.nested().find_map(|expr| counter(expr.nested())));
            }
            _ => {}
        }
    }
    keyed.then_some(element)
}

fn counter(expr: Attrs<'_>) -> Option<Counter> {
    (expr.find(NFTA_EXPR_NAME)?.str()? == "counter").then_some(())?;
    read_counter(expr.find(NFTA_EXPR_DATA)?.nested())
}
