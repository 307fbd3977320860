//! Known-answer tests at start: the process refuses to start if one fails.
//!
//! One for each algorithm of [`provider`](super::provider), through the functions that packets and messages use. Sources:
//! the GCM specification (McGrew and Viega, cases 4 and 16), RFC 8439 §2.8.2, NIST SP 800-38A F.2.5, RFC 4231, RFC 4868
//! §2.7, FIPS 180 (SHA-1 of "abc"), RFC 7748 §6.1, RFC 5903 §8. For the MODP groups nobody publishes an answer: theirs
//! was computed once with Python's integers. Nor for ML-KEM from seeds: those were computed here, and `tests/crypto_oracle.rs`
//! and `tests/wycheproof.rs` hold the code against others.

use sha2::{Digest, Sha256};

use super::aead::AeadKey;
use super::cbc_hmac::CbcHmacKey;
use super::kex::{self, KeyPair};
use super::prf::nat_detection_hash;
use super::suite::{Cipher, Group, Mac, PrfAlg};
use crate::entropy::Entropy;

/// The algorithm whose answer was wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("self-test of {0} failed: its answer differs from the published one")]
pub struct SelfTestFailed(pub &'static str);

/// Runs every known-answer test and gives the names of what passed.
pub fn run() -> Result<Vec<&'static str>, SelfTestFailed> {
    check(&TESTS)
}

type Test = (&'static str, fn() -> bool);

fn check(tests: &[Test]) -> Result<Vec<&'static str>, SelfTestFailed> {
    tests.iter().map(|(name, test)| if test() { Ok(*name) } else { Err(SelfTestFailed(name)) }).collect()
}

const TESTS: [Test; 21] = [
    ("AES-256-GCM", || gcm(Cipher::Aes256Gcm16, &hex(GCM_KEY).repeat(2), GCM_256_SEALED, GCM_256_TAG)),
    ("AES-128-GCM", || gcm(Cipher::Aes128Gcm16, &hex(GCM_KEY), GCM_128_SEALED, GCM_128_TAG)),
    ("ChaCha20-Poly1305", chacha20_poly1305),
    ("AES-256-CBC", aes_256_cbc),
    ("HMAC-SHA-256-128", || mac(Mac::HmacSha256, MAC_256)),
    ("HMAC-SHA-384-192", || mac(Mac::HmacSha384, MAC_384)),
    ("HMAC-SHA-512-256", || mac(Mac::HmacSha512, MAC_512)),
    ("PRF-HMAC-SHA-256", || prf(PrfAlg::HmacSha256, PRF_256)),
    ("PRF-HMAC-SHA-384", || prf(PrfAlg::HmacSha384, PRF_384)),
    ("PRF-HMAC-SHA-512", || prf(PrfAlg::HmacSha512, PRF_512)),
    ("prf+", prf_plus),
    ("SHA-1 of NAT detection", || nat_detection_hash(&[b"a", b"bc"]).as_slice() == hex(SHA1_ABC)),
    ("X25519", || exchange(Group::Curve25519, &X25519)),
    ("ECP-256", || exchange(Group::Ecp256, &ECP_256)),
    ("ECP-384", || exchange(Group::Ecp384, &ECP_384)),
    ("ECP-521", || exchange(Group::Ecp521, &ECP_521)),
    ("MODP-2048", || modp_exchange(Group::Modp2048, 40, MODP_2048)),
    ("MODP-3072", || modp_exchange(Group::Modp3072, 56, MODP_3072)),
    ("MODP-4096", || modp_exchange(Group::Modp4096, 64, MODP_4096)),
    ("ML-KEM-768", || encapsulation(Group::MlKem768, ML_KEM_768)),
    ("ML-KEM-1024", || encapsulation(Group::MlKem1024, ML_KEM_1024)),
];

fn gcm(cipher: Cipher, key: &[u8], sealed: &str, tag: &str) -> bool {
    seals_and_opens(cipher, key, &hex(GCM_NONCE), &hex(GCM_AAD), &hex(GCM_PLAIN), &hex(sealed), &hex(tag))
}

fn chacha20_poly1305() -> bool {
    let key: Vec<u8> = (0x80..=0x9f).collect();
    let (nonce, aad) = (hex(CHACHA_NONCE), hex(CHACHA_AAD));
    seals_and_opens(Cipher::ChaCha20Poly1305, &key, &nonce, &aad, CHACHA_PLAIN, &hex(CHACHA_SEALED), &hex(CHACHA_TAG))
}

/// The published ciphertext and ICV come out, the plaintext comes back, and another ICV is refused.
fn seals_and_opens(
    cipher: Cipher,
    key: &[u8],
    nonce: &[u8],
    aad: &[u8],
    plain: &[u8],
    sealed: &[u8],
    tag: &[u8],
) -> bool {
    let (Some((salt, iv)), Ok(tag)) = (nonce.split_first_chunk::<4>(), <[u8; 16]>::try_from(tag)) else { return false };
    let Ok(iv) = <[u8; 8]>::try_from(iv) else { return false };
    let key = AeadKey::new(cipher, &[key, salt].concat());
    let mut bytes = plain.to_vec();
    if key.seal(iv, aad, &mut bytes) != tag || bytes != sealed {
        return false;
    }
    let mut forged = tag;
    forged[15] ^= 1;
    key.open(iv, aad, &mut sealed.to_vec(), &forged).is_err()
        && key.open(iv, aad, &mut bytes, &tag).is_ok()
        && bytes == plain
}

fn aes_256_cbc() -> bool {
    let key = CbcHmacKey::new(Mac::HmacSha256, &hex(CBC_KEY), &[0; 32]);
    let iv: [u8; 16] = std::array::from_fn(|at| at as u8);
    let mut bytes = hex(CBC_PLAIN);
    key.encrypt(&iv, &mut bytes);
    if bytes != hex(CBC_SEALED) {
        return false;
    }
    key.decrypt(&iv, &mut bytes);
    bytes == hex(CBC_PLAIN)
}

/// RFC 4868 §2.7.2: a key of 0x0b, as long as the hash, and "Hi There".
fn mac(mac: Mac, answer: &str) -> bool {
    let key = CbcHmacKey::new(mac, &[0; 32], &vec![0x0b; mac.key_len()]);
    let mut wrong = hex(answer);
    wrong[0] ^= 0x80;
    key.mac(&[b"Hi ", b"There"]).as_bytes() == hex(answer)
        && key.verify(&[b"Hi There"], &hex(answer)).is_ok()
        && key.verify(&[b"Hi There"], &wrong).is_err()
}

/// RFC 4231 §4.3.
fn prf(prf: PrfAlg, answer: &str) -> bool {
    prf.prf(b"Jefe", &[b"what do ya want ", b"for nothing?"]).expose() == hex(answer)
}

/// prf+ written out by hand over the prf that was just tested: three blocks, the last one cut.
fn prf_plus() -> bool {
    let prf = PrfAlg::HmacSha256;
    let t1 = prf.prf(b"K", &[b"S", &[1]]);
    let t2 = prf.prf(b"K", &[t1.expose(), b"S", &[2]]);
    let t3 = prf.prf(b"K", &[t2.expose(), b"S", &[3]]);
    let all = [t1.expose(), t2.expose(), t3.expose()].concat();
    prf.prf_plus(b"K", &[b"S"], 70).expose() == &all[..70] && prf.prf_plus(b"K", &[b"S"], 32) == t1
}

/// A published exchange: private and public value of both sides, and the secret.
struct Exchange {
    private: [&'static str; 2],
    public: [&'static str; 2],
    secret: &'static str,
}

fn exchange(group: Group, known: &Exchange) -> bool {
    let pairs = known.private.map(|private| KeyPair::generate(group, &mut Script(hex(private))));
    let public = known.public.map(hex);
    if pairs.each_ref().map(KeyPair::public) != public.each_ref().map(Vec::as_slice) {
        return false;
    }
    let [a, b] = pairs;
    let secrets = [a.agree(&public[1]), b.agree(&public[0])];
    secrets.iter().all(|secret| secret.as_ref().is_ok_and(|secret| secret.expose() == hex(known.secret)))
}

/// Exponents of the bytes 01, 02, ... and 65, 66, ...; the answers are SHA-256 of both public values and of the secret.
fn modp_exchange(group: Group, exponent_len: u8, answers: [&str; 3]) -> bool {
    let [a, b] =
        [1, 0x65].map(|first: u8| KeyPair::generate(group, &mut Script((first..first + exponent_len).collect())));
    let public = [a.public().to_vec(), b.public().to_vec()];
    let (Ok(secret_a), Ok(secret_b)) = (a.agree(&public[1]), b.agree(&public[0])) else { return false };
    let digests = [public[0].as_slice(), &public[1], secret_a.expose()].map(|bytes| Sha256::digest(bytes).to_vec());
    secret_a == secret_b && digests == answers.map(hex)
}

/// A decapsulation key from the bytes 00, 01, .. 3f, a message of 40, 41, .. 5f; the answers are SHA-256 of the encapsulation key
/// and of the ciphertext, and the secret.
fn encapsulation(group: Group, answers: [&str; 3]) -> bool {
    let pair = KeyPair::generate(group, &mut Script((0..64).collect()));
    let public = pair.public().to_vec();
    let Ok((ciphertext, there)) = kex::answer(group, &public, &mut Script((64..96).collect())) else { return false };
    let Ok(here) = pair.agree(&ciphertext) else { return false };
    let digests = [public, ciphertext].map(|bytes| Sha256::digest(&bytes).to_vec());
    here == there && digests == [answers[0], answers[1]].map(hex) && here.expose() == hex(answers[2])
}

/// Gives out known bytes, over and over.
struct Script(Vec<u8>);

impl Entropy for Script {
    fn fill(&mut self, out: &mut [u8]) {
        for (out, byte) in out.iter_mut().zip(self.0.iter().cycle()) {
            *out = *byte;
        }
    }
}

fn hex(text: &str) -> Vec<u8> {
    hex::decode(text).expect("a vector below is hexadecimal")
}

const GCM_KEY: &str = "feffe9928665731c6d6a8f9467308308";
const GCM_NONCE: &str = "cafebabefacedbaddecaf888";
const GCM_AAD: &str = "feedfacedeadbeeffeedfacedeadbeefabaddad2";
const GCM_PLAIN: &str = "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72\
     1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39";
const GCM_256_SEALED: &str = "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa\
     8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662";
const GCM_256_TAG: &str = "76fc6ece0f4e1768cddf8853bb2d551b";
const GCM_128_SEALED: &str = "42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e\
     21d514b25466931c7d8f6a5aac84aa051ba30b396a0aac973d58e091";
const GCM_128_TAG: &str = "5bc94fbc3221a5db94fae95ae7121a47";

const CHACHA_NONCE: &str = "070000004041424344454647";
const CHACHA_AAD: &str = "50515253c0c1c2c3c4c5c6c7";
const CHACHA_PLAIN: &[u8] = b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the \
    future, sunscreen would be it.";
const CHACHA_SEALED: &str = "d31a8d34648e60db7b86afbc53ef7ec2a4aded51296e08fea9e2b5a736ee62d6\
     3dbea45e8ca9671282fafb69da92728b1a71de0a9e060b2905d6a5b67ecd3b36\
     92ddbd7f2d778b8c9803aee328091b58fab324e4fad675945585808b4831d7bc\
     3ff4def08e4b7a9de576d26586cec64b6116";
const CHACHA_TAG: &str = "1ae10b594f09e26a7e902ecbd0600691";

const CBC_KEY: &str = "603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4";
const CBC_PLAIN: &str = "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51\
     30c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710";
const CBC_SEALED: &str = "f58c4c04d6e5f1ba779eabfb5f7bfbd69cfc4e967edb808d679f777bc6702c7d\
     39f23369a9d9bacfa530e26304231461b2eb05e2c39be9fcda6c19078c6a9d1b";

const MAC_256: &str = "198a607eb44bfbc69903a0f1cf2bbdc5";
const MAC_384: &str = "b6a8d5636f5c6a7224f9977dcf7ee6c7fb6d0c48cbdee973";
const MAC_512: &str = "637edc6e01dce7e6742a99451aae82df23da3e92439e590e43e761b33e910fb8";

const PRF_256: &str = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
const PRF_384: &str =
    "af45d2e376484031617f78d2b58a6b1b9c7ef464f5a01b47e42ec3736322445e8e2240ca5e69e2c78b3239ecfab21649";
const PRF_512: &str = "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea250554\
     9758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737";

const SHA1_ABC: &str = "a9993e364706816aba3e25717850c26c9cd0d89d";

const X25519: Exchange = Exchange {
    private: [
        "77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a",
        "5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb",
    ],
    public: [
        "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a",
        "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f",
    ],
    secret: "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742",
};

const ECP_256: Exchange = Exchange {
    private: [
        "c88f01f510d9ac3f70a292daa2316de544e9aab8afe84049c62a9c57862d1433",
        "c6ef9c5d78ae012a011164acb397ce2088685d8f06bf9be0b283ab46476bee53",
    ],
    public: [
        "dad0b65394221cf9b051e1feca5787d098dfe637fc90b9ef945d0c3772581180\
         5271a0461cdb8252d61f1c456fa3e59ab1f45b33accf5f58389e0577b8990bb3",
        "d12dfb5289c8d4f81208b70270398c342296970a0bccb74c736fc7554494bf63\
         56fbf3ca366cc23e8157854c13c58d6aac23f046ada30f8353e74f33039872ab",
    ],
    secret: "d6840f6b42f6edafd13116e0e12565202fef8e9ece7dce03812464d04b9442de",
};

const ECP_384: Exchange = Exchange {
    private: [
        "099f3c7034d4a2c699884d73a375a67f7624ef7c6b3c0f160647b67414dce655e35b538041e649ee3faef896783ab194",
        "41cb0779b4bdb85d47846725fbec3c9430fab46cc8dc5060855cc9bda0aa2942e0308312916b8ed2960e4bd55a7448fc",
    ],
    public: [
        "667842d7d180ac2cde6f74f37551f55755c7645c20ef73e31634fe72b4c55ee6de3ac808acb4bdb4c88732aee95f41aa\
         9482ed1fc0eeb9cafc4984625ccfc23f65032149e0e144ada024181535a0f38eeb9fcff3c2c947dae69b4c634573a81c",
        "e558dbef53eecde3d3fccfc1aea08a89a987475d12fd950d83cfa41732bc509d0d1ac43a0336def96fda41d0774a3571\
         dcfbec7aacf3196472169e838430367f66eebe3c6e70c416dd5f0c68759dd1fff83fa40142209dff5eaad96db9e6386c",
    ],
    secret: "11187331c279962d93d604243fd592cb9d0a926f422e47187521287e7156c5c4d603135569b9e9d09cf5d4a270f59746",
};

const ECP_521: Exchange = Exchange {
    private: [
        "0037ade9319a89f4dabdb3ef411aaccca5123c61acab57b5393dce47608172a0\
         95aa85a30fe1c2952c6771d937ba9777f5957b2639bab072462f68c27a57382d4a52",
        "0145ba99a847af43793fdd0e872e7cdfa16be30fdc780f97bccc3f078380201e\
         9c677d600b343757a3bdbf2a3163e4c2f869cca7458aa4a4effc311f5cb151685eb9",
    ],
    public: [
        "0015417e84dbf28c0ad3c278713349dc7df153c897a1891bd98bab4357c9ecbe\
         e1e3bf42e00b8e380aeae57c2d107564941885942af5a7f4601723c4195d176ced3e\
         017cae20b6641d2eeb695786d8c946146239d099e18e1d5a514c739d7cb4a10a\
         d8a788015ac405d7799dc75e7b7d5b6cf2261a6a7f1507438bf01beb6ca3926f9582",
        "00d0b3975ac4b799f5bea16d5e13e9af971d5e9b984c9f39728b5e5739735a21\
         9b97c356436adc6e95bb0352f6be64a6c2912d4ef2d0433ced2b6171640012d9460f\
         015c68226383956e3bd066e797b623c27ce0eac2f551a10c2c724d9852077b87\
         220b6536c5c408a1d2aebb8e86d678ae49cb57091f4732296579ab44fcd17f0fc56a",
    ],
    secret: "01144c7d79ae6956bc8edb8e7c787c4521cb086fa64407f97894e5e6b2d79b04\
         d1427e73ca4baa240a34786859810c06b3c715a3a8cc3151f2bee417996d19f3ddea",
};

const MODP_2048: [&str; 3] = [
    "5d42b02cc7ccd3d51a5c4f8b7a4dd6bd0f90c22b9c75640f268f635c8fea2e15",
    "758faf3df995d01e8bff651c2aff0303f3cfd8581575abe5a0bfb22b2cf35def",
    "6b11663c59063f16560b00f6c78701962f961ec2aa4fc695ea0f49146847ed9a",
];

const MODP_3072: [&str; 3] = [
    "9f2d73c92f3f240b5b96099e03431f58b5fc59b22b0a95e1e275db1965068d68",
    "29ece5fd71cf14d62c00f41d4c3c70637bf7b96e93cb5be3cf2b46fd248e8d21",
    "2555da00eed6361f3e1796378c97f11e73dd40ece76ded596f006b0c384a0b1a",
];

const MODP_4096: [&str; 3] = [
    "ef1d70629353c458131378be223d1a1225b00d92d04f8bdf06f9eba83c2b4e6e",
    "7232ff9a5a91332e16431af21bab54f81d8e2e59863924f3828c10887ba2c1e4",
    "65c771f45576847ffe6437555f87ef0ea77ebcad626742130e0b58a15db6af4b",
];

const ML_KEM_768: [&str; 3] = [
    "0b7934c83125c788995e2ba6bd761e33046b3e40571be53e023309a29f398cc9",
    "dbf4e9aa48b078ad46ec1c9c47bda8c2d2fec9d0e7a21bd48d2238a2abedb856",
    "9cddd089ffe70e3996e76f7c8d06746df34d07e8657bc0fcf2bb0e1c3084aea1",
];

const ML_KEM_1024: [&str; 3] = [
    "c7b8fa0aa471d5ae18922d6ccad5b31e1d84f92ae723abfd13747018740a8530",
    "7c89743960f7c3d17bb69572e49de14fe0990c9113a0706963a8f4c7b39afcdf",
    "0ad8d1ea1b8dd788979b4379581218df9321bdce5567eca42ae6be7d395f1a54",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::provider::ALGORITHMS;

    #[test]
    fn every_known_answer_is_met() {
        let passed = run().expect("every self-test passes");
        assert_eq!(passed.len(), TESTS.len());
    }

    #[test]
    fn every_algorithm_on_offer_is_tested() {
        for algorithm in &ALGORITHMS {
            assert!(TESTS.iter().any(|(name, _)| *name == algorithm.name), "{} has no self-test", algorithm.name);
        }
    }

    #[test]
    fn the_first_wrong_answer_is_named() {
        let tests: [Test; 3] = [("good", || true), ("bad", || false), ("worse", || false)];
        assert_eq!(check(&tests), Err(SelfTestFailed("bad")));
    }

    #[test]
    fn a_wrong_answer_is_noticed_in_every_kind_of_test() {
        assert!(!gcm(Cipher::Aes256Gcm16, &hex(GCM_KEY).repeat(2), GCM_256_SEALED, GCM_128_TAG));
        assert!(!mac(Mac::HmacSha256, MAC_384));
        assert!(!prf(PrfAlg::HmacSha256, PRF_384));
        assert!(!exchange(Group::Ecp256, &Exchange { secret: X25519.secret, ..ECP_256 }));
        assert!(!modp_exchange(Group::Modp2048, 40, MODP_3072));
        assert!(!encapsulation(Group::MlKem768, [ML_KEM_768[0], ML_KEM_768[1], ML_KEM_1024[2]]));
    }
}
