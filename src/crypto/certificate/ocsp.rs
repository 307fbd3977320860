//! OCSP responses from a local cache (RFC 6960 §4.2): what an authority says of single certificates.
//!
//! A response counts if the authority itself has signed it, or somebody to whom the authority gave a certificate for
//! just that (§4.2.2.2), and if it is of this time: one without nextUpdate is not cached. Left out: asking a responder,
//! nonces (§4.4.1, which need a question), status `unknown`, which is the same as no word.

use std::time::Duration;

use rustls_pki_types::{CertificateDer, UnixTime};
use sha1::{Digest as _, Sha1};
use sha2::Sha256;
use webpki::{EndEntityCert, KeyUsage};
use x509_parser::prelude::FromDer as _;
use x509_parser::time::ASN1Time;

use super::der::{INTEGER, SEQUENCE, element, expect};
use super::{Certificate, MAX_LEN};
use crate::crypto::signature::{Algorithm, VERIFIERS};

/// id-kp-OCSPSigning, 1.3.6.1.5.5.7.3.9.
const OCSP_SIGNING: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 9];
/// id-pkix-ocsp-basic, 1.3.6.1.5.5.7.48.1.1.
const BASIC: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 0x30, 1, 1];
const SHA1: &[u8] = &[0x2b, 0x0e, 3, 2, 0x1a];
const SHA256: &[u8] = &[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 1];
const OID: u8 = 0x06;
const OCTETS: u8 = 0x04;
const BITS: u8 = 0x03;
const ENUMERATED: u8 = 0x0a;
const EXPLICIT_0: u8 = 0xa0;

/// How far the responder's clock may be ahead of ours.
const SKEW: i64 = 300;

/// Responses that were loaded.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Responses(Vec<Response>);

/// One BasicOCSPResponse.
#[derive(Debug, PartialEq, Eq)]
struct Response {
    /// What is signed, with its header.
    signed: Vec<u8>,
    algorithm: Algorithm,
    signature: Vec<u8>,
    /// Whoever signed in the authority's place.
    delegates: Vec<Vec<u8>>,
    singles: Vec<Single>,
}

/// What is said of one certificate.
#[derive(Debug, PartialEq, Eq)]
struct Single {
    sha256: bool,
    issuer_name: Vec<u8>,
    issuer_key: Vec<u8>,
    serial: Vec<u8>,
    /// `None` is `unknown`.
    good: Option<bool>,
    this_update: i64,
    next_update: Option<i64>,
}

impl Responses {
    /// Takes a response in; `None` if it is none.
    pub(super) fn add(&mut self, der: &[u8]) -> Option<()> {
        self.0.push(Response::read(der)?);
        Some(())
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether `certificate` is good (`true`), revoked (`false`), or no fresh response speaks of it.
    pub(super) fn status(&self, certificate: &Certificate, issuers: &[&Certificate], now: u64) -> Option<bool> {
        let at = i64::try_from(now).unwrap_or(i64::MAX);
        let issuers = issuers.iter().filter(|issuer| issuer.subject == certificate.issuer);
        let mut good = None;
        for issuer in issuers {
            for response in &self.0 {
                let about = |single: &&Single| single.is_about(certificate, issuer);
                let Some(single) = response.singles.iter().find(about) else { continue };
                let fresh = single.this_update <= at + SKEW && single.next_update.is_some_and(|until| at <= until);
                let signed = || response.is_signed_by(issuer, now);
                match single.good {
                    // Once revoked is revoked for good, however old the word is.
                    Some(false) if signed() => return Some(false),
                    Some(true) if fresh && signed() => good = Some(true),
                    _ => {}
                }
            }
        }
        good
    }
}

impl Single {
    fn is_about(&self, certificate: &Certificate, issuer: &Certificate) -> bool {
        let hash = |bytes: &[u8]| {
            if self.sha256 { Sha256::digest(bytes).to_vec() } else { Sha1::digest(bytes).to_vec() }
        };
        self.serial == certificate.serial
            && self.issuer_name == hash(&issuer.subject)
            && self.issuer_key == hash(&issuer.key.bits)
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let (id, rest) = expect(SEQUENCE, bytes)?;
        let (algorithm, id) = expect(SEQUENCE, id)?;
        let (hash, _) = expect(OID, algorithm)?;
        let (issuer_name, id) = expect(OCTETS, id)?;
        let (issuer_key, id) = expect(OCTETS, id)?;
        let (serial, _) = expect(INTEGER, id)?;
        let sha256 = hash == SHA256;
        (sha256 || hash == SHA1).then_some(())?;
        let (status, _, rest) = element(rest)?;
        let good = match status {
            0x80 => Some(true),
            0xa1 => Some(false),
            _ => None,
        };
        let (this_update, rest) = time(rest)?;
        let next_update = match expect(EXPLICIT_0, rest) {
            Some((inner, _)) => Some(time(inner)?.0),
            None => None,
        };
        let [issuer_name, issuer_key, serial] = [issuer_name, issuer_key, serial].map(<[u8]>::to_vec);
        Some(Self { sha256, issuer_name, issuer_key, serial, good, this_update, next_update })
    }
}

impl Response {
    fn read(der: &[u8]) -> Option<Self> {
        if der.len() > 4 * MAX_LEN {
            return None;
        }
        let (outer, _) = expect(SEQUENCE, der)?;
        let (status, outer) = expect(ENUMERATED, outer)?;
        // RFC 6960 §4.2.1: only `successful` comes with anything.
        (status == [0]).then_some(())?;
        let (bytes, _) = expect(EXPLICIT_0, outer)?;
        let (bytes, _) = expect(SEQUENCE, bytes)?;
        let (kind, bytes) = expect(OID, bytes)?;
        (kind == BASIC).then_some(())?;
        let (basic, _) = expect(OCTETS, bytes)?;
        let (basic, _) = expect(SEQUENCE, basic)?;
        let (data, behind) = expect(SEQUENCE, basic)?;
        let signed = basic.get(..basic.len().checked_sub(behind.len())?)?.to_vec();
        let (_, rest) = expect(SEQUENCE, behind)?;
        let algorithm = Algorithm::identified(behind.get(..behind.len().checked_sub(rest.len())?)?)?;
        let (signature, rest) = expect(BITS, rest)?;
        let signature = signature.strip_prefix(&[0])?.to_vec();
        let mut delegates = Vec::new();
        if let Some((certificates, _)) = expect(EXPLICIT_0, rest) {
            let (mut list, _) = expect(SEQUENCE, certificates)?;
            while let Some((_, _, rest)) = element(list) {
                delegates.push(list.get(..list.len().checked_sub(rest.len())?)?.to_vec());
                list = rest;
            }
        }
        // A version other than the default, who the responder is, and when it spoke.
        let data = expect(EXPLICIT_0, data).map_or(data, |(_, rest)| rest);
        let (_, _, data) = element(data)?;
        let (_, data) = time(data)?;
        let (mut list, _) = expect(SEQUENCE, data)?;
        let mut singles = Vec::new();
        while let Some((content, rest)) = expect(SEQUENCE, list) {
            singles.extend(Single::read(content));
            list = rest;
        }
        Some(Self { signed, algorithm, signature, delegates, singles })
    }

    fn is_signed_by(&self, issuer: &Certificate, now: u64) -> bool {
        if issuer.key.verifies(self.algorithm, &self.signed, &self.signature) {
            return true;
        }
        let Ok(anchor) = webpki::anchor_from_trusted_cert(&issuer.der) else { return false };
        self.delegates.iter().take(4).any(|der| {
            let Ok(known) = Certificate::from_der(der) else { return false };
            let der = CertificateDer::from(der.as_slice());
            let Ok(end) = EndEntityCert::try_from(&der) else { return false };
            let time = UnixTime::since_unix_epoch(Duration::from_secs(now));
            let usage = KeyUsage::required(OCSP_SIGNING);
            let anchors = [anchor.clone()];
            known.may_sign
                && end.verify_for_usage(VERIFIERS, &anchors, &[], time, usage, None, None).is_ok()
                && known.key.verifies(self.algorithm, &self.signed, &self.signature)
        })
    }
}

fn time(bytes: &[u8]) -> Option<(i64, &[u8])> {
    let (rest, time) = ASN1Time::from_der(bytes).ok()?;
    Some((time.timestamp(), rest))
}

#[cfg(test)]
mod tests {
    use rcgen::ExtendedKeyUsagePurpose;

    use super::super::testing::*;
    use super::super::{Fault, Revocation, Trust, Verified};
    use super::*;
    use crate::crypto::signature::{Hash, SigningKey};
    use crate::event::IkeReason;

    fn tlv(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
        let content = parts.concat();
        let len = u16::try_from(content.len()).unwrap().to_be_bytes();
        let head = match content.len() {
            0..=0x7f => vec![tag, len[1]],
            0x80..=0xff => vec![tag, 0x81, len[1]],
            _ => vec![tag, 0x82, len[0], len[1]],
        };
        [head, content].concat()
    }

    /// A response of `by` about a certificate of `issuer`.
    fn response(
        by: &SigningKey,
        delegates: &[&[u8]],
        issuer: &Authority,
        serial: &[u8],
        good: bool,
        years: (u32, u32),
    ) -> Vec<u8> {
        let year = |year: u32| tlv(0x18, &[format!("{year}0101000000Z").as_bytes()]);
        let authority = issuer.certificate();
        let hash = |bytes: &[u8]| tlv(OCTETS, &[&Sha1::digest(bytes)]);
        let algorithm = tlv(SEQUENCE, &[&tlv(OID, &[SHA1]), &[5, 0]]);
        let id = [algorithm, hash(&authority.subject), hash(&authority.key.bits), tlv(INTEGER, &[serial])].concat();
        let status = if good { vec![0x80, 0] } else { tlv(0xa1, &[&year(years.0)]) };
        let next = tlv(EXPLICIT_0, &[&year(years.1)]);
        let single = tlv(SEQUENCE, &[&tlv(SEQUENCE, &[&id]), &status, &year(years.0), &next]);
        let responder = tlv(0xa2, &[&hash(&authority.key.bits)]);
        let data = tlv(SEQUENCE, &[&responder, &year(years.0), &tlv(SEQUENCE, &[&single])]);
        let algorithm = Algorithm::Ecdsa(Hash::Sha256);
        let signature = tlv(BITS, &[&[0], &by.sign(algorithm, &data).unwrap()]);
        let list = tlv(EXPLICIT_0, &[&tlv(SEQUENCE, delegates)]);
        let list = if delegates.is_empty() { Vec::new() } else { list };
        let basic = tlv(SEQUENCE, &[&data, &algorithm.identifier(), &signature, &list]);
        let bytes = tlv(SEQUENCE, &[&tlv(OID, &[BASIC]), &tlv(OCTETS, &[&basic])]);
        tlv(SEQUENCE, &[&tlv(ENUMERATED, &[&[0]]), &tlv(EXPLICIT_0, &[&bytes])])
    }

    fn check(
        root: &Authority,
        leaf: &Certificate,
        revocation: Revocation,
        responses: &[Vec<u8>],
    ) -> Result<Verified, Fault> {
        let mut trust = Trust::new(vec![root.certificate()], revocation).unwrap();
        for response in responses {
            trust.add_response(response).unwrap();
        }
        trust.verify(leaf, &[], NOW)
    }

    #[test]
    fn a_response_speaks_where_the_lists_are_silent() {
        let root = Authority::new("root");
        let leaf = root.issue(&Leaf::default()).certificate();
        let of = |serial: &[u8], good, years| response(&root.key(), &[], &root, serial, good, years);
        let why = |responses: &[Vec<u8>]| {
            check(&root, &leaf, Revocation::HardFail, responses).map_err(|fault| fault.reason).map(|_| ())
        };
        let unknown = Err(IkeReason::RevocationUnknown);
        assert_eq!(why(&[of(&leaf.serial, true, (2027, 2029))]), Ok(()));
        assert_eq!(why(&[of(&leaf.serial, false, (2027, 2029))]), Err(IkeReason::CertificateRevoked));
        assert_eq!(why(&[of(&leaf.serial, true, (2026, 2027))]), unknown, "out of date");
        assert_eq!(why(&[of(&leaf.serial, true, (2029, 2030))]), unknown, "from the future");
        assert_eq!(why(&[of(&[99], true, (2027, 2029))]), unknown, "about another certificate");
        let both = [of(&leaf.serial, true, (2027, 2029)), of(&leaf.serial, false, (2026, 2027))];
        assert_eq!(why(&both), Err(IkeReason::CertificateRevoked), "once revoked is revoked");
        let other = Authority::new("root");
        assert_eq!(why(&[response(&other.key(), &[], &root, &leaf.serial, true, (2027, 2029))]), unknown, "forged");
        let mut flipped = of(&leaf.serial, true, (2027, 2029));
        *flipped.last_mut().unwrap() ^= 1;
        assert_eq!(why(&[flipped]), unknown);
        // Soft fail: a bad word counts, a missing one does not.
        let soft = |responses: &[Vec<u8>]| check(&root, &leaf, Revocation::SoftFail, responses).is_ok();
        assert!(soft(&[of(&[99], true, (2027, 2029))]) && !soft(&[of(&leaf.serial, false, (2027, 2029))]));
    }

    #[test]
    fn a_list_that_is_forged_hides_no_true_one_behind_a_response_about_somebody_else() {
        let root = Authority::new("root");
        let leaf = root.issue(&Leaf { serial: 66, ..Leaf::default() }).certificate();
        let forged = Authority::new("root").revoke(&[], (2028, 2029));
        for revocation in [Revocation::SoftFail, Revocation::HardFail] {
            let mut trust = Trust::new(vec![root.certificate()], revocation).unwrap();
            trust.add_lists(&root.revoke(&[66], (2027, 2029))).unwrap();
            trust.add_lists(&forged).unwrap();
            trust.add_response(&response(&root.key(), &[], &root, &[99], true, (2027, 2029))).unwrap();
            let fault = trust.verify(&leaf, &[], NOW).unwrap_err();
            assert_eq!(fault.reason, IkeReason::RevocationUnknown);
        }
    }

    #[test]
    fn whoever_the_authority_has_named_for_it_may_sign() {
        let root = Authority::new("root");
        let leaf = root.issue(&Leaf::default()).certificate();
        let by = |purposes: Vec<ExtendedKeyUsagePurpose>, authority: &Authority| {
            let delegate = authority.issue(&Leaf { name: "ocsp", serial: 3, purposes, ..Leaf::default() });
            let made = response(&delegate.key(), &[&delegate.der], &root, &leaf.serial, true, (2027, 2029));
            check(&root, &leaf, Revocation::HardFail, &[made]).is_ok()
        };
        assert!(by(vec![ExtendedKeyUsagePurpose::OcspSigning], &root));
        assert!(!by(vec![ExtendedKeyUsagePurpose::ServerAuth], &root), "any certificate of the authority would do");
        assert!(!by(vec![], &root));
        assert!(!by(vec![ExtendedKeyUsagePurpose::OcspSigning], &Authority::new("root")));
    }

    #[test]
    fn any_bytes_are_read_or_refused() {
        let root = Authority::new("root");
        let made = response(&root.key(), &[], &root, &[7], true, (2027, 2029));
        assert!(Responses::default().add(&made).is_some());
        for at in 0..made.len() {
            assert!(Responses::default().add(&made[..at]).is_none());
            let mut other = made.clone();
            other[at] = !other[at];
            let _ = Responses::default().add(&other);
        }
    }
}
