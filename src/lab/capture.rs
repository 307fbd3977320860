//! Watches the underlay: what was protected, and what was seen in clear.
//!
//! Every frame that enters the underlay's namespace is counted by source, destination and protocol. Whether a packet is
//! plaintext is decided by its addresses: an inner address on the underlay is a leak, whatever it carries.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter};
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use ipnet::IpNet;

use super::pcap::PcapWriter;
use crate::platform::packet::{Frame, PacketRing};

/// What a packet of the underlay is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Seen {
    /// An inner address in clear.
    Plaintext,
    /// IKE, on port 500 or 4500.
    Ike,
    /// ESP, raw or in UDP.
    Esp,
    /// A NAT keepalive.
    Keepalive,
    /// Something of the underlay's own.
    Other,
}

/// Packets and bytes of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// How many packets.
    pub packets: u64,
    /// How many bytes, Ethernet header included.
    pub bytes: u64,
}

/// What was seen on the underlay while somebody looked.
#[derive(Clone, Debug, Default)]
pub struct Sightings {
    /// By kind.
    pub kinds: BTreeMap<Seen, Count>,
    /// By source, destination and IP protocol.
    pub flows: BTreeMap<(IpAddr, IpAddr, u8), Count>,
    /// Frames that the capture missed; above zero, "none seen" proves nothing.
    pub lost: u64,
}

impl Sightings {
    /// Packets of one kind.
    #[must_use]
    pub fn packets(&self, kind: Seen) -> u64 {
        self.kinds.get(&kind).map_or(0, |count| count.packets)
    }

    fn add(&mut self, frame: Frame<'_>, inner: &[IpNet]) {
        let Some((source, destination, protocol, payload)) = parse(frame.bytes) else { return };
        let kind = classify(source, destination, protocol, payload, inner);
        let flow = self.flows.entry((source, destination, protocol)).or_default();
        for count in [flow, self.kinds.entry(kind).or_default()] {
            count.packets += 1;
            count.bytes += frame.length as u64;
        }
    }
}

/// Addresses, protocol and payload of the IP packet in an Ethernet frame; `None` for anything else (ARP).
fn parse(frame: &[u8]) -> Option<(IpAddr, IpAddr, u8, &[u8])> {
    let packet = frame.get(14..)?;
    match u16::from_be_bytes(*frame.get(12..)?.first_chunk()?) {
        0x0800 => {
            let header = usize::from(packet.first()? & 0x0f) * 4;
            let source: [u8; 4] = *packet.get(12..)?.first_chunk()?;
            let destination: [u8; 4] = *packet.get(16..)?.first_chunk()?;
            Some((source.into(), destination.into(), *packet.get(9)?, packet.get(header..)?))
        }
        0x86dd => {
            let source: [u8; 16] = *packet.get(8..)?.first_chunk()?;
            let destination: [u8; 16] = *packet.get(24..)?.first_chunk()?;
            Some((source.into(), destination.into(), *packet.get(6)?, packet.get(40..)?))
        }
        _ => None,
    }
}

fn classify(source: IpAddr, destination: IpAddr, protocol: u8, payload: &[u8], inner: &[IpNet]) -> Seen {
    if inner.iter().any(|net| net.contains(&source) || net.contains(&destination)) {
        return Seen::Plaintext;
    }
    let port = |at: usize| payload.get(at..).and_then(<[u8]>::first_chunk).map(|bytes| u16::from_be_bytes(*bytes));
    let ports = [port(0), port(2)];
    match protocol {
        50 => Seen::Esp,
        17 if ports.contains(&Some(500)) => Seen::Ike,
        17 if ports.contains(&Some(4500)) => match payload.get(8..) {
            // RFC 3948 §2.2: four zero bytes stand before IKE where ESP has its SPI; §2.3: a keepalive is one byte.
            Some([0, 0, 0, 0, ..]) => Seen::Ike,
            Some([_] | []) | None => Seen::Keepalive,
            Some(_) => Seen::Esp,
        },
        _ => Seen::Other,
    }
}

/// A capture that runs in its own thread until it is stopped.
pub struct Capture {
    thread: Option<JoinHandle<io::Result<Sightings>>>,
    stop: Arc<AtomicBool>,
}

impl Capture {
    /// Starts looking through `ring`, which was opened in the underlay's namespace. `inner` are the networks whose
    /// addresses must not be seen; with a path, every frame is written there too.
    pub fn start(mut ring: PacketRing, inner: Vec<IpNet>, pcap: Option<&Path>) -> io::Result<Self> {
        let mut writer = match pcap {
            Some(path) => Some(PcapWriter::new(BufWriter::new(File::create(path)?))?),
            None => None,
        };
        let stop = Arc::new(AtomicBool::new(false));
        let stopping = Arc::clone(&stop);
        let thread = std::thread::Builder::new().name("capture".into()).spawn(move || {
            let mut sightings = Sightings::default();
            loop {
                // Read before the ring is: what came before the stop is still taken.
                let last = stopping.load(Ordering::Acquire);
                let patience = if last { Duration::ZERO } else { Duration::from_millis(20) };
                let seen = ring.next(patience, |frame| {
                    sightings.add(frame, &inner);
                    writer.as_mut().map_or(Ok(()), |writer| writer.frame(frame.bytes, frame.length, frame.at))
                })?;
                match seen {
                    Some(written) => written?,
                    None if last => break,
                    None => {}
                }
            }
            if let Some(writer) = writer {
                writer.finish()?;
            }
            sightings.lost = ring.lost()?;
            Ok(sightings)
        })?;
        Ok(Self { thread: Some(thread), stop })
    }

    /// Stops looking and says what was seen.
    pub fn stop(mut self) -> io::Result<Sightings> {
        self.stop.store(true, Ordering::Release);
        let thread = self.thread.take().expect("a capture is stopped once");
        thread.join().map_err(|_| io::Error::other("the capture's thread has panicked"))?
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(source: [u8; 4], destination: [u8; 4], protocol: u8, payload: &[u8]) -> Vec<u8> {
        let mut out = vec![0; 12];
        out.extend([0x08, 0x00]);
        out.extend([0x45, 0, 0, 0, 0, 0, 0, 0, 64, protocol, 0, 0]);
        out.extend(source);
        out.extend(destination);
        out.extend(payload);
        out
    }

    fn kind(bytes: &[u8]) -> Seen {
        let inner: Vec<IpNet> = vec!["192.0.2.0/24".parse().unwrap()];
        let (source, destination, protocol, payload) = parse(bytes).unwrap();
        classify(source, destination, protocol, payload, &inner)
    }

    #[test]
    fn an_inner_address_on_the_underlay_is_plaintext_whatever_it_carries() {
        let (a, b, host) = ([198, 51, 100, 10], [203, 0, 113, 5], [192, 0, 2, 10]);
        let udp = |port: u16, rest: &[u8]| [&port.to_be_bytes()[..], &port.to_be_bytes(), &[0; 4], rest].concat();
        assert_eq!(kind(&frame(a, b, 17, &udp(500, &[1; 28]))), Seen::Ike);
        assert_eq!(kind(&frame(a, b, 17, &udp(4500, &[0; 32]))), Seen::Ike);
        assert_eq!(kind(&frame(a, b, 17, &udp(4500, &[9; 32]))), Seen::Esp);
        assert_eq!(kind(&frame(a, b, 17, &udp(4500, &[0xff]))), Seen::Keepalive);
        assert_eq!(kind(&frame(a, b, 50, &[9; 32])), Seen::Esp);
        assert_eq!(kind(&frame(a, b, 1, &[9; 32])), Seen::Other);
        for (source, destination) in [(host, b), (a, host)] {
            assert_eq!(kind(&frame(source, destination, 50, &[9; 32])), Seen::Plaintext);
        }
    }

    #[test]
    fn a_short_or_foreign_frame_is_passed_over() {
        assert!(parse(&[0; 13]).is_none());
        let whole = frame([1, 1, 1, 1], [2, 2, 2, 2], 6, &[]);
        assert!((0..whole.len()).all(|end| parse(&whole[..end]).is_none()));
    }
}
