//! Seeds for certificates, revocation lists and OCSP responses: whole ones, chains, and with bytes changed.

use super::super::certificate;
use super::Seed;

pub(super) fn certificate() -> Vec<Seed> {
    let of = |kind: u8, parts: &[&[u8]]| [&[kind], parts.concat().as_slice()].concat();
    let long = |der: &'static [u8]| (der.len() as u16).to_be_bytes();
    let two = [&long(certificate::GOOD)[..], certificate::GOOD, &long(certificate::BAD), certificate::BAD].concat();
    let change = [0x40, 0, 0x55];
    let mut seeds = vec![
        ("good", of(certificate::ALONE, &[certificate::GOOD])),
        ("revoked", of(certificate::ALONE, &[certificate::BAD])),
        ("chain", of(certificate::CHAIN, &[&two])),
        ("list", of(certificate::REVOCATION_LIST, &[certificate::LIST])),
        ("response_good", of(certificate::RESPONSE, &[certificate::OCSP_GOOD])),
        ("response_revoked", of(certificate::RESPONSE, &[certificate::OCSP_BAD])),
        ("changed", of(certificate::ALONE | 0x08, &[&change])),
        ("changed_authority", of(certificate::ALONE | 0x18, &[&change])),
        ("changed_list", of(certificate::REVOCATION_LIST | 0x08, &[&change])),
        ("changed_response", of(certificate::RESPONSE | 0x08, &[&change])),
        ("pem", of(certificate::PEM, &[b"-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n"])),
        ("list_in_pem", of(certificate::REVOCATION_LIST, &[&in_pem("X509 CRL", certificate::LIST)])),
        (
            "pem_of_two",
            of(
                certificate::PEM,
                &[&in_pem("CERTIFICATE", certificate::GOOD), &in_pem("CERTIFICATE", certificate::BAD)],
            ),
        ),
        ("no_pem", of(certificate::PEM, &[b"swordfish"])),
        ("half_a_pem", of(certificate::PEM, &[b"-----BEGIN CERTIFICATE-----\nM\n-----END CERTIFICATE-----\n"])),
    ];
    seeds.extend(certificate_chains());
    seeds
}

/// What a second authority has signed, alone, in chains, and with what is said of it.
fn certificate_chains() -> Vec<Seed> {
    let part = |name: &str| {
        let der = certificate::more(name);
        [&(der.len() as u16).to_be_bytes()[..], der].concat()
    };
    let chain =
        |names: &[&str]| [vec![certificate::CHAIN], names.iter().flat_map(|name| part(name)).collect()].concat();
    let judged = |names: &[&str]| {
        let one = |name: &&str| {
            let kind = match () {
                () if name.starts_with("list") => certificate::LISTED,
                () if name.starts_with("response") => certificate::RESPONDED,
                () => 0,
            };
            [vec![kind], part(name)].concat()
        };
        [vec![certificate::VERDICTS], names.iter().flat_map(one).collect()].concat()
    };
    let mut seeds: Vec<Seed> = certificate::MORE
        .iter()
        .filter(|(name, _)| !name.starts_with("list") && !name.starts_with("response"))
        .map(|(name, der)| (*name, [&[certificate::ALONE], *der].concat()))
        .collect();
    seeds.extend([
        ("chain_below", chain(&["below", "between"])),
        ("chain_no_authority", chain(&["below_no_authority", "no_authority"])),
        ("chain_by_a_leaf", chain(&["by_a_leaf", "below", "between"])),
        ("chain_too_long", chain(&["below_last", "behind_last", "last"])),
        ("chain_outside", chain(&["outside", "constrained"])),
        ("chain_third", chain(&["below_third"])),
        ("chain_authority_as_end", chain(&["second"])),
        ("chain_many", chain(&["below"; 9])),
        ("listed", judged(&["for_ike", "list_second"])),
        ("listed_revoked", judged(&["names", "list_second"])),
        ("listed_below", judged(&["below", "between", "list_between", "list_second"])),
        ("listed_not_all", judged(&["below", "between", "list_between"])),
        ("listed_old", judged(&["for_ike", "list_old"])),
        ("listed_both", judged(&["for_ike", "list_old", "list_second"])),
        ("no_list", judged(&["for_ike", "list_second", "response_later"])),
        ("responded", judged(&["for_ike", "response"])),
        ("responded_sha256", judged(&["for_ike", "response_sha256"])),
        ("responded_revoked", judged(&["names", "response_revoked"])),
        ("responded_unknown", judged(&["rsa", "response_unknown"])),
        ("responded_below", judged(&["below", "between", "response_between"])),
        ("responded_delegated", judged(&["for_ike", "response_delegated"])),
        ("responded_pretended", judged(&["for_ike", "response_pretended"])),
        ("responded_old", judged(&["for_ike", "response_old"])),
        ("responded_and_listed", judged(&["for_ike", "response", "list_second"])),
        ("responded_expired", judged(&["expired", "response"])),
    ]);
    seeds
}

fn in_pem(kind: &str, der: &[u8]) -> Vec<u8> {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let four = |chunk: &[u8]| {
        let word = (0..3).fold(0_u32, |word, at| word << 8 | chunk.get(at).map_or(0, |byte| u32::from(*byte)));
        let digit =
            |at: usize| if at > chunk.len() { '=' } else { char::from(DIGITS[(word >> (18 - 6 * at)) as usize & 63]) };
        [0, 1, 2, 3].map(digit)
    };
    let text: String = der.chunks(3).flat_map(four).collect();
    format!("-----BEGIN {kind}-----\n{text}\n-----END {kind}-----\n").into_bytes()
}
