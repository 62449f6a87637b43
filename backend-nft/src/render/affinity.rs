//! Session affinity: the packet path remembers (client, service port) → slot, and repairs what it remembers.

use backend_api::{Pool, ServiceName, ServicePort};

use super::conditions::{frontend, frontend_and};
use crate::assign::first_slot;
use crate::ruleset::code::remembered;
use crate::ruleset::rule::REMEMBERED_BY;
use crate::ruleset::{By, Code, Delivery, Field, Rule, SetName, Statement, Tag};

/// A slot at random, then the slot's chain.
pub(super) fn sticky(by: By, pool: Pool, size: u16) -> Vec<Rule> {
    let index = Field::Random { modulus: size.into(), offset: first_slot(pool) };
    vec![
        // meta priority set ip daddr . … . numgen random mod 3 map @sticky-picks meta priority vmap @sticky-slots
        Rule(vec![
            Statement::SetPriorityFrom(frontend_and(by, index), SetName::StickyPicks(by)),
            Statement::Follow(SetName::StickySlots(by)),
        ]),
        // drop
        Rule(vec![Statement::Drop]),
    ]
}

/// Known clients go where they went; new ones, and those whose endpoint is gone, to this slot.
pub(super) fn slot(by: By, tag: Tag, delivery: Delivery) -> Vec<Rule> {
    let code = remembered(tag.slot);
    let mut rules = identify(by, tag);
    rules.extend([
        remember(code, tag),
        // meta priority set jhash ip saddr mod 8192 seed 0x53575357 . meta priority map @affinity
        Rule(vec![Statement::SetPriorityFrom(REMEMBERED_BY.to_vec(), SetName::Affinity)]),
        hand_over(by, delivery),
    ]);
    rules.extend(identify(by, tag));
    rules.extend([
        // delete @affinity { jhash ip saddr mod 8192 seed 0x53575357 . meta priority : 5357:5 }
        Rule(vec![Statement::Forget { code }]),
        remember(code, tag),
        // meta priority set 5357:5
        Rule(vec![Statement::SetPriority(code)]),
        hand_over(by, delivery),
        // drop
        Rule(vec![Statement::Drop]),
    ]);
    rules
}

fn identify(by: By, tag: Tag) -> Vec<Rule> {
    // meta priority set ip daddr . meta l4proto . th dport map @affinity-ids
    let mut rules = vec![Rule(vec![Statement::SetPriorityFrom(frontend(by), SetName::AffinityIds(by))])];
    if tag.pool() == Pool::Local {
        // meta priority set meta priority | 0:1
        rules.push(Rule(vec![Statement::SetPriorityLowBit]));
    }
    rules
}

fn remember(code: Code, tag: Tag) -> Rule {
    // update @affinity { jhash ip saddr mod 8192 seed 0x53575357 . meta priority timeout 3h : 5357:5 }: a known client
    // keeps its slot, with a fresh timer
    Rule(vec![Statement::Remember { code, timeout: tag.timeout }])
}

fn hand_over(by: By, delivery: Delivery) -> Rule {
    // dnat ip to ip daddr . meta l4proto . th dport . meta priority map @sticky-endpoints
    Rule::hand_over(frontend_and(by, Field::Priority), SetName::StickyEndpoints(by), delivery)
}

/// What a service port's clients are remembered by, whichever frontend they dial: a hash (FNV-1a) of its identity. Its
/// lowest bit is 0; clients of the node's own pool have it set. Never looks like a remembered slot.
pub(super) fn affinity_id(service: &ServiceName, port: &ServicePort) -> Code {
    let texts = [&*service.namespace, &*service.name, &*port.name];
    let bytes = texts.iter().flat_map(|text| text.bytes().chain([0]));
    let mut hash = 0x811c_9dc5_u32;
    for byte in bytes.chain([port.protocol.number(), port.family.bits()]) {
        hash = (hash ^ u32::from(byte)).wrapping_mul(16_777_619);
    }
    let id = hash & !1;
    Code(if id >> 16 == 0x5357 { id ^ (1 << 31) } else { id })
}
