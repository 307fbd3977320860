//! `bench rfc2544`: throughput, latency, frame loss and back-to-back frames (RFC 2544 §26) through a tunnel between two
//! gateways of this program.
//!
//! Frames are Ethernet frames between a host and its gateway, checksum included, as RFC 2544 counts them; each carries one
//! UDP datagram over IPv4. One direction, one stream. What a reader has to know: generator and receiver share the machine
//! with what they measure, where RFC 2544 §6 wants a tester of its own. `--quick` shortens everything and says so.

use std::io;
use std::time::Duration;

use serde_json::{Value, json};

use super::ends::client::Client;
use super::ends::datagrams::{Load, SHORTEST, Sent};
use super::ends::words::Tally;
use super::figure::Figure;
use super::peers::Subject;
use super::pins::Pins;
use super::progress::Progress;
use super::search::{Found, LimitedBy, Search, Trial, highest};
use super::site::{Site, Underlay, told_apart};
use super::stand::FRAME;
use super::tunnel::{connect, prepare, serve};
use super::{BenchError, Outcome};
use crate::lab::standing::Standing;
use crate::platform::privileges::bind_to_processor;

/// RFC 2544 §9.1, for Ethernet; and the jumbo frame that networks behind gateways have.
pub const FRAMES: [usize; 8] = [64, 128, 256, 512, 1024, 1280, 1518, 9000];
/// Longer than any frame and its tunnel's overhead.
const MTU: u32 = 9216;
/// Loss that passes in the second search, as a share.
const LOSS: f64 = 0.001;
/// Steps of the loss curve, in percent of the highest rate. RFC 2544 §26.3: "The maximum granularity of the trials MUST be
/// 10% of the maximum rate".
const STEP: u32 = 10;

/// What was asked for.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Frame sizes.
    pub frames: Vec<usize>,
    /// Shorter than RFC 2544 allows.
    pub quick: bool,
    /// On which wire.
    pub underlay: Underlay,
    /// Measure the network without a tunnel too.
    pub ceiling: bool,
    /// Bind gateways and hosts to processors.
    pub pin: Option<Pins>,
}

/// How long and how often.
#[derive(Clone, Copy, Debug)]
struct Times {
    trial: Duration,
    latency: Duration,
    latencies: usize,
    bursts: usize,
    burst: Duration,
    quiet: Duration,
    resolution: f64,
    most: usize,
}

impl Times {
    fn of(quick: bool) -> Self {
        let seconds = Duration::from_secs;
        if quick {
            return Self {
                trial: Duration::from_millis(500),
                latency: Duration::from_millis(500),
                latencies: 5,
                bursts: 3,
                burst: Duration::from_millis(500),
                quiet: Duration::from_millis(100),
                resolution: 0.05,
                most: 12,
            };
        }
        Self {
            // RFC 2544 §24: "The duration of the test portion of each trial SHOULD be at least 60 seconds."
            trial: seconds(60),
            // §26.2: streams of at least 120 s, a tagged frame after 60 s, at least 20 times.
            latency: seconds(120),
            latencies: 20,
            // §26.4: trials of at least 2 s, at least 50 times.
            bursts: 50,
            burst: seconds(2),
            // §23: two seconds for residual frames.
            quiet: seconds(2),
            resolution: 0.01,
            most: 24,
        }
    }
}

/// Measures. Call it before the process has started any thread.
pub fn run(plan: &Plan) -> Result<Outcome, BenchError> {
    prepare()?;
    let times = Times::of(plan.quick);
    let standing = Standing::begin("bench").map_err(BenchError::system("a private folder for the bench"))?;
    let mut outcome = Outcome::new("rfc2544");
    describe(&mut outcome, plan, times);
    let subjects = if plan.ceiling { &[Subject::None, Subject::Portcullis][..] } else { &[Subject::Portcullis] };
    let progress = Progress::new(subjects.len() * plan.frames.len() * 5);
    let mut raw = Vec::new();
    for &subject in subjects {
        let site = Site::build(plan.underlay, MTU, MTU)?;
        if let Ok(offloads) = site.offloads() {
            outcome.plan("wire", told_apart(&offloads));
            outcome.more.insert("offloads".into(), json!({(plan.underlay.name()): offloads}));
        }
        let running = subject.start(&site, &standing)?;
        if let Some(pins) = plan.pin {
            running.bind(pins)?;
        }
        let _server = serve(&site, plan.pin.map(|pins| pins.hosts[1]))?;
        let client = connect(&site)
            .map_err(|error| BenchError::Failed(format!("{}: nothing passes: {error}", subject.name())))?;
        let mut bench = Frames { site: &site, client, subject, plan, times, progress: &progress };
        for &frame in &plan.frames {
            match bench.measure(frame) {
                Ok((figures, trials)) => {
                    for figure in figures {
                        outcome.figures.add(figure);
                    }
                    raw.push(trials);
                }
                Err(error) => {
                    outcome.failed.push(format!("{}, frames of {frame}: {error}", subject.name()));
                    bench.client.hang_up();
                    bench.client = connect(&site)
                        .map_err(|error| BenchError::Failed(format!("nothing passes any more: {error}")))?;
                }
            }
        }
        drop(running);
    }
    outcome.more.insert("trials".into(), raw.into());
    Ok(outcome)
}

fn describe(outcome: &mut Outcome, plan: &Plan, times: Times) {
    let conforming = if plan.quick {
        "NOT CONFORMING TO RFC 2544: shortened by --quick"
    } else {
        "times and repetitions of RFC 2544; but generator, receiver and gateways share one machine (§6 wants a tester of its own)"
    };
    outcome.plan("conformity", conforming);
    outcome.plan("frames", plan.frames.clone());
    let network = "host A - gateway A = wire = gateway B - host B, four namespaces, veth";
    outcome.plan("network", format!("{network}; MTU {MTU} everywhere, so that no frame is cut"));
    outcome.plan("underlay", format!("{}: {}", plan.underlay.name(), plan.underlay.words()));
    outcome.plan("direction", "host A to host B, one UDP stream over IPv4, single datagrams");
    outcome.plan("pinned", plan.pin.map_or_else(|| "no".to_owned(), |pins| pins.words()));
    outcome.plan("seconds_trial", times.trial.as_secs_f64());
    outcome.plan(
        "latency",
        format!(
            "{} streams of {} s at the zero-loss rate, one marked frame in the middle of each",
            times.latencies,
            times.latency.as_secs_f64()
        ),
    );
    outcome.plan("back_to_back", format!("{} searches, bursts of up to {} s", times.bursts, times.burst.as_secs_f64()));
}

/// One subject's frames.
struct Frames<'a> {
    site: &'a Site,
    client: Client,
    subject: Subject,
    plan: &'a Plan,
    times: Times,
    progress: &'a Progress,
}

impl Frames<'_> {
    fn measure(&mut self, frame: usize) -> io::Result<(Vec<Figure>, Value)> {
        let size = frame.checked_sub(FRAME).filter(|size| *size >= SHORTEST);
        let size = size.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the frame is too short"))?;
        self.say(frame, "the highest rate of the generator");
        let load = Load::steady(size, f64::INFINITY, self.times.trial);
        let flood = self.trial(&load, f64::INFINITY)?;
        let delivered = flood.made * (1.0 - flood.loss());

        self.say(frame, "throughput");
        let none = self.search(&load, 0.0, 0.5 * delivered, flood.made)?;
        let start = if none.rate > 0.0 { none.rate } else { 0.5 * delivered };
        let some = self.search(&load, LOSS, start, flood.made)?;
        let mut figures = vec![
            self.rate(&format!("throughput-{frame}"), frame, "no loss", &none),
            self.rate(&format!("throughput-0.1-{frame}"), frame, "at most 0.1 % loss", &some),
        ];

        self.say(frame, "latency");
        let mut latency = self.figure(
            &format!("latency-{frame}"),
            format!("frames of {frame} bytes, one way from host to host, at the zero-loss rate"),
            "µs",
        );
        let rate = if none.rate > 0.0 { none.rate } else { some.rate };
        for _ in 0..self.times.latencies {
            let load =
                Load { rate, time: self.times.latency, mark_after: Some(self.times.latency / 2), ..load.clone() };
            let (sent, tally) = self.send(&load)?;
            latency.samples.extend(micros(sent, tally));
        }
        if latency.samples.len() < self.times.latencies {
            latency.note(format!(
                "{} of {} marked frames were lost",
                self.times.latencies - latency.samples.len(),
                self.times.latencies
            ));
        }
        figures.push(latency);

        self.say(frame, "frame loss");
        let curve = self.curve(&load, flood.made)?;
        for (percent, trial) in &curve {
            let layer = format!(
                "frames of {frame} bytes at {percent} % of {:.0} a second, the generator's highest rate",
                flood.made
            );
            let mut figure = self.figure(&format!("loss-{frame}-at-{percent}"), layer, "% lost");
            figure.samples.push(100.0 * trial.loss());
            figures.push(figure);
        }

        self.say(frame, "back-to-back frames");
        let mut bursts = self.figure(
            &format!("back-to-back-{frame}"),
            format!("frames of {frame} bytes, the longest burst without loss"),
            "frames",
        );
        for _ in 0..self.times.bursts {
            bursts.samples.push(self.burst(&load, flood.made)?);
        }
        figures.push(bursts);

        let trials = |trials: &[Trial]| trials.iter().map(shown).collect::<Value>();
        let curve: Value =
            curve.iter().map(|(percent, trial)| json!({"percent": percent, "trial": shown(trial)})).collect();
        let raw = json!({
            "subject": self.subject.name(), "frame": frame, "flood": shown(&flood), "curve": curve,
            "no_loss": trials(&none.trials), "loss_0.1": trials(&some.trials),
        });
        Ok((figures, raw))
    }

    fn say(&self, frame: usize, what: &str) {
        self.progress.step(&format!("{}, frames of {frame}: {what}", self.subject.name()));
    }

    fn figure(&self, case: &str, layer: String, unit: &'static str) -> Figure {
        let mut figure = Figure::new(self.subject.name(), self.plan.underlay.name(), case, layer, unit);
        if self.plan.quick {
            figure.note("not conforming to RFC 2544 (--quick)");
        }
        figure
    }

    fn rate(&self, case: &str, frame: usize, what: &str, found: &Found) -> Figure {
        let mut figure = self.figure(case, format!("frames of {frame} bytes, {what}"), "frames/s");
        figure.samples.push(found.rate);
        #[allow(clippy::cast_precision_loss, reason = "a rate")]
        let megabits = found.rate * frame as f64 * 8.0 / 1e6;
        figure.note(format!("{megabits:.1} Mbit/s of frames"));
        if matches!(found.limited_by, LimitedBy::Generator | LimitedBy::Ceiling) {
            figure.note("limited by the generator, not by loss");
        }
        figure
    }

    fn send(&mut self, load: &Load) -> io::Result<(Sent, Tally)> {
        let (client, quiet, pin) = (&mut self.client, self.times.quiet, self.plan.pin);
        self.site.host_a.run(|| {
            if let Some(pins) = pin {
                bind_to_processor(pins.hosts[0])?;
            }
            client.datagrams(load, quiet)
        })?
    }

    fn trial(&mut self, load: &Load, rate: f64) -> io::Result<Trial> {
        let (sent, tally) = self.send(&Load { rate, ..load.clone() })?;
        let lost = sent.datagrams.saturating_sub(tally.datagrams);
        Ok(Trial { asked: rate.min(1e12), made: sent.rate(), sent: sent.datagrams, lost })
    }

    fn search(&mut self, load: &Load, loss: f64, start: f64, ceiling: f64) -> io::Result<Found> {
        let Times { resolution, most, .. } = self.times;
        let search = Search { start, floor: 10.0, ceiling, loss, resolution, most, second_chance: false };
        highest(&search, |rate| self.trial(load, rate))
    }

    /// From the highest rate down. RFC 2544 §26.3: until two trials in succession lose nothing.
    fn curve(&mut self, load: &Load, highest: f64) -> io::Result<Vec<(u32, Trial)>> {
        let mut curve = Vec::new();
        let mut without = 0;
        let mut percent = 100;
        while percent >= STEP && without < 2 {
            let trial = self.trial(load, highest * f64::from(percent) / 100.0)?;
            without = if trial.lost == 0 { without + 1 } else { 0 };
            curve.push((percent, trial));
            percent -= STEP;
        }
        Ok(curve)
    }

    /// The longest burst at full speed that arrives whole.
    fn burst(&mut self, load: &Load, highest_rate: f64) -> io::Result<f64> {
        let ceiling = (highest_rate * self.times.burst.as_secs_f64()).max(2.0);
        let search = Search {
            start: 1024.0,
            floor: 1.0,
            ceiling,
            loss: 0.0,
            resolution: self.times.resolution.max(0.02),
            most: 20,
            second_chance: false,
        };
        let time = self.times.burst * 4;
        let found = highest(&search, |length| {
            #[allow(clippy::cast_sign_loss, reason = "a burst has a length")]
            let most = length.round() as u64;
            let (sent, tally) = self.send(&Load { time, most, ..load.clone() })?;
            let lost = sent.datagrams.saturating_sub(tally.datagrams);
            Ok::<_, io::Error>(Trial { asked: length, made: length, sent: sent.datagrams, lost })
        })?;
        Ok(found.rate.round())
    }
}

/// How long the marked frame took, if it came.
fn micros(sent: Sent, tally: Tally) -> Option<f64> {
    let took = tally.marked_at?.checked_sub(sent.marked_at?.as_nanos())?;
    #[allow(clippy::cast_precision_loss, reason = "a time")]
    let micros = took as f64 / 1e3;
    Some(micros)
}

fn shown(trial: &Trial) -> Value {
    json!({"asked": trial.asked.round(), "made": trial.made.round(), "sent": trial.sent, "lost": trial.lost})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Instant;

    #[test]
    fn the_times_are_those_of_the_rfc_unless_they_are_called_quick() {
        let long = Times::of(false);
        assert_eq!((long.trial.as_secs(), long.latency.as_secs(), long.latencies, long.bursts), (60, 120, 20, 50));
        assert_eq!((long.burst.as_secs(), long.quiet.as_secs()), (2, 2));
        let mut outcome = Outcome::new("rfc2544");
        let plan = Plan { frames: vec![64], quick: true, underlay: Underlay::Plain, ceiling: false, pin: None };
        describe(&mut outcome, &plan, Times::of(true));
        assert!(outcome.plan["conformity"].as_str().is_some_and(|text| text.starts_with("NOT CONFORMING TO RFC 2544")));
    }

    #[test]
    fn every_frame_has_room_for_a_number() {
        assert!(FRAMES.iter().all(|frame| frame - FRAME >= SHORTEST));
    }

    #[test]
    fn a_marked_frame_that_is_lost_has_no_latency() {
        let sent = Sent { marked_at: Some(Instant::from_nanos(1000)), ..Sent::default() };
        let tally = |marked_at| Tally { marked_at, ..Tally::default() };
        assert_eq!(micros(sent, tally(Some(3500))), Some(2.5));
        assert_eq!(micros(sent, tally(None)), None);
        assert_eq!(micros(sent, tally(Some(1))), None, "a clock that is not ours");
    }
}
