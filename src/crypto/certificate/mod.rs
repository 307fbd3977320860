//! X.509 certificates (RFC 5280) as far as IKE needs them: `Certificate` holds what one says, [`Trust`] whether a chain of
//! them ends at an authority of ours. Path building, name constraints and CRLs are `rustls-webpki`'s; names other than
//! those of TLS come from `x509-parser`.
//!
//! Left out: certificate policies, attribute certificates, delta and indirect CRLs, fetching anything.

mod der;
mod flaw;
mod ocsp;
#[cfg(test)]
pub(crate) mod testing;
mod trust;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use sha1::{Digest as _, Sha1};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::FromDer as _;

use super::signature::{KeyKind, PublicKey};

pub use flaw::{Fault, Flaw};
pub use trust::{Revocation, Trust, Verified};

/// Certificates of a chain beside the authority's own: the end entity and what lies between. `rustls-webpki` follows no
/// more than six below the anchor.
pub const MAX_CHAIN: usize = 6;

/// Longest certificate. RSA of 8192 bits with many names stays below.
pub const MAX_LEN: usize = 16 * 1024;

/// Names of one kind that are read of one certificate.
const MAX_NAMES: usize = 100;

/// One certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    der: CertificateDer<'static>,
    /// Its subject: the DER of the name.
    pub subject: Vec<u8>,
    /// Its issuer: the DER of the name.
    pub issuer: Vec<u8>,
    /// Its subject for people, bounded and without control characters.
    pub subject_text: String,
    /// Its issuer for people, likewise.
    pub issuer_text: String,
    /// Its serial number.
    pub serial: Vec<u8>,
    /// From when on it is valid, in seconds since 1970.
    pub not_before: i64,
    /// Until when it is valid.
    pub not_after: i64,
    /// Host names.
    pub hosts: Vec<String>,
    /// Mail addresses.
    pub mail: Vec<String>,
    /// Addresses.
    pub addresses: Vec<IpAddr>,
    /// Its key.
    pub key: PublicKey,
    /// The SHA-1 hash of its SubjectPublicKeyInfo, which CERTREQ carries (RFC 7296 §3.7). No security rests on it.
    pub key_hash: [u8; 20],
    /// Whether it is an authority's.
    pub is_authority: bool,
    /// digitalSignature or nonRepudiation, or no KeyUsage at all (RFC 4945 §5.1.3.2).
    pub may_sign: bool,
    /// keyCertSign, or no KeyUsage at all.
    pub may_certify: bool,
}

impl Certificate {
    /// Reads one certificate in DER.
    pub fn from_der(der: &[u8]) -> Result<Self, Flaw> {
        if der.len() > MAX_LEN {
            return Err(Flaw::TooLong);
        }
        let (rest, parsed) = X509Certificate::from_der(der).map_err(|_| Flaw::Malformed)?;
        if !rest.is_empty() {
            return Err(Flaw::Malformed);
        }
        let mut names = Names::default();
        let (mut is_authority, mut may_sign, mut may_certify) = (false, true, true);
        for extension in parsed.extensions() {
            match extension.parsed_extension() {
                ParsedExtension::SubjectAlternativeName(list) => {
                    list.general_names.iter().for_each(|name| names.take(name));
                }
                ParsedExtension::BasicConstraints(constraints) => is_authority = constraints.ca,
                ParsedExtension::KeyUsage(usage) => {
                    may_sign = usage.digital_signature() || usage.non_repudiation();
                    may_certify = usage.key_cert_sign();
                }
                _ => {}
            }
        }
        let spki = parsed.public_key();
        let kind = der::algorithm_of(spki.raw).and_then(KeyKind::identified).ok_or(Flaw::UnknownKey)?;
        let key = PublicKey { kind, bits: spki.subject_public_key.data.to_vec() };
        if kind == KeyKind::Rsa {
            check_rsa(&key.bits)?;
        }
        Ok(Self {
            der: CertificateDer::from(der.to_vec()),
            subject: parsed.subject().as_raw().to_vec(),
            issuer: parsed.issuer().as_raw().to_vec(),
            subject_text: shown(&parsed.subject().to_string()),
            issuer_text: shown(&parsed.issuer().to_string()),
            serial: parsed.raw_serial().to_vec(),
            not_before: parsed.validity().not_before.timestamp(),
            not_after: parsed.validity().not_after.timestamp(),
            hosts: names.hosts,
            mail: names.mail,
            addresses: names.addresses,
            key_hash: Sha1::digest(spki.raw).into(),
            key,
            is_authority,
            may_sign,
            may_certify,
        })
    }

    /// Reads every certificate of a file in PEM.
    pub fn from_pem(pem: &[u8]) -> Result<Vec<Self>, Flaw> {
        let read = |der: Result<CertificateDer<'_>, _>| Self::from_der(&der.map_err(|_| Flaw::NotPem)?);
        let all: Vec<_> = CertificateDer::pem_slice_iter(pem).map(read).collect::<Result<_, _>>()?;
        if all.is_empty() { Err(Flaw::NotPem) } else { Ok(all) }
    }

    /// All of it.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        &self.der
    }
}

/// A key that is too short or cannot be right. An even modulus is no product of two primes, and breaks the arithmetic of
/// some libraries.
fn check_rsa(bits: &[u8]) -> Result<(), Flaw> {
    let (modulus, exponent) = der::rsa_key(bits).ok_or(Flaw::Malformed)?;
    let len = modulus.len() * 8 - modulus.first().map_or(0, |byte| byte.leading_zeros() as usize);
    let odd = |number: &[u8]| number.last().is_some_and(|byte| byte % 2 == 1);
    let big_enough = exponent.len() > 1 || exponent.first().is_some_and(|byte| *byte >= 3);
    if !(2048..=8192).contains(&len) || !odd(modulus) || !odd(exponent) || !big_enough {
        return Err(Flaw::WeakKey);
    }
    Ok(())
}

#[derive(Default)]
struct Names {
    hosts: Vec<String>,
    mail: Vec<String>,
    addresses: Vec<IpAddr>,
}

impl Names {
    fn take(&mut self, name: &GeneralName<'_>) {
        // A control character is in no host's name and in no mailbox that is meant seriously, and names are shown to people.
        let sound = |name: &str| name.bytes().all(|byte| byte.is_ascii_graphic());
        match name {
            GeneralName::DNSName(host) if self.hosts.len() < MAX_NAMES && sound(host) => {
                self.hosts.push((*host).to_owned());
            }
            GeneralName::RFC822Name(mail) if self.mail.len() < MAX_NAMES && sound(mail) => {
                self.mail.push((*mail).to_owned());
            }
            GeneralName::IPAddress(octets) if self.addresses.len() < MAX_NAMES => {
                let v4 = <[u8; 4]>::try_from(*octets).map(|octets| IpAddr::V4(Ipv4Addr::from(octets)));
                let v6 = <[u8; 16]>::try_from(*octets).map(|octets| IpAddr::V6(Ipv6Addr::from(octets)));
                self.addresses.extend(v4.or(v6));
            }
            _ => {}
        }
    }
}

/// A peer's text for people: bounded, without control characters.
fn shown(text: &str) -> String {
    text.chars().take(128).map(|c| if c.is_ascii_graphic() || c == ' ' { c } else { '?' }).collect()
}

#[cfg(test)]
mod tests {
    use super::testing::*;
    use super::*;

    #[test]
    fn a_certificate_says_who_it_is_about_and_nothing_that_a_terminal_obeys() {
        let authority = Authority::new("ca");
        let leaf = authority.issue(&Leaf {
            hosts: &["gw.example", "gw\u{7}.example", "gw.example\0"],
            mail: &["vpn@example", "vpn\n@example"],
            addresses: &["192.0.2.1", "2001:db8::1"],
            ..Leaf::default()
        });
        let certificate = Certificate::from_der(&leaf.der).unwrap();
        assert_eq!(certificate.hosts, ["gw.example"]);
        assert_eq!(certificate.mail, ["vpn@example"]);
        let addresses: Vec<_> = certificate.addresses.iter().map(ToString::to_string).collect();
        assert_eq!(addresses, ["192.0.2.1", "2001:db8::1"]);
        assert_eq!((certificate.subject_text.as_str(), certificate.issuer_text.as_str()), ("CN=leaf", "CN=ca"));
        assert_eq!(certificate.key.kind, KeyKind::P256);
        assert!(!certificate.is_authority && certificate.may_sign);
        assert!(authority.certificate().is_authority && authority.certificate().may_certify);
    }

    #[test]
    fn any_bytes_are_read_or_refused() {
        let der = Authority::new("ca").issue(&Leaf::default()).der;
        for at in 0..der.len() {
            assert!(Certificate::from_der(&der[..at]).is_err());
            let mut other = der.clone();
            other[at] = !other[at];
            let _ = Certificate::from_der(&other);
        }
        assert_eq!(Certificate::from_der(&[&der[..], &[0]].concat()), Err(Flaw::Malformed));
        assert_eq!(Certificate::from_der(&vec![0x30; MAX_LEN + 1]), Err(Flaw::TooLong));
        assert_eq!(Certificate::from_pem(b"swordfish"), Err(Flaw::NotPem));
    }

    #[test]
    fn rsa_keys_that_are_short_or_even_are_refused() {
        let key = |modulus: &[u8], exponent: &[u8]| {
            let with_len = |tag: u8, body: Vec<u8>| {
                let len = u16::try_from(body.len()).unwrap().to_be_bytes();
                let head = match body.len() {
                    0..=0x7f => vec![tag, len[1]],
                    0x80..=0xff => vec![tag, 0x81, len[1]],
                    _ => vec![tag, 0x82, len[0], len[1]],
                };
                [head, body].concat()
            };
            let integer = |bytes: &[u8]| {
                let sign: &[u8] = if bytes[0] & 0x80 == 0 { &[] } else { &[0] };
                with_len(2, [sign, bytes].concat())
            };
            let der = with_len(0x30, [integer(modulus), integer(exponent)].concat());
            check_rsa(&der)
        };
        let good = [0x81; 256];
        let mut even = good;
        even[255] = 0x80;
        assert_eq!(key(&good, &[1, 0, 1]), Ok(()));
        assert_eq!(key(&even, &[1, 0, 1]), Err(Flaw::WeakKey));
        assert_eq!(key(&[0x81; 255], &[1, 0, 1]), Err(Flaw::WeakKey));
        assert_eq!(key(&[0x81; 1025], &[1, 0, 1]), Err(Flaw::WeakKey));
        assert_eq!(key(&good, &[1]), Err(Flaw::WeakKey));
        assert_eq!(key(&good, &[2]), Err(Flaw::WeakKey));
        assert_eq!(check_rsa(&[]), Err(Flaw::Malformed));
    }
}
