//! What one step of the machine may touch beside its own IKE SA: the time, randomness, the outbox, and what it has to
//! say to those who outlive it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use super::account::Heard;
use super::api::{KeyLog, Output};
use super::collision::Origin;
use super::crash::TokenMaker;
use super::error::Refusal;
use super::ike_sa::{Core, IkeSa};
use super::path::Path;
use super::payloads::Sorted;
use super::state::established::Estate;
use crate::entropy::Entropy;
use crate::event::{Event, IkeReason};
use crate::ids::{ShapeId, TunnelId};
use crate::sa::command::SadCommand;
use crate::sa::spi::{Spi, SpiClass};
use crate::time::Instant;
use crate::wire::ike::header::IkeSpi;
use crate::wire::ike::numbers::ExchangeType;
use crate::wire::ike::payload::Payload;

/// One step.
pub struct Step<'a> {
    /// When it happens.
    pub now: Instant,
    /// The time of day, in seconds since 1970: certificates are checked against it.
    pub unix_now: u64,
    /// Randomness.
    pub entropy: &'a mut dyn Entropy,
    /// What is to be done outside.
    pub out: &'a mut Outbox,
    /// The ESP SPIs in use.
    pub esp: &'a mut EspSpis,
    /// Other established IKE SAs of the same tunnel.
    pub rivals: &'a [Rival],
    /// What the connection has to hear.
    pub notices: &'a mut Vec<Notice>,
    /// IKE SAs that take the place of this one.
    pub born: &'a mut Vec<IkeSa>,
    /// Makes our tokens, if we have a secret for that.
    pub tokens: Option<&'a TokenMaker>,
}

impl Step<'_> {
    /// N(QCD_TOKEN) of this IKE SA, if we have a secret that outlives us.
    pub fn token(&self, core: &Core) -> Option<Payload> {
        Some(Payload::Notify(self.tokens?.token(core.spis, core.initiator)))
    }

    /// Notes what a protected message says, for `explain`; `by_us`: it answers us.
    pub fn hear(&mut self, exchange: ExchangeType, by_us: bool, sorted: &Result<Sorted, Refusal>) {
        let heard = sorted.as_ref().ok().and_then(|sorted| Heard::protected(exchange, by_us, sorted));
        self.notices.extend(heard.map(Notice::Heard));
    }
}

/// Outputs in order.
pub struct Outbox {
    queue: VecDeque<Output>,
    key_log: bool,
}

impl Outbox {
    /// An empty one.
    pub fn new(key_log: bool) -> Self {
        Self { queue: VecDeque::new(), key_log }
    }

    /// A datagram.
    pub fn transmit(&mut self, path: Path, bytes: Vec<u8>) {
        self.queue.push_back(Output::Transmit { local: path.local, remote: path.remote, bytes });
    }

    /// The datagrams of one message.
    pub fn transmit_all(&mut self, path: Path, datagrams: &[Vec<u8>]) {
        for datagram in datagrams {
            self.transmit(path, datagram.clone());
        }
    }

    /// A NAT keepalive.
    pub fn keepalive(&mut self, path: Path) {
        self.queue.push_back(Output::Keepalive { local: path.local, remote: path.remote });
    }

    /// A change of the SAD.
    pub fn sad(&mut self, command: SadCommand) {
        self.queue.push_back(Output::Sad(command));
    }

    /// Our inner addresses.
    pub fn addresses(&mut self, tunnel: TunnelId, addresses: Vec<IpAddr>) {
        self.queue.push_back(Output::Addresses { tunnel, addresses });
    }

    /// Something for the operator.
    pub fn event(&mut self, event: Event) {
        self.queue.push_back(Output::Event(event));
    }

    /// Key material, made only if it was asked for.
    pub fn key_log(&mut self, line: impl FnOnce() -> Option<KeyLog>) {
        if self.key_log {
            self.queue.extend(line().map(Output::KeyLog));
        }
    }

    /// The next output.
    pub fn pop(&mut self) -> Option<Output> {
        self.queue.pop_front()
    }
}

/// Our ESP SPIs, each with the IKE SA that it belongs to.
#[derive(Debug, Default)]
pub struct EspSpis {
    owners: BTreeMap<Spi, IkeSpi>,
    by_owner: BTreeSet<(IkeSpi, Spi)>,
}

impl EspSpis {
    /// A fresh random SPI of `class`; never 0 to 255 (RFC 4303 §2.1), never one in use.
    pub fn reserve(&mut self, owner: IkeSpi, class: SpiClass, entropy: &mut dyn Entropy) -> Spi {
        loop {
            if let Some(spi) = class.pick(u32::from_be_bytes(entropy.array()))
                && !self.owners.contains_key(&spi)
            {
                self.owners.insert(spi, owner);
                self.by_owner.insert((owner, spi));
                return spi;
            }
        }
    }

    /// The SPI is free again.
    pub fn release(&mut self, spi: Spi) {
        if let Some(owner) = self.owners.remove(&spi) {
            self.by_owner.remove(&(owner, spi));
        }
    }

    /// Everything that belonged to an IKE SA is free again.
    pub fn release_all(&mut self, owner: IkeSpi) {
        for spi in self.take(owner) {
            self.owners.remove(&spi);
        }
    }

    /// Everything that belonged to an IKE SA belongs to the one that takes its place.
    pub fn hand_over(&mut self, from: IkeSpi, to: IkeSpi) {
        for spi in self.take(from) {
            self.owners.insert(spi, to);
            self.by_owner.insert((to, spi));
        }
    }

    /// Those of one owner, which has none any more.
    fn take(&mut self, owner: IkeSpi) -> Vec<Spi> {
        let own = self.by_owner.range((owner, Spi::LEAST)..).take_while(|(of, _)| *of == owner);
        let own: Vec<_> = own.map(|(_, spi)| *spi).collect();
        for spi in &own {
            self.by_owner.remove(&(owner, *spi));
        }
        own
    }

    /// Whose SPI it is.
    pub fn owner(&self, spi: Spi) -> Option<IkeSpi> {
        self.owners.get(&spi).copied()
    }
}

/// Another established IKE SA of the same tunnel.
#[derive(Clone, Copy, Debug)]
pub struct Rival {
    /// Our SPI of it.
    pub own: IkeSpi,
    /// The handshake that it comes from.
    pub origin: Origin,
    /// Where the peer is.
    pub remote: IpAddr,
    /// Whether the peer has chosen that head-end (`Terms::chosen`).
    pub chosen: bool,
    /// Whether it goes in favour of another one.
    pub leaves: bool,
}

/// What an IKE SA tells the connection that outlives it.
#[derive(Debug)]
pub enum Notice {
    /// The peer, or somebody in its name, said something in a negotiation.
    Heard(Heard),
    /// The peer has authenticated.
    Authenticated {
        /// The peer said that it has no other IKE SA with us.
        initial_contact: bool,
    },
    /// A child SA was installed.
    ChildUp {
        /// For which selectors.
        shape: ShapeId,
    },
    /// A child SA is gone.
    ChildDown {
        /// Its selectors.
        shape: ShapeId,
    },
    /// A child SA that we asked for was not made.
    ChildFailed {
        /// For which selectors.
        shape: ShapeId,
        /// In which exchange.
        exchange: ExchangeType,
        /// Why.
        reason: IkeReason,
        /// What was offered against what.
        detail: String,
        /// The peer is busy: again after this time.
        pause: Option<Duration>,
    },
    /// The peer makes no further child SA with the same selectors: those that are there do.
    LaneRefused {
        /// In which exchange.
        exchange: ExchangeType,
        /// What it said.
        detail: String,
    },
    /// A child SA took the place of another one.
    ChildRekeyed,
    /// An IKE SA took the place of another one.
    IkeRekeyed,
    /// The peer refused a rekeying of ours. What is in use stays in use for the rest of its life.
    RekeyFailed {
        /// Why.
        reason: IkeReason,
        /// What was rekeyed, and what was offered against what.
        detail: String,
    },
    /// What hung on this IKE SA goes to the one that the peer's rekeying made while ours was under way.
    Bequest {
        /// Its SPI.
        heir: IkeSpi,
        /// What it gets.
        estate: Box<Estate>,
    },
    /// The IKE SA that the peer's rekeying made has lost against ours: the peer is to delete it.
    Redundant {
        /// Its SPI.
        spare: IkeSpi,
    },
    /// The peer uses the IKE SA that its rekeying made, so that is the one that stays; ours is not waited for.
    Claim {
        /// The SPI of the one that it replaces.
        replaced: IkeSpi,
    },
    /// Somebody who need not be the peer says that it will not work. Nothing changes but what `status` says.
    Hearsay {
        /// In words.
        text: String,
    },
    /// Something that the peer asked for was refused. It changes nothing about what we do: the peer may be anybody.
    Declined {
        /// In which exchange.
        exchange: ExchangeType,
        /// Why.
        reason: IkeReason,
        /// What was offered against what.
        detail: String,
    },
    /// The peer did not take our proof: the next attempt makes another one, if there are several to choose from.
    ProofRefused,
    /// Our negotiation of an IKE SA failed.
    Failed {
        /// In which exchange.
        exchange: ExchangeType,
        /// Why.
        reason: IkeReason,
        /// What was offered against what.
        detail: String,
    },
    /// The IKE SA has not been rekeyed and comes to its end: another one is to take its place before.
    Expires,
    /// It has gone in favour of another one. Packets may still be on their way to the inbound halves of its child SAs.
    Legacy {
        /// Our SPIs.
        inbound: Vec<Spi>,
    },
    /// The first head-end was asked whether it is there.
    HeadEnd {
        /// Whether it, or whoever speaks for it, has answered.
        answers: bool,
    },
    /// The peer has proved that it has lost the IKE SA, which is gone here too: a new one is opened without a pause.
    Crashed,
    /// An established IKE SA ended.
    Down {
        /// Why, in a sentence.
        reason: String,
        /// The peer did not answer any more.
        silent: bool,
    },
}
