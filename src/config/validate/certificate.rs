//! `auth` and `peer_auth` with certificates: the files, and whether they belong together.

use std::sync::Arc;

use zeroize::Zeroizing;

use super::auth::needed;
use super::choice;
use crate::config::identity;
use crate::config::problem::Problems;
use crate::config::raw::{self, At};
use crate::config::secrets::Sources;
use crate::crypto::certificate::{Certificate, Revocation, Trust};
use crate::crypto::signature::SigningKey;
use crate::ike::config::{Credential, LocalAuth, PeerAuth};
use crate::wire::ike::numbers::IdType;
use crate::wire::ike::payload::Id;

/// No file of certificates or keys is longer.
const MAX_PEM: usize = 1 << 20;
/// A revocation list of a large authority.
const MAX_LIST: usize = 16 << 20;
/// What stands for a file in error messages.
const PEM: &str = "\"file:/path\" of a PEM file";

/// `auth = { method = "certificate", certificate = .., key = .. }`.
pub(super) fn local(
    auth: &At<raw::Auth>,
    local_id: Option<&Id>,
    sources: Sources,
    problems: &mut Problems,
) -> Option<LocalAuth> {
    let raw = auth.get_ref();
    let file = needed(auth, "certificate", raw.certificate.as_ref(), PEM, problems);
    let key_file = needed(auth, "key", raw.key.as_ref(), PEM, problems);
    let (file, key_file) = (file?, key_file?);
    let chain = read(file, MAX_PEM, false, sources, problems);
    let key = read(key_file, MAX_PEM, true, sources, problems);
    let (Some(chain), Some(key)) = (chain?, key?) else {
        return Some(LocalAuth::Certificate(Arc::new(Credential::unread())));
    };
    let chain = certificates(file, &chain, problems);
    let key = SigningKey::from_pem(&key).map_err(|message| {
        problems
            .error(&key_file.span(), message, "this file")
            .mend("name a PEM file with the private key alone, not encrypted: its mode (600) protects it");
    });
    let credential = Credential::new(chain?, key.ok()?).map_err(|message| {
        problems
            .error(&file.span(), message, "this certificate")
            .also(&key_file.span(), "and this key")
            .mend("our own certificate stands first in its file, then those between it and the authority");
    });
    let credential = credential.ok()?;
    let id = local_id?;
    if !credential.carries(id) {
        let names = credential.own().map(names).unwrap_or_default();
        problems
            .error(
                &file.span(),
                format!("we say that we are {}, which our certificate does not carry", identity::text(id)),
                "this certificate",
            )
            .mend(format!("set `local_id` to what it carries: {names}"));
        return None;
    }
    Some(LocalAuth::Certificate(Arc::new(credential)))
}

/// `peer_auth = { method = "certificate", ca = [..], .. }`.
pub(super) fn peer(
    auth: &At<raw::Auth>,
    peer_id: Option<&Id>,
    sources: Sources,
    problems: &mut Problems,
) -> Option<PeerAuth> {
    let raw = auth.get_ref();
    let ca = needed(auth, "ca", raw.ca.as_ref(), "the authorities whose certificates the peer may have", problems);
    let revocation = match &raw.revocation {
        Some(word) => {
            let words =
                [("hard-fail", Revocation::HardFail), ("soft-fail", Revocation::SoftFail), ("off", Revocation::Off)];
            choice("revocation", word, &words, problems)
        }
        None => Some(Revocation::default()),
    };
    let (ca, revocation) = (ca?, revocation?);
    if revocation == Revocation::HardFail && raw.crl.is_none() && raw.ocsp.is_none() {
        problems
            .error(&auth.span(), "every peer would be refused: no revocation list is named", "`crl` is missing here")
            .mend(
                "add crl = [\"file:/path\"] with the authority's list, or revocation = \"soft-fail\" or \"off\": nothing is \
                 fetched",
            );
        return None;
    }
    if let Some(id) = peer_id
        && ![IdType::IPV4_ADDR, IdType::IPV6_ADDR, IdType::FQDN, IdType::RFC822_ADDR, IdType::DER_ASN1_DN]
            .contains(&id.kind)
    {
        problems
            .error(&auth.span(), "no certificate carries an identity such as this `peer_id`", "this method")
            .mend("let the peer say who it is by an address, a host name, user@host, or dn:.. with its subject in DER");
        return None;
    }
    let mut anchors = Vec::new();
    let mut unread = false;
    for file in ca.get_ref() {
        match read(file, MAX_PEM, false, sources, problems)? {
            Some(content) => anchors.extend(certificates(file, &content, problems)?),
            None => unread = true,
        }
    }
    if unread {
        return Some(PeerAuth::Certificate(Arc::new(Trust::unread(revocation))));
    }
    let trust = Trust::new(anchors, revocation).map_err(|message| {
        problems.error(&ca.span(), message, "these files").mend("name the certificates of authorities");
    });
    let mut trust = trust.ok()?;
    let mut holds = true;
    for (files, add) in
        [(&raw.crl, Trust::add_lists as fn(&mut Trust, &[u8]) -> Result<(), String>), (&raw.ocsp, Trust::add_response)]
    {
        for file in files.iter().flat_map(toml::Spanned::get_ref) {
            let Some(content) = read(file, MAX_LIST, false, sources, problems)? else { continue };
            if let Err(message) = add(&mut trust, &content) {
                problems.error(&file.span(), message, "this file").mend("name the file as the authority gave it out");
                holds = false;
            }
        }
    }
    holds.then(|| PeerAuth::Certificate(Arc::new(trust)))
}

/// What a certificate is about, for people.
fn names(certificate: &Certificate) -> String {
    let addresses = certificate.addresses.iter().map(ToString::to_string);
    let mut names: Vec<String> = certificate.hosts.iter().chain(&certificate.mail).cloned().chain(addresses).collect();
    names.push(format!("dn:{}", hex::encode(&certificate.subject)));
    names.truncate(8);
    names.join(", ")
}

fn certificates(file: &At<String>, content: &[u8], problems: &mut Problems) -> Option<Vec<Certificate>> {
    match Certificate::from_pem(content) {
        Ok(certificates) => Some(certificates),
        Err(flaw) => {
            problems
                .error(&file.span(), flaw.to_string(), "this file")
                .mend("a PEM file of certificates has lines such as -----BEGIN CERTIFICATE-----");
            None
        }
    }
}

#[allow(clippy::option_option)] // refused, not read, read
fn read(
    reference: &At<String>,
    limit: usize,
    secret: bool,
    sources: Sources,
    problems: &mut Problems,
) -> Option<Option<Zeroizing<Vec<u8>>>> {
    match sources.file(reference.get_ref(), limit, secret) {
        Ok(content) => Some(content),
        Err(unusable) => {
            problems.error(&reference.span(), unusable.message, "this file").mend(unusable.mend);
            None
        }
    }
}
