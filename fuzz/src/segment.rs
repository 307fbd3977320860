//! Long packets with whatever might be said about them: what is cut is sound, and what is tied together is cut into the
//! same packets again.

use portcullis::dataplane::coalesce::{self, Candidate};
use portcullis::dataplane::segment::{self, Template, Train};
use portcullis::wire::checksum::Sum;
use portcullis::wire::ip::{self, Inner};
use portcullis::wire::tcp;
use portcullis::wire::vnet::{self, Segments, VnetHeader};

use super::inner_ip::mended;

/// The kernel's header, then a packet: as it is, with its lengths right, and with a header that fits it, too.
pub fn packet(data: &[u8]) {
    let Some((header, packet)) = data.split_first_chunk::<{ vnet::LEN }>() else { return };
    let said = VnetHeader::parse(header);
    assert_eq!(VnetHeader::parse(&said.encode()), said);
    let mended = mended(packet);
    for packet in [packet, &mended] {
        single(packet, &said);
        long(packet, &said);
        if let Some(said) = fitting(packet, &said) {
            single(packet, &said);
            long(packet, &said);
        }
    }
}

/// What an honest kernel would say of this packet.
fn fitting(packet: &[u8], said: &VnetHeader) -> Option<VnetHeader> {
    let v6 = packet.first()? >> 4 == 6;
    let (segments, checksum_offset) = match *packet.get(if v6 { 6 } else { 9 })? {
        6 if v6 => (Segments::Tcp6, 16),
        6 => (Segments::Tcp4, 16),
        17 => (Segments::Udp, 6),
        _ => return None,
    };
    let checksum_start = if v6 { 40 } else { 20 };
    Some(VnetHeader { needs_checksum: true, segments, checksum_start, checksum_offset, ..*said })
}

fn single(packet: &[u8], said: &VnetHeader) {
    let mut completed = packet.to_vec();
    let result = segment::complete(&mut completed, said);
    assert_eq!(completed.len(), packet.len());
    if result.is_err() || !said.needs_checksum {
        assert_eq!(completed, packet, "what is refused, or whole, is left alone");
    }
}

/// Cuts as the data path does.
fn cut(packet: &[u8], said: &VnetHeader) -> Option<Vec<Vec<u8>>> {
    let train = Train::plan(packet, said).ok()?;
    let mut long = packet.to_vec();
    train.pretend_first(&mut long);
    let template = Template::new(&train, &long);
    let segment = |index| {
        let (from, len) = train.payload(index);
        let mut segment = vec![0; train.header_len()];
        segment.extend(&long[train.header_len() + from..train.header_len() + from + len]);
        template.write(index, &mut segment);
        segment
    };
    let segments: Vec<_> = (0..train.count()).map(segment).collect();
    train.restore(&mut long);
    // All but the header's checksum, which is right now.
    let sum = if packet[0] >> 4 == 4 { 10..12 } else { 0..0 };
    long[sum.clone()].copy_from_slice(&packet[sum]);
    assert_eq!(long, packet, "a packet that is whole again is what it was");
    assert_eq!(segments.iter().map(Vec::len).sum::<usize>(), train.bytes());
    assert_eq!(train.rest() + train.longest() + (train.count() - 1) * train.header_len(), train.bytes());
    Some(segments)
}

/// Every segment has the headers of the long packet, but for what counts up and what is the first one's or the last one's;
/// and together they carry what it carried.
fn is_cut_right(packet: &[u8], segments: &[Vec<u8>]) {
    let v6 = packet[0] >> 4 == 6;
    let (ip_len, protocol) = if v6 { (40, packet[6]) } else { (20, packet[9]) };
    let udp = protocol == ip::UDP;
    let header_len = ip_len + if udp { 8 } else { usize::from(packet[ip_len + 12] >> 4) * 4 };
    let word = |bytes: &[u8], at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
    let said = if v6 { usize::from(word(packet, 4)) + 40 } else { usize::from(word(packet, 2)) };
    assert_eq!(said, packet.len(), "cut although it does not know how long it is");
    let mut carried: Vec<u8> = Vec::new();
    for (index, segment) in segments.iter().enumerate() {
        let mut expected = packet[..header_len].to_vec();
        let mut put = |at: usize, bytes: &[u8]| expected[at..at + bytes.len()].copy_from_slice(bytes);
        let len = segment.len() as u16;
        if v6 {
            put(4, &(len - 40).to_be_bytes());
        } else {
            put(2, &len.to_be_bytes());
            put(4, &word(packet, 4).wrapping_add(index as u16).to_be_bytes());
            put(10, &segment[10..12]);
            assert!(Sum::ZERO.and(&segment[..20]).is_valid(), "the header's checksum");
        }
        let (first, last) = (index == 0, index + 1 == segments.len());
        if udp {
            put(ip_len + 4, &(len - ip_len as u16).to_be_bytes());
            put(ip_len + 6, &segment[ip_len + 6..ip_len + 8]);
            assert_ne!(word(segment, ip_len + 6), 0, "no checksum");
        } else {
            let sequence = u32::from_be_bytes(packet[ip_len + 4..ip_len + 8].try_into().expect("four bytes"));
            put(ip_len + 4, &sequence.wrapping_add(carried.len() as u32).to_be_bytes());
            let mut flags = packet[ip_len + 13];
            flags &= if last { 0xff } else { !(tcp::FIN | tcp::PSH) };
            flags &= if first { 0xff } else { !tcp::CWR };
            put(ip_len + 13, &[flags]);
            put(ip_len + 16, &segment[ip_len + 16..ip_len + 18]);
        }
        assert_eq!(segment[..header_len], expected, "the headers of segment {index}");
        carried.extend(&segment[header_len..]);
    }
    assert_eq!(carried[..], packet[header_len..], "what it carries");
}

/// Whether so many segments of a long packet are one train again: nothing stands in the way that must stay apart.
fn belongs_together(packet: &[u8], count: usize) -> bool {
    let v6 = packet[0] >> 4 == 6;
    let (ip_len, protocol) = if v6 { (40, packet[6]) } else { (20, packet[9]) };
    let whole = v6 || (packet[6] & 0xbf, packet[7]) == (0, 0);
    let plain = protocol == ip::UDP || packet[ip_len + 13] & !tcp::PSH == tcp::ACK;
    count <= coalesce::MAX_PACKETS && whole && plain
}

/// How many bytes a segment carries.
fn first_payload(packet: &[u8], segment: &[u8]) -> usize {
    let (ip_len, protocol) = if packet[0] >> 4 == 6 { (40, packet[6]) } else { (20, packet[9]) };
    let transport = if protocol == ip::UDP { 8 } else { usize::from(segment[ip_len + 12] >> 4) * 4 };
    segment.len() - ip_len - transport
}

/// A packet in which any one byte is another one is not the next one of a train, nor is the one that was there before; and a
/// leader whose checksum is wrong leads none.
fn nothing_else_is_tied(train: &coalesce::Train, leader: &[u8], next: &[u8]) {
    let tied = |leader: &[u8], packet: &[u8]| {
        Candidate::of(packet).is_some_and(|candidate| { *train }.take(leader, packet, &candidate))
    };
    for at in 0..next.len().min(80) {
        let mut damaged = next.to_vec();
        damaged[at] ^= 1 << (at % 8);
        assert!(!tied(leader, &damaged), "byte {at} is another one");
        let _ = coalesce::same_flow(leader, &damaged);
    }
    assert!(!tied(leader, &next[..next.len() - 1]), "a packet that is cut off");
    if train.count() == 1 {
        let mut damaged = leader.to_vec();
        *damaged.last_mut().expect("a packet") ^= 1;
        assert!(!tied(&damaged, next), "a leader with a wrong checksum");
    }
}

fn long(packet: &[u8], said: &VnetHeader) {
    let Some(segments) = cut(packet, said) else { return };
    is_cut_right(packet, &segments);
    for segment in &segments {
        if let Ok(inner) = Inner::parse(segment) {
            let sum = Sum::pseudo(inner.source(), inner.destination(), inner.protocol(), inner.payload().len());
            assert!(sum.expect("one family").and(inner.payload()).is_valid(), "a segment has a right checksum");
        }
    }
    let Some(first) = Candidate::of(&segments[0]) else { return };
    let protocol = if packet[0] >> 4 == 6 { packet[6] } else { packet[9] };
    assert_eq!(first.is_udp(), protocol == ip::UDP);
    let mut train = coalesce::Train::of(first);
    let more = segments[1..].iter().take_while(|next| {
        assert!(coalesce::same_flow(&segments[0], next));
        nothing_else_is_tied(&train, &segments[0], next);
        Candidate::of(next).is_some_and(|candidate| train.take(&segments[0], next, &candidate))
    });
    let count = 1 + more.count();
    assert_eq!(train.count(), count);
    let header_len = segments[0].len() - first_payload(packet, &segments[0]);
    let carried = segments[..count].iter().map(|segment| segment.len() - header_len);
    assert_eq!(train.bytes(), segments[..count].iter().map(Vec::len).sum::<usize>());
    assert_eq!(train.rest(), carried.skip(1).sum::<usize>());
    assert!(count == segments.len() || !belongs_together(packet, segments.len()), "{count} of {}", segments.len());
    if count < 2 {
        return;
    }
    let head = train.head(&segments[0]);
    let (said, headers) = head.bytes().split_first_chunk::<{ vnet::LEN }>().expect("a header");
    let mut tied = headers.to_vec();
    segments[..count].iter().for_each(|segment| tied.extend(&segment[headers.len()..]));
    let again = cut(&tied, &VnetHeader::parse(said)).expect("what was tied can be cut");
    assert!(again == segments[..count], "the same packets");
}
