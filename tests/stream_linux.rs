//! Linux's own TCP as the receiver of what the flow table lets through: a TUN device in a namespace, a listening socket behind
//! it, and a sender that cuts, reorders, repeats and lies. What the socket reads is what was heard, and an honest sender's
//! stream arrives whole.
#![allow(clippy::unwrap_used, reason = "a test may fail where it stands")]

mod esp_support;
mod platform_common;

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant as Clock};

use esp_support::{NOW, TUNNEL, Tcp};
use platform_common::{net, privileged};
use portcullis::dataplane::buffer::Batch;
use portcullis::dataplane::offload::TunOffload;
use portcullis::inspect::recognise::{Recogniser, Speaker};
use portcullis::inspect::{Cause, FlowTable, Origin, Verdict};
use portcullis::lab::mq_dialect::{self, Dialect, Names, Said};
use portcullis::platform::namespace::Namespace;
use portcullis::platform::netlink::{Netlink, Route};
use portcullis::platform::tun::Tun;
use portcullis::policy::{Inspection, SelectorMode, Service, Snapshot};
use portcullis::wire::ip::Inner;
use portcullis::wire::tcp::{self, ACK, SYN};

/// A number that looks random.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % sides
    }
}

fn policy() -> Arc<Snapshot> {
    let plain = esp_support::policy(true, SelectorMode::Host);
    let mut rules = plain.rules().to_vec();
    rules[0].inspection = Inspection::of(Service::Mq);
    Arc::new(Snapshot::compile(rules, plain.tunnels().to_vec(), Some(&plain)).unwrap())
}

/// The host behind the device, and the sender before it.
struct Stand {
    tun: Tun,
    listener: TcpListener,
    policy: Arc<Snapshot>,
    v6: bool,
}

/// One connection through the flow table.
struct Flow<'a> {
    stand: &'a mut Stand,
    table: FlowTable,
    port: u16,
    server: Option<TcpStream>,
    /// The sequence number of the first byte of each side.
    begin: [u32; 2],
    /// Bytes of the host that have arrived in order.
    back: usize,
    /// What the socket has read.
    read: Vec<u8>,
    ended: bool,
}

const INITIAL: u32 = u32::MAX - 700;

impl Stand {
    fn new(inside: &Namespace, v6: bool) -> Self {
        let (host, peers) = if v6 { ("2001:db8:1::20", "2001:db8::/64") } else { ("203.0.113.20", "192.0.2.0/24") };
        let (tun, listener) = inside
            .run(|| {
                let tun = Tun::open(if v6 { "six" } else { "four" }, 1500, TunOffload::None).unwrap();
                let mut netlink = Netlink::open().unwrap();
                let index = netlink.index_of(tun.name()).unwrap();
                netlink.add_address(index, net(&format!("{host}/{}", if v6 { 128 } else { 32 }))).unwrap();
                netlink.replace_route(&Route::by_device(net(peers), index)).unwrap();
                let listener = TcpListener::bind((host, 1414)).unwrap();
                listener.set_nonblocking(true).unwrap();
                (tun, listener)
            })
            .unwrap();
        Self { tun, listener, policy: policy(), v6 }
    }
}

impl Flow<'_> {
    fn packet(&self, flags: u8, sequence: u32, payload: &[u8]) -> Vec<u8> {
        let ends = if self.stand.v6 { ("2001:db8::10", "2001:db8:1::20") } else { ("192.0.2.10", "203.0.113.20") };
        Tcp {
            source: (ends.0, self.port),
            destination: (ends.1, 1414),
            flags,
            sequence,
            acknowledgement: if flags & ACK == 0 { 0 } else { self.begin[1].wrapping_add(self.back as u32) },
            options: &[],
            payload,
        }
        .build(0)
    }

    /// Sends a packet through the table; what passes, now and behind it, is written to the device.
    fn send(&mut self, mut packet: Vec<u8>) {
        let verdict = self.table.judge(NOW, Origin::Tun, &Inner::parse(&packet).unwrap(), &self.stand.policy.clone());
        let mut batch = Batch::new(256, 1500);
        match verdict {
            Verdict::Pass(pass) => {
                if pass.bare {
                    let len = tcp::shed_payload(&mut packet).unwrap();
                    packet.truncate(len);
                }
                platform_common::add(&mut batch, &packet, None);
            }
            Verdict::Waits => {}
            other => assert!(matches!(other, Verdict::Drop { .. }), "{other:?}"),
        }
        let mut waited = [0; 2000];
        while let Some((len, _)) = self.table.release(&mut waited) {
            platform_common::add(&mut batch, &waited[..len], None);
        }
        self.ended |= std::iter::from_fn(|| self.table.poll_ending())
            .any(|ending| matches!(ending.cause, Some(Cause::Refused(_))));
        assert_eq!(self.stand.tun.write_batch(&batch).unwrap().refused, 0);
        self.hear_back();
    }

    /// What the host answers, through the table.
    fn hear_back(&mut self) {
        let mut batch = Batch::with_trains(64, 2000);
        self.stand.tun.read_batch(&mut batch).unwrap();
        for at in 0..batch.len() {
            let Ok(inner) = Inner::parse(batch.bytes(at)) else { continue };
            // What is left of an earlier connection is nobody's here.
            let Some(segment) = inner.tcp().filter(|segment| segment.destination_port() == self.port) else { continue };
            let verdict = self.table.judge(NOW, Origin::Tunnel(TUNNEL), &inner, &self.stand.policy);
            if !matches!(verdict, Verdict::Pass(_)) {
                assert!(self.ended, "{verdict:?}");
                continue;
            }
            if segment.flags() & SYN != 0 {
                self.begin[1] = segment.sequence().wrapping_add(1);
            } else if segment.sequence() == self.begin[1].wrapping_add(self.back as u32) {
                self.back += segment.payload().len();
            }
        }
        if let Some(server) = &mut self.server {
            let mut room = [0; 4096];
            loop {
                match server.read(&mut room) {
                    Ok(0) => break,
                    Ok(len) => self.read.extend(&room[..len]),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) if error.kind() == ErrorKind::ConnectionReset => break,
                    Err(error) => panic!("{error}"),
                }
            }
        }
    }

    fn open(&mut self) {
        let start = Clock::now();
        while self.begin[1] == 0 && start.elapsed() < Duration::from_secs(5) {
            // The device may not be quite ready for the first one.
            self.send(self.packet(SYN, INITIAL, b""));
            std::thread::sleep(Duration::from_millis(5));
            self.hear_back();
        }
        let start = Clock::now();
        while self.server.is_none() && start.elapsed() < Duration::from_secs(5) {
            self.send(self.packet(ACK, self.begin[0], b""));
            std::thread::sleep(Duration::from_millis(1));
            if let Ok((server, _)) = self.stand.listener.accept() {
                server.set_nonblocking(true).unwrap();
                self.server = Some(server);
            }
        }
        assert!(self.server.is_some(), "the handshake is complete");
    }

    /// The opener says the bytes from `from` to `to` of `said`, any way it likes; afterwards the honest rest.
    fn say(&mut self, said: &[u8], (from, to): (usize, usize), dice: &mut Dice, lies: bool) {
        let mut cuts: Vec<(usize, usize)> = Vec::new();
        let mut at = from;
        while at < to {
            let most = [4, 60, 600][dice.roll(3)];
            let end = to.min(at + 1 + dice.roll(most));
            // Some reach back into what was said before.
            cuts.push((at.saturating_sub(dice.roll(3) * dice.roll(20)), end));
            at = end;
        }
        for _ in 0..cuts.len() / 3 {
            cuts.push(cuts[dice.roll(cuts.len())]);
        }
        for at in 0..cuts.len() {
            // Not too far: what waits is bounded.
            let other = (at + dice.roll(8)).min(cuts.len() - 1);
            cuts.swap(at, other);
        }
        for (begin, end) in cuts {
            let mut bytes = said[begin..end].to_vec();
            if lies && dice.roll(40) == 0 {
                let place = dice.roll(bytes.len());
                bytes[place] ^= 1 << dice.roll(8);
            }
            self.send(self.packet(ACK, self.begin[0].wrapping_add(begin as u32), &bytes));
        }
        let start = Clock::now();
        while !self.ended && self.read.len() < to && start.elapsed() < Duration::from_secs(5) {
            let at = self.read.len();
            let end = to.min(at + 500);
            self.send(self.packet(ACK, self.begin[0].wrapping_add(at as u32), &said[at..end]));
        }
        assert!(self.ended || self.read.len() == to, "{} of {to}", self.read.len());
    }
}

/// Whether a recogniser that hears what the socket has read objects.
fn objects(turns: &[Said], read: &[u8]) -> bool {
    let demands = Inspection::of(Service::Mq);
    let mut recogniser = Recogniser::of(&demands, 1414).unwrap();
    let mut at = 0;
    for turn in turns {
        let (speaker, bytes) = if turn.by_opener {
            let end = read.len().min(at + turn.bytes.len());
            let bytes = &read[at..end];
            at = end;
            (Speaker::Opener, bytes)
        } else {
            (Speaker::Responder, &turn.bytes[..])
        };
        if recogniser.hear(&demands, speaker, bytes).is_err() {
            return true;
        }
        if at == read.len() && turn.by_opener && bytes.len() < turn.bytes.len() {
            break;
        }
    }
    false
}

#[test]
fn linux_reads_what_was_heard_whatever_was_sent() {
    if !privileged("linux_reads_what_was_heard_whatever_was_sent") {
        return;
    }
    let inside = Namespace::new().unwrap();
    let mut ended = 0;
    for v6 in [false, true] {
        let mut stand = Stand::new(&inside, v6);
        for round in 0..24_u16 {
            let lies = round % 2 == 1;
            let mut dice = Dice(u64::from(round) + 1000 * u64::from(v6));
            let dialects: Vec<Dialect> = Dialect::all().collect();
            let dialect = dialects[usize::from(round) % dialects.len()];
            let turns = mq_dialect::client(dialect, &Names::default(), 700);
            let said: Vec<u8> =
                turns.iter().filter(|turn| turn.by_opener).flat_map(|turn| turn.bytes.clone()).collect();
            let mut flow = Flow {
                table: FlowTable::new(4, [1, 2, 3, 4]),
                port: 20_000 + round,
                server: None,
                begin: [INITIAL.wrapping_add(1), 0],
                back: 0,
                read: Vec::new(),
                ended: false,
                stand: &mut stand,
            };
            flow.open();
            let (mut from, mut back) = (0, 0);
            for turn in &turns {
                if flow.ended {
                    break;
                }
                if turn.by_opener {
                    let to = from + turn.bytes.len();
                    flow.say(&said, (from, to), &mut dice, lies);
                    from = to;
                } else {
                    back += turn.bytes.len();
                    let mut server = flow.server.take().unwrap();
                    server.write_all(&turn.bytes).unwrap();
                    flow.server = Some(server);
                    let start = Clock::now();
                    while flow.back < back && !flow.ended && start.elapsed() < Duration::from_secs(5) {
                        flow.hear_back();
                        flow.send(flow.packet(ACK, flow.begin[0].wrapping_add(from as u32), b""));
                    }
                    assert_eq!(flow.back, back, "all of it is back");
                }
            }
            std::thread::sleep(Duration::from_millis(2));
            flow.hear_back();
            assert!(!objects(&turns, &flow.read), "round {round}: the receiver has read what is not legal");
            if lies {
                ended += usize::from(flow.ended);
            } else {
                assert!(!flow.ended, "an honest sender, round {round}");
                assert_eq!(flow.read, said, "round {round}");
            }
        }
    }
    assert!(ended > 5, "some lies were found: {ended}");
}
