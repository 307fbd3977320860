//! Each exit code of docs/EXIT-CODES.md that a machine without privileges can bring about, from the built binary.

mod support;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;
use support::{Case, EXAMPLE, LAB, TRANSLATE};

fn portcullis(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_portcullis")).args(arguments).env_remove("RUST_LOG").output().expect("it starts")
}

fn code(output: &Output) -> i32 {
    output.status.code().expect("it ends by itself")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("output is UTF-8")
}

/// A control socket that answers each request with the same lines.
fn gateway(socket: &Path, lines: &'static str) -> std::thread::JoinHandle<String> {
    let listener = UnixListener::bind(socket).expect("a socket");
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a client");
        let mut request = String::new();
        BufReader::new(stream.try_clone().expect("a descriptor")).read_line(&mut request).expect("a request");
        stream.write_all(lines.as_bytes()).expect("an answer");
        request.trim_end().to_owned()
    })
}

const STATUS: &str = concat!(
    r#"{"version":"0.1.0","pid":7,"uptime_s":61,"policy":"ab","tun":"portcullis0","tunnels":[{"name":"cbp","#,
    r#""agreement":"cbp","kind":"agreement","state":"waiting","why":"the peer did not answer","retry_in_s":3,"#,
    r#""ike":null,"children":[],"missing":[]}],"rules":{},"drops":{"no-rule":2},"ike_refused":{}}"#,
    "\n"
);

#[test]
fn done_is_0() {
    let case = Case::new();
    let file = case.file(EXAMPLE);
    let check = portcullis(&["check", file.to_str().unwrap()]);
    assert_eq!(code(&check), 0, "{}", text(&check.stderr));
    assert!(text(&check.stdout).contains("holds: 1 tunnel, 1 rule, 0 warnings"));
    let algorithms = portcullis(&["algs", "--json"]);
    let listed: Value = serde_json::from_slice(&algorithms.stdout).unwrap();
    assert_eq!((code(&algorithms), &listed[0]["word"], &listed[0]["number"]), (0, &"aes256gcm16".into(), &20.into()));
    assert_eq!(code(&portcullis(&["--version"])), 0);
    assert_eq!(code(&portcullis(&["--help"])), 0);
}

#[test]
fn a_refusal_is_1() {
    let case = Case::new();
    let socket = case.path("control.sock");
    let gateway = gateway(&socket, "{\"error\":\"there is no tunnel x\"}\n");
    let up = portcullis(&["up", "x", "--socket", socket.to_str().unwrap()]);
    assert_eq!((code(&up), text(&up.stderr)), (1, "portcullis: there is no tunnel x\n"));
    assert_eq!(gateway.join().unwrap(), r#"{"op":"up","tunnel":"x"}"#);
}

#[test]
fn usage_is_2() {
    for arguments in [&["frobnicate"][..], &[], &["up"], &["status", "--jsn"], &["status", "--log", "a=b=c"]] {
        assert_eq!(code(&portcullis(arguments)), 2, "{arguments:?}");
    }
    let case = Case::new();
    let file = case.file(EXAMPLE);
    for question in [
        &["--from", "192.0.2.10", "--to", "203.0.113.20"][..],
        &["--from", "192.0.2.10", "--to", "[2001:db8::1]:22"],
        &["--from", "192.0.2.10", "--to", "203.0.113.20:1", "--protocol", "echo"],
    ] {
        let arguments = [&["policy", "explain", "--file", file.to_str().unwrap()], question].concat();
        assert_eq!(code(&portcullis(&arguments)), 2, "{question:?}");
    }
}

#[test]
fn a_configuration_that_does_not_load_is_3() {
    let case = Case::new();
    let file = case.file(&EXAMPLE.replace("clause", "clase"));
    let file = file.to_str().unwrap();
    for arguments in [
        &["check", file][..],
        &["run", file],
        &["policy", "explain", "--file", file, "--from", "::1", "--to", "[::1]:1"],
    ] {
        let refused = portcullis(arguments);
        assert_eq!(code(&refused), 3, "{arguments:?}: {}", text(&refused.stderr));
        assert!(text(&refused.stderr).contains("did you mean `clause`?"), "{arguments:?}");
    }
    let json = portcullis(&["check", "--json", file]);
    assert_eq!(code(&json), 3);
    let answer: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!((&answer["holds"], &answer["errors"][0]["line"]), (&false.into(), &26.into()), "{answer}");
    assert_eq!(code(&portcullis(&["check", "/nonexistent/portcullis.toml"])), 3);
}

#[test]
fn no_gateway_on_the_socket_is_4() {
    let case = Case::new();
    let socket = case.path("control.sock");
    let socket = socket.to_str().unwrap();
    for command in [&["status"][..], &["sa"], &["up", "cbp"], &["down", "cbp"], &["reload"], &["monitor"]] {
        let output = portcullis(&[command, &["--socket", socket]].concat());
        assert_eq!(code(&output), 4, "{command:?}: {}", text(&output.stderr));
        assert!(text(&output.stderr).contains("portcullis run"));
    }
    // A socket that nobody listens on any more, and a gateway that hangs up or talks nonsense.
    drop(UnixListener::bind(socket).unwrap());
    assert_eq!(code(&portcullis(&["status", "--socket", socket])), 4);
    for nonsense in ["", "hello\n"] {
        fs::remove_file(socket).unwrap();
        let gateway = gateway(Path::new(socket), nonsense);
        assert_eq!(code(&portcullis(&["status", "--socket", socket])), 4);
        gateway.join().unwrap();
    }
}

/// The binary as somebody without privileges would run it. Root steps down to nobody; the binary is copied, because it
/// may lie where nobody cannot go.
fn unprivileged(case: &Case, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
    if nix::unistd::geteuid().is_root() {
        fs::set_permissions(case.path("."), fs::Permissions::from_mode(0o755)).expect("a mode");
        let copy = case.path("portcullis");
        if !copy.exists() {
            // By another process: what this one held open for writing, a child of another test could still hold.
            let status = Command::new("cp").arg(env!("CARGO_BIN_EXE_portcullis")).arg(&copy).status();
            assert!(status.expect("cp starts").success());
        }
        command = Command::new(copy);
        command.uid(65_534).gid(65_534);
    }
    command.args(arguments).output().expect("it starts")
}

#[test]
fn a_socket_of_another_user_is_5() {
    let case = Case::new();
    let socket = case.path("control.sock");
    let _listener = UnixListener::bind(&socket).unwrap();
    let mode = if nix::unistd::geteuid().is_root() { 0o600 } else { 0 };
    fs::set_permissions(&socket, fs::Permissions::from_mode(mode)).unwrap();
    let output = unprivileged(&case, &["status", "--socket", socket.to_str().unwrap()]);
    assert_eq!(code(&output), 5, "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("belongs to another user"));
}

#[test]
fn a_gateway_without_privileges_is_5() {
    let case = Case::new();
    let inline = EXAMPLE.replace("file:PSK", "hex:8f1d0c52a7e3946b5f2780cbd41e693a07f5b8e2c96d1430ab7c5e8f92d6013b");
    let run = unprivileged(&case, &["run", case.file(&inline).to_str().unwrap()]);
    assert_eq!(code(&run), 5, "{}", text(&run.stderr));
    assert!(text(&run.stderr).contains("CAP_NET_ADMIN"), "{}", text(&run.stderr));
    let release = unprivileged(&case, &["release"]);
    assert_eq!(code(&release), 5, "{}", text(&release.stderr));
}

#[test]
fn a_host_that_is_not_ready_is_8() {
    // No machine that runs tests has the example's address.
    let case = Case::new();
    let file = case.file(EXAMPLE);
    let host = portcullis(&["check", "--host", file.to_str().unwrap()]);
    assert_eq!(code(&host), 8, "{}{}", text(&host.stdout), text(&host.stderr));
    let shown = text(&host.stdout);
    assert!(shown.lines().any(|line| line.starts_with("addresses ") && line.contains("MISSING")), "{shown}");
    let json = portcullis(&["check", "--host", "--json", file.to_str().unwrap()]);
    let answer: Value = serde_json::from_slice(&json.stdout).unwrap();
    let addresses = answer["host"].as_array().unwrap().iter().find(|finding| finding["name"] == "addresses").unwrap();
    assert_eq!((code(&json), &addresses["ok"]), (8, &false.into()));
}

#[test]
fn what_the_gateway_says_is_shown() {
    let case = Case::new();
    let socket = case.path("control.sock");
    let ask = |arguments: &[&str]| {
        let _ = fs::remove_file(&socket);
        let gateway = gateway(&socket, STATUS);
        let output = portcullis(&[arguments, &["--socket", socket.to_str().unwrap()]].concat());
        assert_eq!(code(&output), 0, "{}", text(&output.stderr));
        assert_eq!(gateway.join().unwrap(), r#"{"op":"status"}"#);
        text(&output.stdout).to_owned()
    };
    let status = ask(&["status"]);
    assert!(status.contains("the peer did not answer; next attempt in 3 s"), "{status}");
    assert_eq!(ask(&["status", "--json"]), STATUS, "the gateway's answer goes through unchanged");
    assert!(ask(&["sa"]).contains("cbp: no IKE SA (waiting, the peer did not answer)"));
    assert_eq!(serde_json::from_str::<Value>(&ask(&["sa", "--json"])).unwrap()[0]["name"], "cbp");
}

#[test]
fn events_are_shown_until_the_gateway_ends() {
    let case = Case::new();
    let socket = case.path("control.sock");
    let lines = "{\"ok\":true}\n{\"event\":\"reloaded\",\"policy\":\"ab\"}\n";
    for (arguments, shown) in [
        (&["monitor"][..], "configuration loaded again, policy ab\n"),
        (&["monitor", "--json"], "{\"event\":\"reloaded\",\"policy\":\"ab\"}\n"),
    ] {
        let _ = fs::remove_file(&socket);
        let gateway = gateway(&socket, lines);
        let output = portcullis(&[arguments, &["--socket", socket.to_str().unwrap()]].concat());
        assert_eq!((code(&output), text(&output.stdout)), (0, shown));
        assert_eq!(gateway.join().unwrap(), r#"{"op":"monitor"}"#);
    }
}

#[test]
fn explain_names_verdict_rule_and_clause() {
    let case = Case::new();
    let file = case.file(EXAMPLE);
    let ask = |from: &str, to: &str, more: &[&str]| {
        let arguments =
            [&["policy", "explain", "--json", "--file", file.to_str().unwrap(), "--from", from, "--to", to], more]
                .concat();
        let output = portcullis(&arguments);
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
        (code(&output), answer)
    };
    let (exit, allowed) = ask("192.0.2.10", "203.0.113.20:1414", &[]);
    assert_eq!(
        (exit, &allowed["verdict"], &allowed["rule"], &allowed["clause"]),
        (0, &"allowed".into(), &"mq".into(), &"1a".into())
    );
    for (from, to, more, reason, rule) in [
        ("192.0.2.10", "203.0.113.20:23", &[][..], "no-rule", Value::from("mq")),
        ("203.0.113.20", "192.0.2.10:1414", &[], "wrong-direction", "mq".into()),
        ("192.0.2.10", "203.0.113.20:1414", &["--protocol", "udp"], "no-rule", "mq".into()),
        ("192.0.2.10", "203.0.113.20", &["--protocol", "echo"], "no-rule", "mq".into()),
        ("192.0.2.10", "192.0.2.99:1414", &[], "not-ours", Value::Null),
    ] {
        let (exit, refused) = ask(from, to, more);
        assert_eq!(
            (exit, &refused["verdict"], &refused["reason"], &refused["rule"]),
            (1, &"refused".into(), &reason.into(), &rule),
            "{to}"
        );
    }
    // A host behind an outside address is asked about by its own.
    let translated = case.file(&format!("{EXAMPLE}{TRANSLATE}"));
    let arguments =
        ["--from", "10.1.0.10", "--to", "203.0.113.20:1414", "--json", "--file", translated.to_str().unwrap()];
    let output = portcullis(&[&["policy", "explain"][..], &arguments[..]].concat());
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((code(&output), &answer["known_as"], &answer["rule"]), (0, &"192.0.2.10".into(), &"mq".into()));
    let lab = case.file(LAB);
    let echo = portcullis(&[
        "policy",
        "explain",
        "--protocol",
        "echo",
        "--file",
        lab.to_str().unwrap(),
        "--from",
        "2001:db8:2::1",
        "--to",
        "2001:db8:1::1",
    ]);
    assert_eq!(code(&echo), 0);
    assert!(text(&echo.stdout).contains("agreement bench (lab)"), "{}", text(&echo.stdout));
}

#[test]
fn warnings_are_shown_and_are_no_failure() {
    let case = Case::new();
    case.secret("weak", "swordfish", 0o600);
    let weak = EXAMPLE.replace("file:PSK", &format!("file:{}", case.path("weak").display()));
    let file = case.file(&weak.replace("auth =", "weak_psk = \"the peer cannot\"\nauth ="));
    let check = portcullis(&["check", file.to_str().unwrap()]);
    assert_eq!(code(&check), 0);
    let shown = text(&check.stdout);
    assert!(shown.contains("the pre-shared key is weak") && shown.contains("1 warning"), "{shown}");
    assert!(!shown.contains("swordfish"));
}

#[test]
fn with_strict_a_warning_is_an_error() {
    let case = Case::new();
    let whole = case.file(EXAMPLE);
    let strict = |more: &[&str]| portcullis(&[&["check", "--strict", whole.to_str().unwrap()], more].concat());
    assert_eq!(code(&strict(&[])), 0, "{}", text(&strict(&[]).stdout));
    case.file(&EXAMPLE.replace("classification = \"sensitive-but-unclassified\"\n", ""));
    let plain = portcullis(&["check", "--json", whole.to_str().unwrap()]);
    let answer: Value = serde_json::from_slice(&plain.stdout).unwrap();
    assert_eq!((code(&plain), &answer["agreements"][0]["missing"]), (0, &serde_json::json!(["classification"])));
    let refused = strict(&[]);
    assert_eq!(code(&refused), 3);
    assert!(
        text(&refused.stderr).contains("the record of agreement `cbp` is not complete"),
        "{}",
        text(&refused.stderr)
    );
    let json = strict(&["--json"]);
    let answer: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!((code(&json), &answer["holds"], answer["errors"].as_array().unwrap().len()), (3, &false.into(), 1));
}

#[test]
fn agreements_of_a_gateway_that_does_not_run_are_shown_and_stopped() {
    let case = Case::new();
    let state = case.path("state");
    let text_of = |file: &str| file.replace("/var/lib/portcullis", state.to_str().unwrap());
    let own = text_of(EXAMPLE).replace("/run/portcullis/control.sock", case.path("none.sock").to_str().unwrap());
    let file = case.file(&own);
    let say = |words: &[&str]| portcullis(&[&["agreement"], words, &["--file", file.to_str().unwrap()]].concat());
    let status = |json: &Output| -> Value { serde_json::from_slice(&json.stdout).unwrap() };
    assert_eq!(code(&say(&["status"])), 0);
    assert!(!state.exists(), "nothing is touched by looking");
    assert_eq!(code(&say(&["status", "wombat"])), 1);
    assert_eq!(code(&say(&["activate", "cbp"])), 1, "it is in force");
    let suspended = say(&["suspend", "cbp", "--reason", "an exercise", "--json"]);
    assert_eq!((code(&suspended), &status(&suspended)["agreements"][0]["state"]), (0, &"suspended".into()));
    let shown = say(&["status", "--json"]);
    assert_eq!((code(&shown), &status(&shown)["agreements"][0]["passes"]), (7, &false.into()));
    assert_eq!(code(&say(&["resume", "cbp", "--evidence", "/nonexistent"])), 2);
    assert_eq!(code(&say(&["resume", "cbp", "--authorisation", "mail"])), 1);
    let proof = file.to_str().unwrap();
    let resumed = say(&["resume", "cbp", "--evidence", proof, "--authorisation", "mail", "--json"]);
    assert_eq!((code(&resumed), &status(&resumed)["agreements"][0]["passes"]), (0, &true.into()));
    // Who names a socket means the gateway behind it; a file that does not load names none, and no folder.
    let socket = case.path("other.sock");
    assert_eq!(code(&say(&["status", "--socket", socket.to_str().unwrap()])), 4);
    case.file(&own.replace("clause", "clase"));
    assert!([3, 4, 5].contains(&code(&say(&["status"]))), "{:?}", say(&["status"]));
    assert_eq!(code(&portcullis(&["agreement", "activate", "cbp", "--trust-clock"])), 2, "by whose word?");
}

#[test]
fn genpsk_prints_a_key_that_check_is_content_with() {
    let case = Case::new();
    let (first, second) = (portcullis(&["genpsk"]), portcullis(&["genpsk"]));
    assert_ne!(first.stdout, second.stdout);
    case.secret("psk", text(&first.stdout), 0o600);
    let check = portcullis(&["check", case.file(EXAMPLE).to_str().unwrap()]);
    assert!(text(&check.stdout).contains("0 warnings"), "{}", text(&check.stdout));
}

#[test]
fn completions_and_manual_pages_are_made() {
    for shell in ["bash", "zsh", "fish"] {
        let completions = portcullis(&["completions", shell]);
        assert_eq!(code(&completions), 0);
        assert!(text(&completions.stdout).contains("genpsk"), "{shell}");
    }
    assert!(text(&portcullis(&["man"]).stdout).contains(".TH portcullis 1"));
    let case = Case::new();
    let directory = case.path("man");
    assert_eq!(code(&portcullis(&["man", directory.to_str().unwrap()])), 0);
    assert!(fs::read_to_string(directory.join("portcullis-run.1")).unwrap().contains("keylog"));
    // A directory that cannot be made.
    assert_eq!(code(&portcullis(&["man", "/dev/null/man"])), 9);
}

#[test]
fn a_reader_that_hangs_up_is_no_failure() {
    let pipe = format!(
        "{} completions bash | head -c 10 >/dev/null; echo ${{PIPESTATUS[0]}}",
        env!("CARGO_BIN_EXE_portcullis")
    );
    let output = Command::new("bash").args(["-c", &pipe]).output().unwrap();
    assert_eq!((text(&output.stdout), text(&output.stderr)), ("0\n", ""));
}

#[test]
fn colour_and_control_characters_stay_out_of_pipes() {
    let case = Case::new();
    let refused = portcullis(&["check", case.file(&EXAMPLE.replace("clause", "clase")).to_str().unwrap()]);
    assert!(!text(&refused.stderr).contains('\x1b'));
}
