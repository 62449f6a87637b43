//! Writes `seeds/`: small inputs for the fuzz targets of the netlink codec, made by its own encoders.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use netlink::Family;
use netlink::attr::{put, put_be16, put_be32, put_nested, put_u8};
use netlink::ipvs::{
    ClientMask, Flags, Forwarding, Operation, Persistence, RealServer, Thresholds, VirtualKey, VirtualServer,
};
use netlink::message;
use netlink::nftables::expr::*;
use netlink::nftables::object::*;
use netlink::nftables::{Batch, udata};

fn main() -> std::io::Result<()> {
    let objects = objects();
    write("attributes", "error", &error())?;
    write("attributes", "batch", objects.clone().encoded(1))?;
    write("nftables_dump", "objects", objects.clone().encoded(1))?;
    write("nftables_dump", "expressions", expressions().encoded(1))?;
    write("nftables_dump", "elements", elements().encoded(1))?;
    write("conntrack_dump", "flow-v4", &flow(Family::Ipv4))?;
    write("conntrack_dump", "flow-v6", &flow(Family::Ipv6))?;
    write("ipvs_dump", "servers", &servers())?;
    let datagrams = [objects.clone().encoded(1).to_vec(), generation(), elements().encoded(1).to_vec()];
    write("notifications", "commits", &framed(&datagrams))
}

fn write(target: &str, name: &str, bytes: &[u8]) -> std::io::Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(target);
    std::fs::create_dir_all(&folder)?;
    std::fs::write(folder.join(name), bytes)
}

fn objects() -> Batch {
    let mut batch = Batch::new("t");
    batch.put_table(0, &Table::new(Family::Ipv4).with_comment("c"));
    batch.put_chain(0, Family::Ipv4, &Chain::with_base("c", Base::new("nat", Hook::Prerouting, -100)));
    let pair = DataType::concatenation(&[DataType::IPV4_ADDR, DataType::INET_SERVICE]);
    batch.put_set(
        0,
        Family::Ipv4,
        &Set { flags: SET_INTERVAL | SET_CONCAT, fields: vec![4, 2], ..Set::new("s", pair) },
    );
    let counted = vec![Expr::Counter(Counter::default())];
    let timeout = Duration::from_secs(3);
    batch.put_set(0, Family::Ipv6, &Set { exprs: counted, timeout, size: 9, ..Set::verdict_map("v", pair) });
    let devices = BTreeSet::from(["lo".to_owned(), "eth0".to_owned()]);
    batch.put_flowtable(0, Family::Ipv4, &Flowtable { name: "f".to_owned(), priority: 0, flags: 0, devices });
    batch.remove_rule(0, Family::Ipv4, "c", 7);
    batch
}

fn expressions() -> Batch {
    let small = Reg::word(0);
    let all = vec![
        Expr::Payload { base: PayloadBase::Network, offset: 16, len: 4, dreg: small },
        Expr::PayloadSet { base: PayloadBase::Transport, offset: 2, len: 2, sreg: small },
        Expr::Meta { key: MetaKey::L4Proto, dreg: small },
        Expr::MetaSet { key: MetaKey::Mark, sreg: small },
        Expr::Ct { key: CtKey::DstIp, direction: Some(CtDirection::Original), dreg: small },
        Expr::CtSet { key: CtKey::Mark, sreg: small },
        Expr::Fib { result: FibResult::AddrType, flags: FIB_DADDR, dreg: small },
        Expr::Cmp { op: CmpOp::Eq, sreg: small, value: vec![6] },
        Expr::Bitwise { sreg: small, dreg: small, mask: vec![0xff], xor: vec![1] },
        Expr::Byteorder { op: ByteorderOp::HostToNetwork, sreg: small, dreg: small, len: 2, size: 2 },
        Expr::Lookup { set: "s".to_owned(), sreg: small, dreg: Some(Reg::VERDICT), expect: Membership::Present },
        Expr::NumgenRandom { dreg: small, modulus: 3, offset: 0 },
        Expr::Immediate { dreg: small, value: vec![1, 2, 3, 4] },
        Expr::Nat { kind: NatKind::Destination, family: Family::Ipv4, addr: Some(small), port: Some(small), flags: 0 },
        Expr::Masquerade { flags: NAT_FULLY_RANDOM },
        Expr::Reject(Reject::Icmp(3)),
        Expr::Dynset { op: DynsetOp::Update, set: "s".to_owned(), key: small, data: None, timeout: Duration::ZERO },
        Expr::FlowOffload { flowtable: "f".to_owned() },
        Expr::Counter(Counter { packets: 1, bytes: 2 }),
        Expr::Unknown { name: "limit".to_owned(), data: vec![8, 0, 1, 0, 0, 0, 0, 1] },
        Expr::Verdict(Verdict::Goto("c".to_owned())),
    ];
    let mut batch = Batch::new("t");
    batch.append_rule(0, Family::Ipv4, &Rule::new("c", all).with_comment("c"));
    batch
}

fn elements() -> Batch {
    let mut batch = Batch::new("t");
    let mut put = batch.put_elements(Family::Ipv4, "s");
    let key = [10, 0, 0, 1];
    put.push(0, &Element { bound: Bound::End, ..Element::key(&key) });
    put.push(0, &Element { key_end: Some(&key), ..Element::verdict(&key, Verdict::Jump("c")) });
    let (timeout, expiration) = (Some(Duration::from_secs(9)), Some(Duration::from_secs(3)));
    put.push(0, &Element { counter: Some(Counter::default()), timeout, expiration, ..Element::pair(&key, &key) });
    drop(put);
    batch.remove_elements(Family::Ipv6, "s").push(0, &Element::key(&key));
    batch
}

/// `NFT_MSG_NEWGEN` (linux/netfilter/nf_tables.h).
fn generation() -> Vec<u8> {
    let mut bytes = Vec::new();
    let start = message::begin(&mut bytes, 10 << 8 | 15, 0, 0);
    put_be32(&mut bytes, 1, 7);
    put_be32(&mut bytes, 2, 4711);
    netlink::attr::put_str(&mut bytes, 3, "nft");
    message::end(&mut bytes, start);
    bytes
}

/// `NLMSG_ERROR` with an extended acknowledgement (linux/netlink.h), and user data behind it.
fn error() -> Vec<u8> {
    let mut bytes = Vec::new();
    let start = message::begin(&mut bytes, 2, 0x300, 0);
    // `struct nlmsgerr`: the error is where a request has its address family.
    bytes[start + 16..start + 20].copy_from_slice(&(-2i32).to_ne_bytes());
    bytes.extend_from_slice(&[0; 16]);
    netlink::attr::put_str(&mut bytes, 1, "no such object");
    put(&mut bytes, 2, &20u32.to_ne_bytes());
    message::end(&mut bytes, start);
    udata::put_str(&mut bytes, udata::SET_COMMENT, "c");
    bytes
}

/// A message as a dump of ctnetlink has it (linux/netfilter/nfnetlink_conntrack.h).
fn flow(family: Family) -> Vec<u8> {
    let mut bytes = Vec::new();
    let start = message::begin(&mut bytes, 1 << 8, 0, family.abi() as u8);
    for tuple in [1, 2] {
        put_nested(&mut bytes, tuple, |bytes| {
            put_nested(bytes, 1, |bytes| match family {
                Family::Ipv4 => [1, 2].map(|kind| put(bytes, kind, &[10, 0, 0, 1])),
                Family::Ipv6 => [3, 4].map(|kind| put(bytes, kind, &[0xfd; 16])),
            });
            put_nested(bytes, 2, |bytes| {
                put_u8(bytes, 1, 17);
                put_be16(bytes, 2, 4000);
                put_be16(bytes, 3, 53);
            });
        });
    }
    put_be32(&mut bytes, 3, 0x188);
    put_be32(&mut bytes, 12, 99);
    put_be16(&mut bytes, 18, 1);
    message::end(&mut bytes, start);
    bytes
}

fn servers() -> Vec<u8> {
    let address = Ipv4Addr::new(10, 96, 0, 1).into();
    let key = VirtualKey::Address { protocol: 6, address, port: 80 };
    let clients = ClientMask::V4(Ipv4Addr::BROADCAST);
    let server = VirtualServer {
        key,
        scheduler: "mh".to_owned(),
        flags: Flags::HASH_PORT,
        persistence: Some(Persistence { timeout: 60, clients }),
        engine: Some("sip".to_owned()),
    };
    let real = RealServer {
        address: SocketAddr::new(address, 8080),
        forwarding: Forwarding::Masquerade,
        weight: 1,
        thresholds: Thresholds::default(),
    };
    let marked = VirtualServer { key: VirtualKey::Mark { family: Family::Ipv6, mark: 9 }, ..server.clone() };
    let mut bytes = Vec::new();
    for operation in [Operation::AddVirtual(server), Operation::AddReal(key, real), Operation::AddVirtual(marked)] {
        operation.put(&mut bytes, 0x1d);
    }
    bytes
}

fn framed(datagrams: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for datagram in datagrams {
        bytes.extend_from_slice(&(datagram.len() as u16).to_le_bytes());
        bytes.extend_from_slice(datagram);
    }
    bytes
}
