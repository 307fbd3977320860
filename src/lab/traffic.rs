//! What the agreement does not allow, tried for real: every attempt has somebody at the other end who would take it.
//!
//! Without a gateway each of them arrives; that is the control. Raw packets (an ICMP redirect, a TCP segment out of the
//! blue) are built here, because no honest program sends them.

use std::io::{self, ErrorKind, Read, Write};
use std::mem::MaybeUninit;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

use super::topology::{Topology, V4};
use crate::event::DropReason;
use crate::platform::clock;
use crate::platform::namespace::Namespace;
use crate::wire::checksum::checksum;

/// The port of the MQ host that a rule allows.
pub const MQ_PORT: u16 = 1414;
/// The port from which a segment of no connection comes.
pub const MIDSTREAM_PORT: u16 = 41_414;
/// How long an attempt may take to arrive.
const PATIENCE: Duration = Duration::from_millis(700);
/// What travels, so that nobody takes another packet for it.
const MARK: &[u8; 16] = b"portcullis-probe";

/// Something that no rule allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// Host A opens a telnet session with the MQ host.
    Telnet,
    /// Host A tries the port beside MQ.
    OtherPort,
    /// Host B opens a connection to host A's MQ port.
    WrongSide,
    /// Host B opens a connection from its MQ port, as if it were an answer.
    WrongSideFromPort,
    /// Host A sends UDP to the MQ port.
    Udp,
    /// Host A sends an ICMP redirect.
    Redirect,
    /// Host A sends a TCP segment of a connection that nobody opened.
    Midstream,
}

impl Attempt {
    /// All of them, in the order of the table.
    pub const ALL: [Self; 7] = [
        Self::Telnet,
        Self::OtherPort,
        Self::WrongSide,
        Self::WrongSideFromPort,
        Self::Udp,
        Self::Redirect,
        Self::Midstream,
    ];

    /// Its stable name in `--json`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Telnet => "telnet",
            Self::OtherPort => "other-port",
            Self::WrongSide => "wrong-side",
            Self::WrongSideFromPort => "wrong-side-from-port",
            Self::Udp => "udp",
            Self::Redirect => "icmp-redirect",
            Self::Midstream => "mid-stream",
        }
    }

    /// What it is, for the table.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Telnet => "telnet to the MQ host (TCP 23)",
            Self::OtherPort => "another port of the MQ host (TCP 1415)",
            Self::WrongSide => "MQ opened from the wrong side",
            Self::WrongSideFromPort => "a connection from the MQ port back",
            Self::Udp => "UDP to the MQ port",
            Self::Redirect => "an ICMP redirect",
            Self::Midstream => "a TCP segment of no connection",
        }
    }

    /// The reason a gateway must give.
    #[must_use]
    pub const fn reason(self) -> DropReason {
        match self {
            Self::Telnet | Self::OtherPort | Self::Udp => DropReason::NoRule,
            Self::WrongSide | Self::WrongSideFromPort => DropReason::WrongDirection,
            Self::Redirect => DropReason::IcmpNotError,
            Self::Midstream => DropReason::NoConnection,
        }
    }

    /// Whether host A makes it, so that gateway A must refuse it; otherwise host B and gateway B.
    #[must_use]
    pub const fn from_a(self) -> bool {
        !matches!(self, Self::WrongSide | Self::WrongSideFromPort)
    }

    /// Protocol and destination port (for ICMP: the code) of its packets, to find the event that speaks of it.
    #[must_use]
    pub const fn flow(self) -> (u8, u16) {
        match self {
            Self::Telnet => (6, 23),
            Self::OtherPort => (6, MQ_PORT + 1),
            Self::WrongSide | Self::Midstream => (6, MQ_PORT),
            Self::WrongSideFromPort => (6, 40_000),
            Self::Udp => (17, MQ_PORT),
            Self::Redirect => (1, 1),
        }
    }
}

/// What came of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Whether it reached the other host.
    pub arrived: bool,
    /// How it ended for its sender.
    pub answer: &'static str,
}

/// Makes one attempt between the hosts.
pub fn attempt(topology: &Topology, attempt: Attempt) -> io::Result<Outcome> {
    let (a, b) = (&topology.host_a, &topology.host_b);
    match attempt {
        Attempt::Telnet => connect(a, 0, b, SocketAddr::new(V4.host_b, 23)),
        Attempt::OtherPort => connect(a, 0, b, SocketAddr::new(V4.host_b, MQ_PORT + 1)),
        Attempt::WrongSide => connect(b, 0, a, SocketAddr::new(V4.host_a, MQ_PORT)),
        Attempt::WrongSideFromPort => connect(b, MQ_PORT, a, SocketAddr::new(V4.host_a, 40_000)),
        Attempt::Udp => udp(a, b, SocketAddr::new(V4.host_b, MQ_PORT)),
        Attempt::Redirect => raw(a, b, Protocol::ICMPV4, &redirect(topology.own_a)),
        Attempt::Midstream => raw(a, b, Protocol::TCP, &segment(topology.own_a)),
    }
}

fn connect(from: &Namespace, source_port: u16, to: &Namespace, target: SocketAddr) -> io::Result<Outcome> {
    // Whatever address its host has itself.
    let listener = to.run(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, target.port())))??;
    listener.set_nonblocking(true)?;
    let result = from.run(|| -> io::Result<()> {
        let socket = Socket::new(Domain::for_address(target), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        if source_port != 0 {
            socket.bind(&SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), source_port).into())?;
        }
        // Closed with a reset, so that the port is free for the next attempt at once.
        socket.set_linger(Some(Duration::ZERO))?;
        socket.connect_timeout(&target.into(), PATIENCE)?;
        let mut stream = TcpStream::from(socket);
        stream.write_all(MARK)
    })?;
    let arrived = until(|| match listener.accept() {
        Ok(_) => Ok(Some(true)),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(result.is_err().then_some(false)),
        Err(error) => Err(error),
    })?;
    let answer = match result {
        Ok(()) => "connected",
        Err(error) => answer_of(&error),
    };
    Ok(Outcome { arrived, answer })
}

fn udp(from: &Namespace, to: &Namespace, target: SocketAddr) -> io::Result<Outcome> {
    let receiver = to.run(|| UdpSocket::bind(target))??;
    receiver.set_read_timeout(Some(PATIENCE))?;
    let sender = from.run(|| -> io::Result<UdpSocket> {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        socket.connect(target)?;
        Ok(socket)
    })??;
    sender.send(MARK)?;
    let mut buffer = [0; 64];
    let arrived = match receiver.recv(&mut buffer) {
        Ok(length) => buffer[..length] == MARK[..],
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => false,
        Err(error) => return Err(error),
    };
    sender.set_nonblocking(true)?;
    let answer = match sender.recv(&mut buffer) {
        Err(error) if error.kind() == ErrorKind::WouldBlock => "silence",
        Err(error) => answer_of(&error),
        Ok(_) => "an answer",
    };
    Ok(Outcome { arrived, answer })
}

/// Sends the payload of an IP packet that carries the mark, and looks for the mark at the other end.
fn raw(from: &Namespace, to: &Namespace, protocol: Protocol, payload: &[u8]) -> io::Result<Outcome> {
    let open = || Socket::new(Domain::IPV4, Type::RAW, Some(protocol));
    let mut receiver = to.run(open)??;
    receiver.set_read_timeout(Some(Duration::from_millis(50)))?;
    let sender = from.run(open)??;
    sender.send_to(payload, &SocketAddr::new(V4.host_b, 0).into())?;
    let mut buffer = [0; 2048];
    let arrived = until(|| match receiver.read(&mut buffer) {
        Ok(length) if buffer[..length].windows(MARK.len()).any(|window| window == MARK) => Ok(Some(true)),
        Ok(_) => Ok(None),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Ok(None),
        Err(error) => Err(error),
    })?;
    // A reset or an unreachable comes to the raw socket of the sender as well.
    sender.set_nonblocking(true)?;
    let mut answer = [MaybeUninit::uninit(); 2048];
    let answer = if sender.recv(&mut answer).is_ok() { "answered" } else { "silence" };
    Ok(Outcome { arrived, answer })
}

/// Asks `look` until it knows or patience ends.
fn until(mut look: impl FnMut() -> io::Result<Option<bool>>) -> io::Result<bool> {
    let end = clock::now() + PATIENCE;
    loop {
        if let Some(known) = look()? {
            return Ok(known);
        }
        if clock::now() >= end {
            return Ok(false);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn answer_of(error: &io::Error) -> &'static str {
    match error.kind() {
        ErrorKind::ConnectionRefused => "refused",
        ErrorKind::ConnectionReset => "reset",
        ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable => "unreachable",
        ErrorKind::PermissionDenied => "prohibited",
        ErrorKind::TimedOut | ErrorKind::WouldBlock => "silence",
        _ => "an error",
    }
}

/// RFC 792: a redirect for a host (type 5, code 1), which quotes the header and the first bytes of the packet it is about.
fn redirect(own: IpAddr) -> Vec<u8> {
    let octets = |address| if let IpAddr::V4(v4) = address { v4.octets() } else { [0; 4] };
    let mut out = vec![5, 1, 0, 0];
    out.extend(octets(own)); // the better gateway, it says
    let mut quoted = vec![0x45, 0, 0, 44, 0, 1, 0x40, 0, 64, 6, 0, 0];
    quoted.extend(octets(V4.host_b));
    quoted.extend(octets(own));
    let sum = checksum(&quoted).to_be_bytes();
    quoted[10..12].copy_from_slice(&sum);
    out.extend(quoted);
    out.extend(MARK);
    let sum = checksum(&out).to_be_bytes();
    out[2..4].copy_from_slice(&sum);
    out
}

/// An ACK with data from the middle of a connection that never was (RFC 9293 §3.1).
fn segment(own: IpAddr) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend(MIDSTREAM_PORT.to_be_bytes());
    out.extend(MQ_PORT.to_be_bytes());
    out.extend(0x1234_5678_u32.to_be_bytes());
    out.extend(0x8765_4321_u32.to_be_bytes());
    out.extend([0x50, 0x18]); // five words of header; PSH and ACK
    out.extend(0xffff_u16.to_be_bytes());
    out.extend([0; 4]);
    out.extend(MARK);
    let mut pseudo = Vec::new();
    for address in [own, V4.host_b] {
        if let IpAddr::V4(v4) = address {
            pseudo.extend(v4.octets());
        }
    }
    pseudo.extend([0, 6]);
    pseudo.extend(u16::try_from(out.len()).expect("a short segment").to_be_bytes());
    pseudo.extend(&out);
    let sum = checksum(&pseudo).to_be_bytes();
    out[16..18].copy_from_slice(&sum);
    out
}
