//! Walks captures that others have written: pcap (micro- and nanoseconds) and pcapng, both byte orders; and finds the IP
//! packet in a frame: Ethernet (with VLAN tags), raw IP, Linux cooked (both versions) and BSD loopback.
//!
//! A capture comes from anywhere: nothing in it is believed, nothing is allocated by its lengths, and what is cut off
//! ends the walk. Left out: packet blocks of the first pcapng drafts, and what no IP packet is in.

use std::time::Duration;

/// Largest capture that is read: it is held in memory.
pub const MAX_FILE: usize = 256 << 20;
/// Interfaces of a pcapng section that are remembered; packets of others are passed over.
const MAX_INTERFACES: usize = 256;
/// Options of an interface that are looked at.
const MAX_OPTIONS: usize = 64;

/// One frame of a capture.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// Its place in the file, from 1: what an analyser calls its number.
    pub number: usize,
    /// When it was seen, since the epoch of the capture's clock. Never trusted to go forward.
    pub at: Duration,
    /// The kind of link (https://www.tcpdump.org/linktypes.html).
    pub link: u32,
    /// The bytes that were kept.
    pub bytes: &'a [u8],
    /// How many there were.
    pub length: usize,
}

/// How far a walk came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Walked {
    /// Frames that were seen.
    pub frames: usize,
    /// Whether the file ends inside of a record, or goes on in a way that means nothing.
    pub cut: bool,
}

/// Numbers in the byte order of the file.
#[derive(Clone, Copy)]
struct Order {
    little: bool,
}

impl Order {
    fn u32(self, bytes: [u8; 4]) -> u32 {
        if self.little { u32::from_le_bytes(bytes) } else { u32::from_be_bytes(bytes) }
    }

    fn u16(self, bytes: [u8; 2]) -> u16 {
        if self.little { u16::from_le_bytes(bytes) } else { u16::from_be_bytes(bytes) }
    }

    /// A word of a block's body.
    fn word(self, body: &[u8], at: usize) -> Option<u32> {
        body.get(at..).and_then(<[u8]>::first_chunk).map(|bytes| self.u32(*bytes))
    }

    /// Half a word of it.
    fn half(self, body: &[u8], at: usize) -> Option<u16> {
        body.get(at..).and_then(<[u8]>::first_chunk).map(|bytes| self.u16(*bytes))
    }
}

/// Calls `each` with every frame, in the order of the file, until it says false. The error is a sentence.
pub fn frames<'a>(file: &'a [u8], mut each: impl FnMut(Frame<'a>) -> bool) -> Result<Walked, String> {
    let magic: [u8; 4] = *file.first_chunk().ok_or("the capture is empty")?;
    let classic = |little, nanoseconds| (Order { little }, if nanoseconds { 1 } else { 1000 });
    let (order, unit) = match u32::from_be_bytes(magic) {
        0xa1b2_c3d4 => classic(false, false),
        0xa1b2_3c4d => classic(false, true),
        0xd4c3_b2a1 => classic(true, false),
        0x4d3c_b2a1 => classic(true, true),
        0x0a0d_0d0a => return Ok(blocks(file, &mut each)),
        _ => return Err("this is neither pcap nor pcapng".to_owned()),
    };
    Ok(records(file, order, unit, &mut each))
}

/// pcap: a file header and records. `unit` is that of the fraction of a second, in nanoseconds.
fn records<'a>(file: &'a [u8], order: Order, unit: u32, each: &mut dyn FnMut(Frame<'a>) -> bool) -> Walked {
    let mut walked = Walked { frames: 0, cut: true };
    let Some((header, mut rest)) = file.split_first_chunk::<24>() else { return walked };
    // The upper half says how long a checksum behind each frame is; packets know their own length.
    let link = order.word(header, 20).unwrap_or(0) & 0xffff;
    while !rest.is_empty() {
        let Some((record, behind)) = rest.split_first_chunk::<16>() else { return walked };
        let word = |at| order.word(record, at).unwrap_or(0);
        let Some((bytes, next)) = behind.split_at_checked(word(8) as usize) else { return walked };
        rest = next;
        walked.frames += 1;
        let nanoseconds = u64::from(word(4)) * u64::from(unit);
        let at = Duration::from_secs(word(0).into()) + Duration::from_nanos(nanoseconds);
        if !each(Frame { number: walked.frames, at, link, bytes, length: word(12) as usize }) {
            break;
        }
    }
    walked.cut = false;
    walked
}

/// An interface of a pcapng section: its kind of link, and how many parts a second has.
#[derive(Clone, Copy)]
struct Interface {
    link: u32,
    per_second: u64,
    kept: u32,
}

impl Interface {
    fn read(order: Order, body: &[u8]) -> Self {
        let mut interface = Self {
            link: order.half(body, 0).map_or(0, u32::from),
            per_second: 1_000_000,
            kept: order.word(body, 4).unwrap_or(0),
        };
        let mut options = body.get(8..).unwrap_or_default();
        for _ in 0..MAX_OPTIONS {
            let (Some(code), Some(length)) = (order.half(options, 0), order.half(options, 2)) else { break };
            let value = options.get(4..).unwrap_or_default();
            if code == 9
                && let Some(resolution) = value.first()
            {
                // if_tsresol: a power of ten, or of two where the highest bit is set.
                let power = u32::from(resolution & 0x7f);
                let base = if resolution & 0x80 == 0 { 10_u64 } else { 2 };
                interface.per_second = base.checked_pow(power).unwrap_or(interface.per_second);
            }
            options = value.get(usize::from(length).next_multiple_of(4)..).unwrap_or_default();
        }
        interface
    }

    fn time(self, high: u32, low: u32) -> Duration {
        let parts = u64::from(high) << 32 | u64::from(low);
        let rest = u128::from(parts % self.per_second) * 1_000_000_000 / u128::from(self.per_second);
        Duration::from_secs(parts / self.per_second) + Duration::from_nanos(u64::try_from(rest).unwrap_or(0))
    }
}

/// pcapng: blocks with a type and their length at both ends.
fn blocks<'a>(file: &'a [u8], each: &mut dyn FnMut(Frame<'a>) -> bool) -> Walked {
    let mut walked = Walked { frames: 0, cut: true };
    let mut rest = file;
    let mut order = Order { little: true };
    let mut interfaces: Vec<Interface> = Vec::new();
    let mut last = Duration::ZERO;
    while !rest.is_empty() {
        let Some((head, behind)) = rest.split_first_chunk::<8>() else { return walked };
        let [a, b, c, d, length @ ..] = *head;
        if [a, b, c, d] == [0x0a, 0x0d, 0x0d, 0x0a] {
            // The byte order is in the first word of the section's body.
            let Some(magic) = behind.first_chunk::<4>() else { return walked };
            order = Order { little: *magic == [0x4d, 0x3c, 0x2b, 0x1a] };
            interfaces.clear();
        }
        // The length counts its head, and itself once more at the end.
        let Some(length) = (order.u32(length) as usize).checked_sub(12) else { return walked };
        let Some((body, next)) = behind.split_at_checked(length) else { return walked };
        let Some(next) = next.get(4..) else { return walked };
        rest = next;
        let frame = match order.u32([a, b, c, d]) {
            1 => {
                if interfaces.len() < MAX_INTERFACES {
                    interfaces.push(Interface::read(order, body));
                }
                continue;
            }
            // Enhanced packet: interface, time, captured length, length, data.
            6 => {
                walked.frames += 1;
                let word = |at| order.word(body, at);
                let interface = word(0).and_then(|index| interfaces.get(index as usize));
                let (Some(interface), Some(kept), Some(length)) = (interface, word(12), word(16)) else { continue };
                let Some(bytes) = body.get(20..).and_then(|data| data.get(..kept as usize)) else { continue };
                last = interface.time(word(4).unwrap_or(0), word(8).unwrap_or(0));
                Frame { number: walked.frames, at: last, link: interface.link, bytes, length: length as usize }
            }
            // Simple packet: length, data; always of the first interface, and without a time.
            3 => {
                walked.frames += 1;
                let (Some(interface), Some(length)) = (interfaces.first(), order.word(body, 0)) else { continue };
                let limit = if interface.kept == 0 { u32::MAX } else { interface.kept };
                let data = body.get(4..).unwrap_or_default();
                let bytes = data.get(..length.min(limit) as usize).unwrap_or(data);
                Frame { number: walked.frames, at: last, link: interface.link, bytes, length: length as usize }
            }
            _ => continue,
        };
        if !each(frame) {
            break;
        }
    }
    walked.cut = false;
    walked
}

/// The IP packet in a frame, with whatever pads it.
#[must_use]
pub fn packet(link: u32, frame: &[u8]) -> Option<&[u8]> {
    let ether = |at: usize| Some(u16::from_be_bytes(*frame.get(at..)?.first_chunk()?));
    let is_ip = |at: usize| matches!(ether(at), Some(0x0800 | 0x86dd));
    match link {
        // Null and loop: a word with the address family in front, in the byte order of some machine.
        0 | 108 => frame.get(4..),
        1 => {
            let mut at = 12;
            // Two VLAN tags at most.
            while matches!(ether(at)?, 0x8100 | 0x88a8) && at < 20 {
                at += 4;
            }
            is_ip(at).then(|| frame.get(at + 2..)).flatten()
        }
        12 | 14 | 101 | 228 | 229 => Some(frame),
        // Cooked, which says the protocol at its end, behind a VLAN tag too.
        113 if matches!(ether(14)?, 0x8100 | 0x88a8) => is_ip(18).then(|| frame.get(20..)).flatten(),
        113 => is_ip(14).then(|| frame.get(16..)).flatten(),
        276 if matches!(ether(0)?, 0x8100 | 0x88a8) => is_ip(22).then(|| frame.get(24..)).flatten(),
        276 => is_ip(0).then(|| frame.get(20..)).flatten(),
        _ => None,
    }
}

#[cfg(test)]
pub(crate) mod testing {
    //! Captures for tests.

    /// A pcap file of frames that are a millisecond apart.
    pub(crate) fn pcap(link: u32, frames: &[Vec<u8>], little: bool) -> Vec<u8> {
        let word = |value: u32| if little { value.to_le_bytes() } else { value.to_be_bytes() };
        let mut file = word(0xa1b2_c3d4).to_vec();
        file.extend([0; 16]);
        file.extend(word(link));
        for (number, frame) in (0..).zip(frames) {
            file.extend(word(7));
            file.extend(word(number * 1000));
            file.extend(word(u32::try_from(frame.len()).unwrap()));
            file.extend(word(u32::try_from(frame.len()).unwrap()));
            file.extend(frame);
        }
        file
    }

    /// A pcapng file of one interface that counts nanoseconds.
    pub(crate) fn pcapng(link: u16, frames: &[Vec<u8>]) -> Vec<u8> {
        let block = |kind: u32, body: &[u8]| {
            let mut body = body.to_vec();
            body.resize(body.len().next_multiple_of(4), 0);
            let length = u32::try_from(body.len() + 12).unwrap().to_le_bytes();
            [&kind.to_le_bytes()[..], &length, &body, &length].concat()
        };
        let section = [&0x1a2b_3c4d_u32.to_le_bytes()[..], &[1, 0, 0, 0], &[0xff; 8]].concat();
        let resolution = [&9_u16.to_le_bytes()[..], &[1, 0, 9, 0, 0, 0], &[0; 4]].concat();
        let interface = [&link.to_le_bytes()[..], &[0; 6], &resolution].concat();
        let mut file = [block(0x0a0d_0d0a, &section), block(1, &interface)].concat();
        for (number, frame) in (0_u64..).zip(frames) {
            let time = 7_000_000_000 + number * 1_000_000;
            let (high, low) = ((time >> 32) as u32, time as u32);
            let length = u32::try_from(frame.len()).unwrap().to_le_bytes();
            file.extend(block(
                6,
                &[&[0; 4][..], &high.to_le_bytes(), &low.to_le_bytes(), &length, &length, frame].concat(),
            ));
        }
        file
    }
}

#[cfg(test)]
mod tests {
    use super::testing::{pcap, pcapng};
    use super::*;

    /// Number, time, link and bytes.
    type Seen = (usize, Duration, u32, Vec<u8>);

    fn walk(file: &[u8]) -> (Vec<Seen>, Walked) {
        let mut seen = Vec::new();
        let walked = frames(file, |frame| {
            seen.push((frame.number, frame.at, frame.link, frame.bytes.to_vec()));
            true
        });
        (seen, walked.unwrap())
    }

    #[test]
    fn every_format_gives_the_same_frames_at_the_same_times() {
        let given = [b"one".to_vec(), b"three".to_vec(), Vec::new()];
        let files = [pcap(101, &given, true), pcap(101, &given, false), pcapng(101, &given)];
        for file in files {
            let (seen, walked) = walk(&file);
            assert_eq!(walked, Walked { frames: 3, cut: false });
            for (number, ((at, frame), seen)) in (1..).zip((0..).map(Duration::from_millis).zip(&given).zip(seen)) {
                assert_eq!(seen, (number, Duration::from_secs(7) + at, 101, frame.clone()));
            }
        }
    }

    #[test]
    fn nanoseconds_and_simple_packets_are_understood() {
        let mut file = pcap(1, &[b"frame".to_vec()], false);
        file[..4].copy_from_slice(&0xa1b2_3c4d_u32.to_be_bytes());
        file[24..32].copy_from_slice(&[0, 0, 0, 1, 0, 0, 0, 9]);
        assert_eq!(walk(&file).0[0].1, Duration::new(1, 9));
        let mut file = pcapng(1, &[]);
        file.extend([3, 0, 0, 0, 24, 0, 0, 0, 5, 0, 0, 0]);
        file.extend(b"frame\0\0\0");
        file.extend([24, 0, 0, 0]);
        assert_eq!(walk(&file).0[0].3, b"frame");
    }

    #[test]
    fn a_file_that_is_cut_anywhere_gives_what_was_whole_and_says_so() {
        let given = [b"first".to_vec(), b"second".to_vec()];
        for file in [pcap(1, &given, true), pcapng(1, &given)] {
            let whole = walk(&file).0;
            let mut ends = 0;
            for end in 4..file.len() {
                let (seen, walked) = walk(&file[..end]);
                assert!(whole.starts_with(&seen), "cut at {end}");
                ends += usize::from(!walked.cut);
            }
            // Only between two records is a cut not seen.
            assert!((1..=4).contains(&ends), "{ends}");
        }
    }

    #[test]
    fn a_length_that_lies_ends_the_walk() {
        for length in [0, 1, 11, 0x7fff_ffff, u32::MAX] {
            let mut file = pcap(1, &[b"frame".to_vec()], true);
            file[32..36].copy_from_slice(&length.to_le_bytes());
            assert!(walk(&file).0.len() <= 1);
            let mut file = pcapng(1, &[b"frame".to_vec()]);
            let at = file.len() - 40 + 4;
            file[at..at + 4].copy_from_slice(&length.to_le_bytes());
            assert!(walk(&file).0.is_empty() && walk(&file).1.cut, "{length}");
        }
        assert!(frames(b"", |_| true).is_err() && frames(b"GIF89a..", |_| true).is_err());
    }

    #[test]
    fn the_packet_is_found_on_every_kind_of_link() {
        let ethernet = |tags: &[u8]| [&[0; 12][..], tags, &[0x08, 0], b"ip"].concat();
        let one = [0x81, 0, 0, 7];
        for (link, frame) in [
            (1, ethernet(&[])),
            (1, ethernet(&one)),
            (1, ethernet(&[0x88, 0xa8, 0, 3, 0x81, 0, 0, 7])),
            (0, b"\x02\0\0\0ip".to_vec()),
            (108, b"\0\0\0\x02ip".to_vec()),
            (101, b"ip".to_vec()),
            (113, [&[0; 14][..], &[0x86, 0xdd], b"ip"].concat()),
            (113, [&[0; 14][..], &one, &[0x08, 0], b"ip"].concat()),
            (276, [&[0x08, 0][..], &[0; 18], b"ip"].concat()),
        ] {
            assert_eq!(packet(link, &frame), Some(&b"ip"[..]), "link {link}: {frame:?}");
        }
        assert_eq!(packet(1, &[&[0; 12][..], &[0x08, 6], b"arp"].concat()), None);
        assert_eq!(packet(1, &ethernet(&one.repeat(3))), None);
        assert_eq!(packet(147, b"ip"), None);
    }
}
