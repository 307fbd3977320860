//! Portcullis and strongSwan give each other new keys, begun by either and by both at once, while numbered datagrams go both
//! ways: none is lost, none comes twice.
#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

mod interop;
mod lab_common;
mod numbers;

use std::process::{Command, Output};
use std::time::Duration;

use interop::charon::{Charon, Connection};
use interop::scene::{Opener, Ours, Scene, bring_up};
use numbers::Numbers;
use portcullis::lab::capture::Seen;
use portcullis::lab::gateway::Gateway;
use portcullis::lab::topology::V4;
use serde_json::Value;

/// Datagrams beside MQ.
const RULE: &str = "\n[[rule]]\nname = \"numbers\"\ntunnel = \"peer\"\nclause = \"lab\"\nfrom = [\"192.0.2.10\"]\n\
                    to = [\"10.20.0.20\"]\nservice = \"udp\"\nudp = [2000]\n";
/// How often each side rekeys its child SA, and a fifth of that its IKE SA. `PORTCULLIS_REKEYS` makes it a long run.
const ROUNDS: usize = 10;

fn rounds() -> usize {
    std::env::var("PORTCULLIS_REKEYS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(ROUNDS)
}

fn ours() -> Ours {
    Ours { rule: RULE, ..Ours::default() }
}

fn portcullis(gateway: &Gateway, words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
    command.args(words).arg("--socket").arg(gateway.socket()).env_remove("RUST_LOG").output().unwrap()
}

/// `portcullis rekey peer ..` does what it says.
fn rekey(gateway: &Gateway, what: &str) {
    let output = portcullis(gateway, &["rekey", "peer", what]);
    let (text, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{what}: {text}{error}\n{}", gateway.log());
    assert!(text.contains(if what == "--ike" { "new IKE SA" } else { "new child SA" }), "{text}");
}

fn rekeys(status: &Value, what: &str) -> u64 {
    status["tunnels"][0]["rekeys"][what].as_u64().unwrap()
}

/// charon rekeys, and it shows here.
fn rekey_by_charon(gateway: &mut Gateway, charon: &Charon, what: &str) {
    let before = rekeys(&gateway.status().unwrap(), what);
    charon.rekey(what).unwrap_or_else(|error| panic!("{error}\n{}", charon.log()));
    let done = gateway.wait_for(Duration::from_secs(10), |status| rekeys(status, what) > before);
    assert!(done.is_some(), "{what}: {:?}\n{}\n{}", gateway.status(), gateway.log(), charon.log());
}

/// One IKE SA and one child SA on both sides, and they fit together.
fn settled(gateway: &mut Gateway, charon: &Charon) {
    let one = gateway.wait_for(Duration::from_secs(40), |status| {
        let children = status["tunnels"][0]["children"].as_array().unwrap();
        let sas = charon.sas();
        // charon forgets the delayed end of a child SA that its IKE SA does not live to see: `DELETED` stays in its list.
        let gone = |line: &&str| !line.contains("DELETED");
        let count = |what: &str| sas.lines().filter(|line| line.trim_start().starts_with(what)).filter(gone).count();
        let spi = |at: usize| children[0]["spis"][at].as_str().unwrap();
        children.len() == 1
            && count("gw: #") == 1
            && count("net: #") == 1
            && sas.contains(spi(0))
            && sas.contains(spi(1))
    });
    assert!(one.is_some(), "{:?}\n{}\n{}\n{}", gateway.status(), charon.sas(), gateway.log(), charon.log());
}

fn rekey_under_traffic(name: &str, opener: Opener) {
    let Some(mut scene) = Scene::set(name) else { return };
    let charon = scene.charon(&Connection::default());
    let mut gateway = scene.portcullis(&ours(), opener);
    bring_up(opener, &mut gateway, &charon);
    let topology = &scene.topology;
    let numbers = Numbers::start(&topology.host_a, V4.host_a, &topology.gateway_b, V4.host_b);
    for round in 0..rounds() {
        rekey(&gateway, "--child");
        rekey_by_charon(&mut gateway, &charon, "child");
        if round % 5 == 4 {
            rekey(&gateway, "--ike");
            rekey_by_charon(&mut gateway, &charon, "ike");
            rekey(&gateway, "--child");
        }
    }
    // What the long run leaves behind is gone before the sides collide.
    settled(&mut gateway, &charon);
    for round in 0..rounds().div_ceil(2) {
        let what = if round % 3 == 2 { "ike" } else { "child" };
        let before = rekeys(&gateway.status().unwrap(), what);
        std::thread::scope(|scope| {
            let theirs = scope.spawn(|| charon.rekey(what));
            // Either of the two may win; the command says that the keys are new.
            let output = portcullis(&gateway, &["rekey", "peer", &format!("--{what}")]);
            assert!(output.status.success(), "{}\n{}", String::from_utf8_lossy(&output.stderr), gateway.log());
            // charon may have nothing left to rekey.
            let _ = theirs.join().unwrap();
        });
        let status = gateway.status().unwrap();
        assert!(rekeys(&status, what) > before, "{what}: {status}\n{}\n{}", gateway.log(), charon.log());
    }
    settled(&mut gateway, &charon);
    let status = gateway.status().unwrap();
    let tally = numbers.count();
    assert!(tally.is_whole(), "{tally:?}\n{status}\n{}\n{}", gateway.log(), charon.log());
    assert_eq!(rekeys(&status, "refused"), 0, "{status}");
    assert_eq!(status["tunnels"][0]["handshakes"], 1, "nobody has authenticated again");
    println!("{} datagrams each way, rekeyed: {}", tally.sent, status["tunnels"][0]["rekeys"]);
    scene.transfer().unwrap();
    assert!(gateway.stop().unwrap().success());
    assert!(scene.seen().packets(Seen::Esp) > 1000);
    // tshark looks at every key for every packet: a long run would never end.
    if rounds() <= ROUNDS {
        scene.tshark_reads_everything();
    }
}

#[test]
fn keys_are_renewed_under_traffic_in_a_tunnel_that_we_opened() {
    rekey_under_traffic("keys_are_renewed_under_traffic_in_a_tunnel_that_we_opened", Opener::We);
}

#[test]
fn keys_are_renewed_under_traffic_in_a_tunnel_that_strongswan_opened() {
    rekey_under_traffic("keys_are_renewed_under_traffic_in_a_tunnel_that_strongswan_opened", Opener::Peer);
}

/// strongSwan has another group for child SAs: the tunnel comes up all the same, and would die at the first rekeying.
#[test]
fn a_pfs_mismatch_is_found_right_after_set_up() {
    let Some(scene) = Scene::set("a_pfs_mismatch_is_found_right_after_set_up") else { return };
    let charon = scene.charon(&Connection { esp: "aes256gcm16-ecp256".into(), ..Connection::default() });
    let mut gateway = scene.portcullis(&ours(), Opener::We);
    bring_up(Opener::We, &mut gateway, &charon);
    let output = portcullis(&gateway, &["rekey", "peer", "--verify-pfs"]);
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains("NO_PROPOSAL_CHOSEN") && error.contains("refuses our PFS"), "{error}");
    scene.transfer().expect("what is in use carries on");
    // The peer mends its configuration; charon takes it for new IKE SAs.
    charon.reload(&Connection::default());
    charon.terminate_ike().unwrap();
    let up = gateway.wait_for(Duration::from_secs(20), |status| {
        portcullis::lab::gateway::is_up(status) && status["tunnels"][0]["handshakes"] == 2
    });
    assert!(up.is_some(), "{:?}\n{}", gateway.status(), gateway.log());
    let output = portcullis(&gateway, &["rekey", "peer", "--verify-pfs"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("PFS, ecp384"), "{text}");
}

/// strongSwan 5.9 knows nothing of SA_RESOURCE_INFO: one child SA carries the flows of all our workers.
#[test]
fn one_child_sa_of_strongswan_serves_every_worker_and_lane() {
    for opener in [Opener::We, Opener::Peer] {
        let Some(scene) = Scene::set("one_child_sa_of_strongswan_serves_every_worker_and_lane") else { return };
        let charon = scene.charon(&Connection::default());
        let ours = Ours { gateway: "workers = 2\n", tunnel: "lanes = 2\n", ..ours() };
        let mut gateway = scene.portcullis(&ours, opener);
        bring_up(opener, &mut gateway, &charon);
        let topology = &scene.topology;
        // Each run is a flow of its own, of either lane.
        for _ in 0..4 {
            let numbers = Numbers::start(&topology.host_a, V4.host_a, &topology.gateway_b, V4.host_b);
            std::thread::sleep(Duration::from_millis(100));
            let tally = numbers.count();
            assert!(tally.is_whole(), "{tally:?}\n{:?}\n{}", gateway.status(), gateway.log());
        }
        rekey(&gateway, "--child");
        rekey_by_charon(&mut gateway, &charon, "child");
        scene.transfer().unwrap();
        settled(&mut gateway, &charon);
        let status = gateway.status().unwrap();
        assert_eq!(status["ike_refused"]["no-lane"], 1, "{status}");
        assert_eq!(
            (&status["tunnels"][0]["failures"], &status["tunnels"][0]["why"]),
            (&0.into(), &Value::Null),
            "{status}"
        );
        for reason in ["no-sa", "handover-full", "unknown-spi"] {
            assert!(status["drops"][reason].is_null(), "{status}");
        }
        assert!(gateway.stop().unwrap().success());
    }
}
