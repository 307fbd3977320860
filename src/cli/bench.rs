//! `bench`: how fast is it, here? What is measured is in `lab::bench`, how it is shown in `report::bench`.

use std::io::Write;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::exit::{Exit, Failure};
use crate::lab::bench::progress::Progress;
use crate::lab::bench::{BenchError, Outcome, crypto, path};
use crate::report;

/// What to measure.
#[derive(Debug, Subcommand)]
pub(super) enum Bench {
    /// Seal and open packets with each algorithm, of each provider.
    Crypto(Memory),
    /// Send packets through the whole packet path in memory, with and without its parts.
    Path(Memory),
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
