//! Whether a certificate is about an identity (RFC 4945 §3.1, RFC 7296 §3.5).
//!
//! An address, a host or a mail address stands in the subject alternative name, a distinguished name is the subject. The
//! common name is no host name, and a name with `*` in it is about no single host.

use std::net::IpAddr;

use crate::crypto::certificate::Certificate;
use crate::wire::ike::numbers::IdType;
use crate::wire::ike::payload::Id;

/// Whether `certificate` carries `id`.
pub fn carries(certificate: &Certificate, id: &Id) -> bool {
    let text = std::str::from_utf8(&id.data).ok().filter(|text| !text.is_empty());
    match id.kind {
        IdType::IPV4_ADDR => {
            let address = <[u8; 4]>::try_from(id.data.as_slice()).map(IpAddr::from);
            address.is_ok_and(|address| certificate.addresses.contains(&address))
        }
        IdType::IPV6_ADDR => {
            let address = <[u8; 16]>::try_from(id.data.as_slice()).map(IpAddr::from);
            address.is_ok_and(|address| certificate.addresses.contains(&address))
        }
        // RFC 4945 §3.1.2: no wildcards; the case of a host name means nothing.
        IdType::FQDN => text.is_some_and(|text| {
            !text.contains('*') && certificate.hosts.iter().any(|host| host.eq_ignore_ascii_case(text))
        }),
        IdType::RFC822_ADDR => text.is_some_and(|text| certificate.mail.iter().any(|mail| same_mail(mail, text))),
        // Octet by octet: the peer has it from its own certificate.
        IdType::DER_ASN1_DN => !id.data.is_empty() && certificate.subject == id.data,
        _ => false,
    }
}

/// RFC 5280 §7.5: the local part is compared as it is, the host without its case.
fn same_mail(a: &str, b: &str) -> bool {
    match (a.rsplit_once('@'), b.rsplit_once('@')) {
        (Some((user_a, host_a)), Some((user_b, host_b))) => user_a == user_b && host_a.eq_ignore_ascii_case(host_b),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::certificate::testing::{Authority, Leaf};

    #[test]
    fn only_what_the_certificate_says_counts() {
        let leaf = Leaf {
            name: "cn.example",
            hosts: &["gw.example", "*.wild.example"],
            mail: &["Vpn@gw.example"],
            addresses: &["192.0.2.1", "2001:db8::1"],
            ..Leaf::default()
        };
        let certificate = Authority::new("ca").issue(&leaf).certificate();
        let id = |kind, data: &[u8]| Id::new(kind, data.to_vec());
        for (id, carried) in [
            (id(IdType::FQDN, b"gw.example"), true),
            (id(IdType::FQDN, b"GW.Example"), true),
            (id(IdType::FQDN, b"other.example"), false),
            (id(IdType::FQDN, b"cn.example"), false),
            (id(IdType::FQDN, b"a.wild.example"), false),
            (id(IdType::FQDN, b"*.wild.example"), false),
            (id(IdType::FQDN, b""), false),
            (id(IdType::FQDN, &[0xff]), false),
            (id(IdType::RFC822_ADDR, b"Vpn@GW.example"), true),
            (id(IdType::RFC822_ADDR, b"vpn@gw.example"), false),
            (id(IdType::RFC822_ADDR, b"gw.example"), false),
            (id(IdType::IPV4_ADDR, &[192, 0, 2, 1]), true),
            (id(IdType::IPV4_ADDR, &[192, 0, 2, 2]), false),
            (id(IdType::IPV4_ADDR, b"gw.example"), false),
            (id(IdType::IPV6_ADDR, &certificate_v6()), true),
            (id(IdType::IPV6_ADDR, &[0; 16]), false),
            (id(IdType::DER_ASN1_DN, &certificate.subject), true),
            (id(IdType::DER_ASN1_DN, &certificate.issuer), false),
            (id(IdType::DER_ASN1_DN, b""), false),
            (id(IdType::KEY_ID, b"gw.example"), false),
        ] {
            assert_eq!(carries(&certificate, &id), carried, "{id:?}");
        }
    }

    fn certificate_v6() -> [u8; 16] {
        "2001:db8::1".parse::<std::net::Ipv6Addr>().unwrap().octets()
    }
}
