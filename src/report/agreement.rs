//! `portcullis agreement` for people.

use std::fmt::Write as _;

use super::plain;
use super::table::{pairs, table};
use crate::agreement::Report;
use crate::event::DropReason;

/// Every agreement, a line each.
#[must_use]
pub fn all(reports: &[Report], width: usize) -> String {
    let rows: Vec<_> = reports
        .iter()
        .map(|report| {
            [
                name(report),
                report.state.to_string(),
                if report.passes { "passes".to_owned() } else { "CLOSED".to_owned() },
                report.organisation.clone().unwrap_or_else(|| "-".to_owned()),
                last_day(report).unwrap_or_else(|| "-".to_owned()),
                plain(&remarks(report).join("; ")),
            ]
        })
        .collect();
    table(["AGREEMENT", "STATE", "TRAFFIC", "ORGANISATION", "LAST DAY", "REMARKS"], &rows, width)
}

/// Everything about one.
#[must_use]
pub fn one(report: &Report) -> String {
    let mut rows = vec![("state", state(report))];
    let mut row = |key: &'static str, value: Option<String>| {
        if let Some(value) = value {
            rows.push((key, plain(&value)));
        }
    };
    row("why", report.why.clone());
    row("document", report.document.clone());
    row("digest", report.document_digest.clone());
    row("organisation", report.organisation.clone());
    row("classification", report.classification.clone());
    if let Some(term) = &report.term {
        let basis = match term.basis.as_deref() {
            Some("acknowledgement") => "acknowledged on",
            Some("latest-signature") => "signed last on",
            _ => "from",
        };
        row("term", Some(format!("{} years, {basis} {}", term.years, term.date)));
        let grace =
            if term.grace_days == 0 { String::new() } else { format!(", then {} days of grace", term.grace_days) };
        row(
            "ends",
            Some(format!("with the end of {} in {}{grace} ({})", term.last_day, term.zone, left(term.days_left))),
        );
    }
    row("last day", report.last_day.map(|day| format!("{day}: notice has been given")));
    if let Some(review) = &report.review {
        let last = review.last.map_or_else(|| "never reviewed".to_owned(), |day| format!("reviewed on {day}"));
        let due = if review.overdue { "OVERDUE since" } else { "due on" };
        row("review", Some(format!("{last}, {due} {}", review.due)));
    }
    let listed = |all: &[String]| (!all.is_empty()).then(|| all.join(", "));
    row("not as agreed", listed(&report.changed.iter().map(ToString::to_string).collect::<Vec<_>>()));
    row("record lacks", listed(&report.missing));
    let evidence = report.evidence.iter().map(|shown| format!("{} {}", shown.file, shown.digest));
    row("evidence", listed(&evidence.collect::<Vec<_>>()));
    row("authorisation", report.authorisation.clone());
    let mut out = format!("agreement {}\n{}", plain(&name(report)), pairs(&rows));
    for passage in report.history.iter().rev().take(10) {
        let by = plain(&passage.by);
        let _ =
            writeln!(out, "  {:.0}  {} -> {} ({by}): {}", passage.at, passage.from, passage.to, plain(&passage.cause));
    }
    out
}

/// What became of a wish.
#[must_use]
pub fn done(reports: &[Report]) -> String {
    let line = |report: &Report| format!("agreement {}: {}\n", plain(&name(report)), plain(&state(report)));
    reports.iter().map(line).collect()
}

fn name(report: &Report) -> String {
    if report.kind == "lab" { format!("{} (lab)", report.name) } else { report.name.clone() }
}

fn state(report: &Report) -> String {
    match report.closed.as_deref() {
        None => format!("{}, traffic passes", report.state),
        Some(reason) => {
            let sentence = DropReason::ALL.iter().find(|r| r.as_str() == reason).map_or(reason, |r| r.sentence());
            format!("{}, NOTHING PASSES: {sentence}", report.state)
        }
    }
}

/// The day that comes first: that of the term, or that of which notice was given.
fn last_day(report: &Report) -> Option<String> {
    let term = report.term.as_ref().map(|term| term.last_day);
    report.last_day.into_iter().chain(term).min().map(|day| day.to_string())
}

fn left(days: i32) -> String {
    match days {
        0 => "today".to_owned(),
        1 => "tomorrow".to_owned(),
        days if days < 0 => format!("{} days ago", days.unsigned_abs()),
        days => format!("in {days} days"),
    }
}

fn remarks(report: &Report) -> Vec<String> {
    let mut remarks = Vec::new();
    if !report.passes {
        remarks.extend(report.why.clone());
    }
    if let Some(term) = report.term.as_ref().filter(|term| report.passes && term.days_left <= 180) {
        remarks.push(format!("its term ends {}", left(term.days_left)));
    }
    if report.last_day.is_some() {
        remarks.push("notice has been given".to_owned());
    }
    if report.file_differs {
        remarks.push("the file names another term: `agreement renew`".to_owned());
    }
    if !report.changed.is_empty() {
        let parts: Vec<_> = report.changed.iter().map(|part| part.as_str()).collect();
        remarks.push(format!("renewal is due: another {} than agreed", parts.join(", ")));
    }
    if report.review.as_ref().is_some_and(|review| review.overdue) {
        remarks.push("the yearly review is overdue".to_owned());
    }
    remarks
}
