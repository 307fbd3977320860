//! Numbered datagrams through a tunnel and back: each must arrive once. TCP would hide a loss.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use portcullis::platform::namespace::Namespace;

/// The port that a rule must allow.
pub const PORT: u16 = 2000;
/// One datagram each way in this time.
const PACE: Duration = Duration::from_millis(2);
/// How long the last ones may be under way.
const LAST: Duration = Duration::from_millis(700);

/// Datagrams that go back and forth until they are counted.
pub struct Numbers {
    running: Arc<AtomicBool>,
    sender: JoinHandle<u32>,
    near: JoinHandle<Vec<u32>>,
    far: JoinHandle<Vec<u32>>,
}

/// What came of them.
#[derive(Debug, PartialEq, Eq)]
pub struct Tally {
    /// How many were sent, and answered.
    pub sent: usize,
    /// Numbers that did not arrive, there and back.
    pub lost: [Vec<u32>; 2],
    /// Numbers that arrived more than once, there and back.
    pub doubled: [Vec<u32>; 2],
}

impl Numbers {
    /// From a host in `here` to `address`, which is in `there` and answers each one.
    pub fn start(here: &Namespace, from: IpAddr, there: &Namespace, address: IpAddr) -> Self {
        let socket = |place: &Namespace, at: IpAddr, port| {
            let socket = place.run(|| UdpSocket::bind(SocketAddr::new(at, port))).unwrap().expect("a socket");
            let _ = nix::sys::socket::setsockopt(&socket, nix::sys::socket::sockopt::RcvBufForce, &(8 << 20));
            socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
            socket
        };
        let target = SocketAddr::new(address, PORT);
        let (client, server) = (socket(here, from, 0), socket(there, address, PORT));
        let running = Arc::new(AtomicBool::new(true));
        let listen = |socket: UdpSocket, answers: bool| {
            let running = Arc::clone(&running);
            std::thread::spawn(move || {
                let (mut seen, mut bytes) = (Vec::new(), [0; 256]);
                loop {
                    match socket.recv_from(&mut bytes) {
                        Ok((_, sender)) => {
                            seen.push(u32::from_be_bytes(bytes[..4].try_into().unwrap()));
                            if answers {
                                let _ = socket.send_to(&bytes[..200], sender);
                            }
                        }
                        // An ICMP error shows as a number that is missing.
                        Err(_) if running.load(Ordering::SeqCst) => {}
                        Err(_) => return seen,
                    }
                }
            })
        };
        let near = listen(client.try_clone().unwrap(), false);
        let far = listen(server, true);
        let sending = Arc::clone(&running);
        let sender = std::thread::spawn(move || {
            let mut number = 0u32;
            while sending.load(Ordering::SeqCst) {
                let mut bytes = [0x4e; 200];
                bytes[..4].copy_from_slice(&number.to_be_bytes());
                let _ = client.send_to(&bytes, target);
                number += 1;
                std::thread::sleep(PACE);
            }
            number
        });
        Self { running, sender, near, far }
    }

    /// Stops, waits for the last ones, counts.
    pub fn count(self) -> Tally {
        self.running.store(false, Ordering::SeqCst);
        let sent = self.sender.join().unwrap();
        std::thread::sleep(LAST);
        let seen = [self.far.join().unwrap(), self.near.join().unwrap()];
        let times = seen.map(|seen| {
            let mut times = vec![0u32; sent as usize];
            for number in seen {
                times[number as usize] += 1;
            }
            times
        });
        let which = |is: fn(u32) -> bool| {
            times.each_ref().map(|times| (0..sent).filter(|number| is(times[*number as usize])).collect())
        };
        Tally { sent: sent as usize, lost: which(|times| times == 0), doubled: which(|times| times > 1) }
    }
}

impl Tally {
    /// Every number arrived once, both ways.
    pub fn is_whole(&self) -> bool {
        self.sent > 0 && [&self.lost, &self.doubled].into_iter().flatten().all(Vec::is_empty)
    }
}
