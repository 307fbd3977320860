//! `[agreement.NAME]`: the document that a tunnel and its rules stand for.

use super::{choice, name_holds};
use crate::config::problem::Problems;
use crate::config::raw::{self, Named, bounded};
use crate::config::{Agreement, Basis};

/// Checks one agreement. A real one says what it is and from when to when it holds; one of kind `lab` need not.
pub(super) fn check(named: &Named<raw::Agreement>, problems: &mut Problems) -> Option<Agreement> {
    let raw = &named.body;
    let name_holds = name_holds("an agreement", &named.name, problems);
    let lab = match &raw.kind {
        Some(kind) => choice("kind", kind, &[("lab", true)], problems)?,
        None => false,
    };
    if !lab {
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
    let words = [("acknowledgement", Basis::Acknowledgement), ("latest-signature", Basis::LatestSignature)];
    let basis = match &raw.basis {
        Some(basis) => Some(choice("basis", basis, &words, problems)?),
        None => None,
    };
    let years = match &raw.years {
        Some(years) => Some(bounded("years", years, 1..=10, problems)?),
        None => None,
    };
    let text = |value: &Option<raw::At<String>>| value.as_ref().map(|text| text.get_ref().clone());
    name_holds.then(|| Agreement {
        name: named.name.get_ref().clone(),
        lab,
        document: text(&raw.document),
        organisation: text(&raw.organisation),
        basis,
        date: raw.date.as_ref().map(|date| *date.get_ref()),
        years,
    })
}
