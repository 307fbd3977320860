//! A policy before it is taken over: clauses and purposes that exist, tests that pass, an approval that is for it, and what a file
//! would change.
#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

mod support;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixListener;
use std::process::{Command, Output};

use portcullis::config::{self, ConfigError};
use serde_json::Value;
use support::{Case, EXAMPLE, LAB};

fn portcullis(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_portcullis")).args(arguments).env_remove("RUST_LOG").output().expect("it starts")
}

fn code(output: &Output) -> i32 {
    output.status.code().expect("it ends by itself")
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"))
}

/// A test beside the example's rule.
fn case(from: &str, to: &str, what: &str, expect: &str) -> String {
    format!("{EXAMPLE}\n[[test]]\nfrom = \"{from}\"\nto = \"{to}\"\n{what}\nexpect = \"{expect}\"\n")
}

const US: &str = "192.0.2.10";
const CBP: &str = "203.0.113.20";

fn refused(text: &str) -> ConfigError {
    Case::new().load(text).map(drop).expect_err("it loads")
}

/// The one error of a file: its message, the line that it is on, and the mend.
#[track_caller]
fn says(text: &str, message: &str, line: &str, mend: &str) {
    let refused = refused(text);
    assert_eq!(refused.errors.len(), 1, "{}", refused.render(false));
    let error = &refused.errors[0];
    assert!(error.message().contains(message), "{error}");
    assert!(error.mend().is_some_and(|help| help.contains(mend)), "{:?}", error.mend());
    let (number, _) = error.place().expect("a place");
    assert!(text.lines().nth(number - 1).is_some_and(|found| found.contains(line)), "line {number}");
}

#[track_caller]
fn warns(text: &str, message: &str) {
    let loaded = Case::new().load(text).unwrap_or_else(|refused| panic!("{}", refused.render(false)));
    assert!(loaded.warnings.iter().any(|of| of.message().contains(message)), "{:?}", loaded.warnings);
}

// Tests of the file.

#[test]
fn tests_in_the_agreements_words_pass_where_the_rules_say_so() {
    for text in [
        case(US, CBP, "service = \"mq\"", "allow"),
        case(US, CBP, "port = 1414", "allow"),
        case(US, CBP, "service = \"tcp\"\nport = 1414", "allow"),
        case(US, CBP, "port = 23", "no-rule"),
        case(US, CBP, "service = \"udp\"\nport = 1414", "no-rule"),
        case(US, CBP, "service = \"echo\"", "no-rule"),
        case(US, "198.18.0.1", "port = 443", "not-ours"),
        case(CBP, US, "service = \"mq\"", "wrong-direction"),
        case("127.0.0.1", CBP, "service = \"mq\"", "bad-source"),
        case(US, CBP, "service = \"mq\"", "tunnel-disabled")
            .replace("[[rule]]", "[[rule]]\n")
            .replace("[tunnel.cbp]", "[tunnel.cbp]\nstart = \"disabled\""),
    ] {
        let loaded = Case::new().load(&text).unwrap_or_else(|refused| panic!("{}", refused.render(false)));
        assert!(loaded.tests.len() == 1 && loaded.tests[0].passed, "{text}");
    }
}

#[test]
fn a_file_whose_test_fails_does_not_load_and_says_what_became_of_it() {
    says(
        &case(US, CBP, "service = \"mq\"", "no-rule"),
        "a test of this file fails: mq from 192.0.2.10 to 203.0.113.20 port 1414 is allowed (rule `mq`)",
        "expect = \"no-rule\"",
        "change the rules",
    );
    says(
        &case(US, CBP, "service = \"sftp\"", "allow"),
        "sftp from 192.0.2.10 to 203.0.113.20 port 22 is refused, no-rule (rule `mq`)",
        "expect = \"allow\"",
        "change the rules",
    );
}

#[test]
fn a_test_of_many_hosts_fails_with_the_first_that_differs() {
    let hosts = "[\"192.0.2.10\", \"192.0.2.11\"]";
    let text = case(US, CBP, "service = \"mq\"", "allow").replace("from = \"192.0.2.10\"", &format!("from = {hosts}"));
    says(&text, "from 192.0.2.11 to 203.0.113.20 port 1414 is refused, no-rule", "expect", "change the rules");
}

#[test]
fn a_test_that_means_nothing_is_refused_with_its_line_and_mend() {
    for (text, message, line, mend) in [
        (case(US, CBP, "", "allow"), "[[test]] names no port", "[[test]]", "add `service`"),
        (case(US, CBP, "port = 0", "allow"), "`port` is out of bounds", "port = 0", "1 to 65535"),
        (case(US, CBP, "service = \"mqq\"", "allow"), "`service` cannot be \"mqq\"", "mqq", "did you mean \"mq\"?"),
        (case(US, CBP, "port = 1", "no-rul"), "`expect` cannot be \"no-rul\"", "no-rul", "did you mean \"no-rule\"?"),
        (case(US, CBP, "port = 1", "yes"), "`expect` cannot be \"yes\"", "yes", "docs/POLICY.md"),
        (case("mq.example", CBP, "port = 1", "allow"), "\"mq.example\" is not an address", "mq.example", "the address"),
        (case("::1", CBP, "port = 1", "allow"), "mix IPv4 and IPv6", "to =", "each address family"),
        (case(US, CBP, "service = \"echo\"\nport = 7", "allow"), "echo has no port", "port = 7", "take `port` out"),
        (case(US, CBP, "prot = 23", "allow"), "unknown key `prot` in [[test]]", "prot", "did you mean `port`?"),
    ] {
        let refused = refused(&text);
        let error = refused.errors.iter().find(|of| of.message().contains(message));
        let error = error.unwrap_or_else(|| panic!("nothing says {message}: {}", refused.render(false)));
        assert!(error.mend().is_some_and(|help| help.contains(mend)), "{:?}", error.mend());
        let (number, _) = error.place().expect("a place");
        assert!(text.lines().nth(number - 1).is_some_and(|found| found.contains(line)), "{message}, line {number}");
    }
}

#[test]
fn policy_test_shows_every_case_and_ends_with_1_if_one_fails() {
    let directory = Case::new();
    let text = case(US, CBP, "service = \"mq\"", "allow")
        + &case(US, CBP, "port = 23", "allow").replace(EXAMPLE, "")
        + &case(CBP, US, "port = 1414", "wrong-direction").replace(EXAMPLE, "");
    let file = directory.file(&text);
    let file = file.to_str().unwrap();
    let output = portcullis(&["policy", "test", file]);
    let shown = String::from_utf8(output.stdout.clone()).unwrap();
    assert_eq!(code(&output), 1, "{shown}");
    assert!(shown.contains("1 of 3 failed") && shown.contains("FAILED"), "{shown}");
    let answer = json(&portcullis(&["policy", "test", "--json", file]));
    let passed: Vec<_> = answer["tests"].as_array().unwrap().iter().map(|of| of["passed"] == true).collect();
    assert_eq!((passed, &answer["passed"]), (vec![true, false, true], &false.into()));
    assert_eq!((&answer["tests"][0]["rule"], &answer["tests"][0]["clause"]), (&"mq".into(), &"1a".into()));
    let line = answer["tests"][1]["line"].as_u64().unwrap() as usize;
    assert_eq!(text.lines().nth(line - 1), Some("[[test]]"));
    // The same file does not load, and one without the failing case passes.
    assert_eq!(code(&portcullis(&["check", file])), 3);
    let good = directory.file(&case(US, CBP, "service = \"mq\"", "allow"));
    assert_eq!(code(&portcullis(&["policy", "test", good.to_str().unwrap()])), 0);
    let none = directory.file(EXAMPLE);
    let output = portcullis(&["policy", "test", none.to_str().unwrap()]);
    assert!(code(&output) == 0 && String::from_utf8_lossy(&output.stdout).contains("has no [[test]]"));
}

#[test]
fn a_reload_whose_tests_fail_is_refused_and_the_running_policy_is_the_old_one() {
    let directory = Case::new();
    let running = directory.load(&case(US, CBP, "service = \"mq\"", "allow")).unwrap();
    let digest = running.policy.digest();
    let file = directory
        .file(&case(US, CBP, "service = \"mq\"", "allow").replace("service = \"mq\"\n\n", "service = \"tls\"\n\n"));
    let refused = config::reload(&file, &running).map(drop).unwrap_err();
    assert!(refused.to_string().contains("a test of this file fails"), "{refused}");
    assert_eq!(running.policy.digest(), digest);
}

// Clauses and purposes.

/// The example with another rule.
fn rule(clause: &str, service: &str, more: &str) -> String {
    EXAMPLE
        .replace("\"1a\"", &format!("\"{clause}\""))
        .replace("service = \"mq\"", &format!("service = \"{service}\"\n{more}"))
}

#[test]
fn a_clause_that_the_document_does_not_have_is_refused_with_the_ones_it_has() {
    says(
        &rule("9z", "mq", ""),
        "CBP Interconnection Security Agreement has no clause \"9z\"",
        "9z",
        "its clauses are 1, 1a, 1b",
    );
    let ais = EXAMPLE
        .replace("CBP Interconnection Security Agreement", "Automated Indicator Sharing Interconnection Agreement");
    says(
        &ais.replace("\"mq\"\n\"", "").replace("service = \"mq\"", "service = \"tls\""),
        "has no clause \"1a\"",
        "1a",
        "tls is allowed by 3.1, 3.4",
    );
    for written in ["§1a", "1.a", "1 (a)", "1b"] {
        assert!(Case::new().load(&rule(written, "mq", "")).unwrap().warnings.is_empty(), "{written}");
    }
    // Nothing is known of other documents, nor asked of a laboratory's.
    assert!(Case::new().load(&rule("9z", "mq", "").replace("CBP Interconnection", "Harbour Interconnection")).is_ok());
    assert!(Case::new().load(LAB).is_ok());
}

#[test]
fn a_clause_or_a_document_that_says_nothing_of_the_service_is_warned_of() {
    warns(&rule("3", "mq", ""), "clause 3 of the CBP Interconnection Security Agreement does not name mq");
    warns(&rule("1a", "tcp", "tcp = [4000]"), "does not name service \"tcp\"");
    warns(&rule("1a", "sftp", ""), "rule `mq` does not say what it is for");
}

#[test]
fn an_unknown_purpose_is_refused_with_the_nearest_one() {
    says(
        &rule("1a", "sftp", "purpose = \"stowplan\""),
        "\"stowplan\" is no purpose of the CBP Interconnection Security Agreement",
        "stowplan",
        "did you mean \"stow-plan\"?",
    );
    says(
        &rule("1a", "sftp", "purpose = [\"stow-plan\", \"public\"]"),
        "\"public\" is no purpose of the CBP",
        "public",
        "it can be stow-plan",
    );
    says(
        &format!("{LAB}\npurpose = \"wombat\"\n"),
        "\"wombat\" is no purpose",
        "wombat",
        "it can be stow-plan, container-status, aes-commodity, indicators",
    );
}

#[test]
fn mail_is_for_stow_plans_alone_by_the_strict_reading() {
    for purpose in ["container-status", "aes-commodity"] {
        says(
            &rule("1a", "smtp", &format!("purpose = \"{purpose}\"")),
            &format!("does not give smtp to \"{purpose}\""),
            purpose,
            "use service = \"sftp\", or a purpose that smtp is for: \"stow-plan\"",
        );
        // §1b can be read as giving mail to every filing; citing it changes nothing.
        assert!(Case::new().load(&rule("1b", "smtp", &format!("purpose = \"{purpose}\""))).is_err());
    }
    for (service, purpose) in
        [("smtp", "stow-plan"), ("sftp", "stow-plan"), ("sftp", "container-status"), ("sftp", "aes-commodity")]
    {
        let loaded = Case::new().load(&rule("1a", service, &format!("purpose = \"{purpose}\""))).unwrap();
        assert_eq!((loaded.policy.rules()[0].purposes.as_slice(), loaded.warnings.len()), (&[purpose][..], 0));
    }
    says(
        &rule("1a", "mq", "purpose = \"stow-plan\""),
        "does not give mq to \"stow-plan\"",
        "stow-plan",
        "service = \"sftp\"",
    );
}

#[test]
fn a_purpose_stands_in_the_digest_and_its_order_does_not() {
    let digest = |purpose: &str| Case::new().load(&rule("1a", "sftp", purpose)).unwrap().policy.digest();
    let both = digest("purpose = [\"stow-plan\", \"aes-commodity\"]");
    assert_eq!(both, digest("purpose = [\"aes-commodity\", \"stow-plan\"]"));
    assert_ne!(both, digest("purpose = \"stow-plan\""));
    assert_ne!(both, digest(""));
}

// Approval.

fn approved(policy: &str) -> String {
    format!("{EXAMPLE}\n[approval]\napprover = \"J. Doe\"\nticket = \"CHG-7\"\n{policy}")
}

#[test]
fn an_approval_is_for_the_policy_whose_digest_it_names() {
    let directory = Case::new();
    let loaded = directory.load(&approved("")).unwrap();
    let approval = loaded.approval.clone().unwrap();
    assert_eq!((approval.approver.as_str(), approval.ticket.as_str(), approval.by_digest), ("J. Doe", "CHG-7", false));
    let digest = hex::encode(loaded.policy.digest());
    for written in [digest.clone(), digest[..16].to_uppercase()] {
        let by_digest = directory.load(&approved(&format!("policy = \"{written}\"\n"))).unwrap();
        assert!(by_digest.approval.unwrap().by_digest);
    }
    let changed = approved(&format!("policy = \"{}\"\n", &digest[..16])).replace("203.0.113.20", "203.0.113.21");
    says(&changed, "this policy is not the one that was approved", "policy = ", "portcullis policy diff");
    says(&approved("policy = \"0123\"\n"), "`policy` is no digest", "0123", "16 to 64 hexadecimal digits");
}

#[test]
fn a_policy_that_changes_while_its_approval_does_not_is_warned_of() {
    let directory = Case::new();
    let running = directory.load(&approved("")).unwrap();
    let reload = |text: &str| config::reload(&directory.file(text), &running).unwrap();
    let stale = |text: &str| reload(text).warnings.iter().any(|of| of.message().contains("its approval has not"));
    let changed = approved("").replace("203.0.113.20", "203.0.113.21");
    assert!(stale(&changed));
    assert!(!stale(&changed.replace("CHG-7", "CHG-8")) && !stale(&approved("")) && !stale(EXAMPLE));
}

#[test]
fn an_approval_without_a_name_or_a_ticket_is_refused() {
    says(&approved("").replace("ticket = \"CHG-7\"\n", ""), "[approval] has no `ticket`", "[approval]", "add `ticket`");
    says(
        &approved("").replace("approver = \"J. Doe\"\n", ""),
        "[approval] has no `approver`",
        "[approval]",
        "who has approved",
    );
}

// Difference.

#[test]
fn diff_shows_what_a_file_would_change_and_nothing_else() {
    let directory = Case::new();
    let before = directory.path("before.toml");
    fs::copy(directory.file(EXAMPLE), &before).unwrap();
    let before = before.to_str().unwrap();
    // The same rules in other words.
    let same =
        directory.file(&EXAMPLE.replace("[[rule]]", "# a comment\n[[rule]]").replace("\"1a\"", "\"1a\"\ntcp = [1414]"));
    let output = portcullis(&["policy", "diff", same.to_str().unwrap(), "--against", before]);
    assert_eq!(code(&output), 0, "{output:?}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("they mean the same"));
    let more = "\n[[rule]]\nname = \"files\"\ntunnel = \"cbp\"\nclause = \"1a\"\nfrom = [\"192.0.2.11\"]\nto = [\"203.0.113.21\"]\n\
                service = \"sftp\"\npurpose = \"stow-plan\"\n";
    let after = directory.file(&(EXAMPLE.replace("\"203.0.113.20\"", "\"203.0.113.22\"") + more));
    let arguments = ["policy", "diff", after.to_str().unwrap(), "--against", before];
    let output = portcullis(&arguments);
    assert_eq!(code(&output), 7);
    let shown = String::from_utf8_lossy(&output.stdout);
    assert!(
        shown.contains("added rule files") && shown.contains("changed rule mq") && shown.contains("2 changes"),
        "{shown}"
    );
    let answer = json(&portcullis(&[&arguments[..], &["--json"]].concat()));
    let changes = answer["changes"].as_array().unwrap();
    let mq = changes.iter().find(|of| of["about"] == "rule mq").unwrap();
    assert!(
        mq["before"].as_str().unwrap().contains("203.0.113.20")
            && mq["after"].as_str().unwrap().contains("203.0.113.22")
    );
    assert_ne!(answer["before"]["policy"], answer["after"]["policy"]);
}

#[test]
fn diff_asks_the_running_gateway_for_its_policy() {
    let directory = Case::new();
    let loaded = directory.load(EXAMPLE).unwrap();
    let socket = directory.path("control.sock");
    let answer = serde_json::json!({
        "policy": "ab".repeat(32), "canonical": loaded.policy.canonical_text(), "approver": "J. Doe", "ticket": "CHG-7",
    });
    let listener = UnixListener::bind(&socket).unwrap();
    let gateway = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = String::new();
        BufReader::new(stream.try_clone().unwrap()).read_line(&mut request).unwrap();
        writeln!(stream, "{answer}").unwrap();
        request
    });
    let file = directory.path("portcullis.toml");
    let output = portcullis(&["policy", "diff", file.to_str().unwrap(), "--socket", socket.to_str().unwrap()]);
    assert_eq!(gateway.join().unwrap().trim_end(), r#"{"op":"policy"}"#);
    let shown = String::from_utf8_lossy(&output.stdout);
    assert_eq!(code(&output), 0, "{output:?}");
    assert!(shown.contains("in force, approved by J. Doe, CHG-7") && shown.contains("they mean the same"), "{shown}");
}

// Profiles.

/// A profile, and the same with its empty values filled in.
fn profile(name: &str) -> (String, String) {
    let output = portcullis(&["init", "--profile", name]);
    assert_eq!(code(&output), 0);
    let text = String::from_utf8(output.stdout).unwrap();
    let digest = format!("document_digest = \"sha256:{}\"", "0".repeat(64));
    let filled = text.replace("date = \"\"", "date = 2025-03-01").replace("document_digest = \"\"", &digest);
    (text, filled.replace("= \"\"", "= \"Example Brokers\""))
}

#[test]
fn a_profile_loads_once_its_empty_values_are_filled_in_and_not_before() {
    for name in ["cbp", "taxii", "ais"] {
        let (text, filled) = profile(name);
        let path = std::path::Path::new("profile.toml");
        let refused = config::load_text(path, &text, None).map(drop).unwrap_err();
        for error in &refused.errors {
            let (number, _) = error.place().expect("a place");
            let line = text.lines().nth(number - 1).unwrap_or_default();
            // That something is missing is said where its table begins.
            assert!(
                line.contains("\"\"") && line.contains("EDIT") || line.starts_with("[agreement"),
                "{name}: {error}"
            );
        }
        let loaded =
            config::load_text(path, &filled, None).unwrap_or_else(|refused| panic!("{}", refused.render(false)));
        assert!(loaded.warnings.is_empty(), "{name}: {:?}", loaded.warnings);
        assert!(loaded.tests.len() >= 3 && loaded.tests.iter().all(|test| test.passed));
        assert!(loaded.policy.rules().iter().all(portcullis::policy::Rule::opener_is_local));
    }
}

#[test]
fn what_the_cbp_profile_has_switched_off_loads_when_it_is_switched_on() {
    let (_, filled) = profile("cbp");
    let mut on = String::new();
    for line in filled.lines() {
        // From the first rule that is switched off to the tests.
        let off = line.strip_prefix("# ").filter(|rest| rest.starts_with("[[rule]]") || rest.contains(" = "));
        on.push_str(off.unwrap_or(line));
        on.push('\n');
    }
    let on = on.replace("policy = \"0123456789abcdef\"", "");
    let loaded =
        config::load_text(std::path::Path::new("profile.toml"), &on.replace("# [approval]", "[approval]"), None);
    let loaded = loaded.unwrap_or_else(|refused| panic!("{}", refused.render(false)));
    let names: Vec<_> = loaded.policy.rules().iter().map(|rule| (rule.name.as_str(), rule.purposes.len())).collect();
    assert_eq!(names, [("mq", 0), ("filings", 3), ("stow-plans-by-mail", 1)]);
    assert!(loaded.warnings.is_empty() && loaded.approval.is_some());
}
