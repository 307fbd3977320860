//! Digital signatures with X.509 certificates: method 14 (RFC 7427, RFC 8420) and the older methods 1 (RFC 7296 §3.8) and 9
//! to 11 (RFC 4754).
//!
//! The owner of a certificate has proved itself if its signature is right, the chain ends at an authority of ours, nothing
//! of it has expired or been revoked, and the certificate carries the identity of the ID payload (RFC 4945 §3.1). SHA-1 is
//! not accepted in any of them, so method 1 means SHA-2 here. Left out: raw public keys, "hash and URL" certificates
//! (which somebody would have to fetch).

use std::fmt;
use std::sync::Arc;

use super::announce::{PeerSays, old_method};
use super::check::Failure;
use super::method::Means;
use super::name;
use super::octets::SignedOctets;
use crate::crypto::certificate::{Certificate, MAX_CHAIN, Trust};
use crate::crypto::signature::{Algorithm, Hash, SigningKey};
use crate::event::IkeReason;
use crate::ike::describe;
use crate::wire::ike::numbers::{AuthMethod, CertEncoding};
use crate::wire::ike::payload::{Auth, Cert, Id};

/// Our certificate, those between it and an authority, and its key.
pub struct Credential {
    chain: Vec<Certificate>,
    key: Option<SigningKey>,
}

impl Credential {
    /// The first certificate of the chain is ours. The error is a sentence.
    pub fn new(chain: Vec<Certificate>, key: SigningKey) -> Result<Self, String> {
        let Some(own) = chain.first() else { return Err("there is no certificate".to_owned()) };
        if own.key != *key.public() {
            let (certified, found) = (own.key.kind.as_str(), key.public().kind.as_str());
            return Err(format!(
                "the key ({found}) is not that of the certificate ({certified}, {})",
                own.subject_text
            ));
        }
        if !own.may_sign {
            return Err("the certificate's key usage does not allow signatures".to_owned());
        }
        if chain.len() > MAX_CHAIN {
            return Err(format!("the chain has more than {MAX_CHAIN} certificates"));
        }
        Ok(Self { chain, key: Some(key) })
    }

    /// What stands for one whose files have not been read: it proves nothing.
    #[must_use]
    pub fn unread() -> Self {
        Self { chain: Vec::new(), key: None }
    }

    /// Our own certificate.
    #[must_use]
    pub fn own(&self) -> Option<&Certificate> {
        self.chain.first()
    }

    /// All of them.
    #[must_use]
    pub fn chain(&self) -> &[Certificate] {
        &self.chain
    }

    /// Whether it carries an identity.
    #[must_use]
    pub fn carries(&self, id: &Id) -> bool {
        self.own().is_some_and(|own| name::carries(own, id))
    }
}

impl PartialEq for Credential {
    fn eq(&self, other: &Self) -> bool {
        // Each key fits its certificate.
        self.chain == other.chain
    }
}

impl Eq for Credential {}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credential({:?})", self.own().map(|own| &own.subject_text))
    }
}

/// Our proof, and the certificates that go with it.
pub fn sign(
    credential: &Credential,
    signed: SignedOctets<'_>,
    says: &PeerSays,
) -> Result<(Auth, Vec<Cert>, Means), Failure> {
    let Some(key) = &credential.key else {
        return Err(Failure {
            reason: IkeReason::MethodMismatch,
            detail: "our certificate has not been read".to_owned(),
        });
    };
    let kind = key.public().kind;
    let refused = || Failure {
        reason: IkeReason::MethodMismatch,
        detail: format!("the peer takes no signature that our {} key makes", kind.as_str()),
    };
    let (method, algorithm) = says.choose(kind).ok_or_else(refused)?;
    let octets = signed.joined();
    let (data, means) = match (method, algorithm) {
        (_, Some(algorithm)) => {
            let signature = key.sign(algorithm, &octets).ok_or_else(refused)?;
            // RFC 7427 §3: the length of the AlgorithmIdentifier, the identifier, the signature.
            let identifier = algorithm.identifier();
            let mut data = vec![u8::try_from(identifier.len()).unwrap_or(u8::MAX)];
            data.extend(identifier);
            data.extend(signature);
            (data, Means::Signature(algorithm.as_str()))
        }
        (AuthMethod::RSA, None) => {
            let algorithm = Algorithm::RsaPkcs1(Hash::Sha256);
            (key.sign(algorithm, &octets).ok_or_else(refused)?, old(method))
        }
        _ => (key.sign_fixed(&octets).ok_or_else(refused)?, old(method)),
    };
    let certificates = credential
        .chain
        .iter()
        .map(|certificate| Cert { encoding: CertEncoding::X509_SIGNATURE, data: certificate.der().to_vec() });
    Ok((Auth { method, data }, certificates.collect(), means))
}

/// The words for a method that is older than RFC 7427.
fn old(method: AuthMethod) -> Means {
    Means::Signature(method.name().unwrap_or("an older method"))
}

/// A chain that a peer has shown and that was believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    certificates: Arc<[Certificate]>,
    /// Until when all of it is valid, in seconds since 1970.
    pub not_after: i64,
}

impl Chain {
    /// Whether it is believed under other authorities or revocation lists, too.
    pub fn judge(&mut self, trust: &Trust, unix_now: u64) -> Result<(), IkeReason> {
        let (own, between) = self.certificates.split_first().ok_or(IkeReason::NoCertificate)?;
        self.not_after = trust.verify(own, between, unix_now).map_err(|fault| fault.reason)?.not_after;
        Ok(())
    }
}

/// Checks a peer's signature, its chain, and that the certificate is about the identity it claims.
pub fn check(
    trust: &Trust,
    signed: SignedOctets<'_>,
    auth: &Auth,
    shown: &[Cert],
    unix_now: u64,
) -> Result<(Means, Chain), Failure> {
    let fail = |reason: IkeReason, detail: String| Err(Failure { reason, detail });
    if auth.method == AuthMethod::SHARED_KEY {
        return fail(
            IkeReason::MethodMismatch,
            "the peer signs with a shared key, a certificate is asked for".to_owned(),
        );
    }
    // RFC 7296 §3.6: "the first certificate MUST be the end entity certificate that contains the public key used for the
    // AUTH payload". Encodings that are not X.509 are passed over.
    let shown: Vec<&Cert> = shown.iter().filter(|cert| cert.encoding == CertEncoding::X509_SIGNATURE).collect();
    if shown.len() > MAX_CHAIN + 2 {
        return fail(IkeReason::BadCertificate, format!("the peer shows {} certificates", shown.len()));
    }
    let mut chain = Vec::new();
    for cert in shown {
        match Certificate::from_der(&cert.data) {
            Ok(certificate) => chain.push(certificate),
            Err(flaw) if chain.is_empty() => return fail(flaw.reason(), flaw.to_string()),
            // One that lies between and cannot be used may not be needed: other authorities' come along as well.
            Err(_) => {}
        }
    }
    let Some((own, between)) = chain.split_first() else {
        return fail(IkeReason::NoCertificate, "the peer sent no X.509 certificate".to_owned());
    };
    let means = check_signature(own, signed, auth)?;
    if unix_now == 0 {
        return fail(IkeReason::NoWallClock, String::new());
    }
    let about = |text: &str| format!("{text} (the peer's certificate is {}, by {})", own.subject_text, own.issuer_text);
    let verified = trust
        .verify(own, between, unix_now)
        .map_err(|fault| Failure { reason: fault.reason, detail: about(&fault.text) })?;
    if !name::carries(own, signed.id) {
        let text = format!("the peer claims {}, which its certificate does not carry", describe::identity(signed.id));
        return fail(IkeReason::CertificateName, about(&text));
    }
    Ok((means, Chain { certificates: chain.into(), not_after: verified.not_after }))
}

fn check_signature(own: &Certificate, signed: SignedOctets<'_>, auth: &Auth) -> Result<Means, Failure> {
    let fail = |reason: IkeReason, detail: &str| Err(Failure { reason, detail: detail.to_owned() });
    let octets = signed.joined();
    let wrong = "the signature is not that of the certificate's key";
    match auth.method {
        AuthMethod::DIGITAL_SIGNATURE => {
            let parts = auth.data.split_first().and_then(|(len, rest)| rest.split_at_checked(usize::from(*len)));
            let Some((identifier, signature)) = parts else {
                return fail(IkeReason::Malformed, "the AUTH payload ends within its AlgorithmIdentifier");
            };
            let Some(algorithm) = Algorithm::identified(identifier) else {
                return fail(IkeReason::WeakSignature, "the peer's signature is by an algorithm that is not accepted");
            };
            if own.key.verifies(algorithm, &octets, signature) {
                return Ok(Means::Signature(algorithm.as_str()));
            }
            fail(IkeReason::AuthenticationFailed, wrong)
        }
        AuthMethod::RSA => {
            let hashes = [Hash::Sha256, Hash::Sha384, Hash::Sha512];
            if hashes.iter().any(|hash| own.key.verifies(Algorithm::RsaPkcs1(*hash), &octets, &auth.data)) {
                return Ok(old(auth.method));
            }
            if own.key.is_by_sha1(&octets, &auth.data) {
                return fail(
                    IkeReason::WeakSignature,
                    "the peer signs with RSA and SHA-1 (method 1); it should use RFC 7427",
                );
            }
            fail(IkeReason::AuthenticationFailed, wrong)
        }
        method if Some(method) == old_method(own.key.kind) => {
            if own.key.verifies_fixed(&octets, &auth.data) {
                return Ok(old(method));
            }
            fail(IkeReason::AuthenticationFailed, wrong)
        }
        _ => fail(IkeReason::MethodMismatch, "the peer's method does not fit the key of its certificate"),
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{PKCS_ECDSA_P384_SHA384, PKCS_ED25519};

    use super::*;
    use crate::crypto::certificate::Revocation;
    use crate::crypto::certificate::testing::{Authority, Issued, Leaf, NOW, RSA_2048};
    use crate::crypto::suite::PrfAlg;
    use crate::ike::auth::{Circumstances, LocalAuth, PeerAuth, PeerAuthenticated, Shown, prove};
    use crate::secret::Secret;
    use crate::wire::ike::numbers::{IdType, NotifyType};
    use crate::wire::ike::payload::Notify;

    fn kinds(authority: &Authority) -> Vec<Issued> {
        let mut all: Vec<_> = [&rcgen::PKCS_ECDSA_P256_SHA256, &PKCS_ECDSA_P384_SHA384, &PKCS_ED25519]
            .map(|kind| authority.issue(&Leaf { kind, ..Leaf::default() }))
            .into_iter()
            .collect();
        all.push(authority.issue_for(&Leaf::default(), &rcgen::KeyPair::from_pem(RSA_2048).unwrap()));
        all
    }

    fn modern() -> PeerSays {
        let mut says = PeerSays::default();
        says.hear(&[Notify::status(NotifyType::SIGNATURE_HASH_ALGORITHMS, vec![0, 2, 0, 3, 0, 4, 0, 5])]);
        says
    }

    #[test]
    fn every_flipped_bit_shortened_signature_other_key_and_other_octets_is_refused() {
        let authority = Authority::new("ca");
        let trust = Trust::new(vec![authority.certificate()], Revocation::Off).unwrap();
        let peer = PeerAuth::Certificate(Arc::new(trust));
        let (id, sk_p) = (Id::new(IdType::FQDN, b"gw.example".to_vec()), Secret::copy_of(&[3; 32]));
        let prf = PrfAlg::HmacSha256;
        let signed = SignedOctets { prf, message: b"message", nonce: b"nonce", sk_p: &sk_p, id: &id, int_auth: &[] };
        let all = kinds(&authority);
        for (at, issued) in all.iter().enumerate() {
            let credential = Credential::new(vec![issued.certificate()], issued.key()).unwrap();
            let local = LocalAuth::Certificate(Arc::new(credential));
            for says in [modern(), PeerSays::default()] {
                let Ok(proof) = prove(&local, signed, Circumstances { turn: 0, says: &says }) else {
                    assert_eq!(issued.certificate().key.kind.as_str(), "Ed25519", "it has no older method");
                    continue;
                };
                let proof = proof.unwrap();
                let check = |auth: &Auth, certificates: &[Cert], signed| -> Result<PeerAuthenticated, IkeReason> {
                    let shown = Shown { auth, certificates, unix_now: NOW };
                    crate::ike::auth::check(&peer, &id, signed, shown).map_err(|failure| failure.reason)
                };
                let checked = check(&proof.auth, &proof.certificates, signed).unwrap();
                assert_eq!((checked.id(), checked.means()), (&id, proof.means));
                for bit in 0..proof.auth.data.len() * 8 {
                    let mut forged = proof.auth.clone();
                    forged.data[bit / 8] ^= 1 << (bit % 8);
                    assert!(check(&forged, &proof.certificates, signed).is_err(), "bit {bit}");
                }
                for len in 0..proof.auth.data.len() {
                    let short = Auth { data: proof.auth.data[..len].to_vec(), ..proof.auth.clone() };
                    assert!(check(&short, &proof.certificates, signed).is_err(), "{len} bytes");
                }
                for method in (0..=15).map(AuthMethod).filter(|method| *method != proof.auth.method) {
                    let other = Auth { method, ..proof.auth.clone() };
                    assert!(check(&other, &proof.certificates, signed).is_err(), "{method:?}");
                }
                let other = &all[(at + 1) % all.len()];
                let another = [Cert { encoding: CertEncoding::X509_SIGNATURE, data: other.der.clone() }];
                assert!(check(&proof.auth, &another, signed).is_err(), "the certificate of another key");
                assert_eq!(check(&proof.auth, &[], signed).unwrap_err(), IkeReason::NoCertificate);
                let failed = IkeReason::AuthenticationFailed;
                let wrong = |signed| check(&proof.auth, &proof.certificates, signed).unwrap_err();
                assert_eq!(wrong(SignedOctets { nonce: b"other", ..signed }), failed);
                assert_eq!(wrong(SignedOctets { message: b"other", ..signed }), failed);
                assert_eq!(wrong(SignedOctets { int_auth: b"more", ..signed }), failed);
            }
        }
    }

    #[test]
    fn algorithms_that_are_weak_and_certificates_without_end_are_refused_by_name() {
        let authority = Authority::new("ca");
        let trust = Trust::new(vec![authority.certificate()], Revocation::Off).unwrap();
        let leaf = authority.issue(&Leaf::default());
        let (id, sk_p) = (Id::new(IdType::FQDN, b"gw.example".to_vec()), Secret::copy_of(&[3; 32]));
        let prf = PrfAlg::HmacSha256;
        let signed = SignedOctets { prf, message: b"message", nonce: b"nonce", sk_p: &sk_p, id: &id, int_auth: &[] };
        let cert = Cert { encoding: CertEncoding::X509_SIGNATURE, data: leaf.der.clone() };
        let why = |data: Vec<u8>, shown: &[Cert]| {
            let auth = Auth { method: AuthMethod::DIGITAL_SIGNATURE, data };
            check(&trust, signed, &auth, shown, NOW).unwrap_err().reason
        };
        // ecdsa-with-SHA1, in an AlgorithmIdentifier of 11 bytes.
        let mut sha1 = vec![11];
        sha1.extend(hex::decode("300906072a8648ce3d0401").unwrap());
        sha1.extend([0; 70]);
        assert_eq!(why(sha1, std::slice::from_ref(&cert)), IkeReason::WeakSignature);
        assert_eq!(why(vec![200, 1, 2], std::slice::from_ref(&cert)), IkeReason::Malformed);
        assert_eq!(why(vec![], std::slice::from_ref(&cert)), IkeReason::Malformed);
        assert_eq!(why(vec![0], &vec![cert.clone(); 20]), IkeReason::BadCertificate);
        assert_eq!(why(vec![0], &[Cert { data: vec![0x30, 0], ..cert.clone() }]), IkeReason::BadCertificate);
        assert_eq!(why(vec![0], &[Cert { encoding: CertEncoding(12), ..cert }]), IkeReason::NoCertificate);
    }
}
