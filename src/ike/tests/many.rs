//! Many tunnels in one endpoint: what one of them does costs as much with many others as with few.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use super::pair::*;
use crate::ids::TunnelId;
use crate::ike::api::Input;
use crate::ike::config::{Config, Start, TunnelConfig};

/// The address of A in the tunnel with this number.
fn of(number: u16) -> IpAddr {
    Ipv4Addr::from_bits(0x0a09_0000 | u32::from(number)).into()
}

/// A pair of endpoints with so many tunnels between them; the last one waits for the operator.
fn pair(count: u16) -> Pair {
    let config = |side: usize| {
        let tunnels = (1..=count).map(|number| {
            let start = if number == count { Start::Manual } else { tunnel(side).start };
            let ends = [of(number), address(B)];
            Arc::new(TunnelConfig {
                id: TunnelId(number),
                name: format!("t{number}"),
                local: ends[side],
                peer: ends[1 - side],
                start,
                ..tunnel(side)
            })
        });
        Arc::new(Config { tunnels: tunnels.collect(), cookie_threshold: None, puzzles: None })
    };
    let mut pair = Pair::seeded(7, config(A), config(B));
    pair.run_secs(2);
    pair
}

fn up(pair: &Pair, side: usize) -> usize {
    pair.sides[side].endpoint.status().iter().filter(|tunnel| tunnel.state == "up").count()
}

/// How many IKE SAs both endpoints look at while the last tunnel comes up, renews its keys and goes.
fn looks(count: u16) -> [usize; 2] {
    let mut pair = pair(count);
    assert_eq!([A, B].map(|side| up(&pair, side)), [usize::from(count) - 1; 2]);
    let last = TunnelId(count);
    pair.sides.iter().for_each(|side| _ = side.endpoint.looked());
    pair.input(A, Input::Up(last));
    pair.run_secs(1);
    pair.input(A, Input::Rekey { tunnel: last, children: true, ike: true });
    pair.run_secs(1);
    pair.input(B, Input::Down(last));
    pair.run_secs(1);
    let looked = [A, B].map(|side| pair.sides[side].endpoint.looked());
    assert_eq!([A, B].map(|side| up(&pair, side)), [usize::from(count) - 1; 2]);
    looked
}

#[test]
fn a_tunnel_comes_up_rekeys_and_goes_without_a_look_at_the_others() {
    let few = looks(4);
    assert!(few.iter().all(|looked| (1..1000).contains(looked)), "{few:?}");
    assert_eq!(looks(40), few);
}

#[test]
fn a_first_message_finds_its_tunnel_by_both_addresses_also_after_a_reload() {
    let mut pair = pair(3);
    // The tunnels change their peers' addresses round: each is known by its new one only.
    let moved = |side: usize| {
        let tunnels = (1..=3).map(|number| {
            let ends = [of(number + 100), address(B)];
            let (id, name) = (TunnelId(number), format!("t{number}"));
            let start = tunnel(side).start;
            Arc::new(TunnelConfig { id, name, local: ends[side], peer: ends[1 - side], start, ..tunnel(side) })
        });
        Arc::new(Config { tunnels: tunnels.collect(), cookie_threshold: None, puzzles: None })
    };
    let now = pair.now;
    for side in [B, A] {
        pair.sides[side].own = vec![of(1), of(2), of(3), of(101), of(102), of(103), address(B)];
        pair.sides[side].endpoint.reload(now, moved(side));
        pair.drain(side);
    }
    pair.run_secs(3);
    assert_eq!([A, B].map(|side| up(&pair, side)), [3; 2]);
}
