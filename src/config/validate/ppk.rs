//! `ppk`: a postquantum preshared key beside what the peers prove themselves with (RFC 8784).

use std::sync::Arc;

use super::auth::Auth;
use crate::config::problem::Problems;
use crate::config::raw;
use crate::config::secrets::Sources;
use crate::config::strength::REFUSED_BELOW;
use crate::ike::config::Ppk;

/// RFC 8784 §5.1 sets no bound; a name is a word.
const MAX_ID: usize = 255;

/// Checks the key of one tunnel; `Some(None)` if there is none.
#[allow(clippy::option_option)] // none is wanted, or what is wanted is wrong
pub(super) fn check(
    raw: &raw::Tunnel,
    auth: Option<&Auth>,
    sources: Sources,
    problems: &mut Problems,
) -> Option<Option<Arc<Ppk>>> {
    let Some(table) = &raw.ppk else { return Some(None) };
    if auth.is_some_and(|auth| auth.local.is_eap() || auth.peer.is_eap()) {
        problems
            .error(&table.span(), "`ppk` and EAP exclude each other here", "this key")
            .mend("authenticate both sides by a key or a certificate, or take `ppk` out");
        return None;
    }
    let table = table.get_ref();
    // Required unless it says otherwise: a key that is silently left out protects nothing.
    let required = table.required.as_ref().is_none_or(|required| *required.get_ref());
    let id = table.id.as_ref()?;
    if id.get_ref().is_empty() || id.get_ref().len() > MAX_ID {
        problems
            .error(&id.span(), "`id` is no name for a key", "this name")
            .mend(format!("write the name that the peer has, 1 to {MAX_ID} bytes"));
        return None;
    }
    let secret = table.secret.as_ref()?;
    match sources.psk(secret.get_ref()) {
        Ok(key) if key.bits < REFUSED_BELOW => {
            // RFC 8784 §6: it takes 256 bits to be safe from a quantum computer; below this it is not safe from others.
            problems
                .error(
                    &secret.span(),
                    format!("the PPK is too weak: about {} bits where {REFUSED_BELOW} are asked for", key.bits),
                    "this secret",
                )
                .mend("`portcullis genpsk` makes a key of 256 bits; both sides must change it together");
            None
        }
        Ok(key) => {
            let id = id.get_ref().as_bytes().to_vec();
            Some(Some(Arc::new(Ppk { id, secret: key.key, required })))
        }
        Err(unusable) => {
            problems.error(&secret.span(), unusable.message, "this secret").mend(unusable.mend);
            None
        }
    }
}
