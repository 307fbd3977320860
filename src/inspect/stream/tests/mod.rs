//! Two ends, a gateway's stream between them, and a listener that is simple enough to be right.

mod evasion;
mod oracle;

use etherparse::{PacketBuilder, TcpOptionElement};

use super::*;
use crate::inspect::tcp::Step;
use crate::wire::tcp::{ACK, FIN, PSH, SYN};

/// What is said: frames of one byte that tells how long the body is, and the body, which nobody need hear. A length from
/// [`ILLEGAL`] on is illegal, and after [`FINAL`] nothing is heard any more.
#[derive(Clone, Debug, Default)]
pub(super) struct Frames {
    /// Frames that have to be heard before the service is known.
    pub(super) settles_after: usize,
    pub(super) begun: usize,
    left: [u64; 2],
    /// What was heard of each end.
    pub(super) heard: [Vec<u8>; 2],
}

pub(super) const ILLEGAL: u8 = 0xf0;
pub(super) const FINAL: u8 = 0xef;

impl Listener for Frames {
    type Demands = ();

    fn hear(&mut self, (): &(), from_opener: bool, bytes: &[u8]) -> Result<(), DropReason> {
        let end = usize::from(!from_opener);
        for byte in bytes {
            self.heard[end].push(*byte);
            match *byte {
                _ if self.left[end] > 0 => self.left[end] -= u64::from(self.left[end] != u64::MAX),
                ILLEGAL.. => return Err(DropReason::NotMq),
                FINAL => self.left[end] = u64::MAX,
                length => {
                    self.left[end] = length.into();
                    self.begun += 1;
                }
            }
        }
        Ok(())
    }

    fn settled(&self) -> bool {
        self.begun >= self.settles_after
    }

    fn unheard(&self, from_opener: bool) -> u64 {
        self.left[usize::from(!from_opener)]
    }

    fn skip(&mut self, from_opener: bool, len: u64) {
        let left = &mut self.left[usize::from(!from_opener)];
        assert!(len <= *left, "only what need not be heard is passed over");
        *left -= if *left == u64::MAX { 0 } else { len };
    }
}

/// What became of a segment, and what left behind it.
pub(super) type Outcome = (Result<Heard, DropReason>, Vec<Vec<u8>>);

/// A connection through a gateway: the opener's bytes begin at 101, the responder's at 501.
pub(super) struct Wire {
    pub(super) connection: Connection,
    pub(super) streams: Streams<Frames>,
    pub(super) listener: Frames,
    pub(super) v6: bool,
    pub(super) stamp: Option<u32>,
    pub(super) window: u16,
}

pub(super) const OPENER: u32 = 101;
pub(super) const RESPONDER: u32 = 501;

impl Wire {
    pub(super) fn new(settles_after: usize) -> Self {
        Self::with(settles_after, KEPT_OF_ALL, None, false)
    }

    pub(super) fn with(settles_after: usize, bytes: usize, stamp: Option<u32>, v6: bool) -> Self {
        let listener = Frames { settles_after, ..Frames::default() };
        let mut packet = Vec::new();
        builder(v6, true).tcp(40000, 1414, OPENER - 1, 65535).syn().write(&mut packet, b"").unwrap();
        let connection = Connection::open(&Inner::parse(&packet).unwrap().tcp().unwrap(), true).unwrap();
        let mut wire = Self { connection, streams: Streams::new(4, bytes), listener, v6, stamp, window: 65535 };
        wire.open();
        wire
    }

    /// The handshake.
    pub(super) fn open(&mut self) {
        let stamped = self.stamp.is_some();
        for (from_opener, flags) in [(true, SYN), (false, SYN | ACK), (true, ACK)] {
            let (sequence, acknowledged) = match (from_opener, flags) {
                (true, SYN) => (OPENER - 1, 0),
                (true, _) => (OPENER, RESPONDER),
                (false, _) => (RESPONDER - 1, OPENER),
            };
            let packet = self.packet(from_opener, flags, sequence, acknowledged, b"");
            let inner = Inner::parse(&packet).unwrap();
            if flags == SYN {
                self.connection = Connection::open(&inner.tcp().unwrap(), true).unwrap();
            } else {
                assert_eq!(self.connection.advance(from_opener, &inner.tcp().unwrap()), Ok(Step::Pass));
            }
        }
        assert_eq!(self.connection.stamped, stamped);
    }

    pub(super) fn packet(
        &self,
        from_opener: bool,
        flags: u8,
        sequence: u32,
        acknowledged: u32,
        payload: &[u8],
    ) -> Vec<u8> {
        let (from, to) = if from_opener { (40000, 1414) } else { (1414, 40000) };
        let mut tcp = builder(self.v6, from_opener).tcp(from, to, sequence, self.window);
        if flags & ACK != 0 {
            tcp = tcp.ack(acknowledged);
        }
        for (flag, set) in [(SYN, 0), (FIN, 1), (PSH, 2)] {
            if flags & flag != 0 {
                tcp = match set {
                    0 => tcp.syn(),
                    1 => tcp.fin(),
                    _ => tcp.psh(),
                };
            }
        }
        let options: Vec<_> = self.stamp.iter().map(|stamp| TcpOptionElement::Timestamp(*stamp, 0)).collect();
        let mut packet = Vec::new();
        tcp.options(&options).unwrap().write(&mut packet, payload).unwrap();
        packet
    }

    /// One end says `payload` at `sequence`, and acknowledges up to `acknowledged`.
    pub(super) fn say(&mut self, from_opener: bool, sequence: u32, acknowledged: u32, payload: &[u8]) -> Outcome {
        let packet = self.packet(from_opener, ACK, sequence, acknowledged, payload);
        self.hand(from_opener, &packet, &[])
    }

    /// The opener says it, and nothing was acknowledged before.
    pub(super) fn opener(&mut self, at: u32, payload: &[u8]) -> Outcome {
        self.say(true, OPENER + at, RESPONDER, payload)
    }

    /// The responder acknowledges so much of what the opener has said.
    pub(super) fn acknowledge(&mut self, up_to: u32) {
        assert_eq!(self.say(false, RESPONDER, OPENER + up_to, b"").0, Ok(Heard::Pass));
    }

    /// A packet, or a train of which it is the first.
    pub(super) fn hand(&mut self, from_opener: bool, packet: &[u8], rest: &[&[u8]]) -> Outcome {
        let more = rest.iter().map(|piece| piece.len() as u32).sum();
        let inner = Inner::parse_leader(packet, more).unwrap();
        let segment = inner.tcp().unwrap();
        let outcome = match self.connection.advance(from_opener, &segment) {
            Ok(Step::Speaks) => {
                let listener = self.listener.clone();
                let train = (&inner, &segment, rest);
                Ok(self.streams.speak(&mut self.connection, from_opener, train, || &(), || Some(listener)))
            }
            Ok(_) => {
                self.streams.acknowledged(&mut self.connection, from_opener);
                Ok(Heard::Pass)
            }
            Err(reason) => Err(reason),
        };
        let mut released = Vec::new();
        let mut out = [0; 9000];
        while let Some(len) = self.streams.release(&mut out) {
            released.push(out[..len].to_vec());
        }
        (outcome, released)
    }

    /// What was heard of the opener.
    pub(super) fn heard(&self) -> &[u8] {
        let VoiceId(id) = self.connection.voice.expect("somebody listens");
        &self.streams.voices[id as usize].as_ref().unwrap().listener.heard[0]
    }
}

fn builder(v6: bool, from_opener: bool) -> etherparse::PacketBuilderStep<etherparse::IpHeaders> {
    let (a, b) = if from_opener { (10, 20) } else { (20, 10) };
    if v6 { PacketBuilder::ipv6([a; 16], [b; 16], 64) } else { PacketBuilder::ipv4([192, 0, 2, a], [192, 0, 2, b], 64) }
}

/// What a packet carries.
pub(super) fn payload(packet: &[u8]) -> &[u8] {
    Inner::parse(packet).unwrap().tcp().unwrap().payload()
}

pub(super) const PASS: Outcome = (Ok(Heard::Pass), Vec::new());
const WAITS: Outcome = (Ok(Heard::Waits), Vec::new());

fn refused(reason: DropReason) -> Outcome {
    (Ok(Heard::Refused(reason)), Vec::new())
}

fn objection(reason: DropReason) -> Outcome {
    (Ok(Heard::Objection(reason)), Vec::new())
}

#[test]
fn bytes_are_heard_in_order_each_once_however_they_are_cut() {
    for v6 in [false, true] {
        let said: Vec<u8> = (0..20_u8).flat_map(|length| [vec![length], vec![0xff; length.into()]].concat()).collect();
        for piece in [1, 2, 7, 100, 210] {
            let mut wire = Wire::with(2, KEPT_OF_ALL, None, v6);
            for (index, part) in said.chunks(piece).enumerate() {
                assert_eq!(wire.opener((index * piece) as u32, part), PASS);
                // Sent again, it changes nothing.
                assert_eq!(wire.opener((index * piece) as u32, part), PASS);
            }
            let heads: Vec<u8> = wire.heard().iter().copied().filter(|byte| *byte != 0xff).collect();
            assert_eq!(heads, (0..20).collect::<Vec<u8>>());
            wire.acknowledge(said.len() as u32);
            assert_eq!(wire.streams.kept(), 0);
        }
    }
}

#[test]
fn the_first_illegal_byte_ends_the_flow_and_its_segment_does_not_pass() {
    for piece in [1, 3, 5] {
        let mut wire = Wire::new(1);
        let said = [2, 0xff, 0xff, 0, ILLEGAL, 1, 7];
        let outcomes: Vec<_> =
            said.chunks(piece).enumerate().map(|(at, part)| wire.opener((at * piece) as u32, part)).collect();
        let bad = outcomes.iter().position(|outcome| *outcome != PASS).unwrap();
        assert_eq!(bad, 4 / piece);
        assert_eq!(outcomes[bad], objection(DropReason::NotMq));
    }
    // The other end's, too.
    let mut wire = Wire::new(1);
    assert_eq!(wire.say(false, RESPONDER, OPENER, &[1, 1, 0xf7]), objection(DropReason::NotMq));
}

#[test]
fn what_comes_too_early_waits_and_leaves_behind_what_was_missing_in_order() {
    for v6 in [false, true] {
        for from_opener in [true, false] {
            let mut wire = Wire::with(100, KEPT_OF_ALL, None, v6);
            let (begin, other) = if from_opener { (OPENER, RESPONDER) } else { (RESPONDER, OPENER) };
            // Each segment is a whole frame, but for two that hold one together.
            let parts: [&[u8]; 5] = [&[1, 9], &[2, 8, 8], &[4, 7], &[7, 7, 7], &[0]];
            let at = |index: usize| begin + parts[..index].iter().map(|part| part.len() as u32).sum::<u32>();
            for index in [3, 1, 4, 3] {
                assert_eq!(wire.say(from_opener, at(index), other, parts[index]), WAITS);
            }
            let (outcome, released) = wire.say(from_opener, at(0), other, parts[0]);
            assert_eq!(outcome, Ok(Heard::Pass));
            assert_eq!(released.iter().map(|packet| payload(packet)).collect::<Vec<_>>(), [parts[1]]);
            assert_eq!(released[0], wire.packet(from_opener, ACK, at(1), other, parts[1]), "as it came");
            let (outcome, released) = wire.say(from_opener, at(2), other, parts[2]);
            assert_eq!(outcome, Ok(Heard::Pass));
            assert_eq!(released.iter().map(|packet| payload(packet)).collect::<Vec<_>>(), [parts[3], parts[4]]);
            // What has left counts: its acknowledgement is legal now.
            let end = at(4) + 1;
            assert_eq!(wire.say(!from_opener, other, end, b""), PASS);
            assert_eq!(wire.streams.kept(), 0);
        }
    }
}

#[test]
fn a_fin_that_waited_ends_the_stream_when_it_leaves() {
    let mut wire = Wire::new(100);
    let fin = wire.packet(true, ACK | FIN, OPENER + 1, RESPONDER, &[0]);
    assert_eq!(wire.hand(true, &fin, &[]), WAITS);
    assert_eq!(wire.say(false, RESPONDER, OPENER + 3, b"").0, Err(DropReason::OutOfState), "nobody has seen it");
    let (outcome, released) = wire.opener(0, &[0]);
    assert_eq!((outcome, released), (Ok(Heard::Pass), vec![fin]));
    assert_eq!(wire.opener(2, &[0]).0, Err(DropReason::OutOfState), "behind the FIN");
    assert_eq!(wire.say(false, RESPONDER, OPENER + 3, b""), PASS);
}

#[test]
fn no_more_waits_than_eight_kilobytes_of_a_flow() {
    let mut wire = Wire::new(1_000_000);
    let segment = [0; 1000];
    let waiting = (1..20).filter(|index| wire.opener(index * 1000, &segment) == WAITS).count();
    assert_eq!(waiting, WAITING / 1040);
    assert_eq!(wire.opener(19_000, &segment), refused(DropReason::HoldFull));
    // What fills the gap makes room.
    let (outcome, released) = wire.opener(0, &segment);
    assert_eq!((outcome, released.len()), (Ok(Heard::Pass), waiting));
    assert_eq!(wire.opener(10_000, &segment), WAITS);
    // One byte a packet: the headers count.
    let mut wire = Wire::new(10_000);
    let waiting = (1..1000).filter(|index| wire.opener(*index, &[0]) == WAITS).count();
    assert_eq!(waiting, WAITING / 41);
    let (_, released) = wire.opener(0, &[0]);
    assert_eq!(released.len(), waiting);
}

#[test]
fn a_train_that_comes_too_early_is_judged_packet_by_packet() {
    let mut wire = Wire::new(100);
    let leader = wire.packet(true, ACK, OPENER + 10, RESPONDER, &[0; 10]);
    assert_eq!(wire.hand(true, &leader, &[&[0; 10], &[0; 5]]), (Ok(Heard::Split), Vec::new()));
    assert_eq!(wire.hand(true, &leader, &[]), WAITS);
    // In order it is one.
    let mut wire = Wire::new(100);
    let leader = wire.packet(true, ACK, OPENER, RESPONDER, &[20; 10]);
    assert_eq!(wire.hand(true, &leader, &[&[0xff; 10], &[0xff, 0, 0]]), PASS);
    assert_eq!(wire.opener(23, &[ILLEGAL]), objection(DropReason::NotMq));
    let mut wire = Wire::new(100);
    let leader = wire.packet(true, ACK, OPENER, RESPONDER, &[20; 10]);
    assert_eq!(wire.hand(true, &leader, &[&[0xff; 10], &[0xff, 0, ILLEGAL]]), objection(DropReason::NotMq));
}

#[test]
fn once_the_service_is_known_nothing_waits_and_what_is_missing_decides() {
    let mut wire = Wire::new(1);
    assert_eq!(wire.opener(0, &[0]), PASS);
    // Three frames behind a gap, one of them a train; then the gap.
    assert_eq!(wire.opener(3, &[1, 1]), PASS);
    let leader = wire.packet(true, ACK, OPENER + 5, RESPONDER, &[4, 1]);
    assert_eq!(wire.hand(true, &leader, &[&[1, 1], &[1]]), PASS);
    assert!(wire.streams.kept() > 0);
    assert_eq!(wire.opener(1, &[1, 1]), PASS);
    wire.acknowledge(10);
    assert_eq!((wire.streams.kept(), wire.heard().len() >= 3), (0, true));
    assert_eq!(wire.opener(10, &[ILLEGAL]), objection(DropReason::NotMq));
    // What has gone ahead turns out to be illegal.
    let mut wire = Wire::new(1);
    assert_eq!(wire.opener(0, &[0]), PASS);
    assert_eq!(wire.opener(2, &[ILLEGAL]), PASS);
    assert_eq!(wire.opener(1, &[0]), objection(DropReason::NotMq));
}

#[test]
fn what_need_not_be_heard_is_not_kept_and_may_come_in_any_order() {
    let mut wire = Wire::new(1);
    assert_eq!(wire.opener(0, &[200]), PASS);
    wire.acknowledge(1);
    for at in [101, 1, 51, 151, 1, 101] {
        assert_eq!(wire.opener(at, &[at as u8; 50]), PASS);
    }
    assert_eq!(wire.streams.kept(), 0);
    // Behind the body something is to be heard again.
    assert_eq!(wire.opener(201, &[ILLEGAL]), objection(DropReason::NotMq));
}

#[test]
fn where_nothing_more_is_to_be_heard_nothing_is_kept_and_the_listener_goes() {
    let mut wire = Wire::new(100);
    assert_eq!(wire.say(false, RESPONDER, OPENER, &[0, FINAL]), PASS);
    assert_eq!(wire.say(true, OPENER, RESPONDER + 2, &[0]), PASS);
    let kept = wire.streams.kept();
    assert!(kept > 0);
    assert_eq!(wire.say(false, RESPONDER + 2, OPENER, &[ILLEGAL; 90]), PASS);
    assert_eq!(wire.streams.kept(), kept, "the responder may say what it likes");
    assert_eq!(wire.opener(5, &[1]), WAITS);
    assert!(wire.connection.voice.is_some());
    let (outcome, released) = wire.opener(1, &[0, FINAL, ILLEGAL, 7]);
    assert_eq!((outcome, released.len()), (Ok(Heard::Pass), 1));
    // What was heard is compared until it has arrived, and then nothing is.
    assert!(wire.connection.voice.is_some() && wire.streams.kept() > 0);
    wire.acknowledge(5);
    assert_eq!((wire.connection.voice, wire.streams.kept()), (None, 0));
    // From here on any order and any bytes will do.
    for at in [4000, 100, 2000, 100] {
        assert_eq!(wire.opener(at, &[ILLEGAL; 100]), PASS);
    }
    // Another flow may have its place.
    assert!(wire.streams.vacant.len() == 1);
}

#[test]
fn bytes_that_come_again_before_they_were_acknowledged_must_be_the_same() {
    for settles_after in [1, 100] {
        let prepared = || {
            let mut wire = Wire::new(settles_after);
            assert_eq!(wire.opener(0, &[1, 5, 0, 0]), PASS);
            wire
        };
        let differs = objection(DropReason::OverlapDiffers);
        assert_eq!(prepared().opener(0, &[1, 5, 0, 0]), PASS);
        assert_eq!(prepared().opener(2, &[0, 0, 0, 0]), PASS, "and goes on");
        assert_eq!(prepared().opener(2, &[0, 1]), differs);
        assert_eq!(prepared().opener(0, &[2]), differs);
        assert_eq!(prepared().opener(3, &[1, 1, 1]), differs);
        // Behind a gap as well.
        let mut wire = prepared();
        let _ = wire.opener(6, &[3, 3, 3]);
        assert_eq!(wire.opener(7, &[3, 4]), differs);
        let mut wire = prepared();
        let _ = wire.opener(6, &[3, 3, 3]);
        assert_eq!(wire.opener(4, &[0, 0, 4]), differs);
    }
}

#[test]
fn what_was_acknowledged_goes_without_its_payload() {
    let mut wire = Wire::new(1);
    assert_eq!(wire.opener(0, &[0, 0, 0, 0]), PASS);
    wire.acknowledge(3);
    for again in [&[ILLEGAL; 3][..], &[ILLEGAL; 5]] {
        assert_eq!(wire.opener(0, again), (Ok(Heard::Bare), Vec::new()));
    }
    assert_eq!(wire.opener(2, &[0]), (Ok(Heard::Bare), Vec::new()), "a keepalive with a byte");
    // What was not acknowledged yet is compared.
    assert_eq!(wire.opener(3, &[1]), objection(DropReason::OverlapDiffers));
    // A FIN on such a segment does not count either.
    let mut wire = Wire::new(1);
    assert_eq!(wire.opener(0, &[0, 0]), PASS);
    wire.acknowledge(2);
    let fin = wire.packet(true, ACK | FIN, OPENER, RESPONDER, &[0, 0]);
    assert_eq!(wire.hand(true, &fin, &[]), (Ok(Heard::Bare), Vec::new()));
    assert_eq!(wire.opener(2, &[0]), PASS);
}

#[test]
fn what_its_receiver_would_not_take_is_not_heard() {
    let mut wire = Wire::new(1);
    let mut packet = wire.packet(true, ACK, OPENER, RESPONDER, &[0, 0]);
    *packet.last_mut().unwrap() ^= 1;
    assert_eq!(wire.hand(true, &packet, &[]), refused(DropReason::BadTcpChecksum));
    assert_eq!(wire.opener(0, &[0, 0]), PASS);

    let mut wire = Wire::with(1, KEPT_OF_ALL, Some(1000), false);
    assert_eq!(wire.opener(0, &[0]), PASS);
    wire.stamp = Some(999);
    assert_eq!(wire.opener(1, &[0]), refused(DropReason::StaleTimestamp));
    wire.stamp = Some(1000);
    assert_eq!(wire.opener(1, &[0]), PASS);
    // Not agreed on, it means nothing.
    let mut wire = Wire::new(1);
    wire.stamp = Some(1000);
    assert_eq!(wire.opener(0, &[0]), PASS);
    wire.stamp = Some(1);
    assert_eq!(wire.opener(1, &[0]), PASS);
}

#[test]
fn no_more_is_kept_of_a_flow_than_its_share_and_what_comes_in_order_still_passes() {
    let mut wire = Wire::new(1);
    wire.window = 65535;
    assert_eq!(wire.opener(0, &[0]), PASS);
    // Behind a gap, in the window, as many as there is room for.
    let mut kept = 0;
    let mut refusals = 0;
    for at in (2..60_000).step_by(50) {
        match wire.opener(at, &[0; 50]) {
            (Ok(Heard::Pass), _) => kept += 1,
            outcome => {
                assert_eq!(outcome, refused(DropReason::RetainFull));
                refusals += 1;
            }
        }
    }
    assert_eq!(kept, KEPT / BLOCK - 1, "a block each, and one for what came in order");
    assert!(refusals > 0 && wire.streams.kept() <= KEPT);
    // The receiver acknowledges what it has; then the gap can be filled, and all of it is heard.
    wire.acknowledge(1);
    assert_eq!(wire.opener(1, &[0]), PASS);
    let end = 2 + kept as u32 * 50;
    wire.acknowledge(end);
    assert_eq!(wire.opener(end, &[0]), PASS);
    wire.acknowledge(end + 1);
    assert_eq!(wire.streams.kept(), 0);
    assert_eq!(wire.heard().len(), end as usize + 1);
}

#[test]
fn what_is_kept_of_all_flows_is_bounded_and_leaves_room_for_what_comes_in_order() {
    let mut wire = Wire::with(1, 16 * BLOCK, None, false);
    assert_eq!(wire.opener(0, &[0]), PASS);
    let kept = (0..20).filter(|at| wire.opener(100 * (at + 1), &[0]) == PASS).count();
    assert_eq!(kept, 16 / 4 * QUARTERS_AHEAD - 1);
    for at in 1..100 {
        assert_eq!(wire.opener(at, &[0]), PASS);
    }
    // In order it is refused only when all is full, and goes on when something is acknowledged.
    let full = (100..10_000).find(|at| wire.opener(*at, &[0]) != PASS).unwrap();
    assert_eq!(wire.opener(full, &[0]), refused(DropReason::RetainFull));
    wire.acknowledge(full);
    assert_eq!(wire.opener(full, &[0]), PASS);
}

#[test]
fn a_flow_that_is_forgotten_leaves_nothing_behind() {
    let mut wire = Wire::new(3);
    assert_eq!(wire.opener(0, &[0]), PASS);
    assert_eq!(wire.opener(5, &[0]), WAITS);
    assert_eq!(wire.say(false, RESPONDER, OPENER, &[0; 300]), PASS);
    assert!(wire.streams.kept() > 0);
    wire.streams.forget(wire.connection.voice.take());
    assert_eq!((wire.streams.kept(), wire.streams.vacant.len()), (0, 1));
}

#[test]
fn sequence_numbers_wrap_in_the_middle_of_what_is_kept() {
    let mut wire = Wire::new(1);
    // A connection of its own, near the end of the sequence space.
    let begin = u32::MAX - 3;
    let syn = wire.packet(true, SYN, begin - 1, 0, b"");
    wire.connection = Connection::open(&Inner::parse(&syn).unwrap().tcp().unwrap(), true).unwrap();
    let answer = wire.packet(false, SYN | ACK, RESPONDER - 1, begin, b"");
    assert_eq!(wire.hand(false, &answer, &[]), PASS);
    assert_eq!(wire.say(true, begin, RESPONDER, &[0, 0]), PASS);
    assert_eq!(wire.say(true, begin.wrapping_add(5), RESPONDER, &[0, 0, 0]), PASS);
    assert_eq!(wire.say(true, begin.wrapping_add(6), RESPONDER, &[1]), objection(DropReason::OverlapDiffers));
    assert_eq!(wire.say(true, begin.wrapping_add(2), RESPONDER, &[0, 0, 0]), PASS);
    assert_eq!(wire.heard().len(), 8);
    assert_eq!(wire.say(false, RESPONDER, begin.wrapping_add(8), b""), PASS);
    assert_eq!(wire.streams.kept(), 0);
}
