//! The algorithms of one SA and the room they take (RFC 4106, 7634, 3602, 4868).

use crate::crypto::aead::{AeadKey, Provider, TAG_LEN};
use crate::crypto::cbc_hmac::CbcHmacKey;
use crate::crypto::suite::{Cipher, Mac, PrfAlg};
use crate::sa::child::EspKeys;
use crate::wire::esp::{HEADER_LEN, TRAILER_LEN};

/// The keys of one direction, scheduled, and how to use them.
pub struct Transform {
    pub(super) keys: Keys,
    pub(super) esn: bool,
    pub(super) shape: PacketShape,
}

pub(super) enum Keys {
    Aead(AeadKey),
    Cbc {
        key: CbcHmacKey,
        /// Makes IVs from the sequence number.
        ///
        /// RFC 3602 §3 wants an IV that nobody can foretell. The sequence number alone can be foretold; encrypted under
        /// a key that serves nothing else it cannot, it never repeats within the SA, and no packet asks the operating
        /// system for randomness. That key is drawn from the SA's own by a PRF: as secret as the SA, and nobody else's.
        iv_key: Box<CbcHmacKey>,
    },
}

/// How many bytes ESP adds where. The same for every packet of an SA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PacketShape {
    /// Length of the IV in each packet.
    pub iv_len: usize,
    /// Length of the integrity check value.
    pub icv_len: usize,
    /// What payload, padding and trailer together are a multiple of.
    pub align: usize,
}

impl PacketShape {
    /// The shape that `cipher` and `mac` give.
    #[must_use]
    pub fn of(cipher: Cipher, mac: Option<Mac>) -> Self {
        Self {
            iv_len: cipher.iv_len(),
            icv_len: if cipher.is_aead() { TAG_LEN } else { mac.map_or(0, Mac::icv_len) },
            // RFC 4303 §2.4: pad length and next header end on a 4-byte boundary, whatever the cipher.
            align: cipher.block_len().max(4),
        }
    }

    /// What stands in front of the payload.
    #[must_use]
    pub const fn front(self) -> usize {
        HEADER_LEN + self.iv_len
    }

    /// The shortest packet: one aligned unit with nothing but the trailer in it, or less if the cipher allows it.
    #[must_use]
    pub const fn shortest(self) -> usize {
        self.front() + if self.align > 4 { self.align } else { TRAILER_LEN } + self.icv_len
    }
}

impl Transform {
    /// Schedules the keys; an AEAD is `provider`'s. The lengths of `keys` were fixed by KEYMAT's own derivation from `cipher` and `mac`.
    #[must_use]
    pub fn new(provider: Provider, cipher: Cipher, mac: Option<Mac>, esn: bool, keys: &EspKeys) -> Self {
        let shape = PacketShape::of(cipher, mac);
        let keys = match mac {
            Some(mac) if !cipher.is_aead() => {
                let (cipher_key, mac_key) = (keys.cipher.expose(), keys.mac.expose());
                let iv_key = PrfAlg::HmacSha256.prf(cipher_key, &[b"IV of ESP in CBC mode"]);
                Keys::Cbc {
                    key: CbcHmacKey::new(mac, cipher_key, mac_key),
                    iv_key: Box::new(CbcHmacKey::new(mac, iv_key.expose(), mac_key)),
                }
            }
            _ => Keys::Aead(AeadKey::with(provider, cipher, keys.cipher.expose())),
        };
        Self { keys, esn, shape }
    }

    /// How many bytes go where.
    #[must_use]
    pub fn shape(&self) -> PacketShape {
        self.shape
    }
}

/// SPI and sequence number as the AEAD ciphers authenticate them (RFC 4106 §5, RFC 7634 §2.1).
pub(super) struct Aad {
    bytes: [u8; 12],
    len: usize,
}

impl Aad {
    pub(super) fn new(spi: u32, sequence: u64, esn: bool) -> Self {
        let mut bytes = [0; 12];
        bytes[..4].copy_from_slice(&spi.to_be_bytes());
        let len = if esn {
            bytes[4..].copy_from_slice(&sequence.to_be_bytes());
            12
        } else {
            bytes[4..8].copy_from_slice(&(sequence as u32).to_be_bytes());
            8
        };
        Self { bytes, len }
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}
