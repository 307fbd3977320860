//! Captured flows through the flow table and the recognisers of the data path: would each of them pass? The code that
//! judges live packets judges these, with the times of the capture; there is no second opinion.
//!
//! A flow whose first packets are missing cannot be judged, and is `incomplete`; so is one whose packets were cut by the
//! capture. A capture may be made on either side of a translation (`names`). Left out: what else a gateway would have changed on the
//! way (sequence numbers, resets).

mod judged;
mod names;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::time::Duration;

use serde::Serialize;

use super::{Cause, FlowTable, Origin, Verdict, probe};
use crate::event::{DropReason, FlowKey};
use crate::policy::Snapshot;
use crate::time::Instant;
use crate::wire::checksum::Sum;
use crate::wire::ip::{self, Inner};
use crate::wire::pcap::{self, Frame};
use crate::wire::tcp;
use judged::{Flow, NO_SYN};
pub use judged::{Judged, Outcome};
use names::Names;

/// Flows that are judged; what a capture holds beyond them is counted.
pub const MAX_FLOWS: usize = 65_536;
/// Longest IP packet, and its header: room for the headers of one that the capture has cut.
const LONGEST: usize = 65_535 + 40;

/// What a capture holds.
#[derive(Clone, Debug, Serialize)]
pub struct Replayed {
    /// The worst outcome of any flow; none without flows.
    pub verdict: Option<Outcome>,
    /// Frames in the file.
    pub frames: usize,
    /// Whether the file is cut off, or damaged.
    pub cut: bool,
    /// The flows, in the order of their first packets.
    pub flows: Vec<Judged>,
    /// Packets of flows beyond the bound.
    pub unlisted: u64,
    /// Packets whose TCP checksum is not right: the capture was made before the network card completed it.
    pub mended: u64,
    /// Frames that belong to no flow, by what they are.
    pub skipped: BTreeMap<&'static str, u64>,
}

/// By what captured flows are judged.
#[derive(Clone, Copy, Debug)]
pub enum By<'a> {
    /// By a policy, which knows who is on which side.
    Policy(&'a Snapshot),
    /// By one that allows every port of one service to whoever opens a connection.
    Service(&'a Snapshot),
}

impl By<'_> {
    fn policy(&self) -> &Snapshot {
        match self {
            Self::Policy(policy) | Self::Service(policy) => policy,
        }
    }
}

/// The ports to which connections are opened in a capture.
pub fn opened_ports(file: &[u8]) -> Result<BTreeSet<u16>, String> {
    let mut ports = BTreeSet::new();
    let mut room = vec![0; LONGEST];
    pcap::frames(file, |frame| {
        if let Seen::Packet { packet, .. } = see(&frame, &mut room)
            && packet.tcp().is_some_and(|segment| opens(segment.flags()))
        {
            ports.insert(packet.flow().destination_port);
        }
        true
    })?;
    ports.remove(&0);
    Ok(ports)
}

/// Judges every flow of a capture. The error is a sentence.
pub fn replay(file: &[u8], by: By<'_>) -> Result<Replayed, String> {
    let mut replay = Replay {
        by,
        // A flow has a frame at least, and a frame its header in the file.
        table: FlowTable::new(MAX_FLOWS.min(file.len() / 16 + 1), [1, 2, 3, 4]),
        known: HashMap::new(),
        flows: Vec::new(),
        start: None,
        now: Instant::ZERO,
        unlisted: 0,
        skipped: BTreeMap::new(),
        released: vec![0; LONGEST].into(),
        mended: 0,
        names: Names::default(),
        renamed: vec![0; LONGEST].into(),
    };
    let mut room = vec![0; LONGEST];
    let mut spare = vec![0; LONGEST];
    let mut seen = 0;
    let walked = pcap::frames(file, |frame| {
        seen += 1;
        replay.frame(&frame, &mut room, &mut spare);
        true
    })?;
    let Replay { flows, unlisted, mut skipped, mended, .. } = replay;
    if walked.frames > seen {
        skipped.insert("unreadable", (walked.frames - seen) as u64);
    }
    let flows: Vec<Judged> = flows.into_iter().map(Flow::finish).collect();
    let verdict = flows.iter().map(|flow| flow.verdict).max();
    Ok(Replayed { verdict, frames: walked.frames, cut: walked.cut, flows, unlisted, skipped, mended })
}

/// What a frame holds.
enum Seen<'a> {
    /// A packet; whether its end is missing.
    Packet { packet: Inner<'a>, cut: bool },
    /// Something that is passed over.
    Nothing(&'static str),
}

fn see<'a>(frame: &Frame<'a>, room: &'a mut [u8]) -> Seen<'a> {
    let Some(bytes) = pcap::packet(frame.link, frame.bytes) else { return Seen::Nothing("not-ip") };
    match Inner::parse_padded(bytes) {
        Ok(packet) => return Seen::Packet { packet, cut: false },
        Err(reason) if frame.bytes.len() >= frame.length => return Seen::Nothing(reason.as_str()),
        Err(_) => {}
    }
    // The capture kept the beginning only: that is enough to know whose it is.
    room.fill(0);
    let Some(place) = room.get_mut(..bytes.len()) else { return Seen::Nothing("cut") };
    place.copy_from_slice(bytes);
    match Inner::parse_padded(room) {
        Ok(packet) => Seen::Packet { packet, cut: true },
        Err(_) => Seen::Nothing("cut"),
    }
}

fn opens(flags: u8) -> bool {
    flags & (tcp::SYN | tcp::ACK | tcp::RST | tcp::FIN) == tcp::SYN
}

/// Both ends of a flow in some order, and the protocol: its two directions have one name.
type Ends = (u8, (IpAddr, u16), (IpAddr, u16));

fn ends(key: &FlowKey) -> Ends {
    let icmp = matches!(key.protocol, ip::ICMP | ip::ICMPV6);
    let port = |port| if icmp { 0 } else { port };
    let (one, other) = ((key.source, port(key.source_port)), (key.destination, port(key.destination_port)));
    (key.protocol, one.min(other), one.max(other))
}

struct Replay<'a> {
    by: By<'a>,
    table: FlowTable,
    known: HashMap<Ends, usize>,
    flows: Vec<Flow>,
    start: Option<Duration>,
    now: Instant,
    unlisted: u64,
    skipped: BTreeMap<&'static str, u64>,
    released: Box<[u8]>,
    mended: u64,
    names: Names,
    renamed: Box<[u8]>,
}

impl Replay<'_> {
    fn frame(&mut self, frame: &Frame<'_>, room: &mut [u8], spare: &mut [u8]) {
        let start = *self.start.get_or_insert(frame.at);
        // A clock that was set back stands still.
        self.now = self.now.max(Instant::ZERO + frame.at.saturating_sub(start));
        match see(frame, room) {
            Seen::Packet { packet, cut: false } if packet.tcp().is_some() && !tcp::checksum_holds(&packet) => {
                self.mended += 1;
                let mended = mend(&packet, spare);
                if let Some(Ok(packet)) = mended.map(Inner::parse) {
                    self.packet(frame.number, &packet, false);
                }
            }
            Seen::Packet { packet, cut } => self.packet(frame.number, &packet, cut),
            Seen::Nothing(what) => *self.skipped.entry(what).or_default() += 1,
        }
    }

    fn packet(&mut self, number: usize, packet: &Inner<'_>, cut: bool) {
        let key = packet.flow();
        let segment = packet.tcp();
        if matches!(self.by, By::Service(_)) && segment.is_none() {
            *self.skipped.entry("not-tcp").or_default() += 1;
            return;
        }
        let opens = segment.is_none_or(|segment| opens(segment.flags()));
        let Some(at) = self.find(&key, opens) else {
            self.unlisted += 1;
            return;
        };
        let Some(flow) = self.flows.get_mut(at) else { return };
        let from_opener = ends_alike(&flow.judged.flow, &key);
        flow.judged.packets += 1;
        let payload = segment.map_or(0, |segment| segment.payload().len()) as u64;
        *(if from_opener { &mut flow.judged.bytes_opener } else { &mut flow.judged.bytes_responder }) += payload;
        if flow.decided {
            return;
        }
        if matches!(self.by, By::Service(_)) && !flow.opened && !opens {
            flow.incomplete(NO_SYN, "its first packet is not in the capture", number);
            return;
        }
        if cut {
            flow.incomplete("cut", "the capture kept only the beginning of its packets", number);
            return;
        }
        let policy = self.by.policy();
        let named = self.names.outside(policy.translations(), packet, &mut self.renamed);
        let known = named.and_then(|(len, outside)| Some((Inner::parse(self.renamed.get(..len)?).ok()?, outside)));
        let (packet, key) = match &known {
            Some((renamed, outside)) => {
                flow.judged.known_as = Some(*outside);
                (renamed, renamed.flow())
            }
            None => (packet, key),
        };
        let origin = match self.by {
            By::Service(_) if from_opener => Origin::Tun,
            By::Service(_) => Origin::Tunnel(flow.tunnel),
            By::Policy(policy) => match probe::origin(policy, &key) {
                Origin::Tunnel(_) if flow.opened => Origin::Tunnel(flow.tunnel),
                origin => origin,
            },
        };
        let verdict = self.table.judge(self.now, origin, packet, policy);
        // What has waited leaves behind the packet that filled the gap.
        while self.table.releases() && self.table.release(&mut self.released).is_some() {
            flow.waiting = flow.waiting.saturating_sub(1);
        }
        let mut ended = None;
        while let Some(ending) = self.table.poll_ending() {
            if let (Some(Cause::Refused(reason)), true) = (ending.cause, ends(&ending.flow) == ends(&key)) {
                ended = Some(reason);
            }
        }
        match verdict {
            Verdict::Waits => flow.waiting += 1,
            Verdict::Split(_) => flow.refused(DropReason::HoldFull, false, None, opens, number),
            Verdict::Pass(pass) => {
                flow.judged.recognised |= pass.recognised;
                if let Some(reason) = pass.observed {
                    flow.judged.observed = Some(reason.as_str().to_owned());
                }
                flow.opened = true;
                flow.tunnel = pass.tunnel;
                if let Some(rule) = policy.rule(pass.rule) {
                    flow.judged.verdict = Outcome::Allowed;
                    flow.judged.rule = Some(rule.name.clone());
                    flow.judged.clause = Some(rule.clause.clone()).filter(|clause| !clause.is_empty());
                }
            }
            Verdict::Drop { reason, rule, .. } => {
                let rule = rule.and_then(|id| policy.rule(id));
                let rule = rule.map(|rule| (&*rule.name, &*rule.clause));
                flow.refused(ended.unwrap_or(reason), ended.is_some(), rule, opens, number);
            }
        }
    }

    /// The flow of a packet; a new one if the packet opens it, or if nothing is known of it yet.
    fn find(&mut self, key: &FlowKey, opens: bool) -> Option<usize> {
        let ends = ends(key);
        let known = self.known.get(&ends).copied();
        if let Some(at) = known {
            let flow = self.flows.get(at)?;
            // The same ports again are another flow; but for the SYN that is sent once more.
            let again = key.protocol == ip::TCP && opens && flow.decided;
            if !again {
                return Some(at);
            }
        }
        if self.flows.len() >= MAX_FLOWS {
            return None;
        }
        self.known.insert(ends, self.flows.len());
        self.flows.push(Flow::new(*key));
        Some(self.flows.len() - 1)
    }
}

/// Whether a packet goes the way of the flow's first one.
fn ends_alike(flow: &FlowKey, key: &FlowKey) -> bool {
    (flow.source, flow.source_port) == (key.source, key.source_port) || matches!(key.protocol, ip::ICMP | ip::ICMPV6)
}

/// The same packet with the TCP checksum that belongs into it.
fn mend<'a>(packet: &Inner<'_>, room: &'a mut [u8]) -> Option<&'a [u8]> {
    let (bytes, at) = (packet.bytes(), packet.header_len());
    let mended = room.get_mut(..bytes.len())?;
    mended.copy_from_slice(bytes);
    let segment = mended.get_mut(at..)?;
    segment.get_mut(16..18)?.fill(0);
    let sum = Sum::pseudo(packet.source(), packet.destination(), ip::TCP, segment.len())?.and(segment).finish();
    segment.get_mut(16..18)?.copy_from_slice(&sum.to_be_bytes());
    Some(mended)
}
