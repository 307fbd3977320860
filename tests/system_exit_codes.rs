//! The exit codes of docs/EXIT-CODES.md that need a gateway, a namespace or a broken build; the others stand in
//! `cli_exit_codes.rs`.
#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

mod refusal;
mod system_common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use nix::sys::signal::Signal;
use portcullis::lab::gateway::write_private;
use portcullis::lab::topology::V4;
use refusal::{Refusal, refuse};
use system_common::{KEY, PROGRAM, Pair, Setup, Side, Site, site, wait_until};

fn code(output: &Output) -> i32 {
    output.status.code().unwrap_or_else(|| panic!("it did not end by itself: {output:?}"))
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A configuration file for `portcullis run`, whose folder another user can read.
fn file(folder: &Path, change: impl Fn(String) -> String) -> PathBuf {
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
    let text = Setup::default().config(Side::A).replace("@FOLDER@", &folder.to_string_lossy());
    let file = folder.join("portcullis.toml");
    write_private(&file, &change(text)).unwrap();
    file
}

fn run(site: &Site, program: &Path, file: &Path) -> Output {
    let mut command = Command::new(program);
    command.arg("run").arg(file).env_remove("RUST_LOG");
    site.topology.gateway_a.run(move || command.output()).unwrap().unwrap()
}

#[test]
fn a_gateway_that_is_told_to_end_is_0_by_either_signal() {
    let Some(site) = site("a_gateway_that_is_told_to_end_is_0_by_either_signal") else { return };
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let Pair { a, b } = site.pair(&Setup::default());
        for gateway in [a, b] {
            gateway.signal(signal).unwrap();
            assert!(wait_until(|| gateway.status().is_err()));
            assert_eq!(gateway.stop().unwrap().code(), Some(0), "{signal}");
        }
    }
}

#[test]
fn what_a_running_gateway_refuses_is_1() {
    let Some(site) = site("what_a_running_gateway_refuses_is_1") else { return };
    let pair = site.pair(&Setup::default());
    for words in [["up", "cbp"], ["down", "T"]] {
        let refused = site.portcullis(Side::A, &words);
        assert_eq!(code(&refused), 1, "{refused:?}");
        assert!(said(&refused).contains("there is t"), "{}", said(&refused));
    }
    for words in [&["up", "t"][..], &["status"], &["status", "--json"], &["sa"], &["reload"]] {
        assert_eq!(code(&site.portcullis(Side::A, words)), 0, "{words:?}");
    }
    pair.stop();
}

#[test]
fn an_ordinary_user_who_runs_or_releases_is_5() {
    if !nix::unistd::geteuid().is_root() {
        // Whoever runs this test is an ordinary user then.
        let folder = tempfile::tempdir().unwrap();
        let file = file(folder.path(), |text| text);
        assert_eq!(code(&Command::new(PROGRAM).arg("run").arg(file).output().unwrap()), 5);
        assert_eq!(code(&Command::new(PROGRAM).arg("release").output().unwrap()), 5);
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = file(folder.path(), |text| text);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    // The binary may lie where another user cannot go.
    let program = folder.path().join("portcullis");
    copy(Path::new(PROGRAM), &program);
    let as_nobody = |words: &[&str]| {
        Command::new(&program).args(words).uid(65_534).gid(65_534).env_remove("RUST_LOG").output().unwrap()
    };
    let refused = as_nobody(&["run", file.to_str().unwrap()]);
    assert_eq!(code(&refused), 5, "{refused:?}");
    assert!(said(&refused).contains("CAP_NET_ADMIN"), "{}", said(&refused));
    let refused = as_nobody(&["release"]);
    assert_eq!(code(&refused), 5, "{refused:?}");
}

/// Copies a program by another process: what this one held open for writing, a child of another test could still hold, and
/// the copy would be "busy".
fn copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg(from).arg(to).status().unwrap().success());
}

#[test]
fn a_build_whose_cryptography_answers_wrongly_is_6() {
    let folder = tempfile::tempdir().unwrap();
    let file = file(folder.path(), |text| text);
    // One digit of a published answer is changed in a copy of the program: its algorithm seems broken then.
    let mut program = fs::read(PROGRAM).unwrap();
    let answer = b"76fc6ece0f4e1768cddf8853bb2d551b";
    let places: Vec<usize> =
        program.windows(answer.len()).enumerate().filter(|(_, at)| at == answer).map(|(at, _)| at).collect();
    assert!(!places.is_empty(), "the tag of AES-256-GCM stands in the program");
    for place in places {
        program[place] = b'0';
    }
    let (draft, broken) = (folder.path().join("draft"), folder.path().join("broken"));
    fs::write(&draft, program).unwrap();
    fs::set_permissions(&draft, fs::Permissions::from_mode(0o755)).unwrap();
    copy(&draft, &broken);
    let refused = Command::new(&broken).arg("run").arg(file).env_remove("RUST_LOG").output().unwrap();
    assert_eq!(code(&refused), 6, "{refused:?}");
    assert!(said(&refused).contains("the self-test of AES-256-GCM failed"), "{}", said(&refused));
}

#[test]
fn a_demo_that_cannot_keep_its_promise_is_7() {
    let Some(_) = site("a_demo_that_cannot_keep_its_promise_is_7") else { return };
    // Its gateways find no TUN device, and so carry nothing.
    let script = "mount --bind /dev/null /dev/net/tun && exec \"$0\" demo --json";
    let demo = Command::new("unshare").args(["--mount", "sh", "-c", script, PROGRAM]).output().unwrap();
    assert_eq!(code(&demo), 7, "{demo:?}");
}

#[test]
fn a_machine_that_is_not_ready_is_8() {
    let Some(site) = site("a_machine_that_is_not_ready_is_8") else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = file(folder.path(), |text| text);
    let check = || site.portcullis(Side::A, &["check", "--host", "--json", file.to_str().unwrap()]);
    let ready = check();
    assert_eq!(code(&ready), 0, "{ready:?}");
    site.topology.gateway_a.set_sysctls(&[("net/ipv4/ip_forward", "0")]).unwrap();
    let lacks = check();
    assert_eq!(code(&lacks), 8, "{lacks:?}");
    let answer: serde_json::Value = serde_json::from_slice(&lacks.stdout).unwrap();
    let findings = answer["host"].as_array().expect("findings");
    let missing: Vec<_> =
        findings.iter().filter(|finding| finding["ok"] == false).map(|finding| &finding["name"]).collect();
    assert_eq!(missing, ["ip-forward"], "{answer}");
    // Without `--host` the file alone is looked at.
    let words = ["check", file.to_str().unwrap()];
    assert_eq!(Command::new(PROGRAM).args(words).output().unwrap().status.code(), Some(0));
}

#[test]
fn a_system_that_fails_a_call_is_9_and_is_named() {
    let Some(site) = site("a_system_that_fails_a_call_is_9_and_is_named") else { return };
    let program = Path::new(PROGRAM);
    let folder = tempfile::tempdir().unwrap();
    // A file stands where the folder ought to be.
    let blocked = file(folder.path(), |text| text.replace("/state\"", "/portcullis.toml/state\""));
    let refused = run(&site, program, &blocked);
    assert_eq!(code(&refused), 9, "{refused:?}");
    assert!(said(&refused).contains("state_dir"), "{}", said(&refused));

    // Somebody else has the port.
    let taken = site.topology.gateway_a.run(|| std::net::UdpSocket::bind((V4.gateway_a, 500))).unwrap().unwrap();
    let refused = run(&site, program, &file(folder.path(), |text| text));
    assert_eq!(code(&refused), 9, "{refused:?}");
    assert!(said(&refused).contains("UDP port 500"), "{}", said(&refused));
    assert!(!said(&refused).contains(KEY));
    drop(taken);

    // The kernel has no such device.
    let valid = file(folder.path(), |text| text);
    let refused = std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            refuse(&[Refusal::NO_VNET_HDR]);
            run(&site, program, &valid)
        });
        thread.join().unwrap()
    });
    assert_eq!(code(&refused), 9, "{refused:?}");
    assert!(said(&refused).contains("IFF_VNET_HDR, in Linux since 2.6.27"), "{}", said(&refused));

    // A second gateway beside the first one.
    let pair = site.pair(&Setup::default());
    let refused = run(&site, program, &site.folder(Side::A).join("portcullis.toml"));
    assert_eq!(code(&refused), 9, "{refused:?}");
    assert!(said(&refused).contains("another gateway runs"), "{}", said(&refused));
    site.exchange(&V4, 10_000);
    pair.stop();
}
