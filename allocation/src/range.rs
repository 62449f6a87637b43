//! Ranges of addresses as a pool lists them: a block or two ends.

use std::fmt;
use std::net::IpAddr;

use backend_api::{Cidr, Family};

/// Addresses from a first to a last one, both included, of one family.
///
/// ```
/// # use switchyard_allocation::AddressRange;
/// let (range, masked) = AddressRange::parse("192.168.67.240 - 192.168.67.250")?;
/// assert_eq!((range.len(), masked), (11, None));
///
/// let (range, masked) = AddressRange::parse("192.168.67.243/29")?;
/// assert_eq!(range.first().to_string(), "192.168.67.240");
/// let warning = masked.expect("the address is inside of the block").to_string();
/// assert_eq!(warning, "range 192.168.67.243/29: is read as the block 192.168.67.240/29");
/// # Ok::<(), switchyard_allocation::RangeError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AddressRange {
    first: IpAddr,
    last: IpAddr,
}

/// A block that was written with an address inside of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Masked {
    /// As it was written.
    pub written: String,
    /// What it means.
    pub block: Cidr,
}

/// Why a text is no range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RangeError {
    /// One address alone.
    #[error("range {0}: a lone address is no range, write {0}/{prefix}", prefix = Family::of(*.0).bits())]
    Lone(IpAddr),
    /// Neither a block nor two ends.
    #[error("range {0:?}: neither a block (192.0.2.0/24) nor two ends (192.0.2.10-192.0.2.20)")]
    Syntax(String),
    /// The prefix is longer than an address.
    #[error("range {0:?}: prefix longer than the address")]
    Prefix(String),
    /// IPv4 at one end, IPv6 at the other.
    #[error("range {0:?}: ends of two families")]
    Families(String),
    /// The last address is below the first.
    #[error("range {0:?}: ends before it begins")]
    Backwards(String),
    /// `::ffff:192.0.2.1`.
    #[error("range {0:?}: an IPv4 address in IPv6 form, write it as IPv4")]
    Mapped(String),
}

impl AddressRange {
    /// The addresses from `first` to `last`.
    ///
    /// # Errors
    /// Where the ends are of two families, or `last` is below `first`.
    pub fn new(first: IpAddr, last: IpAddr) -> Result<Self, RangeError> {
        if Family::of(first) != Family::of(last) {
            return Err(RangeError::Families(format!("{first}-{last}")));
        }
        if last < first {
            return Err(RangeError::Backwards(format!("{first}-{last}")));
        }
        Ok(Self { first, last })
    }

    /// Reads `192.0.2.0/24`, or `192.0.2.10-192.0.2.20` with blanks round the dash or without. A block that is written
    /// with another address than its first is told.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub fn parse(text: &str) -> Result<(Self, Option<Masked>), RangeError> {
        let text = text.trim();
        if let Some((address, prefix)) = text.split_once('/') {
            let address = parse_address(address, text)?;
            let digits = !prefix.is_empty() && prefix.bytes().all(|byte| byte.is_ascii_digit());
            let prefix = prefix.parse().ok().filter(|_| digits).ok_or_else(|| RangeError::Syntax(text.to_owned()))?;
            let block = Cidr::new(address, prefix).map_err(|_| RangeError::Prefix(text.to_owned()))?;
            let masked = (block.network() != address).then(|| Masked { written: text.to_owned(), block });
            return Ok((Self::from(block), masked));
        }
        if let Some((first, last)) = text.split_once('-') {
            let range = Self::new(parse_address(first.trim(), text)?, parse_address(last.trim(), text)?)?;
            return Ok((range, None));
        }
        Err(text.parse().map_or_else(|_| RangeError::Syntax(text.to_owned()), RangeError::Lone))
    }

    /// Its first address.
    pub fn first(self) -> IpAddr {
        self.first
    }

    /// Its last address.
    pub fn last(self) -> IpAddr {
        self.last
    }

    /// Its family.
    pub fn family(self) -> Family {
        Family::of(self.first)
    }

    /// Whether `address` is in it; never for the other family.
    pub fn contains(self, address: IpAddr) -> bool {
        Family::of(address) == self.family() && self.first <= address && address <= self.last
    }

    /// How many addresses it has; for the whole of IPv6 one less than there are.
    #[expect(clippy::len_without_is_empty, reason = "no range is empty")]
    pub fn len(self) -> u128 {
        (bits(self.last) - bits(self.first)).saturating_add(1)
    }

    /// The block that it is, if it is one.
    pub fn block(self) -> Option<Cidr> {
        let (first, size) = (bits(self.first), bits(self.last) - bits(self.first));
        // A block has 2^n addresses and begins at a multiple of that.
        if size & size.wrapping_add(1) != 0 || first & size != 0 {
            return None;
        }
        let host_bits = (128 - size.leading_zeros()) as u8;
        Cidr::new(self.first, self.family().bits() - host_bits).ok()
    }

    /// The first address, if that of an IPv6 subnet means its routers (RFC 4291, 2.6.1): not in /127 (RFC 6164) and /128.
    pub(crate) fn anycast(self) -> Option<IpAddr> {
        let block = self.block().filter(|block| block.family() == Family::V6 && block.prefix() < 127)?;
        Some(block.network())
    }
}

impl From<Cidr> for AddressRange {
    fn from(block: Cidr) -> Self {
        Self { first: block.network(), last: block.last() }
    }
}

/// The block, or `first-last`.
impl fmt::Display for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.block() {
            Some(block) => write!(f, "{block}"),
            None => write!(f, "{}-{}", self.first, self.last),
        }
    }
}

/// `range 192.168.67.243/29: is read as the block 192.168.67.240/29`.
impl fmt::Display for Masked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "range {}: is read as the block {}", self.written, self.block)
    }
}

fn parse_address(text: &str, whole: &str) -> Result<IpAddr, RangeError> {
    let address: IpAddr = text.parse().map_err(|_| RangeError::Syntax(whole.to_owned()))?;
    match address.to_canonical() == address {
        true => Ok(address),
        false => Err(RangeError::Mapped(whole.to_owned())),
    }
}

/// An address as a number.
pub(crate) fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => v4.to_bits().into(),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

/// The address that a number means in a family; `None` past its last one.
pub(crate) fn address(family: Family, bits: u128) -> Option<IpAddr> {
    match family {
        Family::V4 => u32::try_from(bits).ok().map(|bits| IpAddr::V4(bits.into())),
        Family::V6 => Some(IpAddr::V6(bits.into())),
    }
}

/// Whether some routers take the address for one of a network: IPv4, last octet 0 or 255.
pub(crate) fn is_buggy(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => matches!(v4.octets()[3], 0 | 255),
        IpAddr::V6(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_a_block_or_two_ends() {
        for (text, expected) in [
            ("192.168.67.240-192.168.67.250", "192.168.67.240-192.168.67.250"),
            (" 192.168.67.240 -\t192.168.67.247 ", "192.168.67.240/29"),
            ("10.0.0.0/24", "10.0.0.0/24"),
            ("10.0.0.7/32", "10.0.0.7/32"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("::/0", "::/0"),
            ("fd00:67::/112", "fd00:67::/112"),
            ("fd00:67::1-fd00:67::1", "fd00:67::1/128"),
            ("10.0.0.0-10.0.1.0", "10.0.0.0-10.0.1.0"),
            ("10.0.0.4-10.0.0.11", "10.0.0.4-10.0.0.11"),
        ] {
            let (range, masked) = AddressRange::parse(text).unwrap();
            assert_eq!((range.to_string().as_str(), masked), (expected, None), "{text}");
        }
    }

    #[test]
    fn a_block_that_is_written_with_another_address_is_told() {
        for (text, effective) in [("10.0.0.9/24", "10.0.0.0/24"), ("fd00::ff/120", "fd00::/120")] {
            let (range, masked) = AddressRange::parse(text).unwrap();
            assert_eq!(range.to_string(), effective);
            assert_eq!(masked.unwrap().to_string(), format!("range {text}: is read as the block {effective}"));
        }
    }

    #[test]
    fn what_is_no_range_is_refused_in_words() {
        for (text, expected) in [
            ("192.0.2.1", "range 192.0.2.1: a lone address is no range, write 192.0.2.1/32"),
            ("fd00::1", "range fd00::1: a lone address is no range, write fd00::1/128"),
            ("10.0.0.0/33", "range \"10.0.0.0/33\": prefix longer than the address"),
            ("10.0.0.9-10.0.0.8", "range \"10.0.0.9-10.0.0.8\": ends before it begins"),
            ("10.0.0.9-fd00::1", "range \"10.0.0.9-fd00::1\": ends of two families"),
            ("::ffff:10.0.0.0/120", "range \"::ffff:10.0.0.0/120\": an IPv4 address in IPv6 form, write it as IPv4"),
        ] {
            assert_eq!(AddressRange::parse(text).unwrap_err().to_string(), expected);
        }
        for text in ["", "-", "/", "a-b", "10.0.0.0/", "10.0.0.0/+8", "10.0.0.0/ 8", "10.0.0/8", "10.0.0.1-", "1-2-3"] {
            assert_eq!(AddressRange::parse(text), Err(RangeError::Syntax(text.to_owned())), "{text}");
        }
    }

    #[test]
    fn the_first_address_of_a_short_ipv6_block_means_its_routers() {
        for (text, expected) in [
            ("fd00::/112", Some("fd00::")),
            ("fd00::-fd00::ff", Some("fd00::")),
            ("fd00::/127", None),
            ("fd00::1/128", None),
            ("fd00::1-fd00::ff", None),
            ("10.0.0.0/24", None),
        ] {
            let (range, _) = AddressRange::parse(text).unwrap();
            assert_eq!(range.anycast(), expected.map(|text| text.parse().unwrap()), "{text}");
        }
    }

    #[test]
    fn the_whole_of_a_family_is_a_range() {
        let [v4, v6] = ["0.0.0.0/0", "::/0"].map(|text| AddressRange::parse(text).unwrap().0);
        assert_eq!((v4.len(), v6.len()), (1 << 32, u128::MAX));
        assert_eq!(v6.block().unwrap().prefix(), 0);
    }
}
