//! What stands in front of each packet at a TUN device with offloads: ten bytes in the machine's byte order, as VIRTIO 1.2
//! §5.1.6 lays them out for network cards (`struct virtio_net_hdr`).
//!
//! They say where a checksum is still to be completed, and into which segments a packet that is too long is to be cut.
//! `hdr_len` is a hint that the kernel itself gets wrong for forwarded packets: it is written and never believed.

/// Length of the header without the buffer count that only merging queues have.
pub const LEN: usize = 10;

/// The checksum at `csum_start + csum_offset` covers what follows `csum_start` and holds the pseudo header's sum so far.
const NEEDS_CSUM: u8 = 1;
/// Segmentation with the ECN rules for the CWR flag, beside a kind.
const ECN: u8 = 0x80;

/// Into what a long packet is to be cut.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Segments {
    /// Nothing: it is one packet.
    #[default]
    None,
    /// TCP segments over IPv4.
    Tcp4,
    /// TCP segments over IPv6.
    Tcp6,
    /// UDP datagrams over either.
    Udp,
    /// Something that was not asked for.
    Unknown(u8),
}

/// The header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VnetHeader {
    /// Whether the transport checksum is still to be completed.
    pub needs_checksum: bool,
    /// The kind of segments.
    pub segments: Segments,
    /// How long all headers are, as far as the writer knows.
    pub header_len: u16,
    /// Payload of each segment but the last.
    pub segment_len: u16,
    /// Where the checksum begins to count.
    pub checksum_start: u16,
    /// Where it stands, from there.
    pub checksum_offset: u16,
}

impl VnetHeader {
    /// Reads it.
    #[must_use]
    pub fn parse(bytes: &[u8; LEN]) -> Self {
        let [flags, kind, words @ ..] = *bytes;
        let word = |at: usize| u16::from_ne_bytes([words[at], words[at + 1]]);
        let segments = match kind & !ECN {
            0 => Segments::None,
            1 => Segments::Tcp4,
            4 => Segments::Tcp6,
            5 => Segments::Udp,
            other => Segments::Unknown(other),
        };
        Self {
            needs_checksum: flags & NEEDS_CSUM != 0,
            segments,
            header_len: word(0),
            segment_len: word(2),
            checksum_start: word(4),
            checksum_offset: word(6),
        }
    }

    /// The bytes as the kernel reads them.
    #[must_use]
    pub fn encode(self) -> [u8; LEN] {
        let kind = match self.segments {
            Segments::None => 0,
            Segments::Tcp4 => 1,
            Segments::Tcp6 => 4,
            Segments::Udp => 5,
            Segments::Unknown(other) => other,
        };
        let mut bytes = [0; LEN];
        (bytes[0], bytes[1]) = (u8::from(self.needs_checksum), kind);
        let words = [self.header_len, self.segment_len, self.checksum_start, self.checksum_offset];
        for (out, word) in bytes[2..].chunks_exact_mut(2).zip(words) {
            out.copy_from_slice(&word.to_ne_bytes());
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_header_is_read_as_it_was_written() {
        for segments in [Segments::None, Segments::Tcp4, Segments::Tcp6, Segments::Udp, Segments::Unknown(3)] {
            for needs_checksum in [false, true] {
                let header = VnetHeader {
                    needs_checksum,
                    segments,
                    header_len: 52,
                    segment_len: 1398,
                    checksum_start: 20,
                    checksum_offset: 16,
                };
                assert_eq!(VnetHeader::parse(&header.encode()), header);
            }
        }
        assert_eq!(VnetHeader::default().encode(), [0; LEN]);
    }

    #[test]
    fn the_fields_stand_where_the_kernel_has_them() {
        let header = VnetHeader {
            needs_checksum: true,
            segments: Segments::Tcp6,
            header_len: 1,
            segment_len: 2,
            checksum_start: 3,
            checksum_offset: 4,
        };
        let words = [1_u16, 2, 3, 4].map(u16::to_ne_bytes).concat();
        assert_eq!(header.encode().to_vec(), [vec![1, 4], words].concat());
        // The ECN bit stands beside the kind.
        let mut bytes = header.encode();
        bytes[1] |= 0x80;
        assert_eq!(VnetHeader::parse(&bytes), header);
    }
}
