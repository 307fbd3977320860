//! Random segments of a stream, in any order, cut anyhow, sent twice, and with lies among them, against a model that is
//! too simple to be wrong: whole streams as vectors, and two receivers of which one keeps the first bytes of each place and
//! the other the last.

use proptest::prelude::*;

use super::*;

/// A receiver with all its memory.
#[derive(Clone, Default)]
struct Receiver {
    bytes: Vec<Option<u8>>,
    keeps_last: bool,
    /// What the application has read: nothing can change it any more.
    read: usize,
}

impl Receiver {
    fn take(&mut self, at: usize, payload: &[u8]) {
        self.bytes.resize(self.bytes.len().max(at + payload.len()), None);
        for (index, byte) in payload.iter().enumerate() {
            let place = &mut self.bytes[at + index];
            if at + index >= self.read && (place.is_none() || self.keeps_last) {
                *place = Some(*byte);
            }
        }
    }

    /// How much it has in order.
    fn next(&self) -> usize {
        self.bytes.iter().position(Option::is_none).unwrap_or(self.bytes.len())
    }

    /// Gives what it has in order to the application and acknowledges it.
    fn acknowledge(&mut self) -> usize {
        self.read = self.next();
        self.read
    }

    /// All that it has in order.
    fn text(&self) -> Vec<u8> {
        self.bytes[..self.next()].iter().flatten().copied().collect()
    }
}

/// The heads of the frames of a stream and where each stands, up to the first illegal one; whether there is one.
fn heads(said: &[u8]) -> (Vec<(usize, u8)>, bool) {
    let (mut at, mut heads) = (0, Vec::new());
    while let Some(head) = said.get(at) {
        if *head >= ILLEGAL {
            return (heads, true);
        }
        heads.push((at, *head));
        if *head == FINAL {
            break;
        }
        at += 1 + usize::from(*head);
    }
    (heads, false)
}

/// One thing that happens.
#[derive(Clone, Debug)]
enum Step {
    /// A segment of the stream, from a place and so long, with some byte changed or none.
    Segment { at: prop::sample::Index, len: usize, lie: Option<(prop::sample::Index, u8)>, train: bool },
    /// The next bytes in order, of which the gateway knows nothing yet.
    Next { len: usize },
    /// A receiver acknowledges what it has.
    Acknowledge,
}

fn step(lies: bool) -> impl Strategy<Value = Step> {
    let lie = if lies {
        prop_oneof![6 => Just(None), 1 => (any::<prop::sample::Index>(), any::<u8>()).prop_map(Some)].boxed()
    } else {
        Just(None).boxed()
    };
    prop_oneof![
        5 => (any::<prop::sample::Index>(), 1..40_usize, lie, any::<bool>())
            .prop_map(|(at, len, lie, train)| Step::Segment { at, len, lie, train }),
        4 => (1..40_usize).prop_map(|len| Step::Next { len }),
        2 => Just(Step::Acknowledge),
    ]
}

/// A stream of frames, most of them legal, and perhaps one behind which nothing is to be heard.
fn stream(legal: bool) -> impl Strategy<Value = Vec<u8>> {
    let head = if legal { 0..21_u8 } else { 0..22_u8 };
    prop::collection::vec((head, prop::collection::vec(any::<u8>(), 20)), 3..30).prop_map(|frames| {
        let frame = |(head, body): (u8, Vec<u8>)| {
            let head = [FINAL, ILLEGAL].get(usize::from(head).wrapping_sub(20)).copied().unwrap_or(head);
            let mut frame = vec![head];
            frame.extend(body.iter().take(if head == ILLEGAL { 0 } else { head.into() }));
            frame
        };
        frames.into_iter().flat_map(frame).collect()
    })
}

struct Trial {
    wire: Wire,
    receivers: [Receiver; 2],
    ended: bool,
}

impl Trial {
    fn new(settles_after: usize, v6: bool) -> Self {
        let receivers = [Receiver::default(), Receiver { keeps_last: true, ..Receiver::default() }];
        Self { wire: Wire::with(settles_after, KEPT_OF_ALL, None, v6), receivers, ended: false }
    }

    /// Sends a segment; whether it went on, now or with others.
    fn send(&mut self, at: usize, bytes: &[u8], train: bool) -> Heard {
        let (first, rest) = bytes.split_at(if train { bytes.len().div_ceil(3) } else { bytes.len() });
        let pieces: Vec<&[u8]> = rest.chunks(first.len().max(1)).collect();
        let packet = self.wire.packet(true, ACK, OPENER + at as u32, RESPONDER, first);
        let (outcome, released) = self.wire.hand(true, &packet, &pieces);
        let heard = outcome.expect("nothing here is illegal as TCP");
        match heard {
            Heard::Pass => self.arrive(at, bytes),
            Heard::Split => {
                let mut at = at;
                for piece in std::iter::once(first).chain(pieces) {
                    self.send(at, piece, false);
                    at += piece.len();
                }
            }
            Heard::Objection(_) => self.ended = true,
            Heard::Bare | Heard::Waits | Heard::Refused(_) => {}
        }
        for packet in released {
            let inner = Inner::parse(&packet).unwrap();
            let segment = inner.tcp().unwrap();
            self.arrive((segment.sequence() - OPENER) as usize, segment.payload());
        }
        heard
    }

    fn arrive(&mut self, at: usize, bytes: &[u8]) {
        self.receivers.iter_mut().for_each(|receiver| receiver.take(at, bytes));
    }

    fn acknowledge(&mut self) {
        let [a, b] = &mut self.receivers;
        assert_eq!(a.next(), b.next());
        b.acknowledge();
        let up_to = a.acknowledge();
        self.wire.acknowledge(up_to as u32);
    }

    fn run(&mut self, said: &[u8], steps: &[Step]) {
        for step in steps {
            if self.ended {
                break;
            }
            match step {
                Step::Segment { at, len, lie, train } => {
                    let at = at.index(said.len());
                    let mut bytes = said[at..said.len().min(at + len)].to_vec();
                    if let Some((place, value)) = lie {
                        let place = place.index(bytes.len());
                        bytes[place] = *value;
                    }
                    self.send(at, &bytes, *train);
                }
                Step::Next { len } => {
                    let at = self.receivers[0].next().min(said.len() - 1);
                    self.send(at, &said[at..said.len().min(at + len)], false);
                }
                Step::Acknowledge => self.acknowledge(),
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn whatever_is_sent_every_receiver_reads_a_legal_beginning_and_the_same(
        said in stream(false), steps in prop::collection::vec(step(true), 1..80),
        settles_after in 0_usize..12, v6: bool,
    ) {
        let mut trial = Trial::new(settles_after, v6);
        trial.run(&said, &steps);
        let [first, last] = trial.receivers.clone().map(|receiver| receiver.text());
        let (read, illegal) = heads(&first);
        prop_assert!(!illegal, "{:?}", first);
        prop_assert_eq!(&read, &heads(&last).0, "who keeps the first bytes, and who the last");
        prop_assert!(!heads(&last).1);
    }

    #[test]
    fn what_an_honest_sender_says_arrives_whole_however_it_is_cut_and_ordered(
        said in stream(true), steps in prop::collection::vec(step(false), 1..80),
        settles_after in 0_usize..12, v6: bool, piece in 1_usize..50,
    ) {
        let mut trial = Trial::new(settles_after, v6);
        trial.run(&said, &steps);
        prop_assert!(!trial.ended);
        // It sends again what was not acknowledged, until all of it is.
        while trial.receivers[0].read < said.len() {
            let at = trial.receivers[0].read;
            let heard = trial.send(at, &said[at..said.len().min(at + piece)], false);
            prop_assert_eq!(heard, Heard::Pass);
            trial.acknowledge();
            prop_assert!(trial.receivers[0].read > at);
        }
        for receiver in &trial.receivers {
            prop_assert_eq!(&receiver.text(), &said);
        }
        prop_assert_eq!(trial.wire.streams.kept(), 0);
    }

    #[test]
    fn in_order_exactly_the_legal_beginning_passes(said in stream(false), pieces in prop::collection::vec(1_usize..30, 1..200)) {
        let mut trial = Trial::new(3, false);
        let mut at = 0;
        let illegal = heads(&said).0.last().map_or(0, |(at, head)| at + 1 + usize::from(*head));
        let illegal = if heads(&said).1 { illegal } else { usize::MAX };
        for len in pieces {
            let end = said.len().min(at + len);
            if at == end {
                break;
            }
            let heard = trial.send(at, &said[at..end], false);
            if illegal < end {
                prop_assert_eq!(heard, Heard::Objection(DropReason::NotMq));
                break;
            }
            prop_assert_eq!(heard, Heard::Pass);
            at = end;
        }
    }
}
