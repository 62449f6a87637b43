//! What a probe dials, as text: `10.96.0.80:80/TCP`.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use backend_api::Protocol;
use serde::Deserialize;

/// Address, port and protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Target {
    /// Destination address.
    pub address: IpAddr,
    /// Destination port.
    pub port: u16,
    /// Protocol.
    pub protocol: Protocol,
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (socket, protocol) = text.rsplit_once('/').ok_or_else(|| malformed(text))?;
        let socket: SocketAddr = socket.parse().map_err(|_| malformed(text))?;
        let protocol = Protocol::ALL.into_iter().find(|known| known.to_string() == protocol);
        let protocol = protocol.ok_or_else(|| malformed(text))?;
        Ok(Self { address: socket.ip(), port: socket.port(), protocol })
    }
}

fn malformed(text: &str) -> String {
    format!("target {text:?}: not of the form 10.96.0.80:80/TCP or [fd00::80]:53/UDP")
}

impl TryFrom<String> for Target {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", SocketAddr::new(self.address, self.port), self.protocol)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_survives_parsing_and_printing() {
        for text in ["10.96.0.80:80/TCP", "[fd00::80]:53/UDP", "192.168.67.10:30673/SCTP"] {
            assert_eq!(text.parse::<Target>().expect(text).to_string(), text);
        }
    }

    #[test]
    fn what_is_no_target_is_refused() {
        for text in ["", "10.96.0.80:80", "10.96.0.80/TCP", "10.96.0.80:80/tcp", "web:80/TCP", "fd00::80:53/UDP"] {
            assert!(text.parse::<Target>().is_err(), "{text}");
        }
    }
}
