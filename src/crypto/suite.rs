//! Algorithms by name, and the suites that a proposal is made of.
//!
//! The written form is the one that operators of IPsec gateways know: `aes256gcm16-prfsha384-ecp384`,
//! `aes256-sha384-ecp384`, `aes256gcm16-ecp384-esn`.

/// Encryption for SK payloads and ESP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cipher {
    /// AES-256-GCM with a 16-byte ICV (RFC 4106, 5282).
    Aes256Gcm16,
    /// AES-128-GCM with a 16-byte ICV; lab agreements only.
    Aes128Gcm16,
    /// ChaCha20-Poly1305 (RFC 7634); lab agreements only.
    ChaCha20Poly1305,
    /// AES-256-CBC (RFC 3602), always together with a [`Mac`].
    Aes256Cbc,
}

/// Integrity protection beside a cipher that has none of its own (RFC 4868).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mac {
    /// HMAC-SHA-256-128.
    HmacSha256,
    /// HMAC-SHA-384-192.
    HmacSha384,
    /// HMAC-SHA-512-256.
    HmacSha512,
}

/// Pseudorandom function of an IKE SA (RFC 4868).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PrfAlg {
    /// PRF-HMAC-SHA-256.
    HmacSha256,
    /// PRF-HMAC-SHA-384.
    HmacSha384,
    /// PRF-HMAC-SHA-512.
    HmacSha512,
}

/// Key exchange method.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Group {
    /// Group 14 (RFC 3526).
    Modp2048,
    /// Group 15 (RFC 3526).
    Modp3072,
    /// Group 16 (RFC 3526).
    Modp4096,
    /// Group 19 (RFC 5903).
    Ecp256,
    /// Group 20 (RFC 5903).
    Ecp384,
    /// Group 21 (RFC 5903).
    Ecp521,
    /// Group 31 (RFC 8031).
    Curve25519,
}

/// What one IKE SA is protected with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct IkeSuite {
    /// Encryption.
    pub cipher: Cipher,
    /// Integrity; `None` with an AEAD cipher.
    pub mac: Option<Mac>,
    /// Pseudorandom function.
    pub prf: PrfAlg,
    /// Key exchange.
    pub group: Group,
}

/// What one child SA is protected with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EspSuite {
    /// Encryption.
    pub cipher: Cipher,
    /// Integrity; `None` with an AEAD cipher.
    pub mac: Option<Mac>,
    /// Key exchange of CREATE_CHILD_SA; left out in IKE_AUTH (RFC 7296 §1.2).
    pub group: Option<Group>,
    /// Extended sequence numbers (RFC 4303 §2.2.1).
    pub esn: bool,
}

impl Cipher {
    /// Bytes of KEYMAT that one direction takes, the salt of an AEAD cipher included (RFC 4106 §8.1, RFC 7634 §2).
    #[must_use]
    pub const fn key_len(self) -> usize {
        match self {
            Self::Aes256Gcm16 | Self::ChaCha20Poly1305 => 32 + 4,
            Self::Aes128Gcm16 => 16 + 4,
            Self::Aes256Cbc => 32,
        }
    }

    /// Length of the IV that each packet or message carries.
    #[must_use]
    pub const fn iv_len(self) -> usize {
        if self.is_aead() { 8 } else { 16 }
    }

    /// What the plaintext is padded to a multiple of.
    #[must_use]
    pub const fn block_len(self) -> usize {
        if self.is_aead() { 1 } else { 16 }
    }

    /// Whether the cipher protects integrity by itself.
    #[must_use]
    pub const fn is_aead(self) -> bool {
        !matches!(self, Self::Aes256Cbc)
    }

    /// Whether an agreement that asks for "AES 256 bit" (CBP §2a) is met.
    #[must_use]
    pub const fn is_aes256(self) -> bool {
        matches!(self, Self::Aes256Gcm16 | Self::Aes256Cbc)
    }
}

impl Mac {
    /// Key length (RFC 4868 §2.1.1: the hash's output length).
    #[must_use]
    pub const fn key_len(self) -> usize {
        match self {
            Self::HmacSha256 => 32,
            Self::HmacSha384 => 48,
            Self::HmacSha512 => 64,
        }
    }

    /// Length of the truncated checksum.
    #[must_use]
    pub const fn icv_len(self) -> usize {
        self.key_len() / 2
    }
}

impl Group {
    /// Length of a public value in a KE payload: RFC 7296 §3.4 (the prime's length), RFC 5903 §7 (x and y), RFC 8031 §2.
    #[must_use]
    pub const fn public_len(self) -> usize {
        match self {
            Self::Modp2048 => 256,
            Self::Modp3072 => 384,
            Self::Modp4096 => 512,
            Self::Ecp256 => 2 * 32,
            Self::Ecp384 => 2 * 48,
            Self::Ecp521 => 2 * 66,
            Self::Curve25519 => 32,
        }
    }
}

impl PrfAlg {
    /// Output length, which is also the preferred key length (RFC 4868 §2.1.2).
    #[must_use]
    pub const fn len(self) -> usize {
        match self {
            Self::HmacSha256 => 32,
            Self::HmacSha384 => 48,
            Self::HmacSha512 => 64,
        }
    }
}
