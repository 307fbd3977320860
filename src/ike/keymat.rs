//! Keys from secrets: SKEYSEED, the seven SK_* keys, and KEYMAT for child SAs (RFC 7296 §2.13 to §2.17).

use crate::crypto::suite::{EspSuite, IkeSuite, PrfAlg};
use crate::sa::child::EspKeys;
use crate::secret::Secret;
use crate::wire::ike::header::IkeSpi;

/// Both SPIs of an IKE SA.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Spis {
    /// Chosen by the side that opened it.
    pub initiator: IkeSpi,
    /// Chosen by the other.
    pub responder: IkeSpi,
}

impl Spis {
    /// Both in hexadecimal, the initiator's first.
    pub fn to_hex(self) -> [String; 2] {
        [format!("{:016x}", self.initiator), format!("{:016x}", self.responder)]
    }
}

/// Both nonces of one exchange, the initiator's first.
#[derive(Clone, Copy, Debug)]
pub struct Nonces<'a> {
    /// `Ni`.
    pub initiator: &'a [u8],
    /// `Nr`.
    pub responder: &'a [u8],
}

/// The keys of one IKE SA (§2.14), under the RFC's names.
#[allow(clippy::struct_field_names)]
pub struct IkeKeys {
    /// What the keys of child SAs come from.
    pub sk_d: Secret,
    /// Integrity, from the initiator; empty with an AEAD cipher.
    pub sk_ai: Secret,
    /// Integrity, from the responder.
    pub sk_ar: Secret,
    /// Encryption, from the initiator; with the salt of an AEAD cipher behind it.
    pub sk_ei: Secret,
    /// Encryption, from the responder.
    pub sk_er: Secret,
    /// What goes into the initiator's AUTH.
    pub sk_pi: Secret,
    /// What goes into the responder's AUTH.
    pub sk_pr: Secret,
}

/// Cuts `material` into consecutive keys.
struct Cutter<'a> {
    material: &'a [u8],
}

impl Cutter<'_> {
    fn next(&mut self, len: usize) -> Secret {
        let (key, rest) = self.material.split_at_checked(len).expect("prf+ was asked for the sum of all lengths");
        self.material = rest;
        Secret::copy_of(key)
    }
}

/// The keys of a new IKE SA.
pub fn ike_keys(suite: IkeSuite, shared: &Secret, nonces: Nonces<'_>, spis: Spis) -> IkeKeys {
    let Nonces { initiator: ni, responder: nr } = nonces;
    // RFC 7296 §2.14: "SKEYSEED = prf(Ni | Nr, g^ir)". HMAC takes a key of any length, so both nonces enter whole.
    let skeyseed = suite.prf.prf(&[ni, nr].concat(), &[shared.expose()]);
    expand(suite, &skeyseed, nonces, spis)
}

/// The keys of an IKE SA after another key exchange in IKE_INTERMEDIATE; `sk_d` is that of the keys before.
pub fn next_ike_keys(suite: IkeSuite, sk_d: &Secret, shared: &Secret, nonces: Nonces<'_>, spis: Spis) -> IkeKeys {
    // RFC 9370 §2.2.2: "SKEYSEED(n) = prf(SK_d(n-1), SK(n) | Ni | Nr)", with the nonces of IKE_SA_INIT.
    let skeyseed = suite.prf.prf(sk_d.expose(), &[shared.expose(), nonces.initiator, nonces.responder]);
    expand(suite, &skeyseed, nonces, spis)
}

/// The keys of an IKE SA that takes the place of an older one, whose PRF and SK_d are `old`; `shared` are the secrets of all
/// its key exchanges in their order.
pub fn rekeyed_ike_keys(
    old: (PrfAlg, &Secret),
    suite: IkeSuite,
    shared: &[Secret],
    nonces: Nonces<'_>,
    spis: Spis,
) -> IkeKeys {
    let (prf, sk_d) = old;
    // RFC 7296 §2.18: "SKEYSEED = prf(SK_d (old), g^ir (new) | Ni | Nr)", and it is the old IKE SA's PRF that is used.
    let skeyseed = prf.prf(sk_d.expose(), &seed(shared, nonces));
    expand(suite, &skeyseed, nonces, spis)
}

/// What new keys come from beside SK_d. RFC 9370 §2.2.4: "SK(0) | Ni | Nr | SK(1) | ... SK(n)", where SK(0) is that of
/// CREATE_CHILD_SA, if there is one, and the others are those of IKE_FOLLOWUP_KE.
fn seed<'a>(shared: &'a [Secret], nonces: Nonces<'a>) -> Vec<&'a [u8]> {
    let (first, further) = shared.split_at(shared.len().min(1));
    let nonces = [nonces.initiator, nonces.responder];
    first.iter().map(Secret::expose).chain(nonces).chain(further.iter().map(Secret::expose)).collect()
}

/// The seven keys, by the PRF of the new IKE SA.
fn expand(suite: IkeSuite, skeyseed: &Secret, nonces: Nonces<'_>, spis: Spis) -> IkeKeys {
    let Nonces { initiator: ni, responder: nr } = nonces;
    // RFC 5282 §7.2: with an AEAD cipher there are no SK_ai and SK_ar.
    let integrity = suite.mac.map_or(0, super::super::crypto::suite::Mac::key_len);
    let (prf, encryption) = (suite.prf.len(), suite.cipher.key_len());
    // §2.14: "{SK_d | SK_ai | SK_ar | SK_ei | SK_er | SK_pi | SK_pr} = prf+ (SKEYSEED, Ni | Nr | SPIi | SPIr)"
    let material = suite.prf.prf_plus(
        skeyseed.expose(),
        &[ni, nr, &spis.initiator.to_be_bytes(), &spis.responder.to_be_bytes()],
        3 * prf + 2 * integrity + 2 * encryption,
    );
    let mut cut = Cutter { material: material.expose() };
    IkeKeys {
        sk_d: cut.next(prf),
        sk_ai: cut.next(integrity),
        sk_ar: cut.next(integrity),
        sk_ei: cut.next(encryption),
        sk_er: cut.next(encryption),
        sk_pi: cut.next(prf),
        sk_pr: cut.next(prf),
    }
}

/// The keys of one child SA; "initiator" is who started the exchange that makes it.
pub struct ChildKeys {
    /// For packets from the initiator.
    pub initiator: EspKeys,
    /// For packets from the responder.
    pub responder: EspKeys,
}

/// The keys of a new child SA; `shared` are the key exchange of CREATE_CHILD_SA, if there was one, and those after it.
pub fn child_keys(prf: PrfAlg, sk_d: &Secret, shared: &[Secret], nonces: Nonces<'_>, suite: EspSuite) -> ChildKeys {
    let integrity = suite.mac.map_or(0, super::super::crypto::suite::Mac::key_len);
    let encryption = suite.cipher.key_len();
    // RFC 7296 §2.17: "KEYMAT = prf+(SK_d, Ni | Nr)", and with a key exchange
    // "KEYMAT = prf+(SK_d, g^ir (new) | Ni | Nr)".
    let material = prf.prf_plus(sk_d.expose(), &seed(shared, nonces), 2 * (integrity + encryption));
    let mut cut = Cutter { material: material.expose() };
    // §2.17: all keys of the SA that carries data from the initiator come first, and within one SA encryption
    // before integrity.
    let mut direction = || EspKeys { cipher: cut.next(encryption), mac: cut.next(integrity) };
    ChildKeys { initiator: direction(), responder: direction() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::suite::{Additional, Cipher, Group, Mac};

    fn suite(cipher: Cipher, mac: Option<Mac>) -> IkeSuite {
        IkeSuite { cipher, mac, prf: PrfAlg::HmacSha384, group: Group::Ecp384, additional: Additional::NONE }
    }

    /// RFC 7296 §2.18, by hand: the old PRF with the old SK_d makes SKEYSEED, the new PRF makes the keys.
    #[test]
    fn a_rekeyed_ike_sa_takes_its_seed_from_the_old_sk_d_and_the_old_prf() {
        let new = suite(Cipher::Aes256Gcm16, None);
        let nonces = Nonces { initiator: &[1; 32], responder: &[2; 16] };
        let (sk_d, shared) = (Secret::copy_of(&[7; 32]), Secret::copy_of(&[3; 48]));
        let spis = Spis { initiator: 5, responder: 6 };
        let keys = rekeyed_ike_keys((PrfAlg::HmacSha256, &sk_d), new, &[shared], nonces, spis);
        let seed = PrfAlg::HmacSha256.prf(&[7; 32], &[&[&[3; 48][..], &[1; 32], &[2; 16]].concat()]);
        let tail = [&[1; 32][..], &[2; 16], &5u64.to_be_bytes(), &6u64.to_be_bytes()].concat();
        let all = PrfAlg::HmacSha384.prf_plus(seed.expose(), &[&tail], 3 * 48 + 2 * 36);
        assert_eq!(keys.sk_d.expose(), &all.expose()[..48]);
        assert_eq!(keys.sk_ei.expose(), &all.expose()[48..84]);
        assert_eq!(keys.sk_pr.expose(), &all.expose()[168..]);
    }

    /// RFC 9370 §2.2.2, by hand: SKEYSEED(1) from SK_d(0), the secret and the nonces; then all keys are made anew.
    #[test]
    fn a_further_key_exchange_is_chained_to_the_keys_before() {
        let suite = suite(Cipher::Aes256Gcm16, None);
        let nonces = Nonces { initiator: &[1; 32], responder: &[2; 16] };
        let (sk_d, shared) = (Secret::copy_of(&[7; 48]), Secret::copy_of(&[3; 32]));
        let keys = next_ike_keys(suite, &sk_d, &shared, nonces, Spis { initiator: 5, responder: 6 });
        let seed = suite.prf.prf(&[7; 48], &[&[&[3; 32][..], &[1; 32], &[2; 16]].concat()]);
        let tail = [&[1; 32][..], &[2; 16], &5u64.to_be_bytes(), &6u64.to_be_bytes()].concat();
        let all = suite.prf.prf_plus(seed.expose(), &[&tail], 3 * 48 + 2 * 36);
        assert_eq!(keys.sk_d.expose(), &all.expose()[..48]);
        assert_eq!(keys.sk_pr.expose(), &all.expose()[168..]);
    }

    /// RFC 9370 §2.2.4: "SK(0) | Ni | Nr | SK(1) | ... SK(n)".
    #[test]
    fn further_secrets_of_a_rekeying_stand_behind_the_nonces() {
        let suite = suite(Cipher::Aes256Gcm16, None);
        let nonces = Nonces { initiator: &[1; 32], responder: &[2; 16] };
        let sk_d = Secret::copy_of(&[7; 48]);
        let shared = [[3; 48], [4; 48], [5; 48]].map(|bytes| Secret::copy_of(&bytes));
        let seed = [&[3; 48][..], &[1; 32], &[2; 16], &[4; 48], &[5; 48]].concat();
        let esp = EspSuite {
            cipher: Cipher::Aes256Gcm16,
            mac: None,
            group: Some(Group::Ecp384),
            additional: Additional::NONE,
            esn: true,
        };
        let keys = child_keys(suite.prf, &sk_d, &shared, nonces, esp);
        let all = suite.prf.prf_plus(&[7; 48], &[&seed], 72);
        assert_eq!(keys.initiator.cipher.expose(), &all.expose()[..36]);
        assert_eq!(keys.responder.cipher.expose(), &all.expose()[36..]);
        let spis = Spis { initiator: 5, responder: 6 };
        let keys = rekeyed_ike_keys((PrfAlg::HmacSha256, &sk_d), suite, &shared, nonces, spis);
        let skeyseed = PrfAlg::HmacSha256.prf(&[7; 48], &[&seed]);
        let tail = [&[1; 32][..], &[2; 16], &5u64.to_be_bytes(), &6u64.to_be_bytes()].concat();
        let all = suite.prf.prf_plus(skeyseed.expose(), &[&tail], 48);
        assert_eq!(keys.sk_d, all);
    }

    #[test]
    fn an_aead_suite_has_no_integrity_keys_and_its_salt_is_in_the_encryption_key() {
        let nonces = Nonces { initiator: &[1; 32], responder: &[2; 32] };
        let spis = Spis { initiator: 1, responder: 2 };
        let keys = ike_keys(suite(Cipher::Aes256Gcm16, None), &Secret::copy_of(&[3; 48]), nonces, spis);
        assert!(keys.sk_ai.is_empty() && keys.sk_ar.is_empty());
        assert_eq!((keys.sk_ei.len(), keys.sk_er.len()), (36, 36));
        assert_eq!((keys.sk_d.len(), keys.sk_pi.len(), keys.sk_pr.len()), (48, 48, 48));
        assert_ne!(keys.sk_ei, keys.sk_er);
    }

    /// The order of RFC 7296 §2.14 and §2.17, cut by hand from prf+.
    #[test]
    fn keys_are_cut_in_the_order_of_the_rfc() {
        let suite = suite(Cipher::Aes256Cbc, Some(Mac::HmacSha256));
        let nonces = Nonces { initiator: b"nonce of the initiator", responder: b"nonce of the responder" };
        let shared = Secret::copy_of(&[9; 48]);
        let keys = ike_keys(suite, &shared, nonces, Spis { initiator: 1, responder: 2 });
        let seed = [nonces.initiator, nonces.responder].concat();
        let skeyseed = suite.prf.prf(&seed, &[shared.expose()]);
        let tail = [&seed[..], &1u64.to_be_bytes(), &2u64.to_be_bytes()].concat();
        let all = suite.prf.prf_plus(skeyseed.expose(), &[&tail], 48 * 3 + 32 * 4);
        let cuts = [0, 48, 80, 112, 144, 176, 224, 272];
        let expected = [&keys.sk_d, &keys.sk_ai, &keys.sk_ar, &keys.sk_ei, &keys.sk_er, &keys.sk_pi, &keys.sk_pr];
        for (key, range) in expected.iter().zip(cuts.windows(2)) {
            assert_eq!(key.expose(), &all.expose()[range[0]..range[1]]);
        }

        let esp = EspSuite {
            cipher: Cipher::Aes256Cbc,
            mac: Some(Mac::HmacSha512),
            group: None,
            additional: Additional::NONE,
            esn: false,
        };
        let pfs = Secret::copy_of(&[5; 48]);
        let child = child_keys(suite.prf, &keys.sk_d, &[pfs], nonces, esp);
        let all = suite.prf.prf_plus(keys.sk_d.expose(), &[&[&[5; 48][..], &seed].concat()], 2 * (32 + 64));
        assert_eq!(child.initiator.cipher.expose(), &all.expose()[..32]);
        assert_eq!(child.initiator.mac.expose(), &all.expose()[32..96]);
        assert_eq!(child.responder.cipher.expose(), &all.expose()[96..128]);
        assert_eq!(child.responder.mac.expose(), &all.expose()[128..]);
        let without = child_keys(suite.prf, &keys.sk_d, &[], nonces, esp);
        assert_ne!(without.initiator.cipher, child.initiator.cipher);
    }
}
