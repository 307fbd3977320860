//! The end that answers. One client at a time; everything that a stranger may send is bounded.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use socket2::SockRef;

use super::datagrams::{SHORTEST, Sink};
use super::streams::{self, End};
use super::words::{Answer, Ask, LONGEST_PATIENCE, LONGEST_RUN, MOST_STREAMS, PROTOCOL, hear, tell};
use crate::entropy::Entropy;
use crate::lab::bench::fingerprint;
use crate::platform::clock;
use crate::platform::entropy::OsEntropy;

/// How long a connection may take to say what it is.
const INTRODUCTION: Duration = Duration::from_secs(5);
/// How long a client may be silent: longer than the longest run.
const SILENCE: Duration = Duration::from_millis(LONGEST_RUN + 60_000);
/// How long the data connections of a run may take to come.
const GATHERING: Duration = Duration::from_secs(10);
/// Connections at once, whatever they are.
const CONNECTIONS: usize = 2 * MOST_STREAMS as usize;
/// The longest datagram that is sent back.
const ECHO: usize = 64;

/// The bound sockets.
pub struct Server {
    listener: TcpListener,
    counted: UdpSocket,
    echoed: UdpSocket,
    shared: Arc<Shared>,
}

/// Its number, and data connections with whether the server sends over each.
type Session = (u64, Vec<(TcpStream, bool)>);

#[derive(Default)]
struct Shared {
    /// The number of the client that is served; its data connections wait here.
    session: Mutex<Option<Session>>,
    sink: Sink,
    connections: AtomicUsize,
    stop: AtomicBool,
}

/// Ends the server when it goes.
pub struct Stop(Arc<Shared>);

impl Drop for Stop {
    fn drop(&mut self) {
        self.0.stop.store(true, Ordering::Release);
        self.0.sink.stop();
    }
}

impl Server {
    /// Binds TCP and UDP `port`, and UDP of the next one.
    pub fn bind(address: IpAddr, port: u16) -> io::Result<Self> {
        let echo = port.checked_add(1).ok_or(io::ErrorKind::InvalidInput)?;
        Ok(Self {
            listener: TcpListener::bind(SocketAddr::new(address, port))?,
            counted: UdpSocket::bind(SocketAddr::new(address, port))?,
            echoed: UdpSocket::bind(SocketAddr::new(address, echo))?,
            shared: Arc::default(),
        })
    }

    /// Something that ends [`run`](Self::run) when it is dropped.
    #[must_use]
    pub fn stopper(&self) -> Stop {
        Stop(Arc::clone(&self.shared))
    }

    /// Serves until it is stopped; tells who comes and what is refused.
    pub fn run(self, say: impl Fn(&str) + Sync) -> io::Result<()> {
        let Self { listener, counted, echoed, shared } = self;
        let (shared, say) = (&*shared, &say);
        // A wait that ends now and then, to look whether it is time to go.
        SockRef::from(&listener).set_read_timeout(Some(Duration::from_millis(100)))?;
        std::thread::scope(|scope| {
            scope.spawn(move || {
                if let Err(error) = shared.sink.run(&counted) {
                    say(&format!("datagrams are not counted any more: {error}"));
                }
            });
            scope.spawn(move || shared.echo(&echoed));
            while !shared.stop.load(Ordering::Acquire) {
                let (stream, from) = match listener.accept() {
                    Ok(accepted) => accepted,
                    Err(error) if is_silence(&error) => continue,
                    Err(error) => {
                        say(&format!("a connection was lost: {error}"));
                        std::thread::sleep(Duration::from_millis(100));
                        continue;
                    }
                };
                if shared.connections.fetch_add(1, Ordering::AcqRel) >= CONNECTIONS {
                    shared.connections.fetch_sub(1, Ordering::AcqRel);
                    continue;
                }
                scope.spawn(move || {
                    if let Err(error) = shared.meet(stream, from, say) {
                        say(&format!("{from}: {error}"));
                    }
                    shared.connections.fetch_sub(1, Ordering::AcqRel);
                });
            }
        });
        Ok(())
    }
}

fn is_silence(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted)
}

impl Shared {
    fn session(&self) -> MutexGuard<'_, Option<Session>> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Somebody has connected. What is it?
    fn meet(&self, mut stream: TcpStream, from: SocketAddr, say: &(impl Fn(&str) + Sync)) -> io::Result<()> {
        stream.set_read_timeout(Some(INTRODUCTION))?;
        stream.set_write_timeout(Some(INTRODUCTION))?;
        match hear(&mut stream)? {
            Ask::Hello { protocol } if protocol != PROTOCOL => {
                let why = format!("this server speaks version {PROTOCOL} of the protocol, not {protocol}");
                tell(&mut stream, &Answer::Refused { why })
            }
            Ask::Hello { .. } => {
                let number = random();
                {
                    let mut session = self.session();
                    if session.is_some() {
                        drop(session);
                        say(&format!("{from}: refused, another client is served"));
                        return tell(&mut stream, &Answer::Refused { why: "another client is served now".into() });
                    }
                    *session = Some((number, Vec::new()));
                }
                say(&format!("{from}: served"));
                let ended = self.serve(&mut stream, number);
                *self.session() = None;
                self.sink.expect(0);
                say(&format!("{from}: gone"));
                // A client that hangs up has had enough.
                ended.or_else(|error| if error.kind() == io::ErrorKind::UnexpectedEof { Ok(()) } else { Err(error) })
            }
            Ask::Data { session, server_sends } => {
                // What is measured shall not stop the control connection's clock: no time limits here.
                stream.set_read_timeout(None)?;
                stream.set_write_timeout(None)?;
                match &mut *self.session() {
                    Some((number, streams)) if *number == session && streams.len() < usize::from(MOST_STREAMS) => {
                        streams.push((stream, server_sends));
                        Ok(())
                    }
                    _ => Err(io::Error::new(io::ErrorKind::PermissionDenied, "a data connection of no session")),
                }
            }
            _ => Err(io::Error::new(io::ErrorKind::InvalidData, "the first message is no hello")),
        }
    }

    fn serve(&self, stream: &mut TcpStream, session: u64) -> io::Result<()> {
        tell(stream, &Answer::Hello { protocol: PROTOCOL, session, environment: fingerprint::environment() })?;
        stream.set_read_timeout(Some(Duration::from_millis(500)))?;
        let mut silent_since = clock::now();
        loop {
            // Wait for the first byte with an eye on the end; then the whole message.
            match stream.peek(&mut [0]) {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                Err(error) if is_silence(&error) => {
                    if self.stop.load(Ordering::Acquire) || clock::now() - silent_since > SILENCE {
                        return Ok(());
                    }
                    continue;
                }
                Err(error) => return Err(error),
            }
            let answer = match hear(stream)? {
                Ask::Streams { count, warm_ms, ms } => self.streams(stream, count, warm_ms, ms)?,
                Ask::Begin {} => {
                    // Never zero, which is nobody's.
                    let trial = random() as u32 | 1;
                    self.sink.expect(trial);
                    Answer::Begin { trial }
                }
                Ask::End { sent, quiet_ms } => self.end(sent, quiet_ms),
                Ask::Alive {} => Answer::Alive {},
                Ask::Hello { .. } | Ask::Data { .. } => Answer::Refused { why: "not now".into() },
            };
            tell(stream, &answer)?;
            silent_since = clock::now();
        }
    }

    fn streams(&self, control: &mut TcpStream, count: u16, warm_ms: u64, ms: u64) -> io::Result<Answer> {
        if count == 0 || count > MOST_STREAMS || ms == 0 || warm_ms.saturating_add(ms) > LONGEST_RUN {
            return Ok(Answer::Refused { why: "more streams, or a longer time, than this server allows".into() });
        }
        let end = clock::now() + GATHERING;
        let streams = loop {
            if let Some((_, streams)) = &mut *self.session()
                && streams.len() >= usize::from(count)
            {
                break std::mem::take(streams);
            }
            if clock::now() > end || self.stop.load(Ordering::Acquire) {
                if let Some((_, streams)) = &mut *self.session() {
                    streams.clear();
                }
                return Ok(Answer::Refused { why: "the data connections did not come".into() });
            }
            std::thread::sleep(Duration::from_millis(2));
        };
        tell(control, &Answer::Ready {})?;
        let received = streams::run(End::Server, streams, Duration::from_millis(warm_ms), Duration::from_millis(ms))?;
        Ok(Answer::Streams(received))
    }

    /// Waits for what is still on its way.
    fn end(&self, sent: u64, quiet_ms: u64) -> Answer {
        let quiet = Duration::from_millis(quiet_ms.min(LONGEST_PATIENCE));
        let last = clock::now() + Duration::from_millis(LONGEST_PATIENCE);
        let (mut seen, mut since) = (self.sink.tally().datagrams, clock::now());
        loop {
            let (tally, now) = (self.sink.tally(), clock::now());
            if tally.datagrams != seen {
                (seen, since) = (tally.datagrams, now);
            }
            if tally.datagrams >= sent || now - since > quiet || now > last || self.stop.load(Ordering::Acquire) {
                let overrun = overruns().saturating_sub(self.sink.overruns_before());
                return Answer::End(super::words::Tally { overrun, ..tally });
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Sends back what names the session, to where it came from.
    fn echo(&self, socket: &UdpSocket) {
        let _ = socket.set_read_timeout(Some(Duration::from_millis(100)));
        let mut bytes = [0; ECHO + 1];
        while !self.stop.load(Ordering::Acquire) {
            let Ok((len, from)) = socket.recv_from(&mut bytes) else { continue };
            let number = bytes.first_chunk::<8>().map(|bytes| u64::from_be_bytes(*bytes));
            let known = self.session().as_ref().is_some_and(|(session, _)| Some(*session) == number);
            if known && (SHORTEST..=ECHO).contains(&len) {
                let _ = socket.send_to(&bytes[..len], from);
            }
        }
    }
}

fn random() -> u64 {
    let entropy: &mut dyn Entropy = &mut OsEntropy;
    u64::from_ne_bytes(entropy.array())
}

/// Datagrams that the kernel of this namespace has thrown away because a socket was full, since it began.
pub(super) fn overruns() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/net/snmp").unwrap_or_default();
    udp_counters(&text).get("RcvbufErrors").copied().unwrap_or(0)
}

/// The line of names and the line of numbers that both begin with `Udp:`.
fn udp_counters(snmp: &str) -> BTreeMap<&str, u64> {
    let mut lines = snmp.lines().filter_map(|line| line.strip_prefix("Udp:"));
    let (Some(names), Some(numbers)) = (lines.next(), lines.next()) else { return BTreeMap::new() };
    let numbers = numbers.split_whitespace().map(|number| number.parse().unwrap_or(0));
    names.split_whitespace().zip(numbers).collect()
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::super::client::{Client, Plan, Way};
    use super::super::datagrams::Load;
    use super::*;

    /// A server of its own on the loopback device, for as long as `work` takes.
    fn with_server(work: impl FnOnce(SocketAddr)) {
        let server = loop {
            let port = 20_000 + (random() % 20_000) as u16;
            if let Ok(server) = Server::bind(Ipv4Addr::LOCALHOST.into(), port) {
                break server;
            }
        };
        let (address, stop) = (server.listener.local_addr().unwrap(), server.stopper());
        std::thread::scope(|scope| {
            let running = scope.spawn(|| server.run(|_| {}).unwrap());
            work(address);
            drop(stop);
            running.join().unwrap();
        });
    }

    #[test]
    fn a_client_measures_streams_datagrams_and_round_trips() {
        with_server(|address| {
            let mut client = Client::connect(address, Duration::from_secs(5)).unwrap();
            assert!(client.environment()["cores"].is_number());
            for way in [Way::Forward, Way::Reverse, Way::Both] {
                let plan = Plan { streams: 2, way, warm: Duration::from_millis(20), time: Duration::from_millis(80) };
                let carried = client.streams(plan).unwrap();
                assert_eq!(carried.forward.bytes > 0, way != Way::Reverse, "{way:?}");
                assert_eq!(carried.reverse.bytes > 0, way != Way::Forward, "{way:?}");
                assert!(carried.total() >= carried.forward.bytes + carried.reverse.bytes && carried.mss > 0);
            }
            let load = Load { most: 500, ..Load::steady(64, 50_000.0, Duration::from_secs(5)) };
            let (sent, tally) = client.datagrams(&load, Duration::from_secs(2)).unwrap();
            assert_eq!((sent.datagrams, tally.datagrams, tally.bytes), (500, 500, 32_000));
            let trips = client.pinger().unwrap().run(Duration::from_millis(50), Duration::from_millis(1)).unwrap();
            assert!(trips.times.len() > 5 && trips.lost == 0, "{}", trips.times.len());
        });
    }

    #[test]
    fn a_second_client_is_refused_until_the_first_has_gone() {
        with_server(|address| {
            let first = Client::connect(address, Duration::from_secs(5)).unwrap();
            let refused = Client::connect(address, Duration::from_secs(5)).err().unwrap().to_string();
            assert!(refused.contains("another client"), "{refused}");
            drop(first);
            let end = clock::now() + Duration::from_secs(5);
            while Client::connect(address, Duration::from_secs(5)).is_err() {
                assert!(clock::now() < end, "the server does not let the first go");
                std::thread::sleep(Duration::from_millis(10));
            }
        });
    }

    #[test]
    fn strangers_get_nothing() {
        with_server(|address| {
            let _client = Client::connect(address, Duration::from_secs(5)).unwrap();
            // A data connection that guesses, another version, and bytes that are no message.
            for message in [Ask::Data { session: 1, server_sends: true }, Ask::Begin {}] {
                let mut stream = TcpStream::connect(address).unwrap();
                stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
                tell(&mut stream, &message).unwrap();
                assert!(hear::<Answer>(&mut stream).is_err(), "{message:?}");
            }
            let mut stream = TcpStream::connect(address).unwrap();
            tell(&mut stream, &Ask::Hello { protocol: 99 }).unwrap();
            assert!(matches!(hear(&mut stream).unwrap(), Answer::Refused { why } if why.contains("version 1")));
            // A datagram that does not name the session is not sent back.
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
            socket.send_to(&[0; 64], (address.ip(), address.port() + 1)).unwrap();
            assert!(socket.recv(&mut [0; 64]).is_err());
        });
    }

    #[test]
    fn what_is_too_much_is_refused_and_the_session_goes_on() {
        with_server(|address| {
            let mut control = TcpStream::connect(address).unwrap();
            tell(&mut control, &Ask::Hello { protocol: PROTOCOL }).unwrap();
            assert!(matches!(hear(&mut control).unwrap(), Answer::Hello { .. }));
            for (count, ms) in [(0, 1), (MOST_STREAMS + 1, 1), (1, 0), (1, LONGEST_RUN + 1), (1, u64::MAX)] {
                tell(&mut control, &Ask::Streams { count, warm_ms: 1, ms }).unwrap();
                assert!(matches!(hear(&mut control).unwrap(), Answer::Refused { .. }), "{count} {ms}");
            }
            tell(&mut control, &Ask::Alive {}).unwrap();
            assert_eq!(hear::<Answer>(&mut control).unwrap(), Answer::Alive {});
        });
    }

    #[test]
    fn the_kernels_counters_are_found_by_name() {
        let text = "Ip: Forwarding\nIp: 1\nUdp: InDatagrams NoPorts RcvbufErrors\nUdp: 10 2 7\nUdpLite: RcvbufErrors\nUdpLite: 9\n";
        assert_eq!(udp_counters(text).get("RcvbufErrors"), Some(&7));
        assert!(udp_counters("").is_empty());
    }
}
