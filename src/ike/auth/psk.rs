//! Shared key message integrity code (RFC 7296 §2.15): both sides show that they know the pre-shared key and have seen
//! the same IKE_SA_INIT.

use subtle::ConstantTimeEq;

use super::method::Secrets;
use super::octets::SignedOctets;
use crate::event::IkeReason;
use crate::secret::Secret;
use crate::wire::ike::numbers::AuthMethod;
use crate::wire::ike::payload::Auth;

/// RFC 7296 §2.15: the pad is 17 ASCII characters without a terminating null.
const KEY_PAD: &[u8] = b"Key Pad for IKEv2";

/// RFC 7296 §2.15: "AUTH = prf( prf(Shared Secret, "Key Pad for IKEv2"), <InitiatorSignedOctets>)".
fn mic(secret: &Secret, signed: SignedOctets<'_>) -> Secret {
    let key = signed.prf.prf(secret.expose(), &[KEY_PAD]);
    signed.code(key.expose())
}

/// Our proof with one key: a pre-shared one, or one that an EAP method has made (§2.16).
pub fn sign(secret: &Secret, signed: SignedOctets<'_>) -> Auth {
    Auth { method: AuthMethod::SHARED_KEY, data: mic(secret, signed).expose().to_vec() }
}

/// Which of the keys the peer's proof was made with.
pub fn check(secrets: &Secrets, signed: SignedOctets<'_>, auth: &Auth) -> Result<usize, IkeReason> {
    // Every key is tried, so that how long it takes does not tell which one it was.
    let mut found = None;
    for (place, secret) in secrets.iter() {
        if is_right(secret, signed, auth) && found.is_none() {
            found = Some(place);
        }
    }
    found.ok_or(IkeReason::AuthenticationFailed)
}

/// Whether a proof was made with `secret`.
pub fn is_right(secret: &Secret, signed: SignedOctets<'_>, auth: &Auth) -> bool {
    let right: bool = mic(secret, signed).expose().ct_eq(&auth.data).into();
    right && auth.method == AuthMethod::SHARED_KEY
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::suite::PrfAlg;
    use crate::ike::auth::{Circumstances, LocalAuth, PeerAuth, PeerAuthenticated, PeerSays, Shown, prove};
    use crate::wire::ike::numbers::IdType;
    use crate::wire::ike::payload::Id;

    const PRF: PrfAlg = PrfAlg::HmacSha256;

    fn id(name: &str) -> Id {
        Id::new(IdType::FQDN, name.as_bytes().to_vec())
    }

    fn keys(keys: &[&[u8]]) -> Secrets {
        Secrets::new(keys.iter().map(|key| Secret::copy_of(key)).collect()).unwrap()
    }

    fn check(
        auth: &Auth,
        keys: &Secrets,
        signed: SignedOctets<'_>,
        expected: &Id,
    ) -> Result<PeerAuthenticated, IkeReason> {
        let peer = PeerAuth::Psk(keys.clone());
        super::super::check(&peer, expected, signed, Shown { auth, certificates: &[], unix_now: 0 })
            .map_err(|failure| failure.reason)
    }

    #[test]
    fn every_flipped_bit_shortened_proof_and_other_identity_is_refused() {
        let (psk, sk_p, us) = (keys(&[b"secret"]), Secret::copy_of(&[3; 32]), id("gw.example"));
        let signed =
            SignedOctets { prf: PRF, message: b"message", nonce: b"nonce", sk_p: &sk_p, id: &us, int_auth: &[] };
        let auth = sign(psk.first(), signed);
        assert_eq!(check(&auth, &psk, signed, &us).unwrap().id(), &us);

        let failed = IkeReason::AuthenticationFailed;
        for index in 0..auth.data.len() * 8 {
            let mut forged = auth.clone();
            forged.data[index / 8] ^= 1 << (index % 8);
            assert_eq!(check(&forged, &psk, signed, &us).unwrap_err(), failed);
        }
        for len in 0..auth.data.len() {
            let short = Auth { data: auth.data[..len].to_vec(), ..auth.clone() };
            assert_eq!(check(&short, &psk, signed, &us).unwrap_err(), failed);
        }
        for method in [AuthMethod::RSA, AuthMethod::NULL, AuthMethod::DIGITAL_SIGNATURE] {
            assert_eq!(check(&Auth { method, ..auth.clone() }, &psk, signed, &us).unwrap_err(), failed);
        }
        assert_eq!(check(&auth, &keys(&[b"Secret"]), signed, &us).unwrap_err(), failed);
        assert_eq!(check(&auth, &psk, SignedOctets { nonce: b"other", ..signed }, &us).unwrap_err(), failed);
        assert_eq!(check(&auth, &psk, SignedOctets { int_auth: b"more", ..signed }, &us).unwrap_err(), failed);
        assert_eq!(check(&auth, &psk, signed, &id("GW.example")).unwrap_err(), IkeReason::WrongIdentity);
        let other = id("gw.other");
        assert_eq!(check(&auth, &psk, SignedOctets { id: &other, ..signed }, &us).unwrap_err(), failed);
    }

    #[test]
    fn either_key_is_accepted_and_each_turn_signs_with_the_next() {
        let (psk, sk_p, us) = (keys(&[b"new", b"old"]), Secret::copy_of(&[3; 32]), id("gw.example"));
        let signed =
            SignedOctets { prf: PRF, message: b"message", nonce: b"nonce", sk_p: &sk_p, id: &us, int_auth: &[] };
        let local = LocalAuth::Psk(psk.clone());
        for (turn, key) in [(0, &b"new"[..]), (1, b"old"), (2, b"new")] {
            let proof = prove(&local, signed, Circumstances { turn, says: &PeerSays::default() });
            let proof = proof.unwrap().unwrap();
            assert_eq!(proof.auth, sign(&Secret::copy_of(key), signed));
            let peer = check(&proof.auth, &psk, signed, &us).unwrap();
            assert_eq!(peer.means(), proof.means);
            assert_eq!(check(&proof.auth, &keys(&[key]), signed, &us).unwrap().means().to_string(), "psk");
        }
        assert!(check(&sign(&Secret::copy_of(b"third"), signed), &psk, signed, &us).is_err());
    }
}
