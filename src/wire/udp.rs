//! The UDP header (RFC 768).

/// A UDP datagram whose header has been checked.
#[derive(Clone, Copy, Debug)]
pub struct UdpView<'a> {
    source_port: u16,
    destination_port: u16,
    payload: &'a [u8],
}

impl<'a> UdpView<'a> {
    /// The datagram that fills `bytes` exactly.
    pub(super) fn parse(bytes: &'a [u8], v6: bool) -> Option<Self> {
        let ([s0, s1, d0, d1, l0, l1, c0, c1], payload) = bytes.split_first_chunk::<8>()?;
        let source_port = u16::from_be_bytes([*s0, *s1]);
        let destination_port = u16::from_be_bytes([*d0, *d1]);
        let length = usize::from(u16::from_be_bytes([*l0, *l1]));
        // RFC 8200 §8.1: receivers of IPv6 must discard UDP with a zero checksum.
        let checksummed = !v6 || (*c0, *c1) != (0, 0);
        (length == bytes.len() && source_port != 0 && destination_port != 0 && checksummed).then_some(Self {
            source_port,
            destination_port,
            payload,
        })
    }

    /// The source port.
    #[must_use]
    pub fn source_port(&self) -> u16 {
        self.source_port
    }

    /// The destination port.
    #[must_use]
    pub fn destination_port(&self) -> u16 {
        self.destination_port
    }

    /// What it carries.
    #[must_use]
    pub fn payload(&self) -> &'a [u8] {
        self.payload
    }
}
