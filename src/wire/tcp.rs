//! The TCP header (RFC 9293 §3.1), the MSS clamp, and the RST that answers a segment of no connection.

use super::ip::Inner;

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

/// A TCP segment whose header has been checked.
#[derive(Clone, Copy, Debug)]
pub struct TcpView<'a> {
    header: &'a [u8; 20],
    options: &'a [u8],
    payload: &'a [u8],
}

impl<'a> TcpView<'a> {
    /// The segment that fills `bytes` exactly.
    pub(super) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (header, rest) = bytes.split_first_chunk::<20>()?;
        let options = usize::from(header[12] >> 4).checked_mul(4)?.checked_sub(20)?;
        let (options, payload) = rest.split_at_checked(options)?;
        let view = Self { header, options, payload };
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

    /// How much of the sequence space it takes: its payload, and one each for SYN and FIN (RFC 9293 §3.4).
    #[must_use]
    pub fn sequence_len(&self) -> u32 {
        let flags = self.flags();
        self.payload.len() as u32 + u32::from(flags & SYN != 0) + u32::from(flags & FIN != 0)
    }
}

/// Lowers the MSS option of a SYN to `mss` and mends the checksum. Whether it changed anything.
pub fn clamp_mss(_packet: &mut [u8], _mss: u16) -> bool {
    todo!()
}

/// The RST that answers `segment`, as a whole packet in `out`. `None` if the segment is no TCP, is a RST, or `out` is
/// too short; 40 bytes are enough for IPv4 and 60 for IPv6.
pub fn build_reset(_out: &mut [u8], _segment: &Inner<'_>) -> Option<usize> {
    todo!()
}
