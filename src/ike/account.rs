//! The words of `portcullis explain`: what a peer said in one negotiation, of bounded size, what we say by the configuration, and
//! what became of it. Which of it is kept is decided in `ike::accounts`.

use serde::{Deserialize, Serialize};

use super::config::TunnelConfig;
use super::describe;
use super::limits;
use super::negotiate::{self, Place};
use super::payloads::Sorted;
use crate::event::IkeReason;
use crate::policy::selector::TrafficSelector;
use crate::sa::spi::Spi;
use crate::wire::ike::numbers::{ExchangeType, NotifyType, PayloadType, ProtocolId};
use crate::wire::ike::payload::{Ke, Notify, Sa, Transform, TransformAttribute};

/// What an exchange was about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Topic {
    /// IKE_SA_INIT: proposals and groups of the IKE SA.
    IkeSaInit,
    /// IKE_AUTH: identities and proofs.
    IkeAuth,
    /// The first child SA, in IKE_AUTH.
    FirstChild,
    /// CREATE_CHILD_SA for a further child SA.
    Child,
    /// CREATE_CHILD_SA in place of a child SA.
    RekeyChild,
    /// CREATE_CHILD_SA in place of the IKE SA.
    RekeyIke,
}

/// One transform, in the numbers of the registries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Its type.
    pub kind: u8,
    /// Its number within the type.
    pub id: u16,
    /// Its key length.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bits: Option<u16>,
}

/// One proposal.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offered {
    /// For ESP, or for IKE.
    pub esp: bool,
    /// Its transforms.
    pub parts: Vec<Part>,
}

/// What the peer said in one message, as far as it fits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Said {
    /// Its proposals; a single one in an answer.
    pub proposals: Vec<Offered>,
    /// The group of its KE payload.
    pub group: Option<u16>,
    /// Who it says it is.
    pub identity: Option<String>,
    /// Whom it asks for (IDr of a request).
    pub asks_for: Option<String>,
    /// The method of its AUTH payload.
    pub auth: Option<u8>,
    /// Selectors of the exchange's initiator.
    pub initiator_selectors: Vec<TrafficSelector>,
    /// Selectors of the exchange's responder.
    pub responder_selectors: Vec<TrafficSelector>,
    /// Types of its error notifications.
    pub errors: Vec<u16>,
    /// The group that its INVALID_KE_PAYLOAD asks for.
    pub wants_group: Option<u16>,
}

/// What became of an exchange.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Nothing yet, or another round.
    #[default]
    Open,
    /// Both sides agreed.
    Agreed,
    /// They did not.
    Failed {
        /// The reason as it stands in counters.
        reason: String,
        /// In words.
        detail: String,
    },
}

/// One negotiation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    /// What it was about.
    pub topic: Topic,
    /// Whether we began the exchange.
    pub by_us: bool,
    /// Whether what `theirs` holds was said by the peer beyond doubt.
    pub authenticated: bool,
    /// How many seconds ago.
    pub ago_s: u64,
    /// What became of it.
    pub outcome: Outcome,
    /// What the peer said.
    pub theirs: Said,
}

/// What we say, by the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ours {
    /// Proposals for the IKE SA.
    pub ike: Vec<Offered>,
    /// Proposals for child SAs, with the groups that IKE_AUTH leaves out.
    pub esp: Vec<Offered>,
    /// Who we are.
    pub local_id: String,
    /// Who the peer must be.
    pub peer_id: String,
    /// How we prove it.
    pub local_auth: String,
    /// How the peer must prove it.
    pub peer_auth: String,
    /// The pairs of selectors that the rules ask for, ours first.
    pub selectors: Vec<[TrafficSelector; 2]>,
    /// Whether suites below AES-256 may be chosen.
    pub lab: bool,
}

/// The answer to `explain`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explained {
    /// The tunnel.
    pub tunnel: String,
    /// What we say.
    pub ours: Ours,
    /// What was negotiated, the newest first.
    pub pages: Vec<Page>,
}

impl Part {
    fn of(transform: &Transform) -> Self {
        let bits = transform.attributes.iter().find_map(|attribute| match attribute {
            TransformAttribute::KeyLength(bits) => Some(*bits),
            _ => None,
        });
        Self { kind: transform.kind.0, id: transform.id, bits }
    }
}

/// The proposals of an SA payload, as many as fit.
#[must_use]
pub fn offered(sa: &Sa) -> Vec<Offered> {
    let mut room = limits::MAX_TOLD_TRANSFORMS;
    let proposals = sa.proposals.iter().take(limits::MAX_TOLD_PROPOSALS);
    proposals
        .map(|proposal| {
            let parts: Vec<_> = proposal.transforms.iter().take(room).map(Part::of).collect();
            room -= parts.len();
            Offered { esp: proposal.protocol != ProtocolId::IKE, parts }
        })
        .collect()
}

impl Said {
    /// What stands in a message of IKE_SA_INIT.
    #[must_use]
    pub fn in_clear(sa: Option<&Sa>, ke: Option<&Ke>, notifies: &[Notify]) -> Self {
        let errors = notifies.iter().filter(|notify| notify.kind.is_error()).take(limits::MAX_TOLD_ERRORS);
        let wanted = notifies.iter().find(|notify| notify.kind == NotifyType::INVALID_KE_PAYLOAD);
        Self {
            proposals: sa.map(offered).unwrap_or_default(),
            group: ke.map(|ke| ke.method.0),
            errors: errors.map(|notify| notify.kind.0).collect(),
            wants_group: wanted.and_then(Notify::wanted_ke).map(|group| group.0),
            ..Self::default()
        }
    }

    /// What stands in any message; `request`: it is one of the peer's.
    #[must_use]
    pub fn of(sorted: &Sorted, request: bool) -> Self {
        let (identity, asks_for) = if request { (&sorted.id_i, &sorted.id_r) } else { (&sorted.id_r, &None) };
        let selectors = |ts: &Option<crate::wire::ike::payload::Ts>| {
            let known = ts.as_ref().map(|ts| TrafficSelector::from_entries(&ts.selectors)).unwrap_or_default();
            known.into_iter().take(limits::MAX_TOLD_SELECTORS).collect()
        };
        Self {
            identity: identity.as_ref().map(describe::identity),
            asks_for: asks_for.as_ref().map(describe::identity),
            auth: sorted.auth.as_ref().map(|auth| auth.method.0),
            initiator_selectors: selectors(&sorted.ts_i),
            responder_selectors: selectors(&sorted.ts_r),
            ..Self::in_clear(sorted.sa.as_ref(), sorted.ke.as_ref(), &sorted.notifies)
        }
    }

    /// What a later message of the same exchange adds.
    pub(super) fn add(&mut self, later: Self) {
        let Self { proposals, group, identity, asks_for, auth, initiator_selectors, responder_selectors, .. } = later;
        if !proposals.is_empty() {
            (self.proposals, self.initiator_selectors, self.responder_selectors) =
                (proposals, initiator_selectors, responder_selectors);
        }
        self.group = group.or(self.group);
        self.identity = identity.or(self.identity.take());
        self.asks_for = asks_for.or(self.asks_for.take());
        self.auth = auth.or(self.auth);
        (self.errors, self.wants_group) = (later.errors, later.wants_group);
    }
}

/// Something that the peer said.
#[derive(Debug)]
pub struct Heard {
    /// What it is about.
    pub topic: Topic,
    /// Whether it answers us.
    pub by_us: bool,
    /// What was said.
    pub said: Said,
    /// What became of it, where that is known already.
    pub outcome: Outcome,
}

impl Heard {
    /// A message of an exchange that is protected.
    #[must_use]
    pub fn protected(exchange: ExchangeType, by_us: bool, sorted: &Sorted) -> Option<Self> {
        let topic = match exchange {
            ExchangeType::IKE_AUTH => Topic::IkeAuth,
            ExchangeType::CREATE_CHILD_SA if sorted.notify(NotifyType::REKEY_SA).is_some() => Topic::RekeyChild,
            ExchangeType::CREATE_CHILD_SA => match sorted.sa.as_ref().and_then(|sa| sa.proposals.first()) {
                Some(proposal) if proposal.protocol == ProtocolId::IKE => Topic::RekeyIke,
                _ => Topic::Child,
            },
            _ => return None,
        };
        Some(Self { topic, by_us, said: Said::of(sorted, !by_us), outcome: Outcome::Open })
    }
}

/// The reason and detail of a failure.
#[must_use]
pub fn failed(reason: IkeReason, detail: &str) -> Outcome {
    Outcome::Failed { reason: reason.as_str().to_owned(), detail: detail.to_owned() }
}

impl Default for Heard {
    fn default() -> Self {
        Self { topic: Topic::IkeSaInit, by_us: false, said: Said::default(), outcome: Outcome::Open }
    }
}

impl Ours {
    /// What we say for this tunnel.
    #[must_use]
    pub fn of(tunnel: &TunnelConfig) -> Self {
        let spi = Spi::new(u32::MAX).expect("above 255");
        Self {
            ike: offered(&negotiate::ike_offer(&tunnel.ike)),
            esp: offered(&negotiate::esp_offer(&tunnel.esp, spi, Place::CreateChildSa)),
            local_id: describe::identity(&tunnel.local_id),
            peer_id: describe::identity(&tunnel.peer_id),
            local_auth: tunnel.local_auth.word().to_owned(),
            peer_auth: tunnel.peer_auth.word().to_owned(),
            selectors: tunnel.children.iter().map(|child| [child.local, child.remote]).collect(),
            lab: tunnel.lab,
        }
    }
}

/// What a message of IKE_SA_INIT says, read without any state: for captures. `None` if it is no such message.
#[must_use]
pub fn read_init(datagram: &[u8]) -> Option<(crate::wire::ike::header::Header, Said)> {
    let message = crate::wire::ike::message::Message::decode(datagram).ok()?;
    if message.header.exchange != ExchangeType::IKE_SA_INIT {
        return None;
    }
    let header = message.header;
    let sorted = Sorted::sort(message.payloads.into_iter().filter(|of| of.kind() != PayloadType::VENDOR).collect());
    let sorted = sorted.ok()?;
    Some((header, Said::in_clear(sorted.sa.as_ref(), sorted.ke.as_ref(), &sorted.notifies)))
}
