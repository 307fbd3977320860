//! What the network says about datagrams that we sent: the socket's error queue (`IP_RECVERR`), ICMP errors and the host's
//! own refusals, each with the beginning of the datagram that it is about.
//!
//! A report is only a hint until its quotation is matched with what was sent: anybody can send ICMP.

use std::net::{IpAddr, SocketAddr};

use super::control;

/// How much of the quoted datagram is kept: SPI, sequence number and then some.
pub const QUOTED: usize = 64;

/// Who says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// This host, before the datagram left.
    Local,
    /// A router or the peer, by ICMP of the datagram's own IP version.
    Icmp {
        /// ICMP type.
        kind: u8,
        /// ICMP code.
        code: u8,
    },
}

/// One report of the error queue.
#[derive(Clone, Copy, Debug)]
pub struct PathReport {
    /// Our address, where the kernel still knows it.
    pub local: Option<IpAddr>,
    /// Where the datagram was to go.
    pub remote: Option<SocketAddr>,
    /// Who says so.
    pub origin: Origin,
    /// By which host, if by ICMP.
    pub offender: Option<IpAddr>,
    /// The error as a number of the system.
    pub errno: i32,
    /// The path's MTU, if the datagram was too big.
    pub mtu: Option<u32>,
    quoted: [u8; QUOTED],
    quoted_len: usize,
}

impl PathReport {
    /// The datagram's beginning, after its IP and UDP headers. A router may quote nothing of it.
    #[must_use]
    pub fn quoted(&self) -> &[u8] {
        self.quoted.get(..self.quoted_len).unwrap_or_default()
    }

    /// Reads a report from the control data, the destination and the bytes of an error-queue message.
    pub(super) fn read(remote: Option<SocketAddr>, control: &[u8], bytes: &[u8]) -> Option<Self> {
        let error = control::each(control).find_map(|(level, kind, data)| {
            let wanted = matches!(
                (level, kind),
                (libc::IPPROTO_IP, libc::IP_RECVERR) | (libc::IPPROTO_IPV6, libc::IPV6_RECVERR)
            );
            wanted.then_some(data)
        })?;
        // struct sock_extended_err: errno, origin, type, code, pad, info, data; then the offender's address.
        let errno = i32::from_ne_bytes(*error.first_chunk()?);
        let [origin, kind, code, _] = *error.get(4..)?.first_chunk()?;
        let info = u32::from_ne_bytes(*error.get(8..)?.first_chunk()?);
        let origin = match origin {
            libc::SO_EE_ORIGIN_LOCAL => Origin::Local,
            libc::SO_EE_ORIGIN_ICMP | libc::SO_EE_ORIGIN_ICMP6 => Origin::Icmp { kind, code },
            _ => return None,
        };
        let offender = error.get(16..).and_then(super::address::decode).map(|address| address.ip());
        let mut quoted = [0; QUOTED];
        let quoted_len = bytes.len().min(QUOTED);
        quoted.get_mut(..quoted_len)?.copy_from_slice(bytes.get(..quoted_len)?);
        let mtu = (errno == libc::EMSGSIZE).then_some(info);
        let local = control::read(control).local;
        Some(Self { local, remote, origin, offender, errno, mtu, quoted, quoted_len })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn junk_in_the_error_queue_never_panics(
            control in proptest::collection::vec(any::<u8>(), 0..100),
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            if let Some(report) = PathReport::read(None, &control, &bytes) {
                prop_assert!(bytes.starts_with(report.quoted()));
            }
        }
    }
}
