//! Certificates, revocation lists and OCSP responses of strangers: whatever they are, nothing that nobody has signed is
//! believed, and what has been revoked stays so.
//!
//! `fixtures/` holds a small authority: its certificate, one that is good, one that was revoked, its list, and an OCSP
//! response about each. Its key is gone.

use std::sync::OnceLock;

use portcullis::crypto::certificate::{Certificate, Revocation, Trust};

const CA: &[u8] = include_bytes!("../fixtures/ca.der");
pub(super) const GOOD: &[u8] = include_bytes!("../fixtures/good.der");
pub(super) const BAD: &[u8] = include_bytes!("../fixtures/bad.der");
pub(super) const LIST: &[u8] = include_bytes!("../fixtures/crl.der");
pub(super) const OCSP_GOOD: &[u8] = include_bytes!("../fixtures/ocsp_good.der");
pub(super) const OCSP_BAD: &[u8] = include_bytes!("../fixtures/ocsp_bad.der");
/// 2030: everything in `fixtures/` is valid.
const NOW: u64 = 1_893_456_000;
/// Longest text that is made of a name.
const MAX_SHOWN: usize = 512;

/// What the first byte makes of the rest.
pub(super) const ALONE: u8 = 0;
pub(super) const CHAIN: u8 = 1;
pub(super) const REVOCATION_LIST: u8 = 2;
pub(super) const RESPONSE: u8 = 3;
pub(super) const PEM: u8 = 4;

/// A kind, and what is read as that: certificates one after the other (a length in two bytes before each), a list or a
/// response, as they are; or GOOD, BAD, the list or a response with the changes that the bytes say.
pub fn anything(data: &[u8]) {
    let Some((&kind, bytes)) = data.split_first() else { return };
    let change = |original: &[u8]| if kind & 8 == 0 { bytes.to_vec() } else { changed(original, bytes) };
    match kind & 7 {
        ALONE => alone(&change(if kind & 16 == 0 { GOOD } else { CA })),
        CHAIN => chain(bytes),
        REVOCATION_LIST => revoked_stays_revoked(|trust| trust.add_lists(&change(LIST))),
        RESPONSE => revoked_stays_revoked(|trust| {
            trust.add_response(&change(if kind & 16 == 0 { OCSP_BAD } else { OCSP_GOOD }))
        }),
        _ => {
            for certificate in Certificate::from_pem(bytes).unwrap_or_default() {
                sound(&certificate);
            }
        }
    }
}

fn authority() -> &'static Certificate {
    static AUTHORITY: OnceLock<Certificate> = OnceLock::new();
    AUTHORITY.get_or_init(|| Certificate::from_der(CA).expect("the authority's certificate"))
}

fn trust(revocation: Revocation) -> Trust {
    Trust::new(vec![authority().clone()], revocation).expect("the authority is one")
}

/// A certificate that the authority has not signed is not believed, by itself or beside a true one.
fn alone(der: &[u8]) {
    let Ok(certificate) = Certificate::from_der(der) else { return };
    sound(&certificate);
    assert_eq!(certificate.der(), der);
    let believed = trust(Revocation::Off).verify(&certificate, &[], NOW).is_ok();
    let signed = [CA, GOOD, BAD].contains(&der);
    assert!(!believed || signed, "a certificate that nobody has signed");
    let good = Certificate::from_der(GOOD).expect("the good one");
    assert!(
        trust(Revocation::Off).verify(&good, std::slice::from_ref(&certificate), NOW).is_ok(),
        "a stranger beside it spoils it"
    );
    let (anchored, kind) = (Trust::new(vec![certificate.clone()], Revocation::Off), certificate.is_authority);
    assert!(anchored.is_err() || kind, "an authority that is none");
}

/// Certificates as a peer sends them: its own first.
fn chain(mut bytes: &[u8]) {
    let mut all = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk() {
        let (der, rest) = rest.split_at(usize::from(u16::from_be_bytes(*length)).min(rest.len()));
        all.extend(Certificate::from_der(der));
        bytes = rest;
        if all.len() > portcullis::crypto::certificate::MAX_CHAIN {
            break;
        }
    }
    let Some((leaf, between)) = all.split_first() else { return };
    for revocation in [Revocation::Off, Revocation::SoftFail, Revocation::HardFail] {
        let believed = trust(revocation).verify(leaf, between, NOW);
        let signed = [CA, GOOD, BAD].contains(&leaf.der());
        assert!(believed.is_err() || signed, "a chain that nobody has signed");
        assert!(believed.is_err() || revocation != Revocation::HardFail, "no verdict is at hand");
    }
}

/// No list and no response makes a revoked certificate good where a verdict is asked for.
fn revoked_stays_revoked(add: impl Fn(&mut Trust) -> Result<(), String>) {
    static BOTH: OnceLock<[Certificate; 2]> = OnceLock::new();
    let [good, bad] =
        BOTH.get_or_init(|| [GOOD, BAD].map(|der| Certificate::from_der(der).expect("a certificate of the authority")));
    let mut hard = trust(Revocation::HardFail);
    if let Err(why) = add(&mut hard) {
        assert!(!why.is_empty() && why.len() < MAX_SHOWN);
        return;
    }
    assert!(hard.verdicts() > 0);
    assert!(hard.verify(bad, &[], NOW).is_err(), "a revoked certificate is believed");
    // Beside the true list nothing makes it good either, and nothing makes the good one bad.
    hard.add_lists(LIST).expect("the true list");
    assert!(hard.verify(bad, &[], NOW).is_err(), "a revoked certificate is believed");
    let _ = hard.verify(good, &[], NOW);
}

/// What is shown to people is bounded and has no control characters.
fn sound(certificate: &Certificate) {
    let names = certificate.hosts.iter().chain(&certificate.mail);
    for text in [&certificate.subject_text, &certificate.issuer_text].into_iter().chain(names) {
        assert!(!text.chars().any(char::is_control), "control characters in a name");
    }
    assert!(certificate.subject_text.len() <= MAX_SHOWN && certificate.issuer_text.len() <= MAX_SHOWN);
}

/// `edits` are (place in two bytes, what): a byte set, put in or taken out.
fn changed(original: &[u8], edits: &[u8]) -> Vec<u8> {
    let mut bytes = original.to_vec();
    for edit in edits.chunks_exact(3).take(16) {
        let place = usize::from(edit[0]) + usize::from(edit[1] & 0x3f) * 256;
        let place = place % bytes.len().max(1);
        match edit[1] >> 6 {
            2 => bytes.insert(place, edit[2]),
            3 if !bytes.is_empty() => drop(bytes.remove(place)),
            _ => {
                if let Some(byte) = bytes.get_mut(place) {
                    *byte = edit[2];
                }
            }
        }
    }
    bytes
}
