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
    let octets = signed.to_vec();
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
    let octets = signed.to_vec();
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
