//! Which socket? Port 500 belongs to the control loop, port 4500 and raw ESP to the workers, each of which has its own; the
//! control loop has a second handle on the first worker's port 4500 to answer by.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use crate::config::Loaded;
use crate::dataplane::buffer::{Batch, Path};
use crate::dataplane::offload::Offloads;
use crate::platform::raw_esp::RawEsp;
use crate::platform::udp::{Missed, PathReport, Sent, Sieve, UdpSocket};

/// IKE (RFC 7296 §2).
pub(super) const IKE: u16 = 500;
/// IKE and ESP behind NATs (RFC 3947 §4, RFC 3948 §2).
pub(super) const NAT_T: u16 = 4500;
/// RFC 3948 §2.2: "a Non-ESP Marker is 4 zero-valued bytes aligning with the SPI field of an ESP packet".
const NON_ESP_MARKER: [u8; 4] = [0; 4];
/// RFC 3948 §2.3: the sender "MUST use a one-octet-long payload with the value 0xFF".
const KEEPALIVE: [u8; 1] = [0xFF];
/// How long the worker waits for room in a socket's buffer before it drops; the buffer holds megabytes.
const ROOM_TIME: Duration = Duration::from_millis(2);

/// How often a packet that finds no room is tried again.
const PATIENCE: u32 = 3;

/// One socket of the worker.
enum DataSocket {
    Udp(UdpSocket),
    Raw(RawEsp),
}

/// One worker's sockets.
pub(super) struct DataSockets(Vec<DataSocket>);

/// The control loop's sockets.
pub(super) struct ControlSockets {
    ports: Vec<UdpSocket>,
    nat_t: Vec<UdpSocket>,
    out: Batch,
}

/// Opens what the tunnels' addresses need: for each worker its own.
pub(super) fn open(loaded: &Loaded) -> io::Result<(Vec<DataSockets>, ControlSockets)> {
    let workers = loaded.gateway.workers.max(1);
    let mut data: Vec<_> = (0..workers).map(|_| DataSockets(Vec::new())).collect();
    let mut ports = Vec::new();
    let mut nat_t = Vec::new();
    let families = [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)];
    for any in families {
        if !loaded.tunnels.iter().any(|info| info.local.is_ipv4() == any.is_ipv4()) {
            continue;
        }
        ports.push(UdpSocket::bind(any, IKE).map_err(|error| in_words(&error, IKE))?);
        let group = UdpSocket::bind_group(any, NAT_T, workers).map_err(|error| in_words(&error, NAT_T))?;
        if let Some(first) = group.first() {
            nat_t.push(first.try_clone()?);
        }
        for ((mut socket, mut raw), of_worker) in
            group.into_iter().zip(RawEsp::bind_group(any, workers)?).zip(&mut data)
        {
            socket.limit_sending(loaded.gateway.offloads.sending);
            if loaded.gateway.offloads.gro {
                socket.enable_gro();
            }
            raw.limit_sending(loaded.gateway.offloads.sending);
            of_worker.0.extend([DataSocket::Udp(socket), DataSocket::Raw(raw)]);
        }
    }
    Ok((data, ControlSockets { ports, nat_t, out: Batch::new(1, usize::from(u16::MAX)) }))
}

fn in_words(error: &io::Error, port: u16) -> io::Error {
    let hint = if error.kind() == io::ErrorKind::AddrInUse { " (does another IKE daemon run here?)" } else { "" };
    io::Error::new(error.kind(), format!("UDP port {port}: {error}{hint}"))
}

impl DataSocket {
    fn send(&mut self, batch: &Batch, first: usize) -> Sent {
        match self {
            Self::Udp(socket) => socket.send_batch(batch, first),
            Self::Raw(socket) => socket.send_batch(batch, first),
        }
    }

    fn fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Udp(socket) => socket.as_fd(),
            Self::Raw(socket) => socket.as_fd(),
        }
    }
}

impl DataSockets {
    /// What to wait for; the index of each is what the other functions take.
    pub(super) fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.0.iter().map(DataSocket::fd)
    }

    /// Fills `batch` from one socket.
    pub(super) fn receive(&mut self, index: usize, batch: &mut Batch) -> io::Result<usize> {
        match self.0.get_mut(index) {
            Some(DataSocket::Udp(socket)) => socket.recv_batch(batch),
            Some(DataSocket::Raw(socket)) => socket.recv_batch(batch),
            None => Ok(0),
        }
    }

    /// Sends every packet of `batch` by the socket that its path names; says how many could not be sent.
    pub(super) fn send(&mut self, batch: &Batch) -> u64 {
        let mut failed = 0;
        for socket in &mut self.0 {
            let mut first = 0;
            let mut patience = PATIENCE;
            loop {
                let fate = socket.send(batch, first);
                failed += fate.failed as u64;
                if !fate.is_blocked(batch.len()) {
                    break;
                }
                patience = if fate.next > first { PATIENCE } else { patience - 1 };
                first = fate.next;
                // ENOBUFS comes from a full queue of the device, where the socket itself has room: so the bound.
                if patience == 0 || !has_room(socket.fd()) {
                    failed += fate.stuck as u64;
                    first = fate.beyond;
                    patience = PATIENCE;
                }
            }
        }
        failed
    }

    /// Notes how datagrams are sent now, in UDP and without, and whether they are received together: the least of all sockets.
    pub(super) fn note(&self, offloads: &mut Offloads) {
        let Offloads { sending, raw_sending, gro, .. } = Offloads::ALL;
        (offloads.sending, offloads.raw_sending, offloads.gro) = (sending, raw_sending, gro);
        for socket in &self.0 {
            match socket {
                DataSocket::Udp(socket) => {
                    offloads.sending = offloads.sending.min(socket.sending());
                    offloads.gro &= socket.gro();
                }
                DataSocket::Raw(socket) => offloads.raw_sending = offloads.raw_sending.min(socket.sending()),
            }
        }
    }

    /// Whether one socket has probably more than it has given.
    pub(super) fn has_more(&self, index: usize) -> bool {
        matches!(self.0.get(index), Some(DataSocket::Udp(socket)) if socket.has_more())
    }

    /// Datagrams that were longer than any slot, since start.
    pub(super) fn truncated(&self) -> u64 {
        let each = |socket: &DataSocket| match socket {
            DataSocket::Udp(socket) => socket.truncated(),
            DataSocket::Raw(socket) => socket.truncated(),
        };
        self.0.iter().map(each).sum()
    }

    /// The next thing that the network says about packets that were sent.
    pub(super) fn path_error(&mut self, index: usize) -> Option<PathReport> {
        let report = match self.0.get_mut(index)? {
            DataSocket::Udp(socket) => socket.error_queue(),
            DataSocket::Raw(socket) => socket.error_queue(),
        };
        report.ok().flatten()
    }
}

fn has_room(fd: BorrowedFd<'_>) -> bool {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    let timeout = PollTimeout::try_from(ROOM_TIME).unwrap_or(PollTimeout::ZERO);
    poll(&mut [PollFd::new(fd, PollFlags::POLLOUT)], timeout).is_ok_and(|ready| ready > 0)
}

impl ControlSockets {
    /// Handles to wait on, one for each socket on port 500.
    pub(super) fn descriptors(&self) -> io::Result<Vec<OwnedFd>> {
        self.ports.iter().map(|port| port.as_fd().try_clone_to_owned()).collect()
    }

    /// Fills `batch` from one socket on port 500.
    pub(super) fn receive(&mut self, index: usize, batch: &mut Batch) -> io::Result<usize> {
        let Some(port) = self.ports.get_mut(index) else { return Ok(0) };
        // IKE has its own retransmission: what the network says of single datagrams is not needed here.
        while let Ok(Some(_)) = port.error_queue() {}
        port.recv_batch(batch)
    }

    /// Lets the kernel refuse first requests at port 500 or 4500. If one socket cannot, none does.
    pub(super) fn sift(&mut self, nat_t: bool, sieve: &Sieve) -> io::Result<()> {
        let result = self.at(nat_t).iter().try_for_each(|socket| socket.sift(sieve, nat_t));
        if result.is_err() {
            self.open_up(nat_t);
        }
        result
    }

    /// Takes everything again.
    pub(super) fn open_up(&mut self, nat_t: bool) {
        for socket in self.at(nat_t) {
            // It says that there was no sieve.
            let _ = socket.open_up();
        }
    }

    /// What was not taken since the last call, in which time there was a sieve or not.
    pub(super) fn missed(&mut self, nat_t: bool, sifted: bool) -> Missed {
        let each = self.at(nat_t).iter_mut().map(|socket| socket.missed(sifted).unwrap_or_default());
        let sum = |sum: Missed, of: Missed| Missed { refused: sum.refused + of.refused, lost: sum.lost + of.lost };
        let missed = each.fold(Missed::default(), sum);
        // What finds no room at port 4500 is mostly ESP.
        if nat_t { Missed { lost: 0, ..missed } } else { missed }
    }

    fn at(&mut self, nat_t: bool) -> &mut [UdpSocket] {
        if nat_t { &mut self.nat_t } else { &mut self.ports }
    }

    /// Sends an IKE message from the address and port that the endpoint names.
    pub(super) fn send_ike(&mut self, local: SocketAddr, remote: SocketAddr, message: &[u8]) {
        let marker: &[u8] = if local.port() == NAT_T { &NON_ESP_MARKER } else { &[] };
        self.send(local, remote, &[marker, message]);
    }

    /// Keeps a NAT's mapping alive.
    pub(super) fn send_keepalive(&mut self, local: SocketAddr, remote: SocketAddr) {
        self.send(local, remote, &[&KEEPALIVE]);
    }

    fn send(&mut self, local: SocketAddr, remote: SocketAddr, parts: &[&[u8]]) {
        self.out.clear();
        let len: usize = parts.iter().map(|part| part.len()).sum();
        let Some(slot) = self.out.vacant().and_then(|slot| slot.get_mut(..len)) else { return };
        let mut at = 0;
        for part in parts {
            slot[at..at + part.len()].copy_from_slice(part);
            at += part.len();
        }
        self.out.push(len, 0, Some(Path { local, remote, tos: 0 }));
        let sockets = if local.port() == NAT_T { &mut self.nat_t } else { &mut self.ports };
        for socket in sockets {
            let fate = socket.send_batch(&self.out, 0);
            if let Some(errno) = fate.errno {
                let error = io::Error::from_raw_os_error(errno);
                tracing::debug!(%local, %remote, %error, "an IKE message could not be sent; it is sent again");
            }
        }
    }
}
