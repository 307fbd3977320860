//! Control messages beside a datagram (`struct cmsghdr`), written and read as bytes: addresses, TOS, segment length.

use std::net::IpAddr;

/// Room for what one datagram has beside it, a quoted error included.
pub(super) const ROOM: usize = 192;

const WORD: usize = size_of::<usize>();
const HEADER: usize = WORD + 8;

/// Appends a control message at `at`; gives the new end, or `at` if there is no room.
fn put(out: &mut [u8], at: usize, level: i32, kind: i32, data: &[u8]) -> usize {
    let length = HEADER + data.len();
    let end = at + length.next_multiple_of(WORD);
    let Some(room) = out.get_mut(at..end) else { return at };
    room.fill(0);
    room[..WORD].copy_from_slice(&length.to_ne_bytes());
    room[WORD..WORD + 4].copy_from_slice(&level.to_ne_bytes());
    room[WORD + 4..HEADER].copy_from_slice(&kind.to_ne_bytes());
    room[HEADER..length].copy_from_slice(data);
    end
}

/// What Linux sends with, and RFC 1700 recommends.
const HOPS: u8 = 64;

/// Writes what goes beside a datagram: its source address (where it has one), its TOS, the segment length of a train, and a hop
/// limit of its own for a lane above 0: what puts datagrams together on the way, or at the peer, does not where that differs,
/// and each lane is received by its own worker.
pub(super) fn write(out: &mut [u8; ROOM], source: IpAddr, tos: u8, lane: u8, segment: u16) -> usize {
    let mut end = 0;
    let hops = i32::from(HOPS.saturating_sub(lane).max(1)).to_ne_bytes();
    match source {
        IpAddr::V4(v4) => {
            // struct in_pktinfo: link, source, (destination).
            let mut info = [0; 12];
            info[4..8].copy_from_slice(&v4.octets());
            if !v4.is_unspecified() {
                end = put(out, end, libc::IPPROTO_IP, libc::IP_PKTINFO, &info);
            }
            end = put(out, end, libc::IPPROTO_IP, libc::IP_TOS, &i32::from(tos).to_ne_bytes());
            if lane > 0 {
                end = put(out, end, libc::IPPROTO_IP, libc::IP_TTL, &hops);
            }
        }
        IpAddr::V6(v6) => {
            // struct in6_pktinfo: source, link.
            let mut info = [0; 20];
            info[..16].copy_from_slice(&v6.octets());
            if !v6.is_unspecified() {
                end = put(out, end, libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &info);
            }
            end = put(out, end, libc::IPPROTO_IPV6, libc::IPV6_TCLASS, &i32::from(tos).to_ne_bytes());
            if lane > 0 {
                end = put(out, end, libc::IPPROTO_IPV6, libc::IPV6_HOPLIMIT, &hops);
            }
        }
    }
    if segment > 0 {
        end = put(out, end, libc::SOL_UDP, libc::UDP_SEGMENT, &segment.to_ne_bytes());
    }
    end
}

/// The control messages in `bytes`: level, kind, data.
pub(super) fn each(bytes: &[u8]) -> impl Iterator<Item = (i32, i32, &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let length = usize::from_ne_bytes(*rest.first_chunk()?);
        let level = i32::from_ne_bytes(*rest.get(WORD..)?.first_chunk()?);
        let kind = i32::from_ne_bytes(*rest.get(WORD + 4..)?.first_chunk()?);
        let data = rest.get(HEADER..length)?;
        rest = rest.get(length.next_multiple_of(WORD)..).unwrap_or_default();
        Some((level, kind, data))
    })
}

/// What the kernel said beside a received datagram.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Beside {
    /// The address it was sent to.
    pub(super) local: Option<IpAddr>,
    /// Its TOS or traffic class.
    pub(super) tos: u8,
    /// The length of each datagram but the last, if the kernel has put several together (UDP_GRO).
    pub(super) segment: u16,
}

/// Reads what came beside a datagram.
pub(super) fn read(bytes: &[u8]) -> Beside {
    let mut beside = Beside::default();
    for (level, kind, data) in each(bytes) {
        match (level, kind) {
            // `ipi_spec_dst`: the local address that answers for the destination.
            (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                beside.local = data.get(4..).and_then(<[u8]>::first_chunk::<4>).map(|ip| IpAddr::from(*ip));
            }
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                beside.local = data.first_chunk::<16>().map(|ip| IpAddr::from(*ip));
            }
            (libc::IPPROTO_IP, libc::IP_TOS) => beside.tos = data.first().copied().unwrap_or(0),
            (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) => {
                let class = data.first_chunk().map_or(0, |class| i32::from_ne_bytes(*class));
                beside.tos = u8::try_from(class).unwrap_or(0);
            }
            (libc::SOL_UDP, libc::UDP_GRO) => {
                let segment = data.first_chunk().map_or(0, |segment| i32::from_ne_bytes(*segment));
                beside.segment = u16::try_from(segment).unwrap_or(0);
            }
            _ => {}
        }
    }
    beside
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_written_is_read_again() {
        for source in ["192.0.2.1", "2001:db8::1"] {
            let mut bytes = [0; ROOM];
            let source: IpAddr = source.parse().unwrap();
            let end = write(&mut bytes, source, 0xb9, 3, 1400);
            assert_eq!(read(&bytes[..end]), Beside { local: Some(source), tos: 0xb9, segment: 0 });
            let last = each(&bytes[..end]).last().unwrap();
            assert_eq!(last, (libc::SOL_UDP, libc::UDP_SEGMENT, &1400_u16.to_ne_bytes()[..]));
            assert!(end <= ROOM);
        }
    }

    #[test]
    fn a_length_of_datagrams_that_is_none_says_nothing() {
        let cases: [(&[u8], u16); 7] = [
            (&1400_i32.to_ne_bytes(), 1400),
            (&1_i32.to_ne_bytes(), 1),
            (&0_i32.to_ne_bytes(), 0),
            (&(-1_i32).to_ne_bytes(), 0),
            (&65_536_i32.to_ne_bytes(), 0),
            (&[7, 0], 0),
            (&[], 0),
        ];
        for (data, segment) in cases {
            let mut bytes = [0; ROOM];
            let end = put(&mut bytes, 0, libc::SOL_UDP, libc::UDP_GRO, data);
            assert_eq!(read(&bytes[..end]), Beside { segment, ..Beside::default() }, "{data:?}");
        }
    }

    #[test]
    fn the_layout_is_the_c_librarys() {
        // SAFETY: pure arithmetic on lengths.
        #[allow(unsafe_code, reason = "libc's length macros are unsafe functions")]
        let (space, length) = unsafe { (libc::CMSG_SPACE(12) as usize, libc::CMSG_LEN(12) as usize) };
        let mut bytes = [0; ROOM];
        assert_eq!(put(&mut bytes, 0, 1, 2, &[7; 12]), space);
        assert_eq!(usize::from_ne_bytes(*bytes.first_chunk().unwrap()), length);
        assert_eq!(bytes[length - 12..length], [7; 12]);
    }

    proptest! {
        #[test]
        fn junk_ends_the_walk_and_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(each(&bytes).count() <= bytes.len() / HEADER);
            let _ = read(&bytes);
        }
    }
}
