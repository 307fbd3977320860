//! Seeds for the configuration: rules that their documents do not bear, records of agreements that are wrong in one way each, and
//! tests that fail.

use super::{REAL, Seed};

/// Each rule contradicts the document under which it stands, in another way.
const CONTRADICTIONS: &str = r#"
[[rule]]
name = "no-such-clause"
tunnel = "cbp"
clause = "§9z"
from = ["192.0.2.11"]
to = ["203.0.113.21"]
service = "mq"

[[rule]]
name = "another-clause"
tunnel = "cbp"
clause = "clause (2a)."
from = ["192.0.2.11"]
to = ["203.0.113.22"]
service = "mq"

[[rule]]
name = "no-such-service"
tunnel = "cbp"
clause = "1a"
from = ["192.0.2.11"]
to = ["203.0.113.23"]
service = "tls"

[[rule]]
name = "no-purpose"
tunnel = "cbp"
clause = "1a"
from = ["192.0.2.11"]
to = ["203.0.113.24"]
service = "sftp"

[[rule]]
name = "no-such-service-nor-clause"
tunnel = "cbp"
clause = "77"
from = ["192.0.2.11"]
to = ["203.0.113.29"]
service = "tls"

[[rule]]
name = "a-purpose"
tunnel = "cbp"
clause = "1a"
purpose = ["stow-plan"]
from = ["192.0.2.11"]
to = ["203.0.113.25"]
service = "smtp"
"#;

/// Purposes that do not exist, here or at all, and one that the document does not give the service to.
const PURPOSES: &str = r#"
[[rule]]
name = "nearly"
tunnel = "cbp"
clause = "1a"
purpose = ["stow-plans", "quite something else"]
from = ["192.0.2.11"]
to = ["203.0.113.26"]
service = "sftp"

[[rule]]
name = "mail"
tunnel = "cbp"
clause = "1a"
purpose = ["container-status"]
from = ["192.0.2.11"]
to = ["203.0.113.27"]
service = "smtp"

[[rule]]
name = "queue"
tunnel = "cbp"
clause = "1a"
purpose = ["stow-plan"]
from = ["192.0.2.11"]
to = ["203.0.113.28"]
service = "mq"
"#;

/// Under a document that is not known: a purpose of some document, one of none, and any clause.
const UNKNOWN: &str = r#"
[[rule]]
name = "of-some-document"
tunnel = "cbp"
clause = "99"
purpose = ["stow-plan"]
from = ["192.0.2.11"]
to = ["203.0.113.26"]
service = "mq"

[[rule]]
name = "of-none"
tunnel = "cbp"
clause = "98"
purpose = ["odd"]
from = ["192.0.2.11"]
to = ["203.0.113.27"]
service = "sftp"
"#;

/// What is wrong with one record each.
const RECORDS: [&str; 14] = [
    "kind = \"real\"",
    "basis = \"acknowledgment\"",
    "years = 0",
    "grace_days = 91",
    "classification = \"Secret\"",
    "classification = \"unclassifed\"",
    "document_digest = \"sha256:00\"",
    "zone = \"CET\"",
    "activation = \"nobody\"",
    "contacts = { primary = \"LONG\" }",
    "date = 2999-01-01\nyears = 1\nbasis = \"acknowledgement\"",
    "termination = 2020-01-01",
    "date = 2001-01-01\nyears = 1\nbasis = \"latest-signature\"\nzone = \"+14:00\"",
    "document = \"D\"\norganisation = \"O\"\ndate = 2020-01-01\nyears = 1\ntermination = 2020-06-01",
];

/// Tests that hold, and tests that do not.
const TESTS: &str = r#"
[[test]]
from = ["192.0.2.10", "192.0.2.11"]
to = "203.0.113.20"
service = "mq"
expect = "allow"

[[test]]
from = "192.0.2.10"
to = "203.0.113.20"
service = "mq"
expect = "no-rule"

[[test]]
from = "192.0.2.10"
to = "203.0.113.20"
service = "echo"
expect = "allow"

[[test]]
from = "2001:db8::1"
to = "2001:db8::2"
service = "echo"
expect = "not-ours"

[[test]]
from = "2001:db8::1"
to = "2001:db8::2"
service = "udp"
port = 53
expect = "allow"
"#;

/// Tests that ask nothing that could be answered.
const QUESTIONS: &str = r#"
[[test]]
from = "192.0.2.10"
to = "2001:db8::1"
service = "mq"
expect = "allow"

[[test]]
from = "192.0.2.10"
to = "203.0.113.20"
service = "echo"
port = 7
expect = "allow"

[[test]]
from = "192.0.2.10"
to = "203.0.113.20"
expect = "allow"

[[test]]
from = "192.0.2.10"
to = "203.0.113.20"
service = "udp"
expect = "alow"

[[test]]
from = "192.0.2.10:22"
to = "203.0.113.20"
port = 70000
expect = "quite another word"

[[test]]
from = "192.0.2.10"
to = "203.0.113.20"
service = "ftp"
expect = "allow"
"#;

const APPROVED: &str = "\n[approval]\napprover = \"J. Doe\"\nticket = \"CHG-1\"\n";

pub(super) fn agreements_of_files() -> Vec<Seed> {
    let records = RECORDS.iter().enumerate().map(|(number, lines)| {
        // The last two are whole records, the others of a laboratory.
        let kind = if lines.contains("kind") || number > 10 { "" } else { "kind = \"lab\"\n" };
        format!("\n[agreement.a{number}]\n{kind}{}\n", lines.replace("LONG", &"x".repeat(201)))
    });
    let text = |more: &str| format!("{REAL}{more}").into_bytes();
    let of = |title: &str, more: &str| {
        format!("{REAL}{more}").replace("CBP Interconnection Security Agreement", title).into_bytes()
    };
    let hosts = |count: usize| (0..count).map(|host| format!("\"192.0.2.{host}\"")).collect::<Vec<_>>().join(", ");
    let many =
        format!("[[test]]\nfrom = [{}]\nto = [{}]\nservice = \"mq\"\nexpect = \"no-rule\"\n", hosts(60), hosts(60));
    let too_many =
        format!("\n{}[[test]]\nfrom = [{}]\nto = \"1.1.1.1\"\nexpect = \"allow\"\n", many.repeat(20), hosts(300));
    vec![
        ("records", [text(""), records.collect::<String>().into_bytes()].concat()),
        (
            "records_dated",
            text(
                "\n[agreement.old]\ndocument = \"D\"\norganisation = \"O\"\nbasis = \"acknowledgement\"\ndate = 2020-01-01\nyears = 1\ntermination = 2020-06-01\n",
            ),
        ),
        ("documents", text(CONTRADICTIONS)),
        ("documents_purposes", text(PURPOSES)),
        ("documents_of_tls", of("TAXII ISA", PURPOSES)),
        ("documents_unknown", of("Another Agreement", UNKNOWN)),
        ("tests", text(TESTS)),
        ("tests_of_nothing", text(QUESTIONS)),
        ("tests_too_many", text(&too_many)),
        ("approved", text(APPROVED)),
        ("approved_another", text(&format!("{APPROVED}policy = \"0123456789abcdef\"\n"))),
        ("approved_nothing", text(&format!("{APPROVED}policy = \"xyz\"\n"))),
    ]
}
