//! UDP on the underlay: IKE on ports 500 and 4500, and ESP in UDP (RFC 3948) on 4500.
//!
//! Every datagram leaves from the address that its path names, with DF set, and the kernel's own notion of the path's MTU is
//! not asked (`IP_PMTUDISC_PROBE`): the data path believes reports only that quote what it sent. The kernel's `UDP_ENCAP`
//! is not used.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};

use socket2::{Protocol, Type};

use super::datagram::{Datagrams, Stripped};
pub use super::datagram::{Missed, Origin, PathReport, QUOTED, Sent, Sieve};
use crate::dataplane::buffer::Batch;
use crate::dataplane::offload::Sending;

/// A non-blocking UDP socket of one IP version.
pub struct UdpSocket {
    inner: Datagrams,
}

impl UdpSocket {
    /// Binds to `address` (which may be unspecified) and `port` (0 for one of the system's choice).
    pub fn bind(address: IpAddr, port: u16) -> io::Result<Self> {
        Ok(Self { inner: Datagrams::open(Type::DGRAM, Protocol::UDP, address, port)? })
    }

    /// `count` sockets that share one port, one for each worker: ESP goes to the one whose number is its SPI modulo `count`,
    /// IKE and keepalives to the first.
    pub fn bind_group(address: IpAddr, port: u16, count: u16) -> io::Result<Vec<Self>> {
        if count <= 1 {
            return Ok(vec![Self::bind(address, port)?]);
        }
        // Sockets of one user may join a group; that another process has the port shows only to one that wants it alone.
        drop(Self::bind(address, port)?);
        let open = |_| Datagrams::open_shared(Type::DGRAM, Protocol::UDP, address, port, true);
        let group = (0..count).map(open).collect::<io::Result<Vec<_>>>()?;
        if let Some(first) = group.first() {
            first.steer_group(count)?;
        }
        Ok(group.into_iter().map(|inner| Self { inner }).collect())
    }

    /// A second handle on the same socket, with buffers of its own, for another thread to send by.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { inner: self.inner.try_clone()? })
    }

    /// Where it is bound.
    #[must_use]
    pub fn local(&self) -> SocketAddr {
        self.inner.local()
    }

    /// Receives until nothing is left or `batch` is full; says how many came. Those longer than a slot come out done.
    pub fn recv_batch(&mut self, batch: &mut Batch) -> io::Result<usize> {
        self.inner.receive(batch, |_| Some(Stripped::default()))
    }

    /// Whether the last [`recv_batch`](Self::recv_batch) stopped before nothing was left.
    #[must_use]
    pub fn has_more(&self) -> bool {
        self.inner.has_more()
    }

    /// Sends the packets of `batch` from `first` on that are not done and have a path from this socket's port in its IP version.
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

    /// Whether the kernel puts together what arrives at once.
    #[must_use]
    pub fn gro(&self) -> bool {
        self.inner.gro()
    }

    /// Asks the kernel to do so, if it can; the slots of a batch must then take 65,535 bytes.
    pub fn enable_gro(&mut self) {
        self.inner.enable_gro();
    }

    /// The next report about datagrams sent before, or none. The socket polls as in error while there are some.
    pub fn error_queue(&mut self) -> io::Result<Option<PathReport>> {
        self.inner.report()
    }

    /// Lets the kernel refuse first requests of IKE that the sieve does not let through. `marker`: this is a port for ESP, where
    /// IKE has a marker in front.
    pub fn sift(&self, sieve: &Sieve, marker: bool) -> io::Result<()> {
        self.inner.sift(sieve, marker)
    }

    /// Takes the sieve away. Without one it is an error that says so.
    pub fn open_up(&self) -> io::Result<()> {
        self.inner.open_up()
    }

    /// What the socket has not taken since the last look; `sifted`: the sieve was there in that time.
    pub fn missed(&mut self, sifted: bool) -> io::Result<Missed> {
        self.inner.missed(sifted)
    }

    /// How many datagrams were longer than a slot.
    #[must_use]
    pub fn truncated(&self) -> u64 {
        self.inner.truncated()
    }
}

impl AsFd for UdpSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inner.fd()
    }
}
