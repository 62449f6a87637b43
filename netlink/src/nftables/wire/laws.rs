//! What is written is read back equal, and no bytes make a reader panic.

use std::time::Duration;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use super::put_expr::put_expr;
use super::read_expr::read_expr;
use super::*;
use crate::attr::Attrs;
use crate::nftables::expr::*;
use crate::nftables::object::*;

fn reg() -> impl Strategy<Value = Reg> {
    (0u32..16).prop_map(Reg::word)
}

fn bytes(range: std::ops::RangeInclusive<usize>) -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), range)
}

fn name() -> impl Strategy<Value = String> {
    "[a-z][a-z0-9-]{0,30}"
}

fn millis() -> impl Strategy<Value = Duration> {
    (0u64..1 << 50).prop_map(Duration::from_millis)
}

fn verdict() -> impl Strategy<Value = Verdict> {
    let fixed = select(vec![Verdict::Accept, Verdict::Drop, Verdict::Continue, Verdict::Return]);
    prop_oneof![fixed, name().prop_map(Verdict::Jump), name().prop_map(Verdict::Goto)]
}

fn counter() -> impl Strategy<Value = Counter> {
    any::<(u64, u64)>().prop_map(|(packets, bytes)| Counter { packets, bytes })
}

fn loads() -> impl Strategy<Value = Expr> {
    prop_oneof![
        (select(PayloadBase::ALL), any::<u32>(), any::<u32>(), reg())
            .prop_map(|(base, offset, len, dreg)| Expr::Payload { base, offset, len, dreg }),
        (select(PayloadBase::ALL), any::<u32>(), any::<u32>(), reg())
            .prop_map(|(base, offset, len, sreg)| Expr::PayloadSet { base, offset, len, sreg }),
        (select(MetaKey::ALL), reg()).prop_map(|(key, dreg)| Expr::Meta { key, dreg }),
        (select(MetaKey::ALL), reg()).prop_map(|(key, sreg)| Expr::MetaSet { key, sreg }),
        (select(CtKey::ALL), reg()).prop_map(|(key, sreg)| Expr::CtSet { key, sreg }),
        (select(CtKey::ALL), option::of(select(CtDirection::ALL)), reg()).prop_map(|(key, direction, dreg)| Expr::Ct {
            key,
            direction,
            dreg
        }),
        (select(FibResult::ALL), any::<u32>(), reg()).prop_map(|(result, flags, dreg)| Expr::Fib {
            result,
            flags,
            dreg
        }),
        (reg(), any::<u32>(), any::<u32>()).prop_map(|(dreg, modulus, offset)| Expr::NumgenRandom {
            dreg,
            modulus,
            offset
        }),
        (reg(), bytes(1..=16)).prop_map(|(dreg, value)| Expr::Immediate { dreg, value }),
        verdict().prop_map(Expr::Verdict),
    ]
}

fn works() -> impl Strategy<Value = Expr> {
    let mask = (1usize..=16).prop_flat_map(|length| (bytes(length..=length), bytes(length..=length)));
    prop_oneof![
        (select(CmpOp::ALL), reg(), bytes(1..=16)).prop_map(|(op, sreg, value)| Expr::Cmp { op, sreg, value }),
        (reg(), reg(), mask).prop_map(|(sreg, dreg, (mask, xor))| Expr::Bitwise { sreg, dreg, mask, xor }),
        (select(ByteorderOp::ALL), reg(), reg(), any::<u32>(), any::<u32>())
            .prop_map(|(op, sreg, dreg, len, size)| Expr::Byteorder { op, sreg, dreg, len, size }),
        (name(), reg(), option::of(reg()), select(vec![Membership::Present, Membership::Absent]))
            .prop_map(|(set, sreg, dreg, expect)| Expr::Lookup { set, sreg, dreg, expect }),
        (select(NatKind::ALL), select(Family::ALL), option::of(reg()), option::of(reg()), 0u32..64)
            .prop_map(|(kind, family, addr, port, flags)| Expr::Nat { kind, family, addr, port, flags: flags << 2 }),
        any::<u32>().prop_map(|flags| Expr::Masquerade { flags }),
        any::<u8>().prop_map(|code| Expr::Reject(Reject::Icmp(code))),
        Just(Expr::Reject(Reject::TcpReset)),
        (select(DynsetOp::ALL), name(), reg(), option::of(reg()), millis())
            .prop_map(|(op, set, key, data, timeout)| Expr::Dynset { op, set, key, data, timeout }),
        name().prop_map(|flowtable| Expr::FlowOffload { flowtable }),
        counter().prop_map(Expr::Counter),
        ("z[a-z]{1,8}", bytes(0..=40)).prop_map(|(name, data)| Expr::Unknown { name, data }),
    ]
}

fn expr() -> impl Strategy<Value = Expr> {
    prop_oneof![loads(), works()]
}

fn set() -> impl Strategy<Value = Set> {
    let value = (1u32..1 << 20, 1u32..64).prop_map(|(kind, len)| SetData::Value { kind, len });
    let data = option::of(prop_oneof![Just(SetData::Verdict), value]);
    let shape = (name(), any::<u32>(), any::<u32>(), any::<u32>(), vec(any::<u32>(), 0..5), data);
    let rest = (millis(), any::<u32>(), bytes(0..=60), vec(expr(), 0..3));
    (shape, rest).prop_map(|((name, flags, key_type, key_len, fields, data), (timeout, size, userdata, exprs))| Set {
        name,
        flags: flags & !SET_MAP,
        key_type,
        key_len,
        fields,
        data,
        timeout,
        size,
        userdata,
        exprs,
    })
}

fn chain() -> impl Strategy<Value = Chain> {
    let base =
        (name(), select(Hook::ALL), any::<i32>()).prop_map(|(kind, hook, priority)| Base { kind, hook, priority });
    (name(), option::of(base)).prop_map(|(name, base)| Chain { name, base })
}

proptest! {
    #[test]
    fn an_expression_survives(expr in expr()) {
        let mut bytes = Vec::new();
        put_expr(&mut bytes, 1, &expr);
        prop_assert_eq!(bytes.len() % 4, 0);
        prop_assert_eq!(read_expr(Attrs(&bytes).next().unwrap().nested()), expr);
    }

    #[test]
    fn a_rule_survives(chain in name(), exprs in vec(expr(), 0..8), userdata in bytes(0..=40)) {
        let rule = Rule { chain, handle: 0, exprs, userdata };
        let mut bytes = Vec::new();
        put_rule(&mut bytes, "t", &rule);
        prop_assert_eq!(table_name(Attrs(&bytes)), Some("t"));
        prop_assert_eq!(read_rule(Attrs(&bytes)), Some(rule));
    }

    #[test]
    fn a_set_survives(set in set()) {
        let mut bytes = Vec::new();
        put_set(&mut bytes, "t", &set, 1);
        prop_assert_eq!(read_set(Attrs(&bytes)), Some(set));
    }

    #[test]
    fn a_chain_survives(chain in chain()) {
        let mut bytes = Vec::new();
        put_chain(&mut bytes, "t", &chain);
        prop_assert_eq!(read_chain(Attrs(&bytes)), Some(chain));
    }

    #[test]
    fn a_flowtable_survives(
        name in name(),
        priority in any::<i32>(),
        flags in any::<u32>(),
        devices in proptest::collection::btree_set(name(), 0..4),
    ) {
        let flowtable = Flowtable { name, priority, flags, devices };
        let mut bytes = Vec::new();
        put_flowtable(&mut bytes, "t", &flowtable);
        prop_assert_eq!(table_name(Attrs(&bytes)), Some("t"));
        prop_assert_eq!(read_flowtable(Attrs(&bytes)), Some(flowtable));
    }

    #[test]
    fn a_table_survives(flags in any::<u32>(), userdata in bytes(0..=40)) {
        let table = Table { family: Family::Ipv6, flags, owner: None, userdata };
        let mut bytes = Vec::new();
        put_table(&mut bytes, "t", &table);
        prop_assert_eq!(read_table(Family::Ipv6, Attrs(&bytes)), table);
    }

    #[test]
    fn an_element_survives(
        key in bytes(0..=64),
        key_end in option::of(bytes(0..=64)),
        bound in select(vec![Bound::Start, Bound::End]),
        value in option::of(bytes(0..=64)),
        verdict in option::of(verdict()),
        counter in option::of(counter()),
        times in (option::of(millis()), option::of(millis())),
    ) {
        let value = match (&value, &verdict) {
            (Some(value), _) => Value::Bytes(value),
            (None, Some(verdict)) => Value::Verdict(verdict.borrowed()),
            (None, None) => Value::None,
        };
        let (timeout, expiration) = times;
        let element = Element { key: &key, key_end: key_end.as_deref(), bound, value, counter, timeout, expiration };
        let mut bytes = Vec::new();
        put_element(&mut bytes, &element);
        prop_assert_eq!(read_element(Attrs(&bytes).next().unwrap().nested()), Some(element));
    }

    #[test]
    fn any_bytes_are_some_object(bytes in bytes(0..=300)) {
        let attrs = Attrs(&bytes);
        let _ = (read_table(Family::Ipv4, attrs), read_chain(attrs), read_rule(attrs), read_set(attrs));
        let _ = (read_element(attrs), read_expr(attrs), read_flowtable(attrs));
    }

    /// Damage to a real message reaches the readers that random bytes do not.
    #[test]
    fn a_damaged_rule_is_still_read(exprs in vec(expr(), 1..6), at in any::<prop::sample::Index>(), damage in any::<u8>()) {
        let mut bytes = Vec::new();
        put_rule(&mut bytes, "t", &Rule::new("c", exprs));
        let at = at.index(bytes.len());
        bytes[at] ^= damage;
        let _ = read_rule(Attrs(&bytes));
    }
}
