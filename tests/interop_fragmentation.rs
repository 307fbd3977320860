//! IKE fragmentation (RFC 7383) with strongSwan, in both roles: charon cuts short, and the path lets nothing long of ours through.
#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

mod interop;
mod lab_common;

use interop::charon::Connection;
use interop::scene::{Opener, Ours, Scene, bring_up};
use portcullis::lab::capture::Seen;
use portcullis::lab::topology::spawn_in;
use std::process::Command;

/// What charon's log says of fragments that it sends, and of those that it has put together.
const CUTS: &str = "splitting IKE message";
const JOINS: &str = "reassembled fragmented IKE message";

fn hold_a_tunnel(
    name: &str,
    opener: Opener,
    ours: &Ours,
    theirs: &Connection,
    is_narrow: bool,
    said: &[&str],
    unsaid: &[&str],
) {
    let Some(mut scene) = Scene::set(name) else { return };
    if is_narrow {
        narrow(&scene);
    }
    let charon = scene.charon(theirs);
    let mut gateway = scene.portcullis(ours, opener);
    bring_up(opener, &mut gateway, &charon);
    scene.transfer().unwrap_or_else(|error| panic!("{error}\n{}\n{}", gateway.log(), charon.log()));
    assert!(charon.rekey("child").is_ok() && charon.rekey("ike").is_ok(), "{}", charon.log());
    scene.transfer().unwrap_or_else(|error| panic!("{error}\n{}\n{}", gateway.log(), charon.log()));
    let log = charon.log();
    for text in said {
        assert!(log.contains(text), "charon does not say \"{text}\":\n{log}");
    }
    for text in unsaid {
        assert!(!log.contains(text), "charon says \"{text}\":\n{log}");
    }
    assert!(gateway.stop().unwrap().success());
    assert!(scene.seen().packets(Seen::Esp) > 1000);
}

/// Long names for both sides: charon takes no longer ones.
fn long(fragmentation: &str) -> (Ours, Connection) {
    let [us, them] = ["a", "b"].map(|letter| vec![letter.repeat(49); 5].join("."));
    let tunnel = format!("local_id = \"{us}\"\npeer_id = \"{them}\"\nfragmentation = \"{fragmentation}\"");
    let ids = vec![format!("\"@{them}\""), format!("\"@{us}\"")];
    (Ours { tunnel: tunnel.leak(), ..Ours::default() }, Connection { ids, fragment_size: 400, ..Connection::default() })
}

/// IKE messages of gateway A that are longer than what every host takes are lost.
fn narrow(scene: &Scene) {
    let rules = "table ip narrow {\n chain out {\n type filter hook output priority 0\n udp dport 500 meta length > 576 drop\n \
                 udp dport 4500 @th,64,32 0 meta length > 576 drop\n }\n }\n";
    let mut nft = Command::new("nft");
    nft.arg(rules).env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    let status = spawn_in(&scene.topology.gateway_a, &mut nft).unwrap().wait().unwrap();
    assert!(status.success(), "nft takes the rules");
}

#[test]
fn a_path_that_carries_nothing_long_gets_fragments_both_ways_opened_by_us() {
    let (ours, theirs) = long("on");
    let name = "a_path_that_carries_nothing_long_gets_fragments_both_ways_opened_by_us";
    hold_a_tunnel(name, Opener::We, &ours, &theirs, true, &[CUTS, JOINS], &[]);
}

#[test]
fn a_path_that_carries_nothing_long_gets_no_long_answer() {
    let (ours, theirs) = long("on");
    let name = "a_path_that_carries_nothing_long_gets_no_long_answer";
    // Our answer has one name in it and is no longer than the path carries.
    hold_a_tunnel(name, Opener::Peer, &ours, &theirs, true, &[CUTS], &[]);
}

#[test]
fn short_fragments_of_strongswan_are_put_together_in_every_exchange() {
    let theirs = Connection { fragment_size: 200, ..Connection::default() };
    for opener in [Opener::We, Opener::Peer] {
        let name = "short_fragments_of_strongswan_are_put_together_in_every_exchange";
        hold_a_tunnel(name, opener, &Ours::default(), &theirs, false, &[CUTS], &[JOINS]);
    }
}

#[test]
fn without_fragmentation_long_messages_go_whole() {
    let (ours, theirs) = long("off");
    for opener in [Opener::We, Opener::Peer] {
        hold_a_tunnel(
            "without_fragmentation_long_messages_go_whole",
            opener,
            &ours,
            &theirs,
            false,
            &[],
            &[CUTS, JOINS],
        );
    }
}
