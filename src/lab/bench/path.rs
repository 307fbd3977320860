//! `bench path`: what the packet path costs in memory, packet by packet and in trains, with and without its parts; on several
//! threads at once: `scaling`.
//!
//! A sample is the time of at least 64 packets. Variants that are held against each other are sampled in turn, so that a
//! machine which slows down slows both; their difference is that of neighbours. Left out: every system call.

use std::time::Duration;

use super::figure::Figure;
use super::memory::{Facing, NOW, Talk, Without};
use super::packets::{SEGMENT, SEGMENTS, across, datagram, fill, fill_train, train};
use super::{scaling, stats};
use crate::dataplane::buffer::Batch;
use crate::platform::clock;
use crate::policy::Service;
use crate::time::Instant;

/// Packets in one sample.
const PACKETS: usize = 64;
/// Trains in one sample.
const TRAINS: usize = 4;
/// Flows that the packets belong to, in turn.
const FLOWS: u16 = 8;
/// Lengths of inner packets.
const SIZES: [usize; 4] = [64, 576, 1408, 9000];
/// The length at which batches of different sizes, and parts, are held against each other.
const USUAL: usize = 1408;
/// Packets in a batch.
const BATCHES: [usize; 7] = [1, 2, 4, 8, 16, 32, 64];
/// Fewest and most samples of a variant.
const SAMPLES: std::ops::RangeInclusive<usize> = 7..=2001;

/// Inner packets of one kind and the path that they take.
pub(super) struct Course {
    facing: Facing,
    load: Load,
    out: Vec<Batch>,
    inn: Vec<Batch>,
}

/// What is sent.
enum Load {
    /// One after the other, of live flows.
    Singles(Vec<Vec<u8>>),
    /// Each of a flow that was never seen before; how many there were.
    Strangers(usize, u32),
    /// Long packets.
    Trains(Vec<u8>),
    /// Long packets of a conversation that goes on and on.
    Talk(Talk),
}

/// Which half of the path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Outbound,
    Inbound,
}

impl Way {
    const ALL: [Self; 2] = [Self::Outbound, Self::Inbound];

    const fn name(self) -> &'static str {
        match self {
            Self::Outbound => "outbound",
            Self::Inbound => "inbound",
        }
    }
}

impl Course {
    fn singles(size: usize, batch: usize, rules: usize, without: Without) -> Self {
        let packets = (0..FLOWS).map(|flow| datagram(4000 + flow, size)).collect();
        Self::over(Facing::new(rules, Service::Udp, without), Load::Singles(packets), batch)
    }

    fn strangers(size: usize, rules: usize) -> Self {
        Self::over(Facing::new(rules, Service::Udp, Without::Nothing), Load::Strangers(size, 0), PACKETS)
    }

    fn trains(rules: usize, without: Without) -> Self {
        let mut facing = Facing::new(rules, Service::Tcp, without);
        if without != Without::Judgement {
            facing.connect(5000);
        }
        Self::in_trains(facing, Load::Trains(train(5000)))
    }

    /// MQ in trains, heard or not.
    fn talk(service: Service) -> Self {
        let mut facing = Facing::new(1, service, Without::Nothing);
        let talk = facing.converse(5000);
        Self::in_trains(facing, Load::Talk(talk))
    }

    fn in_trains(facing: Facing, load: Load) -> Self {
        let batches = |make: &dyn Fn() -> Batch| (0..TRAINS).map(|_| make()).collect();
        let (out, inn) = (batches(&|| Batch::with_trains(PACKETS, 9728)), batches(&|| Batch::new(SEGMENTS, 2048)));
        Self { facing, load, out, inn }
    }

    fn over(facing: Facing, load: Load, batch: usize) -> Self {
        let batches = || (0..PACKETS / batch).map(|_| Batch::new(batch, 9216)).collect();
        Self { facing, load, out: batches(), inn: batches() }
    }

    /// Single packets of the usual length, in full batches.
    pub(super) fn usual() -> Self {
        Self::singles(USUAL, PACKETS, 1, Without::Nothing)
    }

    /// Trains.
    pub(super) fn usual_train() -> Self {
        Self::trains(1, Without::Nothing)
    }

    /// What these two carry.
    pub(super) fn layer(train: bool) -> String {
        if train {
            format!("each of {SEGMENTS} TCP segments with {SEGMENT} bytes of payload, moved as one train")
        } else {
            format!("inner IP packets of {USUAL} bytes, batches of {PACKETS}")
        }
    }

    /// Sends everything through both data paths; how many packets that were.
    pub(super) fn there_and_in(&mut self) -> usize {
        self.sample(Way::Inbound);
        self.out.iter().map(Batch::len).sum()
    }

    /// Nanoseconds a packet, on one way.
    fn sample(&mut self, way: Way) -> f64 {
        self.load();
        let began = clock::now();
        for batch in &mut self.out {
            self.facing.left.outbound(NOW, batch);
        }
        let mut took = clock::now() - began;
        // A conversation goes on only if the other side hears it, too.
        if way == Way::Inbound || matches!(self.load, Load::Talk(_)) {
            for (sealed, received) in self.out.iter().zip(&mut self.inn) {
                across(sealed, received);
            }
            let began = clock::now();
            for batch in &mut self.inn {
                self.facing.right.inbound(NOW, batch);
            }
            if way == Way::Inbound {
                took = clock::now() - began;
            }
        }
        let packets: usize = self.out.iter().map(Batch::len).sum();
        #[allow(clippy::cast_precision_loss, reason = "a few thousand")]
        let packets = packets as f64;
        took.as_secs_f64() * 1e9 / packets
    }

    fn load(&mut self) {
        match &mut self.load {
            Load::Singles(packets) => {
                let mut packets = packets.iter().map(Vec::as_slice).cycle();
                for batch in &mut self.out {
                    let count = PACKETS.div_euclid(self.inn.len());
                    fill(batch, packets.by_ref().take(count));
                }
            }
            Load::Strangers(size, seen) => {
                let made: Vec<_> = (0..PACKETS as u32)
                    .map(|at| datagram((seen.wrapping_add(at) % 60_000) as u16 + 1, *size))
                    .collect();
                *seen = seen.wrapping_add(PACKETS as u32);
                for batch in &mut self.out {
                    fill(batch, made.iter().map(Vec::as_slice));
                }
            }
            Load::Trains(long) => {
                for batch in &mut self.out {
                    fill_train(batch, long);
                }
            }
            Load::Talk(talk) => {
                self.facing.acknowledge(talk);
                for batch in &mut self.out {
                    fill_train(batch, &talk.train());
                }
            }
        }
    }

    /// Whether everything went through.
    fn passes(&mut self) -> bool {
        self.sample(Way::Inbound);
        let all = |batches: &[Batch]| batches.iter().flat_map(Batch::packets).all(|packet| !packet.done);
        all(&self.out) && self.inn.iter().all(|batch| batch.packets().iter().any(|packet| !packet.done))
    }
}

/// How many variants there are, for whoever shows progress.
#[must_use]
pub fn variants() -> usize {
    2 * (2 * SIZES.len() + 2 * BATCHES.len() + 2) + 2 * 3 + 2 * 3 + scaling::variants()
}

/// Measures everything, `each` long for a variant; says before each what it is.
pub fn measure(each: Duration, mut say: impl FnMut(&str)) -> Vec<Figure> {
    let mut figures = Vec::new();
    let mut single = |case: String, layer: String, way: Way, mut course: Course, say: &mut dyn FnMut(&str)| {
        say(&case);
        let [samples] = in_turn(each, way, [&mut course]);
        figures.push(Figure::new("portcullis", "", &case, layer, "ns a packet").of(samples));
    };
    let ciphers = [("aes-256-gcm", Without::Nothing), ("null", Without::Cipher)];
    for (cipher, without) in ciphers {
        for way in Way::ALL {
            for size in SIZES {
                let case = format!("{}-single-{size}-{cipher}", way.name());
                single(
                    case,
                    format!("inner IP packets of {size} bytes, batches of 64"),
                    way,
                    Course::singles(size, 64, 1, without),
                    &mut say,
                );
            }
            for batch in BATCHES {
                let case = format!("{}-batch-{batch}-{cipher}", way.name());
                let layer = format!("inner IP packets of {USUAL} bytes, batches of {batch}");
                single(case, layer, way, Course::singles(USUAL, batch, 1, without), &mut say);
            }
            let case = format!("{}-train-{cipher}", way.name());
            let layer = format!("each of {SEGMENTS} TCP segments with {SEGMENT} bytes of payload, moved as one train");
            single(case, layer, way, Course::trains(1, without), &mut say);
        }
    }
    for way in Way::ALL {
        let case = format!("{}-judgement-single", way.name());
        say(&case);
        let pair = [Without::Nothing, Without::Judgement].map(|without| Course::singles(USUAL, 64, 1, without));
        let layer = format!("inner IP packets of {USUAL} bytes, live UDP flows, batches of 64");
        figures.push(difference(each, way, &case, layer, pair, "policy and tracking"));
        let case = format!("{}-judgement-train", way.name());
        say(&case);
        let pair = [Without::Nothing, Without::Judgement].map(|without| Course::trains(1, without));
        let layer = format!("each of {SEGMENTS} TCP segments moved as one train");
        figures.push(difference(each, way, &case, layer, pair, "policy and TCP tracking"));
        let case = format!("{}-hearing-train", way.name());
        say(&case);
        let pair = [Service::Mq, Service::Tcp].map(Course::talk);
        let layer = format!("each of {SEGMENTS} TCP segments of MQ, moved as one train");
        figures.push(difference(each, way, &case, layer, pair, "what is said"));
    }
    for way in Way::ALL {
        let layer = |what: &str| format!("inner IP packets of {USUAL} bytes, {what}");
        let case = |what: &str| format!("{}-1000-rules-{what}", way.name());
        let what = "999 further rules";
        say(&case("live"));
        let pair = [1000, 1].map(|rules| Course::singles(USUAL, 64, rules, Without::Nothing));
        figures.push(difference(each, way, &case("live"), layer("live UDP flows"), pair, what));
        say(&case("new"));
        let pair = [1000, 1].map(|rules| Course::strangers(USUAL, rules));
        figures.push(difference(each, way, &case("new"), layer("each the first of its flow"), pair, what));
        say(&case("train"));
        let pair = [1000, 1].map(|rules| Course::trains(rules, Without::Nothing));
        figures.push(difference(each, way, &case("train"), layer("a train of TCP segments, each"), pair, what));
    }
    figures.extend(scaling::measure(each, &mut say));
    figures
}

/// What the first course takes more than the second.
fn difference(each: Duration, way: Way, case: &str, layer: String, mut pair: [Course; 2], what: &str) -> Figure {
    let [first, second] = &mut pair;
    let [with, without] = in_turn(each, way, [first, second]);
    let mut figure =
        Figure::new("portcullis", "", case, layer, "ns a packet more").of(stats::differences(&with, &without));
    let (whole, more) = (stats::median(&with).unwrap_or(0.0), stats::interval_of_median(&figure.samples));
    let share = |ns: f64| 100.0 * ns / whole;
    if let (Some([low, high]), Some(middle)) = (more, stats::median(&figure.samples)) {
        figure.note(format!(
            "{what}: {:.2} % of the path's {whole:.1} ns, 95 % interval {:.2} to {:.2} %",
            share(middle),
            share(low),
            share(high)
        ));
    }
    figure
}

/// Samples the courses in turn until the time is over, with as many of each.
fn in_turn<const N: usize>(each: Duration, way: Way, mut courses: [&mut Course; N]) -> [Vec<f64>; N] {
    for course in &mut courses {
        assert!(course.passes(), "everything that is timed passes");
    }
    let mut samples = [const { Vec::new() }; N];
    let end: Instant = clock::now() + each;
    while samples[0].len() < *SAMPLES.start() || (samples[0].len() < *SAMPLES.end() && clock::now() < end) {
        for (course, samples) in courses.iter_mut().zip(&mut samples) {
            samples.push(course.sample(way));
        }
    }
    samples
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_variant_has_a_figure_with_an_interval_and_a_name_of_its_own() {
        let mut said = 0;
        let figures = measure(Duration::ZERO, |_| said += 1);
        assert_eq!((figures.len(), said), (variants(), variants()));
        let names: std::collections::BTreeSet<_> = figures.iter().map(|figure| &figure.case).collect();
        assert_eq!(names.len(), figures.len());
        for figure in &figures {
            assert!(figure.json()["interval95"].is_array(), "{}", figure.case);
            assert!(figure.unit.ends_with("more") || figure.samples.iter().all(|ns| *ns > 0.0), "{}", figure.case);
        }
    }
}
