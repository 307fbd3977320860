//! What is cut, and what is refused.

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
        let mut header = etherparse::Ipv4Header::new(0, 61, etherparse::ip_number::TCP, SOURCE, DESTINATION).unwrap();
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
