//! `auth`: what we prove ourselves with, and what the peer has to.

use super::{Resolve, choice};
use crate::config::problem::{Problems, Span};
use crate::config::raw::{self, At};
use crate::config::strength::{REFUSED_BELOW, WARNED_BELOW};
use crate::ike::config::{LocalAuth, PeerAuth, Secrets};

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

/// Checks how one tunnel is authenticated.
pub(super) fn check(raw: &raw::Tunnel, resolve: Resolve<'_>, problems: &mut Problems) -> Option<Auth> {
    let auth = raw.auth.as_ref()?.get_ref();
    if let Some(method) = &auth.method {
        choice("method", method, &[("psk", ())], problems)?;
    }
    let (secrets, bits) = secrets(auth, raw, resolve, problems)?;
    Some(Auth { local: LocalAuth::Psk(secrets.clone()), peer: PeerAuth::Psk(secrets), psk_bits: Some(bits) })
}

/// The pre-shared keys, the one that is to stay first, and the strength of the weakest.
fn secrets(
    auth: &raw::Auth,
    raw: &raw::Tunnel,
    resolve: Resolve<'_>,
    problems: &mut Problems,
) -> Option<(Secrets, u32)> {
    let list = auth.secret.as_ref()?;
    if list.get_ref().len() > MAX_SECRETS {
        problems
            .error(&list.span(), "`secret` names too many keys", "this list")
            .mend(format!("name the key that is to stay, and those that are to go: {MAX_SECRETS} at most"));
        return None;
    }
    let mut keys: Vec<(Span, crate::config::secrets::Psk)> = Vec::new();
    for reference in list.get_ref() {
        match resolve(reference.get_ref()) {
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
