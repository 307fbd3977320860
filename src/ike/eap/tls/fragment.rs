//! What does not fit one packet goes in several (RFC 5216 §2.1.5, §3.1): flags, sometimes the length of all, and a part.

use crate::ike::eap::Fault;
use crate::ike::limits;
use crate::wire::reader::Reader;

/// RFC 5216 §3.1: length included, more fragments, start. The other bits are reserved, and not looked at.
mod flag {
    pub(super) const LENGTH: u8 = 0x80;
    pub(super) const MORE: u8 = 0x40;
    pub(super) const START: u8 = 0x20;
}

/// The data of one packet, behind the EAP type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment<'a> {
    /// S: the authenticator begins.
    pub start: bool,
    /// M: there is more of it.
    pub more: bool,
    /// L: the length of all.
    pub length: Option<u32>,
    /// A part of it.
    pub data: &'a [u8],
}

impl<'a> Fragment<'a> {
    /// Reads the data of a packet.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, Fault> {
        let mut reader = Reader::new(bytes);
        let cut = |_| Fault::malformed("the EAP-TLS packet is cut short");
        let flags = reader.u8().map_err(cut)?;
        let length = if flags & flag::LENGTH != 0 { Some(reader.u32().map_err(cut)?) } else { None };
        let data = reader.rest();
        let (start, more) = (flags & flag::START != 0, flags & flag::MORE != 0);
        if more && data.is_empty() {
            return Err(Fault::malformed("an EAP-TLS fragment without data"));
        }
        if start && (more || !data.is_empty()) {
            return Err(Fault::malformed("an EAP-TLS start with data"));
        }
        Ok(Self { start, more, length, data })
    }

    /// RFC 5216 §2.1.5: "an EAP-Response ... with no data. This serves as a fragment ACK."
    pub fn is_acknowledgement(&self) -> bool {
        self.data.is_empty() && !self.start
    }
}

/// The first packet of all.
pub fn start() -> Vec<u8> {
    vec![flag::START]
}

/// An empty packet: give me more, or nothing left to say.
pub fn acknowledgement() -> Vec<u8> {
    vec![0]
}

/// What the other side sends, until there is all of it.
#[derive(Debug, Default)]
pub struct Assembly {
    bytes: Vec<u8>,
    announced: Option<usize>,
}

impl Assembly {
    /// Takes the next fragment. All of it, once the last one is there.
    pub fn take(&mut self, fragment: &Fragment<'_>) -> Result<Option<Vec<u8>>, Fault> {
        if let Some(length) = fragment.length {
            let length = usize::try_from(length).unwrap_or(usize::MAX);
            if length > limits::MAX_TLS_FLIGHT {
                return Err(Fault::malformed("the TLS messages are too long"));
            }
            if self.announced.is_some_and(|announced| announced != length) {
                return Err(Fault::malformed("the TLS messages change their length on the way"));
            }
            if self.announced.is_none() && !self.bytes.is_empty() {
                return Err(Fault::malformed("the length of the TLS messages comes after their beginning"));
            }
            self.announced = Some(length);
        }
        // RFC 5216 §2.1.5: the length "is provided in the first fragment". Some leave it out; then our own bound holds.
        let room = self.announced.unwrap_or(limits::MAX_TLS_FLIGHT);
        if room.checked_sub(self.bytes.len()).is_none_or(|left| fragment.data.len() > left) {
            return Err(Fault::malformed("the TLS messages are longer than they were said to be"));
        }
        self.bytes.extend_from_slice(fragment.data);
        if fragment.more {
            return Ok(None);
        }
        let Self { bytes, announced } = std::mem::take(self);
        if announced.is_some_and(|announced| announced != bytes.len()) {
            return Err(Fault::malformed("the TLS messages are shorter than they were said to be"));
        }
        Ok(Some(bytes))
    }

    /// Whether a part of it is there.
    pub fn is_under_way(&self) -> bool {
        !self.bytes.is_empty()
    }
}

/// What we send, a part at a time.
#[derive(Debug, Default)]
pub struct Outgoing {
    bytes: Vec<u8>,
    sent: usize,
}

impl Outgoing {
    /// All that is to be sent.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self { bytes, sent: 0 }
    }

    /// The data of the next packet; `None` when all of it has been sent.
    pub fn next(&mut self) -> Option<Vec<u8>> {
        let left = self.bytes.get(self.sent..).filter(|left| !left.is_empty())?;
        let (part, rest) = left.split_at(left.len().min(limits::TLS_FRAGMENT));
        let (first, more) = (self.sent == 0, !rest.is_empty());
        let mut data = vec![if more { flag::MORE } else { 0 }];
        if first && more {
            data[0] |= flag::LENGTH;
            // Our own flights are far below 4 GiB.
            data.extend_from_slice(&(self.bytes.len() as u32).to_be_bytes());
        }
        data.extend_from_slice(part);
        self.sent += part.len();
        Some(data)
    }

    /// Whether something of it is left.
    pub fn is_under_way(&self) -> bool {
        self.sent < self.bytes.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn carry(bytes: &[u8]) -> (usize, Vec<u8>) {
        let (mut outgoing, mut assembly) = (Outgoing::new(bytes.to_vec()), Assembly::default());
        let mut packets = 0;
        loop {
            let packet = outgoing.next().expect("the last one ends it");
            assert!(packet.len() <= limits::TLS_FRAGMENT + 5);
            packets += 1;
            if let Some(whole) = assembly.take(&Fragment::decode(&packet).unwrap()).unwrap() {
                assert!(!outgoing.is_under_way() && outgoing.next().is_none());
                return (packets, whole);
            }
            assert!(assembly.is_under_way());
        }
    }

    #[test]
    fn whatever_its_length_it_arrives_as_it_was() {
        for (length, expected) in [(1, 1), (1_023, 1), (1_024, 1), (1_025, 2), (2_048, 2), (2_049, 3), (32 << 10, 32)] {
            let bytes: Vec<u8> = (0..length).map(|at: usize| at as u8).collect();
            assert_eq!(carry(&bytes), (expected, bytes), "{length} bytes");
        }
    }

    #[test]
    fn more_than_was_said_or_than_is_borne_is_refused() {
        let take = |packets: &[&[u8]]| {
            let mut assembly = Assembly::default();
            let mut last = Ok(None);
            for bytes in packets {
                last = Fragment::decode(bytes).and_then(|of| assembly.take(&of));
            }
            last
        };
        assert_eq!(take(&[&[0xc0, 0, 0, 0, 3, 1, 2], &[0, 3]]), Ok(Some(vec![1, 2, 3])));
        assert_eq!(take(&[&[0x40, 1, 2], &[0, 3]]), Ok(Some(vec![1, 2, 3])), "without a length");
        for wrong in [
            &[&[0x80, 0, 0, 0, 2, 1, 2, 3][..]][..],
            &[&[0xc0, 0, 0, 0, 3, 1, 2], &[0, 3, 4]],
            &[&[0xc0, 0, 0, 0, 3, 1, 2], &[0x40, 3], &[0, 4]],
            &[&[0xc0, 0, 0, 0, 4, 1, 2], &[0, 3]],
            &[&[0xc0, 0, 0, 0, 3, 1, 2], &[0x80, 0, 0, 0, 4, 3]],
            &[&[0x40, 1, 2], &[0x80, 0, 0, 0, 3, 3]],
            &[&[0x80, 0xff, 0xff, 0xff, 0xff, 1]],
            &[&[0x80, 0, 0, 0x80, 1, 1]],
            &[&[0x80, 0, 0, 0]],
            &[&[0x40]],
            &[&[0xc0, 0, 0, 0, 3]],
            &[&[0x20, 1]],
            &[&[0x60]],
            &[&[]],
        ] {
            assert!(take(wrong).is_err(), "{wrong:?}");
        }
        // Endless fragments without a length.
        let mut assembly = Assembly::default();
        let packet = [&[0x40][..], &[0; 1_000]].concat();
        let count = (0..100).take_while(|_| assembly.take(&Fragment::decode(&packet).unwrap()).is_ok()).count();
        assert_eq!(count, limits::MAX_TLS_FLIGHT / 1_000);
    }
}
