//! A shared secret that heartbeats are authenticated with.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// Bytes that authenticate a message.
pub(super) const TAG: usize = 32;

/// A shared secret for HMAC-SHA-256 (RFC 2104). Its text form does not show it.
#[derive(Clone)]
pub struct Key(Hmac<Sha256>);

impl Key {
    /// From any bytes; 32 random ones are best.
    ///
    /// # Panics
    /// Never.
    pub fn new(secret: &[u8]) -> Self {
        Self(Hmac::new_from_slice(secret).expect("HMAC takes keys of any length"))
    }

    pub(super) fn tag(&self, bytes: &[u8]) -> [u8; TAG] {
        self.0.clone().chain_update(bytes).finalize().into_bytes().into()
    }

    /// In constant time.
    pub(super) fn accepts(&self, bytes: &[u8], tag: &[u8]) -> bool {
        self.0.clone().chain_update(bytes).verify_slice(tag).is_ok()
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key")
    }
}
