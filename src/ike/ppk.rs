//! Postquantum preshared keys (RFC 8784): a secret that both sides have is mixed into the keys that everything else comes from,
//! so that who breaks the key exchange one day still reads nothing.
//!
//! ```text
//! Initiator                                              Responder
//! HDR, SAi1, KEi, Ni, N(USE_PPK)                    -->
//!                                                   <--  HDR, SAr1, KEr, Nr, N(USE_PPK)
//! HDR, SK {IDi, AUTH, .., N(PPK_IDENTITY)(id)
//!          [, N(NO_PPK_AUTH)]}                      -->
//!                                                   <--  HDR, SK {IDr, AUTH, .. [, N(PPK_IDENTITY)]}
//! ```
//! What protects the messages of this IKE SA itself (SK_e, SK_a) is made without it; a rekeyed one, and every child SA, has it in
//! all of its keys. Left out: PPKs with EAP, PPK_ID_OPAQUE, and RFC 9867.

use super::error::Refusal;
use super::keymat::IkeKeys;
use super::payloads::Sorted;
use super::state::Handshake;
use crate::crypto::suite::PrfAlg;
use crate::event::IkeReason;
use crate::secret::Secret;
use crate::wire::ike::numbers::NotifyType;
use crate::wire::ike::payload::{Notify, Payload};

/// A postquantum preshared key as configured.
#[derive(Debug, PartialEq, Eq)]
pub struct Ppk {
    /// The name by which both sides know it.
    pub id: Vec<u8>,
    /// The key.
    pub secret: Secret,
    /// Whether there is no IKE SA without it.
    pub required: bool,
}

/// RFC 8784 §5.1: PPK_ID_FIXED, a name that both sides have written down.
const FIXED: u8 = 2;

/// The keys that a PPK changes.
#[allow(clippy::struct_field_names)] // the RFC's names
pub struct Mixed {
    sk_d: Secret,
    sk_pi: Secret,
    sk_pr: Secret,
}

impl Mixed {
    /// RFC 8784 §3: "SK_d = prf+ (PPK, SK_d')", and likewise SK_pi and SK_pr; each is as long as it was.
    pub fn new(prf: PrfAlg, ppk: &Ppk, keys: &IkeKeys) -> Self {
        let mix = |key: &Secret| prf.prf_plus(ppk.secret.expose(), &[key.expose()], key.len());
        Self { sk_d: mix(&keys.sk_d), sk_pi: mix(&keys.sk_pi), sk_pr: mix(&keys.sk_pr) }
    }
}

impl Handshake {
    /// Changes places with the keys that a PPK gives.
    pub(in crate::ike) fn swap(&mut self, mixed: &mut Mixed) {
        std::mem::swap(&mut self.keys.sk_d, &mut mixed.sk_d);
        std::mem::swap(&mut self.keys.sk_pi, &mut mixed.sk_pi);
        std::mem::swap(&mut self.keys.sk_pr, &mut mixed.sk_pr);
    }

    /// The PPK is used.
    fn mix(&mut self, ppk: &Ppk) {
        let mut mixed = Mixed::new(self.suite.prf, ppk, &self.keys);
        self.swap(&mut mixed);
        self.uses_ppk = true;
    }
}

/// Which PPK the initiator has used.
pub fn identity(ppk: &Ppk) -> Payload {
    let data = [&[FIXED], ppk.id.as_slice()].concat();
    Payload::Notify(Notify::status(NotifyType::PPK_IDENTITY, data))
}

/// The responder has used it too.
pub fn used() -> Payload {
    Payload::Notify(Notify::status(NotifyType::PPK_IDENTITY, Vec::new()))
}

/// As initiator: the response says whether the PPK was used. `mixed` are the keys with it, if it was offered.
pub fn settle(
    handshake: &mut Handshake,
    ppk: Option<&Ppk>,
    mixed: Option<Mixed>,
    answer: &Sorted,
) -> Result<(), IkeReason> {
    match (mixed, answer.notify(NotifyType::PPK_IDENTITY)) {
        (Some(mut mixed), Some(_)) => {
            handshake.swap(&mut mixed);
            handshake.uses_ppk = true;
            Ok(())
        }
        // It was not offered, so it cannot have been used.
        (None, Some(_)) => Err(IkeReason::UnknownPpk),
        (_, None) if ppk.is_some_and(|ppk| ppk.required) => Err(IkeReason::PpkRequired),
        (_, None) => Ok(()),
    }
}

/// As responder: uses the PPK that the request names, or that proof of the request which was made without one.
pub fn choose(handshake: &mut Handshake, ppk: Option<&Ppk>, request: &mut Sorted) -> Result<(), Refusal> {
    let refused = |reason| Refusal::told(reason, Notify::error(NotifyType::AUTHENTICATION_FAILED));
    let required = ppk.is_some_and(|ppk| ppk.required);
    let named = request.notify(NotifyType::PPK_IDENTITY).filter(|_| handshake.offers_ppk);
    let Some(named) = named else {
        return if required { Err(refused(IkeReason::PpkRequired)) } else { Ok(()) };
    };
    let ours = ppk.filter(|ppk| named.data.split_first() == Some((&FIXED, ppk.id.as_slice())));
    if let Some(ppk) = ours {
        handshake.mix(ppk);
        return Ok(());
    }
    // RFC 8784 §3: if the responder does not have that PPK, a PPK is not mandatory for it, and there is a proof without
    // one, it goes on with that.
    let without = request.notify(NotifyType::NO_PPK_AUTH).map(|notify| notify.data.clone()).filter(|_| !required);
    match (without, &mut request.auth) {
        (Some(without), Some(auth)) => {
            auth.data = without;
            Ok(())
        }
        _ => Err(refused(IkeReason::UnknownPpk).with("the peer uses a PPK of another name")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::suite::{Additional, Cipher, Group, IkeSuite};
    use crate::ike::keymat::{Nonces, Spis, ike_keys};

    /// RFC 8784 §3, by hand: one block of prf+ each, under the PPK.
    #[test]
    fn three_keys_are_mixed_and_the_others_stay() {
        let prf = PrfAlg::HmacSha384;
        let suite = IkeSuite {
            cipher: Cipher::Aes256Gcm16,
            mac: None,
            prf,
            group: Group::Ecp384,
            additional: Additional::NONE,
        };
        let nonces = Nonces { initiator: &[1; 32], responder: &[2; 32] };
        let keys = ike_keys(suite, &Secret::copy_of(&[3; 48]), nonces, Spis { initiator: 1, responder: 2 });
        let ppk = Ppk { id: b"name".to_vec(), secret: Secret::copy_of(b"the key"), required: true };
        let mixed = Mixed::new(prf, &ppk, &keys);
        for (mixed, before) in [(&mixed.sk_d, &keys.sk_d), (&mixed.sk_pi, &keys.sk_pi), (&mixed.sk_pr, &keys.sk_pr)] {
            assert_eq!(*mixed, prf.prf(b"the key", &[before.expose(), &[1]]));
        }
    }
}
