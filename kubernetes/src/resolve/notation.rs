//! Addresses, ranges, numbers and words as objects write them: in today's notation, in an older one, or wrong.
//!
//! The API accepted addresses with leading zeros (`010.0.0.001` is 10.0.0.1, decimal) and IPv4 in IPv6's clothes
//! (`::ffff:10.0.0.1`) until KEP-4858, and stored objects still have them. The kernel must never see these texts: libc
//! reads leading zeros as octal.

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use backend_api::{Cidr, Family};

use super::warning::{Log, Problem};
use crate::objects::{Address, Word};

/// An address that packets can be forwarded to or from.
pub(super) fn usable_address(address: &Address, field: impl fmt::Display, log: &mut Log<'_>) -> Option<IpAddr> {
    let read = match address {
        Address::Ip(ip) => Some(ip.to_canonical()),
        Address::Text(text) => old_ipv4(text).map(IpAddr::V4),
    };
    let Some(ip) = read else {
        log.warn(field, Problem::NotAnAddress(address.to_string()));
        return None;
    };
    if *address != Address::Ip(ip) {
        log.warn(&field, Problem::OldAddress { text: address.to_string(), means: ip });
    }
    if is_special(ip) {
        log.warn(field, Problem::SpecialAddress(ip));
        return None;
    }
    Some(ip)
}

/// A range, with white space around it.
pub(super) fn range(text: &str, field: impl fmt::Display, log: &mut Log<'_>) -> Option<Cidr> {
    let text = text.trim();
    let Some(range) = any_range(text) else {
        log.warn(field, Problem::NotARange(text.to_owned()));
        return None;
    };
    if text.parse() != Ok(range) {
        log.warn(field, Problem::OldRange { text: text.to_owned(), means: range });
    }
    Some(range)
}

/// A port number.
pub(super) fn port(number: i64, field: impl fmt::Display, log: &mut Log<'_>) -> Option<u16> {
    let port = u16::try_from(number).ok().filter(|port| *port != 0);
    if port.is_none() {
        log.warn(field, Problem::PortNumber(number));
    }
    port
}

/// A word, if it is known; `instead` tells what happens otherwise.
pub(super) fn word<T: Copy>(
    word: &Word<T>,
    instead: &'static str,
    field: impl fmt::Display,
    log: &mut Log<'_>,
) -> Option<T> {
    match word {
        Word::Known(known) => Some(*known),
        Word::Unknown(word) => {
            log.warn(field, Problem::Word { word: word.clone().into(), instead });
            None
        }
    }
}

fn any_range(text: &str) -> Option<Cidr> {
    let (address, prefix) = text.split_once('/')?;
    let address: Cow<'_, str> = match old_ipv4(address) {
        Some(v4) => v4.to_string().into(),
        None => address.into(),
    };
    let range: Cidr = format!("{address}/{prefix}").parse().ok()?;
    let canonical = range.network().to_canonical();
    match (range.family(), Family::of(canonical), range.prefix().checked_sub(96)) {
        (Family::V6, Family::V4, Some(prefix)) => Cidr::new(canonical, prefix).ok(),
        _ => Some(range),
    }
}

/// Four decimal numbers with as many leading zeros as you like.
fn old_ipv4(text: &str) -> Option<Ipv4Addr> {
    let mut octets = [0; 4];
    let mut numbers = text.split('.');
    for octet in &mut octets {
        let number = numbers.next()?;
        let digits = number.bytes().all(|byte| byte.is_ascii_digit()) && !number.is_empty();
        *octet = number.parse().ok().filter(|_| digits)?;
    }
    numbers.next().is_none().then(|| octets.into())
}

fn is_special(ip: IpAddr) -> bool {
    let broadcast = ip == IpAddr::V4(Ipv4Addr::BROADCAST);
    ip.is_unspecified() || ip.is_loopback() || ip.is_multicast() || broadcast
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::{Kind, ObjectKey};

    fn with_log<T>(read: impl FnOnce(&mut Log<'_>) -> T) -> (T, Vec<String>) {
        let object = ObjectKey { kind: Kind::Node, namespace: "".into(), name: "n".into() };
        let mut warnings = Vec::new();
        let value = read(&mut Log::new(object, &mut warnings));
        (value, warnings.iter().map(|warning| warning.problem.to_string()).collect())
    }

    #[test]
    fn old_addresses_are_read_as_decimal() {
        let cases = [
            ("10.0.0.1", "10.0.0.1", ""),
            ("fd00::1", "fd00::1", ""),
            ("010.0.0.001", "10.0.0.1", "\"010.0.0.001\" is not in today's notation, read as 10.0.0.1"),
            ("0000010.0.0.1", "10.0.0.1", "\"0000010.0.0.1\" is not in today's notation, read as 10.0.0.1"),
            ("::ffff:10.0.0.1", "10.0.0.1", "\"::ffff:10.0.0.1\" is not in today's notation, read as 10.0.0.1"),
            ("10.0.0.256", "", "\"10.0.0.256\" is no address"),
            ("10.0.0", "", "\"10.0.0\" is no address"),
            ("10.0.0.1.2", "", "\"10.0.0.1.2\" is no address"),
            ("+10.0.0.1", "", "\"+10.0.0.1\" is no address"),
            ("10..0.1", "", "\"10..0.1\" is no address"),
            ("banana", "", "\"banana\" is no address"),
            ("", "", "\"\" is no address"),
            ("0.0.0.0", "", "0.0.0.0 is unspecified, loopback, multicast or broadcast"),
            ("127.0.0.1", "", "127.0.0.1 is unspecified, loopback, multicast or broadcast"),
            ("::1", "", "::1 is unspecified, loopback, multicast or broadcast"),
            ("224.0.0.1", "", "224.0.0.1 is unspecified, loopback, multicast or broadcast"),
            ("255.255.255.255", "", "255.255.255.255 is unspecified, loopback, multicast or broadcast"),
        ];
        for (text, expected, warning) in cases {
            let (ip, warnings) = with_log(|log| usable_address(&text.into(), "f", log));
            assert_eq!(ip.map(|ip| ip.to_string()).unwrap_or_default(), expected, "{text:?}");
            assert_eq!(warnings.join("; "), warning, "{text:?}");
        }
    }

    #[test]
    fn old_ranges_are_read_as_decimal() {
        let cases = [
            ("10.0.0.0/8", "10.0.0.0/8", ""),
            (" 10.1.2.3/8\t", "10.0.0.0/8", ""),
            ("fd00::/64", "fd00::/64", ""),
            ("010.0.0.0/8", "10.0.0.0/8", "\"010.0.0.0/8\" is not in today's notation, read as 10.0.0.0/8"),
            (
                "::ffff:10.0.0.0/104",
                "10.0.0.0/8",
                "\"::ffff:10.0.0.0/104\" is not in today's notation, read as 10.0.0.0/8",
            ),
            ("::ffff:0:0/95", "::fffe:0:0/95", ""),
            ("10.0.0.0", "", "\"10.0.0.0\" is no range"),
            ("10.0.0.0/33", "", "\"10.0.0.0/33\" is no range"),
            ("", "", "\"\" is no range"),
        ];
        for (text, expected, warning) in cases {
            let (cidr, warnings) = with_log(|log| range(text, "f", log));
            assert_eq!(cidr.map(|cidr| cidr.to_string()).unwrap_or_default(), expected, "{text:?}");
            assert_eq!(warnings.join("; "), warning, "{text:?}");
        }
    }

    #[test]
    fn ports_are_1_to_65535() {
        let cases = [(1, Some(1)), (65535, Some(65535)), (0, None), (-1, None), (65536, None), (70000, None)];
        for (number, expected) in cases {
            let (read, warnings) = with_log(|log| port(number, "f", log));
            assert_eq!((read, warnings.len()), (expected, usize::from(expected.is_none())), "{number}");
        }
    }
}
