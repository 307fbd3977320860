//! What is measured over one path, and how: streams, datagrams, round trips, handshakes, new keys under load.

use std::io;
use std::time::Duration;

use super::cpu::Used;
use super::ends::client::{Carried, Client, Plan as Streams, Trips, Way};
use super::ends::datagrams::Load;
use super::ends::words::Tally;
use super::figure::Figure;
use super::peers::{Running, Subject};
use super::search::{Found as Rate, LimitedBy, Search, Trial, highest};
use super::site::Site;
use super::stats;
use super::tunnel::Plan;
use crate::lab::gateway::{Gateway, is_up};
use crate::platform::clock;
use crate::platform::privileges::bind_to_processor;
use crate::runtime::protocol::Request;

/// Payloads of UDP datagrams.
const UDP_SIZES: [usize; 3] = [64, 512, 1300];
/// Frames of the mix, in the order in which they are sent: seven of 64 bytes, four of 594, one of 1518.
pub(super) const IMIX: [usize; 12] = [64, 594, 64, 64, 594, 64, 64, 594, 64, 64, 594, 1518];
/// Ethernet header and checksum, IPv4 and UDP headers: a frame is so much longer than the payload.
pub(super) const FRAME: usize = 18 + 20 + 8;
/// Loss that passes.
const LOSS: f64 = 0.001;
/// How long a tunnel may take to do what it was told.
const PATIENCE: Duration = Duration::from_secs(15);
/// Between two round trips.
const PAUSE: Duration = Duration::from_millis(2);
/// Datagrams a second while keys are changed.
const REKEY_RATE: f64 = 10_000.0;
/// The tunnel's name in our own configuration.
const TUNNEL: &str = "bench";

/// One measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Case {
    Tcp(u16, Way),
    Udp(usize),
    Imix,
    Latency { loaded: bool },
    Handshakes,
    Rekey,
}

impl Case {
    /// Each of them.
    pub(super) fn all() -> Vec<Self> {
        let mut all: Vec<Self> =
            [1, 8].into_iter().flat_map(|count| Way::ALL.map(|way| Self::Tcp(count, way))).collect();
        all.extend(UDP_SIZES.map(Self::Udp));
        all.extend([Self::Imix, Self::Latency { loaded: false }, Self::Latency { loaded: true }]);
        all.extend([Self::Handshakes, Self::Rekey]);
        all
    }

    /// Its name in figures and for `--only`.
    pub(super) fn name(self) -> String {
        match self {
            Self::Tcp(count, way) => format!("tcp-{count}-{}", way.name()),
            Self::Udp(size) => format!("udp-{size}"),
            Self::Imix => "udp-imix".into(),
            Self::Latency { loaded: false } => "latency-idle".into(),
            Self::Latency { loaded: true } => "latency-loaded".into(),
            Self::Handshakes => "handshakes".into(),
            Self::Rekey => "rekey-loss".into(),
        }
    }

    /// Those that the plan wants of a subject on a wire of this MTU.
    pub(super) fn wanted(only: &[String], subject: Subject, roomy: bool) -> Vec<Self> {
        let wants = |name: &str| only.is_empty() || only.iter().any(|begin| name.starts_with(begin.as_str()));
        let has = |case: &Self| subject == Subject::Portcullis || !matches!(case, Self::Handshakes | Self::Rekey);
        Self::all()
            .into_iter()
            .filter(|case| (*case == Self::Imix) == roomy && has(case) && wants(&case.name()))
            .collect()
    }
}

impl Case {
    /// Those that need no gateway of ours.
    pub(super) fn for_two_machines(only: &[String]) -> Vec<Self> {
        [false, true].into_iter().flat_map(|roomy| Self::wanted(only, Subject::None, roomy)).collect()
    }
}

/// How long one trial of a search lasts.
pub(super) fn trial_time(plan: &Plan) -> Duration {
    (plan.seconds / 5).clamp(Duration::from_millis(200), Duration::from_secs(10))
}

/// Something that carries, and a client whose server is at its other end.
pub(super) struct Stand<'a> {
    /// The client is at host A of it; without one, here.
    pub(super) site: Option<&'a Site>,
    pub(super) running: &'a mut Running,
    pub(super) client: Client,
    pub(super) subject: &'static str,
    pub(super) underlay: &'static str,
    /// How long nothing comes before what is missing is lost.
    pub(super) quiet: Duration,
    pub(super) plan: &'a Plan,
}

impl<'a> Stand<'a> {
    /// From this machine to another one.
    pub(super) fn on_this_machine(running: &'a mut Running, client: Client, plan: &'a Plan) -> Self {
        let quiet = Duration::from_millis(500);
        Self { site: None, running, client, subject: "path", underlay: "network", quiet, plan }
    }
}

impl Stand<'_> {
    /// One measurement.
    pub(super) fn case(&mut self, case: Case) -> io::Result<Vec<Figure>> {
        match case {
            Case::Tcp(count, way) => self.tcp(&case.name(), count, way),
            Case::Udp(size) => {
                self.udp(&case.name(), vec![size], &format!("UDP payloads of {size} bytes, frames of {}", size + FRAME))
            }
            Case::Imix => {
                let sizes = IMIX.map(|frame| frame - FRAME).to_vec();
                self.udp(&case.name(), sizes, "frames of 64, 594 and 1518 bytes, 7:4:1")
            }
            Case::Latency { loaded } => self.latency(&case.name(), loaded),
            Case::Handshakes => self.handshakes(),
            Case::Rekey => self.rekey(),
        }
    }

    fn figure(&self, case: &str, layer: &str, unit: &'static str, value: f64) -> Figure {
        let mut figure = Figure::new(self.subject, self.underlay, case, layer, unit);
        figure.samples.push(value);
        figure
    }

    /// Runs `work` at host A, where it may be bound to a processor.
    fn at_host<T: Send>(&mut self, work: impl FnOnce(&mut Client) -> io::Result<T> + Send) -> io::Result<T> {
        let (client, pin) = (&mut self.client, self.plan.pin);
        let work = || {
            if let Some(pins) = pin {
                bind_to_processor(pins.hosts[0])?;
            }
            work(client)
        };
        match self.site {
            Some(site) => site.host_a.run(work)?,
            None => work(),
        }
    }

    fn tcp(&mut self, name: &str, streams: u16, way: Way) -> io::Result<Vec<Figure>> {
        let time = self.plan.seconds;
        let warm = (time / 4).min(Duration::from_secs(2));
        let processes = self.running.processes();
        let before = Used::now(&processes);
        let carried: Carried = self.at_host(|client| client.streams(Streams { streams, way, warm, time }))?;
        let used = Used::now(&processes).since(before);
        let layer =
            if streams == 1 { "TCP payload, one stream each way" } else { "TCP payload, eight streams each way" };
        let (forward, reverse) = (carried.forward.megabits(), carried.reverse.megabits());
        let mut figures = vec![self.figure(name, layer, "Mbit/s", forward + reverse)];
        figures[0].note(format!("MSS {}", carried.mss));
        if way == Way::Both {
            figures.push(self.figure(&format!("{name}-there"), layer, "Mbit/s", forward));
            figures.push(self.figure(&format!("{name}-back"), layer, "Mbit/s", reverse));
        }
        #[allow(clippy::cast_precision_loss, reason = "a rate")]
        let a_byte = |nanos: u64| nanos as f64 / carried.total().max(1) as f64;
        if !processes.is_empty() {
            let nanos = used.processes + used.softirq_threads;
            figures.push(self.figure(&format!("cpu-gateways-{name}"), "TCP payload", "ns a byte", a_byte(nanos)));
        }
        figures.push(self.figure(&format!("cpu-machine-{name}"), "TCP payload", "ns a byte", a_byte(used.machine)));
        Ok(figures)
    }

    fn udp(&mut self, name: &str, sizes: Vec<usize>, layer: &str) -> io::Result<Vec<Figure>> {
        let load =
            Load { sizes, segments: self.plan.segments, ..Load::steady(0, f64::INFINITY, trial_time(self.plan)) };
        let mut overruns = 0;
        let flood = self.trial(&load, f64::INFINITY, &mut overruns)?;
        let delivered = flood.made * (1.0 - flood.loss());
        let found = if flood.loss() <= LOSS {
            Rate { rate: flood.made, limited_by: LimitedBy::Generator, trials: vec![flood] }
        } else {
            let search = Search {
                start: 0.7 * delivered,
                floor: 200.0,
                ceiling: 1.5 * flood.made,
                loss: LOSS,
                resolution: 0.03,
                most: 14,
                second_chance: true,
            };
            highest(&search, |rate| self.trial(&load, rate, &mut overruns))?
        };
        let mut best = self.figure(name, layer, "datagrams/s", found.rate);
        if found.limited_by != LimitedBy::Device {
            best.note(match found.limited_by {
                LimitedBy::Generator => "limited by the generator, not by loss",
                LimitedBy::Trials => "the search ended before it was sure",
                LimitedBy::Ceiling | LimitedBy::Device => "limited by what the generator makes",
            });
        }
        if overruns > 0 {
            best.note("some datagrams were lost at the receiver's own socket and count as lost");
        }
        #[allow(clippy::cast_precision_loss, reason = "a mean of lengths")]
        let mean = load.sizes.iter().sum::<usize>() as f64 / load.sizes.len().max(1) as f64;
        let megabits = self.figure(
            &format!("{name}-payload"),
            "UDP payload at that rate",
            "Mbit/s",
            found.rate * mean * 8.0 / 1e6,
        );
        let mut flooded = self.figure(&format!("{name}-flood"), layer, "delivered/s", delivered);
        flooded.note(format!("under a flood of about {:.0} thousand a second", flood.made / 1e3));
        // How many were offered differs from round to round; the remark is the first round's.
        Ok(vec![best, megabits, flooded])
    }

    fn trial(&mut self, load: &Load, rate: f64, overruns: &mut u64) -> io::Result<Trial> {
        let (quiet, load) = (self.quiet, Load { rate, ..load.clone() });
        let (sent, tally): (_, Tally) = self.at_host(|client| client.datagrams(&load, quiet))?;
        *overruns += tally.overrun;
        let lost = sent.datagrams.saturating_sub(tally.datagrams);
        Ok(Trial { asked: rate.min(1e12), made: sent.rate(), sent: sent.datagrams, lost })
    }

    fn latency(&mut self, name: &str, loaded: bool) -> io::Result<Vec<Figure>> {
        let time = self.plan.seconds;
        let trips: Trips = self.at_host(|client| {
            let pinger = client.pinger()?;
            if !loaded {
                return pinger.run(time, PAUSE);
            }
            std::thread::scope(|scope| {
                let warm = Duration::from_millis(200);
                let plan = Streams { streams: 1, way: Way::Forward, warm, time: time + warm };
                let load = scope.spawn(move || client.streams(plan));
                std::thread::sleep(warm);
                let trips = pinger.run(time, PAUSE);
                load.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
                trips
            })
        })?;
        let micros: Vec<f64> = trips.times.iter().map(|time| time.as_secs_f64() * 1e6).collect();
        let layer = "UDP round trip, 64 bytes of payload";
        let mut figures = Vec::new();
        for (what, share) in [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)] {
            if let Some(value) = stats::percentile(&micros, share) {
                figures.push(self.figure(&format!("{name}-{what}"), layer, "µs", value));
            }
        }
        if trips.lost > 0 {
            figures.push(self.figure(&format!("{name}-lost"), layer, "lost", f64::from(trips.lost as u32)));
        }
        if figures.is_empty() { Err(io::Error::other("no round trip came back")) } else { Ok(figures) }
    }

    /// One after the other: the tunnel is taken down and brought up, again and again.
    fn handshakes(&mut self) -> io::Result<Vec<Figure>> {
        let gateway = self.gateway()?;
        let (mut took, mut count, mut alone) = (Duration::ZERO, 0_u32, Vec::new());
        while took < self.plan.seconds {
            let name = || TUNNEL.to_owned();
            gateway.request(&Request::Down { tunnel: name() })?;
            wait_until(gateway, |status| status["tunnels"][0]["state"] != "up")?;
            let began = clock::now();
            gateway.request(&Request::Up { tunnel: name() })?;
            let status = wait_until(gateway, is_up)?;
            took += clock::now() - began;
            count += 1;
            alone.extend(status["tunnels"][0]["ike"]["handshake_ms"].as_f64());
        }
        let layer = "IKE_SA_INIT and IKE_AUTH with AES-256-GCM, SHA-384, ECP-384 and a pre-shared key";
        let rate = f64::from(count) / took.as_secs_f64();
        let mut figures = vec![self.figure("handshakes", layer, "handshakes/s", rate)];
        figures[0].note("one after the other between two gateways that share this machine, from the order to bring it up until status says so");
        if let Some(middle) = stats::median(&alone) {
            figures.push(self.figure("handshakes-time", layer, "ms each", middle));
        }
        Ok(figures)
    }

    /// Steady datagrams, and new keys for everything in their middle.
    fn rekey(&mut self) -> io::Result<Vec<Figure>> {
        let time = self.plan.seconds.max(Duration::from_secs(1));
        let load = Load::steady(512, REKEY_RATE, time);
        let before = self.gateway()?.status()?["tunnels"][0]["children"].clone();
        let gateways = self.running.gateways.take().ok_or_else(|| io::Error::other("there is no gateway of ours"))?;
        let measured = std::thread::scope(|scope| {
            let asked = scope.spawn(|| {
                std::thread::sleep(time / 3);
                gateways[0].request(&Request::Rekey { tunnel: TUNNEL.into(), children: true, ike: true, pfs: false })
            });
            let counted = self.at_host(|client| client.datagrams(&load, Duration::from_millis(200)));
            asked.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            counted
        });
        let after = gateways[0].status()?["tunnels"][0]["children"].clone();
        self.running.gateways = Some(gateways);
        let (sent, tally) = measured?;
        let spis = |children: &serde_json::Value| {
            let all = children.as_array().cloned().unwrap_or_default();
            all.iter().map(|child| child["spis"].clone()).collect::<Vec<_>>()
        };
        if spis(&before) == spis(&after) {
            return Err(io::Error::other("the keys did not change"));
        }
        let lost = sent.datagrams.saturating_sub(tally.datagrams);
        let layer = "UDP payloads of 512 bytes, 10,000 a second; child and IKE SA get new keys meanwhile";
        #[allow(clippy::cast_precision_loss, reason = "a count")]
        let mut figure = self.figure("rekey-loss", layer, "lost", lost as f64);
        figure.note(format!("of {} sent in each round", sent.datagrams));
        Ok(vec![figure])
    }

    fn gateway(&self) -> io::Result<&Gateway> {
        self.running
            .gateways
            .as_ref()
            .map(|pair| &pair[0])
            .ok_or_else(|| io::Error::other("there is no gateway of ours"))
    }
}

fn wait_until(gateway: &Gateway, is: impl Fn(&serde_json::Value) -> bool) -> io::Result<serde_json::Value> {
    let end = clock::now() + PATIENCE;
    loop {
        let status = gateway.status()?;
        if is(&status) {
            return Ok(status);
        }
        if clock::now() > end {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "the tunnel does not do what it was told"));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_takes_the_beginnings_of_names() {
        let names = |only: &[&str], subject, roomy| {
            let only: Vec<String> = only.iter().map(|begin| (*begin).to_owned()).collect();
            Case::wanted(&only, subject, roomy).into_iter().map(Case::name).collect::<Vec<_>>()
        };
        assert_eq!(names(&["tcp-1"], Subject::None, false), ["tcp-1-forward", "tcp-1-reverse", "tcp-1-both"]);
        assert_eq!(names(&["udp"], Subject::None, false), ["udp-64", "udp-512", "udp-1300"]);
        assert_eq!(names(&["udp"], Subject::None, true), ["udp-imix"]);
        assert_eq!(names(&["handshakes", "rekey"], Subject::None, false), [""; 0]);
        assert_eq!(names(&["handshakes", "rekey"], Subject::Portcullis, false), ["handshakes", "rekey-loss"]);
        let all = names(&[], Subject::Portcullis, false).len() + names(&[], Subject::Portcullis, true).len();
        assert_eq!(all, Case::all().len());
    }

    #[test]
    fn the_mix_is_seven_to_four_to_one() {
        let count = |frame| IMIX.iter().filter(|each| **each == frame).count();
        assert_eq!((count(64), count(594), count(1518)), (7, 4, 1));
        let genome: String = IMIX
            .iter()
            .map(|frame| match frame {
                64 => 'a',
                594 => 'A',
                _ => 'g',
            })
            .collect();
        assert_eq!(genome, "aAaaAaaAaaAg");
    }
}
