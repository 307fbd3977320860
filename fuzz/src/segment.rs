//! Long packets with whatever might be said about them: what is cut is sound, and what is tied together is cut into the
//! same packets again.

use portcullis::dataplane::coalesce::{self, Candidate};
use portcullis::dataplane::segment::{self, Template, Train};
use portcullis::wire::checksum::Sum;
use portcullis::wire::ip::Inner;
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
    assert_eq!(segments.iter().map(Vec::len).sum::<usize>(), train.bytes());
    assert_eq!(train.rest() + train.longest() + (train.count() - 1) * train.header_len(), train.bytes());
    Some(segments)
}

fn long(packet: &[u8], said: &VnetHeader) {
    let Some(segments) = cut(packet, said) else { return };
    for segment in &segments {
        if let Ok(inner) = Inner::parse(segment) {
            let sum = Sum::pseudo(inner.source(), inner.destination(), inner.protocol(), inner.payload().len());
            assert!(sum.expect("one family").and(inner.payload()).is_valid(), "a segment has a right checksum");
        }
    }
    let Some(first) = Candidate::of(&segments[0]) else { return };
    let mut train = coalesce::Train::of(first);
    let more = segments[1..].iter().take_while(|next| {
        assert!(coalesce::same_flow(&segments[0], next));
        Candidate::of(next).is_some_and(|candidate| train.take(&segments[0], next, &candidate))
    });
    let count = 1 + more.count();
    assert_eq!(train.count(), count);
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
