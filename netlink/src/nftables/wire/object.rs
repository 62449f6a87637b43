//! Tables, chains, rules, sets and flowtables to attributes and back.

use std::time::Duration;

use super::put_expr::{put_expr, put_exprs};
use super::read_expr::{read_expr, read_exprs};
use crate::attr::{Attrs, put, put_be32, put_be64, put_nested, put_str};
use crate::nftables::abi::*;
use crate::nftables::expr::{Expr, Family};
use crate::nftables::object::{Base, Chain, Flowtable, Hook, Rule, SET_MAP, Set, SetData, Table};

/// The table that an object is in: the first attribute of every kind of object (`NFTA_TABLE_NAME`,
/// `NFTA_CHAIN_TABLE`, `NFTA_RULE_TABLE`, `NFTA_SET_TABLE`, `NFTA_SET_ELEM_LIST_TABLE`).
pub(crate) fn table_name(attrs: Attrs<'_>) -> Option<&str> {
    attrs.find(1)?.str()
}

pub(crate) fn put_table(bytes: &mut Vec<u8>, name: &str, table: &Table) {
    put_str(bytes, NFTA_TABLE_NAME, name);
    put_be32(bytes, NFTA_TABLE_FLAGS, table.flags);
    put_userdata(bytes, NFTA_TABLE_USERDATA, &table.userdata);
}

pub(crate) fn read_table(family: Family, attrs: Attrs<'_>) -> Table {
    Table {
        family,
        flags: u32_in(attrs, NFTA_TABLE_FLAGS),
        owner: attrs.find(NFTA_TABLE_OWNER).and_then(|attr| attr.be32()),
        userdata: userdata(attrs, NFTA_TABLE_USERDATA),
    }
}

pub(crate) fn put_chain(bytes: &mut Vec<u8>, table: &str, chain: &Chain) {
    put_str(bytes, NFTA_CHAIN_TABLE, table);
    put_str(bytes, NFTA_CHAIN_NAME, &chain.name);
    if let Some(base) = &chain.base {
        put_str(bytes, NFTA_CHAIN_TYPE, &base.kind);
        put_nested(bytes, NFTA_CHAIN_HOOK, |bytes| {
            put_be32(bytes, NFTA_HOOK_HOOKNUM, base.hook.abi());
            put_be32(bytes, NFTA_HOOK_PRIORITY, base.priority as u32);
        });
    }
}

pub(crate) fn read_chain(attrs: Attrs<'_>) -> Option<Chain> {
    let base = attrs.find(NFTA_CHAIN_HOOK).and_then(|hook| {
        Some(Base {
            kind: text(attrs, NFTA_CHAIN_TYPE)?,
            hook: Hook::from_abi(u32_in(hook.nested(), NFTA_HOOK_HOOKNUM))?,
            priority: u32_in(hook.nested(), NFTA_HOOK_PRIORITY) as i32,
        })
    });
    Some(Chain { name: text(attrs, NFTA_CHAIN_NAME)?, base })
}

pub(crate) fn put_rule(bytes: &mut Vec<u8>, table: &str, rule: &Rule) {
    put_str(bytes, NFTA_RULE_TABLE, table);
    put_str(bytes, NFTA_RULE_CHAIN, &rule.chain);
    put_exprs(bytes, NFTA_RULE_EXPRESSIONS, &rule.exprs);
    put_userdata(bytes, NFTA_RULE_USERDATA, &rule.userdata);
}

pub(crate) fn read_rule(attrs: Attrs<'_>) -> Option<Rule> {
    Some(Rule {
        chain: text(attrs, NFTA_RULE_CHAIN)?,
        handle: attrs.find(NFTA_RULE_HANDLE).and_then(|attr| attr.be64()).unwrap_or_default(),
        exprs: attrs.find(NFTA_RULE_EXPRESSIONS).map(|list| read_exprs(list.nested())).unwrap_or_default(),
        userdata: userdata(attrs, NFTA_RULE_USERDATA),
    })
}

/// `id` is unique in the batch, for the kernel asks for one.
pub(crate) fn put_set(bytes: &mut Vec<u8>, table: &str, set: &Set, id: u32) {
    put_str(bytes, NFTA_SET_TABLE, table);
    put_str(bytes, NFTA_SET_NAME, &set.name);
    put_be32(bytes, NFTA_SET_FLAGS, set.flags | if set.data.is_some() { SET_MAP } else { 0 });
    put_be32(bytes, NFTA_SET_KEY_TYPE, set.key_type);
    put_be32(bytes, NFTA_SET_KEY_LEN, set.key_len);
    match set.data {
        None => {}
        Some(SetData::Verdict) => {
            put_be32(bytes, NFTA_SET_DATA_TYPE, NFT_DATA_VERDICT);
            put_be32(bytes, NFTA_SET_DATA_LEN, 0);
        }
        Some(SetData::Value { kind, len }) => {
            put_be32(bytes, NFTA_SET_DATA_TYPE, kind);
            put_be32(bytes, NFTA_SET_DATA_LEN, len);
        }
    }
    put_be32(bytes, NFTA_SET_ID, id);
    if set.size != 0 || !set.fields.is_empty() {
        put_nested(bytes, NFTA_SET_DESC, |bytes| put_description(bytes, set));
    }
    if !set.timeout.is_zero() {
        put_be64(bytes, NFTA_SET_TIMEOUT, set.timeout.as_millis() as u64);
    }
    put_userdata(bytes, NFTA_SET_USERDATA, &set.userdata);
    match &set.exprs[..] {
        [] => {}
        [one] => put_expr(bytes, NFTA_SET_EXPR, one),
        several => put_exprs(bytes, NFTA_SET_EXPRESSIONS, several),
    }
}

fn put_description(bytes: &mut Vec<u8>, set: &Set) {
    if set.size != 0 {
        put_be32(bytes, NFTA_SET_DESC_SIZE, set.size);
    }
    if !set.fields.is_empty() {
        put_nested(bytes, NFTA_SET_DESC_CONCAT, |bytes| {
            for len in &set.fields {
                put_nested(bytes, NFTA_LIST_ELEM, |bytes| put_be32(bytes, NFTA_SET_FIELD_LEN, *len));
            }
        });
    }
}

pub(crate) fn read_set(attrs: Attrs<'_>) -> Option<Set> {
    let flags = u32_in(attrs, NFTA_SET_FLAGS);
    let description = attrs.find(NFTA_SET_DESC).map(|attr| attr.nested());
    let fields = description.and_then(|description| description.find(NFTA_SET_DESC_CONCAT)).map(|attr| attr.nested());
    Some(Set {
        name: text(attrs, NFTA_SET_NAME)?,
        flags: flags & !SET_MAP,
        key_type: u32_in(attrs, NFTA_SET_KEY_TYPE),
        key_len: u32_in(attrs, NFTA_SET_KEY_LEN),
        fields: fields
            .map(|fields| fields.map(|field| u32_in(field.nested(), NFTA_SET_FIELD_LEN)).collect())
            .unwrap_or_default(),
        data: (flags & SET_MAP != 0).then(|| match u32_in(attrs, NFTA_SET_DATA_TYPE) {
            NFT_DATA_VERDICT => SetData::Verdict,
            kind => SetData::Value { kind, len: u32_in(attrs, NFTA_SET_DATA_LEN) },
        }),
        timeout: Duration::from_millis(attrs.find(NFTA_SET_TIMEOUT).and_then(|attr| attr.be64()).unwrap_or_default()),
        size: description.map(|description| u32_in(description, NFTA_SET_DESC_SIZE)).unwrap_or_default(),
        userdata: userdata(attrs, NFTA_SET_USERDATA),
        exprs: set_exprs(attrs),
    })
}

pub(crate) fn put_flowtable(bytes: &mut Vec<u8>, table: &str, flowtable: &Flowtable) {
    put_str(bytes, NFTA_FLOWTABLE_TABLE, table);
    put_str(bytes, NFTA_FLOWTABLE_NAME, &flowtable.name);
    put_nested(bytes, NFTA_FLOWTABLE_HOOK, |bytes| {
        put_be32(bytes, NFTA_FLOWTABLE_HOOK_NUM, NF_NETDEV_INGRESS);
        put_be32(bytes, NFTA_FLOWTABLE_HOOK_PRIORITY, flowtable.priority as u32);
        if !flowtable.devices.is_empty() {
            put_nested(bytes, NFTA_FLOWTABLE_HOOK_DEVS, |bytes| {
                flowtable.devices.iter().for_each(|device| put_str(bytes, NFTA_DEVICE_NAME, device));
            });
        }
    });
    if flowtable.flags != 0 {
        put_be32(bytes, NFTA_FLOWTABLE_FLAGS, flowtable.flags);
    }
}

pub(crate) fn read_flowtable(attrs: Attrs<'_>) -> Option<Flowtable> {
    let hook = attrs.find(NFTA_FLOWTABLE_HOOK)?.nested();
    let devices = hook.find(NFTA_FLOWTABLE_HOOK_DEVS).map(|list| list.nested());
    Some(Flowtable {
        name: text(attrs, NFTA_FLOWTABLE_NAME)?,
        priority: u32_in(hook, NFTA_FLOWTABLE_HOOK_PRIORITY) as i32,
        flags: u32_in(attrs, NFTA_FLOWTABLE_FLAGS),
        devices: devices.into_iter().flatten().filter_map(|device| device.str().map(str::to_owned)).collect(),
    })
}

fn set_exprs(attrs: Attrs<'_>) -> Vec<Expr> {
    match (attrs.find(NFTA_SET_EXPR), attrs.find(NFTA_SET_EXPRESSIONS)) {
        (Some(one), _) => vec![read_expr(one.nested())],
        (None, Some(list)) => read_exprs(list.nested()),
        (None, None) => Vec::new(),
    }
}

fn put_userdata(bytes: &mut Vec<u8>, kind: u16, userdata: &[u8]) {
    if !userdata.is_empty() {
        put(bytes, kind, userdata);
    }
}

fn userdata(attrs: Attrs<'_>, kind: u16) -> Vec<u8> {
    attrs.find(kind).map(|attr| attr.payload.to_vec()).unwrap_or_default()
}

fn u32_in(attrs: Attrs<'_>, kind: u16) -> u32 {
    attrs.find(kind).and_then(|attr| attr.be32()).unwrap_or_default()
}

fn text(attrs: Attrs<'_>, kind: u16) -> Option<String> {
    attrs.find(kind)?.str().map(str::to_owned)
}
