//! `[agreement.NAME]`: the document that a tunnel and its rules stand for.

use std::collections::BTreeMap;

use super::{choice, name_holds};
use crate::agreement::{Activation, Basis, Classification, Digest, Role, Zone};
use crate::config::Agreement;
use crate::config::problem::Problems;
use crate::config::raw::{self, At, Named, bounded, printable};

/// A name, an address, a number to call.
const MAX_CONTACT: usize = 200;
/// More days of grace than this are another agreement.
const MAX_GRACE: i64 = 90;

/// Checks one agreement. A real one says what it is and from when to when it holds; one of kind `lab` need not. What else a
/// complete record would have is warned of, so that a file of the first version loads.
pub(super) fn check(named: &Named<raw::Agreement>, problems: &mut Problems) -> Option<Agreement> {
    let raw = &named.body;
    let name_holds = name_holds("an agreement", &named.name, problems);
    let lab = match &raw.kind {
        Some(kind) => choice("kind", kind, &[("lab", true)], problems)?,
        None => false,
    };
    if !lab {
        required(named, problems);
    }
    let bases = [Basis::Acknowledgement, Basis::LatestSignature].map(|basis| (basis.as_str(), basis));
    let basis = optional(raw.basis.as_ref(), |basis| choice("basis", basis, &bases, problems))?;
    let years = optional(raw.years.as_ref(), |years| bounded("years", years, 1..=10, problems))?;
    let grace_days = optional(raw.grace_days.as_ref(), |days| bounded("grace_days", days, 0..=MAX_GRACE, problems))?;
    let classification = optional(raw.classification.as_ref(), |word| classification(word, problems))?;
    let document_digest =
        optional(raw.document_digest.as_ref(), |text| parsed::<Digest>("document_digest", text, DIGEST, problems))?;
    let zone = optional(raw.zone.as_ref(), |text| parsed::<Zone>("zone", text, ZONE, problems))?;
    let activations = [("file", Activation::File), ("operator", Activation::Operator)];
    let activation = optional(raw.activation.as_ref(), |word| choice("activation", word, &activations, problems))?;
    let contacts = contacts(raw.contacts.as_ref(), problems)?;
    let text = |value: &Option<At<String>>| value.as_ref().map(|text| text.get_ref().clone());
    let agreement = name_holds.then(|| Agreement {
        name: named.name.get_ref().clone(),
        lab,
        document: text(&raw.document),
        document_digest,
        organisation: text(&raw.organisation),
        contacts,
        classification,
        basis,
        date: raw.date.as_ref().map(|date| *date.get_ref()),
        years,
        zone: zone.unwrap_or_default(),
        grace_days: grace_days.unwrap_or_default(),
        reviewed: raw.reviewed.as_ref().map(|date| *date.get_ref()),
        termination: raw.termination.as_ref().map(|date| *date.get_ref()),
        activation: activation.unwrap_or_default(),
    })?;
    incomplete(named, &agreement, problems);
    dated(named, &agreement, problems);
    Some(agreement)
}

const DIGEST: &str = "write what `sha256sum` prints of the signed document: \"sha256:\" and 64 digits";
const ZONE: &str = "write \"UTC\" or the offset of the place whose days are meant, such as \"-05:00\"";

/// A value that may be absent: `None` only if it is there and does not hold.
#[allow(clippy::option_option, reason = "absent, and present but wrong, are two things")]
fn optional<T, V>(value: Option<&At<V>>, read: impl FnOnce(&At<V>) -> Option<T>) -> Option<Option<T>> {
    match value {
        None => Some(None),
        Some(value) => read(value).map(Some),
    }
}

fn parsed<T: std::str::FromStr<Err = &'static str>>(
    key: &str,
    text: &At<String>,
    mend: &str,
    problems: &mut Problems,
) -> Option<T> {
    match text.get_ref().parse() {
        Ok(value) => Some(value),
        Err(why) => {
            let message = format!("`{key}` cannot be \"{}\": {why}", printable(text.get_ref()));
            problems.error(&text.span(), message, "this value").mend(mend);
            None
        }
    }
}

/// Without these there is no agreement.
fn required(named: &Named<raw::Agreement>, problems: &mut Problems) {
    let raw = &named.body;
    let missing: Vec<_> = [
        ("document", raw.document.is_none(), "the title of the agreement"),
        ("organisation", raw.organisation.is_none(), "the other organisation"),
        ("basis", raw.basis.is_none(), "\"acknowledgement\" or \"latest-signature\""),
        ("date", raw.date.is_none(), "the day from which its term runs, such as 2025-03-01"),
        ("years", raw.years.is_none(), "how many years it holds"),
    ]
    .into_iter()
    .filter(|(_, missing, _)| *missing)
    .collect();
    for (key, _, what) in &missing {
        problems
            .error(
                &named.name.span(),
                format!("[agreement.{}] has no `{key}`", named.name.get_ref()),
                format!("`{key}` is missing here"),
            )
            .mend(format!("add `{key}`: {what}; or `kind = \"lab\"` if this is no real agreement"));
    }
}

/// TAXII ISA §1.4: "There are no provisions in place to transmit Confidential, or higher".
fn classification(word: &At<String>, problems: &mut Problems) -> Option<Classification> {
    if ["confidential", "secret", "top-secret", "top secret"].contains(&word.get_ref().to_lowercase().as_str()) {
        problems
            .error(
                &word.span(),
                "no agreement has provisions for what is Confidential, or higher",
                "this classification",
            )
            .mend("such data may not cross this tunnel");
        return None;
    }
    choice("classification", word, &Classification::ALL.map(|class| (class.as_str(), class)), problems)
}

fn contacts(raw: Option<&At<raw::Contacts>>, problems: &mut Problems) -> Option<BTreeMap<Role, String>> {
    let mut contacts = BTreeMap::new();
    let mut holds = true;
    for (role, text) in raw.iter().flat_map(|contacts| &contacts.get_ref().0) {
        if text.get_ref().chars().count() > MAX_CONTACT {
            holds = false;
            problems
                .error(&text.span(), format!("`{}` is too long", role.as_str()), "this text")
                .mend(format!("a name, an address and a number, up to {MAX_CONTACT} characters"));
        }
        contacts.insert(*role, text.get_ref().clone());
    }
    holds.then_some(contacts)
}

/// What is missing of a record beside what is required, in one warning.
fn incomplete(named: &Named<raw::Agreement>, agreement: &Agreement, problems: &mut Problems) {
    // What is an error already is not warned of as well.
    let missing = agreement.missing().into_iter().filter(|(key, _)| key != "document" && key != "organisation");
    let (keys, mends): (Vec<_>, Vec<_>) =
        missing.map(|(key, what)| (format!("`{key}`"), format!("`{key}`: {what}"))).unzip();
    if keys.is_empty() {
        return;
    }
    problems
        .warning(
            &named.name.span(),
            format!("the record of agreement `{}` is not complete: it has no {}", agreement.name, keys.join(", ")),
            "missing here",
        )
        .mend(format!("add {}", mends.join("; ")));
}

/// What is worth a warning on some days and not on others.
fn dated(named: &Named<raw::Agreement>, agreement: &Agreement, problems: &mut Problems) {
    let name = &agreement.name;
    if let (Some(date), Some(term)) = (&named.body.date, agreement.term()) {
        problems
            .warning_before(
                term.begins(),
                &date.span(),
                format!("agreement `{name}` begins in the future: nothing passes under it before {}", date.get_ref()),
                "this day has not come",
            )
            .mend("write the day of the acknowledgement or of the latest signature");
        problems
            .warning_from(
                term.ends(),
                &date.span(),
                format!("the term of agreement `{name}` ended with {}", term.last_day()),
                "counted from this day",
            )
            .mend("renew it with the other organisation, write the new day here, reload, then `portcullis agreement renew`");
    }
    if let Some(last) = &named.body.termination {
        problems
            .warning_from(
                agreement.zone.end_of(*last.get_ref()),
                &last.span(),
                format!("agreement `{name}` ended with {}: notice was given", last.get_ref()),
                "this day is over",
            )
            .mend("take the agreement out with its tunnels and rules, or write the new agreement under another name");
    }
}
