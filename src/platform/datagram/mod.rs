//! What sockets of the underlay have in common, whether they carry UDP or raw ESP: batches in and out, each datagram with
//! its own path, and the error queue.

mod address;
mod control;
mod messages;
mod report;
mod sieve;
mod steer;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use self::messages::{AT_ONCE, DATAGRAMS, Messages, Outgoing, set_option};
pub use self::report::{Origin, PathReport, QUOTED};
use self::sieve::Gauge;
pub use self::sieve::{Missed, Sieve};
use crate::dataplane::buffer::{Batch, Path};
use crate::dataplane::offload::Sending;

/// Wanted socket buffers: bursts of a few thousand datagrams.
const BUFFER: i32 = 8 << 20;
/// An ICMP error waits on a socket and is told by its next call, whichever that is: so often is a call repeated.
const PATIENCE: usize = 4;

/// Messages that are received at once while each holds many datagrams: so many stay in the cache until they are opened.
const TRAINS_AT_ONCE: usize = 4;

/// How the datagrams of a batch fared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// Taken by the kernel.
    pub sent: usize,
    /// Refused by the kernel; passed over.
    pub failed: usize,
    /// Why the last of them was refused, as a number of the system.
    pub errno: Option<i32>,
    /// The packet to go on from: the batch's length when all are through, less when the kernel has no room now.
    pub next: usize,
    /// How many packets were to go in the message for which there was no room, and the packet behind them.
    pub stuck: usize,
    /// See `stuck`.
    pub beyond: usize,
}

impl Sent {
    /// Whether packets of a batch of `len` are left, to be sent again from `next` when the socket is writable.
    #[must_use]
    pub fn is_blocked(&self, len: usize) -> bool {
        self.next < len
    }
}

/// A non-blocking socket of the underlay of one IP version.
pub(super) struct Datagrams {
    socket: Socket,
    local: SocketAddr,
    incoming: Messages,
    outgoing: Messages,
    sent_indices: Box<[usize]>,
    errors: Batch,
    truncated: u64,
    sending: Sending,
    /// The call for many has moved something.
    many_passed: bool,
    gro: bool,
    /// The last messages held many datagrams each.
    trains: bool,
    more: bool,
    gauge: Gauge,
}

impl Datagrams {
    pub(super) fn open(kind: Type, protocol: Protocol, address: IpAddr, port: u16) -> io::Result<Self> {
        Self::open_shared(kind, protocol, address, port, false)
    }

    /// Perhaps one of several UDP sockets that share a port.
    pub(super) fn open_shared(
        kind: Type,
        protocol: Protocol,
        address: IpAddr,
        port: u16,
        shared: bool,
    ) -> io::Result<Self> {
        let local = SocketAddr::new(address, port);
        let socket = Socket::new(Domain::for_address(local), kind, Some(protocol))?;
        socket.set_nonblocking(true)?;
        if local.is_ipv6() && kind == Type::DGRAM {
            // A raw socket is of one version anyway, and refuses the option.
            socket.set_only_v6(true)?;
        }
        let fd = socket.as_fd();
        let options: &[(i32, i32)] = if local.is_ipv4() {
            &[
                (libc::IP_PKTINFO, 1),
                (libc::IP_RECVTOS, 1),
                (libc::IP_RECVERR, 1),
                (libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_PROBE),
            ]
        } else {
            &[
                (libc::IPV6_RECVPKTINFO, 1),
                (libc::IPV6_RECVTCLASS, 1),
                (libc::IPV6_RECVERR, 1),
                (libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_PROBE),
                (libc::IPV6_DONTFRAG, 1),
            ]
        };
        let level = if local.is_ipv4() { libc::IPPROTO_IP } else { libc::IPPROTO_IPV6 };
        for (name, value) in options {
            set_option(fd, level, *name, *value)?;
        }
        for (force, plain) in [(libc::SO_RCVBUFFORCE, libc::SO_RCVBUF), (libc::SO_SNDBUFFORCE, libc::SO_SNDBUF)] {
            // Root of a user namespace may not force; then the system's limit holds.
            if set_option(fd, libc::SOL_SOCKET, force, BUFFER).is_err() {
                set_option(fd, libc::SOL_SOCKET, plain, BUFFER)?;
            }
        }
        if shared {
            socket.set_reuse_port(true)?;
        }
        socket.bind(&SockAddr::from(local))?;
        // What a raw socket calls its port is its protocol: paths of raw ESP have port 0.
        let local = match kind {
            Type::RAW => local,
            _ => socket.local_addr()?.as_socket().unwrap_or(local),
        };
        // A raw socket takes UDP_SEGMENT for nothing at all.
        let sending = if kind == Type::DGRAM { Sending::Segments } else { Sending::Many };
        Ok(Self::over(socket, local, sending))
    }

    /// Lets the kernel choose among the sockets that share this one's port, by SPI. They count in the order of their binding.
    pub(super) fn steer_group(&self, count: u16) -> io::Result<()> {
        steer::attach_to_group(self.socket.as_fd(), count)
    }

    /// Takes ESP of `worker` among `count` alone. What came before is passed over by the data path.
    pub(super) fn filter_by_spi(&self, worker: u16, count: u16) -> io::Result<()> {
        self.socket.attach_filter(&steer::only_of(worker, count, self.local.is_ipv4()))
    }

    /// Takes no more first requests of IKE than the sieve lets through; `marker`: ESP comes here, too.
    pub(super) fn sift(&self, sieve: &Sieve, marker: bool) -> io::Result<()> {
        self.socket.attach_filter(&sieve::compile(sieve, self.local.is_ipv4(), marker))
    }

    /// Takes everything again.
    pub(super) fn open_up(&self) -> io::Result<()> {
        self.socket.detach_filter()
    }

    /// What was not taken since the last look, in which time a sieve was there or not.
    pub(super) fn missed(&mut self, sifted: bool) -> io::Result<Missed> {
        self.gauge.look(self.socket.as_fd(), sifted)
    }

    /// A second handle on the same socket.
    pub(super) fn try_clone(&self) -> io::Result<Self> {
        Ok(Self::over(self.socket.try_clone()?, self.local, Sending::Many))
    }

    fn over(socket: Socket, local: SocketAddr, sending: Sending) -> Self {
        Self {
            socket,
            local,
            incoming: Messages::new(),
            outgoing: Messages::new(),
            sent_indices: vec![0; DATAGRAMS].into(),
            errors: Batch::new(1, 1024),
            truncated: 0,
            sending,
            many_passed: false,
            gro: false,
            trains: false,
            more: false,
            gauge: Gauge::default(),
        }
    }

    /// Where it is bound.
    pub(super) fn local(&self) -> SocketAddr {
        self.local
    }

    /// How many datagrams were longer than a slot; they come out done.
    pub(super) fn truncated(&self) -> u64 {
        self.truncated
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// How datagrams are sent now.
    pub(super) fn sending(&self) -> Sending {
        self.sending
    }

    /// Sends in no better way than this from now on.
    pub(super) fn limit_sending(&mut self, most: Sending) {
        self.sending = self.sending.min(most);
    }

    /// Whether the kernel puts datagrams together.
    pub(super) fn gro(&self) -> bool {
        self.gro
    }

    /// Asks the kernel to put together what arrives at once (`UDP_GRO`, since Linux 5.0); slots must take 65,535 bytes.
    /// A kernel that does not know it gives every datagram by itself.
    pub(super) fn enable_gro(&mut self) {
        self.gro = set_option(self.socket.as_fd(), libc::SOL_UDP, libc::UDP_GRO, 1).is_ok();
    }

    /// Whether the last `receive` stopped before nothing was left.
    pub(super) fn has_more(&self) -> bool {
        self.more
    }

    /// Receives until nothing is left or `batch` is full; `stripped` looks at each packet and says how many bytes in front
    /// do not belong to it, which address it was sent to and with which TOS, where the kernel does not say it beside.
    pub(super) fn receive(
        &mut self,
        batch: &mut Batch,
        stripped: impl Fn(&[u8]) -> Option<Stripped>,
    ) -> io::Result<usize> {
        let mut total = 0;
        let mut patience = PATIENCE;
        self.more = false;
        while !batch.is_full() {
            let most = if self.trains { TRAINS_AT_ONCE } else { AT_ONCE };
            let count = match self.incoming.receive(self.socket.as_fd(), batch, most, 0) {
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if patience == 0 => return if total > 0 { Ok(total) } else { Err(error) },
                Err(_) => {
                    patience -= 1;
                    continue;
                }
            };
            let mut trains = false;
            for index in 0..count {
                let message = self.incoming.received(index);
                let beside = control::read(message.control);
                batch.push_slot(message.len.min(batch.room()), beside.segment, None);
                trains |= beside.segment > 0;
                let front = stripped(batch.bytes(batch.len() - 1));
                let (packets, _) = batch.parts_mut();
                let packet = packets.last_mut().expect("one was pushed");
                self.truncated += u64::from(message.truncated);
                match (front, message.from, message.truncated) {
                    (Some(front), Some(from), false) => {
                        packet.start += front.bytes;
                        packet.len -= front.bytes;
                        let local = front.local.or(beside.local).unwrap_or(self.local.ip());
                        let local = SocketAddr::new(local, self.local.port());
                        packet.path = Some(Path { local, remote: from, tos: front.tos.unwrap_or(beside.tos) });
                    }
                    _ => packet.done = true,
                }
            }
            total += count;
            if count > 0 {
                self.trains = trains;
            }
            self.more = count == most;
            // What trains hold is worked off before more are read.
            if count < most || trains {
                break;
            }
        }
        Ok(total)
    }

    /// Sends the packets of `batch` from `first` on that are not done and have a path from this socket's port in its IP version.
    ///
    /// A message of many that the kernel refuses is taken apart and goes on datagram by datagram; if those pass, it was the
    /// segmentation that the kernel, or the network card behind it, does not have, and it is not asked for again. Where the call
    /// for many has never moved anything, a datagram that it refuses is tried by the call for one (`sendmmsg` may not exist, or be
    /// forbidden by a filter of system calls); if that passes, the other one is not made again.
    pub(super) fn send(&mut self, batch: &Batch, first: usize) -> Sent {
        let mut fate = Sent { next: first, ..Sent::default() };
        let mut patience = PATIENCE;
        // Packets before this one go each in a message of its own.
        let mut apart = first;
        let mut suspected = false;
        // The next one goes by the call for one.
        let mut alone = false;
        let (v4, port) = (self.local.is_ipv4(), self.local.port());
        loop {
            let indices = &mut self.sent_indices;
            let mut count = 0;
            let datagrams = batch.packets().iter().enumerate().skip(fate.next).filter_map(|(index, packet)| {
                let path = packet.path.filter(|_| !packet.done)?;
                if path.remote.is_ipv4() != v4 || path.local.port() != port {
                    return None;
                }
                *indices.get_mut(count)? = index;
                count += 1;
                let (segment, lane) = (packet.segment, packet.lane);
                Some(Outgoing { bytes: batch.bytes(index), path, segment, lane, joins: index > apart })
            });
            let how = if alone { Sending::Single } else { self.sending };
            match self.outgoing.send(self.socket.as_fd(), how, datagrams) {
                Ok(0) => {
                    fate.next = batch.len();
                    return fate;
                }
                Ok(sent) => {
                    fate.sent += sent;
                    fate.next = self.sent_indices[sent - 1] + 1;
                    patience = PATIENCE;
                    if suspected {
                        self.sending = self.sending.min(Sending::Many);
                        suspected = false;
                    }
                    self.many_passed |= how > Sending::Single;
                    if alone {
                        self.sending = Sending::Single;
                        alone = false;
                    }
                }
                Err(error) if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::ENOBUFS)) => {
                    fate.next = self.sent_indices[0];
                    fate.stuck = self.outgoing.first();
                    fate.beyond = self.sent_indices[fate.stuck - 1] + 1;
                    return fate;
                }
                // The error may belong to an earlier datagram: only one that comes again and again is this one's.
                Err(_) if patience > 0 => patience -= 1,
                Err(_) if self.outgoing.first() > 1 => {
                    apart = self.sent_indices[self.outgoing.first() - 1];
                    suspected = true;
                    patience = PATIENCE;
                }
                Err(_) if how > Sending::Single && !self.many_passed => {
                    alone = true;
                    patience = PATIENCE;
                }
                Err(error) => {
                    fate.failed += 1;
                    fate.errno = error.raw_os_error();
                    fate.next = self.sent_indices[0] + 1;
                    patience = PATIENCE;
                    (suspected, alone) = (false, false);
                }
            }
        }
    }

    /// The next report of the error queue, or none.
    pub(super) fn report(&mut self) -> io::Result<Option<PathReport>> {
        loop {
            self.errors.clear();
            match self.incoming.receive(self.socket.as_fd(), &mut self.errors, 1, libc::MSG_ERRQUEUE) {
                Ok(0) => return Ok(None),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            }
            let message = self.incoming.received(0);
            self.errors.push(message.len.min(self.errors.room()), 0, None);
            // Reports of another kind (timestamps) are passed over.
            if let Some(report) = PathReport::read(message.from, message.control, self.errors.bytes(0)) {
                return Ok(Some(report));
            }
        }
    }
}

/// What stands in front of a received packet.
#[derive(Clone, Copy, Default)]
pub(super) struct Stripped {
    /// How many bytes.
    pub(super) bytes: usize,
    /// Where it was sent to, if that stands there.
    pub(super) local: Option<IpAddr>,
    /// Its TOS, if that stands there.
    pub(super) tos: Option<u8>,
}
