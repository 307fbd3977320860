//! `policy diff`: what would a file change?

use std::io::Write;
use std::path::{Path, PathBuf};

use crate::cli::client::Client;
use crate::cli::exit::{Exit, Failure};
use crate::config;
use crate::policy::difference;
use crate::report;
use crate::report::policy::{Difference, Side};
use crate::runtime::protocol::{Answer, InForce, Request};

/// Compares a file with the policy in force, or with another file; ends with 0 if they mean the same.
pub(in crate::cli) fn diff(
    socket: Option<PathBuf>,
    file: &Path,
    against: Option<&Path>,
    json: bool,
    out: &mut dyn Write,
) -> Result<Exit, Failure> {
    let (after, after_text) = of_file(file)?;
    let (before, before_text) = match against {
        Some(other) => of_file(other)?,
        None => in_force(socket)?,
    };
    let changes = difference::between(&before_text, &after_text);
    let same = changes.is_empty();
    let difference = Difference { before, after, changes };
    if json {
        let line = serde_json::to_string(&difference).map_err(std::io::Error::from)?;
        writeln!(out, "{line}")?;
    } else {
        out.write_all(report::policy::difference(&difference).as_bytes())?;
    }
    Ok(if same { Exit::Done } else { Exit::Differs })
}

/// A file that is still to be tested and approved can be looked at all the same.
fn of_file(file: &Path) -> Result<(Side, String), Failure> {
    let loaded = config::load_tests(file)?;
    let approval = loaded.approval.as_ref();
    let side = Side {
        what: file.display().to_string(),
        policy: hex::encode(loaded.policy.digest()),
        approver: approval.map(|approved| approved.approver.clone()),
        ticket: approval.map(|approved| approved.ticket.clone()),
    };
    Ok((side, loaded.policy.canonical_text()))
}

fn in_force(socket: Option<PathBuf>) -> Result<(Side, String), Failure> {
    match Client::connect(socket)?.ask(&Request::Policy {})? {
        (Answer::Policy(in_force), _) => {
            let InForce { policy, canonical, approver, ticket } = *in_force;
            Ok((Side { what: "in force".to_owned(), policy, approver, ticket }, canonical))
        }
        _ => Err(Failure::Refused("the gateway answers something else than its policy".to_owned())),
    }
}
