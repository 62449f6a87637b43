//! Lists the tables of a name: chains, rules, sets and elements. Only reads.
//!
//! `cargo run -p switchyard-netlink --example list_table -- TABLE`, as root.

use std::io::{self, Write};
use std::net::{Ipv4Addr, Ipv6Addr};

use switchyard_netlink::nftables::{DataType, Element, Family, Nftables, Set, SetData, Value};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let Some(table) = std::env::args().nth(1) else { return Err("usage: list_table TABLE".into()) };
    let mut nftables = Nftables::open(&table)?;
    list(&mut nftables, &mut io::stdout().lock()).await
}

/// Writes everything that is in the tables.
pub(crate) async fn list(nftables: &mut Nftables, out: &mut impl Write) -> Result<(), Box<dyn std::error::Error>> {
    for table in nftables.tables().await? {
        let family = table.family;
        writeln!(out, "table {family} {}{}", nftables.table(), comment(table.comment()))?;
        for set in nftables.sets(family).await? {
            list_set(nftables, family, &set, out).await?;
        }
        let rules = nftables.rules(family).await?;
        for chain in nftables.chains(family).await? {
            match &chain.base {
                Some(base) => {
                    let hook = format!("{:?}", base.hook).to_lowercase();
                    writeln!(out, "  chain {}: {} hook {hook} priority {}", chain.name, base.kind, base.priority)?;
                }
                None => writeln!(out, "  chain {}", chain.name)?,
            }
            for rule in rules.iter().filter(|rule| rule.chain == chain.name) {
                writeln!(out, "    rule {}{}", rule.handle, comment(rule.comment()))?;
                for expr in &rule.exprs {
                    writeln!(out, "      [ {expr} ]")?;
                }
            }
        }
    }
    Ok(())
}

async fn list_set(
    nftables: &mut Nftables,
    family: Family,
    set: &Set,
    out: &mut impl Write,
) -> Result<(), Box<dyn std::error::Error>> {
    let word = if set.data.is_some() { "map" } else { "set" };
    // The kernel may ask for the dump to begin again, so the elements are written once all of them are there.
    let elements = nftables.elements(family, &set.name, Vec::new, |lines, element| lines.push(line(set, element)));
    let mut elements = elements.await?;
    elements.sort();
    writeln!(out, "  {word} {}: {} elements", set.name, elements.len())?;
    for element in elements {
        writeln!(out, "    {element}")?;
    }
    Ok(())
}

fn line(set: &Set, element: &Element<'_>) -> String {
    let mut line = text(element.key, set.key_type);
    if let Some(end) = element.key_end {
        line += &format!(" - {}", text(end, set.key_type));
    }
    match (element.value, set.data) {
        (Value::None, _) => {}
        (Value::Verdict(verdict), _) => line += &format!(" : {verdict}"),
        (Value::Bytes(value), Some(SetData::Value { kind, .. })) => line += &format!(" : {}", text(value, kind)),
        (Value::Bytes(value), _) => line += &format!(" : {}", text(value, 0)),
    }
    if let Some(counter) = element.counter {
        line += &format!(" counter {counter}");
    }
    line
}

/// The fields of a key or value, by nft's number of its type: 6 bits for each field.
fn text(mut bytes: &[u8], type_number: u32) -> String {
    let numbers = (0..5).rev().map(|index| type_number >> (6 * index) & 0x3f).skip_while(|number| *number == 0);
    let mut fields = Vec::new();
    for number in numbers {
        let (field, rest) = match number {
            number if number == DataType::IPV6_ADDR.number => bytes.split_at(bytes.len().min(16)),
            _ => bytes.split_at(bytes.len().min(4)),
        };
        fields.push(field_text(field, number));
        bytes = rest;
    }
    if !bytes.is_empty() {
        fields.push(hex(bytes));
    }
    fields.join(" . ")
}

fn field_text(field: &[u8], number: u32) -> String {
    match (field, number) {
        (&[a, b, c, d], 7) => Ipv4Addr::new(a, b, c, d).to_string(),
        (&[protocol, ..], 12) => format!("protocol {protocol}"),
        (&[high, low, ..], 13) => u16::from_be_bytes([high, low]).to_string(),
        (field, 8) if field.len() == 16 => {
            let octets: [u8; 16] = std::array::from_fn(|index| field[index]);
            Ipv6Addr::from(octets).to_string()
        }
        (field, _) => hex(field),
    }
}

fn hex(bytes: &[u8]) -> String {
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("0x{digits}")
}

fn comment(text: Option<&str>) -> String {
    text.map(|text| format!(" comment {text:?}")).unwrap_or_default()
}
