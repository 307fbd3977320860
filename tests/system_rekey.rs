//! Two gateways of ours renew keys by themselves, by hand and both at once; numbered datagrams miss nothing.
#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

mod numbers;
mod system_common;

use std::time::Duration;

use numbers::Numbers;
use portcullis::lab::topology::V4;
use system_common::{Setup, Side, rule, site, tunnel, wait_for};

fn setup() -> Setup {
    let udp = |side| rule(side, "numbers", V4.host_a, V4.host_b, "service = \"udp\"\nudp = [2000]");
    Setup { end: [udp(Side::A), udp(Side::B)], ..Setup::default() }
}

#[test]
fn keys_are_renewed_by_packets_by_hand_and_by_both_at_once_and_no_datagram_is_lost() {
    let name = "keys_are_renewed_by_packets_by_hand_and_by_both_at_once_and_no_datagram_is_lost";
    let Some(site) = site(name) else { return };
    let mut setup = setup().with_tunnel("child_lifetime = { packets = 1000 }");
    // One opens the tunnel, so that there is one handshake.
    setup.tunnel[1].push_str("start = \"manual\"\n");
    let pair = site.pair(&setup);
    let topology = &site.topology;
    let numbers = Numbers::start(&topology.host_a, V4.host_a, &topology.host_b, V4.host_b);
    // By packets: one each way every two milliseconds or so, new keys at 765 to 850 of them.
    let by_itself = wait_for(Duration::from_secs(30), || tunnel(&pair.a)["rekeys"]["child"].as_u64() >= Some(3));
    assert!(by_itself, "{}\n{}", tunnel(&pair.a), pair.logs());
    // By hand, on either side and on both at once.
    for round in 0..6 {
        std::thread::scope(|scope| {
            for side in [Side::A, Side::B].into_iter().filter(|side| round > 1 || (*side == Side::A) == (round == 0)) {
                let (site, pair) = (&site, &pair);
                scope.spawn(move || {
                    let output = site.portcullis(side, &["rekey", "t"]);
                    let text = String::from_utf8_lossy(&output.stdout).into_owned();
                    let error = String::from_utf8_lossy(&output.stderr);
                    assert!(output.status.success(), "{round} {side:?}: {error}\n{}", pair.logs());
                    assert!(text.contains("new child SA") && text.contains("new IKE SA"), "{text}");
                });
            }
        });
    }
    let one = wait_for(Duration::from_secs(40), || {
        let spis = [&pair.a, &pair.b].map(|gateway| {
            let children = tunnel(gateway)["children"].clone();
            (children.as_array().unwrap().len(), children[0]["spis"].clone())
        });
        spis[0].0 == 1 && spis[1].0 == 1 && spis[0].1[0] == spis[1].1[1] && spis[0].1[1] == spis[1].1[0]
    });
    assert!(one, "{}\n{}\n{}", tunnel(&pair.a), tunnel(&pair.b), pair.logs());
    let tally = numbers.count();
    let status = tunnel(&pair.a);
    assert!(tally.is_whole(), "{tally:?}\n{status}\n{}", pair.logs());
    println!("{} datagrams each way, rekeyed: {}", tally.sent, status["rekeys"]);
    // Counters have not fallen, and the flow is one flow.
    assert_eq!(status["counters"]["packets_out"].as_u64(), Some(tally.sent as u64));
    assert_eq!(status["counters"]["packets_in"].as_u64(), Some(tally.sent as u64));
    let rules = pair.a.status().unwrap()["rules"]["numbers"].clone();
    assert_eq!(rules["flows"], 1, "{rules}");
    assert_eq!((&status["handshakes"], &status["failures"]), (&1.into(), &0.into()), "{status}\n{}", pair.logs());
    pair.stop();
}

#[test]
fn rekey_says_what_it_cannot_do() {
    let Some(site) = site("rekey_says_what_it_cannot_do") else { return };
    let mut setup = setup();
    setup.tunnel[0] = "start = \"manual\"".to_owned();
    setup.tunnel[1] = "start = \"manual\"".to_owned();
    let gateway = site.start(Side::A, &setup);
    assert!(wait_for(Duration::from_secs(10), || gateway.status().is_ok()));
    let refused = |words: &[&str], why: &str| {
        let output = site.portcullis(Side::A, words);
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{error}");
        assert!(error.contains(why), "{error}");
    };
    refused(&["rekey", "t"], "not up");
    refused(&["rekey", "wombat", "--child"], "no tunnel is called `wombat`; there is t");
    let usage = site.portcullis(Side::A, &["rekey", "t", "--ike", "--verify-pfs"]);
    assert_eq!(usage.status.code(), Some(2));
}
