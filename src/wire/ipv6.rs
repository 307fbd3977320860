//! The IPv6 header (RFC 8200 §3), without extension headers.

use std::net::Ipv6Addr;

use crate::event::DropReason;

/// Length of the header.
pub const HEADER_LEN: usize = 40;

const HOP_LIMIT: usize = 7;

/// The header at the start of `bytes`, which is checked, and its payload; what is behind the packet is left out.
pub(super) fn parse(bytes: &[u8]) -> Result<(&[u8; HEADER_LEN], &[u8]), DropReason> {
    let (header, rest) = bytes.split_first_chunk::<HEADER_LEN>().ok_or(DropReason::BadIpHeader)?;
    let length = usize::from(u16::from_be_bytes([header[4], header[5]]));
    let payload = rest.get(..length).ok_or(DropReason::BadIpHeader)?;
    match next_header(header) {
        44 => return Err(DropReason::InnerFragment),
        // Hop-by-hop, routing, AH, destination options, mobility, HIP, shim6, two for experiments: the extension
        // headers of the IANA registry that are left.
        0 | 43 | 51 | 60 | 135 | 139 | 140 | 253 | 254 => return Err(DropReason::IpOptions),
        _ => {}
    }
    let (source, destination) = (source(header), destination(header));
    if !is_host(source) || !is_host(destination) || source == destination {
        return Err(DropReason::BadSource);
    }
    Ok((header, payload))
}

pub(super) fn source(header: &[u8; HEADER_LEN]) -> Ipv6Addr {
    address(header, 8)
}

pub(super) fn destination(header: &[u8; HEADER_LEN]) -> Ipv6Addr {
    address(header, 24)
}

pub(super) fn next_header(header: &[u8; HEADER_LEN]) -> u8 {
    header[6]
}

/// The traffic class.
pub(super) fn tos(header: &[u8; HEADER_LEN]) -> u8 {
    header[0] << 4 | header[1] >> 4
}

pub(super) fn hop_limit(header: &[u8; HEADER_LEN]) -> u8 {
    header[HOP_LIMIT]
}

/// The address that stands `at` bytes into the header.
fn address(header: &[u8; HEADER_LEN], at: usize) -> Ipv6Addr {
    let mut octets = [0; 16];
    octets.copy_from_slice(&header[at..at + 16]);
    octets.into()
}

/// Whether a host behind a gateway can have this address (RFC 4291 §2).
#[must_use]
pub fn is_host(address: Ipv6Addr) -> bool {
    !address.is_unspecified()
        && !address.is_loopback()
        && !address.is_multicast()
        && !address.is_unicast_link_local()
        && address.to_ipv4_mapped().is_none()
}

/// Sets the traffic class.
pub(super) fn set_tos(bytes: &mut [u8], tos: u8) {
    if let Some([first, second, ..]) = bytes.first_chunk_mut::<HEADER_LEN>() {
        *first = *first & 0xf0 | tos >> 4;
        *second = *second & 0x0f | tos << 4;
    }
}

/// Counts the hop limit down.
pub(super) fn decrement_ttl(bytes: &mut [u8]) -> Option<u8> {
    let header = bytes.first_chunk_mut::<HEADER_LEN>()?;
    let limit = header[HOP_LIMIT].checked_sub(1).filter(|limit| *limit > 0)?;
    header[HOP_LIMIT] = limit;
    Some(limit)
}

/// Writes a header for `payload_len` bytes behind it. `None` if they do not fit.
pub fn write_header(
    out: &mut [u8],
    source: Ipv6Addr,
    destination: Ipv6Addr,
    protocol: u8,
    tos: u8,
    payload_len: usize,
) -> Option<()> {
    let header = out.first_chunk_mut::<HEADER_LEN>()?;
    let length = u16::try_from(payload_len).ok()?;
    *header = [0; HEADER_LEN];
    header[0] = 0x60 | tos >> 4;
    header[1] = tos << 4;
    header[4..6].copy_from_slice(&length.to_be_bytes());
    header[6] = protocol;
    header[HOP_LIMIT] = 64;
    header[8..24].copy_from_slice(&source.octets());
    header[24..40].copy_from_slice(&destination.octets());
    Some(())
}
