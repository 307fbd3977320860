//! TCP options (RFC 9293 §3.2): what a SYN says of windows, acknowledgements and timestamps, and which options are
//! not carried.
//!
//! Carried are the maximum segment size, window scale and timestamps (RFC 7323) and selective acknowledgements
//! (RFC 2018). Anything else on a SYN becomes padding, so that neither end takes it for agreed: Multipath TCP
//! (RFC 8684) would lead the rest of a connection by ways that nobody sees, Fast Open (RFC 7413) would put data before
//! the handshake, and what is unknown may do either. On later segments an option that was not agreed means nothing.

use super::checksum;
use super::ip::Inner;

const END: u8 = 0;
const NOTHING: u8 = 1;
const MSS: u8 = 2;
const SCALE: u8 = 3;
const SACK_PERMITTED: u8 = 4;
const SACK: u8 = 5;
const TIMESTAMPS: u8 = 8;

/// What a SYN says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SynOptions {
    /// By how many bits the windows of its sender are to be shifted, if it offers that.
    pub scale: Option<u8>,
    /// Whether it takes selective acknowledgements.
    pub sack: bool,
    /// Whether it sends timestamps.
    pub timestamps: bool,
}

/// The options one by one.
struct Walk<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// Its kind, where it begins, and its value.
type Found<'a> = (u8, usize, &'a [u8]);

impl<'a> Iterator for Walk<'a> {
    /// `None` inside: the list is broken here.
    type Item = Option<Found<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let begin = self.at;
            match *self.bytes.get(begin..)? {
                [] | [END, ..] => return None,
                [NOTHING, ..] => self.at += 1,
                [kind, length, ..] if length >= 2 => {
                    self.at += usize::from(length);
                    let Some(value) = self.bytes.get(begin + 2..self.at) else {
                        self.at = self.bytes.len();
                        return Some(None);
                    };
                    return Some(Some((kind, begin, value)));
                }
                _ => {
                    self.at = self.bytes.len();
                    return Some(None);
                }
            }
        }
    }
}

/// Reads the options of a SYN. `None` if the list is broken, or one that we must understand has an impossible length.
#[must_use]
pub fn of_syn(options: &[u8]) -> Option<SynOptions> {
    let mut said = SynOptions::default();
    for found in (Walk { bytes: options, at: 0 }) {
        match found? {
            // RFC 7323 §2.3: a larger shift than 14 is taken for 14.
            (SCALE, _, &[shift]) => said.scale = Some(shift.min(14)),
            (SACK_PERMITTED, _, &[]) => said.sack = true,
            (TIMESTAMPS, _, value) if value.len() == 8 => said.timestamps = true,
            (MSS, _, value) if value.len() == 2 => {}
            (MSS | SCALE | SACK_PERMITTED | TIMESTAMPS, ..) => return None,
            _ => {}
        }
    }
    Some(said)
}

/// The sender's timestamp, if there is one.
#[must_use]
pub fn timestamp(options: &[u8]) -> Option<u32> {
    // As nearly everybody writes them (RFC 7323 appendix A).
    if let [NOTHING, NOTHING, TIMESTAMPS, 10, a, b, c, d, _, _, _, _, ..] = *options {
        return Some(u32::from_be_bytes([a, b, c, d]));
    }
    (Walk { bytes: options, at: 0 }).map_while(|found| found).find_map(|(kind, _, value)| {
        let value = value.first_chunk().filter(|_| kind == TIMESTAMPS && value.len() == 8)?;
        Some(u32::from_be_bytes(*value))
    })
}

/// Makes padding of every option of a TCP packet that is not carried, and mends the checksum. Whether there was one.
pub fn strip(packet: &mut [u8]) -> bool {
    let (begin, len) = match Inner::parse(packet) {
        Ok(inner) => match inner.tcp() {
            Some(segment) => (inner.header_len() + 20, segment.options().len()),
            None => return false,
        },
        Err(_) => return false,
    };
    let Some(options) = packet.get_mut(begin..begin + len) else { return false };
    // A TCP header is 60 bytes at most.
    let mut before = [0; 40];
    let Some(old) = before.get_mut(..len) else { return false };
    old.copy_from_slice(options);
    let mut walk = Walk { bytes: old, at: 0 };
    while let Some(Some((kind, from, _))) = walk.next() {
        if !matches!(kind, MSS | SCALE | SACK_PERMITTED | SACK | TIMESTAMPS) {
            options[from..walk.at].fill(NOTHING);
        }
    }
    if old == options {
        return false;
    }
    let words = |bytes: &[u8]| -> [u16; 20] {
        let mut words = [0; 20];
        for (word, pair) in words.iter_mut().zip(bytes.as_chunks::<2>().0) {
            *word = u16::from_be_bytes(*pair);
        }
        words
    };
    let changes = words(old).into_iter().zip(words(options));
    // The checksum stands four bytes in front of the options.
    let Some(field) = packet.get_mut(begin - 4..begin - 2) else { return false };
    let sum = u16::from_be_bytes([field[0], field[1]]);
    let sum = changes.filter(|(old, new)| old != new).fold(sum, |sum, (old, new)| checksum::update(sum, old, new));
    field.copy_from_slice(&sum.to_be_bytes());
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::checksum::Sum;
    use crate::wire::ip;
    use crate::wire::tcp::SYN;
    use proptest::prelude::*;

    /// A SYN with these options, padded, and its checksum right.
    fn syn(v6: bool, options: &[u8]) -> Vec<u8> {
        let mut options = options.to_vec();
        options.resize(options.len().next_multiple_of(4), END);
        let mut segment = vec![0x9c, 0x40, 0x05, 0x86, 0, 0, 0, 7, 0, 0, 0, 0, 0, SYN, 3, 0xe8, 0, 0, 0, 0];
        segment[12] = ((20 + options.len()) / 4 * 16) as u8;
        segment.extend(options);
        let (from, to): (std::net::IpAddr, std::net::IpAddr) = if v6 {
            ([0x20; 16].into(), [0x21; 16].into())
        } else {
            ([192, 0, 2, 10].into(), [203, 0, 113, 20].into())
        };
        let sum = Sum::pseudo(from, to, ip::TCP, segment.len()).unwrap().and(&segment).finish();
        segment[16..18].copy_from_slice(&sum.to_be_bytes());
        let mut packet = vec![0; 120];
        let len = ip::write_packet(&mut packet, from, to, ip::TCP, &[&segment]).unwrap();
        packet.truncate(len);
        packet
    }

    fn options_of(packet: &[u8]) -> Vec<u8> {
        Inner::parse(packet).unwrap().tcp().unwrap().options().to_vec()
    }

    #[test]
    fn a_syn_says_what_it_offers() {
        let linux = [2, 4, 5, 180, 4, 2, 8, 10, 0, 0, 0, 9, 0, 0, 0, 0, 1, 3, 3, 7];
        assert_eq!(of_syn(&linux), Some(SynOptions { scale: Some(7), sack: true, timestamps: true }));
        assert_eq!(of_syn(&[3, 3, 200]), Some(SynOptions { scale: Some(14), ..SynOptions::default() }));
        assert_eq!(of_syn(&[]), Some(SynOptions::default()));
        // Behind the end of the list stands nothing that counts; what is unknown is passed over.
        assert_eq!(of_syn(&[30, 4, 1, 2, 0, 3, 3, 7]), Some(SynOptions::default()));
        assert_eq!(timestamp(&linux), Some(9));
        assert_eq!(timestamp(&[1, 1, 8, 10, 1, 2, 3, 4, 0, 0, 0, 0]), Some(0x0102_0304));
        assert_eq!(timestamp(&linux[..6]), None);
    }

    #[test]
    fn a_broken_list_is_no_list() {
        for options in
            [&[3, 0][..], &[3, 1], &[3, 4, 1], &[8, 10, 1], &[2], &[4, 3, 0], &[3, 2], &[2, 3, 1], &[30, 9, 1]]
        {
            assert_eq!(of_syn(options), None, "{options:?}");
        }
    }

    #[test]
    fn multipath_fast_open_and_the_unknown_become_padding_and_the_checksum_follows() {
        for v6 in [false, true] {
            let carried = [2, 4, 5, 180, 4, 2, 8, 10, 0, 0, 0, 9, 0, 0, 0, 0, 1, 3, 3, 7];
            let mut packet = syn(v6, &carried);
            assert!(!strip(&mut packet));
            assert_eq!(packet, syn(v6, &carried));
            for foreign in [
                &[30, 12, 0, 1, 9, 9, 9, 9, 9, 9, 9, 9][..],
                &[34, 2],
                &[34, 5, 1, 2, 3],
                &[253, 4, 0xf9, 0x89],
                &[19, 18, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16],
            ] {
                // At an even place and at an odd one.
                for front in [&[2, 4, 5, 180][..], &[1, 2, 4, 5, 180]] {
                    let mut packet = syn(v6, &[front, foreign, &[3, 3, 7]].concat());
                    assert!(strip(&mut packet));
                    let padding = vec![NOTHING; foreign.len()];
                    assert_eq!(packet, syn(v6, &[front, &padding, &[3, 3, 7]].concat()), "{foreign:?}");
                    assert!(!strip(&mut packet));
                    assert_eq!(of_syn(&options_of(&packet)).unwrap().scale, Some(7));
                }
            }
        }
    }

    #[test]
    fn a_timestamp_that_is_cut_off_is_none() {
        let whole = [1, 1, 8, 10, 0, 0, 0, 7, 0, 0, 0, 0];
        assert_eq!(timestamp(&whole), Some(7));
        for len in 0..whole.len() {
            assert_eq!(timestamp(&whole[..len]), None, "{len}");
        }
    }

    proptest! {
        #[test]
        fn whatever_the_list_the_checksum_stays_right_and_only_carried_options_stay(
            v6: bool, options in prop::collection::vec(prop_oneof![0_u8..10, 28_u8..36, any::<u8>()], 0..40),
        ) {
            let mut packet = syn(v6, &options);
            let len = packet.len();
            strip(&mut packet);
            prop_assert_eq!(packet.len(), len);
            let inner = Inner::parse(&packet).unwrap();
            let sum = Sum::pseudo(inner.source(), inner.destination(), ip::TCP, inner.payload().len()).unwrap();
            prop_assert!(sum.and(inner.payload()).is_valid());
            let left = options_of(&packet);
            let kinds = (Walk { bytes: &left, at: 0 }).map_while(|found| found).map(|(kind, ..)| kind);
            for kind in kinds {
                prop_assert!(matches!(kind, 2 | 3 | 4 | 5 | 8), "{}", kind);
            }
        }
    }
}
