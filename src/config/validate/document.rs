//! The rules against their documents: a rule cites a clause that exists and a purpose that the document has.
//!
//! What contradicts a known document is an error. What a file could say before purposes existed is warned of: it still
//! loads. Of a document that is not known nothing is asked but that purposes are words that exist.

use super::rule::Rule;
use super::tunnel;
use crate::config::problem::{Problems, Span};
use crate::config::raw::{self, At, Named, nearest, printable};
use crate::policy::Service;
use crate::policy::document::{Document, Purpose};

/// Checks the clause and the purposes of each rule.
pub(super) fn check(
    raw_rules: &[(Span, raw::Rule)],
    rules: &[Option<Rule>],
    agreements: &[Named<raw::Agreement>],
    tunnels: &[Option<tunnel::Tunnel>],
    problems: &mut Problems,
) {
    for ((_, raw), rule) in raw_rules.iter().zip(rules) {
        let Some(rule) = rule else { continue };
        let Some(Some(tunnel)) = tunnels.get(rule.tunnel) else { continue };
        let agreement = agreements.iter().find(|named| *named.name.get_ref() == tunnel.agreement);
        let document = agreement
            .filter(|_| !tunnel.lab)
            .and_then(|named| named.body.document.as_ref())
            .and_then(|title| Document::titled(title.get_ref()));
        if let (Some(document), Some(clause)) = (document, &raw.clause) {
            cites(document, clause, rule.service, problems);
        }
        if let (Some(document), Some(service)) = (document, &raw.service) {
            serves(document, service, rule.service, problems);
            if raw.purpose.is_none() && document.wants_purpose(rule.service) {
                problems
                    .warning(
                        &service.span(),
                        format!("rule `{}` does not say what it is for", rule.name),
                        format!("the {} gives {} to named filings alone", document.title, rule.service.as_str()),
                    )
                    .mend(format!("add purpose = {}", purposes_for(document, rule.service)));
            }
        }
        for purpose in raw.purpose.iter().flat_map(At::get_ref) {
            serves_purpose(document, purpose, rule.service, problems);
        }
    }
}

/// The clause exists, and says something about the service.
fn cites(document: &Document, clause: &At<String>, service: Service, problems: &mut Problems) {
    let naming: Vec<_> =
        document.clauses.iter().filter(|of| of.services.contains(&service)).map(|of| of.number).collect();
    let names_it = if naming.is_empty() {
        String::new()
    } else {
        format!("; {} {} by {}", service.as_str(), "is allowed", naming.join(", "))
    };
    let Some(found) = document.clause(clause.get_ref()) else {
        let all: Vec<_> = document.clauses.iter().map(|clause| clause.number).collect();
        problems
            .error(
                &clause.span(),
                format!("the {} has no clause \"{}\"", document.title, printable(clause.get_ref())),
                "this clause",
            )
            .mend(format!("its clauses are {}{names_it}", all.join(", ")));
        return;
    };
    if !naming.is_empty() && !found.services.contains(&service) {
        problems
            .warning(
                &clause.span(),
                format!("clause {} of the {} does not name {}", found.number, document.title, service.as_str()),
                format!("it is about: {}", found.about),
            )
            .mend(format!("cite the clause that allows it{names_it}"));
    }
}

/// The document knows the service at all.
fn serves(document: &Document, word: &At<String>, service: Service, problems: &mut Problems) {
    if document.names(service) {
        return;
    }
    let all = [Service::Mq, Service::Sftp, Service::Smtp, Service::Tls];
    let named: Vec<_> = all.into_iter().filter(|of| document.names(*of)).map(Service::as_str).collect();
    problems
        .warning(
            &word.span(),
            format!("the {} does not name service \"{}\"", document.title, service.as_str()),
            "this service",
        )
        .mend(format!("it names {}; what it does not name is not authorised by it", named.join(", ")));
}

/// The purpose exists, and the document gives the service to it.
fn serves_purpose(document: Option<&'static Document>, word: &At<String>, service: Service, problems: &mut Problems) {
    let found = document.map_or_else(|| Purpose::any(word.get_ref()), |document| document.purpose(word.get_ref()));
    let Some(purpose) = found else {
        let known: Vec<&str> = match document {
            Some(document) => document.purposes.iter().map(|purpose| purpose.word).collect(),
            None => Document::ALL.into_iter().flat_map(|of| of.purposes).map(|purpose| purpose.word).collect(),
        };
        let whose = document.map_or_else(String::new, |document| format!(" of the {}", document.title));
        let noted = problems.error(
            &word.span(),
            format!("\"{}\" is no purpose{whose}", printable(word.get_ref())),
            "this purpose",
        );
        match nearest(word.get_ref(), known.iter().copied()) {
            Some(near) => noted.mend(format!("did you mean \"{near}\"? It can be {}", known.join(", "))),
            None => noted.mend(format!("it can be {}", known.join(", "))),
        }
        return;
    };
    // A document that is not known gives nothing, and takes nothing away.
    let Some(document) = document.filter(|_| !purpose.services.contains(&service)) else { return };
    let by: Vec<_> = purpose.services.iter().map(|service| service.as_str()).collect();
    problems
        .error(
            &word.span(),
            format!("the {} does not give {} to \"{}\"", document.title, service.as_str(), purpose.word),
            format!("{}: {} only", purpose.about, by.join(" or ")),
        )
        .mend(format!(
            "use service = \"{}\", or a purpose that {} is for: {}",
            by.first().copied().unwrap_or_default(),
            service.as_str(),
            purposes_for(document, service)
        ));
}

/// The purposes that a document gives a service to, as they are written in the file.
fn purposes_for(document: &Document, service: Service) -> String {
    let words: Vec<_> = document
        .purposes
        .iter()
        .filter(|purpose| purpose.services.contains(&service))
        .map(|purpose| format!("\"{}\"", purpose.word))
        .collect();
    if words.is_empty() { "none".to_owned() } else { words.join(" or ") }
}
