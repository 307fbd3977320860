//! Which authorities are believed, what they have taken back, and whether a chain ends at one of them.
//!
//! The revocation lists and OCSP responses are those that were loaded with the configuration: nothing is fetched, neither
//! before a peer has authenticated nor after.

use std::fmt;
use std::time::Duration;

use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, TrustAnchor, UnixTime};
use webpki::{
    CertRevocationList, EndEntityCert, ExpirationPolicy, ExtendedKeyUsageValidator, KeyPurposeIdIter, KeyUsage,
    OwnedCertRevocationList, RevocationCheckDepth, RevocationOptionsBuilder, UnknownStatusPolicy, VerifiedPath,
};
use x509_parser::prelude::FromDer as _;
use x509_parser::revocation_list::CertificateRevocationList;

use super::ocsp::Responses;
use super::{Certificate, Fault, MAX_CHAIN};
use crate::crypto::signature::VERIFIERS;
use crate::event::IkeReason;

/// What is done about revocation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Revocation {
    /// A chain without a fresh verdict for each of its certificates is refused.
    #[default]
    HardFail,
    /// A chain is refused if a verdict at hand says that it is revoked.
    SoftFail,
    /// Nothing.
    Off,
}

/// The authorities of a tunnel.
pub struct Trust {
    anchors: Vec<Certificate>,
    revocation: Revocation,
    /// With the time of each, the newest first: the first one that covers a certificate counts.
    lists: Vec<(i64, CertRevocationList<'static>)>,
    responses: Responses,
    /// All of the files, so that two of them can be compared.
    source: Vec<Vec<u8>>,
}

/// A chain that is accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verified {
    /// When the first certificate of it expires, the authority's among them.
    pub not_after: i64,
}

/// RFC 4945 §5.1.3.12: without an extended key usage a certificate is for everything; with one it must name
/// id-kp-ipsecIKE or anyExtendedKeyUsage. What came before the former counts as well.
struct IpsecUsage;

const ACCEPTED: [&[u8]; 3] = [
    // id-kp-ipsecIKE, 1.3.6.1.5.5.7.3.17 (RFC 4945).
    &[0x2b, 6, 1, 5, 5, 7, 3, 17],
    // anyExtendedKeyUsage, 2.5.29.37.0 (RFC 5280 §4.2.1.12).
    &[0x55, 0x1d, 37, 0],
    // iKEIntermediate, 1.3.6.1.5.5.8.2.2, of drafts before RFC 4945, which certificates for gateways still carry.
    &[0x2b, 6, 1, 5, 5, 8, 2, 2],
];

impl ExtendedKeyUsageValidator for IpsecUsage {
    fn validate(&self, purposes: KeyPurposeIdIter<'_, '_>) -> Result<(), webpki::Error> {
        let mut some = false;
        for purpose in purposes {
            some = true;
            let purpose = purpose?;
            if ACCEPTED.iter().any(|accepted| webpki::KeyPurposeId::new(accepted) == purpose) {
                return Ok(());
            }
        }
        if !some {
            return Ok(());
        }
        let required = KeyUsage::required_if_present(ACCEPTED[0]);
        let context = webpki::RequiredEkuNotFoundContext { required, present: Vec::new() };
        Err(webpki::Error::RequiredEkuNotFoundContext(context))
    }
}

impl Trust {
    /// Authorities, none of which may be something else, and what to do about revocation.
    pub fn new(anchors: Vec<Certificate>, revocation: Revocation) -> Result<Self, String> {
        if anchors.is_empty() {
            return Err("no authority is named".to_owned());
        }
        for anchor in &anchors {
            if !anchor.is_authority || !anchor.may_certify {
                return Err(format!("{} is not the certificate of an authority", anchor.subject_text));
            }
            if webpki::anchor_from_trusted_cert(&anchor.der).is_err() {
                return Err(format!("{} cannot be an authority: it does not follow RFC 5280", anchor.subject_text));
            }
        }
        let source = anchors.iter().map(|anchor| anchor.der().to_vec()).collect();
        Ok(Self { anchors, revocation, lists: Vec::new(), responses: Responses::default(), source })
    }

    /// What stands for authorities whose files have not been read: nobody comes by them.
    #[must_use]
    pub fn unread(revocation: Revocation) -> Self {
        let responses = Responses::default();
        Self { anchors: Vec::new(), revocation, lists: Vec::new(), responses, source: Vec::new() }
    }

    /// Adds the revocation lists of a file, in PEM or DER.
    pub fn add_lists(&mut self, file: &[u8]) -> Result<(), String> {
        let pem: Vec<_> = CertificateRevocationListDer::pem_slice_iter(file).filter_map(Result::ok).collect();
        let ders: Vec<&[u8]> = if pem.is_empty() { vec![file] } else { pem.iter().map(AsRef::as_ref).collect() };
        for der in ders {
            let list = OwnedCertRevocationList::from_der(der)
                .map_err(|_| "this is no certificate revocation list that is understood here".to_owned())?;
            let made = CertificateRevocationList::from_der(der);
            let made = made.map_or(i64::MIN, |(_, list)| list.last_update().timestamp());
            self.lists.push((made, list.into()));
            self.source.push(der.to_vec());
        }
        self.lists.sort_by_key(|(made, _)| std::cmp::Reverse(*made));
        Ok(())
    }

    /// Adds an OCSP response (RFC 6960) in DER. It counts in a check once its signature is right.
    pub fn add_response(&mut self, der: &[u8]) -> Result<(), String> {
        self.responses.add(der).ok_or("this is no OCSP response that is understood here")?;
        Ok(())
    }

    /// The authorities.
    #[must_use]
    pub fn anchors(&self) -> &[Certificate] {
        &self.anchors
    }

    /// What is done about revocation.
    #[must_use]
    pub fn revocation(&self) -> Revocation {
        self.revocation
    }

    /// How many revocation lists and responses there are.
    #[must_use]
    pub fn verdicts(&self) -> usize {
        self.lists.len() + self.responses.len()
    }

    /// Whether the chain from `leaf` over some of `between` ends at one of the authorities, at the time `now` in seconds
    /// since 1970, and nothing of it has been revoked.
    pub fn verify(&self, leaf: &Certificate, between: &[Certificate], now: u64) -> Result<Verified, Fault> {
        if !leaf.may_sign {
            return Err(Fault::new(
                IkeReason::CertificateUsage,
                "the certificate's key usage does not allow signatures",
            ));
        }
        let lists: Vec<_> = self.lists.iter().map(|(_, list)| list).collect();
        let by_lists = match self.revocation {
            Revocation::HardFail => Some((UnknownStatusPolicy::Deny, ExpirationPolicy::Enforce)),
            Revocation::SoftFail => Some((UnknownStatusPolicy::Allow, ExpirationPolicy::Ignore)),
            Revocation::Off => None,
        };
        match by_lists {
            None => self.follow(leaf, between, now, None),
            Some((unknown, expired)) => {
                let options = RevocationOptionsBuilder::new(&lists).ok().map(|builder| {
                    let builder = builder.with_depth(RevocationCheckDepth::Chain);
                    builder.with_status_policy(unknown).with_expiration_policy(expired).build()
                });
                let hard = self.revocation == Revocation::HardFail;
                let first = match options {
                    None if hard => {
                        // What else is wrong is told first.
                        self.follow(leaf, between, now, None)?;
                        Err(Fault::from(&webpki::Error::UnknownRevocationStatus))
                    }
                    options => self.follow(leaf, between, now, options),
                };
                self.ask_responses(leaf, between, now, first)
            }
        }
    }

    /// What OCSP adds: a revocation in any case, and a good word where the lists are silent.
    fn ask_responses(
        &self,
        leaf: &Certificate,
        between: &[Certificate],
        now: u64,
        by_lists: Result<Verified, Fault>,
    ) -> Result<Verified, Fault> {
        if self.responses.len() == 0 {
            return by_lists;
        }
        let verified = match by_lists {
            Err(Fault { reason: IkeReason::RevocationUnknown, .. }) => Err(self.follow(leaf, between, now, None)?),
            Err(fault) => return Err(fault),
            Ok(verified) => Ok(verified),
        };
        // The authorities' certificates that lie on the way are given by name; a wrong one has signed nothing.
        let issuers: Vec<&Certificate> = between.iter().chain(&self.anchors).collect();
        let on_the_way = self.on_the_way(leaf, between, now)?;
        let mut silent = false;
        for certificate in on_the_way {
            match self.responses.status(certificate, &issuers, now) {
                Some(true) => {}
                Some(false) => {
                    let text = "the authority's OCSP response says that a certificate of the chain is revoked";
                    return Err(Fault::new(IkeReason::CertificateRevoked, text));
                }
                None => silent = true,
            }
        }
        match verified {
            // However failure is taken: a list that is no authority's may stand in front of one that is.
            Err(_) if silent => {
                let text =
                    "neither a revocation list nor an OCSP response at hand covers every certificate of the chain";
                Err(Fault::new(IkeReason::RevocationUnknown, text))
            }
            Ok(verified) | Err(verified) => Ok(verified),
        }
    }

    /// The certificates of the chain that need a verdict: the peer's, and those between.
    fn on_the_way<'c>(
        &self,
        leaf: &'c Certificate,
        between: &'c [Certificate],
        now: u64,
    ) -> Result<Vec<&'c Certificate>, Fault> {
        let mut used = Vec::new();
        self.path(leaf, between, now, None, |path| {
            used = path.intermediate_certificates().map(|certificate| certificate.der().as_ref().to_vec()).collect();
        })?;
        let between = between.iter().filter(|certificate| used.iter().any(|der| der == certificate.der()));
        Ok(std::iter::once(leaf).chain(between).collect())
    }

    fn follow(
        &self,
        leaf: &Certificate,
        between: &[Certificate],
        now: u64,
        revocation: Option<webpki::RevocationOptions<'_>>,
    ) -> Result<Verified, Fault> {
        let mut not_after = leaf.not_after;
        let mut trouble = None;
        self.path(leaf, between, now, revocation, |path| {
            for used in path.intermediate_certificates() {
                let known = between.iter().find(|certificate| certificate.der() == used.der().as_ref());
                not_after = known.map_or(not_after, |certificate| not_after.min(certificate.not_after));
                if known.is_none_or(|certificate| !certificate.may_certify) {
                    let text = "the key usage of an issuer does not allow it to sign certificates";
                    trouble = Some(Fault::new(IkeReason::CertificateUsage, text));
                }
            }
            let anchor = path.anchor();
            let known = self.anchors.iter().find(|known| {
                webpki::anchor_from_trusted_cert(&known.der).is_ok_and(|known| {
                    (known.subject.as_ref(), known.subject_public_key_info.as_ref())
                        == (anchor.subject.as_ref(), anchor.subject_public_key_info.as_ref())
                })
            });
            // RFC 5280 §6.1.1 leaves the validity of an anchor to the one who trusts it: one that has expired is not.
            let at = i64::try_from(now).unwrap_or(i64::MAX);
            if let Some(known) = known {
                not_after = not_after.min(known.not_after);
                if at > known.not_after || at < known.not_before {
                    let text = format!("the authority {} is not valid at this time", known.subject_text);
                    trouble = Some(Fault::new(IkeReason::CertificateExpired, text));
                }
            }
        })?;
        match trouble {
            Some(fault) => Err(fault),
            None => Ok(Verified { not_after }),
        }
    }

    /// Builds the path and shows it.
    fn path(
        &self,
        leaf: &Certificate,
        between: &[Certificate],
        now: u64,
        revocation: Option<webpki::RevocationOptions<'_>>,
        look: impl FnOnce(&VerifiedPath<'_>),
    ) -> Result<(), Fault> {
        let anchors: Vec<TrustAnchor<'_>> =
            self.anchors.iter().filter_map(|anchor| webpki::anchor_from_trusted_cert(&anchor.der).ok()).collect();
        let between: Vec<CertificateDer<'_>> =
            between.iter().take(MAX_CHAIN).map(|certificate| CertificateDer::from(certificate.der())).collect();
        let end = EndEntityCert::try_from(&leaf.der).map_err(|error| Fault::from(&error))?;
        let time = UnixTime::since_unix_epoch(Duration::from_secs(now));
        let path = end
            .verify_for_usage(VERIFIERS, &anchors, &between, time, IpsecUsage, revocation, None)
            .map_err(|error| Fault::from(&error))?;
        look(&path);
        Ok(())
    }
}

impl PartialEq for Trust {
    fn eq(&self, other: &Self) -> bool {
        (self.revocation, &self.source, &self.responses) == (other.revocation, &other.source, &other.responses)
    }
}

impl Eq for Trust {}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let anchors: Vec<_> = self.anchors.iter().map(|anchor| anchor.subject_text.as_str()).collect();
        write!(f, "Trust({anchors:?}, {:?}, {} verdicts)", self.revocation, self.verdicts())
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{ExtendedKeyUsagePurpose, KeyUsagePurpose, PKCS_ECDSA_P384_SHA384, PKCS_ED25519};

    use super::super::testing::*;
    use super::*;

    fn trust(authority: &Authority, revocation: Revocation, lists: &[Vec<u8>]) -> Trust {
        let mut trust = Trust::new(vec![authority.certificate()], revocation).unwrap();
        for list in lists {
            trust.add_lists(list).unwrap();
        }
        trust
    }

    fn off(authority: &Authority) -> Trust {
        trust(authority, Revocation::Off, &[])
    }

    fn why(result: Result<Verified, Fault>) -> IkeReason {
        result.unwrap_err().reason
    }

    #[test]
    fn a_chain_ends_at_an_authority_of_ours_or_is_refused() {
        let (root, other) = (Authority::new("root"), Authority::new("other"));
        let between = root.below("between");
        let direct = root.issue(&Leaf::default()).certificate();
        assert_eq!(off(&root).verify(&direct, &[], NOW).unwrap().not_after, direct.not_after);
        assert_eq!(why(off(&other).verify(&direct, &[], NOW)), IkeReason::CertificateUntrusted);
        // The same name is not the same authority.
        assert_eq!(why(off(&Authority::new("root")).verify(&direct, &[], NOW)), IkeReason::CertificateUntrusted);
        let below = between.issue(&Leaf::default()).certificate();
        assert!(off(&root).verify(&below, &[between.certificate()], NOW).is_ok());
        assert!(off(&root).verify(&below, &[other.certificate(), between.certificate()], NOW).is_ok(), "in any order");
        assert_eq!(why(off(&root).verify(&below, &[], NOW)), IkeReason::CertificateUntrusted);
        // A certificate that is no authority's issues nothing, and one with path length 0 no authority.
        assert_eq!(why(off(&root).verify(&below, std::slice::from_ref(&direct), NOW)), IkeReason::CertificateUntrusted);
        let deeper = between.below("deeper");
        let deep = deeper.issue(&Leaf::default()).certificate();
        let chain = [deeper.certificate(), between.certificate()];
        assert_eq!(why(off(&root).verify(&deep, &chain, NOW)), IkeReason::CertificateUntrusted);
        // An authority's own certificate proves no peer.
        assert_eq!(why(off(&root).verify(&between.certificate(), &[], NOW)), IkeReason::CertificateUsage);
        for kind in [&PKCS_ECDSA_P384_SHA384, &PKCS_ED25519] {
            let leaf = root.issue(&Leaf { kind, ..Leaf::default() }).certificate();
            assert!(off(&root).verify(&leaf, &[], NOW).is_ok());
        }
    }

    #[test]
    fn time_decides_and_the_authority_ages_too() {
        let root = Authority::new("root");
        let verify = |years| off(&root).verify(&root.issue(&Leaf { years, ..Leaf::default() }).certificate(), &[], NOW);
        assert!(verify((2027, 2029)).is_ok());
        assert_eq!(why(verify((2026, 2027))), IkeReason::CertificateExpired);
        assert_eq!(why(verify((2029, 2030))), IkeReason::CertificateNotYetValid);
        let old = Authority::valid("old", (2020, 2027));
        let leaf = old.issue(&Leaf { years: (2026, 2030), ..Leaf::default() }).certificate();
        assert_eq!(why(off(&old).verify(&leaf, &[], NOW)), IkeReason::CertificateExpired);
        let soon = Authority::valid("soon", (2026, 2029));
        let verified = off(&soon).verify(&soon.issue(&Leaf::default()).certificate(), &[], NOW).unwrap();
        assert_eq!(verified.not_after, soon.certificate().not_after, "the first of them to expire");
    }

    #[test]
    fn usages_are_those_of_ipsec() {
        let root = Authority::new("root");
        let verify = |usages: &[KeyUsagePurpose], purposes: &[ExtendedKeyUsagePurpose]| {
            let leaf = Leaf { usages: usages.to_vec(), purposes: purposes.to_vec(), ..Leaf::default() };
            off(&root).verify(&root.issue(&leaf).certificate(), &[], NOW)
        };
        let ipsec = || ExtendedKeyUsagePurpose::Other(vec![1, 3, 6, 1, 5, 5, 7, 3, 17]);
        let before = || ExtendedKeyUsagePurpose::Other(vec![1, 3, 6, 1, 5, 5, 8, 2, 2]);
        let web = || ExtendedKeyUsagePurpose::ServerAuth;
        assert!(verify(&[], &[]).is_ok());
        assert!(verify(&[KeyUsagePurpose::ContentCommitment], &[ipsec()]).is_ok());
        assert!(verify(&[], &[web(), ipsec()]).is_ok() && verify(&[], &[before()]).is_ok());
        assert!(verify(&[], &[ExtendedKeyUsagePurpose::Any]).is_ok());
        assert_eq!(why(verify(&[], &[web()])), IkeReason::CertificateUsage);
        assert_eq!(why(verify(&[KeyUsagePurpose::KeyEncipherment], &[])), IkeReason::CertificateUsage);
    }

    #[test]
    fn revocation_is_known_from_fresh_lists_or_the_chain_is_refused() {
        let root = Authority::new("root");
        let leaf = |serial| root.issue(&Leaf { serial, ..Leaf::default() }).certificate();
        let (hard, soft) = (Revocation::HardFail, Revocation::SoftFail);
        let fresh = root.revoke(&[66], (2027, 2029));
        let stale = root.revoke(&[66], (2026, 2027));
        let check = |revocation, lists: &[&Vec<u8>], serial| {
            let lists: Vec<_> = lists.iter().map(|list| (*list).clone()).collect();
            trust(&root, revocation, &lists).verify(&leaf(serial), &[], NOW)
        };
        assert!(check(hard, &[&fresh], 7).is_ok());
        assert_eq!(why(check(hard, &[&fresh], 66)), IkeReason::CertificateRevoked);
        assert_eq!(why(check(hard, &[], 7)), IkeReason::RevocationUnknown);
        assert_eq!(why(check(hard, &[&stale], 7)), IkeReason::RevocationUnknown);
        assert_eq!(
            why(check(hard, &[&Authority::new("other").revoke(&[], (2027, 2029))], 7)),
            IkeReason::RevocationUnknown
        );
        // Of two lists the newer one counts, in whatever order they were loaded.
        let pardoned = root.revoke(&[], (2028, 2029));
        assert!(check(hard, &[&fresh, &pardoned], 66).is_ok() && check(hard, &[&pardoned, &fresh], 66).is_ok());
        // A list that somebody else has signed under the authority's name says nothing.
        let forged = Authority::new("root").revoke(&[], (2027, 2029));
        assert_eq!(why(check(hard, &[&forged], 7)), IkeReason::RevocationUnknown);
        assert!(check(soft, &[], 7).is_ok() && check(soft, &[&stale], 7).is_ok());
        assert_eq!(why(check(soft, &[&fresh], 66)), IkeReason::CertificateRevoked);
        assert_eq!(why(check(soft, &[&stale], 66)), IkeReason::CertificateRevoked);
        assert!(check(Revocation::Off, &[&fresh], 66).is_ok());
    }

    #[test]
    fn those_between_can_be_revoked_as_well() {
        let root = Authority::new("root");
        let between = root.below("between");
        let leaf = between.issue(&Leaf::default()).certificate();
        let of_between = between.revoke(&[], (2027, 2029));
        let serial = between.certificate().serial;
        let of_root = root.revoke(&[1], (2027, 2029));
        let check =
            |lists: &[Vec<u8>]| trust(&root, Revocation::HardFail, lists).verify(&leaf, &[between.certificate()], NOW);
        assert!(check(&[of_between.clone(), of_root]).is_ok());
        assert_eq!(why(check(std::slice::from_ref(&of_between))), IkeReason::RevocationUnknown);
        let list = root.revoke_raw(&[&serial], (2027, 2029));
        assert_eq!(why(check(&[of_between, list])), IkeReason::CertificateRevoked);
    }

    #[test]
    fn what_is_no_authority_and_no_list_is_not_loaded() {
        let root = Authority::new("root");
        let leaf = root.issue(&Leaf::default()).certificate();
        assert!(Trust::new(vec![leaf], Revocation::Off).unwrap_err().contains("CN=leaf"));
        assert!(Trust::new(vec![], Revocation::Off).is_err());
        let mut trust = off(&root);
        assert!(trust.add_lists(b"swordfish").is_err() && trust.add_response(b"swordfish").is_err());
        assert_eq!(trust.verdicts(), 0);
    }
}
