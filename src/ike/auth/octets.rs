//! What one side signs (RFC 7296 §2.15), and what RFC 9242 §3.3.2 adds to it.

use crate::crypto::suite::PrfAlg;
use crate::secret::Secret;
use crate::wire::ike::payload::Id;

/// "InitiatorSignedOctets = RealMessage1 | NonceRData | MACedIDForI", and likewise for the responder.
#[derive(Clone, Copy)]
pub struct SignedOctets<'a> {
    /// The PRF of the IKE SA.
    pub prf: PrfAlg,
    /// That side's IKE_SA_INIT message, from the first byte of the header on, without a non-ESP marker.
    pub message: &'a [u8],
    /// The other side's nonce.
    pub nonce: &'a [u8],
    /// That side's SK_p.
    pub sk_p: &'a Secret,
    /// That side's identity.
    pub id: &'a Id,
    /// `IntAuth` of RFC 9242, which follows everything else; empty without IKE_INTERMEDIATE.
    pub int_auth: &'a [u8],
}

impl SignedOctets<'_> {
    /// "MACedIDForI = prf(SK_pi, RestOfInitIDPayload)".
    fn maced_id(&self) -> Secret {
        self.prf.prf(self.sk_p.expose(), &[&self.id.body()])
    }

    /// A code over them under `key`: what AUTH holds with a shared key.
    pub fn code(&self, key: &[u8]) -> Secret {
        self.prf.prf(key, &[self.message, self.nonce, self.maced_id().expose(), self.int_auth])
    }

    /// All of them in a row: what a signature is made over.
    pub fn joined(&self) -> Vec<u8> {
        [self.message, self.nonce, self.maced_id().expose(), self.int_auth].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::ike::numbers::IdType;

    #[test]
    fn the_octets_stand_in_the_order_of_the_rfc() {
        let (sk_p, id) = (Secret::copy_of(&[3; 32]), Id::new(IdType::FQDN, b"gw".to_vec()));
        let prf = PrfAlg::HmacSha256;
        let octets = SignedOctets { prf, message: b"message", nonce: b"nonce", sk_p: &sk_p, id: &id, int_auth: b"ia" };
        let maced = prf.prf(&[3; 32], &[&[2, 0, 0, 0], b"gw"]);
        let all = [&b"messagenonce"[..], maced.expose(), b"ia"].concat();
        assert_eq!(octets.joined(), all);
        assert_eq!(octets.code(b"key"), prf.prf(b"key", &[&all]));
    }
}
