//! A policy in force: it is changed as a whole or not at all, flows are told as they are opened, recognised, refused and ended,
//! each with the digest of the policy, and a live flow is explained.
#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

mod system_common;

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use portcullis::lab::gateway::Gateway;
use portcullis::lab::topology::V4;
use serde_json::Value;
use system_common::{PATIENCE, PORT, Setup, Side, Site, connect, rule, site, wait_until};

/// Attempts that nobody answers end by themselves.
const SHORT: Duration = Duration::from_millis(500);

fn target(port: u16) -> SocketAddr {
    SocketAddr::new(V4.host_b, port)
}

fn opened(site: &Site, port: u16) -> (TcpStream, TcpStream) {
    let listener = site.topology.host_b.run(|| TcpListener::bind(target(port))).unwrap().unwrap();
    let client = connect(&site.topology.host_a, target(port), PATIENCE).expect("a connection");
    let server = listener.accept().unwrap().0;
    for stream in [&client, &server] {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
    }
    (client, server)
}

/// So many bytes out, and five back.
fn talk((client, server): &mut (TcpStream, TcpStream), said: &[u8]) {
    client.write_all(said).unwrap();
    server.read_exact(&mut vec![0; said.len()]).expect("what was said");
    server.write_all(b"back!").unwrap();
    client.read_exact(&mut [0; 5]).expect("the answer");
}

fn policy(gateway: &Gateway) -> Value {
    gateway.status().unwrap()["policy"].clone()
}

/// A file with a rule for another port in place of the first one, and what else stands in it.
fn other(side: Side, more: &str) -> String {
    let setup = Setup { inner: Vec::new(), ..Setup::default() };
    setup.config(side) + &rule(side, "files", V4.host_a, V4.host_b, "service = \"tcp\"\ntcp = [2222]") + more
}

fn case(expect: &str) -> String {
    format!("\n[[test]]\nfrom = \"{}\"\nto = \"{}\"\nport = 2222\nexpect = \"{expect}\"\n", V4.host_a, V4.host_b)
}

#[test]
fn a_policy_is_taken_over_as_a_whole_with_its_approval_or_stays_as_it_was() {
    let Some(site) = site("a_policy_is_taken_over_as_a_whole_with_its_approval_or_stays_as_it_was") else { return };
    let pair = site.pair(&Setup::default());
    let events = pair.a.monitor().unwrap();
    let before = policy(&pair.a);
    let mut live = opened(&site, PORT);
    talk(&mut live, &[7; 4000]);

    // It lives by this right.
    let (from, to) = (V4.host_a.to_string(), target(PORT).to_string());
    let explained = site.portcullis(Side::A, &["policy", "explain", "--live", "--json", "--from", &from, "--to", &to]);
    let answer: Value = serde_json::from_slice(&explained.stdout).unwrap_or_else(|_| panic!("{explained:?}"));
    let flow = &answer["flows"][0];
    assert_eq!(
        (explained.status.code(), &flow["rule"], &flow["clause"], &flow["state"], &flow["service"]),
        (Some(0), &"mq".into(), &"1a".into(), &"open".into(), &"uninspected".into()),
        "{answer}"
    );
    assert!(flow["bytes_out"].as_u64() > Some(4000) && flow["bytes_in"].as_u64() > Some(5), "{answer}");

    // A file whose test fails changes nothing.
    site.rewrite(Side::A, &other(Side::A, &case("no-rule")));
    let file = site.folder(Side::A).join("portcullis.toml");
    let file = file.to_str().unwrap();
    let refused = site.portcullis(Side::A, &["reload"]);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(refused.status.code() == Some(1) && said.contains("a test of this file fails"), "{refused:?}");
    assert_eq!(policy(&pair.a), before);
    talk(&mut live, b"still here");

    // What it would change, and who has approved it.
    let approval = "\n[approval]\napprover = \"J. Doe\"\nticket = \"CHG-7\"\n";
    for side in [Side::A, Side::B] {
        site.rewrite(side, &other(side, &(case("allow") + approval)));
    }
    let diff = site.portcullis(Side::A, &["policy", "diff", file]);
    let shown = String::from_utf8_lossy(&diff.stdout);
    assert_eq!(diff.status.code(), Some(7), "{diff:?}");
    assert!(
        shown.contains("added rule files") && shown.contains("removed rule mq") && shown.contains("2 changes"),
        "{shown}"
    );
    for side in [Side::B, Side::A] {
        assert_eq!(site.portcullis(side, &["reload"]).status.code(), Some(0));
    }
    assert_eq!(site.portcullis(Side::A, &["policy", "diff", file]).status.code(), Some(0));

    // The flow that no rule allows any more is reset on both ends, and told with what it has carried.
    for end in [&mut live.0, &mut live.1] {
        assert_eq!(end.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    }
    let now = policy(&pair.a);
    assert_ne!(now, before);
    let told = |name: &str| {
        let found = events.find(PATIENCE, |event| event["event"] == name);
        found.unwrap_or_else(|| panic!("no {name}: {:?}\n{}", events.so_far(), pair.logs()))
    };
    let opened = told("flow-opened");
    assert_eq!((&opened["rule"], &opened["policy"]), (&"mq".into(), &before));
    let changed = told("policy-changed");
    assert_eq!(
        (&changed["previous"], &changed["policy"], &changed["approver"], &changed["ticket"]),
        (&before, &now, &"J. Doe".into(), &"CHG-7".into())
    );
    assert_eq!((&changed["added"][0], &changed["removed"][0]), (&"rule files".into(), &"rule mq".into()));
    assert!(told("reload-refused")["reason"].as_str().unwrap().contains("a test of this file fails"));
    let closed = told("flow-closed");
    assert!(closed["reason"] == "no-rule" && closed["bytes_out"].as_u64() > Some(4000), "{closed}");
    let status = pair.a.status().unwrap();
    assert_eq!((&status["approver"], &status["ticket"]), (&"J. Doe".into(), &"CHG-7".into()));

    // What is refused is counted by the rule that is near and by its reason.
    assert!(connect(&site.topology.host_a, target(23), SHORT).is_err());
    let counted = || pair.a.status().unwrap()["refused"]["files"]["no-rule"].as_u64() > Some(0);
    assert!(wait_until(counted), "{}", pair.a.status().unwrap());
    let refused = told("refused");
    assert_eq!((&refused["reason"], &refused["policy"]), (&"no-rule".into(), &now), "{refused}");
    assert!(events.so_far().iter().all(|event| event["policy"].as_str().is_some_and(|digest| digest.len() == 64)));
    pair.stop();
}
