//! Cuts what the kernel hands over as one long packet into the packets that its sender meant: TCP segmentation (TSO) and
//! its like for UDP (USO), and completes checksums that the kernel left to the device.
//!
//! The kernel's description is held against the packet and must fit it in every respect; `hdr_len` is not looked at.
//! What the segments have of the long packet's header follows Linux: the IPv4 identification counts up, PSH and FIN are the
//! last one's, CWR the first one's. Segments of anything but TCP and UDP are left out.

use super::buffer::{MAX_HEADERS, MAX_SEGMENTS};
use crate::event::DropReason;
use crate::wire::checksum::{Sum, checksum};
use crate::wire::tcp::{CWR, FIN, PSH, RST, SYN};
use crate::wire::vnet::{Segments, VnetHeader};
use crate::wire::{ip, ipv4, ipv6};

/// Less payload a segment than Linux ever makes: its least MSS of 48 with 40 bytes of options.
const MIN_TCP: usize = 8;
/// A datagram of a byte each is what a lying header asks for.
const MIN_UDP: usize = 2;

/// Where the transport checksum stands in its header.
const TCP_CHECKSUM: usize = 16;
const UDP_CHECKSUM: usize = 6;

/// How a long packet is to be cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Train {
    ip_len: usize,
    header_len: usize,
    segment: usize,
    payload: usize,
    count: usize,
    udp: bool,
}

impl Train {
    /// Reads `packet`, all of it, and what the kernel says about it.
    pub fn plan(packet: &[u8], offload: &VnetHeader) -> Result<Self, DropReason> {
        let (protocol, udp) = match offload.segments {
            Segments::Tcp4 | Segments::Tcp6 => (ip::TCP, false),
            Segments::Udp => (ip::UDP, true),
            Segments::None | Segments::Unknown(_) => return Err(DropReason::BadOffload),
        };
        let ip_len = match packet.first() {
            Some(0x45) if offload.segments != Segments::Tcp6 => ipv4::HEADER_LEN,
            Some(first) if first >> 4 == 6 && offload.segments != Segments::Tcp4 => ipv6::HEADER_LEN,
            Some(first) if first >> 4 == 4 && first & 0xf > 5 => return Err(DropReason::IpOptions),
            _ => return Err(DropReason::BadOffload),
        };
        let (header, behind) = packet.split_at_checked(ip_len).ok_or(DropReason::BadIpHeader)?;
        let v4 = ip_len == ipv4::HEADER_LEN;
        let said = if v4 { be16(header, 2) } else { be16(header, 4).map(|len| len + ip_len) };
        if said != Some(packet.len()) {
            return Err(DropReason::BadIpHeader);
        }
        if header.get(if v4 { 9 } else { 6 }) != Some(&protocol) {
            return Err(DropReason::BadOffload);
        }
        let (transport_len, offset) = if udp { (8, UDP_CHECKSUM) } else { (tcp_header_len(behind)?, TCP_CHECKSUM) };
        let fits = offload.needs_checksum
            && usize::from(offload.checksum_start) == ip_len
            && usize::from(offload.checksum_offset) == offset;
        if !fits {
            return Err(DropReason::BadOffload);
        }
        let payload = behind.get(transport_len..).ok_or(DropReason::BadTransport)?.len();
        if udp {
            if be16(behind, 4) != Some(behind.len()) {
                return Err(DropReason::BadTransport);
            }
        } else if behind.get(13).is_none_or(|flags| flags & (SYN | RST) != 0) {
            // A connection is neither opened nor ended by many segments at once.
            return Err(DropReason::BadOffload);
        }
        let segment = usize::from(offload.segment_len);
        if segment < if udp { MIN_UDP } else { MIN_TCP } || payload == 0 {
            return Err(DropReason::SegmentSize);
        }
        let count = payload.div_ceil(segment);
        if count > MAX_SEGMENTS {
            return Err(DropReason::SegmentSize);
        }
        Ok(Self { ip_len, header_len: ip_len + transport_len, segment, payload, count, udp })
    }

    /// How many segments there will be.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// Length of all headers of each.
    #[must_use]
    pub fn header_len(&self) -> usize {
        self.header_len
    }

    /// Length of the longest, headers included.
    #[must_use]
    pub fn longest(&self) -> usize {
        self.header_len + self.segment.min(self.payload)
    }

    /// What all segments have together, headers included.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.count * self.header_len + self.payload
    }

    /// How much payload follows that of the first segment.
    #[must_use]
    pub fn rest(&self) -> usize {
        self.payload.saturating_sub(self.segment)
    }

    /// Where the payload of segment `index` lies in the long packet, behind its headers; and how long it is.
    #[must_use]
    pub fn payload(&self, index: usize) -> (usize, usize) {
        let at = index * self.segment;
        (at, self.segment.min(self.payload - at))
    }

    /// Gives the long packet the lengths of its first segment, so that this can be looked at like any packet. Flags stay
    /// those of all segments together, and the transport checksum is not one.
    pub fn pretend_first(&self, packet: &mut [u8]) {
        set_lengths(packet, self.ip_len, self.longest(), self.udp);
    }

    /// Gives it its own lengths again.
    pub fn restore(&self, packet: &mut [u8]) {
        set_lengths(packet, self.ip_len, self.header_len + self.payload, self.udp);
    }
}

fn be16(bytes: &[u8], at: usize) -> Option<usize> {
    bytes.get(at..)?.first_chunk().map(|word| usize::from(u16::from_be_bytes(*word)))
}

/// Length of the TCP header at the start of `bytes`.
fn tcp_header_len(bytes: &[u8]) -> Result<usize, DropReason> {
    let len = usize::from(bytes.get(12).ok_or(DropReason::BadTransport)? >> 4) * 4;
    if len >= 20 && len <= bytes.len() { Ok(len) } else { Err(DropReason::BadTransport) }
}

/// Writes the length of a packet into its IP header, with the checksum, and into that of UDP.
pub(super) fn set_lengths(packet: &mut [u8], ip_len: usize, len: usize, udp: bool) {
    if ip_len == ipv4::HEADER_LEN {
        if let Some(header) = packet.first_chunk_mut::<{ ipv4::HEADER_LEN }>() {
            header[2..4].copy_from_slice(&(len as u16).to_be_bytes());
            header[10..12].fill(0);
            let sum = checksum(header);
            header[10..12].copy_from_slice(&sum.to_be_bytes());
        }
    } else if let Some(field) = packet.get_mut(4..6) {
        field.copy_from_slice(&((len - ip_len) as u16).to_be_bytes());
    }
    if udp && let Some(field) = packet.get_mut(ip_len + 4..ip_len + 6) {
        field.copy_from_slice(&((len - ip_len) as u16).to_be_bytes());
    }
}

/// The pseudo header of a packet's transport checksum, without its length (RFC 9293 §3.1, RFC 8200 §8.1).
pub(super) fn addresses_sum(header: &[u8], ip_len: usize, udp: bool) -> Sum {
    let addresses = if ip_len == ipv4::HEADER_LEN { header.get(12..20) } else { header.get(8..40) };
    let protocol = if udp { ip::UDP } else { ip::TCP };
    Sum::ZERO.and(addresses.unwrap_or_default()).and(&[0, protocol])
}

/// The header that the segments of one train have in common.
pub struct Template {
    bytes: [u8; MAX_HEADERS],
    train: Train,
    identification: u16,
    sequence: u32,
    flags: u8,
    pseudo: Sum,
}

impl Template {
    /// Takes it from the long packet at the start of `packet`.
    #[must_use]
    pub fn new(train: &Train, packet: &[u8]) -> Self {
        let mut bytes = [0; MAX_HEADERS];
        let len = train.header_len.min(packet.len());
        bytes[..len].copy_from_slice(&packet[..len]);
        let transport = &bytes[train.ip_len..];
        let sequence = u32::from_be_bytes([transport[4], transport[5], transport[6], transport[7]]);
        let flags = if train.udp { 0 } else { transport[13] };
        let pseudo = addresses_sum(&bytes, train.ip_len, train.udp);
        let at = train.ip_len + if train.udp { UDP_CHECKSUM } else { TCP_CHECKSUM };
        bytes[at..at + 2].fill(0);
        let identification = u16::from_be_bytes([bytes[4], bytes[5]]);
        Self { bytes, train: *train, identification, sequence, flags, pseudo }
    }

    /// Writes the headers of segment `index` at the start of `packet`, whose payload stands behind them already.
    pub fn write(&self, index: usize, packet: &mut [u8]) {
        let Train { ip_len, header_len, segment, count, udp, .. } = self.train;
        debug_assert!(packet.len() > header_len && index < count);
        let len = packet.len();
        packet[..header_len].copy_from_slice(&self.bytes[..header_len]);
        if ip_len == ipv4::HEADER_LEN {
            let identification = self.identification.wrapping_add(index as u16);
            packet[4..6].copy_from_slice(&identification.to_be_bytes());
        }
        set_lengths(packet, ip_len, len, udp);
        let transport = &mut packet[ip_len..];
        if !udp {
            let sequence = self.sequence.wrapping_add((index * segment) as u32);
            transport[4..8].copy_from_slice(&sequence.to_be_bytes());
            // RFC 9293 §3.1: PSH and FIN concern what stands behind the data; RFC 3168 §6.1.2: CWR is said once.
            let last = if index + 1 == count { FIN | PSH } else { 0 };
            let first = if index == 0 { CWR } else { 0 };
            transport[13] = self.flags & (!(FIN | PSH | CWR) | last | first);
        }
        let sum = self.pseudo.and(&((len - ip_len) as u16).to_be_bytes()).and(transport).finish();
        // RFC 768: a computed checksum of zero is sent as all ones.
        let (at, sum) = if udp { (UDP_CHECKSUM, if sum == 0 { 0xffff } else { sum }) } else { (TCP_CHECKSUM, sum) };
        transport[at..at + 2].copy_from_slice(&sum.to_be_bytes());
    }
}

/// Completes the transport checksum of a single packet, if the kernel has left that to the device.
pub fn complete(packet: &mut [u8], offload: &VnetHeader) -> Result<(), DropReason> {
    if !offload.needs_checksum {
        return Ok(());
    }
    let (ip_len, protocol) = match packet.first() {
        Some(0x45) => (ipv4::HEADER_LEN, packet.get(9)),
        Some(first) if first >> 4 == 6 => (ipv6::HEADER_LEN, packet.get(6)),
        Some(first) if first >> 4 == 4 && first & 0xf > 5 => return Err(DropReason::IpOptions),
        _ => return Err(DropReason::BadIpHeader),
    };
    let offset = match protocol {
        Some(&ip::TCP) => TCP_CHECKSUM,
        Some(&ip::UDP) => UDP_CHECKSUM,
        _ => return Err(DropReason::BadOffload),
    };
    if usize::from(offload.checksum_start) != ip_len || usize::from(offload.checksum_offset) != offset {
        return Err(DropReason::BadOffload);
    }
    let transport = packet.get_mut(ip_len..).ok_or(DropReason::BadIpHeader)?;
    if transport.len() < offset + 2 {
        return Err(DropReason::BadTransport);
    }
    // The field holds the sum of the pseudo header: summed with all the rest, and complemented, it is the checksum.
    let sum = Sum::ZERO.and(transport).finish();
    let sum = if offset == UDP_CHECKSUM && sum == 0 { 0xffff } else { sum };
    transport[offset..offset + 2].copy_from_slice(&sum.to_be_bytes());
    Ok(())
}

#[cfg(test)]
mod tests;
