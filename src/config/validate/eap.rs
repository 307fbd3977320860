//! The methods of EAP in `auth` and `peer_auth`: users and passwords, certificates and the authorities behind them.

use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use toml::de::{DeTable, DeValue};
use zeroize::Zeroizing;

use super::auth::needed;
use crate::config::identity;
use crate::config::problem::{Problems, Span};
use crate::config::raw::{self, At};
use crate::config::secrets::Sources;
use crate::ike::eap::mschapv2::Users;
use crate::ike::eap::tls::{ClientIdentity, Refused, ServerIdentity};
use crate::ike::eap::{Authenticator, Credentials};
use crate::wire::ike::payload::Id;

/// No name and no password is longer (RFC 2759 §4).
const MAX_WORD: usize = 256;
/// Users of one file.
const MAX_USERS: usize = 10_000;
/// No file of users is longer than this.
const MAX_USERS_FILE: usize = 1 << 20;
/// No file of certificates or of a key is longer than this.
const MAX_PEM: usize = 256 << 10;
/// No revocation list is longer than this.
const MAX_LIST: usize = 16 << 20;

/// `auth = { method = "eap-mschapv2", .. }`.
pub(super) fn user(auth: &At<raw::Auth>, sources: Sources, problems: &mut Problems) -> Option<Credentials> {
    let raw = auth.get_ref();
    let weak = allowed(auth, problems);
    let user = needed(auth, "user", raw.user.as_ref(), "the name that the peer knows us by", problems);
    let password = needed(auth, "password", raw.password.as_ref(), "\"file:/path\" or \"credential:name\"", problems);
    let (user, password) = (user?, password?);
    if user.get_ref().len() > MAX_WORD {
        problems.error(&user.span(), "`user` is too long", "this name").mend(format!("{MAX_WORD} bytes at most"));
        return None;
    }
    let secret = match sources.psk(password.get_ref()) {
        Ok(secret) => secret.key,
        Err(unusable) => {
            problems.error(&password.span(), unusable.message, "this password").mend(unusable.mend);
            return None;
        }
    };
    if !std::str::from_utf8(secret.expose()).is_ok_and(is_password) {
        problems
            .error(&password.span(), "this is no password for MSCHAPv2", "this password")
            .mend(format!("it is text in UTF-8 of at most {MAX_WORD} characters"));
        return None;
    }
    weak?;
    Some(Credentials::MschapV2 { user: user.get_ref().clone(), password: Arc::new(secret) })
}

fn asks_identity(auth: &At<raw::Auth>) -> bool {
    auth.get_ref().ask_identity.as_ref().is_some_and(|ask| *ask.get_ref())
}

fn is_password(text: &str) -> bool {
    !text.is_empty() && text.encode_utf16().count() <= MAX_WORD
}

/// MD4 and DES are not used without a reason.
fn allowed(auth: &At<raw::Auth>, problems: &mut Problems) -> Option<()> {
    if auth.get_ref().allow_weak.is_none() {
        problems.error(&auth.span(), "EAP-MSCHAPv2 stands on MD4 and DES, which are broken", "this method").mend(
            "use \"eap-tls\" or another method; if the peer has nothing else, add `allow_weak = \"the reason\"` here",
        );
    }
    auth.get_ref().allow_weak.as_ref().map(drop)
}

/// `peer_auth = { method = "eap-mschapv2", .. }`.
pub(super) fn users(auth: &At<raw::Auth>, sources: Sources, problems: &mut Problems) -> Option<Authenticator> {
    let weak = allowed(auth, problems);
    let users =
        needed(auth, "users", auth.get_ref().users.as_ref(), "\"file:/path\" of name = \"password\"", problems)?;
    let refuse = |message: String, mend: String, problems: &mut Problems| {
        problems.error(&users.span(), message, "this file").mend(mend);
        None
    };
    let users = match sources.file(users.get_ref(), MAX_USERS_FILE, true) {
        Ok(Some(content)) => match read_users(&content) {
            Ok(users) => users,
            Err(message) => return refuse(message, "write a line for each user: name = \"password\"".into(), problems),
        },
        Ok(None) => Users::default(),
        Err(unusable) => return refuse(unusable.message, unusable.mend, problems),
    };
    weak?;
    Some(Authenticator::MschapV2 { users: Arc::new(users), ask_identity: asks_identity(auth) })
}

/// The errors name lines, never what stands in them.
fn read_users(content: &[u8]) -> Result<Users, String> {
    let text = std::str::from_utf8(content).map_err(|_| "the file of users is not UTF-8 text".to_owned())?;
    let line = |span: Span| text.get(..span.start).map_or(0, |before| before.matches('\n').count()) + 1;
    let table = DeTable::parse(text)
        .map_err(|error| format!("line {} of the file of users is not TOML", error.span().map_or(1, line)))?;
    if table.get_ref().len() > MAX_USERS {
        return Err(format!("there are more than {MAX_USERS} users"));
    }
    let mut users = Users::default();
    for (name, password) in table.get_ref() {
        let DeValue::String(text) = password.get_ref() else {
            return Err(format!("line {} of the file of users holds no password in quotes", line(password.span())));
        };
        if !is_password(text) || name.get_ref().is_empty() || name.get_ref().len() > MAX_WORD {
            return Err(format!("line {} of the file of users holds no user or no password", line(name.span())));
        }
        users.add(name.get_ref(), text);
    }
    if users.is_empty() {
        return Err("there is no user in the file".to_owned());
    }
    Ok(users)
}

/// `auth = { method = "eap-tls", .. }`.
pub(super) fn client(
    auth: &At<raw::Auth>,
    [local_id, peer_id]: [Option<&Id>; 2],
    sources: Sources,
    problems: &mut Problems,
) -> Option<Credentials> {
    let user = match &auth.get_ref().user {
        Some(user) => user.get_ref().clone(),
        None => identity::text(local_id?),
    };
    let identity = match material(auth, peer_id, sources, problems)? {
        Some(Material { chain, key, authorities, lists, name }) => {
            let made = ClientIdentity::new(chain, key, authorities, &name).and_then(|made| made.with_lists(lists));
            held(auth, made, problems)?
        }
        None => ClientIdentity::unread(),
    };
    Some(Credentials::Tls { user, identity: Arc::new(identity) })
}

/// `peer_auth = { method = "eap-tls", .. }`.
pub(super) fn server(
    auth: &At<raw::Auth>,
    [_, peer_id]: [Option<&Id>; 2],
    sources: Sources,
    problems: &mut Problems,
) -> Option<Authenticator> {
    let identity = match material(auth, peer_id, sources, problems)? {
        Some(Material { chain, key, authorities, lists, name }) => {
            let made = ServerIdentity::new(chain, key, authorities, &name).and_then(|made| made.with_lists(lists));
            held(auth, made, problems)?
        }
        None => ServerIdentity::unread(),
    };
    Some(Authenticator::Tls { identity: Arc::new(identity), ask_identity: asks_identity(auth) })
}

fn held<T>(auth: &At<raw::Auth>, made: Result<T, Refused>, problems: &mut Problems) -> Option<T> {
    match made {
        Ok(made) => Some(made),
        Err(Refused(message)) => {
            problems
                .error(&auth.span(), message, "this method")
                .mend("check `certificate`, `key`, `ca`, `crl` and `name`; `name` is a host name or an address");
            None
        }
    }
}

struct Material {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    authorities: Vec<CertificateDer<'static>>,
    lists: Vec<CertificateRevocationListDer<'static>>,
    name: String,
}

/// What both sides of EAP-TLS need; `Some(None)` if references are not followed.
#[allow(clippy::option_option)] // refused, not read, read
fn material(
    auth: &At<raw::Auth>,
    peer_id: Option<&Id>,
    sources: Sources,
    problems: &mut Problems,
) -> Option<Option<Material>> {
    let raw = auth.get_ref();
    let pem = "\"file:/path\" of a PEM file";
    let chain = needed(auth, "certificate", raw.certificate.as_ref(), pem, problems);
    let key = needed(auth, "key", raw.key.as_ref(), pem, problems);
    let ca = needed(auth, "ca", raw.ca.as_ref(), "the authorities that the peer's certificate may come from", problems);
    let (chain, key, ca) = (chain?, key?, ca?);
    let name = match &raw.name {
        Some(name) => name.get_ref().clone(),
        None => identity::text(peer_id?),
    };
    let chain = read(chain, MAX_PEM, false, sources, problems).map(|content| content.and_then(|of| certificates(&of)));
    let key = read(key, MAX_PEM, true, sources, problems)
        .map(|content| content.and_then(|of| PrivateKeyDer::from_pem_slice(&of).ok()));
    let authorities: Option<Vec<_>> =
        ca.get_ref().iter().map(|of| read(of, MAX_PEM, false, sources, problems)).collect();
    let crl = raw.crl.iter().flat_map(toml::Spanned::get_ref);
    let lists: Option<Vec<_>> = crl.map(|of| read(of, MAX_LIST, false, sources, problems)).collect();
    let (chain, key, authorities, lists) = (chain?, key?, authorities?, lists?);
    if sources == Sources::Unread {
        return Some(None);
    }
    let authorities = authorities.iter().map(|of| certificates(of.as_ref()?)).collect::<Option<Vec<_>>>();
    let (Some(chain), Some(key), Some(authorities)) = (chain, key, authorities) else {
        problems
            .error(&auth.span(), "a file holds no certificate, or no key, in PEM", "one of these files")
            .mend("a PEM file has lines such as -----BEGIN CERTIFICATE-----");
        return None;
    };
    let lists = lists.iter().flatten().flat_map(|content| revocation_lists(content)).collect();
    Some(Some(Material { chain, key, authorities: authorities.concat(), lists, name }))
}

#[allow(clippy::option_option)] // refused, not read, read
fn read(
    reference: &At<String>,
    longest: usize,
    secret: bool,
    sources: Sources,
    problems: &mut Problems,
) -> Option<Option<Zeroizing<Vec<u8>>>> {
    match sources.file(reference.get_ref(), longest, secret) {
        Ok(content) => Some(content),
        Err(unusable) => {
            problems.error(&reference.span(), unusable.message, "this file").mend(unusable.mend);
            None
        }
    }
}

/// The certificates of a PEM file; `None` if there is none, or something that is not one.
fn certificates(content: &[u8]) -> Option<Vec<CertificateDer<'static>>> {
    let all: Vec<_> = CertificateDer::pem_slice_iter(content).collect::<Result<_, _>>().ok()?;
    Some(all).filter(|all: &Vec<CertificateDer<'static>>| !all.is_empty())
}

/// The revocation lists of a file, in PEM or DER.
fn revocation_lists(content: &[u8]) -> Vec<CertificateRevocationListDer<'static>> {
    let pem: Vec<_> = CertificateRevocationListDer::pem_slice_iter(content).filter_map(Result::ok).collect();
    if pem.is_empty() { vec![content.to_vec().into()] } else { pem }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_users_is_a_line_for_each() {
        let users = read_users(b"alice = \"one\"\n# who has left\n\"bob smith\" = 'two'\n").unwrap();
        assert_eq!(users.len(), 2);
    }

    #[test]
    fn what_is_wrong_with_a_file_of_users_is_told_without_its_words() {
        let long = format!("alice = \"{}\"", "x".repeat(MAX_WORD + 1));
        for (text, line) in [
            ("alice = swordfish", "line 1"),
            ("a = \"x\"\nalice = 5", "line 2"),
            ("a = \"x\"\n\na = \"swordfish\"", "line 3"),
            ("alice = \"\"", "line 1"),
            ("\"\" = \"swordfish\"", "line 1"),
            (&long, "line 1"),
            ("# swordfish", "no user"),
        ] {
            let refused = read_users(text.as_bytes()).unwrap_err();
            assert!(refused.contains(line) && !refused.contains("swordfish"), "{text}: {refused}");
        }
        assert!(read_users(b"\xff = 1").is_err());
    }
}
