//! The IPv4 header (RFC 791 §3.1), without options and never fragmented.

use std::net::Ipv4Addr;

use super::checksum::{self, Sum};
use crate::event::DropReason;

/// Length of a header without options.
pub const HEADER_LEN: usize = 20;

const TOS: usize = 1;
const TTL: usize = 8;
const CHECKSUM: std::ops::Range<usize> = 10..12;

/// The header at the start of `bytes`, which is checked, and its payload; what is behind the packet is left out.
#[inline]
pub(super) fn parse(bytes: &[u8]) -> Result<(&[u8; HEADER_LEN], &[u8]), DropReason> {
    let (header, rest) = bytes.split_first_chunk::<HEADER_LEN>().ok_or(DropReason::BadIpHeader)?;
    // RFC 791 §3.1: the header length is counted in 32-bit words, and the least is five.
    match header[0] & 0x0f {
        5 => {}
        6.. => return Err(DropReason::IpOptions),
        _ => return Err(DropReason::BadIpHeader),
    }
    let total = usize::from(u16::from_be_bytes([header[2], header[3]]));
    let payload = total.checked_sub(HEADER_LEN).and_then(|len| rest.get(..len)).ok_or(DropReason::BadIpHeader)?;
    if !Sum::ZERO.and(header).is_valid() {
        return Err(DropReason::BadIpChecksum);
    }
    let fragment = fragment(header);
    // RFC 791 §3.1: bit 0 of the flags is reserved and must be zero.
    if fragment & 0x8000 != 0 {
        return Err(DropReason::BadIpHeader);
    }
    if fragment & 0x3fff != 0 {
        return Err(DropReason::InnerFragment);
    }
    let (source, destination) = (source(header), destination(header));
    // A packet from a host to itself ("LAND") never crosses a gateway.
    if !is_host(source) || !is_host(destination) || source == destination {
        return Err(DropReason::BadSource);
    }
    Ok((header, payload))
}

pub(super) fn source(header: &[u8; HEADER_LEN]) -> Ipv4Addr {
    address(header, 12)
}

pub(super) fn destination(header: &[u8; HEADER_LEN]) -> Ipv4Addr {
    address(header, 16)
}

pub(super) fn protocol(header: &[u8; HEADER_LEN]) -> u8 {
    header[9]
}

pub(super) fn tos(header: &[u8; HEADER_LEN]) -> u8 {
    header[TOS]
}

pub(super) fn ttl(header: &[u8; HEADER_LEN]) -> u8 {
    header[TTL]
}

pub(super) fn dont_fragment(header: &[u8; HEADER_LEN]) -> bool {
    fragment(header) & 0x4000 != 0
}

fn fragment(header: &[u8; HEADER_LEN]) -> u16 {
    u16::from_be_bytes([header[6], header[7]])
}

/// The address that stands `at` bytes into the header.
fn address(header: &[u8; HEADER_LEN], at: usize) -> Ipv4Addr {
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
