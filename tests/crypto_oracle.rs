//! AES-GCM as packets use it (`ring`) against an independent implementation (RustCrypto's `aes-gcm`): both must seal to
//! the same bytes, open what the other sealed, and refuse the same forgeries. ML-KEM as IKE uses it (RustCrypto's `ml-kem`) against
//! AWS-LC's: each opens what the other has sealed.

use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{Aes128Gcm, Aes256Gcm};
use aws_lc_rs::kem::{self, Ciphertext, DecapsulationKey, EncapsulationKey};
use portcullis::crypto::aead::{AeadKey, TAG_LEN};
use portcullis::crypto::kex::{self, KeyPair};
use portcullis::crypto::suite::{Cipher, Group};
use portcullis::entropy::SeededEntropy;
use proptest::prelude::*;

/// The oracle's own view of a nonce: one string of 12 bytes.
struct Oracle<A> {
    cipher: A,
    nonce: [u8; 12],
}

impl<A: Aead + KeyInit> Oracle<A> {
    fn new(key: &[u8], nonce: [u8; 12]) -> Self {
        Self { cipher: A::new_from_slice(key).expect("the length of the key"), nonce }
    }

    fn seal(&self, aad: &[u8], msg: &[u8]) -> Vec<u8> {
        let nonce = self.nonce.as_slice().try_into().expect("12 bytes");
        self.cipher.encrypt(nonce, Payload { msg, aad }).expect("short enough")
    }

    fn open(&self, aad: &[u8], msg: &[u8]) -> Option<Vec<u8>> {
        let nonce = self.nonce.as_slice().try_into().expect("12 bytes");
        self.cipher.decrypt(nonce, Payload { msg, aad }).ok()
    }
}

fn compare<A: Aead + KeyInit>(cipher: Cipher, key: &[u8], nonce: [u8; 12], aad: &[u8], text: &[u8], flip: usize) {
    let oracle = Oracle::<A>::new(key, nonce);
    let (salt, iv) = nonce.split_first_chunk::<4>().expect("12 bytes");
    let iv: [u8; 8] = iv.try_into().expect("the rest of 12 bytes");
    let ours = AeadKey::new(cipher, &[key, salt].concat());

    let mut sealed = text.to_vec();
    let tag = ours.seal(iv, aad, &mut sealed);
    sealed.extend_from_slice(&tag);
    assert_eq!(sealed, oracle.seal(aad, text));
    assert_eq!(oracle.open(aad, &sealed).as_deref(), Some(text));

    let open = |aad: &[u8], sealed: &[u8]| {
        let (body, tag) = sealed.split_last_chunk::<TAG_LEN>().expect("an ICV");
        let mut body = body.to_vec();
        ours.open(iv, aad, &mut body, tag).ok().map(|()| body)
    };
    assert_eq!(open(aad, &sealed).as_deref(), Some(text));

    let bit = flip % (sealed.len() * 8);
    sealed[bit / 8] ^= 1 << (bit % 8);
    assert_eq!(open(aad, &sealed), None, "bit {bit}");
    assert_eq!(oracle.open(aad, &sealed), None, "bit {bit}");
    sealed[bit / 8] ^= 1 << (bit % 8);
    let longer = [aad, &[0]].concat();
    assert_eq!(open(&longer, &sealed), None, "more authenticated data");
}

fn text() -> impl Strategy<Value = Vec<u8>> {
    // Around the block sizes of the implementations, around a packet, and anything up to a jumbo frame.
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..300),
        prop::collection::vec(any::<u8>(), 1380..1440),
        prop::collection::vec(any::<u8>(), 0..9001),
    ]
}

proptest! {
    #[test]
    fn aes_256_gcm_agrees_with_the_oracle(
        key: [u8; 32],
        nonce: [u8; 12],
        aad in prop::collection::vec(any::<u8>(), 0..80),
        text in text(),
        flip: usize,
    ) {
        compare::<Aes256Gcm>(Cipher::Aes256Gcm16, &key, nonce, &aad, &text, flip);
    }

    #[test]
    fn aes_128_gcm_agrees_with_the_oracle(
        key: [u8; 16],
        nonce: [u8; 12],
        aad in prop::collection::vec(any::<u8>(), 0..80),
        text in text(),
        flip: usize,
    ) {
        compare::<Aes128Gcm>(Cipher::Aes128Gcm16, &key, nonce, &aad, &text, flip);
    }
}

#[test]
fn ml_kem_agrees_with_the_oracle_in_both_roles() {
    for (group, algorithm) in [(Group::MlKem768, &kem::ML_KEM_768), (Group::MlKem1024, &kem::ML_KEM_1024)] {
        for seed in 0..20 {
            let ours = KeyPair::generate(group, &mut SeededEntropy::new(seed));
            let (ciphertext, secret) =
                EncapsulationKey::new(algorithm, ours.public()).expect("a key").encapsulate().expect("a ciphertext");
            let mut changed = ciphertext.as_ref().to_vec();
            changed[usize::try_from(seed).expect("small")] ^= 1;
            let again = KeyPair::generate(group, &mut SeededEntropy::new(seed));
            assert_eq!(ours.agree(ciphertext.as_ref()).expect("agreed").expose(), secret.as_ref());
            assert_ne!(again.agree(&changed).expect("implicit rejection").expose(), secret.as_ref());

            let theirs = DecapsulationKey::generate(algorithm).expect("a key");
            let public = theirs.encapsulation_key().expect("a key").key_bytes().expect("bytes").as_ref().to_vec();
            let (ciphertext, secret) = kex::answer(group, &public, &mut SeededEntropy::new(seed)).expect("an answer");
            let opened = theirs.decapsulate(Ciphertext::from(ciphertext.as_slice())).expect("agreed");
            assert_eq!(opened.as_ref(), secret.expose());
        }
    }
}
