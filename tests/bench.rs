//! `portcullis bench` from the built binary: the shape of what it prints. Never a time, never a rate.

#[path = "lab_common/mod.rs"]
mod lab_common;

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

fn portcullis(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_portcullis")).args(arguments).env_remove("RUST_LOG").output().expect("it starts")
}

/// What it printed, which is one object with the fields that every bench has.
fn outcome(arguments: &[&str], code: i32) -> Value {
    outcome_and_steps(arguments, code).0
}

/// The same, and what it said of each step on standard error, which is no terminal here.
fn outcome_and_steps(arguments: &[&str], code: i32) -> (Value, Vec<String>) {
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
            figure["samples"].as_array().expect("samples").iter().filter_map(Value::as_f64).collect();
        assert!(!samples.is_empty(), "{figure}");
        let [low, middle, high] = ["minimum", "median", "maximum"].map(|key| figure[key].as_f64().expect("a number"));
        assert!(low <= middle && middle <= high, "{figure}");
    }
    (shown, steps(&errors))
}

/// What was done at each step, which are counted up to a number that is said beforehand.
fn steps(said: &str) -> Vec<String> {
    let lines: Vec<&str> = said.lines().filter(|line| line.starts_with(|first: char| first.is_ascii_digit())).collect();
    let of = lines.len();
    let step = |(at, line): (usize, &&str)| {
        let (_, what) = line
            .strip_prefix(&format!("{}/{of} after ", at + 1))
            .and_then(|rest| rest.split_once(" s: "))
            .unwrap_or_else(|| panic!("line {} of {of}: {line}", at + 1));
        what.to_owned()
    };
    lines.iter().enumerate().map(step).collect()
}

/// Subject and case of every figure.
fn cases(outcome: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let figures = outcome["figures"].as_array().expect("figures").iter();
    figures.map(|each| (text(&each["subject"]), text(&each["case"]))).collect()
}

#[test]
fn the_path_in_memory_is_shown_with_intervals_and_with_what_its_parts_cost() {
    let shown = outcome(&["bench", "path", "--seconds", "0.01", "--json"], 0);
    let provider = shown["plan"]["provider"].as_str().expect("whose AES it was");
    assert!(["ring", "aws-lc-rs"].contains(&provider), "{provider}");
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
    let (shown, steps) = outcome_and_steps(&["bench", "crypto", "--seconds", "0.01", "--json"], 0);
    assert_eq!(steps.len(), shown["figures"].as_array().map_or(0, Vec::len), "a line for each: {steps:?}");
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
fn a_page_is_written_with_plots_and_nothing_is_measured_for_one_that_cannot_be() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("page.html");
    let name = file.to_str().expect("text");
    let shown = outcome(&["bench", "crypto", "--seconds", "0.01", "--pin", "--html", name, "--json"], 0);
    assert!(shown["plan"]["pinned"].as_str().is_some_and(|pinned| pinned.starts_with("one thread on the first")));
    let page = std::fs::read_to_string(&file).expect("a page");
    assert_eq!(page.matches("<svg").count(), 2, "sealing and opening");
    for figure in shown["figures"].as_array().expect("figures") {
        let case = figure["case"].as_str().expect("text");
        assert!(page.contains(&format!("<td>{case}</td>")), "{case}");
    }
    for part in ["<script", "http"] {
        assert!(!page.contains(part), "{part}");
    }
    let nowhere = folder.path().join("no/page.html");
    let output = portcullis(&["bench", "rfc2544", "--html", nowhere.to_str().expect("text")]);
    assert_eq!(output.status.code(), Some(9), "{}", String::from_utf8_lossy(&output.stderr));
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

/// Folders that a bench of this process's children may have left.
fn left_behind() -> Vec<PathBuf> {
    let folder = std::fs::read_dir(std::env::temp_dir()).expect("a folder for temporary files");
    let entries = folder.flatten().map(|entry| entry.path());
    entries
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("portcullis-bench-")))
        .collect()
}

#[test]
fn a_tunnel_is_measured_beside_no_tunnel_and_nothing_stays_behind() {
    if lab_common::topology("a_tunnel_is_measured_beside_no_tunnel_and_nothing_stays_behind").is_none() {
        return;
    }
    let before = left_behind();
    let words =
        ["bench", "tunnel", "--seconds", "1", "--rounds", "1", "--only", "tcp-1", "--underlay", "plain", "--json"];
    let (shown, steps) = outcome_and_steps(&words, 0);
    let expected = ["none", "portcullis"]
        .map(|subject| ["forward", "reverse", "both"].map(|way| format!("round 1, plain, {subject}: tcp-1-{way}")));
    assert_eq!(steps, expected.as_flattened());
    let cases = cases(&shown);
    for way in ["forward", "reverse", "both", "both-there", "both-back"] {
        for subject in ["none", "portcullis"] {
            let wanted = (subject.to_owned(), format!("tcp-1-{way}"));
            assert_eq!(cases.iter().filter(|case| **case == wanted).count(), 1, "{wanted:?} in {cases:?}");
        }
    }
    assert!(cases.contains(&("portcullis".into(), "cpu-gateways-tcp-1-forward".into())));
    for figure in shown["figures"].as_array().unwrap() {
        assert_eq!(figure["underlay"], "plain");
        assert_eq!(figure["samples"].as_array().map(Vec::len), Some(1), "one round, one sample: {figure}");
        let positive = figure["median"].as_f64().is_some_and(|median| median > 0.0);
        assert!(positive || figure["unit"] == "ns a byte", "{figure}");
    }
    assert_eq!(shown["peers"][0]["name"], "portcullis");
    assert_eq!(shown["peers"][0]["commands"][0], "portcullis run portcullis.toml");
    let wire = &shown["offloads"]["plain"];
    assert!(wire.as_object().is_some_and(|all| all.len() > 20) && wire["tx-udp-segmentation"] == true, "{wire}");
    assert!(shown["peers"][0]["mtu"].as_u64().is_some_and(|mtu| (1200..1500).contains(&mtu)), "{}", shown["peers"]);
    assert!(shown["plan"]["wire_plain"].as_array().is_some_and(|switches| !switches.is_empty()), "{}", shown["plan"]);
    assert_eq!(shown["failed"].as_array().map(Vec::len), Some(0));
    let after: Vec<_> = left_behind().into_iter().filter(|path| !before.contains(path)).collect();
    assert!(after.is_empty(), "{after:?}");
}

/// A server that ends with the test.
struct Server(std::process::Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts a server at a port of its own.
fn server() -> (Server, u16) {
    for attempt in 0..20_u32 {
        let port = 20_000 + ((std::process::id() * 31 + attempt * 977) % 20_000) as u16;
        let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
        command.args(["bench", "serve", "--bind", "127.0.0.1", "--port", &port.to_string()]);
        let mut child = command.stderr(Stdio::piped()).spawn().expect("it starts");
        let mut line = String::new();
        let mut said = BufReader::new(child.stderr.take().expect("a pipe"));
        said.read_line(&mut line).expect("a line");
        let server = Server(child);
        if line.starts_with("serving at") {
            std::thread::spawn(move || std::io::copy(&mut said, &mut std::io::sink()));
            return (server, port);
        }
    }
    panic!("no port is free");
}

#[test]
fn two_machines_are_measured_and_the_server_goes_when_it_is_told() {
    let (mut server, port) = server();
    let peer = format!("127.0.0.1:{port}");
    let words = [
        "bench",
        "run",
        "--peer",
        &peer,
        "--seconds",
        "0.2",
        "--rounds",
        "2",
        "--only",
        "tcp-1",
        "--only",
        "latency",
        "--json",
    ];
    let shown = outcome(&words, 0);
    let cases = cases(&shown);
    for case in ["tcp-1-forward", "tcp-1-reverse", "tcp-1-both", "latency-idle-p50", "latency-loaded-p99.9"] {
        assert!(cases.contains(&("path".into(), case.into())), "{case} is not in {cases:?}");
    }
    assert_eq!(shown["figures"][0]["samples"].as_array().map(Vec::len), Some(2), "one sample a round");
    assert_eq!(shown["plan"]["device"], "lo");
    assert!(shown["offloads"]["lo"].is_object(), "{}", shown["offloads"]);
    assert!(shown["peer_environment"]["kernel"].is_string() && shown["plan"]["peer"] == peer.as_str());
    let pid = nix::unistd::Pid::from_raw(server.0.id().cast_signed());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).expect("it runs");
    assert_eq!(server.0.wait().expect("it ends").code(), Some(0));
    // Nobody is there any more.
    assert_eq!(portcullis(&words).status.code(), Some(1));
}

#[test]
fn a_case_or_a_time_that_does_not_exist_is_2() {
    for words in [
        &["bench", "tunnel", "--only", "teleportation"][..],
        &["bench", "tunnel", "--seconds", "0"],
        &["bench", "compare", "--rounds", "0"],
        &["bench", "tunnel", "--underlay", "wet-string"],
        &["bench", "dance"],
    ] {
        assert_eq!(portcullis(words).status.code(), Some(2), "{words:?}");
    }
}
