//! ESP without UDP: a raw socket for IP protocol 50 (RFC 4303 §2), IPv4 or IPv6. Paths have port 0.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};

use socket2::{Protocol, Type};

use super::datagram::{Datagrams, Stripped};
pub use super::datagram::{PathReport, Sent};
use crate::dataplane::buffer::Batch;
use crate::dataplane::offload::Sending;

/// IANA's number of ESP.
const ESP: i32 = 50;

/// A non-blocking raw socket for ESP of one IP version.
pub struct RawEsp {
    inner: Datagrams,
}

impl RawEsp {
    /// Binds to `address`, which may be unspecified.
    pub fn bind(address: IpAddr) -> io::Result<Self> {
        Ok(Self { inner: Datagrams::open(Type::RAW, Protocol::from(ESP), address, 0)? })
    }

    /// `count` sockets, one for each worker: each gets the packets whose SPI modulo `count` is its number.
    pub fn bind_group(address: IpAddr, count: u16) -> io::Result<Vec<Self>> {
        let open = |worker| {
            let inner = Datagrams::open(Type::RAW, Protocol::from(ESP), address, 0)?;
            if count > 1 {
                inner.filter_by_spi(worker, count)?;
            }
            Ok(Self { inner })
        };
        (0..count.max(1)).map(open).collect()
    }

    /// Receives ESP packets, beginning with their SPI, until nothing is left or `batch` is full; says how many came.
    pub fn recv_batch(&mut self, batch: &mut Batch) -> io::Result<usize> {
        if self.inner.local().is_ipv4() {
            self.inner.receive(batch, strip_ipv4)
        } else {
            // A raw IPv6 socket gives what follows the headers.
            self.inner.receive(batch, |_| Some(Stripped::default()))
        }
        .inspect(|_| without_ports(batch))
    }

    /// Sends the packets of `batch` from `first` on that are not done and have a path without ports in its IP version.
    pub fn send_batch(&mut self, batch: &Batch, first: usize) -> Sent {
        self.inner.send(batch, first)
    }

    /// How datagrams are sent now: as far down as the kernel has refused what is better.
    #[must_use]
    pub fn sending(&self) -> Sending {
        self.inner.sending()
    }

    /// Sends in no better way than this from now on.
    pub fn limit_sending(&mut self, most: Sending) {
        self.inner.limit_sending(most);
    }

    /// The next report about packets sent before, or none.
    pub fn error_queue(&mut self) -> io::Result<Option<PathReport>> {
        self.inner.report()
    }

    /// How many packets were longer than a slot.
    #[must_use]
    pub fn truncated(&self) -> u64 {
        self.inner.truncated()
    }
}

/// A raw IPv4 socket gives the IP header too (RFC 791 §3.1): it holds the TOS and the address that the packet was sent to.
fn strip_ipv4(packet: &[u8]) -> Option<Stripped> {
    let (first, tos) = (*packet.first()?, *packet.get(1)?);
    let header = usize::from(first & 0x0f) * 4;
    if first >> 4 != 4 || header < 20 || header > packet.len() {
        return None;
    }
    let destination: [u8; 4] = *packet.get(16..)?.first_chunk()?;
    Some(Stripped { bytes: header, local: Some(IpAddr::from(destination)), tos: Some(tos) })
}

/// The kernel puts the protocol's number where the port stands.
fn without_ports(batch: &mut Batch) {
    let (packets, _) = batch.parts_mut();
    for path in packets.iter_mut().filter_map(|packet| packet.path.as_mut()) {
        path.local = SocketAddr::new(path.local.ip(), 0);
        path.remote.set_port(0);
    }
}

impl AsFd for RawEsp {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inner.fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ipv4_header_is_stripped_only_where_it_is_one() {
        let mut packet = vec![0_u8; 24 + 8];
        packet[0] = 0x46; // four bytes of options
        packet[1] = 0xb8;
        packet[16..20].copy_from_slice(&[192, 0, 2, 7]);
        let stripped = strip_ipv4(&packet).unwrap();
        assert_eq!((stripped.bytes, stripped.tos), (24, Some(0xb8)));
        assert_eq!(stripped.local, Some("192.0.2.7".parse().unwrap()));
        for (first, length) in [(0x66, 32), (0x44, 32), (0x4f, 32), (0x46, 23), (0x45, 0)] {
            packet[0] = first;
            assert!(strip_ipv4(&packet[..length]).is_none(), "{first:#x} {length}");
        }
    }
}
