//! Peers' values for people: bounded, escaped, without raw bytes.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::policy::selector::TrafficSelector;
use crate::wire::ike::numbers::IdType;
use crate::wire::ike::payload::Id;

/// Longest identity that is printed.
const MAX_ID: usize = 128;

/// An identity.
pub fn identity(id: &Id) -> String {
    match (id.kind, id.data.as_slice()) {
        (IdType::IPV4_ADDR, data) if data.len() == 4 => {
            <[u8; 4]>::try_from(data).map(|octets| Ipv4Addr::from(octets).to_string()).unwrap_or_default()
        }
        (IdType::IPV6_ADDR, data) if data.len() == 16 => {
            <[u8; 16]>::try_from(data).map(|octets| Ipv6Addr::from(octets).to_string()).unwrap_or_default()
        }
        (IdType::FQDN | IdType::RFC822_ADDR, data) => data.iter().take(MAX_ID).map(|byte| printable(*byte)).collect(),
        (kind, data) => format!("{kind} {}", hex::encode(data.get(..MAX_ID / 2).unwrap_or(data))),
    }
}

/// An octet of a name as it may stand in a log line.
fn printable(byte: u8) -> char {
    if byte.is_ascii_graphic() && byte != b'"' && byte != b'\\' { char::from(byte) } else { '?' }
}

/// Selectors, for events and status.
pub fn selectors(selectors: &[TrafficSelector]) -> String {
    let shown: Vec<_> = selectors.iter().take(8).map(ToString::to_string).collect();
    let more = if selectors.len() > shown.len() { ", ..." } else { "" };
    format!("{}{more}", shown.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_cannot_break_out_of_its_line() {
        let id = |kind, data: &[u8]| Id::new(kind, data.to_vec());
        assert_eq!(identity(&id(IdType::FQDN, b"a\nb\x1b\"c\\%n")), "a?b??c?%n");
        assert_eq!(identity(&id(IdType::IPV4_ADDR, &[192, 0, 2, 1])), "192.0.2.1");
        assert_eq!(identity(&id(IdType::IPV4_ADDR, &[1])), "ID_IPV4_ADDR 01");
        assert!(identity(&id(IdType::FQDN, &vec![b'x'; 70_000])).len() <= MAX_ID);
        assert!(identity(&id(IdType::KEY_ID, &vec![b'x'; 70_000])).len() <= 2 * MAX_ID);
    }
}
