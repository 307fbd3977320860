//! The underlay as the peers and the strangers see it: sockets in gateway B's namespace, many datagrams in one call.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use portcullis::dataplane::buffer::{Batch, Path};
use portcullis::dataplane::offload::Sending;
use portcullis::lab::topology::V4;
use portcullis::platform::namespace::Namespace;
use portcullis::platform::raw_esp::RawEsp;
use portcullis::platform::udp::UdpSocket;

/// Datagrams of one call.
pub const AT_ONCE: usize = 64;
/// What one link carries; longer ones go as fragments.
const ROOM: usize = 1472;

/// What the daemon takes at once; anything longer is too long.
const SLOT: usize = 9_728;

/// By which socket a datagram leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From port 4500.
    NatT,
    /// From port 500.
    Ike,
    /// From a port of nobody.
    Stranger,
    /// As raw ESP.
    Raw,
}

/// One datagram to the daemon.
pub struct Datagram {
    pub way: Way,
    pub from: IpAddr,
    pub to_port: u16,
    pub tos: u8,
    pub bytes: Vec<u8>,
}

/// How many went out.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sent {
    pub udp: u64,
    pub raw: u64,
    pub refused: u64,
    /// Those for the daemon's data path, in UDP and raw: neither IKE nor keepalives.
    pub data: u64,
}

struct Port {
    socket: UdpSocket,
    out: Batch,
}

/// All sockets of the other side.
pub struct Wire {
    ports: [Port; 3],
    raw: RawEsp,
    raw_out: Batch,
    long: std::net::UdpSocket,
    incoming: Batch,
    pub sent: Sent,
}

impl Wire {
    pub fn open(place: &Namespace) -> io::Result<Self> {
        place.run(|| {
            let any = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
            let port = |number| {
                let mut socket = UdpSocket::bind(any, number)?;
                // The kernel counts datagrams one by one only if they were sent like that.
                socket.limit_sending(Sending::Many);
                Ok::<_, io::Error>(Port { socket, out: Batch::new(AT_ONCE, ROOM) })
            };
            Ok(Self {
                ports: [port(4500)?, port(500)?, port(0)?],
                raw: RawEsp::bind(any)?,
                raw_out: Batch::new(AT_ONCE, ROOM),
                long: std::net::UdpSocket::bind((any, 0))?,
                incoming: Batch::new(AT_ONCE, 2048),
                sent: Sent::default(),
            })
        })?
    }

    /// Puts a datagram among those that go out next.
    pub fn push(&mut self, datagram: &Datagram) {
        let Datagram { way, from, to_port, tos, ref bytes } = *datagram;
        // RFC 3948 §2: four zero bytes stand before IKE, and a keepalive is one byte.
        let ike = bytes.starts_with(&[0; 4]) && bytes.len() <= SLOT;
        let data = way == Way::Raw || to_port == 4500 && !ike && bytes[..] != [0xff];
        if bytes.len() > ROOM {
            // The batching sockets send nothing in fragments; this one does.
            match self.long.send_to(bytes, (V4.gateway_a, to_port)) {
                Ok(_) => {
                    self.sent.udp += 1;
                    self.sent.data += u64::from(data);
                }
                Err(_) => self.sent.refused += 1,
            }
            return;
        }
        let (out, local) = match way {
            Way::Raw => (&mut self.raw_out, 0),
            Way::NatT => (&mut self.ports[0].out, 4500),
            Way::Ike => (&mut self.ports[1].out, 500),
            Way::Stranger => (&mut self.ports[2].out, self.ports[2].socket.local().port()),
        };
        if out.is_full() {
            self.flush();
            return self.push(datagram);
        }
        self.sent.data += u64::from(data);
        let slot = out.vacant().expect("it is not full");
        slot[..bytes.len()].copy_from_slice(bytes);
        let to_port = if way == Way::Raw { 0 } else { to_port };
        let path = Path { local: SocketAddr::new(from, local), remote: SocketAddr::new(V4.gateway_a, to_port), tos };
        out.push(bytes.len(), 0, Some(path));
    }

    /// Sends what waits.
    pub fn flush(&mut self) {
        for Port { socket, out } in &mut self.ports {
            let (sent, refused) = send_all(out, |batch, first| socket.send_batch(batch, first));
            self.sent.udp += sent;
            self.sent.refused += refused;
        }
        let raw = &mut self.raw;
        let (sent, refused) = send_all(&mut self.raw_out, |batch, first| raw.send_batch(batch, first));
        self.sent.raw += sent;
        self.sent.refused += refused;
    }

    /// Reads everything that has come and shows each datagram with its ends; raw ESP has port 0.
    pub fn receive(&mut self, mut take: impl FnMut(SocketAddr, SocketAddr, &mut [u8])) -> usize {
        let mut total = 0;
        for at in 0..4 {
            loop {
                self.incoming.clear();
                let read = if let Some(port) = self.ports.get_mut(at) {
                    while let Ok(Some(_)) = port.socket.error_queue() {}
                    port.socket.recv_batch(&mut self.incoming)
                } else {
                    while let Ok(Some(_)) = self.raw.error_queue() {}
                    self.raw.recv_batch(&mut self.incoming)
                };
                if !read.is_ok_and(|count| count > 0) {
                    break;
                }
                total += self.incoming.len();
                let (packets, slab) = self.incoming.parts_mut();
                for packet in packets.iter().filter(|packet| !packet.done) {
                    let Some(path) = packet.path else { continue };
                    take(path.local, path.remote, &mut slab[packet.start..packet.start + packet.len]);
                }
                if !self.incoming.is_full() {
                    break;
                }
            }
        }
        total
    }
}

fn send_all(batch: &mut Batch, mut send: impl FnMut(&Batch, usize) -> portcullis::platform::udp::Sent) -> (u64, u64) {
    let (mut first, mut sent, mut refused) = (0, 0, 0);
    while first < batch.len() {
        let fate = send(batch, first);
        sent += fate.sent as u64;
        refused += fate.failed as u64;
        if fate.is_blocked(batch.len()) {
            std::thread::sleep(std::time::Duration::from_micros(200));
        }
        first = fate.next;
    }
    batch.clear();
    (sent, refused)
}
