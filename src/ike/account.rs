//! What was said in the last negotiations of a tunnel, for `portcullis explain`: one page for each kind of exchange and
//! for who began it, each of bounded size.
//!
//! A page holds what the peer said and what became of it; what we say follows from the configuration. Until IKE_AUTH has
//! signed it, everything is hearsay: such a page never takes the place of one that was authenticated.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::config::TunnelConfig;
use super::describe;
use super::limits;
use super::negotiate::{self, Place};
use super::payloads::Sorted;
use super::step::Notice;
use crate::event::IkeReason;
use crate::policy::selector::TrafficSelector;
use crate::sa::spi::Spi;
use crate::time::Instant;
use crate::wire::ike::header::IkeSpi;
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
    fn add(&mut self, later: Self) {
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

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    topic: Topic,
    by_us: bool,
    authenticated: bool,
}

#[derive(Debug)]
struct Entry {
    spi: IkeSpi,
    at: Instant,
    outcome: Outcome,
    theirs: Said,
}

/// The pages of one tunnel: at most one for each kind of exchange, for who began, and for whether it was authenticated.
#[derive(Debug, Default)]
pub struct Accounts(BTreeMap<Key, Entry>);

impl Accounts {
    /// Writes down what one step of the IKE SA with our SPI `spi` has brought.
    pub fn follow(&mut self, now: Instant, spi: IkeSpi, notices: &mut [Notice]) {
        let mut open: Option<(Topic, bool)> = None;
        let mut made = false;
        for notice in notices.iter_mut() {
            match notice {
                Notice::Heard(heard) => {
                    open = Some((heard.topic, heard.by_us));
                    self.hear(now, spi, std::mem::take(heard));
                }
                Notice::ChildUp { .. } | Notice::ChildRekeyed | Notice::IkeRekeyed => made = true,
                _ => {}
            }
        }
        let authenticated = notices.iter().any(|notice| matches!(notice, Notice::Authenticated { .. }));
        if authenticated {
            let by_us = open.is_some_and(|(_, by_us)| by_us);
            self.settle(spi, Topic::IkeAuth, by_us, Outcome::Agreed);
            self.confirm(spi);
        }
        if made && let Some((topic, by_us)) = open {
            let topic = if topic == Topic::IkeAuth { Topic::FirstChild } else { topic };
            self.settle(spi, topic, by_us, Outcome::Agreed);
        }
        for notice in notices.iter() {
            let (exchange, by_us, reason, detail) = match notice {
                Notice::Failed { exchange, reason, detail } | Notice::ChildFailed { exchange, reason, detail, .. } => {
                    (*exchange, true, *reason, detail)
                }
                Notice::RekeyFailed { reason, detail } => (ExchangeType::CREATE_CHILD_SA, true, *reason, detail),
                Notice::Declined { exchange, reason, detail } => (*exchange, false, *reason, detail),
                _ => continue,
            };
            let topic = match (exchange, open) {
                (ExchangeType::IKE_SA_INIT, _) => Topic::IkeSaInit,
                (ExchangeType::IKE_AUTH, _) if authenticated => Topic::FirstChild,
                (ExchangeType::IKE_AUTH, _) => Topic::IkeAuth,
                (ExchangeType::CREATE_CHILD_SA, Some((topic, _))) => topic,
                _ => continue,
            };
            let outcome = failed(reason, detail);
            if !self.settle(spi, topic, by_us, outcome.clone()) {
                self.hear(now, spi, Heard { topic, by_us, said: Said::default(), outcome });
            }
        }
    }

    /// A message has come in.
    pub fn hear(&mut self, now: Instant, spi: IkeSpi, heard: Heard) {
        let Heard { topic, by_us, said, outcome } = heard;
        // An answer that proves who the peer is may hold an error in place of the first child SA.
        let child = !said.proposals.is_empty() || (by_us && said.auth.is_some() && !said.errors.is_empty());
        if topic == Topic::IkeAuth && child {
            let said = said.clone();
            self.hear(now, spi, Heard { topic: Topic::FirstChild, by_us, said, outcome: Outcome::Open });
        }
        // Whoever can say something here after IKE_AUTH is the peer.
        let authenticated = !matches!(topic, Topic::IkeSaInit | Topic::IkeAuth | Topic::FirstChild);
        let entry = self.0.entry(Key { topic, by_us, authenticated });
        match entry {
            std::collections::btree_map::Entry::Occupied(mut entry) if entry.get().spi == spi && !authenticated => {
                let page = entry.get_mut();
                page.theirs.add(said);
                (page.at, page.outcome) = (now, outcome);
            }
            entry => {
                entry.insert_entry(Entry { spi, at: now, outcome, theirs: said });
            }
        }
    }

    /// What became of a page of this IKE SA; false if there is none.
    fn settle(&mut self, spi: IkeSpi, topic: Topic, by_us: bool, outcome: Outcome) -> bool {
        let mut pages = self.0.iter_mut().filter(|(key, page)| {
            key.topic == topic && key.by_us == by_us && page.spi == spi && page.outcome != Outcome::Agreed
        });
        match pages.next() {
            Some((_, page)) => {
                page.outcome = outcome;
                true
            }
            None => false,
        }
    }

    /// The peer has signed what this IKE SA has heard so far.
    fn confirm(&mut self, spi: IkeSpi) {
        let heard: Vec<Key> = self.0.iter().filter(|(_, page)| page.spi == spi).map(|(key, _)| *key).collect();
        for key in heard {
            if let Some(page) = self.0.remove(&key) {
                self.0.insert(Key { authenticated: true, ..key }, page);
            }
        }
    }

    /// Everything that is known, the newest first.
    #[must_use]
    pub fn pages(&self, now: Instant) -> Vec<Page> {
        let mut pages: Vec<_> = self.0.iter().collect();
        pages.sort_by_key(|(key, page)| (std::cmp::Reverse(page.at), std::cmp::Reverse(key.topic)));
        let page = |(key, page): (&Key, &Entry)| Page {
            topic: key.topic,
            by_us: key.by_us,
            authenticated: key.authenticated,
            ago_s: now.since(page.at).as_secs(),
            outcome: page.outcome.clone(),
            theirs: page.theirs.clone(),
        };
        pages.into_iter().map(page).collect()
    }

    /// Another configuration: what was said to the old one explains nothing any more.
    pub fn forget(&mut self) {
        self.0.clear();
    }
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
