//! `bench`: how fast is it, here? What is measured is in `lab::bench`, how it is shown in `report::bench`.

use std::io::Write;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

use super::exit::{Exit, Failure};
use crate::lab::bench::peers::Subject;
use crate::lab::bench::progress::Progress;
use crate::lab::bench::site::Underlay;
use crate::lab::bench::{BenchError, Outcome, crypto, path, tunnel};
use crate::report;

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
}

/// A bench that needs nothing but a processor.
#[derive(Debug, Args)]
pub(super) struct Memory {
    /// How long each variant is measured.
    #[arg(long, value_name = "SECONDS", default_value = "0.5", value_parser = seconds)]
    seconds: Duration,
    /// Print one JSON object with every sample.
    #[arg(long)]
    json: bool,
}

/// A bench in namespaces.
#[derive(Debug, Args)]
pub(super) struct Tunnel {
    /// How long each figure is measured in a round.
    #[arg(long, value_name = "SECONDS", default_value = "3", value_parser = seconds)]
    seconds: Duration,
    /// How often everything is measured, in turn.
    #[arg(long, value_name = "COUNT", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=1000))]
    rounds: u16,
    /// Only cases whose name begins so, such as tcp, tcp-1-forward, udp-64, latency; may be given several times.
    #[arg(long, value_name = "CASE")]
    only: Vec<String>,
    /// On which wire between the gateways; may be given several times. By default plain and card.
    #[arg(long, value_enum, value_name = "WIRE")]
    underlay: Vec<Wire>,
    /// Let the kernel segment the generator's datagrams: less work for the generator, and trains for the gateway.
    #[arg(long)]
    generator_gso: bool,
    /// Bind both gateways and both hosts to a processor each; needs four.
    #[arg(long)]
    pin: bool,
    /// Print one JSON object with every sample.
    #[arg(long)]
    json: bool,
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

impl Tunnel {
    fn plan(&self) -> Result<tunnel::Plan, Failure> {
        let known = tunnel::cases();
        if let Some(wrong) = self.only.iter().find(|begin| !known.iter().any(|name| name.starts_with(begin.as_str()))) {
            return Err(Failure::Usage(format!("no case is called {wrong}; there are {}", known.join(", "))));
        }
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        if self.pin && cores < 4 {
            return Err(Failure::Usage(format!("--pin needs four processors, and there are {cores}")));
        }
        let wires = if self.underlay.is_empty() { &[Wire::Plain, Wire::Card][..] } else { &self.underlay };
        let mut underlays: Vec<_> = wires
            .iter()
            .map(|wire| match wire {
                Wire::Plain => Underlay::Plain,
                Wire::Card => Underlay::Card,
                Wire::None => Underlay::None,
                Wire::Wan => Underlay::Wan,
            })
            .collect();
        underlays.sort_unstable();
        underlays.dedup();
        Ok(tunnel::Plan {
            seconds: self.seconds,
            rounds: usize::from(self.rounds),
            only: self.only.clone(),
            underlays,
            segments: self.generator_gso,
            pin: self.pin,
        })
    }
}

/// Runs a bench.
pub(super) fn bench(what: Bench, out: &mut dyn Write) -> Result<Exit, Failure> {
    match what {
        Bench::Crypto(words) => {
            let mut outcome = Outcome::new("crypto");
            outcome.plan("seconds_each", words.seconds.as_secs_f64());
            let progress = Progress::new(crypto::variants());
            outcome.figures.0 = crypto::measure(words.seconds, |what| progress.step(what));
            drop(progress);
            show(&outcome, words.json, out)
        }
        Bench::Path(words) => {
            let mut outcome = Outcome::new("path");
            outcome.plan("seconds_each", words.seconds.as_secs_f64());
            outcome.plan("cipher", "AES-256-GCM with extended sequence numbers, in UDP; null: neither encrypted nor authenticated, in memory only");
            let progress = Progress::new(path::variants());
            outcome.figures.0 = path::measure(words.seconds, |what| progress.step(what));
            drop(progress);
            show(&outcome, words.json, out)
        }
        Bench::Tunnel(words) => show(&tunnel::run("tunnel", &words.plan()?, &[])?, words.json, out),
        Bench::Compare(words) => show(&tunnel::run("compare", &words.plan()?, &Subject::PEERS)?, words.json, out),
    }
}

fn show(outcome: &Outcome, json: bool, out: &mut dyn Write) -> Result<Exit, Failure> {
    let shown = outcome.json();
    if json {
        writeln!(out, "{shown}")?;
    } else {
        out.write_all(report::bench::outcome(&shown, report::width()).as_bytes())?;
    }
    Ok(if outcome.failed.is_empty() { Exit::Done } else { Exit::Differs })
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

    #[test]
    fn times_have_bounds() {
        assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
        for text in ["0", "-1", "3601", "NaN", "inf", "soon"] {
            assert!(seconds(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_could_not_be_measured_makes_it_7() {
        let mut outcome = Outcome::new("tunnel");
        assert_eq!(show(&outcome, true, &mut Vec::new()).unwrap(), Exit::Done);
        outcome.failed.push("udp-64: the tunnel went down".into());
        assert_eq!(show(&outcome, true, &mut Vec::new()).unwrap(), Exit::Differs);
    }
}
