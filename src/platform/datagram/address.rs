//! Socket addresses in the kernel's layout (`sockaddr_in`, `sockaddr_in6`), written and read as bytes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

/// Room for the longer of the two.
pub(super) const ROOM: usize = 28;

/// Writes `address` and says how long it is.
pub(super) fn encode(address: SocketAddr, out: &mut [u8; ROOM]) -> usize {
    *out = [0; ROOM];
    out[2..4].copy_from_slice(&address.port().to_be_bytes());
    match address {
        SocketAddr::V4(v4) => {
            out[..2].copy_from_slice(&(libc::AF_INET as u16).to_ne_bytes());
            out[4..8].copy_from_slice(&v4.ip().octets());
            16
        }
        SocketAddr::V6(v6) => {
            out[..2].copy_from_slice(&(libc::AF_INET6 as u16).to_ne_bytes());
            out[8..24].copy_from_slice(&v6.ip().octets());
            out[24..28].copy_from_slice(&v6.scope_id().to_ne_bytes());
            28
        }
    }
}

/// Reads an address; `None` for another family or too few bytes. An IPv6 scope is kept for link-local addresses alone, so
/// that one peer has one address.
pub(super) fn decode(bytes: &[u8]) -> Option<SocketAddr> {
    let family = u16::from_ne_bytes(*bytes.first_chunk()?);
    let port = u16::from_be_bytes(*bytes.get(2..)?.first_chunk()?);
    if i32::from(family) == libc::AF_INET {
        let ip: [u8; 4] = *bytes.get(4..)?.first_chunk()?;
        Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::from(ip)), port))
    } else if i32::from(family) == libc::AF_INET6 {
        let ip = Ipv6Addr::from(*bytes.get(8..)?.first_chunk::<16>()?);
        let scope = u32::from_ne_bytes(*bytes.get(24..)?.first_chunk()?);
        let scope = if ip.is_unicast_link_local() { scope } else { 0 };
        Some(SocketAddr::V6(SocketAddrV6::new(ip, port, 0, scope)))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_survives_the_kernels_layout() {
        for text in ["192.0.2.1:500", "[2001:db8::1]:4500", "[fe80::1%3]:500"] {
            let address: SocketAddr = text.parse().unwrap();
            let mut bytes = [0; ROOM];
            let length = encode(address, &mut bytes);
            assert_eq!(decode(&bytes[..length]), Some(address));
            for short in 0..if address.is_ipv4() { 8 } else { 28 } {
                assert_eq!(decode(&bytes[..short]), None);
            }
        }
        assert_eq!(decode(&[0; ROOM]), None);
    }
}
