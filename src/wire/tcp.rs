//! The TCP header (RFC 9293 §3.1), the MSS clamp, and the RST that answers a segment of no connection.

use std::net::IpAddr;

use super::checksum::{self, Sum};
use super::ip::{self, Inner};
use super::{ipv4, ipv6};

/// FIN.
pub const FIN: u8 = 0x01;
/// SYN.
pub const SYN: u8 = 0x02;
/// RST.
pub const RST: u8 = 0x04;
/// PSH.
pub const PSH: u8 = 0x08;
/// ACK.
pub const ACK: u8 = 0x10;
/// URG.
pub const URG: u8 = 0x20;
/// CWR (RFC 3168 §6.1).
pub const CWR: u8 = 0x80;

/// A TCP segment whose header has been checked.
#[derive(Clone, Copy, Debug)]
pub struct TcpView<'a> {
    header: &'a [u8; 20],
    options: &'a [u8],
    payload: &'a [u8],
    /// Bytes of payload that follow in the rest of a train.
    pub(super) rest: u32,
}

impl<'a> TcpView<'a> {
    /// The segment that fills `bytes` exactly.
    pub(super) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (header, rest) = bytes.split_first_chunk::<20>()?;
        let options = usize::from(header[12] >> 4).checked_mul(4)?.checked_sub(20)?;
        let (options, payload) = rest.split_at_checked(options)?;
        let view = Self { header, options, payload, rest: 0 };
        // Reserved bits are zero; the fourth of them is AE (RFC 9768).
        (header[12] & 0x0e == 0 && view.source_port() != 0 && view.destination_port() != 0).then_some(view)
    }

    /// The source port.
    #[must_use]
    pub fn source_port(&self) -> u16 {
        u16::from_be_bytes([self.header[0], self.header[1]])
    }

    /// The destination port.
    #[must_use]
    pub fn destination_port(&self) -> u16 {
        u16::from_be_bytes([self.header[2], self.header[3]])
    }

    /// The sequence number.
    #[must_use]
    pub fn sequence(&self) -> u32 {
        u32::from_be_bytes([self.header[4], self.header[5], self.header[6], self.header[7]])
    }

    /// The acknowledgement number.
    #[must_use]
    pub fn acknowledgement(&self) -> u32 {
        u32::from_be_bytes([self.header[8], self.header[9], self.header[10], self.header[11]])
    }

    /// The flags, CWR to FIN.
    #[must_use]
    pub fn flags(&self) -> u8 {
        self.header[13]
    }

    /// The window, not scaled.
    #[must_use]
    pub fn window(&self) -> u16 {
        u16::from_be_bytes([self.header[14], self.header[15]])
    }

    /// The options.
    #[must_use]
    pub fn options(&self) -> &'a [u8] {
        self.options
    }

    /// What it carries.
    #[must_use]
    pub fn payload(&self) -> &'a [u8] {
        self.payload
    }

    /// How much of the sequence space it takes, with the rest of its train if it leads one: its payload, and one each for
    /// SYN and FIN (RFC 9293 §3.4).
    #[must_use]
    pub fn sequence_len(&self) -> u32 {
        let flags = self.flags();
        self.carried() + u32::from(flags & SYN != 0) + u32::from(flags & FIN != 0)
    }

    /// How much payload it has, with the rest of its train if it leads one.
    #[must_use]
    pub fn carried(&self) -> u32 {
        self.payload.len() as u32 + self.rest
    }
}

/// Lowers the MSS option of a SYN to `mss` and mends the checksum. Whether it changed anything.
///
/// A SYN without the option is left alone: its sender then takes 536 (RFC 9293 §3.7.1).
pub fn clamp_mss(packet: &mut [u8], mss: u16) -> bool {
    let header_len = match packet.first() {
        Some(0x45) if packet.get(9) == Some(&ip::TCP) => ipv4::HEADER_LEN,
        Some(first) if first >> 4 == 6 && packet.get(6) == Some(&ip::TCP) => ipv6::HEADER_LEN,
        _ => return false,
    };
    let Some(segment) = packet.get_mut(header_len..) else { return false };
    let Some(TcpView { header, options, .. }) = TcpView::parse(segment) else { return false };
    if header[13] & SYN == 0 {
        return false;
    }
    let Some((at, old)) = find_mss(options) else { return false };
    if old <= mss {
        return false;
    }
    let at = header.len() + at;
    let sum = u16::from_be_bytes([header[16], header[17]]);
    // A value that stands across two words counts with its bytes turned round (RFC 1071 §2 (B)).
    let word = |value: u16| if at % 2 == 0 { value } else { value.swap_bytes() };
    let sum = checksum::update(sum, word(old), word(mss));
    for (at, value) in [(at, mss), (16, sum)] {
        if let Some(field) = segment.get_mut(at..at + 2) {
            field.copy_from_slice(&value.to_be_bytes());
        }
    }
    true
}

/// Where the value of the MSS option stands, and what it is.
fn find_mss(options: &[u8]) -> Option<(usize, u16)> {
    let mut at = 0;
    loop {
        match *options.get(at..)? {
            // End of the list, and padding (RFC 9293 §3.2).
            [0, ..] => return None,
            [1, ..] => at += 1,
            [2, 4, high, low, ..] => return Some((at + 2, u16::from_be_bytes([high, low]))),
            // Each round goes on by two bytes at least, through no more than forty.
            [_, length, ..] if length >= 2 => at += usize::from(length),
            _ => return None,
        }
    }
}

/// The RST that answers `segment`, as a whole packet in `out`. `None` if the segment is no TCP, is a RST, or `out` is
/// too short; 40 bytes are enough for IPv4 and 60 for IPv6.
pub fn build_reset(out: &mut [u8], segment: &Inner<'_>) -> Option<usize> {
    let tcp = segment.tcp().filter(|tcp| tcp.flags() & RST == 0)?;
    // RFC 9293 §3.10.7.1: with an ACK the reset takes its sequence number from it; else it is zero, and the reset
    // acknowledges all that the segment took.
    let (sequence, acknowledgement, flags) = if tcp.flags() & ACK != 0 {
        (tcp.acknowledgement(), 0, RST)
    } else {
        (0, tcp.sequence().wrapping_add(tcp.sequence_len()), RST | ACK)
    };
    let from = (segment.destination(), tcp.destination_port());
    write_bare(out, from, (segment.source(), tcp.source_port()), flags, sequence, acknowledgement)
}

/// A RST that ends a connection from one end to the other, as a whole packet in `out`. `None` if the ends are of two
/// families or `out` is too short; 40 bytes are enough for IPv4 and 60 for IPv6.
pub fn write_reset(
    out: &mut [u8],
    from: (IpAddr, u16),
    to: (IpAddr, u16),
    sequence: u32,
    acknowledgement: u32,
) -> Option<usize> {
    write_bare(out, from, to, RST | ACK, sequence, acknowledgement)
}

/// A segment that carries nothing.
fn write_bare(
    out: &mut [u8],
    from: (IpAddr, u16),
    to: (IpAddr, u16),
    flags: u8,
    sequence: u32,
    acknowledgement: u32,
) -> Option<usize> {
    let mut header = [0; 20];
    header[0..2].copy_from_slice(&from.1.to_be_bytes());
    header[2..4].copy_from_slice(&to.1.to_be_bytes());
    header[4..8].copy_from_slice(&sequence.to_be_bytes());
    header[8..12].copy_from_slice(&acknowledgement.to_be_bytes());
    header[12] = 0x50;
    header[13] = flags;
    let sum = Sum::pseudo(from.0, to.0, ip::TCP, header.len())?.and(&header).finish();
    header[16..18].copy_from_slice(&sum.to_be_bytes());
    ip::write_packet(out, from.0, to.0, ip::TCP, &[&header])
}

/// Whether the checksum of the segment that `inner` carries is right.
#[must_use]
pub fn checksum_holds(inner: &Inner<'_>) -> bool {
    let segment = inner.payload();
    Sum::pseudo(inner.source(), inner.destination(), ip::TCP, segment.len())
        .is_some_and(|sum| sum.and(segment).is_valid())
}

/// Takes the payload, FIN and PSH off the segment that fills `packet`, and mends lengths and checksums. What is left are the
/// headers: how many bytes.
pub fn shed_payload(packet: &mut [u8]) -> Option<usize> {
    let (ip_len, len) = {
        let inner = Inner::parse(packet).ok()?;
        let options = inner.tcp()?.options().len();
        (inner.header_len(), inner.header_len() + 20 + options)
    };
    let packet = packet.get_mut(..len)?;
    if ip_len == ipv4::HEADER_LEN {
        let header = packet.first_chunk_mut::<{ ipv4::HEADER_LEN }>()?;
        header[2..4].copy_from_slice(&(len as u16).to_be_bytes());
        header[10..12].fill(0);
        let sum = checksum::checksum(header);
        header[10..12].copy_from_slice(&sum.to_be_bytes());
    } else {
        packet.get_mut(4..6)?.copy_from_slice(&((len - ip_len) as u16).to_be_bytes());
    }
    *packet.get_mut(ip_len + 13)? &= !(FIN | PSH);
    packet.get_mut(ip_len + 16..ip_len + 18)?.fill(0);
    let sum = {
        let inner = Inner::parse(packet).ok()?;
        Sum::pseudo(inner.source(), inner.destination(), ip::TCP, len - ip_len)?.and(inner.payload()).finish()
    };
    packet.get_mut(ip_len + 16..ip_len + 18)?.copy_from_slice(&sum.to_be_bytes());
    Some(len)
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::{PacketBuilder, TcpOptionElement};
    use proptest::prelude::*;

    fn syn(v6: bool, options: &[TcpOptionElement]) -> Vec<u8> {
        let ip = if v6 {
            PacketBuilder::ipv6([0x20; 16], [0x21; 16], 64)
        } else {
            PacketBuilder::ipv4([192, 0, 2, 10], [203, 0, 113, 20], 64)
        };
        let mut packet = Vec::new();
        ip.tcp(40000, 1414, 7, 1000).syn().options(options).unwrap().write(&mut packet, &[]).unwrap();
        packet
    }

    fn checksum_is_right(packet: &[u8]) -> bool {
        let inner = Inner::parse(packet).unwrap();
        let pseudo = Sum::pseudo(inner.source(), inner.destination(), ip::TCP, inner.payload().len()).unwrap();
        pseudo.and(inner.payload()).is_valid()
    }

    #[test]
    fn a_larger_mss_is_lowered_and_the_checksum_mended() {
        let options = [
            vec![TcpOptionElement::MaximumSegmentSize(1460)],
            vec![TcpOptionElement::SelectiveAcknowledgementPermitted, TcpOptionElement::MaximumSegmentSize(1460)],
            vec![TcpOptionElement::Noop, TcpOptionElement::MaximumSegmentSize(1460)],
            vec![TcpOptionElement::Timestamp(1, 2), TcpOptionElement::MaximumSegmentSize(1460)],
        ];
        for (v6, options) in [false, true].into_iter().flat_map(|v6| options.iter().map(move |options| (v6, options))) {
            let mut packet = syn(v6, options);
            assert!(clamp_mss(&mut packet, 1398));
            assert!(checksum_is_right(&packet));
            let inner = Inner::parse(&packet).unwrap();
            assert_eq!(find_mss(inner.tcp().unwrap().options()).unwrap().1, 1398);
            assert!(!clamp_mss(&mut packet, 1398));
        }
    }

    #[test]
    fn a_smaller_mss_and_segments_other_than_syn_stay_as_they_are() {
        let mss = [TcpOptionElement::MaximumSegmentSize(1200)];
        let mut packet = syn(false, &mss);
        assert!(!clamp_mss(&mut packet, 1398));
        assert_eq!(packet, syn(false, &mss));
        packet[33] = ACK;
        assert!(!clamp_mss(&mut packet, 1000));
        assert!(!clamp_mss(&mut syn(false, &[]), 1000));
    }

    #[test]
    fn broken_options_end_the_walk() {
        assert_eq!(find_mss(&[3, 0, 2, 4, 5, 6]), None);
        assert_eq!(find_mss(&[3, 1, 2, 4, 5, 6]), None);
        assert_eq!(find_mss(&[3, 40, 2, 4, 5, 6]), None);
        assert_eq!(find_mss(&[2, 3, 5]), None);
        assert_eq!(find_mss(&[2, 4, 5]), None);
        assert_eq!(find_mss(&[0, 2, 4, 5, 6]), None);
        assert_eq!(find_mss(&[1, 3, 3, 7, 2, 4, 5, 6]), Some((6, 0x0506)));
    }

    #[test]
    fn a_reset_answers_as_rfc_9293_says() {
        for v6 in [false, true] {
            let packet = syn(v6, &[]);
            let mut out = [0xaa; 60];
            let length = build_reset(&mut out, &Inner::parse(&packet).unwrap()).unwrap();
            assert!(checksum_is_right(&out[..length]));
            let answer = Inner::parse(&out[..length]).unwrap();
            let tcp = answer.tcp().unwrap();
            assert_eq!((tcp.source_port(), tcp.destination_port()), (1414, 40000));
            assert_eq!((tcp.sequence(), tcp.acknowledgement(), tcp.flags()), (0, 8, RST | ACK));
            assert_eq!(build_reset(&mut [0; 60], &answer), None, "no reset answers a reset");
            assert_eq!(build_reset(&mut out[..length - 1], &Inner::parse(&packet).unwrap()), None);

            let mut data = packet;
            let at = if v6 { 40 } else { 20 };
            data[at + 13] = ACK;
            data[at + 8..at + 12].copy_from_slice(&77_u32.to_be_bytes());
            let length = build_reset(&mut out, &Inner::parse(&data).unwrap()).unwrap();
            let answer = Inner::parse(&out[..length]).unwrap().tcp().unwrap();
            assert_eq!((answer.sequence(), answer.flags()), (77, RST));
        }
    }

    #[test]
    fn a_segment_without_its_payload_is_a_sound_segment() {
        for v6 in [false, true] {
            let ip = if v6 {
                PacketBuilder::ipv6([0x20; 16], [0x21; 16], 64)
            } else {
                PacketBuilder::ipv4([192, 0, 2, 10], [203, 0, 113, 20], 64)
            };
            let mut packet = Vec::new();
            let options = [TcpOptionElement::Timestamp(1, 2)];
            let segment = ip.tcp(40000, 1414, 7, 1000).ack(99).psh().fin().options(&options).unwrap();
            segment.write(&mut packet, b"what has been acknowledged").unwrap();
            assert!(checksum_holds(&Inner::parse(&packet).unwrap()));
            let len = shed_payload(&mut packet).unwrap();
            packet.truncate(len);
            assert!(checksum_is_right(&packet));
            let inner = Inner::parse(&packet).unwrap();
            assert!(checksum_holds(&inner));
            let tcp = inner.tcp().unwrap();
            assert_eq!((tcp.payload().len(), tcp.flags(), tcp.sequence(), tcp.acknowledgement()), (0, ACK, 7, 99));
            assert_eq!(tcp.options().len(), 12);
            packet[if v6 { 46 } else { 26 }] ^= 1;
            assert!(!checksum_holds(&Inner::parse(&packet).unwrap()));
        }
    }

    #[test]
    fn a_header_with_a_bad_length_a_zero_port_or_reserved_bits_is_refused() {
        let good = syn(false, &[])[20..].to_vec();
        assert!(TcpView::parse(&good).is_some());
        for (at, value) in [(12, 0x40), (12, 0xf0), (12, 0x52), (12, 0x58)] {
            let mut bad = good.clone();
            bad[at] = value;
            assert!(TcpView::parse(&bad).is_none(), "{at} {value:x}");
        }
        let mut portless = good.clone();
        portless[2..4].fill(0);
        assert!(TcpView::parse(&portless).is_none());
        assert!(TcpView::parse(&good[..19]).is_none());
    }

    proptest! {
        #[test]
        fn a_segment_reads_as_etherparse_reads_it(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let ours = TcpView::parse(&bytes);
            let theirs = etherparse::TcpSlice::from_slice(&bytes).ok();
            if let Some(ours) = ours {
                let theirs = theirs.unwrap();
                prop_assert_eq!(ours.source_port(), theirs.source_port());
                prop_assert_eq!(ours.destination_port(), theirs.destination_port());
                prop_assert_eq!(ours.sequence(), theirs.sequence_number());
                prop_assert_eq!(ours.acknowledgement(), theirs.acknowledgment_number());
                prop_assert_eq!(ours.window(), theirs.window_size());
                prop_assert_eq!(ours.options(), theirs.options());
                prop_assert_eq!(ours.payload(), theirs.payload());
                prop_assert_eq!(ours.flags() & SYN != 0, theirs.syn());
                prop_assert_eq!(ours.flags() & FIN != 0, theirs.fin());
                prop_assert_eq!(ours.flags() & RST != 0, theirs.rst());
                prop_assert_eq!(ours.flags() & ACK != 0, theirs.ack());
                prop_assert_eq!(ours.flags() & PSH != 0, theirs.psh());
                prop_assert_eq!(ours.flags() & URG != 0, theirs.urg());
            } else if let Some(theirs) = theirs {
                let reserved = bytes[12] & 0x0e != 0;
                prop_assert!(reserved || theirs.source_port() == 0 || theirs.destination_port() == 0);
            }
        }

        #[test]
        fn clamping_never_panics_and_keeps_the_length(mut bytes in prop::collection::vec(any::<u8>(), 0..120), mss: u16) {
            if let Some(first) = bytes.first_mut() {
                *first = if mss % 2 == 0 { 0x45 } else { 0x60 };
            }
            for at in [6, 9] {
                if let Some(protocol) = bytes.get_mut(at) {
                    *protocol = ip::TCP;
                }
            }
            let before = bytes.clone();
            let changed = clamp_mss(&mut bytes, mss);
            prop_assert_eq!(changed, bytes != before);
        }
    }
}
