//! `policy explain --pcap`: would the flows of a capture pass?

use std::io::Write;
use std::path::Path;

use crate::cli::exit::{Exit, Failure};
use crate::cli::read_capture;
use crate::cli::words::{Question, Spoken};
use crate::config;
use crate::inspect::replay::{self, By, Outcome};
use crate::policy::{Service, Snapshot};
use crate::report;

/// Judges, prints, and ends with 0 if no flow is refused.
pub(super) fn explain(file: &Path, question: &Question, out: &mut dyn Write) -> Result<Exit, Failure> {
    let capture = read_capture(file)?;
    let replayed = match question.service {
        Some(service) => {
            let service = Service::from(service);
            let ports = replay::opened_ports(&capture).map_err(Failure::Usage)?;
            let policy = Snapshot::anybody(service, ports.into_iter().collect());
            replay::replay(&capture, By::Service(&policy))
        }
        None => replay::replay(&capture, By::Policy(&config::load_rules(&question.file)?.policy)),
    };
    let replayed = replayed.map_err(Failure::Usage)?;
    if question.json {
        let line = serde_json::to_string(&replayed).map_err(std::io::Error::from)?;
        writeln!(out, "{line}")?;
    } else {
        out.write_all(report::policy::capture(&replayed, report::width()).as_bytes())?;
    }
    Ok(if replayed.verdict == Some(Outcome::Refused) { Exit::Refused } else { Exit::Done })
}

impl From<Spoken> for Service {
    fn from(spoken: Spoken) -> Self {
        match spoken {
            Spoken::Mq => Self::Mq,
            Spoken::Sftp => Self::Sftp,
            Spoken::Smtp => Self::Smtp,
            Spoken::Tls => Self::Tls,
            Spoken::Tcp => Self::Tcp,
        }
    }
}
