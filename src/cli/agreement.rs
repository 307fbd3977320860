//! `agreement`: how the agreements stand, and what the operator does to them. The running gateway is asked; where none runs,
//! its folder is, so that an agreement can be suspended before a gateway starts.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use jiff::civil::Date;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::client::Client;
use super::exit::{Exit, Failure};
use crate::agreement::{Digest, Effective, Evidence, MAX_EVIDENCE, Report, Wish};
use crate::config::{self, DEFAULT_FILE};
use crate::platform::clock;
use crate::report;
use crate::runtime::protocol::{Answer, Request};
use crate::runtime::{OfflineError, offline_reports, offline_wish};

/// What to do.
#[derive(Debug, Subcommand)]
pub(super) enum Agreement {
    /// Show how every agreement stands, or all about one. Ends with 7 if traffic does not pass under one that is shown.
    Status {
        /// Only this one, with everything that is known of it.
        name: Option<String>,
        #[command(flatten)]
        place: Place,
    },
    /// Put a draft in force.
    Activate {
        /// Name of the agreement.
        name: String,
        /// By what the other organisation has agreed to it.
        #[arg(long, value_name = "REFERENCE")]
        authorisation: Option<String>,
        /// The clock was wrong once and is right now: judge the dates of agreements by it again.
        #[arg(long, requires = "authorisation")]
        trust_clock: bool,
        #[command(flatten)]
        place: Place,
    },
    /// Record that an agreement was reviewed today.
    Review {
        /// Name of the agreement.
        name: String,
        /// What was found, or where it is written down.
        #[arg(long, value_name = "TEXT")]
        note: Option<String>,
        #[command(flatten)]
        place: Place,
    },
    /// Take over a new term, and what the file says now as what was agreed.
    Renew {
        /// Name of the agreement.
        name: String,
        /// The day of the new acknowledgement or signature; by default that of the file.
        #[arg(long, value_name = "YYYY-MM-DD")]
        date: Option<Date>,
        /// By what the other organisation has agreed to a change without a new term, or to go on after notice was given.
        #[arg(long, value_name = "REFERENCE")]
        authorisation: Option<String>,
        #[command(flatten)]
        place: Place,
    },
    /// Stop everything under an agreement at once.
    Suspend {
        /// Name of the agreement.
        name: String,
        /// Why.
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
        #[command(flatten)]
        place: Place,
    },
    /// Lead an agreement out of suspension: begin remediation, show evidence, reconnect with authorisation.
    Resume {
        /// Name of the agreement.
        name: String,
        /// Files that show the remediation; their digests are kept.
        #[arg(long, value_name = "FILE", num_args = 1..)]
        evidence: Vec<PathBuf>,
        /// By what the other organisation has authorised the reconnection.
        #[arg(long, value_name = "REFERENCE")]
        authorisation: Option<String>,
        #[command(flatten)]
        place: Place,
    },
    /// Give notice: the agreement ends for good with the end of a day, by default in thirty days.
    Terminate {
        /// Name of the agreement.
        name: String,
        /// Its last day, or now.
        #[arg(long, value_name = "YYYY-MM-DD|now", value_parser = effective)]
        effective: Option<Effective>,
        #[command(flatten)]
        place: Place,
    },
}

/// Where the agreements are, and how they are shown.
#[derive(Debug, Args)]
pub(super) struct Place {
    /// Configuration file: which socket to ask, and which folder if no gateway runs.
    #[arg(long, value_name = "FILE", default_value = DEFAULT_FILE)]
    file: PathBuf,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

fn effective(text: &str) -> Result<Effective, String> {
    match text {
        "now" => Ok(Effective::Now),
        day => day.parse().map(Effective::On).map_err(|_| "write a day such as 2027-01-31, or now".to_owned()),
    }
}

/// Does it.
pub(super) fn agreement(socket: Option<PathBuf>, what: Agreement, out: &mut dyn Write) -> Result<Exit, Failure> {
    let (name, wish, place) = match what {
        Agreement::Status { name, place } => return status(socket, name.as_deref(), &place, out),
        Agreement::Activate { name, authorisation, trust_clock, place } => {
            (name, Wish::Activate { authorisation, trust_clock }, place)
        }
        Agreement::Review { name, note, place } => (name, Wish::Review { note }, place),
        Agreement::Renew { name, date, authorisation, place } => (name, Wish::Renew { date, authorisation }, place),
        Agreement::Suspend { name, reason, place } => (name, Wish::Suspend { reason }, place),
        Agreement::Resume { name, evidence, authorisation, place } => {
            (name, Wish::Resume { evidence: shown(&evidence)?, authorisation }, place)
        }
        Agreement::Terminate { name, effective, place } => (name, Wish::Terminate { effective }, place),
    };
    let request = Request::Agreement { name: name.clone(), wish: wish.clone() };
    let reports = if let Some(reports) = ask(socket, &place.file, &request)? {
        reports
    } else {
        let loaded = config::load_rules(&place.file)?;
        let by = format!("uid {}", nix::unistd::getuid());
        let (reports, events) = offline_wish(&loaded, &name, &wish, &by, clock::wall())?;
        for event in events {
            eprintln!("portcullis: {}", report::event::sentence(&json!(event).to_string()));
        }
        reports
    };
    if place.json {
        writeln!(out, "{}", json!({ "agreements": reports }))?;
    } else {
        out.write_all(report::agreement::done(&reports).as_bytes())?;
    }
    Ok(Exit::Done)
}

fn status(socket: Option<PathBuf>, name: Option<&str>, place: &Place, out: &mut dyn Write) -> Result<Exit, Failure> {
    let request = Request::Agreements { name: name.map(str::to_owned) };
    let reports = if let Some(reports) = ask(socket, &place.file, &request)? {
        reports
    } else {
        let mut reports = offline_reports(&config::load_rules(&place.file)?, clock::wall())?;
        reports.retain(|report| name.is_none_or(|name| report.name == name));
        if let Some(name) = name.filter(|_| reports.is_empty()) {
            return Err(Failure::Refused(format!("no agreement is called `{name}`")));
        }
        reports
    };
    if place.json {
        writeln!(out, "{}", json!({ "agreements": reports }))?;
    } else {
        let text = match (name, reports.first()) {
            (Some(_), Some(one)) => report::agreement::one(one),
            _ => report::agreement::all(&reports, report::width()),
        };
        out.write_all(text.as_bytes())?;
    }
    Ok(if reports.iter().all(|report| report.passes) { Exit::Done } else { Exit::Differs })
}

/// Asks the running gateway; `None` if none runs. A file that does not load stands in nobody's way: the gateway that runs was
/// started with another one.
fn ask(socket: Option<PathBuf>, file: &Path, request: &Request) -> Result<Option<Vec<Report>>, Failure> {
    let named = socket.is_some();
    let socket = socket.or_else(|| config::load_rules(file).ok().map(|loaded| loaded.gateway.control_socket));
    match Client::connect(socket) {
        Ok(mut client) => match client.ask(request)? {
            (Answer::Agreements { agreements }, _) => Ok(Some(agreements)),
            _ => Err(Failure::Refused("the gateway answers something else than its agreements".to_owned())),
        },
        // Who names a socket means the gateway behind it.
        Err(Failure::NotRunning { .. }) if !named => Ok(None),
        Err(failure) => Err(failure),
    }
}

/// The digests of the files that are shown.
fn shown(files: &[PathBuf]) -> Result<Vec<Evidence>, Failure> {
    if files.len() > MAX_EVIDENCE {
        return Err(Failure::Usage(format!("up to {MAX_EVIDENCE} files are taken at a time; put them in an archive")));
    }
    files.iter().map(|path| evidence(path)).collect()
}

fn evidence(path: &Path) -> Result<Evidence, Failure> {
    let unreadable = |error: io::Error| Failure::Usage(format!("cannot read {}: {error}", path.display()));
    let mut file = File::open(path).map_err(unreadable)?;
    let (mut hash, mut size, mut room) = (Sha256::new(), 0_u64, vec![0; 64 << 10]);
    loop {
        let read = file.read(&mut room).map_err(unreadable)?;
        let Some(bytes) = room.get(..read).filter(|bytes| !bytes.is_empty()) else { break };
        hash.update(bytes);
        size += read as u64;
    }
    let file = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
    Ok(Evidence { file, size, digest: Digest(hash.finalize().into()) })
}

impl From<OfflineError> for Failure {
    fn from(error: OfflineError) -> Self {
        match error {
            OfflineError::Refused(refusal) => Self::Refused(refusal.to_string()),
            OfflineError::Folder { folder, error } if error.kind() == io::ErrorKind::AddrInUse => {
                Self::Refused(format!(
                    "a gateway runs with state_dir {}, and does not answer on its socket: name that with --socket",
                    folder.display()
                ))
            }
            OfflineError::Folder { folder, error } => Self::system(format!("state_dir {}", folder.display()), error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_last_day_is_a_day_or_now() {
        assert_eq!(effective("now"), Ok(Effective::Now));
        assert_eq!(effective("2027-01-31"), Ok(Effective::On(jiff::civil::date(2027, 1, 31))));
        for wrong in ["", "tomorrow", "2027-02-30", "31.01.2027"] {
            assert!(effective(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn evidence_is_known_by_its_digest_and_a_file_that_is_not_there_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("report.pdf");
        std::fs::write(&path, b"abc").unwrap();
        let shown = evidence(&path).unwrap();
        assert_eq!((shown.file.as_str(), shown.size, shown.digest), ("report.pdf", 3, Digest::of(b"abc")));
        assert_eq!(evidence(&folder.path().join("none")).unwrap_err().exit(), Exit::Usage);
    }
}
