//! ICMP (RFC 792) and ICMPv6 (RFC 4443): views, the packet that an error quotes, and the errors that we send.

use std::net::IpAddr;

use super::ip::Inner;
use crate::event::FlowKey;

/// An ICMP or ICMPv6 message.
#[derive(Clone, Copy, Debug)]
pub struct IcmpView<'a> {
    v6: bool,
    header: &'a [u8; 8],
    body: &'a [u8],
}

impl<'a> IcmpView<'a> {
    /// The message that fills `bytes` exactly.
    pub(super) fn parse(bytes: &'a [u8], v6: bool) -> Option<Self> {
        let (header, body) = bytes.split_first_chunk::<8>()?;
        Some(Self { v6, header, body })
    }

    /// Whether it is ICMPv6.
    #[must_use]
    pub fn is_v6(&self) -> bool {
        self.v6
    }

    /// The type.
    #[must_use]
    pub fn kind(&self) -> u8 {
        self.header[0]
    }

    /// The code.
    #[must_use]
    pub fn code(&self) -> u8 {
        self.header[1]
    }

    /// The second word of the header: pointer, MTU, or identifier and sequence number.
    #[must_use]
    pub fn word(&self) -> u32 {
        u32::from_be_bytes([self.header[4], self.header[5], self.header[6], self.header[7]])
    }

    /// The identifier of an echo message.
    #[must_use]
    pub fn identifier(&self) -> u16 {
        u16::from_be_bytes([self.header[4], self.header[5]])
    }

    /// What is behind the header: for an error the packet that it quotes.
    #[must_use]
    pub fn body(&self) -> &'a [u8] {
        self.body
    }

    /// Whether it is an echo request.
    #[must_use]
    pub fn is_echo_request(&self) -> bool {
        self.kind() == if self.v6 { 128 } else { 8 }
    }

    /// Whether it is an echo reply.
    #[must_use]
    pub fn is_echo_reply(&self) -> bool {
        self.kind() == if self.v6 { 129 } else { 0 }
    }

    /// Whether it is of a type that quotes a packet: an error or a redirect.
    #[must_use]
    pub fn quotes(&self) -> bool {
        if self.v6 { self.kind() < 128 || self.kind() == 137 } else { matches!(self.kind(), 3 | 4 | 5 | 11 | 12) }
    }

    /// The packet that an error quotes, as far as it can be read.
    #[must_use]
    pub fn quoted(&self) -> Option<Quoted> {
        Quoted::parse(self.body, self.v6)
    }
}

/// The start of a packet that an ICMP error quotes: an IP header and eight bytes are enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quoted {
    /// Who sent it to whom.
    pub flow: FlowKey,
    /// TCP: the sequence number. ICMP: the second word of the header. UDP: zero.
    pub word: u32,
}

impl Quoted {
    /// Reads the start of a packet of the given family, whose checksum and length say nothing any more.
    #[must_use]
    pub fn parse(_bytes: &[u8], _v6: bool) -> Option<Self> {
        todo!()
    }
}

/// An error that we send inwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IcmpError {
    /// The packet does not fit: fragmentation needed (3/4), Packet Too Big (2/0).
    TooBig {
        /// What would fit.
        mtu: u32,
    },
    /// Policy forbids it: 3/13, 1/1.
    Prohibited,
    /// The tunnel is down: host unreachable (3/1), no route (1/0).
    Unreachable,
    /// The TTL ran out: 11/0, 3/0.
    TimeExceeded,
}

/// The error that answers `offending`, sent from `source`, as a whole packet in `out`.
///
/// `None` if there must be no error (RFC 1122 §3.2.2, RFC 4443 §2.4 (e): never about another error), if the families
/// differ, or if `out` is too short; 576 bytes are enough for IPv4 and 1280 for IPv6.
pub fn build_error(_out: &mut [u8], _source: IpAddr, _error: IcmpError, _offending: &Inner<'_>) -> Option<usize> {
    todo!()
}
