//! docs/POLICY.md says what is true: it names every reason, every key of a rule, every known document, clause range and purpose,
//! and the profiles are the files that `portcullis init` prints.
#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

mod support;

use portcullis::event::DropReason;
use portcullis::policy::document::Document;
use support::{Case, EXAMPLE};

const DOCUMENTATION: &str = include_str!("../docs/POLICY.md");

/// The words in backquotes in the first cell of each row of the tables below `heading`.
fn first_cells(heading: &str) -> Vec<&'static str> {
    let (_, rest) = DOCUMENTATION.split_once(&format!("\n{heading}\n")).unwrap_or_else(|| panic!("no {heading}"));
    let depth = heading.bytes().take_while(|byte| *byte == b'#').count();
    let ends = |line: &&str| {
        let level = line.bytes().take_while(|byte| *byte == b'#').count();
        (1..=depth).contains(&level)
    };
    let section = rest.lines().take_while(|line| !ends(line));
    let cells = section.filter_map(|line| line.strip_prefix("| `")?.split(" | ").next());
    cells.flat_map(|cell| cell.split(", ")).map(|word| word.trim_matches('`')).collect()
}

#[test]
fn every_reason_is_documented_and_no_other() {
    let mut documented = first_cells("## Reasons");
    let mut reasons: Vec<&str> = DropReason::ALL.iter().map(|reason| reason.as_str()).collect();
    documented.sort_unstable();
    reasons.sort_unstable();
    assert_eq!(documented, reasons);
}

/// The help on an unknown key lists the keys of its table.
fn keys(section: &str, text: &str) -> Vec<String> {
    let text = text.replacen(section, &format!("{section}wombat = 1\n"), 1);
    let refused = Case::new().load(&text).unwrap_err();
    let help = refused.errors[0].mend().expect("a list of keys");
    let mut keys: Vec<String> =
        help.trim_start_matches("the keys of this table are ").split(", ").map(str::to_owned).collect();
    keys.sort_unstable();
    keys
}

#[test]
fn every_key_of_a_rule_a_test_and_an_approval_is_documented_and_no_other() {
    let text = format!(
        "{EXAMPLE}\n[[test]]\nfrom = \"192.0.2.10\"\nto = \"203.0.113.20\"\nservice = \"mq\"\nexpect = \"allow\"\n[approval]\n\
         approver = \"A\"\nticket = \"T\"\n"
    );
    for (section, heading) in
        [("[[rule]]\n", "## Rules"), ("[[test]]\n", "### Tests"), ("[approval]\n", "### Approval")]
    {
        let mut documented = first_cells(heading);
        // Below the rules stand the documents and the services too.
        let known = keys(section, &text);
        documented.retain(|word| heading != "## Rules" || known.iter().any(|key| key == word));
        documented.sort_unstable();
        documented.dedup();
        assert_eq!(documented, known, "{heading}");
    }
}

#[test]
fn every_known_document_and_purpose_is_documented() {
    let titles = first_cells("### Documents");
    for document in Document::ALL {
        assert!(titles.contains(&document.title), "{}", document.title);
        for purpose in document.purposes {
            assert!(DOCUMENTATION.contains(&format!("`{}`", purpose.word)), "{}", purpose.word);
        }
    }
}

#[test]
fn every_clause_of_a_known_document_stands_in_the_explanation_of_its_profile() {
    for (document, heading) in Document::ALL.into_iter().zip(["### CBP", "### TAXII", "### AIS"]) {
        let (_, rest) = DOCUMENTATION.split_once(&format!("\n{heading}")).unwrap_or_else(|| panic!("no {heading}"));
        let section = rest.split("\n### ").next().unwrap_or_default();
        let section = section.split("\n## ").next().unwrap_or_default();
        let explained: Vec<_> = section
            .lines()
            .filter_map(|line| line.strip_prefix("| §").or_else(|| line.strip_prefix("| ")))
            .filter_map(|line| line.split(" | ").next())
            .flat_map(|cell| cell.split(", "))
            .filter_map(|number| document.clause(number))
            .map(|clause| clause.number)
            .collect();
        for clause in document.clauses {
            assert!(explained.contains(&clause.number), "{} of {}", clause.number, document.title);
        }
    }
}
