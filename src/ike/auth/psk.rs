//! Shared key message integrity code (RFC 7296 §2.15): both sides show that they know the pre-shared key and have seen
//! the same IKE_SA_INIT.

use subtle::ConstantTimeEq;

use super::PeerAuthenticated;
use crate::crypto::suite::PrfAlg;
use crate::event::IkeReason;
use crate::secret::Secret;
use crate::wire::ike::numbers::AuthMethod;
use crate::wire::ike::payload::{Auth, Id};

/// RFC 7296 §2.15: the pad is 17 ASCII characters without a terminating null.
const KEY_PAD: &[u8] = b"Key Pad for IKEv2";

/// What one side signs.
#[derive(Clone, Copy)]
pub struct SignedOctets<'a> {
    /// That side's IKE_SA_INIT message, from the first byte of the header on, without a non-ESP marker.
    pub message: &'a [u8],
    /// The other side's nonce.
    pub nonce: &'a [u8],
    /// That side's SK_p.
    pub sk_p: &'a Secret,
    /// That side's identity.
    pub id: &'a Id,
}

/// RFC 7296 §2.15: "AUTH = prf( prf(Shared Secret, "Key Pad for IKEv2"), <InitiatorSignedOctets>)".
fn mic(prf: PrfAlg, psk: &Secret, signed: SignedOctets<'_>) -> Secret {
    let key = prf.prf(psk.expose(), &[KEY_PAD]);
    // "InitiatorSignedOctets = RealMessage1 | NonceRData | MACedIDForI", "MACedIDForI = prf(SK_pi, RestOfInitIDPayload)".
    let maced_id = prf.prf(signed.sk_p.expose(), &[&signed.id.body()]);
    prf.prf(key.expose(), &[signed.message, signed.nonce, maced_id.expose()])
}

/// Our proof.
pub fn sign(prf: PrfAlg, psk: &Secret, signed: SignedOctets<'_>) -> Auth {
    Auth { method: AuthMethod::SHARED_KEY, data: mic(prf, psk, signed).expose().to_vec() }
}

/// Checks the peer's proof, and that it is the peer we expect. The proof comes first: who it is says nothing before.
pub fn verify(
    prf: PrfAlg,
    psk: &Secret,
    signed: SignedOctets<'_>,
    auth: &Auth,
    expected: &Id,
) -> Result<PeerAuthenticated, IkeReason> {
    if auth.method != AuthMethod::SHARED_KEY {
        return Err(IkeReason::AuthenticationFailed);
    }
    let right: bool = mic(prf, psk, signed).expose().ct_eq(&auth.data).into();
    if !right {
        return Err(IkeReason::AuthenticationFailed);
    }
    // RFC 7296 §3.5 leaves matching to policy; ours compares type and bytes exactly.
    if !signed.id.names(expected) {
        return Err(IkeReason::WrongIdentity);
    }
    Ok(PeerAuthenticated { id: signed.id.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::ike::numbers::IdType;

    const PRF: PrfAlg = PrfAlg::HmacSha256;

    fn id(name: &str) -> Id {
        Id::new(IdType::FQDN, name.as_bytes().to_vec())
    }

    #[test]
    fn every_flipped_bit_shortened_proof_and_other_identity_is_refused() {
        let (psk, sk_p, us) = (Secret::copy_of(b"secret"), Secret::copy_of(&[3; 32]), id("gw.example"));
        let signed = SignedOctets { message: b"message", nonce: b"nonce", sk_p: &sk_p, id: &us };
        let auth = sign(PRF, &psk, signed);
        let check = |auth: &Auth, psk: &Secret, signed, expected: &Id| verify(PRF, psk, signed, auth, expected);
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
        assert_eq!(check(&auth, &Secret::copy_of(b"Secret"), signed, &us).unwrap_err(), failed);
        assert_eq!(check(&auth, &psk, SignedOctets { nonce: b"other", ..signed }, &us).unwrap_err(), failed);
        assert_eq!(check(&auth, &psk, signed, &id("GW.example")).unwrap_err(), IkeReason::WrongIdentity);
        let other = id("gw.other");
        assert_eq!(check(&auth, &psk, SignedOctets { id: &other, ..signed }, &us).unwrap_err(), failed);
    }
}
