//! Packets from all sides, without a pause: what is offered to the gateways, what is injected past them, and what arrives.

use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use etherparse::PacketBuilder;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use portcullis::lab::topology::{Topology, V4, V6};
use portcullis::platform::namespace::Namespace;
use socket2::{Domain, Protocol, Socket, Type};

/// The UDP port of host B that a rule opens.
pub const OPEN_PORT: u16 = 7000;
/// One that no rule opens.
const CLOSED_PORT: u16 = 7001;
/// Between two rounds of packets.
const PACE: Duration = Duration::from_millis(4);
/// What is offered: by a host, by a gateway itself.
const OFFERED: [&[u8]; 2] = [b"portcullis-offered-by-host", b"portcullis-offered-by-self"];
const INJECTED: &[u8] = b"portcullis-injected";

/// Numbers for IPv4 and IPv6, and in each for forwarded packets and those of a gateway itself.
pub type Four = [[u64; 2]; 2];
type Counts = [[AtomicU64; 2]; 2];

/// What was sent and what arrived.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Sent to protected hosts.
    pub offered: Four,
    /// Of those, arrived.
    pub carried: Four,
    /// Sent from the underlay with a protected source.
    pub injected: Four,
    /// Of those, arrived.
    pub arrived: Four,
}

impl Tally {
    /// What has happened between `before` and this one.
    pub fn since(&self, before: &Self) -> Self {
        let minus = |now: Four, then: Four| [0, 1].map(|v6| [0, 1].map(|local| now[v6][local] - then[v6][local]));
        Self {
            offered: minus(self.offered, before.offered),
            carried: minus(self.carried, before.carried),
            injected: minus(self.injected, before.injected),
            arrived: minus(self.arrived, before.arrived),
        }
    }
}

#[derive(Default)]
struct Shared {
    offered: Counts,
    carried: Counts,
    injected: Counts,
    arrived: Counts,
    paused: AtomicBool,
    stop: AtomicBool,
}

/// Senders and receivers in their threads.
pub struct Traffic {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

/// One thing that is sent each round.
struct Sender {
    socket: Socket,
    target: SocketAddr,
    bytes: Vec<u8>,
    count: fn(&Shared) -> &Counts,
    v6: usize,
    local: usize,
}

/// A raw socket that sees every UDP datagram that is delivered here.
struct Receiver {
    socket: Socket,
    v6: usize,
    local: usize,
}

impl Traffic {
    /// Starts sending.
    pub fn start(topology: &Topology) -> Self {
        let shared = Arc::new(Shared::default());
        let senders = senders(topology);
        let receivers = receivers(topology);
        let (sending, receiving) = (Arc::clone(&shared), Arc::clone(&shared));
        let threads = vec![
            std::thread::spawn(move || send(&senders, &sending)),
            std::thread::spawn(move || receive(&receivers, &receiving)),
        ];
        Self { shared, threads }
    }

    /// Nothing is sent until `resume`.
    pub fn pause(&self) {
        self.shared.paused.store(true, Ordering::SeqCst);
    }

    /// Goes on.
    pub fn resume(&self) {
        self.shared.paused.store(false, Ordering::SeqCst);
    }

    /// The numbers so far.
    pub fn tally(&self) -> Tally {
        let four =
            |counts: &Counts| [0, 1].map(|v6| [0, 1].map(|local: usize| counts[v6][local].load(Ordering::SeqCst)));
        let shared = &self.shared;
        // What arrived is read first, so that it is never more than what was sent.
        let (carried, arrived) = (four(&shared.carried), four(&shared.arrived));
        Tally { offered: four(&shared.offered), carried, injected: four(&shared.injected), arrived }
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn offered(shared: &Shared) -> &Counts {
    &shared.offered
}

fn injected(shared: &Shared) -> &Counts {
    &shared.injected
}

fn senders(topology: &Topology) -> Vec<Sender> {
    let mut senders = Vec::new();
    for (v6, family) in [V4, V6].into_iter().enumerate() {
        let any: IpAddr = if v6 == 0 { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let mut offer = |place: &Namespace, local: usize, target: SocketAddr| {
            let socket = Socket::from(place.run(|| UdpSocket::bind((any, 0))).unwrap().expect("a socket"));
            senders.push(Sender { socket, target, bytes: OFFERED[local].to_vec(), count: offered, v6, local });
        };
        // What a rule allows and what none does, from the hosts and from the gateways themselves.
        for port in [OPEN_PORT, CLOSED_PORT] {
            offer(&topology.host_a, 0, (family.host_b, port).into());
            offer(&topology.gateway_a, 1, (family.host_b, port).into());
            offer(&topology.host_b, 0, (family.host_a, port).into());
            offer(&topology.gateway_b, 1, (family.host_a, port).into());
        }
        // From the underlay, in the name of a protected host, to the hosts and the gateways themselves.
        for (local, source, target) in [
            (0, family.host_b, family.host_a),
            (1, family.host_b, family.inside_a),
            (0, family.host_a, family.host_b),
            (1, family.host_a, family.inside_b),
        ] {
            let domain = if v6 == 0 { Domain::IPV4 } else { Domain::IPV6 };
            let open = || Socket::new(domain, Type::RAW, Some(Protocol::from(libc::IPPROTO_RAW)));
            let socket = topology.underlay.run(open).unwrap().expect("a raw socket");
            for port in [OPEN_PORT, CLOSED_PORT] {
                let bytes = datagram(source, target, port);
                let socket = socket.try_clone().expect("a descriptor");
                senders.push(Sender { socket, target: (target, 0).into(), bytes, count: injected, v6, local });
            }
        }
    }
    senders
}

/// A whole packet that says it comes from `source`: from the port that answers come from.
fn datagram(source: IpAddr, target: IpAddr, port: u16) -> Vec<u8> {
    let builder = match (source, target) {
        (IpAddr::V4(source), IpAddr::V4(target)) => PacketBuilder::ipv4(source.octets(), target.octets(), 64),
        (IpAddr::V6(source), IpAddr::V6(target)) => PacketBuilder::ipv6(source.octets(), target.octets(), 64),
        _ => unreachable!("one family"),
    };
    let mut bytes = Vec::new();
    builder.udp(OPEN_PORT, port).write(&mut bytes, INJECTED).expect("a short packet");
    bytes
}

fn send(senders: &[Sender], shared: &Shared) {
    while !shared.stop.load(Ordering::Relaxed) {
        for sender in senders {
            if shared.paused.load(Ordering::SeqCst) {
                break;
            }
            // One that the route refuses at once was offered too.
            let count = &(sender.count)(shared)[sender.v6][sender.local];
            count.fetch_add(1, Ordering::SeqCst);
            let _ = sender.socket.send_to(&sender.bytes, &sender.target.into());
        }
        std::thread::sleep(PACE);
    }
}

fn receivers(topology: &Topology) -> Vec<Receiver> {
    let places = [(&topology.host_a, 0), (&topology.gateway_a, 1), (&topology.gateway_b, 1), (&topology.host_b, 0)];
    let mut receivers = Vec::new();
    for (v6, domain) in [Domain::IPV4, Domain::IPV6].into_iter().enumerate() {
        for (place, local) in places {
            let open = || Socket::new(domain, Type::RAW, Some(Protocol::UDP));
            let socket = place.run(open).unwrap().expect("a raw socket");
            socket.set_nonblocking(true).expect("a socket");
            receivers.push(Receiver { socket, v6, local });
        }
    }
    receivers
}

fn receive(receivers: &[Receiver], shared: &Shared) {
    let mut buffer = [0; 2048];
    while !shared.stop.load(Ordering::Relaxed) {
        let mut waiting: Vec<_> =
            receivers.iter().map(|each| PollFd::new(each.socket.as_fd(), PollFlags::POLLIN)).collect();
        let _ = poll(&mut waiting, PollTimeout::from(20_u8));
        for receiver in receivers {
            while let Ok(length) = (&receiver.socket).read(&mut buffer) {
                let ends = |mark: &[u8]| buffer[..length].ends_with(mark);
                let (counts, local) = if ends(INJECTED) {
                    (&shared.arrived, receiver.local)
                } else if let Some(local) = OFFERED.iter().position(|mark| ends(mark)) {
                    (&shared.carried, local)
                } else {
                    continue;
                };
                counts[receiver.v6][local].fetch_add(1, Ordering::SeqCst);
            }
        }
    }
}
