//! `bench`: how fast is it, here? What is measured is in `lab::bench`, how it is shown in `report::bench`.

use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

use super::exit::{Exit, Failure};
use crate::lab::bench::ends::PORT;
use crate::lab::bench::peers::Subject;
use crate::lab::bench::pins::{self, Pins};
use crate::lab::bench::progress::Progress;
use crate::lab::bench::site::Underlay;
use crate::lab::bench::{BenchError, Outcome, crypto, path, remote, rfc2544, tunnel};
use crate::report;
use crate::runtime::provider;

/// What to measure.
#[derive(Debug, Subcommand)]
pub(super) enum Bench {
    /// Seal and open packets with each algorithm, of each provider.
    Crypto(Memory),
    /// Send packets through the whole packet path in memory, with and without its parts.
    Path(Memory),
    /// Send traffic through a tunnel between two gateways of this program, in namespaces of its own, and through none.
    Tunnel(Tunnel),
    /// The same through every other tunnel that is installed here, in turn with ours.
    Compare(Tunnel),
    /// Throughput, latency, frame loss and back-to-back frames as RFC 2544 measures them, through our own tunnel. Takes hours.
    Rfc2544(Rfc2544),
    /// Answer `bench run` on another machine, one client at a time, until Ctrl-C.
    Serve {
        /// Address to listen at; :: takes both IP versions.
        #[arg(long, default_value = "0.0.0.0", value_name = "ADDRESS")]
        bind: IpAddr,
        /// Port for TCP and UDP; UDP of the next one is used too.
        #[arg(long, default_value_t = PORT, value_parser = clap::value_parser!(u16).range(1..=65534))]
        port: u16,
    },
    /// Measure to `bench serve` on another machine, over whatever lies between, also a tunnel that is already up.
    Run {
        /// Where it listens.
        #[arg(long, value_name = "ADDRESS[:PORT]")]
        peer: Peer,
        #[command(flatten)]
        traffic: Traffic,
    },
}

/// An address, with a port or without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Peer(SocketAddr);

impl std::str::FromStr for Peer {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(address) = text.trim_matches(['[', ']']).parse() {
            return Ok(Self(SocketAddr::new(address, PORT)));
        }
        text.parse().map(Self).map_err(|_| "write an IP address, or ADDRESS:PORT")
    }
}

/// The bench of RFC 2544.
#[derive(Debug, Args)]
pub(super) struct Rfc2544 {
    /// Only frames of so many bytes; may be given several times.
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u16).range(64..=9000))]
    frame: Vec<u16>,
    /// Shorter and less often than RFC 2544 asks for; every figure says that it does not conform.
    #[arg(long)]
    quick: bool,
    /// On which wire between the gateways.
    #[arg(long, value_enum, value_name = "WIRE", default_value = "plain")]
    underlay: Wire,
    /// Measure the network without a tunnel too.
    #[arg(long)]
    ceiling: bool,
    /// Bind gateways and hosts to processors: a side of its own each, and with four everybody.
    #[arg(long)]
    pin: bool,
    #[command(flatten)]
    shape: Shape,
}

/// A bench that needs nothing but a processor.
#[derive(Debug, Args)]
pub(super) struct Memory {
    /// How long each variant is measured.
    #[arg(long, value_name = "SECONDS", default_value = "0.5", value_parser = seconds)]
    seconds: Duration,
    /// Stay on one processor, and with several threads on one each.
    #[arg(long)]
    pin: bool,
    #[command(flatten)]
    shape: Shape,
}

/// A bench in namespaces.
#[derive(Debug, Args)]
pub(super) struct Tunnel {
    /// On which wire between the gateways; may be given several times. By default plain and card.
    #[arg(long, value_enum, value_name = "WIRE")]
    underlay: Vec<Wire>,
    #[command(flatten)]
    traffic: Traffic,
}

/// What is sent, and how long.
#[derive(Debug, Args)]
pub(super) struct Traffic {
    /// How long each figure is measured in a round.
    #[arg(long, value_name = "SECONDS", default_value = "3", value_parser = seconds)]
    seconds: Duration,
    /// How often everything is measured, in turn.
    #[arg(long, value_name = "COUNT", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=1000))]
    rounds: u16,
    /// Only cases whose name begins so, such as tcp, tcp-1-forward, udp-64, latency; may be given several times.
    #[arg(long, value_name = "CASE")]
    only: Vec<String>,
    /// Let the kernel segment the generator's datagrams: less work for the generator, and trains for the gateway.
    #[arg(long)]
    generator_gso: bool,
    /// Bind gateways and hosts to processors: a side of its own each, and with four everybody.
    #[arg(long)]
    pin: bool,
    #[command(flatten)]
    shape: Shape,
}

/// How what was found is shown.
#[derive(Debug, Args)]
pub(super) struct Shape {
    /// Print one JSON object with every sample.
    #[arg(long)]
    json: bool,
    /// Write a page with plots too, for a report: one file that needs no network.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Wire {
    /// A veth pair as it is.
    Plain,
    /// Like a network card.
    Card,
    /// Without offloads.
    None,
    /// 20 ms there and back, 0.1 % loss.
    Wan,
}

impl Wire {
    const fn underlay(self) -> Underlay {
        match self {
            Self::Plain => Underlay::Plain,
            Self::Card => Underlay::Card,
            Self::None => Underlay::None,
            Self::Wan => Underlay::Wan,
        }
    }
}

impl Tunnel {
    fn plan(&self) -> Result<tunnel::Plan, Failure> {
        let wires = if self.underlay.is_empty() { &[Wire::Plain, Wire::Card][..] } else { &self.underlay };
        let mut underlays: Vec<_> = wires.iter().map(|wire| wire.underlay()).collect();
        underlays.sort_unstable();
        underlays.dedup();
        self.traffic.plan(underlays)
    }
}

impl Traffic {
    fn plan(&self, underlays: Vec<Underlay>) -> Result<tunnel::Plan, Failure> {
        let known = tunnel::cases();
        if let Some(wrong) = self.only.iter().find(|begin| !known.iter().any(|name| name.starts_with(begin.as_str()))) {
            return Err(Failure::Usage(format!("no case is called {wrong}; there are {}", known.join(", "))));
        }
        Ok(tunnel::Plan {
            seconds: self.seconds,
            rounds: usize::from(self.rounds),
            only: self.only.clone(),
            underlays,
            segments: self.generator_gso,
            pin: pinned(self.pin)?,
        })
    }
}

/// Who is bound to which processor, if that is asked for.
fn pinned(wanted: bool) -> Result<Option<Pins>, Failure> {
    if !wanted {
        return Ok(None);
    }
    let pins = Pins::here().map_err(|error| Failure::system("the processors of this process", error))?;
    pins.map(Some).ok_or_else(|| Failure::Usage("--pin needs two processors, and there is one".into()))
}

impl Memory {
    /// Stays on its processors, if that is asked for.
    fn bind(&self, outcome: &mut Outcome) -> Result<(), Failure> {
        if !self.pin {
            outcome.plan("pinned", "no");
            return Ok(());
        }
        let system = |error| Failure::system("the processors of this process", error);
        let processors = pins::stay().map_err(system)?;
        outcome.plan("pinned", format!("one thread on the first, several in turn on all of {processors:?}"));
        Ok(())
    }
}

/// Runs a bench.
pub(super) fn bench(what: Bench, out: &mut dyn Write) -> Result<Exit, Failure> {
    let shape = match &what {
        Bench::Crypto(words) | Bench::Path(words) => Some(&words.shape),
        Bench::Tunnel(words) | Bench::Compare(words) => Some(&words.traffic.shape),
        Bench::Rfc2544(words) => Some(&words.shape),
        Bench::Run { traffic, .. } => Some(&traffic.shape),
        Bench::Serve { .. } => None,
    };
    shape.map_or(Ok(()), Shape::can_be_written)?;
    match what {
        Bench::Crypto(words) => {
            let mut outcome = Outcome::new("crypto");
            outcome.plan("seconds_each", words.seconds.as_secs_f64());
            words.bind(&mut outcome)?;
            let progress = Progress::new(crypto::variants());
            outcome.figures.0 = crypto::measure(words.seconds, |what| progress.step(what));
            drop(progress);
            show(&outcome, &words.shape, out)
        }
        Bench::Path(words) => {
            let mut outcome = Outcome::new("path");
            outcome.plan("seconds_each", words.seconds.as_secs_f64());
            outcome.plan("cipher", "AES-256-GCM with extended sequence numbers, in UDP; null: neither encrypted nor authenticated, in memory only");
            outcome.plan("provider", provider::fastest().name());
            words.bind(&mut outcome)?;
            let progress = Progress::new(path::variants());
            outcome.figures.0 = path::measure(words.seconds, |what| progress.step(what));
            drop(progress);
            show(&outcome, &words.shape, out)
        }
        Bench::Tunnel(words) => told(tunnel::run("tunnel", &words.plan()?, &[]), &words.traffic.shape, out),
        Bench::Compare(words) => {
            told(tunnel::run("compare", &words.plan()?, &Subject::PEERS), &words.traffic.shape, out)
        }
        Bench::Rfc2544(words) => {
            let frames: Vec<usize> = words.frame.iter().map(|frame| usize::from(*frame)).collect();
            let plan = rfc2544::Plan {
                frames: if frames.is_empty() { rfc2544::FRAMES.to_vec() } else { frames },
                quick: words.quick,
                underlay: words.underlay.underlay(),
                ceiling: words.ceiling,
                pin: pinned(words.pin)?,
            };
            told(rfc2544::run(&plan), &words.shape, out)
        }
        Bench::Serve { bind, port } => Ok(remote::serve(bind, port).map(|()| Exit::Done)?),
        Bench::Run { peer, traffic } => told(remote::run(&traffic.plan(Vec::new())?, peer.0), &traffic.shape, out),
    }
}

/// Shows what was found. That nothing works is not a failure of the system.
fn told(ran: Result<Outcome, BenchError>, shape: &Shape, out: &mut dyn Write) -> Result<Exit, Failure> {
    match ran {
        Err(BenchError::Failed(why)) => {
            eprintln!("portcullis: {why}");
            Ok(Exit::Differs)
        }
        ran => show(&ran?, shape, out),
    }
}

fn show(outcome: &Outcome, shape: &Shape, out: &mut dyn Write) -> Result<Exit, Failure> {
    let shown = outcome.json();
    if shape.json {
        writeln!(out, "{shown}")?;
    } else {
        out.write_all(report::bench::outcome(&shown, report::width()).as_bytes())?;
    }
    shape.write(|| report::bench_page::page(&shown))?;
    Ok(if outcome.failed.is_empty() { Exit::Done } else { Exit::Differs })
}

impl Shape {
    /// Writes the page, if one is wanted.
    fn write(&self, page: impl FnOnce() -> String) -> Result<(), Failure> {
        let Some(file) = &self.html else { return Ok(()) };
        std::fs::write(file, page()).map_err(|error| Failure::system(format!("writing {}", file.display()), error))
    }

    /// Nobody is to measure for hours and learn then that the page cannot be written.
    fn can_be_written(&self) -> Result<(), Failure> {
        self.write(String::new)
    }
}

/// A time from a hundredth of a second to an hour.
fn seconds(text: &str) -> Result<Duration, String> {
    let number: f64 = text.parse().map_err(|_| "write a number of seconds".to_owned())?;
    if !(0.01..=3600.0).contains(&number) {
        return Err("from 0.01 to 3600 seconds".to_owned());
    }
    Ok(Duration::from_secs_f64(number))
}

impl From<BenchError> for Failure {
    fn from(error: BenchError) -> Self {
        match error {
            BenchError::System { what, source } => Self::system(what, source),
            BenchError::Refused(why) | BenchError::Failed(why) => Self::Refused(why),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const JSON: Shape = Shape { json: true, html: None };

    #[test]
    fn times_have_bounds() {
        assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
        for text in ["0", "-1", "3601", "NaN", "inf", "soon"] {
            assert!(seconds(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_peer_has_a_port_or_the_usual_one() {
        let peer = |text: &str| text.parse::<Peer>().map(|peer| peer.0.to_string());
        assert_eq!(peer("192.0.2.1"), Ok("192.0.2.1:5201".into()));
        assert_eq!(peer("192.0.2.1:99"), Ok("192.0.2.1:99".into()));
        assert_eq!(peer("2001:db8::1"), Ok("[2001:db8::1]:5201".into()));
        assert_eq!(peer("[2001:db8::1]:99"), Ok("[2001:db8::1]:99".into()));
        assert!(peer("example.com").is_err());
    }

    #[test]
    fn a_tunnel_that_does_not_come_up_is_7() {
        let failed = || BenchError::Failed("it does not come up".into());
        assert_eq!(told(Err(failed()), &JSON, &mut Vec::new()).unwrap(), Exit::Differs);
        let refused = BenchError::Refused("another client is served now".into());
        assert_eq!(told(Err(refused), &JSON, &mut Vec::new()).unwrap_err().exit(), Exit::Refused);
    }

    #[test]
    fn what_could_not_be_measured_makes_it_7() {
        let mut outcome = Outcome::new("tunnel");
        assert_eq!(show(&outcome, &JSON, &mut Vec::new()).unwrap(), Exit::Done);
        outcome.failed.push("udp-64: the tunnel went down".into());
        assert_eq!(show(&outcome, &JSON, &mut Vec::new()).unwrap(), Exit::Differs);
    }
}
