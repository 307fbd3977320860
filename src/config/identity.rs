//! Who a gateway says it is (RFC 7296 §3.5), as it is written in the file.
//!
//! `203.0.113.5`, `gw.example.com`, `vpn@example.com`, and in hexadecimal `keyid:..`, `dn:..`, `gn:..` (the DER of a
//! distinguished or general name). A distinguished name as text is left out: two ways to write the same name encode to
//! different bytes, and the peer compares bytes.

use std::net::IpAddr;

use crate::wire::ike::numbers::IdType;
use crate::wire::ike::payload::Id;

/// Longer identities fit into no reasonable IKE_AUTH message.
const MAX_LEN: usize = 1024;

/// The identity of an address.
pub(super) fn of_address(address: IpAddr) -> Id {
    match address {
        IpAddr::V4(address) => Id::new(IdType::IPV4_ADDR, address.octets().to_vec()),
        IpAddr::V6(address) => Id::new(IdType::IPV6_ADDR, address.octets().to_vec()),
    }
}

/// An identity as it is written in the file.
#[must_use]
pub fn text(id: &Id) -> String {
    let data = id.data.as_slice();
    match id.kind {
        IdType::IPV4_ADDR => <[u8; 4]>::try_from(data).ok().map(|octets| IpAddr::from(octets).to_string()),
        IdType::IPV6_ADDR => <[u8; 16]>::try_from(data).ok().map(|octets| IpAddr::from(octets).to_string()),
        IdType::FQDN | IdType::RFC822_ADDR => String::from_utf8(data.to_vec()).ok(),
        IdType::DER_ASN1_DN => Some(format!("dn:{}", hex::encode(data))),
        IdType::DER_ASN1_GN => Some(format!("gn:{}", hex::encode(data))),
        _ => None,
    }
    .unwrap_or_else(|| format!("keyid:{}", hex::encode(data)))
}

/// Reads an identity. The error says how to mend it.
pub(super) fn parse(text: &str) -> Result<Id, String> {
    if let Ok(address) = text.parse() {
        return Ok(of_address(address));
    }
    for (scheme, kind) in [("keyid:", IdType::KEY_ID), ("dn:", IdType::DER_ASN1_DN), ("gn:", IdType::DER_ASN1_GN)] {
        if let Some(digits) = text.strip_prefix(scheme) {
            return from_hex(digits, kind);
        }
    }
    if let Some((user, host)) = text.split_once('@') {
        if user.is_empty() {
            return Err(format!("write a host name without the leading @: \"{host}\""));
        }
        if user.chars().any(|c| c.is_whitespace() || c == '@') || !is_host_name(host) {
            return Err("write a mail address as user@host.example".to_owned());
        }
        return Ok(Id::new(IdType::RFC822_ADDR, text.as_bytes().to_vec()));
    }
    if is_host_name(text) {
        return Ok(Id::new(IdType::FQDN, text.as_bytes().to_vec()));
    }
    if text.contains('=') {
        return Err("a distinguished name is given by its DER encoding: dn:3081... in hexadecimal".to_owned());
    }
    Err("write an address, a host name, user@host, or in hexadecimal keyid:.., dn:.. or gn:..".to_owned())
}

fn from_hex(digits: &str, kind: IdType) -> Result<Id, String> {
    let data = hex::decode(digits).map_err(|_| {
        if kind == IdType::KEY_ID {
            format!("a key ID is given in hexadecimal; this text would be keyid:{}", hex::encode(digits))
        } else {
            "the DER encoding of the name is given in hexadecimal, an even number of digits".to_owned()
        }
    })?;
    if data.is_empty() || data.len() > MAX_LEN {
        return Err(format!("give 1 to {MAX_LEN} bytes"));
    }
    Ok(Id::new(kind, data))
}

fn is_host_name(text: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    // A last label of digits would be a mistyped address.
    let last = text.rsplit('.').next().unwrap_or_default();
    text.len() <= 253 && text.split('.').all(label) && !last.bytes().all(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_gives_its_type() {
        for (text, kind, data) in [
            ("203.0.113.5", IdType::IPV4_ADDR, &[203, 0, 113, 5][..]),
            ("gw.example.com", IdType::FQDN, b"gw.example.com"),
            ("moon", IdType::FQDN, b"moon"),
            ("vpn@example.com", IdType::RFC822_ADDR, b"vpn@example.com"),
            ("keyid:636270", IdType::KEY_ID, b"cbp"),
            ("dn:3000", IdType::DER_ASN1_DN, &[0x30, 0]),
            ("gn:8200", IdType::DER_ASN1_GN, &[0x82, 0]),
        ] {
            let id = Id::new(kind, data.to_vec());
            assert_eq!(super::text(&id), text);
            assert_eq!(parse(text), Ok(id), "{text}");
        }
        assert_eq!(text(&parse("2001:db8::5").unwrap()), "2001:db8::5");
    }

    #[test]
    fn what_is_no_identity_says_how_to_write_one() {
        for (text, mend) in [
            ("300.1.1.1", "an address"),
            ("@gw.example.com", "without the leading @"),
            ("CN=gw, O=Example", "DER"),
            ("keyid:cbp", "keyid:636270"),
            ("dn:CN=gw", "DER"),
            ("keyid:", "bytes"),
            ("a b", "an address"),
            ("user@-host", "user@host"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(mend), "{text}: {error}");
        }
    }
}
