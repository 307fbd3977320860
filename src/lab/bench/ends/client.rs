//! The end that asks.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use serde_json::Value;
use socket2::SockRef;

use super::datagrams::{self, Load, Sent};
use super::streams::{self, End};
use super::words::{Answer, Ask, LONGEST_PATIENCE, PROTOCOL, Received, Tally, hear, tell};
use crate::platform::clock;

/// How long an answer may take beyond what it waits for.
const ANSWER: Duration = Duration::from_secs(15);
/// Length of a datagram that is sent back.
const PING: usize = 64;
/// A datagram that is not back by now is lost.
const LOST: Duration = Duration::from_secs(1);

/// Which end sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// The client.
    Forward,
    /// The server.
    Reverse,
    /// Both at once, each over streams of its own.
    Both,
}

impl Way {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Forward, Self::Reverse, Self::Both];

    /// Its name in cases.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::Reverse => "reverse",
            Self::Both => "both",
        }
    }
}

/// A measurement with streams.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// How many in each direction.
    pub streams: u16,
    /// Which directions.
    pub way: Way,
    /// What does not count.
    pub warm: Duration,
    /// What does.
    pub time: Duration,
}

/// What streams carried.
#[derive(Clone, Copy, Debug)]
pub struct Carried {
    /// What the server received.
    pub forward: Received,
    /// What the client received.
    pub reverse: Received,
    /// The maximum segment size of one of the connections, towards the server.
    pub mss: u32,
}

impl Carried {
    /// Bytes from the first to the last, both ways.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.forward.total + self.reverse.total
    }
}

/// A client that is served.
pub struct Client {
    control: TcpStream,
    peer: SocketAddr,
    session: u64,
    environment: Value,
}

impl Client {
    /// Connects and introduces itself. A server that refuses is [`io::ErrorKind::ConnectionRefused`] with its reason.
    pub fn connect(peer: SocketAddr, patience: Duration) -> io::Result<Self> {
        let mut control = TcpStream::connect_timeout(&peer, patience)?;
        control.set_nodelay(true)?;
        control.set_read_timeout(Some(ANSWER))?;
        control.set_write_timeout(Some(ANSWER))?;
        tell(&mut control, &Ask::Hello { protocol: PROTOCOL })?;
        match hear(&mut control)? {
            Answer::Hello { session, environment, .. } => Ok(Self { control, peer, session, environment }),
            other => Err(unexpected(other)),
        }
    }

    /// The machine at the other end.
    #[must_use]
    pub fn environment(&self) -> &Value {
        &self.environment
    }

    /// Ends the session.
    pub fn hang_up(&self) {
        let _ = self.control.shutdown(std::net::Shutdown::Both);
    }

    fn ask(&mut self, ask: &Ask, waits: Duration) -> io::Result<Answer> {
        tell(&mut self.control, ask)?;
        self.hear(waits)
    }

    fn hear(&mut self, waits: Duration) -> io::Result<Answer> {
        self.control.set_read_timeout(Some(waits + ANSWER))?;
        hear(&mut self.control)
    }

    /// Fills streams.
    pub fn streams(&mut self, plan: Plan) -> io::Result<Carried> {
        let server_sends: &[bool] = match plan.way {
            Way::Forward => &[false],
            Way::Reverse => &[true],
            Way::Both => &[false, true],
        };
        let count = plan.streams * server_sends.len() as u16;
        let millis = |time: Duration| time.as_millis() as u64;
        tell(&mut self.control, &Ask::Streams { count, warm_ms: millis(plan.warm), ms: millis(plan.time) })?;
        let mut streams = Vec::new();
        for _ in 0..plan.streams {
            for &server_sends in server_sends {
                let mut stream = TcpStream::connect_timeout(&self.peer, ANSWER)?;
                tell(&mut stream, &Ask::Data { session: self.session, server_sends })?;
                streams.push((stream, !server_sends));
            }
        }
        match self.hear(ANSWER)? {
            Answer::Ready {} => {}
            other => return Err(unexpected(other)),
        }
        let mss = streams.first().map_or(Ok(0), |(stream, _)| SockRef::from(stream).tcp_mss())?;
        let reverse = streams::run(End::Client, streams, plan.warm, plan.time)?;
        match self.hear(ANSWER)? {
            Answer::Streams(forward) => Ok(Carried { forward, reverse, mss }),
            other => Err(unexpected(other)),
        }
    }

    /// Sends datagrams; says what was sent and what came.
    pub fn datagrams(&mut self, load: &Load, quiet: Duration) -> io::Result<(Sent, Tally)> {
        let trial = match self.ask(&Ask::Begin {}, Duration::ZERO)? {
            Answer::Begin { trial } => trial,
            other => return Err(unexpected(other)),
        };
        let socket = self.socket(self.peer.port())?;
        SockRef::from(&socket).set_send_buffer_size(4 << 20)?;
        let sent = datagrams::send(&socket, trial, load)?;
        let ask = Ask::End { sent: sent.datagrams, quiet_ms: quiet.as_millis() as u64 };
        match self.ask(&ask, Duration::from_millis(LONGEST_PATIENCE))? {
            Answer::End(tally) => Ok((sent, tally)),
            other => Err(unexpected(other)),
        }
    }

    /// Something that measures round trips, beside everything else.
    pub fn pinger(&self) -> io::Result<Pinger> {
        let echo = self.peer.port().checked_add(1).ok_or(io::ErrorKind::InvalidInput)?;
        let socket = self.socket(echo)?;
        socket.set_read_timeout(Some(LOST))?;
        Ok(Pinger { socket, session: self.session })
    }

    fn socket(&self, port: u16) -> io::Result<UdpSocket> {
        let any = if self.peer.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let socket = UdpSocket::bind(SocketAddr::new(any, 0))?;
        socket.connect(SocketAddr::new(self.peer.ip(), port))?;
        Ok(socket)
    }
}

fn unexpected(answer: Answer) -> io::Error {
    match answer {
        Answer::Refused { why } => io::Error::new(io::ErrorKind::ConnectionRefused, why),
        other => io::Error::new(io::ErrorKind::InvalidData, format!("an answer to another question: {other:?}")),
    }
}

/// One datagram at a time, there and back.
pub struct Pinger {
    socket: UdpSocket,
    session: u64,
}

/// Round trips.
#[derive(Clone, Debug, Default)]
pub struct Trips {
    /// How long each took.
    pub times: Vec<Duration>,
    /// Those that did not come back within a second.
    pub lost: u64,
}

impl Pinger {
    /// Sends one, waits for it, rests, and so on for `time`.
    pub fn run(&self, time: Duration, pause: Duration) -> io::Result<Trips> {
        let _ = nix::sys::prctl::set_timerslack(1000);
        let mut trips = Trips::default();
        let end = clock::now() + time;
        let mut number = 0_u64;
        while clock::now() < end {
            number += 1;
            let mut bytes = [0; PING];
            bytes[..8].copy_from_slice(&self.session.to_be_bytes());
            bytes[8..16].copy_from_slice(&number.to_be_bytes());
            let began = clock::now();
            let back = self.socket.send(&bytes).and_then(|_| self.wait_for(number));
            match back {
                Ok(()) => trips.times.push(clock::now() - began),
                Err(error) if is_loss(&error) => trips.lost += 1,
                Err(error) => return Err(error),
            }
            std::thread::sleep(pause);
        }
        Ok(trips)
    }

    fn wait_for(&self, number: u64) -> io::Result<()> {
        let mut bytes = [0; PING];
        loop {
            self.socket.recv(&mut bytes)?;
            // One that came too late is not this one.
            if bytes[8..16] == number.to_be_bytes() {
                return Ok(());
            }
        }
    }
}

fn is_loss(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionRefused, HostUnreachable, NetworkUnreachable, TimedOut, WouldBlock};
    matches!(error.kind(), WouldBlock | TimedOut | ConnectionRefused | HostUnreachable | NetworkUnreachable)
}
