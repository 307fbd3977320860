//! An agreement under live traffic: suspended, resumed, expired and terminated; killed in every state; its kept state lost.
#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

mod system_common;

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jiff::civil::Date;
use jiff::{SignedDuration, Span, Timestamp};
use portcullis::lab::gateway::Gateway;
use portcullis::lab::midnight::Midnight;
use portcullis::lab::topology::V4;
use serde_json::Value;
use system_common::{
    PATIENCE, PROGRAM, Pair, Setup, Side, Site, assert_nothing_in_clear, connect, drops, rule, site, tunnel, wait_until,
};

/// A port whose flows nobody looks into.
const PORT: u16 = 4000;
const RULE: &str = "service = \"tcp\"\ntcp = [4000]";

fn target() -> SocketAddr {
    SocketAddr::new(V4.host_b, PORT)
}

/// The configuration of one side, with further lines for its agreement.
fn config(side: Side, agreement: &str) -> String {
    let setup = Setup { inner: Vec::new(), ..Setup::default() };
    let lines = format!("kind = \"lab\"\n{agreement}");
    setup.config(side).replace("kind = \"lab\"", &lines) + &rule(side, "raw", V4.host_a, V4.host_b, RULE)
}

fn start(site: &Site, side: Side, agreement: &str) -> Gateway {
    let folder = site.folder(side);
    let text = config(side, agreement);
    let mut gateway = Gateway::start(Path::new(PROGRAM), site.place(side), &folder, &text, None).unwrap();
    assert!(gateway.wait_for(PATIENCE, |_| true).is_some(), "{}", gateway.log());
    gateway
}

fn pair(site: &Site, agreement: &str) -> Pair {
    let mut pair = Pair { a: start(site, Side::A, agreement), b: start(site, Side::B, "") };
    pair.wait_until_up();
    pair
}

/// Says something to the agreement of A and gives code, standard output and standard error.
fn say(site: &Site, words: &[&str]) -> (i32, String, String) {
    let output = site.portcullis(Side::A, &[&["agreement"], words].concat());
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

fn done(site: &Site, words: &[&str]) {
    let (code, out, error) = say(site, words);
    assert_eq!(code, 0, "{words:?}: {out}{error}");
}

fn refused(site: &Site, words: &[&str], why: &str) {
    let (code, out, error) = say(site, words);
    assert_eq!(code, 1, "{words:?}: {out}{error}");
    assert!(error.contains(why), "{words:?}: {error}");
}

/// How the agreement stands: state, reason why nothing passes, and the code that `status` ended with.
fn standing(site: &Site) -> (String, Option<String>, i32) {
    let (code, out, error) = say(site, &["status", "lab", "--json"]);
    let report: Value = serde_json::from_str(&out).unwrap_or_else(|_| panic!("{out}{error}"));
    let report = &report["agreements"][0];
    assert_eq!(report["passes"], report["closed"].is_null(), "{report}");
    (report["state"].as_str().unwrap().to_owned(), report["closed"].as_str().map(str::to_owned), code)
}

/// A connection through the tunnel that never falls silent, and how much of it has arrived.
struct Stream<'a> {
    client: TcpStream,
    server: TcpStream,
    arrived: &'a AtomicU64,
}

impl<'a> Stream<'a> {
    fn open(site: &Site, arrived: &'a AtomicU64) -> Self {
        let listener = site.topology.host_b.run(|| TcpListener::bind(target())).unwrap().unwrap();
        let client = connect(&site.topology.host_a, target(), PATIENCE).expect("a connection through the tunnel");
        let server = listener.accept().unwrap().0;
        server.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        // A connection that is starved and not ended fails the test, and does not stop it.
        client.set_write_timeout(Some(PATIENCE)).unwrap();
        Self { client, server, arrived }
    }

    /// Sends and receives until the sender hears that it is over; then so long as it takes to see that nothing more arrives.
    fn run(self, closed_at: &AtomicU64) -> ErrorKind {
        let Self { mut client, mut server, arrived } = self;
        let end = std::thread::scope(|scope| {
            let sender = scope.spawn(move || {
                loop {
                    if let Err(error) = client.write_all(&[7; 1000]) {
                        return error.kind();
                    }
                    std::thread::sleep(Duration::from_millis(1));
                }
            });
            let mut room = [0; 4096];
            while !sender.is_finished() {
                if let Ok(count) = server.read(&mut room) {
                    arrived.fetch_add(count as u64, Ordering::SeqCst);
                }
            }
            sender.join().unwrap()
        });
        // What lies in the receiver's own buffer has crossed the tunnel before. It may have been told of the end, or not.
        let mut room = [0; 4096];
        while let Ok(count @ 1..) = server.read(&mut room) {
            arrived.fetch_add(count as u64, Ordering::SeqCst);
        }
        closed_at.store(arrived.load(Ordering::SeqCst), Ordering::SeqCst);
        end
    }
}

/// Nothing gets through, by name, and IKE is down on both sides.
fn assert_closed(site: &Site, pair: &Pair, reason: &str) {
    let before = drops(&pair.a, reason);
    assert_eq!(connect(&site.topology.host_a, target(), PATIENCE).err(), Some(ErrorKind::HostUnreachable));
    assert!(drops(&pair.a, reason) > before, "{}", pair.a.status().unwrap());
    let gone = |gateway: &Gateway| tunnel(gateway)["children"] == serde_json::json!([]);
    assert!(wait_until(|| gone(&pair.a) && gone(&pair.b)), "{}\n{}", tunnel(&pair.a), tunnel(&pair.b));
    let shown = tunnel(&pair.a);
    assert_eq!((&shown["state"], &shown["ike"]), (&"closed".into(), &Value::Null), "{shown}");
    assert!(site.standing(Side::A).whole, "the hosts stay protected");
}

#[test]
fn a_suspension_ends_what_runs_refuses_what_is_new_and_leaks_nothing_until_it_is_resumed() {
    let test = "a_suspension_ends_what_runs_refuses_what_is_new_and_leaks_nothing_until_it_is_resumed";
    let Some(site) = site(test) else { return };
    let mut pair = pair(&site, "");
    let (watch, events) = (site.watch(), pair.a.monitor().unwrap());
    let (arrived, closed_at) = (AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let stream = Stream::open(&site, &arrived);
        let running = scope.spawn(|| stream.run(&closed_at));
        assert!(wait_until(|| arrived.load(Ordering::SeqCst) > 50_000));
        let sent = || tunnel(&pair.a)["counters"]["packets_out"].as_u64().unwrap();
        done(&site, &["suspend", "lab", "--reason", "an exercise"]);
        // The command has ended: from here on not one packet leaves.
        let at_the_answer = sent();
        assert_eq!(running.join().unwrap(), ErrorKind::ConnectionReset, "the running connection is ended, not starved");
        std::thread::sleep(Duration::from_millis(200));
        assert_eq!(sent(), at_the_answer);
    });
    assert_eq!(standing(&site), ("suspended".into(), Some("agreement-suspended".into()), 7));
    assert_closed(&site, &pair, "agreement-suspended");

    // The peer calls and is refused; so is the operator who only wants it up.
    let called = || pair.a.status().unwrap()["ike_refused"]["agreement-closed"].as_u64() > Some(0);
    assert!(wait_until(called), "{}", pair.logs());
    let up = site.portcullis(Side::A, &["up", "t"]);
    assert_eq!(up.status.code(), Some(1), "{up:?}");
    assert!(String::from_utf8_lossy(&up.stderr).contains("its agreement is suspended"), "{up:?}");
    // So is one who loads the file again.
    assert!(site.portcullis(Side::A, &["reload"]).status.success());
    assert_closed(&site, &pair, "agreement-suspended");

    let proof = site.folder(Side::A).join("scan.txt");
    fs::write(&proof, b"clean").unwrap();
    let proof = proof.to_str().unwrap();
    refused(&site, &["suspend", "lab"], "suspended already");
    refused(&site, &["renew", "wombat"], "no agreement is called `wombat`; there is lab");
    refused(&site, &["resume", "lab", "--authorisation", "mail"], "--evidence FILE");
    assert_eq!(standing(&site).0, "suspended", "a refusal changes nothing");
    done(&site, &["resume", "lab"]);
    refused(&site, &["resume", "lab"], "--evidence FILE");
    assert_closed(&site, &pair, "agreement-remediation");
    done(&site, &["resume", "lab", "--evidence", proof]);
    assert_closed(&site, &pair, "agreement-awaiting-authorisation");
    done(&site, &["resume", "lab", "--authorisation", "mail of today"]);
    assert_eq!(standing(&site), ("active".into(), None, 0));
    pair.wait_until_up();
    let again = Stream::open(&site, &arrived);
    drop(again);

    let told = |event: &str, key: &str, value: &str| {
        events.find(PATIENCE, |told| told["event"] == event && told["agreement"] == "lab" && told[key] == value)
    };
    for state in ["suspended", "remediation", "awaiting-authorisation", "active"] {
        let event = told("agreement-state", "to", state).unwrap_or_else(|| panic!("{state}: {:?}", events.so_far()));
        assert_eq!((&event["by"], &event["kind"]), (&"uid 0".into(), &"lab".into()), "{event}");
    }
    assert!(told("agreement-gate", "reason", "agreement-suspended").is_some(), "{:?}", events.so_far());
    let report: Value = serde_json::from_str(&say(&site, &["status", "lab", "--json"]).1).unwrap();
    let shown = &report["agreements"][0]["evidence"][0];
    assert_eq!((&shown["file"], &shown["size"]), (&"scan.txt".into(), &5.into()), "{report}");
    pair.stop();
    assert_nothing_in_clear(&watch.stop().unwrap());
}

#[test]
fn an_agreement_expires_under_traffic_at_the_end_of_its_day_and_a_restart_does_not_revive_it() {
    let test = "an_agreement_expires_under_traffic_at_the_end_of_its_day_and_a_restart_does_not_revive_it";
    let Some(site) = site(test) else { return };
    let years = |last: Date| last.checked_sub(Span::new().years(4)).unwrap();
    let today = Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date();
    let mut pair = pair(&site, &format!("date = {}\nyears = 5", years(today)));
    let watch = site.watch();
    assert_eq!(standing(&site), ("active".into(), None, 0), "{}", pair.logs());
    let (arrived, closed_at) = (AtomicU64::new(0), AtomicU64::new(0));
    // The operator writes down that it ends in a moment. Four years, so that a leap day has one to come back to.
    let stream = Stream::open(&site, &arrived);
    let Midnight { zone, day } = Midnight::after(Timestamp::now(), SignedDuration::from_secs(4));
    let agreement = format!("date = {}\nyears = 4\nzone = \"{zone}\"", years(day));
    site.rewrite(Side::A, &config(Side::A, &agreement));
    assert!(site.portcullis(Side::A, &["reload"]).status.success());
    assert_eq!(stream.run(&closed_at), ErrorKind::ConnectionReset);
    assert!(closed_at.load(Ordering::SeqCst) > 10_000);
    assert_eq!(standing(&site), ("expired".into(), Some("agreement-expired".into()), 7));
    assert_closed(&site, &pair, "agreement-expired");
    pair.a.kill().unwrap();
    pair.a = start(&site, Side::A, &agreement);
    assert_closed(&site, &pair, "agreement-expired");

    // The other organisation has acknowledged it anew.
    done(&site, &["renew", "lab", "--date", &today.yesterday().unwrap().to_string()]);
    pair.wait_until_up();
    drop(Stream::open(&site, &arrived));
    // And ends it for good.
    done(&site, &["terminate", "lab", "--effective", "now"]);
    assert_closed(&site, &pair, "agreement-terminated");
    refused(&site, &["renew", "lab"], "for good");
    pair.stop();
    assert_nothing_in_clear(&watch.stop().unwrap());
}

/// What is done in one state, and the state that is to survive.
type Done<'a> = (&'a [&'a str], &'a str);

#[test]
fn a_gateway_that_is_killed_in_any_state_comes_back_in_that_state() {
    let Some(site) = site("a_gateway_that_is_killed_in_any_state_comes_back_in_that_state") else { return };
    let watch = site.watch();
    let proof = site.folder(Side::A).join("scan.txt");
    fs::create_dir_all(site.folder(Side::A)).unwrap();
    fs::write(&proof, b"clean").unwrap();
    let proof = proof.to_str().unwrap();
    let today = Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date();
    let ago = |days: i32| today.checked_sub(Span::new().years(1).days(days)).unwrap();
    let in_grace = format!("date = {}\nyears = 1\ngrace_days = 90", ago(10));
    let over = format!("date = {}\nyears = 1", ago(10));
    let ways: [(&str, &[Done<'_>]); 4] = [
        (
            "",
            &[
                (&[], "active"),
                (&["suspend", "lab"], "suspended"),
                (&["resume", "lab"], "remediation"),
                (&["resume", "lab", "--evidence", proof], "awaiting-authorisation"),
                (&["resume", "lab", "--authorisation", "mail"], "active"),
                (&["terminate", "lab"], "terminating"),
                (&["terminate", "lab", "--effective", "now"], "terminated"),
            ],
        ),
        ("activation = \"operator\"", &[(&[], "draft"), (&["activate", "lab"], "active")]),
        (&in_grace, &[(&[], "grace")]),
        (&over, &[(&[], "expired")]),
    ];
    for (agreement, steps) in ways {
        let _ = fs::remove_dir_all(site.folder(Side::A).join("state"));
        let mut gateway = start(&site, Side::A, agreement);
        for (words, state) in steps {
            if !words.is_empty() {
                done(&site, words);
            }
            gateway.kill().unwrap();
            gateway = start(&site, Side::A, agreement);
            let (found, closed, _) = standing(&site);
            assert_eq!(found, *state, "{}", gateway.log());
            let passes = ["active", "grace", "terminating"].contains(state);
            assert_eq!(closed.is_none(), passes, "{state}: {closed:?}");
            // No peer is there: what the policy lets pass finds no SA.
            let reason = closed.unwrap_or_else(|| "no-sa".into());
            assert_eq!(connect(&site.topology.host_a, target(), PATIENCE).err(), Some(ErrorKind::HostUnreachable));
            assert!(drops(&gateway, &reason) > 0, "{state}: {}", gateway.status().unwrap());
        }
        gateway.kill().unwrap();
    }
    assert_nothing_in_clear(&watch.stop().unwrap());
}

#[test]
fn a_state_that_is_lost_or_damaged_is_closed_and_one_can_be_stopped_while_no_gateway_runs() {
    let test = "a_state_that_is_lost_or_damaged_is_closed_and_one_can_be_stopped_while_no_gateway_runs";
    let Some(site) = site(test) else { return };
    let folder = site.folder(Side::A);
    let (book, file) = (folder.join("state/agreements"), folder.join("portcullis.toml"));
    let mut gateway = start(&site, Side::A, "");
    assert_eq!(standing(&site).0, "active");
    for damage in [None, Some(&b"portcullis agreements 1 sha256:00\n{}\n"[..])] {
        gateway.kill().unwrap();
        match damage {
            None => fs::remove_file(&book).unwrap(),
            Some(bytes) => fs::write(&book, bytes).unwrap(),
        }
        gateway = start(&site, Side::A, "");
        assert_eq!(standing(&site), ("suspended".into(), Some("agreement-state-lost".into()), 7), "{}", gateway.log());
        let proof = file.to_str().unwrap();
        done(&site, &["resume", "lab", "--evidence", proof, "--authorisation", "mail"]);
        assert_eq!(standing(&site), ("active".into(), None, 0));
    }
    assert!(folder.join("state/agreements.damaged").exists());

    // The command without a socket finds it by the file: the one that runs, and the folder of the one that does not.
    let alone = |words: &[&str]| {
        let words = [&["agreement"], words, &["--file", file.to_str().unwrap()]].concat();
        let mut command = std::process::Command::new(PROGRAM);
        let output = command.args(words).env_remove("RUST_LOG").output().unwrap();
        (output.status.code().unwrap(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    assert_eq!(alone(&["status"]).0, 0);
    gateway.kill().unwrap();
    assert_eq!(alone(&["suspend", "lab"]).0, 0);
    let (code, shown) = alone(&["status"]);
    assert!(code == 7 && shown.contains("suspended") && shown.contains("CLOSED"), "{shown}");
    let gateway = start(&site, Side::A, "");
    assert_eq!(standing(&site).0, "suspended");
    drop(gateway);
}
