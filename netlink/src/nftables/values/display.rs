//! Expressions as text, close to what `nft --debug=netlink` prints.

use std::fmt::{self, Debug, Display, Formatter};

use super::expr::*;

/// `payload load 4b @ network header + 16 => reg 1`: for people, close to what `nft --debug=netlink` prints. Registers
/// have the kernel's numbers, values are bytes in the register's order.
impl Display for Expr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Expr::Payload { base, offset, len, dreg } => {
                write!(f, "payload load {len}b @ {} header + {offset} => {dreg}", word(base))
            }
            Expr::PayloadSet { base, offset, len, sreg } => {
                write!(f, "payload write {sreg} => {len}b @ {} header + {offset}", word(base))
            }
            Expr::Meta { key, dreg } => write!(f, "meta load {} => {dreg}", word(key)),
            Expr::MetaSet { key, sreg } => write!(f, "meta set {} with {sreg}", word(key)),
            Expr::Ct { key, direction: None, dreg } => write!(f, "ct load {} => {dreg}", word(key)),
            Expr::Ct { key, direction: Some(direction), dreg } => {
                write!(f, "ct load {} => {dreg} , dir {}", word(key), word(direction))
            }
            Expr::CtSet { key, sreg } => write!(f, "ct set {} with {sreg}", word(key)),
            Expr::Fib { result, flags, dreg } => {
                f.write_str("fib")?;
                for (flag, name) in [(FIB_SADDR, "saddr"), (FIB_DADDR, "daddr"), (FIB_IIF, "iif"), (FIB_OIF, "oif")] {
                    if flags & flag != 0 {
                        write!(f, " {name}")?;
                    }
                }
                write!(f, " {} => {dreg}", word(result))
            }
            Expr::Cmp { op, sreg, value } => write!(f, "cmp {} {sreg} {}", word(op), Hex(value)),
            Expr::Bitwise { sreg, dreg, mask, xor } => {
                write!(f, "bitwise {dreg} = ( {sreg} & {} ) ^ {}", Hex(mask), Hex(xor))
            }
            Expr::Byteorder { op, sreg, dreg, len, size } => {
                let function = match op {
                    ByteorderOp::NetworkToHost => "ntoh",
                    ByteorderOp::HostToNetwork => "hton",
                };
                write!(f, "byteorder {dreg} = {function}({sreg}, {size}, {len})")
            }
            Expr::Lookup { set, sreg, dreg, expect } => {
                write!(f, "lookup {sreg} set {set}")?;
                if let Some(dreg) = dreg {
                    write!(f, " d{dreg}")?;
                }
                f.write_str(if *expect == Membership::Absent { " absent" } else { "" })
            }
            Expr::NumgenRandom { dreg, modulus, offset } => {
                write!(f, "numgen {dreg} = random mod {modulus} offset {offset}")
            }
            Expr::Immediate { dreg, value } => write!(f, "immediate {dreg} {}", Hex(value)),
            Expr::Verdict(verdict) => write!(f, "immediate {} {verdict}", Reg::VERDICT),
            Expr::Nat { kind, family, addr, port, flags } => {
                let kind = if *kind == NatKind::Source { "snat" } else { "dnat" };
                write!(f, "nat {kind} {family}")?;
                for (name, reg) in [("addr_min", addr), ("proto_min", port)] {
                    if let Some(reg) = reg {
                        write!(f, " {name} {reg}")?;
                    }
                }
                write_flags(f, *flags)
            }
            Expr::Masquerade { flags } => {
                f.write_str("masq")?;
                write_flags(f, *flags)
            }
            Expr::Reject(Reject::TcpReset) => f.write_str("reject type 1 code 0"),
            Expr::Reject(Reject::Icmp(code)) => write!(f, "reject type 0 code {code}"),
            Expr::Dynset { op, set, key, data, timeout } => {
                write!(f, "dynset {} reg_key {} set {set}", word(op), key.abi())?;
                if let Some(data) = data {
                    write!(f, " sreg_data {}", data.abi())?;
                }
                if timeout.is_zero() { Ok(()) } else { write!(f, " timeout {}ms", timeout.as_millis()) }
            }
            Expr::FlowOffload { flowtable } => write!(f, "flow_offload flowtable {flowtable}"),
            Expr::Counter(counter) => write!(f, "counter {counter}"),
            Expr::Unknown { name, data } => write!(f, "{name} {}", Hex(data)),
        }
    }
}

/// `reg 1`, by the kernel's number.
impl Display for Reg {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "reg {}", self.abi())
    }
}

/// `accept`, `goto -> refuse`.
impl<N: AsRef<str>> Display for Verdict<N> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.borrowed() {
            Verdict::Accept => f.write_str("accept"),
            Verdict::Drop => f.write_str("drop"),
            Verdict::Continue => f.write_str("continue"),
            Verdict::Return => f.write_str("return"),
            Verdict::Jump(chain) => write!(f, "jump -> {chain}"),
            Verdict::Goto(chain) => write!(f, "goto -> {chain}"),
        }
    }
}

/// `pkts 7 bytes 420`
impl Display for Counter {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "pkts {} bytes {}", self.packets, self.bytes)
    }
}

/// `ip`, `ip6`: the family of a table, as nft writes it.
impl Display for Family {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Family::Ipv4 => "ip",
            Family::Ipv6 => "ip6",
        })
    }
}

/// The kernel's name without its prefix: `L4Proto` is `l4proto`.
fn word(value: &impl Debug) -> String {
    format!("{value:?}").to_lowercase()
}

fn write_flags(f: &mut Formatter<'_>, flags: u32) -> fmt::Result {
    if flags == 0 { Ok(()) } else { write!(f, " flags {flags:#x}") }
}

/// Bytes as `0x0a000001`.
struct Hex<'a>(&'a [u8]);

impl Display for Hex<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("0x")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(expr: Expr, expected: &str) {
        assert_eq!(expr.to_string(), expected);
    }

    #[test]
    fn expressions_read_as_nft_prints_them() {
        let base = PayloadBase::Network;
        check(
            Expr::Payload { base, offset: 16, len: 4, dreg: Reg::word(0) },
            "payload load 4b @ network header + 16 => reg 1",
        );
        check(Expr::Meta { key: MetaKey::L4Proto, dreg: Reg::word(1) }, "meta load l4proto => reg 9");
        check(Expr::Cmp { op: CmpOp::Eq, sreg: Reg::word(0), value: vec![10, 0, 0, 1] }, "cmp eq reg 1 0x0a000001");
        let (set, dreg) = ("m".to_owned(), Some(Reg::VERDICT));
        check(Expr::Lookup { set, sreg: Reg::word(0), dreg, expect: Membership::Present }, "lookup reg 1 set m dreg 0");
        check(Expr::Verdict(Verdict::Goto("refuse".to_owned())), "immediate reg 0 goto -> refuse");
        check(
            Expr::Fib { result: FibResult::AddrType, flags: FIB_DADDR | FIB_IIF, dreg: Reg::word(0) },
            "fib daddr iif addrtype => reg 1",
        );
        let (addr, port, flags) = (Some(Reg::word(0)), Some(Reg::word(1)), NAT_FULLY_RANDOM);
        check(
            Expr::Nat { kind: NatKind::Destination, family: Family::Ipv6, addr, port, flags },
            "nat dnat ip6 addr_min reg 1 proto_min reg 9 flags 0x10",
        );
    }
}
