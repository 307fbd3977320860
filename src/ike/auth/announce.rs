//! What both sides say about how they may prove themselves, before they do: SIGNATURE_HASH_ALGORITHMS (RFC 7427 §4),
//! SUPPORTED_AUTH_METHODS (RFC 9593), CERTREQ (RFC 7296 §3.7).
//!
//! Said only by a tunnel that has to do with certificates: with a pre-shared key alone there is nothing to choose.

use super::method::{LocalAuth, PeerAuth};
use crate::crypto::signature::{Algorithm, HASHES, Hash, KeyKind};
use crate::ike::config::TunnelConfig;
use crate::wire::ike::numbers::{AuthMethod, CertEncoding, NotifyType};
use crate::wire::ike::payload::{CertReq, Notify, Payload};
use crate::wire::reader::Reader;

/// The algorithms that are announced by RFC 9593: one of each kind. The response of IKE_SA_INIT must not grow by all ten
/// (RFC 9593 §4 asks for care with its size).
const ANNOUNCED: [Algorithm; 6] = [
    Algorithm::RsaPss(Hash::Sha256),
    Algorithm::Ecdsa(Hash::Sha256),
    Algorithm::Ecdsa(Hash::Sha384),
    Algorithm::Ecdsa(Hash::Sha512),
    Algorithm::Ed25519,
    Algorithm::RsaPkcs1(Hash::Sha256),
];

/// One way of proving oneself that the peer takes.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Announcement {
    method: AuthMethod,
    /// The AlgorithmIdentifier of a digital signature; empty: any.
    algorithm: Vec<u8>,
}

/// What the peer has said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerSays {
    /// The hash functions of method 14; `None`: it does not know that method.
    hashes: Option<Vec<u16>>,
    /// What it takes; `None`: it did not say.
    methods: Option<Vec<Announcement>>,
}

impl PeerSays {
    /// What is said in one more message.
    pub fn hear(&mut self, notifies: &[Notify]) {
        for notify in notifies {
            match notify.kind {
                NotifyType::SIGNATURE_HASH_ALGORITHMS => {
                    let numbers = notify.data.as_chunks::<2>().0.iter().map(|pair| u16::from_be_bytes(*pair));
                    self.hashes = Some(numbers.take(16).collect());
                }
                NotifyType::SUPPORTED_AUTH_METHODS => self.methods = Some(announcements(&notify.data)),
                _ => {}
            }
        }
    }

    /// Whether RFC 9593 is in use by the peer.
    pub fn names_methods(&self) -> bool {
        self.methods.is_some()
    }

    fn takes(&self, method: AuthMethod, algorithm: Option<Algorithm>) -> bool {
        let fits = |said: &Announcement| {
            let any = said.algorithm.is_empty();
            said.method == method && (any || algorithm.is_some_and(|ours| ours.identifier() == said.algorithm))
        };
        // An empty list only says that the extension is known (RFC 9593 §3).
        self.methods.as_ref().is_none_or(|methods| methods.is_empty() || methods.iter().any(fits))
    }

    /// How a key of this kind proves itself to this peer: an algorithm of method 14, or (`None`) the kind's own method.
    pub fn choose(&self, key: KeyKind) -> Option<(AuthMethod, Option<Algorithm>)> {
        let knows = |hash: Hash| self.hashes.as_ref().is_some_and(|hashes| hashes.contains(&(hash as u16)));
        let signature = AuthMethod::DIGITAL_SIGNATURE;
        let mut possible = key.algorithms().iter().copied().filter(|algorithm| knows(algorithm.hash()));
        if let Some(algorithm) = possible.find(|algorithm| self.takes(signature, Some(*algorithm))) {
            return Some((signature, Some(algorithm)));
        }
        let old = old_method(key)?;
        // RFC 7427 §4: who has announced hashes is not sent the older methods, unless it says that it takes them.
        let told = self.methods.as_ref().is_some_and(|methods| !methods.is_empty());
        ((self.hashes.is_none() || told) && self.takes(old, None)).then_some((old, None))
    }
}

/// The method of RFC 7296 §3.8 or RFC 4754 for a key.
pub fn old_method(key: KeyKind) -> Option<AuthMethod> {
    match key {
        KeyKind::Rsa => Some(AuthMethod::RSA),
        KeyKind::P256 => Some(AuthMethod::ECDSA_256),
        KeyKind::P384 => Some(AuthMethod::ECDSA_384),
        KeyKind::P521 => Some(AuthMethod::ECDSA_521),
        KeyKind::Ed25519 => None,
    }
}

/// RFC 9593 §3.2: each announcement is its own length, a method, and for methods with certificates the number of the
/// CERTREQ's authority (0: any), and for digital signatures an AlgorithmIdentifier.
fn announcements(data: &[u8]) -> Vec<Announcement> {
    let mut reader = Reader::new(data);
    let mut all = Vec::new();
    while all.len() < 32 {
        let Ok(len) = reader.u8() else { break };
        let Some(rest) = usize::from(len).checked_sub(1).and_then(|len| reader.take(len).ok()) else { break };
        let Some((method, rest)) = rest.split_first() else { break };
        all.push(Announcement { method: AuthMethod(*method), algorithm: rest.get(1..).unwrap_or_default().to_vec() });
    }
    all
}

/// Whether signatures are made or checked in this tunnel.
pub fn signs(tunnel: &TunnelConfig) -> bool {
    matches!(tunnel.local_auth, LocalAuth::Certificate(_)) || matches!(tunnel.peer_auth, PeerAuth::Certificate(_))
}

/// SIGNATURE_HASH_ALGORITHMS, for the messages of IKE_SA_INIT.
pub fn hashes(tunnel: &TunnelConfig) -> Option<Payload> {
    let numbers = HASHES.iter().flat_map(|hash| (*hash as u16).to_be_bytes()).collect();
    let notify = Notify::status(NotifyType::SIGNATURE_HASH_ALGORITHMS, numbers);
    signs(tunnel).then_some(Payload::Notify(notify))
}

/// SUPPORTED_AUTH_METHODS, for the response of IKE_SA_INIT and, if that had one, for the request of IKE_AUTH.
pub fn methods(tunnel: &TunnelConfig) -> Option<Payload> {
    let PeerAuth::Certificate(_) = tunnel.peer_auth else { return None };
    let mut data = Vec::new();
    for algorithm in ANNOUNCED {
        let identifier = algorithm.identifier();
        data.push(u8::try_from(identifier.len() + 3).unwrap_or(u8::MAX));
        data.extend([AuthMethod::DIGITAL_SIGNATURE.0, 0]);
        data.extend(identifier);
    }
    for method in [AuthMethod::ECDSA_256, AuthMethod::ECDSA_384, AuthMethod::ECDSA_521] {
        data.extend([3, method.0, 0]);
    }
    Some(Payload::Notify(Notify::status(NotifyType::SUPPORTED_AUTH_METHODS, data)))
}

/// CERTREQ: the authorities whose certificates we believe.
pub fn request(tunnel: &TunnelConfig) -> Option<Payload> {
    let PeerAuth::Certificate(trust) = &tunnel.peer_auth else { return None };
    // RFC 7296 §3.7: "a concatenated list of SHA-1 hashes of the public keys of trusted Certification Authorities".
    let authorities = trust.anchors().iter().flat_map(|anchor| anchor.key_hash).collect();
    Some(Payload::CertReq(CertReq { encoding: CertEncoding::X509_SIGNATURE, authorities }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn says(hashes: Option<&[u16]>, methods: Option<&[u8]>) -> PeerSays {
        let mut says = PeerSays::default();
        let hashes = hashes.map(|hashes| {
            let data = hashes.iter().flat_map(|hash| hash.to_be_bytes()).collect();
            Notify::status(NotifyType::SIGNATURE_HASH_ALGORITHMS, data)
        });
        let methods = methods.map(|data| Notify::status(NotifyType::SUPPORTED_AUTH_METHODS, data.to_vec()));
        says.hear(&hashes.into_iter().chain(methods).collect::<Vec<_>>());
        says
    }

    #[test]
    fn the_peers_hashes_choose_the_algorithm_and_silence_the_old_method() {
        let all = says(Some(&[2, 3, 4, 5]), None);
        let signature = |algorithm| Some((AuthMethod::DIGITAL_SIGNATURE, Some(algorithm)));
        assert_eq!(all.choose(KeyKind::Rsa), signature(Algorithm::RsaPss(Hash::Sha256)));
        assert_eq!(all.choose(KeyKind::P384), signature(Algorithm::Ecdsa(Hash::Sha384)));
        assert_eq!(all.choose(KeyKind::Ed25519), signature(Algorithm::Ed25519));
        let some = says(Some(&[1, 4, 99]), None);
        assert_eq!(some.choose(KeyKind::Rsa), signature(Algorithm::RsaPss(Hash::Sha512)));
        assert_eq!((some.choose(KeyKind::P256), some.choose(KeyKind::Ed25519)), (None, None));
        let silent = says(None, None);
        assert_eq!(silent.choose(KeyKind::Rsa), Some((AuthMethod::RSA, None)));
        assert_eq!(silent.choose(KeyKind::P256), Some((AuthMethod::ECDSA_256, None)));
        assert_eq!(silent.choose(KeyKind::P521), Some((AuthMethod::ECDSA_521, None)));
        assert_eq!(silent.choose(KeyKind::Ed25519), None);
    }

    #[test]
    fn announced_methods_are_honoured() {
        let pkcs1 = Algorithm::RsaPkcs1(Hash::Sha256);
        let mut list = vec![u8::try_from(pkcs1.identifier().len() + 3).unwrap(), 14, 0];
        list.extend(pkcs1.identifier());
        let only = says(Some(&[2, 3, 4, 5]), Some(&list));
        assert_eq!(only.choose(KeyKind::Rsa), Some((AuthMethod::DIGITAL_SIGNATURE, Some(pkcs1))));
        assert_eq!(only.choose(KeyKind::P256), None, "the peer says that it would not take it");
        let old = says(Some(&[2]), Some(&[3, 9, 0, 2, 2]));
        assert_eq!(old.choose(KeyKind::P256), Some((AuthMethod::ECDSA_256, None)));
        assert_eq!(says(Some(&[2]), Some(&[])).choose(KeyKind::P256).unwrap().0, AuthMethod::DIGITAL_SIGNATURE);
        // What is cut off or makes no sense says nothing.
        for junk in [&[0][..], &[1], &[9, 14], &[2]] {
            assert!(says(Some(&[2]), Some(junk)).choose(KeyKind::P256).is_some());
        }
    }
}
