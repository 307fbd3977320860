//! Certificates, revocation lists and OCSP responses of strangers: whatever they are, nothing that nobody has signed is
//! believed, and what has been revoked stays so.
//!
//! `fixtures/` holds a small authority: its certificate, one that is good, one that was revoked, its list, and an OCSP
//! response about each; and `fixtures/more` a second one with certificates that are wrong in one way each, and what is said of
//! them. The keys are gone.

use std::sync::OnceLock;

use portcullis::crypto::certificate::{Certificate, Revocation, Trust};

const CA: &[u8] = include_bytes!("../fixtures/ca.der");
pub(super) const GOOD: &[u8] = include_bytes!("../fixtures/good.der");
pub(super) const BAD: &[u8] = include_bytes!("../fixtures/bad.der");
pub(super) const LIST: &[u8] = include_bytes!("../fixtures/crl.der");
pub(super) const OCSP_GOOD: &[u8] = include_bytes!("../fixtures/ocsp_good.der");
pub(super) const OCSP_BAD: &[u8] = include_bytes!("../fixtures/ocsp_bad.der");
/// What the second authority has signed, and a third one, whose time is over.
macro_rules! more {
    ($($name:ident)*) => {
        pub(super) const MORE: &[(&str, &[u8])] =
            &[$((stringify!($name), include_bytes!(concat!("../fixtures/more/", stringify!($name), ".der")))),*];
    };
}
more! {
    second third below_third between below no_authority below_no_authority by_a_leaf last behind_last below_last constrained
    outside expired future for_tls for_ike to_encrypt rsa rsa_short p384 p521 ed25519 k1 by_sha1 names delegate pretender
    response response_sha256 response_revoked response_unknown response_between response_delegated response_pretended
    response_old response_later list_second list_between list_old
}
/// Of these the authorities say that they are revoked; these nobody may believe at all.
const REVOKED: &[&str] = &["names"];
const WRONG: &[&str] = &[
    "below_third",
    "below_no_authority",
    "by_a_leaf",
    "below_last",
    "outside",
    "expired",
    "future",
    "for_tls",
    "to_encrypt",
    "rsa_short",
    "k1",
    "by_sha1",
    "pretender",
];
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
pub(super) const VERDICTS: u8 = 5;

/// What a part of [`VERDICTS`] is.
pub(super) const LISTED: u8 = 1;
pub(super) const RESPONDED: u8 = 2;

/// A kind, and what is read as that: certificates one after the other (a length in two bytes before each; with the verdicts about
/// them, and then a byte that says which it is), a list or a response, as they are; or GOOD, BAD, the list or a response with the changes that the bytes say.
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
        VERDICTS => verdicts(bytes),
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

pub(super) fn more(name: &str) -> &'static [u8] {
    MORE.iter().find(|(of, _)| *of == name).expect("one of them").1
}

/// All three authorities.
fn trust_in_all(revocation: Revocation) -> Trust {
    static ALL: OnceLock<Vec<Certificate>> = OnceLock::new();
    let all = ALL.get_or_init(|| {
        let ders = [CA, more("second"), more("third")];
        ders.map(|der| Certificate::from_der(der).expect("an authority's certificate")).to_vec()
    });
    Trust::new(all.clone(), revocation).expect("they are authorities")
}

/// Whether an authority has signed this, and it may be believed.
fn signed(der: &[u8]) -> bool {
    let more = || MORE.iter().filter(|(name, _)| !WRONG.contains(name));
    [CA, GOOD, BAD].contains(&der) || more().any(|(_, of)| *of == der)
}

/// A certificate that the authority has not signed is not believed, by itself or beside a true one.
fn alone(der: &[u8]) {
    let certificate = match Certificate::from_der(der) {
        Ok(certificate) => certificate,
        Err(flaw) => {
            assert!(!flaw.to_string().is_empty() && !flaw.reason().sentence().is_empty());
            return;
        }
    };
    sound(&certificate);
    assert_eq!(certificate.der(), der);
    let believed = trust_in_all(Revocation::Off).verify(&certificate, &[], NOW);
    assert!(believed.is_err() || signed(der), "a certificate that nobody has signed");
    told(&believed);
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
        let believed = trust_in_all(revocation).verify(leaf, between, NOW);
        assert!(believed.is_err() || signed(leaf.der()), "a chain that nobody has signed");
        assert!(believed.is_err() || revocation != Revocation::HardFail, "no verdict is at hand");
        told(&believed);
    }
}

fn told(believed: &Result<portcullis::crypto::certificate::Verified, portcullis::crypto::certificate::Fault>) {
    if let Err(fault) = believed {
        assert!(!fault.text.is_empty() && !fault.text.chars().any(char::is_control), "{}", fault.text);
    }
}

/// Certificates, revocation lists and responses in any order, a byte before the length of each: what is revoked by a true word
/// is not believed, and what is not spoken of is not where a word is asked for.
fn verdicts(mut bytes: &[u8]) {
    let (mut all, mut lists, mut responses) = (Vec::new(), Vec::new(), Vec::new());
    while let Some(([kind, high, low], rest)) = bytes.split_first_chunk() {
        let (part, rest) = rest.split_at(usize::from(u16::from_be_bytes([*high, *low])).min(rest.len()));
        match *kind {
            LISTED => lists.push(part),
            RESPONDED => responses.push(part),
            _ => all.extend(Certificate::from_der(part)),
        }
        bytes = rest;
        if all.len() + lists.len() + responses.len() > 8 {
            break;
        }
    }
    let Some((leaf, between)) = all.split_first() else { return };
    for revocation in [Revocation::SoftFail, Revocation::HardFail] {
        let mut trust = trust_in_all(revocation);
        let listed = lists.iter().filter(|list| trust.add_lists(list).is_ok()).count();
        let said = listed + responses.iter().filter(|der| trust.add_response(der).is_ok()).count();
        assert!(trust.verdicts() >= said && trust.anchors().len() == 3 && trust.revocation() == revocation);
        let believed = trust.verify(leaf, between, NOW);
        assert!(believed.is_err() || signed(leaf.der()), "a chain that nobody has signed");
        let hard = revocation == Revocation::HardFail;
        assert!(believed.is_err() || !hard || trust.verdicts() > 0, "no verdict is at hand");
        let revoked = REVOKED.iter().any(|name| more(name) == leaf.der());
        let known = lists == [more("list_second")] || responses.contains(&more("response_revoked"));
        assert!(believed.is_err() || !revoked || !(hard || known), "a revoked certificate is believed");
        told(&believed);
        assert!(trust != trust_in_all(Revocation::Off));
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
