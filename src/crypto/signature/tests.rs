//! What the identifiers are, and what keys make of them.

use super::*;

/// RFC 7427 appendix A: the objects, byte for byte as they are printed there.
#[test]
fn identifiers_are_those_of_the_rfc() {
    for (algorithm, printed) in [
        (Algorithm::RsaPkcs1(Hash::Sha256), "300d06092a864886f70d01010b0500"),
        (Algorithm::RsaPkcs1(Hash::Sha384), "300d06092a864886f70d01010c0500"),
        (Algorithm::RsaPkcs1(Hash::Sha512), "300d06092a864886f70d01010d0500"),
        (Algorithm::Ecdsa(Hash::Sha256), "300a06082a8648ce3d040302"),
        (Algorithm::Ecdsa(Hash::Sha384), "300a06082a8648ce3d040303"),
        (Algorithm::Ecdsa(Hash::Sha512), "300a06082a8648ce3d040304"),
        (Algorithm::Ed25519, "300506032b6570"),
        (
            Algorithm::RsaPss(Hash::Sha256),
            "304106092a864886f70d01010a3034a00f300d06096086480165030402010500a11c301a06092a864886f70d010108300d\
             06096086480165030402010500a203020120",
        ),
    ] {
        assert_eq!(hex::encode(algorithm.identifier()), printed, "{}", algorithm.as_str());
    }
    for algorithm in ALGORITHMS {
        let der = algorithm.identifier();
        assert_eq!(Algorithm::identified(&der), Some(algorithm));
        for at in 0..der.len() {
            let mut other = der.clone();
            other[at] ^= 0x40;
            assert_ne!(Algorithm::identified(&other), Some(algorithm), "byte {at}");
            assert_ne!(Algorithm::identified(&der[..at]), Some(algorithm));
        }
        assert_eq!(Algorithm::identified(&[&der[..], &[0]].concat()), None, "nothing may follow");
    }
    // SHA-1 with RSA and with ECDSA, MD5, PSS with the defaults (SHA-1).
    for weak in [
        "300d06092a864886f70d0101050500",
        "300906072a8648ce3d0401",
        "300d06092a864886f70d0101040500",
        "300d06092a864886f70d01010a3000",
    ] {
        assert_eq!(Algorithm::identified(&hex::decode(weak).unwrap()), None);
    }
}

fn keys() -> Vec<SigningKey> {
    use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519};
    let curves = [&PKCS_ECDSA_P256_SHA256, &PKCS_ECDSA_P384_SHA384, &PKCS_ED25519];
    let mut keys: Vec<_> = curves
        .map(|kind| SigningKey::from_pem(KeyPair::generate_for(kind).unwrap().serialize_pem().as_bytes()).unwrap())
        .into_iter()
        .collect();
    for pem in [crate::crypto::certificate::testing::RSA_2048, crate::crypto::certificate::testing::P521] {
        keys.push(SigningKey::from_pem(pem.as_bytes()).unwrap());
    }
    keys
}

#[test]
fn what_a_key_signs_it_verifies_and_nothing_else() {
    let keys = keys();
    let kinds: Vec<_> = keys.iter().map(|key| key.public().kind).collect();
    assert_eq!(kinds, [KeyKind::P256, KeyKind::P384, KeyKind::Ed25519, KeyKind::Rsa, KeyKind::P521]);
    for key in &keys {
        for algorithm in ALGORITHMS {
            let Some(signature) = key.sign(algorithm, b"message") else {
                assert!(!key.public().kind.algorithms().contains(&algorithm));
                continue;
            };
            assert!(key.public().verifies(algorithm, b"message", &signature));
            assert!(!key.public().verifies(algorithm, b"massage", &signature));
            for other in ALGORITHMS.into_iter().filter(|other| *other != algorithm) {
                assert!(!key.public().verifies(other, b"message", &signature), "{algorithm:?} as {other:?}");
            }
            for at in 0..signature.len() {
                let mut forged = signature.clone();
                forged[at] ^= 1;
                assert!(!key.public().verifies(algorithm, b"message", &forged));
                assert!(!key.public().verifies(algorithm, b"message", &signature[..at]));
            }
            assert!(
                keys.iter()
                    .filter(|other| other.public() != key.public())
                    .all(|other| { !other.public().verifies(algorithm, b"message", &signature) })
            );
        }
        if let Some(fixed) = key.sign_fixed(b"message") {
            assert!(key.public().verifies_fixed(b"message", &fixed));
            assert!(!key.public().verifies_fixed(b"massage", &fixed));
            // RFC 4754 §3: 64, 96 and 132 octets.
            assert!([64, 96, 132].contains(&fixed.len()));
        }
    }
}

#[test]
fn a_short_or_encrypted_key_is_refused_in_words() {
    let refused = |pem: &str| SigningKey::from_pem(pem.as_bytes()).err().unwrap();
    assert!(refused(crate::crypto::certificate::testing::RSA_1024).contains("2048"));
    assert!(
        refused("-----BEGIN ENCRYPTED PRIVATE KEY-----\nAA==\n-----END ENCRYPTED PRIVATE KEY-----\n")
            .contains("encrypted")
    );
    assert!(refused("swordfish").contains("no private key"));
}
