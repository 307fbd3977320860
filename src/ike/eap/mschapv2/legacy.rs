//! The functions of MS-CHAPv2 (RFC 2759 §8) and its keys (RFC 3079 §3). MD4, DES and SHA-1 as they are used here are
//! broken as such; they stay in this file, and nothing else may use them.

use des::Des;
use des::cipher::{Array, BlockCipherEncrypt, KeyInit};
use md4::Md4;
use sha1::{Digest, Sha1};
use zeroize::Zeroizing;

use crate::ike::eap::{MSK_LEN, Msk};
use crate::secret::Secret;

/// `AuthenticatorChallenge` and `PeerChallenge`.
pub const CHALLENGE_LEN: usize = 16;
/// `NTResponse`.
pub const RESPONSE_LEN: usize = 24;
/// `PasswordHash`.
pub const HASH_LEN: usize = 16;

/// The NT hash of a password: as good as the password itself for this method, so it is a secret like it.
#[derive(Debug)]
pub struct PasswordHash(Secret);

impl PasswordHash {
    /// RFC 2759 §8.3: "NtPasswordHash" is MD4 over the password in Unicode, little endian.
    pub fn of(password: &str) -> Self {
        let unicode: Zeroizing<Vec<u8>> = Zeroizing::new(password.encode_utf16().flat_map(u16::to_le_bytes).collect());
        Self(Secret::copy_of(&Md4::digest(&*unicode)))
    }

    /// Sixteen bytes that are a hash already; for the user that does not exist.
    #[must_use]
    pub fn from_bytes(hash: [u8; HASH_LEN]) -> Self {
        Self(Secret::copy_of(&hash))
    }

    /// The hash.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        self.0.expose()
    }

    /// RFC 2759 §8.4: "HashNtPasswordHash" is MD4 over the hash.
    fn hashed(&self) -> Zeroizing<[u8; HASH_LEN]> {
        Zeroizing::new(Md4::digest(self.expose()).into())
    }
}

/// What both sides have put in: both challenges and the name.
#[derive(Clone, Copy)]
pub struct Exchange<'a> {
    /// The authenticator's.
    pub authenticator_challenge: &'a [u8; CHALLENGE_LEN],
    /// The peer's.
    pub peer_challenge: &'a [u8; CHALLENGE_LEN],
    /// The peer's name as it was sent.
    pub name: &'a [u8],
}

impl Exchange<'_> {
    /// RFC 2759 §8.2, "ChallengeHash": the first eight bytes of SHA-1 over both challenges and the name. §8.2: "Only the
    /// user name (as presented by the peer and excluding any prepended domain name) is used".
    fn challenge_hash(&self) -> [u8; 8] {
        let user = self.name.rsplit(|byte| *byte == b'\\').next().unwrap_or_default();
        let digest = Sha1::new()
            .chain_update(self.peer_challenge)
            .chain_update(self.authenticator_challenge)
            .chain_update(user)
            .finalize();
        *digest.first_chunk().expect("SHA-1 gives 20 bytes")
    }

    /// RFC 2759 §8.1, "GenerateNTResponse".
    pub fn response(&self, password: &PasswordHash) -> [u8; RESPONSE_LEN] {
        let challenge = self.challenge_hash();
        // §8.5, "ChallengeResponse": the hash padded to 21 bytes gives three DES keys of seven bytes.
        let mut keys = Zeroizing::new([0; 21]);
        keys.iter_mut().zip(password.expose()).for_each(|(place, byte)| *place = *byte);
        let mut response = [0; RESPONSE_LEN];
        for (key, out) in keys.chunks_exact(7).zip(response.chunks_exact_mut(8)) {
            out.copy_from_slice(&des(key.try_into().expect("chunks of seven"), challenge));
        }
        response
    }

    /// RFC 2759 §8.7, "GenerateAuthenticatorResponse": what the authenticator shows that it knows the password too.
    pub fn authenticator_response(&self, password: &PasswordHash, response: &[u8; RESPONSE_LEN]) -> [u8; 20] {
        let digest = Sha1::new()
            .chain_update(password.hashed())
            .chain_update(response)
            .chain_update(b"Magic server to client signing constant")
            .finalize();
        Sha1::new()
            .chain_update(digest)
            .chain_update(self.challenge_hash())
            .chain_update(b"Pad to make it do more than one iteration")
            .finalize()
            .into()
    }
}

/// One block of DES under 56 bits, spread over eight bytes whose lowest bit is parity and not looked at (§8.6).
fn des(key: [u8; 7], block: [u8; 8]) -> [u8; 8] {
    let mut wide = Zeroizing::new([0; 8]);
    wide.iter_mut().skip(1).zip(&key).for_each(|(place, byte)| *place = *byte);
    let bits = Zeroizing::new(u64::from_be_bytes(*wide));
    let mut spread = Zeroizing::new([0; 8]);
    for (index, place) in spread.iter_mut().enumerate() {
        *place = ((*bits >> (49 - 7 * index)) as u8 & 0x7f) << 1;
    }
    let mut block = Array(block);
    Des::new(&Array(*spread)).encrypt_block(&mut block);
    block.0
}

/// The key that the method ends with: RFC 3079 §3, put together as the draft's MSK.
pub fn msk(password: &PasswordHash, response: &[u8; RESPONSE_LEN]) -> Msk {
    let master = master_key(password, response);
    let mut key = Vec::with_capacity(MSK_LEN);
    // The authenticator's MasterReceiveKey, its MasterSendKey, and 32 zeros.
    key.extend_from_slice(&*start_key(
        &master,
        b"On the client side, this is the send key; on the server side, it is the receive key.",
    ));
    key.extend_from_slice(&*start_key(
        &master,
        b"On the client side, this is the receive key; on the server side, it is the send key.",
    ));
    key.resize(MSK_LEN, 0);
    Msk::new(Secret::new(key))
}

/// RFC 3079 §3.4, "GetMasterKey".
fn master_key(password: &PasswordHash, response: &[u8; RESPONSE_LEN]) -> Zeroizing<[u8; 16]> {
    let digest = Sha1::new()
        .chain_update(password.hashed())
        .chain_update(response)
        .chain_update(b"This is the MPPE Master Key")
        .finalize();
    Zeroizing::new(*digest.first_chunk().expect("SHA-1 gives 20 bytes"))
}

/// RFC 3079 §3.4, "GetAsymmetricStartKey".
fn start_key(master: &[u8; 16], magic: &[u8]) -> Zeroizing<[u8; 16]> {
    let digest = Sha1::new()
        .chain_update(master)
        .chain_update([0x00; 40])
        .chain_update(magic)
        .chain_update([0xf2; 40])
        .finalize();
    Zeroizing::new(*digest.first_chunk().expect("SHA-1 gives 20 bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn array<const N: usize>(text: &str) -> [u8; N] {
        hex::decode(text).unwrap().try_into().unwrap()
    }

    /// RFC 2759 §9.2.
    #[test]
    fn the_functions_give_what_the_rfc_prints() {
        let exchange = Exchange {
            authenticator_challenge: &array("5b5d7c7d7b3f2f3e3c2c602132262628"),
            peer_challenge: &array("21402324255e262a28295f2b3a337c7e"),
            name: b"User",
        };
        let password = PasswordHash::of("clientPass");
        assert_eq!(exchange.challenge_hash(), array("d02e4386bce91226"));
        assert_eq!(password.expose(), array::<16>("44ebba8d5312b8d611474411f56989ae"));
        assert_eq!(*password.hashed(), array("41c00c584bd2d91c4017a2a12fa59f3f"));
        let response = exchange.response(&password);
        assert_eq!(response, array("82309ecd8d708b5ea08faa3981cd83544233114a3d85d6df"));
        let shown = exchange.authenticator_response(&password, &response);
        assert_eq!(shown, array("407a5589115fd0d6209f510fe9c04566932cda56"));
        // §8.2: the domain does not count.
        let exchange = Exchange { name: b"BIGCO\\User", ..exchange };
        assert_eq!(exchange.response(&password), response);
    }

    /// RFC 3079 §3.5.3, with the values of RFC 2759.
    #[test]
    fn the_keys_are_those_that_the_rfc_prints() {
        let password = PasswordHash::of("clientPass");
        let response = array("82309ecd8d708b5ea08faa3981cd83544233114a3d85d6df");
        assert_eq!(*master_key(&password, &response), array("fdece3717a8c838cb388e527ae3cdd31"));
        let msk = msk(&password, &response);
        // SendStartKey128 of the server.
        assert_eq!(msk.secret().expose()[16..32], array::<16>("8b7cdc149b993a1ba118cb153f56dccb"));
        assert_eq!(msk.secret().expose()[32..], [0; 32]);
    }

    #[test]
    fn a_des_key_of_seven_bytes_is_spread_without_losing_a_bit() {
        let mut seen = std::collections::BTreeSet::new();
        for bit in 0..56 {
            let mut key = [0; 7];
            key[bit / 8] |= 0x80 >> (bit % 8);
            assert!(seen.insert(des(key, [0; 8])), "bit {bit} counts");
        }
        // FIPS 46's known answer under a key of all ones but parity.
        assert_eq!(des([0xff; 7], [0xff; 8]), array("7359b2163e4edc58"));
    }
}
