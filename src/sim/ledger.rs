//! The safety invariants, checked as things happen (docs/SIMULATION.md says which is which): what both sides of an IKE SA know,
//! which keys and IVs were used, which answers were given, which packets were delivered.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use hex::FromHex;

use super::path::{Packet, digest, key_of, mix};
use super::plan::{Feature, Plan, TunnelPlan};
use crate::event::Event;
use crate::ike::api::KeyLog;
use crate::ike::config::Config;
use crate::policy::narrow;
use crate::sa::child::ChildSpec;
use crate::sa::command::SadCommand;
use crate::wire::ike::header::Header;
use crate::wire::ike::numbers::{ExchangeType, PayloadType};

/// An invariant that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Its name in docs/SIMULATION.md.
    pub invariant: &'static str,
    /// What was seen.
    pub what: String,
}

/// Whether what was looked at holds.
pub type Checked = Result<(), Violation>;

pub(super) fn broken(invariant: &'static str, what: impl Into<String>) -> Checked {
    Err(Violation { invariant, what: what.into() })
}

/// One end of a child SA as its data path was told.
#[derive(Clone, Debug)]
struct End {
    key: u64,
    spec: ChildSpec,
}

/// What the peer receives with, and what we send with, under one SPI of the receiver.
#[derive(Default)]
struct Direction {
    receiver: Option<End>,
    sender: Option<End>,
}

/// What happened so far.
#[derive(Default)]
pub struct Ledger {
    /// Lines of Wireshark's table for each pair of SPIs, with the gateway that gave it.
    pub ike_keys: BTreeMap<[String; 2], BTreeMap<usize, String>>,
    /// The same of child SAs.
    pub esp_keys_told: Vec<String>,
    secrets: HashMap<u64, [String; 2]>,
    /// The first sixteen bytes of each key of an IKE SA, by the first four of them, if datagrams are searched for them.
    beginnings: HashMap<[u8; 4], Vec<[u8; 16]>>,
    directions: BTreeMap<(usize, u32), Direction>,
    esp_keys: HashMap<u64, (usize, u32)>,
    ivs: HashMap<(u64, bool, u64), u64>,
    messages: HashMap<(u64, u64, u8), u64>,
    delivered: BTreeMap<(u16, u16, usize), BTreeSet<u32>>,
    /// Inner packets handed to each gateway.
    pub sent: BTreeMap<(u16, u16, usize), u32>,
    /// Authenticated IKE SAs.
    pub handshakes: u64,
    /// Negotiations that failed.
    pub failures: u64,
    /// IKE SAs in place of others.
    pub ike_rekeys: u64,
    /// Child SAs in place of others.
    pub child_rekeys: u64,
    hostile: bool,
    /// Whether this is one of the seeds in which datagrams are searched for keys (S4).
    pub looks: bool,
}

impl Ledger {
    /// An empty one.
    #[must_use]
    pub fn new(plan: &Plan) -> Self {
        Self { hostile: plan.has(Feature::Hostile), looks: plan.seed.is_multiple_of(32), ..Self::default() }
    }

    /// A gateway tells its keys.
    pub fn key_log(&mut self, gateway: usize, line: KeyLog) -> Checked {
        let line = match line {
            KeyLog::Ike(line) => line,
            KeyLog::Esp(line) => {
                self.esp_keys_told.push(line);
                return Ok(());
            }
        };
        let fields: Vec<&str> = line.split(',').collect();
        let [initiator, responder, ei, er, ..] = fields[..] else { return Ok(()) };
        let spis = [initiator.to_owned(), responder.to_owned()];
        for secret in [ei, er] {
            // S2: one key, one IKE SA.
            let known = self.secrets.entry(digest(secret.as_bytes())).or_insert_with(|| spis.clone());
            if *known != spis {
                return broken("S2", format!("IKE SAs {known:?} and {spis:?} have the same key"));
            }
            let begins = secret.get(..32).filter(|_| self.looks).and_then(|begin| <[u8; 16]>::from_hex(begin).ok());
            if let Some((begins, first)) = begins.and_then(|begins| Some((begins, *begins.first_chunk::<4>()?))) {
                self.beginnings.entry(first).or_default().push(begins);
            }
        }
        let lines = self.ike_keys.entry(spis.clone()).or_default();
        // With further key exchanges there are further keys: the last ones count.
        lines.insert(gateway, line);
        if lines.len() > 2 {
            return broken("S2", format!("IKE SA {spis:?} is known to {} gateways", lines.len()));
        }
        Ok(())
    }

    /// S3: both sides of an IKE SA have the same keys once they know each other. Before, somebody on the line may have changed
    /// what they are made of.
    fn agree(&self, spis: &[String; 2]) -> Checked {
        let all: Option<BTreeSet<_>> = self.ike_keys.get(spis).map(|lines| lines.values().collect());
        let differs = all.is_some_and(|all| all.len() > 1);
        if differs { broken("S3", format!("the keys of IKE SA {spis:?} differ")) } else { Ok(()) }
    }

    /// A gateway tells what happened. `configs` are those of all gateways, `peers` the ends of tunnels by name.
    pub fn event(&mut self, gateway: usize, event: &Event, plan: &Plan) -> Checked {
        match event {
            Event::IkeUp { spis, tunnel, suite, initiator, .. } => {
                self.handshakes += 1;
                if self.hostile {
                    return Ok(());
                }
                let index: usize = tunnel.trim_start_matches('t').parse().unwrap_or(0);
                let Some(of) = plan.tunnels.get(index) else { return Ok(()) };
                let me = usize::from(of.ends[0] != gateway);
                // S14: the first of the responder's suites that the initiator has.
                let (ours, theirs) = (&of.ike[me], &of.ike[1 - me]);
                let (offered, preferred) = if *initiator { (ours, theirs) } else { (theirs, ours) };
                let best = preferred.iter().find(|suite| offered.contains(suite)).map(ToString::to_string);
                if best.as_ref() != Some(suite) {
                    return broken("S14", format!("{tunnel} came up with {suite}, the best common one is {best:?}"));
                }
                self.agree(spis)?;
                // S1: the other side ran the protocol with these SPIs, nonces and suite: it has the same keys. Suites that
                // Wireshark does not know leave no trace.
                let lines = self.ike_keys.get(spis).map_or(0, BTreeMap::len);
                let peers: BTreeSet<_> = self.ike_keys.get(spis).into_iter().flatten().map(|(of, _)| *of).collect();
                let two = peers.len() == 2
                    && peers.contains(&of.ends[0])
                    && peers.iter().all(|peer| of.end_of(*peer).is_some());
                if lines > 0 && !two {
                    return broken(
                        "S1",
                        format!("gateway {gateway}: {tunnel} is up with {spis:?}, known to {peers:?} alone"),
                    );
                }
            }
            Event::IkeRekeyed { spis, initiator, tunnel, .. } => {
                self.ike_rekeys += 1;
                if !self.hostile {
                    self.agree(spis)?;
                }
                let lines = self.ike_keys.get(spis).map_or(0, BTreeMap::len);
                if *initiator && lines == 1 && !self.hostile {
                    return broken(
                        "S1",
                        format!("gateway {gateway}: {tunnel} was rekeyed to {spis:?}, and the peer does not know"),
                    );
                }
            }
            Event::NegotiationFailed { .. } => self.failures += 1,
            Event::ChildRekeyed { .. } => self.child_rekeys += 1,
            _ => {}
        }
        Ok(())
    }

    /// IKE asks for a change of the SAD. `configs` are all that this gateway has had.
    pub fn command(
        &mut self,
        gateway: usize,
        peer: impl Fn(&ChildSpec) -> usize,
        command: &SadCommand,
        configs: &[std::sync::Arc<Config>],
    ) -> Checked {
        let (at, spec, key, receives, spi) = match command {
            SadCommand::InstallInbound(spec) => (gateway, &spec.child, key_of(&spec.keys), true, spec.spi.get()),
            SadCommand::InstallOutbound(spec) => {
                (peer(&spec.child), &spec.child, key_of(&spec.keys), false, spec.spi.get())
            }
            _ => return Ok(()),
        };
        // S8: no SA is wider than what its gateway was configured with.
        let allowed = configs.iter().flat_map(|config| &config.tunnels).filter(|tunnel| tunnel.id == spec.tunnel);
        let fits = allowed.flat_map(|tunnel| &tunnel.children).any(|child| {
            child.shape == spec.shape
                && narrow::is_subset(&spec.local, &[child.local])
                && narrow::is_subset(&spec.remote, &[child.remote])
        });
        if !fits {
            return broken("S8", format!("gateway {gateway} installs {:?} === {:?}", spec.local, spec.remote));
        }
        if !receives && !self.hostile {
            // S5: nobody sends with a key that was sent with before.
            let owner = *self.esp_keys.entry(key).or_insert((gateway, spi));
            if owner != (gateway, spi) {
                return broken("S5", format!("gateway {gateway} sends to {spi:08x} with the key of {owner:?}"));
            }
        }
        if self.hostile {
            return Ok(());
        }
        let direction = self.directions.entry((at, spi)).or_default();
        let end = End { key, spec: spec.clone() };
        *(if receives { &mut direction.receiver } else { &mut direction.sender }) = Some(end);
        let Direction { receiver: Some(receiver), sender: Some(sender) } = direction else { return Ok(()) };
        // S3: both ends of one direction agree on everything.
        let [r, s] = [&receiver.spec, &sender.spec];
        let same = receiver.key == sender.key
            && (r.cipher, r.mac, r.esn) == (s.cipher, s.mac, s.esn)
            && (&r.local, &r.remote) == (&s.remote, &s.local);
        if !same {
            return broken("S3", format!("the ends of ESP SA {spi:08x} differ: {r:?} {s:?}"));
        }
        Ok(())
    }

    /// A gateway sends an IKE message.
    pub fn transmit(&mut self, gateway: usize, epoch: u32, bytes: &[u8]) -> Checked {
        let Ok(header) = Header::decode(bytes) else { return broken("S10", "a message without a header") };
        if header.responder_spi == 0 || header.exchange == ExchangeType::IKE_SA_INIT {
            return Ok(());
        }
        // What is unprotected is said to strangers, and to everybody the same.
        if ![PayloadType::SK, PayloadType::SKF].contains(&header.next_payload) {
            return Ok(());
        }
        let content = digest(bytes);
        let sender =
            mix(mix(header.initiator_spi) ^ header.responder_spi) ^ mix((gateway as u64) << 32 | u64::from(epoch));
        let fragment = header.next_payload == PayloadType::SKF;
        let number = if fragment { bytes.get(32..36) } else { None };
        let number = number.and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_be_bytes);
        // S10: what is said under one message ID is said once, and repeated bit for bit.
        let flags = u64::from(header.flags.response) << 1 | u64::from(header.flags.initiator);
        let place = (sender, u64::from(header.message_id) << 32 | u64::from(number), u8::try_from(flags).unwrap_or(0));
        let known = *self.messages.entry(place).or_insert(content);
        if known != content {
            return broken(
                "S10",
                format!(
                    "gateway {gateway} says two things under message {} of {:?}",
                    header.message_id, header.exchange
                ),
            );
        }
        // S5: no IV is used twice with one key.
        let iv = if fragment { 36..44 } else { 32..40 };
        if let Some(iv) = bytes.get(iv).and_then(|iv| iv.try_into().ok()).map(u64::from_be_bytes) {
            // RFC 9242 §3.3.1: each IKE_INTERMEDIATE may end with other keys.
            let other = header.exchange == ExchangeType::IKE_INTERMEDIATE;
            let sender = if other { mix(sender ^ u64::from(header.message_id)) } else { sender };
            let known = *self.ivs.entry((sender, header.flags.initiator, iv)).or_insert(content);
            if known != content {
                return broken("S5", format!("gateway {gateway} uses IV {iv:x} twice"));
            }
        }
        Ok(())
    }

    /// An inner packet leaves the tunnel at `gateway`.
    pub fn delivered(&mut self, gateway: usize, packet: &Packet, of: &TunnelPlan) -> Checked {
        let way = (packet.tunnel.0, packet.shape.0, packet.sender);
        let sent = self.sent.get(&way).copied().unwrap_or(0);
        // From one end to the other, whichever of its head-ends that is.
        let across = of.end_of(gateway).zip(of.end_of(packet.sender)).is_some_and(|(to, from)| to != from);
        if packet.number >= sent || !across {
            return broken("S8", format!("gateway {gateway} delivers {packet:?}, which nobody sent to it"));
        }
        if !self.delivered.entry(way).or_default().insert(packet.number) {
            return broken("S7", format!("gateway {gateway} delivers {packet:?} twice"));
        }
        Ok(())
    }

    /// How many packets of one way were delivered.
    #[must_use]
    pub fn count(&self, way: (u16, u16, usize)) -> usize {
        self.delivered.get(&way).map_or(0, BTreeSet::len)
    }

    /// Whether this packet was delivered.
    #[must_use]
    pub fn has(&self, way: (u16, u16, usize), number: u32) -> bool {
        self.delivered.get(&way).is_some_and(|all| all.contains(&number))
    }

    /// S4: whether a datagram shows a secret. Looked at in some seeds, for it costs more than all else.
    #[must_use]
    pub fn shows_a_secret(&self, bytes: &[u8]) -> bool {
        bytes.windows(16).any(|window| {
            let known = window.first_chunk().and_then(|first| self.beginnings.get(first));
            known.is_some_and(|keys| keys.iter().any(|key| key == window))
        })
    }
}
