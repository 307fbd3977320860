//! Ties packets that came through the tunnel one by one into trains, which the TUN device takes in one system call and the
//! kernel treats as one packet: what GRO does on a network card.
//!
//! Nothing is tied that Linux's GRO would not tie: the headers are the same but for what counts up, nothing of the flow
//! came in between, no segment is longer than the first and only the last is shorter, and every checksum was found to be
//! right, because the train has none of its own that could be wrong. No byte of a packet is changed or moved, so that a
//! train which the kernel refuses can still go packet by packet. Left out: segments with other flags than ACK and PSH.

use super::buffer::{Head, LONGEST, MAX_HEADERS};
use super::segment::{addresses_sum, set_lengths};
use crate::wire::checksum::Sum;
use crate::wire::tcp::{ACK, PSH};
use crate::wire::vnet::{self, Segments, VnetHeader};
use crate::wire::{ip, ipv4, ipv6};

/// Packets of a train at most: what GRO takes of UDP (`UDP_GRO_CNT_MAX`), and more than fit of full-sized TCP.
pub const MAX_PACKETS: usize = 64;

/// What a packet that may be part of a train looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    ip_len: usize,
    header_len: usize,
    payload: usize,
    udp: bool,
    sequence: u32,
    push: bool,
    identification: Option<u16>,
}

fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|word| u16::from_be_bytes(*word))
}

fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|word| u32::from_be_bytes(*word))
}

impl Candidate {
    /// Looks at an inner packet. That its headers are sound beyond what is needed here is for others to check.
    #[must_use]
    pub fn of(packet: &[u8]) -> Option<Self> {
        let (ip_len, said, protocol, identification) = match packet.first()? {
            // No options, no fragment.
            0x45 if be16(packet, 6)? & 0xbfff == 0 => {
                (ipv4::HEADER_LEN, usize::from(be16(packet, 2)?), *packet.get(9)?, be16(packet, 4))
            }
            first if first >> 4 == 6 => (ipv6::HEADER_LEN, usize::from(be16(packet, 4)?) + 40, *packet.get(6)?, None),
            _ => return None,
        };
        let transport = packet.get(ip_len..).filter(|_| said == packet.len())?;
        let (len, udp, sequence, push) = match protocol {
            ip::TCP => {
                let flags = transport.get(13).filter(|flags| **flags & !PSH == ACK)?;
                let len = usize::from(transport.get(12)? >> 4) * 4;
                (len, false, be32(transport, 4)?, flags & PSH != 0)
            }
            // A datagram without a checksum would get one in a train.
            ip::UDP if be16(transport, 6)? != 0 && usize::from(be16(transport, 4)?) == transport.len() => {
                (8, true, 0, false)
            }
            _ => return None,
        };
        let payload = transport.len().checked_sub(len).filter(|payload| *payload > 0)?;
        let header_len = ip_len + len;
        (header_len <= MAX_HEADERS && (udp || len >= 20)).then_some(Self {
            ip_len,
            header_len,
            payload,
            udp,
            sequence,
            push,
            identification,
        })
    }

    /// Whether it is UDP.
    #[must_use]
    pub fn is_udp(&self) -> bool {
        self.udp
    }

    /// Whether the checksums of `packet`, which it was made from, are right.
    #[must_use]
    pub fn checksums_hold(&self, packet: &[u8]) -> bool {
        let Some((header, transport)) = packet.split_at_checked(self.ip_len) else { return false };
        let length = (transport.len() as u16).to_be_bytes();
        (self.ip_len == ipv6::HEADER_LEN || Sum::ZERO.and(header).is_valid())
            && addresses_sum(packet, self.ip_len, self.udp).and(&length).and(transport).is_valid()
    }
}

/// Whether two packets may be of one flow, so that one must not overtake the other. `leader` is a [`Candidate`];
/// `packet` may be anything.
#[must_use]
pub fn same_flow(leader: &[u8], packet: &[u8]) -> bool {
    let same = |range: std::ops::Range<usize>| leader.get(range.clone()) == packet.get(range);
    match (leader.first(), packet.first()) {
        // With options in between the ports stand elsewhere: one more reason to take no chances.
        (Some(0x45), Some(first)) if first >> 4 == 4 => same(9..10) && same(12..20) && (*first != 0x45 || same(20..24)),
        (Some(a), Some(b)) if a >> 4 == 6 && b >> 4 == 6 => same(6..7) && same(8..44),
        _ => false,
    }
}

/// How the IPv4 identification goes on from packet to packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Counting {
    Unknown,
    Up,
    Not,
}

/// A train that may still grow.
#[derive(Clone, Copy, Debug)]
pub struct Train {
    first: Candidate,
    /// Payload so far.
    payload: usize,
    count: usize,
    last_identification: Option<u16>,
    counting: Counting,
    /// Nothing may follow any more.
    ended: bool,
    push: bool,
    verified: bool,
}

impl Train {
    /// A train of one.
    #[must_use]
    pub fn of(first: Candidate) -> Self {
        Self {
            first,
            payload: first.payload,
            count: 1,
            last_identification: first.identification,
            counting: Counting::Unknown,
            ended: first.push,
            push: first.push,
            verified: false,
        }
    }

    /// How many packets it has.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// What its packets have together, headers included.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.count * self.first.header_len + self.payload
    }

    /// How much payload follows that of the first packet.
    #[must_use]
    pub fn rest(&self) -> usize {
        self.payload - self.first.payload
    }

    /// Takes `packet` in, if it continues the train that `leader` leads.
    pub fn take(&mut self, leader: &[u8], packet: &[u8], next: &Candidate) -> bool {
        let Some(counting) = self.counting_with(leader, next) else { return false };
        let fits = !self.ended
            && self.count < MAX_PACKETS
            && next.payload <= self.first.payload
            && self.first.header_len + self.payload + next.payload <= LONGEST
            && (next.udp || next.sequence == self.first.sequence.wrapping_add(self.payload as u32))
            && self.has_the_headers_of(leader, packet, next);
        if !fits {
            return false;
        }
        if !self.verified {
            if !self.first.checksums_hold(leader) {
                self.ended = true;
                return false;
            }
            self.verified = true;
        }
        if !next.checksums_hold(packet) {
            return false;
        }
        self.counting = counting;
        self.last_identification = next.identification;
        self.count += 1;
        self.payload += next.payload;
        self.push |= next.push;
        self.ended = next.push || next.payload < self.first.payload;
        true
    }

    /// How the identification counts if `next` follows; `None` if it must not.
    ///
    /// Cutting the train again counts it up. Where nothing may be fragmented it may also stand still: it has no meaning
    /// then (RFC 6864 §4.1).
    fn counting_with(&self, leader: &[u8], next: &Candidate) -> Option<Counting> {
        let (Some(last), Some(this)) = (self.last_identification, next.identification) else {
            return (self.last_identification == next.identification).then_some(Counting::Unknown);
        };
        let atomic = leader.get(6).is_some_and(|flags| flags & 0x40 != 0);
        let now = match this.wrapping_sub(last) {
            1 => Counting::Up,
            0 if atomic => Counting::Not,
            _ => return None,
        };
        (self.counting == Counting::Unknown || self.counting == now).then_some(now)
    }

    /// All fields that do not count up are those of the leader.
    fn has_the_headers_of(&self, leader: &[u8], packet: &[u8], next: &Candidate) -> bool {
        let first = &self.first;
        let same = |range: std::ops::Range<usize>| {
            let (ours, theirs) = (leader.get(range.clone()), packet.get(range));
            ours.is_some() && ours == theirs
        };
        let at = first.ip_len;
        let ip = if at == ipv4::HEADER_LEN {
            // Version and TOS; flags, TTL and protocol; addresses.
            same(0..2) && same(6..10) && same(12..20)
        } else {
            // Version, traffic class and flow label; next header, hop limit and addresses.
            same(0..4) && same(6..40)
        };
        // Ports; acknowledgement and header length; window; urgent pointer and options.
        let transport = same(at..at + 4)
            && (first.udp || (same(at + 8..at + 13) && same(at + 14..at + 16) && same(at + 18..first.header_len)));
        (first.ip_len, first.header_len, first.udp) == (next.ip_len, next.header_len, next.udp) && ip && transport
    }

    /// What stands in front of the payloads when the train goes as one.
    #[must_use]
    pub fn head(&self, leader: &[u8]) -> Head {
        let Candidate { ip_len, header_len, udp, .. } = self.first;
        let offset: u16 = if udp { 6 } else { 16 };
        let offload = VnetHeader {
            needs_checksum: true,
            segments: match (udp, ip_len) {
                (true, _) => Segments::Udp,
                (false, ipv4::HEADER_LEN) => Segments::Tcp4,
                (false, _) => Segments::Tcp6,
            },
            header_len: header_len as u16,
            segment_len: self.first.payload as u16,
            checksum_start: ip_len as u16,
            checksum_offset: offset,
        };
        let mut head = Head { bytes: [0; vnet::LEN + MAX_HEADERS], len: vnet::LEN + header_len };
        let (front, headers) = head.bytes.split_at_mut(vnet::LEN);
        front.copy_from_slice(&offload.encode());
        let headers = &mut headers[..header_len];
        headers.copy_from_slice(&leader[..header_len]);
        let len = header_len + self.payload;
        set_lengths(headers, ip_len, len, udp);
        if self.push {
            headers[ip_len + 13] |= PSH;
        }
        // The kernel goes on from the sum of the pseudo header.
        let sum = addresses_sum(headers, ip_len, udp).and(&((len - ip_len) as u16).to_be_bytes()).fold();
        let at = ip_len + usize::from(offset);
        headers[at..at + 2].copy_from_slice(&sum.to_be_bytes());
        head
    }
}

#[cfg(test)]
mod tests;
