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
mod tests {
    use super::*;
    use crate::wire::ip::Inner;
    use crate::wire::tcp::ACK;
    use crate::wire::vnet;
    use etherparse::PacketBuilder;
    use proptest::prelude::*;

    const SOURCE: [u8; 4] = [192, 0, 2, 10];
    const DESTINATION: [u8; 4] = [203, 0, 113, 20];

    /// One packet of the kind that the kernel hands over, with its checksum completed.
    fn packet(v6: bool, udp: bool, identification: u16, sequence: u32, flags: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let builder = if v6 {
            PacketBuilder::ipv6([0x20; 16], [0x21; 16], 61)
        } else {
            let mut header =
                etherparse::Ipv4Header::new(0, 61, etherparse::ip_number::TCP, SOURCE, DESTINATION).unwrap();
            header.identification = identification;
            header.dont_fragment = true;
            PacketBuilder::ip(etherparse::IpHeaders::Ipv4(header, etherparse::Ipv4Extensions::default()))
        };
        if udp {
            builder.udp(4000, 2000).write(&mut bytes, payload).unwrap();
        } else {
            let mut header = etherparse::TcpHeader::new(4000, 1414, sequence, 999);
            header.acknowledgment_number = 77;
            (header.ack, header.psh, header.fin) = (flags & ACK != 0, flags & PSH != 0, flags & FIN != 0);
            header.cwr = flags & CWR != 0;
            let time = [etherparse::TcpOptionElement::Timestamp(5, 6)];
            header.set_options(&time).unwrap();
            builder.tcp_header(header).write(&mut bytes, payload).unwrap();
        }
        bytes
    }

    fn offload(v6: bool, udp: bool, segment_len: u16) -> VnetHeader {
        VnetHeader {
            needs_checksum: true,
            segments: match (udp, v6) {
                (true, _) => Segments::Udp,
                (false, false) => Segments::Tcp4,
                (false, true) => Segments::Tcp6,
            },
            // What the kernel says of a forwarded packet may be anything.
            header_len: 9999,
            segment_len,
            checksum_start: if v6 { 40 } else { 20 },
            checksum_offset: if udp { 6 } else { 16 },
        }
    }

    /// Cuts `long` as the data path does.
    fn cut(mut long: Vec<u8>, offload: &VnetHeader) -> Result<Vec<Vec<u8>>, DropReason> {
        let train = Train::plan(&long, offload)?;
        train.pretend_first(&mut long);
        let template = Template::new(&train, &long);
        let segment = |index| {
            let (from, len) = train.payload(index);
            let from = train.header_len() + from;
            let mut packet = vec![0; train.header_len()];
            packet.extend(&long[from..from + len]);
            template.write(index, &mut packet);
            packet
        };
        let segments: Vec<_> = (0..train.count()).map(segment).collect();
        assert_eq!(segments.iter().map(Vec::len).sum::<usize>(), train.bytes());
        assert_eq!(segments[0].len(), train.longest());
        Ok(segments)
    }

    fn long_packet() -> (Vec<u8>, VnetHeader) {
        (packet(false, false, 7, 1000, ACK, &[0x42; 5000]), offload(false, false, 1000))
    }

    proptest! {
        #[test]
        fn segments_are_what_the_sender_would_have_sent_one_by_one(
            v6: bool, udp: bool,
            payload in prop::collection::vec(any::<u8>(), 1..6000),
            size in 9_usize..2000,
            identification: u16, sequence: u32,
            flags in prop::sample::select(vec![ACK, ACK | PSH, ACK | FIN | PSH, ACK | CWR]),
        ) {
            let long = packet(v6, udp, identification, sequence, flags, &payload);
            let segments = cut(long, &offload(v6, udp, size as u16)).unwrap();
            let count = payload.len().div_ceil(size);
            prop_assert_eq!(segments.len(), count);
            for (index, (segment, part)) in segments.iter().zip(payload.chunks(size)).enumerate() {
                let mut expected = flags & !(PSH | FIN | CWR);
                expected |= if index + 1 == count { flags & (PSH | FIN) } else { 0 };
                expected |= if index == 0 { flags & CWR } else { 0 };
                let identification = identification.wrapping_add(index as u16);
                let sequence = sequence.wrapping_add((index * size) as u32);
                prop_assert_eq!(segment, &packet(v6, udp, identification, sequence, expected, part));
            }
        }

        #[test]
        fn lying_headers_are_refused_or_give_sound_packets_and_never_panic(
            mut bytes in prop_oneof![
                prop::collection::vec(any::<u8>(), 0..300),
                (any::<bool>(), any::<bool>(), 1_usize..300).prop_map(|(v6, udp, len)| packet(v6, udp, 1, 2, ACK, &vec![3; len])),
            ],
            changes in prop::collection::vec((0_usize..80, any::<u8>()), 0..3),
            header: [u8; vnet::LEN],
            kind in prop::sample::select(vec![0_u8, 1, 3, 4, 5]),
            start in prop_oneof![Just(20_u16), Just(40), any::<u16>()],
            offset in prop_oneof![Just(6_u16), Just(16), any::<u16>()],
            size in prop_oneof![0_u16..100, any::<u16>()],
        ) {
            for (at, value) in changes {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = value;
                }
            }
            let mut said = VnetHeader::parse(&header);
            said.segments = VnetHeader::parse(&[0, kind, 0, 0, 0, 0, 0, 0, 0, 0]).segments;
            (said.checksum_start, said.checksum_offset, said.segment_len) = (start, offset, size);
            let mut single = bytes.clone();
            let _ = complete(&mut single, &said);
            prop_assert_eq!(single.len(), bytes.len());
            if let Ok(segments) = cut(bytes, &said) {
                for segment in segments {
                    // The first one's view decides for all of them.
                    if let Ok(inner) = Inner::parse(&segment) {
                        let sum = addresses_sum(&segment, inner.header_len(), inner.udp().is_some());
                        let sum = sum.and(&(inner.payload().len() as u16).to_be_bytes()).and(inner.payload());
                        prop_assert!(sum.is_valid());
                    }
                }
            }
        }

        #[test]
        fn a_checksum_left_to_the_device_is_completed(v6: bool, udp: bool, payload in prop::collection::vec(any::<u8>(), 0..2000)) {
            let whole = packet(v6, udp, 1, 2, ACK, &payload);
            let said = offload(v6, udp, 0);
            let said = VnetHeader { segments: Segments::None, ..said };
            let (ip_len, mut partial) = (usize::from(said.checksum_start), whole.clone());
            let at = ip_len + usize::from(said.checksum_offset);
            let length = ((whole.len() - ip_len) as u16).to_be_bytes();
            let pseudo = addresses_sum(&whole, ip_len, udp).and(&length).fold();
            partial[at..at + 2].copy_from_slice(&pseudo.to_be_bytes());
            complete(&mut partial, &said).unwrap();
            prop_assert_eq!(&partial, &whole);
            // Without the flag nothing is touched.
            let untouched = VnetHeader { needs_checksum: false, ..said };
            complete(&mut partial, &untouched).unwrap();
            prop_assert_eq!(partial, whole);
        }
    }

    #[test]
    fn impossible_sizes_are_named() {
        let (long, said) = long_packet();
        for size in [0, 1, 7] {
            let said = VnetHeader { segment_len: size, ..said };
            assert_eq!(Train::plan(&long, &said), Err(DropReason::SegmentSize), "{size}");
        }
        // More segments than there is room for.
        let long = packet(false, false, 1, 2, ACK, &vec![0; 60_000]);
        assert_eq!(Train::plan(&long, &VnetHeader { segment_len: 58, ..said }), Err(DropReason::SegmentSize));
        assert_eq!(Train::plan(&long, &VnetHeader { segment_len: 59, ..said }).unwrap().count(), 1017);
        let datagrams = packet(false, true, 1, 2, 0, &[0; 100]);
        let said = offload(false, true, 0);
        for size in [0, 1] {
            let said = VnetHeader { segment_len: size, ..said };
            assert_eq!(Train::plan(&datagrams, &said), Err(DropReason::SegmentSize));
        }
        // Nothing to cut.
        let empty = packet(false, false, 1, 2, ACK, &[]);
        assert_eq!(Train::plan(&empty, &offload(false, false, 1000)), Err(DropReason::SegmentSize));
    }

    #[test]
    fn what_the_kernel_says_must_fit_the_packet() {
        let (long, said) = long_packet();
        assert!(Train::plan(&long, &said).is_ok());
        let cases: [(VnetHeader, DropReason); 7] = [
            (VnetHeader { needs_checksum: false, ..said }, DropReason::BadOffload),
            (VnetHeader { checksum_start: 24, ..said }, DropReason::BadOffload),
            (VnetHeader { checksum_offset: 6, ..said }, DropReason::BadOffload),
            (VnetHeader { segments: Segments::Tcp6, ..said }, DropReason::BadOffload),
            (VnetHeader { segments: Segments::Udp, ..said }, DropReason::BadOffload),
            (VnetHeader { segments: Segments::Unknown(3), ..said }, DropReason::BadOffload),
            (VnetHeader { segments: Segments::None, ..said }, DropReason::BadOffload),
        ];
        for (said, reason) in cases {
            assert_eq!(Train::plan(&long, &said), Err(reason), "{said:?}");
        }
        // A train cut short, one that is longer than it says, and headers that run past its end.
        assert_eq!(Train::plan(&long[..4000], &said), Err(DropReason::BadIpHeader));
        assert_eq!(Train::plan(&[&long[..], &[0]].concat(), &said), Err(DropReason::BadIpHeader));
        for len in 0..52 {
            assert!(Train::plan(&long[..len], &said).is_err(), "{len}");
        }
        let changed = |at: usize, value: u8| {
            let mut long = long.clone();
            long[at] = value;
            Train::plan(&long, &said)
        };
        assert_eq!(changed(0, 0x46), Err(DropReason::IpOptions));
        assert_eq!(changed(0, 0x44), Err(DropReason::BadOffload));
        assert_eq!(changed(32, 0x40), Err(DropReason::BadTransport));
        assert_eq!(changed(33, ACK | SYN), Err(DropReason::BadOffload));
        assert_eq!(changed(33, ACK | RST), Err(DropReason::BadOffload));
        let mut datagrams = packet(false, true, 1, 2, 0, &[0; 3000]);
        datagrams[25] ^= 1;
        assert_eq!(Train::plan(&datagrams, &offload(false, true, 1000)), Err(DropReason::BadTransport));
    }

    #[test]
    fn a_checksum_elsewhere_than_its_protocol_has_it_is_refused() {
        let whole = packet(false, false, 1, 2, ACK, &[1; 10]);
        let said = VnetHeader { segments: Segments::None, ..offload(false, false, 0) };
        for (said, reason) in [
            (VnetHeader { checksum_start: 10, ..said }, DropReason::BadOffload),
            (VnetHeader { checksum_offset: 17, ..said }, DropReason::BadOffload),
            (VnetHeader { checksum_start: u16::MAX, checksum_offset: u16::MAX, ..said }, DropReason::BadOffload),
        ] {
            let mut bytes = whole.clone();
            assert_eq!(complete(&mut bytes, &said), Err(reason));
            assert_eq!(bytes, whole);
        }
        assert_eq!(complete(&mut whole[..30].to_vec(), &said), Err(DropReason::BadTransport));
        let mut other = whole;
        other[9] = 132;
        assert_eq!(complete(&mut other, &said), Err(DropReason::BadOffload));
    }
}
