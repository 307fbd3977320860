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
