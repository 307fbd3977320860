//! The Encrypted payload (RFC 7296 §3.14): sealed on the way out, opened on the way in.
//!
//! With an AEAD cipher as RFC 5282 says, else encrypt-then-MAC. What comes out of [`Protection::open`] is
//! [`Verified`]: nothing else makes that type.

use super::keymat::IkeKeys;
use crate::crypto::aead::{AeadKey, TAG_LEN};
use crate::crypto::cbc_hmac::CbcHmacKey;
use crate::crypto::suite::{Cipher, IkeSuite, Mac};
use crate::entropy::Entropy;
use crate::event::IkeReason;
use crate::secret::Secret;
#[cfg(test)]
use crate::wire::ike::chain;
use crate::wire::ike::header::Header;
use crate::wire::ike::malformed::Malformed;
use crate::wire::ike::numbers::PayloadType;
#[cfg(test)]
use crate::wire::ike::payload::Payload;
use crate::wire::ike::sealed::{self, CipherShape, FragmentNumber, SealedParts};

/// A value whose integrity was checked with the keys of its IKE SA.
#[derive(Debug)]
pub struct Verified<T>(T);

impl<T> Verified<T> {
    /// The value.
    #[cfg(test)]
    pub fn into_inner(self) -> T {
        self.0
    }
}

/// The keys of both directions of one IKE SA.
pub struct Protection {
    seal: Direction,
    open: Direction,
    next_iv: u64,
    shape: CipherShape,
}

enum Direction {
    Aead(AeadKey),
    CbcHmac(CbcHmacKey),
}

impl Direction {
    fn new(cipher: Cipher, mac: Option<Mac>, encryption: &Secret, integrity: &Secret) -> Self {
        match mac {
            Some(mac) if !cipher.is_aead() => {
                Self::CbcHmac(CbcHmacKey::new(mac, encryption.expose(), integrity.expose()))
            }
            _ => Self::Aead(AeadKey::new(cipher, encryption.expose())),
        }
    }
}

fn shape(suite: IkeSuite) -> CipherShape {
    CipherShape {
        iv_len: suite.cipher.iv_len(),
        block_len: suite.cipher.block_len(),
        icv_len: suite.mac.map_or(TAG_LEN, Mac::icv_len),
    }
}

impl Protection {
    /// The keys of `suite`, as used by the original initiator or responder of the IKE SA.
    pub fn new(suite: IkeSuite, keys: &IkeKeys, initiator: bool) -> Self {
        let from_initiator = Direction::new(suite.cipher, suite.mac, &keys.sk_ei, &keys.sk_ai);
        let from_responder = Direction::new(suite.cipher, suite.mac, &keys.sk_er, &keys.sk_ar);
        let (seal, open) = if initiator { (from_initiator, from_responder) } else { (from_responder, from_initiator) };
        Self { seal, open, next_iv: 1, shape: shape(suite) }
    }

    /// What the cipher adds to a message.
    pub fn shape(&self) -> CipherShape {
        self.shape
    }

    /// One message with everything inside SK.
    #[cfg(test)]
    pub fn seal(&mut self, header: &Header, payloads: &[Payload], entropy: &mut dyn Entropy) -> Vec<u8> {
        let (first, inner) = chain::encode(payloads);
        self.seal_chain(header, first, &inner, None, entropy)
    }

    /// One message around an encoded chain; also chains that no exchange would build, for tests and fuzzing.
    pub fn seal_chain(
        &mut self,
        header: &Header,
        first: PayloadType,
        inner: &[u8],
        fragment: Option<FragmentNumber>,
        entropy: &mut dyn Entropy,
    ) -> Vec<u8> {
        let laid_out = sealed::lay_out(header, first, inner, fragment, self.shape);
        let mut message = laid_out.expect("our own messages are far below 64 KiB");
        let SealedParts { associated, iv, ciphertext, icv } = message.parts.clone();
        match &self.seal {
            Direction::Aead(key) => {
                // RFC 5282 §3.1: an IV is never used twice with one key; a counter cannot repeat.
                let counter = self.next_iv.to_be_bytes();
                self.next_iv = self.next_iv.checked_add(1).expect("2^32 messages end the IKE SA before");
                message.bytes[iv].copy_from_slice(&counter);
                let (head, tail) = message.bytes.split_at_mut(ciphertext.start);
                // RFC 5282 §5.1: associated data goes from the IKE header through the header of SK.
                let tag = key.seal(counter, &head[associated], &mut tail[..ciphertext.len()]);
                message.bytes[icv].copy_from_slice(&tag);
            }
            Direction::CbcHmac(key) => {
                // RFC 7296 §3.14: the IV is unpredictable for CBC.
                let vector = entropy.array::<16>();
                message.bytes[iv].copy_from_slice(&vector);
                key.encrypt(&vector, &mut message.bytes[ciphertext]);
                // §3.14: the checksum covers everything from the header on, computed over the encrypted message.
                let tag = key.mac(&[&message.bytes[..icv.start]]);
                message.bytes[icv].copy_from_slice(tag.as_bytes());
            }
        }
        message.bytes
    }

    /// Checks and decrypts what stands in `content` of `datagram`; `Err` gives the reason for silence.
    pub fn open(&self, datagram: &[u8], content: &std::ops::Range<usize>) -> Result<Verified<Vec<u8>>, IkeReason> {
        let failed = IkeReason::IntegrityFailed;
        let parts = sealed::parts(content, self.shape).ok_or(failed)?;
        let field = |range: std::ops::Range<usize>| datagram.get(range).ok_or(failed);
        let (iv, icv) = (field(parts.iv.clone())?, field(parts.icv.clone())?);
        let mut plaintext = field(parts.ciphertext.clone())?.to_vec();
        match &self.open {
            Direction::Aead(key) => {
                let iv = iv.try_into().map_err(|_| failed)?;
                let tag = icv.try_into().map_err(|_| failed)?;
                key.open(iv, field(parts.associated)?, &mut plaintext, tag).map_err(|_| failed)?;
            }
            Direction::CbcHmac(key) => {
                key.verify(&[field(0..parts.icv.start)?], icv).map_err(|_| failed)?;
                key.decrypt(iv.try_into().map_err(|_| failed)?, &mut plaintext);
            }
        }
        Ok(Verified(plaintext))
    }
}

impl Verified<Vec<u8>> {
    /// What is inside, without padding.
    pub fn stripped(self) -> Result<Vec<u8>, Malformed> {
        let Self(mut bytes) = self;
        let len = sealed::strip_padding(&bytes)?.len();
        bytes.truncate(len);
        Ok(bytes)
    }

    /// The payloads inside, the first being of type `first`.
    #[cfg(test)]
    pub fn payloads(&self, first: PayloadType) -> Result<Verified<Vec<Payload>>, Malformed> {
        chain::decode_inner(first, sealed::strip_padding(&self.0)?).map(Verified)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::suite::{Additional, Group, PrfAlg};
    use crate::entropy::SeededEntropy;
    use crate::ike::keymat::{Nonces, Spis, ike_keys};
    use crate::wire::ike::header::Flags;
    use crate::wire::ike::message::Message;
    use crate::wire::ike::numbers::{ExchangeType, NotifyType};
    use crate::wire::ike::payload::{Notify, Vendor};

    const SUITES: [(Cipher, Option<Mac>); 6] = [
        (Cipher::Aes256Gcm16, None),
        (Cipher::Aes128Gcm16, None),
        (Cipher::ChaCha20Poly1305, None),
        (Cipher::Aes256Cbc, Some(Mac::HmacSha256)),
        (Cipher::Aes256Cbc, Some(Mac::HmacSha384)),
        (Cipher::Aes256Cbc, Some(Mac::HmacSha512)),
    ];

    fn pair(cipher: Cipher, mac: Option<Mac>) -> (Protection, Protection) {
        let suite =
            IkeSuite { cipher, mac, prf: PrfAlg::HmacSha512, group: Group::Ecp384, additional: Additional::NONE };
        let nonces = Nonces { initiator: &[1; 32], responder: &[2; 32] };
        let keys = ike_keys(suite, &Secret::copy_of(&[7; 48]), nonces, Spis { initiator: 3, responder: 4 });
        (Protection::new(suite, &keys, true), Protection::new(suite, &keys, false))
    }

    fn header() -> Header {
        Header {
            initiator_spi: 3,
            responder_spi: 4,
            next_payload: PayloadType::NONE,
            major: 2,
            minor: 0,
            exchange: ExchangeType::INFORMATIONAL,
            flags: Flags { initiator: true, version: false, response: false },
            message_id: 9,
            length: 0,
        }
    }

    fn open(side: &Protection, datagram: &[u8]) -> Result<Vec<Payload>, IkeReason> {
        let message = Message::decode(datagram).map_err(|_| IkeReason::Malformed)?;
        let Some(Payload::Sk(sk)) = message.payloads.last() else { return Err(IkeReason::Malformed) };
        let plain = side.open(datagram, &sk.content)?;
        plain.payloads(sk.first_inner).map(Verified::into_inner).map_err(|_| IkeReason::Malformed)
    }

    #[test]
    fn every_suite_opens_what_the_other_side_sealed_and_only_that() {
        let mut entropy = SeededEntropy::new(1);
        let payloads = [
            Payload::Notify(Notify::status(NotifyType::INITIAL_CONTACT, vec![])),
            Payload::Vendor(Vendor(b"seventeen octets.".to_vec())),
        ];
        for (cipher, mac) in SUITES {
            let (mut initiator, responder) = pair(cipher, mac);
            let first = initiator.seal(&header(), &payloads, &mut entropy);
            let second = initiator.seal(&header(), &payloads, &mut entropy);
            assert_ne!(first, second, "{cipher:?}: IVs differ");
            assert_eq!(open(&responder, &first).unwrap(), payloads, "{cipher:?}");
            assert_eq!(open(&responder, &second).unwrap(), payloads, "{cipher:?}");
            assert!(open(&initiator, &first).is_err(), "{cipher:?}: our own message sent back");
            for index in 0..first.len() {
                for bit in 0..8 {
                    let mut forged = first.clone();
                    forged[index] ^= 1 << bit;
                    assert!(open(&responder, &forged).is_err(), "{cipher:?} byte {index} bit {bit}");
                }
            }
            for len in 0..first.len() {
                assert!(open(&responder, &first[..len]).is_err());
            }
        }
    }

    #[test]
    fn an_empty_message_can_be_sealed() {
        let mut entropy = SeededEntropy::new(1);
        for (cipher, mac) in SUITES {
            let (mut initiator, responder) = pair(cipher, mac);
            let datagram = initiator.seal(&header(), &[], &mut entropy);
            assert_eq!(open(&responder, &datagram).unwrap(), []);
        }
    }
}
