//! Quick crash detection (RFC 6290): a secret that outlives the process lets us say, without any state, that an IKE SA of
//! ours is gone, in a way that only its peer believes and that nobody else can say.
//!
//! ```text
//! in IKE_AUTH and after a rekeying:   SK {.., N(QCD_TOKEN)}       each side gives the other its token of this IKE SA
//! after a restart:
//! Peer that is still there                 Restarted
//! HDR(old SPIs), SK {..}              -->
//!                                     <--  HDR(old SPIs), N(INVALID_IKE_SPI), N(QCD_TOKEN)
//! the IKE SA and its child SAs are gone at once, and a new one is opened
//! ```
//! Left out: several generations of the secret (§4.4 lets a maker send up to four tokens; ours has one secret, and takes up
//! to four), and tokens that hold the maker's address (§5.2), which a maker that may move must not use.

use subtle::ConstantTimeEq;

use super::keymat::Spis;
use super::limits;
use crate::crypto::suite::PrfAlg;
use crate::secret::Secret;
use crate::time::Instant;
use crate::wire::ike::numbers::{NotifyType, ProtocolId};
use crate::wire::ike::payload::Notify;

/// RFC 6290 §4.1: a token has 16 to 128 octets.
const TOKEN_LEN: std::ops::RangeInclusive<usize> = 16..=128;
/// Octets of ours: as many as nobody guesses, so that the answer to a stranger stays short.
const OWN_LEN: usize = 16;

/// Makes our tokens.
pub struct TokenMaker {
    secret: Secret,
    since: Instant,
    answered: u32,
}

impl TokenMaker {
    /// From a secret that must be the same after a restart, and nobody else's.
    pub fn new(secret: Secret) -> Self {
        Self { secret, since: Instant::ZERO, answered: 0 }
    }

    /// RFC 6290 §5.1: a hash over a secret and both IKE SPIs; here it is keyed by the secret.
    /// `initiator`: we are the IKE SA's initiator; our token of an SA between two gateways with one secret (a copied
    /// machine) must not be the peer's.
    pub fn token(&self, spis: Spis, initiator: bool) -> Notify {
        let parts = [&spis.initiator.to_be_bytes()[..], &spis.responder.to_be_bytes(), &[u8::from(initiator)], b"QCD"];
        let token = PrfAlg::HmacSha256.prf(self.secret.expose(), &parts);
        let data = token.expose().get(..OWN_LEN).unwrap_or_default().to_vec();
        // §4.1: the Protocol ID is 1, and the SPI is empty.
        Notify { protocol: ProtocolId::IKE, spi: Vec::new(), kind: NotifyType::QCD_TOKEN, data }
    }

    /// Whether another stranger may be told about an IKE SA that is gone.
    pub fn may_answer(&mut self, now: Instant) -> bool {
        if now.since(self.since) >= limits::CRASH_WINDOW {
            (self.since, self.answered) = (now, 0);
        }
        self.answered += 1;
        self.answered <= limits::MAX_CRASH_ANSWERS
    }
}

/// The peer's token, as it came within the IKE SA.
pub struct PeerToken(Secret);

impl PeerToken {
    /// The token in a protected message, if there is one.
    pub fn read(notifies: &[Notify]) -> Option<Self> {
        let notify = notifies.iter().find(|notify| notify.kind == NotifyType::QCD_TOKEN)?;
        TOKEN_LEN.contains(&notify.data.len()).then(|| Self(Secret::copy_of(&notify.data)))
    }

    /// Whether an unprotected answer proves that the peer has lost the IKE SA.
    pub fn is_in(&self, notifies: &[Notify]) -> bool {
        let lost = notifies.iter().any(|notify| notify.kind == NotifyType::INVALID_IKE_SPI);
        let mut tokens = notifies.iter().filter(|notify| notify.kind == NotifyType::QCD_TOKEN);
        // §4.5: a taker understands four at least.
        lost && tokens.by_ref().take(limits::MAX_TOKENS_TAKEN).any(|notify| self.0.expose().ct_eq(&notify.data).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notify(kind: NotifyType, data: &[u8]) -> Notify {
        Notify::status(kind, data.to_vec())
    }

    #[test]
    fn a_token_is_that_of_one_ike_sa_one_side_and_one_secret() {
        let maker = TokenMaker::new(Secret::copy_of(&[1; 32]));
        let other = TokenMaker::new(Secret::copy_of(&[2; 32]));
        let spis = Spis { initiator: 1, responder: 2 };
        let token = maker.token(spis, true);
        assert_eq!((token.protocol, token.spi.len(), token.data.len()), (ProtocolId::IKE, 0, 16));
        assert_eq!(token, TokenMaker::new(Secret::copy_of(&[1; 32])).token(spis, true), "also after a restart");
        assert_ne!(token, maker.token(spis, false));
        assert_ne!(token, maker.token(Spis { initiator: 2, responder: 1 }, true));
        assert_ne!(token, other.token(spis, true));
    }

    #[test]
    fn only_the_token_beside_invalid_ike_spi_is_believed_and_of_four_at_most() {
        let token = PeerToken::read(&[notify(NotifyType::QCD_TOKEN, &[9; 16])]).unwrap();
        let lost = || notify(NotifyType::INVALID_IKE_SPI, &[]);
        let right = || notify(NotifyType::QCD_TOKEN, &[9; 16]);
        let wrong = || notify(NotifyType::QCD_TOKEN, &[8; 16]);
        assert!(token.is_in(&[lost(), right()]));
        assert!(token.is_in(&[wrong(), wrong(), lost(), wrong(), right()]));
        assert!(!token.is_in(&[right()]) && !token.is_in(&[lost()]) && !token.is_in(&[lost(), wrong()]));
        assert!(!token.is_in(&[lost(), notify(NotifyType::QCD_TOKEN, &[9; 15])]));
        assert!(!token.is_in(&[lost(), wrong(), wrong(), wrong(), wrong(), right()]));
        for length in [0, 15, 129] {
            assert!(PeerToken::read(&[notify(NotifyType::QCD_TOKEN, &vec![9; length])]).is_none());
        }
    }

    #[test]
    fn strangers_get_a_bounded_number_of_answers() {
        let mut maker = TokenMaker::new(Secret::copy_of(&[1; 32]));
        let now = Instant::from_nanos(5_000_000_000);
        let answered = |maker: &mut TokenMaker, now| (0..10_000).filter(|_| maker.may_answer(now)).count();
        assert_eq!(answered(&mut maker, now), limits::MAX_CRASH_ANSWERS as usize);
        assert_eq!(answered(&mut maker, now + limits::CRASH_WINDOW), limits::MAX_CRASH_ANSWERS as usize);
    }
}
