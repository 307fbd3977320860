//! A numbered probe: host A asks, and counts which of its numbers come back.

use std::collections::HashSet;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use portcullis::lab::topology::V4;
use portcullis::platform::namespace::Namespace;

use super::packets::ECHO;

/// What stands in front of each number.
const MARK: &[u8; 8] = b"probe no";
/// Time between two numbers.
const EVERY: Duration = Duration::from_millis(5);
/// How long the last answers may take.
const GRACE: Duration = Duration::from_secs(2);

/// How the numbers fared.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    pub sent: u64,
    pub lost: u64,
    pub slowest: Duration,
}

/// A probe under way.
pub struct Probe {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<io::Result<Tally>>,
}

impl Probe {
    /// Begins to count at `first` from host A's `port`.
    pub fn start(host: &Namespace, port: u16, first: u64) -> io::Result<Self> {
        let socket = host.run(|| UdpSocket::bind((V4.host_a, port)))??;
        let stop = Arc::new(AtomicBool::new(false));
        let stopping = Arc::clone(&stop);
        let thread =
            std::thread::Builder::new().name("probe".into()).spawn(move || count(&socket, first, &stopping))?;
        Ok(Self { stop, thread })
    }

    /// Sends no more numbers; answers are waited for.
    pub fn end(&self) {
        self.stop.store(true, Ordering::Release);
    }

    /// Whether the last answer has come or is not waited for any longer.
    pub fn is_over(&self) -> bool {
        self.thread.is_finished()
    }

    pub fn tally(self) -> io::Result<Tally> {
        self.thread.join().map_err(|_| io::Error::other("the probe has panicked"))?
    }
}

fn count(socket: &UdpSocket, first: u64, stop: &AtomicBool) -> io::Result<Tally> {
    let target = SocketAddr::new(V4.host_b, ECHO);
    let mut tally = Tally::default();
    let mut open: HashSet<u64> = HashSet::new();
    let mut sent_at = Vec::new();
    let mut buffer = [0; 2048];
    let mut next = Instant::now();
    let mut end = None;
    loop {
        let now = Instant::now();
        if end.is_none() && stop.load(Ordering::Acquire) {
            end = Some(now + GRACE);
        }
        if end.is_some_and(|end| open.is_empty() || now >= end) {
            tally.lost = open.len() as u64;
            return Ok(tally);
        }
        if now >= next && end.is_none() {
            let number = first + tally.sent;
            let mut datagram = MARK.to_vec();
            datagram.extend(number.to_be_bytes());
            // A number that the host itself refuses counts as lost: it stays open.
            let _ = socket.send_to(&datagram, target);
            open.insert(number);
            sent_at.push(now);
            tally.sent += 1;
            next = (next + EVERY).max(now);
            continue;
        }
        let patience = if end.is_some() { EVERY } else { next.saturating_duration_since(now) };
        socket.set_read_timeout(Some(patience.max(Duration::from_micros(100))))?;
        if let Ok((length, _)) = socket.recv_from(&mut buffer)
            && let Some(number) = buffer[..length].strip_prefix(MARK)
            && let Ok(number) = number.try_into().map(u64::from_be_bytes)
            && open.remove(&number)
        {
            tally.slowest = tally.slowest.max(sent_at[(number - first) as usize].elapsed());
        }
    }
}
