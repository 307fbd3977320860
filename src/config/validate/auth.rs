//! `auth` and `peer_auth`: what we prove ourselves with, and what the peer has to.

use super::{certificate, choice, eap};
use crate::config::problem::{Problems, Span};
use crate::config::raw::{self, At};
use crate::config::secrets::Sources;
use crate::config::strength::{REFUSED_BELOW, WARNED_BELOW};
use crate::ike::config::{LocalAuth, PeerAuth, Secrets};
use crate::wire::ike::payload::Id;

/// A rotation needs two pre-shared keys; a slow one over several sites perhaps another.
const MAX_SECRETS: usize = 4;

/// What holds.
#[derive(Debug)]
pub(in crate::config) struct Auth {
    pub(in crate::config) local: LocalAuth,
    pub(in crate::config) peer: PeerAuth,
    /// Estimated strength of the weakest pre-shared key.
    pub(in crate::config) psk_bits: Option<u32>,
}

/// The words for a method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Method {
    Psk,
    Certificate,
    EapMschapV2,
    EapTls,
}

const METHODS: &[(&str, Method)] = &[
    ("psk", Method::Psk),
    ("certificate", Method::Certificate),
    ("eap-mschapv2", Method::EapMschapV2),
    ("eap-tls", Method::EapTls),
];

impl Method {
    fn is_eap(self) -> bool {
        matches!(self, Self::EapMschapV2 | Self::EapTls)
    }

    /// The keys that go with it in `auth`, or in `peer_auth`.
    fn keys(self, peers: bool) -> &'static [&'static str] {
        match (self, peers) {
            (Self::Psk, _) => &["secret"],
            (Self::Certificate, false) => &["certificate", "key"],
            (Self::Certificate, true) => &["ca", "revocation", "crl", "ocsp"],
            (Self::EapMschapV2, false) => &["user", "password", "allow_weak"],
            (Self::EapMschapV2, true) => &["users", "allow_weak", "ask_identity"],
            (Self::EapTls, false) => &["user", "certificate", "key", "ca", "crl", "name"],
            (Self::EapTls, true) => &["certificate", "key", "ca", "crl", "name", "ask_identity"],
        }
    }
}

/// Checks how one tunnel is authenticated.
pub(super) fn check(
    raw: &raw::Tunnel,
    ids: [Option<&Id>; 2],
    sources: Sources,
    problems: &mut Problems,
) -> Option<Auth> {
    let auth = raw.auth.as_ref()?;
    let method = method_of(auth, false, problems);
    let peers = raw.peer_auth.as_ref().map(|peer| (peer, method_of(peer, true, problems)));
    let method = method?;
    let (peer, peer_method) = match peers {
        Some((peer, of_peer)) => (peer, of_peer?),
        None if method.is_eap() => {
            problems
                .error(&auth.span(), "with EAP the peer proves itself by other means", "EAP proves who we are alone")
                .mend("add peer_auth = { method = \"psk\", secret = \"file:...\" }");
            return None;
        }
        None if method == Method::Certificate => {
            problems
                .error(&auth.span(), "it is not said whose certificates the peer may have", "this is our own proof")
                .mend("add peer_auth = { method = \"certificate\", ca = [\"file:...\"], crl = [\"file:...\"] }");
            return None;
        }
        None => (auth, method),
    };
    if method.is_eap() && peer_method.is_eap() {
        problems
            .error(&peer.span(), "both sides cannot prove themselves by EAP", "the peer would by this one")
            .also(&auth.span(), "and we by this one")
            .mend("RFC 7296 §2.16: only the side that opens does; the other one has a key or a certificate");
        return None;
    }
    if method.is_eap() || peer_method.is_eap() {
        let (own, span) = if method.is_eap() { (peer_method, peer.span()) } else { (method, auth.span()) };
        if own == Method::Psk {
            problems
                .warning(&span, "beside EAP the side that is called proves itself by a pre-shared key", "this key")
                .mend(
                    "RFC 7296 §2.16 asks for a certificate there: whoever calls gets something to try keys against, so \
                     it takes a key of 256 bits",
                );
        }
    }
    let ours = match method {
        Method::Psk => psk(auth, raw, sources, problems).map(|(secrets, bits)| (LocalAuth::Psk(secrets), Some(bits))),
        Method::Certificate => certificate::local(auth, ids[0], sources, problems).map(|of| (of, None)),
        Method::EapMschapV2 => eap::user(auth, sources, problems).map(|of| (LocalAuth::Eap(of), None)),
        Method::EapTls => eap::client(auth, ids, sources, problems).map(|of| (LocalAuth::Eap(of), None)),
    };
    let theirs = match (peer_method, &ours) {
        (Method::Psk, Some((LocalAuth::Psk(secrets), bits))) if raw.peer_auth.is_none() => {
            Some((PeerAuth::Psk(secrets.clone()), *bits))
        }
        (Method::Psk, None) if raw.peer_auth.is_none() => None,
        (Method::Psk, _) => {
            psk(peer, raw, sources, problems).map(|(secrets, bits)| (PeerAuth::Psk(secrets), Some(bits)))
        }
        (Method::Certificate, _) => certificate::peer(peer, ids[1], sources, problems).map(|of| (of, None)),
        (Method::EapMschapV2, _) => eap::users(peer, sources, problems).map(|of| (PeerAuth::Eap(of), None)),
        (Method::EapTls, _) => eap::server(peer, ids, sources, problems).map(|of| (PeerAuth::Eap(of), None)),
    };
    let ((local, ours), (peer, theirs)) = (ours?, theirs?);
    Some(Auth { local, peer, psk_bits: ours.into_iter().chain(theirs).min() })
}

/// The method of one side; every key that does not go with it is complained of.
fn method_of(auth: &At<raw::Auth>, peers: bool, problems: &mut Problems) -> Option<Method> {
    let word = auth.get_ref().method.as_ref()?;
    let method = choice("method", word, METHODS, problems)?;
    let fitting = method.keys(peers);
    let mut fits = true;
    for (key, span) in auth.get_ref().keys().filter(|(key, _)| !fitting.contains(key)) {
        fits = false;
        let side = if peers { "in `peer_auth` " } else { "" };
        problems
            .error(&span, format!("`{key}` means nothing {side}with the method \"{}\"", word.get_ref()), "this value")
            .mend(format!("the keys of this method are {}", fitting.join(", ")));
    }
    fits.then_some(method)
}

/// A key that the method needs.
pub(super) fn needed<'a, T>(
    auth: &At<raw::Auth>,
    key: &str,
    value: Option<&'a T>,
    what: &str,
    problems: &mut Problems,
) -> Option<&'a T> {
    if value.is_none() {
        problems
            .error(&auth.span(), format!("this method needs `{key}`"), format!("`{key}` is missing here"))
            .mend(format!("add `{key}`: {what}"));
    }
    value
}

/// The pre-shared keys, the one that is to stay first, and the strength of the weakest.
fn psk(auth: &At<raw::Auth>, raw: &raw::Tunnel, sources: Sources, problems: &mut Problems) -> Option<(Secrets, u32)> {
    let what = "\"file:/path\", \"credential:name\", \"hex:..\" or \"base64:..\"";
    let list = needed(auth, "secret", auth.get_ref().secret.as_ref(), what, problems)?;
    if list.get_ref().len() > MAX_SECRETS {
        problems
            .error(&list.span(), "`secret` names too many keys", "this list")
            .mend(format!("name the key that is to stay, and those that are to go: {MAX_SECRETS} at most"));
        return None;
    }
    let mut keys: Vec<(Span, crate::config::secrets::Psk)> = Vec::new();
    for reference in list.get_ref() {
        match sources.psk(reference.get_ref()) {
            Ok(psk) => {
                judge_strength(psk.bits, &reference.span(), raw.weak_psk.as_ref(), problems);
                keys.push((reference.span(), psk));
            }
            Err(unusable) => {
                problems.error(&reference.span(), unusable.message, "this secret").mend(unusable.mend);
            }
        }
    }
    if let [first, others @ ..] = keys.as_slice()
        && let Some((span, _)) = others.iter().find(|(_, psk)| psk.key == first.1.key && psk.followed)
    {
        problems
            .error(span, "`secret` names the same key twice", "this one")
            .also(&first.0, "is that one")
            .mend("keep one of them: the rotation is finished");
        return None;
    }
    let weakest = keys.iter().map(|(_, psk)| psk.bits).min()?;
    let whole = keys.len() == list.get_ref().len();
    Some((Secrets::new(keys.into_iter().map(|(_, psk)| psk.key).collect())?, weakest)).filter(|_| whole)
}

fn judge_strength(bits: u32, secret: &Span, weak_psk: Option<&At<String>>, problems: &mut Problems) {
    let mend = "`portcullis genpsk` makes a key of 256 bits; both sides must change it together";
    match weak_psk {
        Some(reason) if bits < REFUSED_BELOW => problems
            .warning(secret, format!("the pre-shared key is weak: about {bits} bits"), "this secret")
            .also(&reason.span(), "is used for this reason")
            .mend(mend),
        Some(reason) => problems
            .warning(
                &reason.span(),
                format!("`weak_psk` is not needed: the key has about {bits} bits"),
                "may be taken out",
            )
            .mend(format!("it is for keys below {REFUSED_BELOW} bits")),
        None if bits < REFUSED_BELOW => problems
            .error(
                secret,
                format!("the pre-shared key is too weak: about {bits} bits where {REFUSED_BELOW} are asked for"),
                "this secret",
            )
            .mend(format!("{mend}; if the peer will not change it, add `weak_psk = \"the reason\"` to the tunnel")),
        None if bits < WARNED_BELOW => problems
            .warning(
                secret,
                format!("the pre-shared key has about {bits} bits, fewer than the {WARNED_BELOW} of the ciphers"),
                "this secret",
            )
            .mend(mend),
        None => {}
    }
}
