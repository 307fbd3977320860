//! The IPv4 header (RFC 791 §3.1), without options and never fragmented.

use std::net::Ipv4Addr;

use super::checksum::{self, Sum};
use super::ip::Header;
use crate::event::DropReason;

/// Length of a header without options.
pub const HEADER_LEN: usize = 20;

const TOS: usize = 1;
const TTL: usize = 8;
const CHECKSUM: std::ops::Range<usize> = 10..12;

/// Checks the header at the start of `bytes`; what is behind the packet is left out.
pub(super) fn parse(bytes: &[u8]) -> Result<Header<'_>, DropReason> {
    let header: &[u8; HEADER_LEN] = bytes.first_chunk().ok_or(DropReason::BadIpHeader)?;
    // RFC 791 §3.1: the header length is counted in 32-bit words, and the least is five.
    match header[0] & 0x0f {
        5 => {}
        6.. => return Err(DropReason::IpOptions),
        _ => return Err(DropReason::BadIpHeader),
    }
    let total = usize::from(u16::from_be_bytes([header[2], header[3]]));
    let bytes = bytes.get(..total).ok_or(DropReason::BadIpHeader)?;
    let payload = bytes.get(HEADER_LEN..).ok_or(DropReason::BadIpHeader)?;
    if !Sum::ZERO.and(header).is_valid() {
        return Err(DropReason::BadIpChecksum);
    }
    let fragment = u16::from_be_bytes([header[6], header[7]]);
    // RFC 791 §3.1: bit 0 of the flags is reserved and must be zero.
    if fragment & 0x8000 != 0 {
        return Err(DropReason::BadIpHeader);
    }
    if fragment & 0x3fff != 0 {
        return Err(DropReason::InnerFragment);
    }
    let source = address(header, 12);
    let destination = address(header, 16);
    // A packet from a host to itself ("LAND") never crosses a gateway.
    if !is_host(source) || !is_host(destination) || source == destination {
        return Err(DropReason::BadSource);
    }
    Ok(Header {
        bytes,
        payload,
        source: source.into(),
        destination: destination.into(),
        protocol: header[9],
        tos: header[TOS],
        ttl: header[TTL],
        dont_fragment: fragment & 0x4000 != 0,
    })
}

/// The address that stands `at` bytes into the header.
pub(super) fn address(header: &[u8; HEADER_LEN], at: usize) -> Ipv4Addr {
    Ipv4Addr::new(header[at], header[at + 1], header[at + 2], header[at + 3])
}

/// Whether a host behind a gateway can have this address (RFC 1122 §3.2.1.3, RFC 3927 §2.7).
#[must_use]
pub fn is_host(address: Ipv4Addr) -> bool {
    address.octets()[0] != 0
        && !address.is_loopback()
        && !address.is_link_local()
        && !address.is_multicast()
        && !address.is_broadcast()
}

/// Sets the TOS byte and mends the checksum.
pub(super) fn set_tos(bytes: &mut [u8], tos: u8) {
    if let Some(header) = bytes.first_chunk_mut::<HEADER_LEN>() {
        let old = u16::from_be_bytes([header[0], header[TOS]]);
        header[TOS] = tos;
        mend(header, old, u16::from_be_bytes([header[0], tos]));
    }
}

/// Counts the TTL down and mends the checksum.
pub(super) fn decrement_ttl(bytes: &mut [u8]) -> Option<u8> {
    let header = bytes.first_chunk_mut::<HEADER_LEN>()?;
    let old = u16::from_be_bytes([header[TTL], header[TTL + 1]]);
    let ttl = header[TTL].checked_sub(1).filter(|ttl| *ttl > 0)?;
    header[TTL] = ttl;
    mend(header, old, u16::from_be_bytes([ttl, header[TTL + 1]]));
    Some(ttl)
}

fn mend(header: &mut [u8; HEADER_LEN], old: u16, new: u16) {
    let sum = u16::from_be_bytes([header[CHECKSUM.start], header[CHECKSUM.start + 1]]);
    header[CHECKSUM].copy_from_slice(&checksum::update(sum, old, new).to_be_bytes());
}

/// Writes a header (DF set, identification zero) for `payload_len` bytes behind it. `None` if they do not fit.
pub fn write_header(
    out: &mut [u8],
    source: Ipv4Addr,
    destination: Ipv4Addr,
    protocol: u8,
    tos: u8,
    payload_len: usize,
) -> Option<()> {
    let header = out.first_chunk_mut::<HEADER_LEN>()?;
    let total = u16::try_from(payload_len.checked_add(HEADER_LEN)?).ok()?;
    *header = [0; HEADER_LEN];
    header[0] = 0x45;
    header[TOS] = tos;
    header[2..4].copy_from_slice(&total.to_be_bytes());
    header[6] = 0x40;
    header[TTL] = 64;
    header[9] = protocol;
    header[12..16].copy_from_slice(&source.octets());
    header[16..20].copy_from_slice(&destination.octets());
    let sum = checksum::checksum(header);
    header[CHECKSUM].copy_from_slice(&sum.to_be_bytes());
    Some(())
}
