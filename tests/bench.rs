//! `portcullis bench` from the built binary: the shape of what it prints. Never a time, never a rate.

use std::process::{Command, Output};

use serde_json::Value;

fn portcullis(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_portcullis")).args(arguments).env_remove("RUST_LOG").output().expect("it starts")
}

/// What it printed, which is one object with the fields that every bench has.
fn outcome(arguments: &[&str], code: i32) -> Value {
    let output = portcullis(arguments);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(
        output.status.code(),
        Some(code),
        "{arguments:?}: {errors}\n{}",
        String::from_utf8_lossy(&output.stdout)
    );
    let shown: Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
    assert_eq!(shown["bench"], arguments[1]);
    assert!(shown["command"].as_str().is_some_and(|command| command.ends_with(&arguments.join(" "))), "{shown}");
    for key in ["cores", "kernel", "version", "build", "load"] {
        assert!(!shown["environment"][key].is_null(), "{key}: {}", shown["environment"]);
    }
    for figure in shown["figures"].as_array().expect("figures") {
        for key in ["subject", "case", "layer", "unit"] {
            assert!(figure[key].as_str().is_some_and(|text| !text.is_empty()), "{key}: {figure}");
        }
        let samples: Vec<f64> =
            figure["samples"].as_array().unwrap().iter().map(|each| each.as_f64().unwrap()).collect();
        assert!(!samples.is_empty(), "{figure}");
        let [low, middle, high] = ["minimum", "median", "maximum"].map(|key| figure[key].as_f64().unwrap());
        assert!(low <= middle && middle <= high, "{figure}");
    }
    shown
}

/// Subject and case of every figure.
fn cases(outcome: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    outcome["figures"].as_array().unwrap().iter().map(|each| (text(&each["subject"]), text(&each["case"]))).collect()
}

#[test]
fn the_path_in_memory_is_shown_with_intervals_and_with_what_its_parts_cost() {
    let shown = outcome(&["bench", "path", "--seconds", "0.01", "--json"], 0);
    let cases: Vec<String> = cases(&shown).into_iter().map(|(_, case)| case).collect();
    for way in ["outbound", "inbound"] {
        for what in
            ["single-64-aes-256-gcm", "single-1408-null", "batch-1-aes-256-gcm", "batch-64-null", "train-aes-256-gcm"]
        {
            assert!(cases.contains(&format!("{way}-{what}")), "{way}-{what} is not in {cases:?}");
        }
        for what in ["judgement-single", "judgement-train", "1000-rules-live", "1000-rules-new", "1000-rules-train"] {
            assert!(cases.contains(&format!("{way}-{what}")), "{way}-{what} is not in {cases:?}");
        }
    }
    for figure in shown["figures"].as_array().unwrap() {
        assert!(figure["interval95"].as_array().is_some_and(|ends| ends.len() == 2), "{figure}");
    }
}

#[test]
fn algorithms_are_shown_by_provider_and_size() {
    let shown = outcome(&["bench", "crypto", "--seconds", "0.01", "--json"], 0);
    let cases = cases(&shown);
    for provider in ["ring", "aws-lc-rs"] {
        for algorithm in ["AES-256-GCM", "ChaCha20-Poly1305"] {
            for case in ["seal-64", "open-576", "seal-1408", "open-9000"] {
                let wanted = (format!("{algorithm}, {provider}"), case.to_owned());
                assert!(cases.contains(&wanted), "{wanted:?} is not in {cases:?}");
            }
        }
    }
    assert!(cases.iter().any(|(subject, _)| subject.starts_with("AES-256-CBC with HMAC-SHA-256-128")));
}

#[test]
fn a_table_is_for_people() {
    let output = portcullis(&["bench", "crypto", "--seconds", "0.01"]);
    let shown = String::from_utf8(output.stdout).expect("text");
    assert_eq!(output.status.code(), Some(0));
    for part in ["Measured on", "Command", "WHAT", "95 % FROM", "ns a packet", "plaintexts of 1408 bytes"] {
        assert!(shown.contains(part), "{part}\n{shown}");
    }
}
