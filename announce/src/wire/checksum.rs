//! The Internet checksum (RFC 1071) and the pseudo headers that it covers.

use std::net::{Ipv4Addr, Ipv6Addr};

/// The sum of 16-bit words in ones' complement, before it is folded.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sum(u64);

impl Sum {
    /// `bytes` as words; a last odd byte counts as the high one of its word.
    pub(super) fn bytes(mut self, bytes: &[u8]) -> Self {
        let words = bytes.chunks_exact(2);
        if let [last] = words.remainder() {
            self.0 += u64::from(*last) << 8;
        }
        for word in words {
            self.0 += u64::from(u16::from_be_bytes([word[0], word[1]]));
        }
        self
    }

    /// The pseudo header of RFC 8200 §8.1.
    pub(super) fn ipv6(source: Ipv6Addr, destination: Ipv6Addr, length: usize, next_header: u8) -> Self {
        let mut sum = Self::default().bytes(&source.octets()).bytes(&destination.octets());
        sum.0 += length as u64 + u64::from(next_header);
        sum
    }

    /// The pseudo header of RFC 768.
    pub(super) fn ipv4(source: Ipv4Addr, destination: Ipv4Addr, length: usize, protocol: u8) -> Self {
        let mut sum = Self::default().bytes(&source.octets()).bytes(&destination.octets());
        sum.0 += length as u64 + u64::from(protocol);
        sum
    }

    /// What belongs into the checksum field if that was zero; zero if the field was filled in and is right.
    pub(super) fn complement(self) -> u16 {
        let mut sum = self.0;
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !(sum as u16)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_rfc_sums_up() {
        // RFC 1071 §3: the words sum to ddf2.
        let sum = Sum::default().bytes(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]);
        assert_eq!(sum.complement(), !0xddf2);
        assert_eq!(Sum::default().bytes(&[0x12]).complement(), !0x1200);
    }
}
