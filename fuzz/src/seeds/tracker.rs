//! Connections for the tracker, in the words that `tcp_tracker` reads.

use portcullis::wire::tcp::{ACK, FIN, PSH, RST, SYN, URG};

use super::super::steps;
use super::Seed;

/// The other side of a connection.
const BACK: u8 = 8;
/// A train of segments.
const TRAIN: u8 = 16;
/// UDP (0), echo (3), an ICMP error (5).
const OTHER: u8 = 32;
/// Something else than a packet.
const HAPPENS: u8 = 48;
/// Near the next number, the oldest that is not acknowledged, as far as the window goes, the first, and far away.
const OLDEST: u8 = 1 << 5;
const WINDOW: u8 = 2 << 5;
const FIRST: u8 = 3 << 5;
const LONG_AGO: u8 = 4 << 5;
const FAR: u8 = 5 << 5;
/// Forty bytes behind the next number, and eighty before it.
const BEHIND: u8 = 6 << 5;
const BEFORE: u8 = 7 << 5;

/// What happens, and its argument.
const TIME: u8 = 0;
const POLICY: u8 = 2;
const JUDGE: u8 = 3;
const SWEEP: u8 = 4;

fn input(options: u8, things: &[(u8, &[u8])]) -> Vec<u8> {
    let mut out = vec![options];
    for (what, with) in things {
        steps::put(&mut out, *what, with);
    }
    out
}

/// The handshake of a connection, with window scale if `options` says so.
fn opened(of: u8, options: u8) -> Vec<(u8, Vec<u8>)> {
    let syn = |flags| vec![flags, 0, 0, 0, 0, 0, options];
    vec![(of, syn(SYN)), (of | BACK, syn(SYN | ACK)), (of, vec![ACK])]
}

fn with(options: u8, front: &[(u8, Vec<u8>)], more: &[(u8, &[u8])]) -> Vec<u8> {
    let front: Vec<_> = front.iter().map(|(what, with)| (*what, &with[..])).collect();
    input(options, &[&front, more].concat())
}

pub(super) fn tcp_tracker() -> Vec<Seed> {
    // Flags, sequence, acknowledgement, window, how much is said.
    let talk: [(u8, &[u8]); 7] = [
        (0, &[PSH | ACK, 0, 0, 0, 20]),
        (BACK, &[PSH | ACK, 0, 0, 0, 30]),
        (0, &[ACK]),
        (0, &[FIN | ACK, 0, 0]),
        (BACK, &[ACK]),
        (BACK, &[FIN | ACK, 0, 0]),
        (0, &[ACK]),
    ];
    let odd: [(u8, &[u8]); 16] = [
        (0, &[ACK, WINDOW | 1, 0, 0, 1]),
        (0, &[ACK, WINDOW, 0, 0, 40]),
        (0, &[ACK, LONG_AGO]),
        (0, &[ACK, FAR]),
        (0, &[ACK, 0, FAR]),
        (0, &[ACK, 0, 1]),
        (0, &[ACK, 0, LONG_AGO]),
        (BACK, &[RST, 1]),
        (BACK, &[RST, BEHIND]),
        (BACK, &[ACK, 0, 0, 0, 5]),
        (0, &[SYN, 5]),
        (0, &[SYN | ACK]),
        (0, &[ACK | URG]),
        (0, &[SYN | FIN]),
        (0, &[FIN | ACK, 0, 0, 0, 3]),
        (0, &[ACK, 1, 0, 0, 3]),
    ];
    let reset: [(u8, &[u8]); 6] = [
        (0, &[ACK, 0, 0, 0, 9]),
        (BACK, &[ACK]),
        (0, &[RST | ACK]),
        (BACK, &[ACK, 0, 0, 0, 4]),
        (0, &[SYN, 9]),
        (BACK, &[RST | ACK, 0, 0]),
    ];
    let challenge: [(u8, &[u8]); 4] = [(0, &[SYN]), (BACK, &[ACK, 0, BEHIND]), (0, &[RST, BEHIND]), (0, &[RST, 3])];
    let ssh = |order: &[(u8, &[u8])]| with(0, &opened(3, 0), order);
    let said: &[u8] = &[ACK, 0, 0, 60, 63];
    let in_order = [(3, said), (3 | BACK, said), (3, said), (3 | BACK, said)].repeat(5);
    // Whoever has not got everything acknowledges what it has.
    let gap: &[u8] = &[ACK, BEHIND, OLDEST, 60, 40];
    let missing: &[u8] = &[ACK, 0, OLDEST, 60, 40];
    let before: &[u8] = &[ACK, BEFORE, OLDEST, 60, 40];
    let begin = [(3, gap), (3, missing), (3 | BACK, gap), (3 | BACK, missing)];
    let end = [(3, gap), (3, before), (3 | BACK, gap), (3 | BACK, before), (3, &[ACK][..])];
    let reordered = [&begin[..], &in_order[..10], &end].concat();
    let lies: [(u8, &[u8]); 7] = [
        (3, said),
        (3, &[ACK, BEFORE, 0, 60, 20]),
        (3 | BACK, said),
        (3, &[ACK, BEFORE, 0, 60, 20, 1]),
        (3, said),
        (3 | BACK, said),
        (3, &[SYN, 9]),
    ];
    let train: [(u8, &[u8]); 4] = [
        (3 | TRAIN, said),
        (3 | TRAIN, &[ACK, BEHIND, 0, 60, 63]),
        (3 | BACK | TRAIN, said),
        (3, &[ACK, OLDEST, 0, 60, 63]),
    ];
    let policies: [(u8, &[u8]); 9] = [
        (3, said),
        (3, gap),
        (HAPPENS, &[POLICY, 2]),
        (3 | BACK, &[ACK]),
        (3, said),
        (HAPPENS, &[POLICY, 3]),
        (HAPPENS, &[JUDGE]),
        (3, said),
        (0, &[SYN]),
    ];
    let others: [(u8, &[u8]); 13] = [
        (OTHER, &[0]),
        (OTHER | BACK, &[0]),
        (OTHER | BACK, &[1]),
        (OTHER, &[4]),
        (OTHER | 3, &[2]),
        (OTHER | 3 | BACK, &[3]),
        (OTHER | 3 | BACK, &[2]),
        (OTHER | 3, &[2, 1]),
        (OTHER | 5 | BACK, &[0, 0x80]),
        (OTHER | 5 | BACK, &[1, 0x83]),
        (OTHER | 5, &[0, 0x80]),
        (HAPPENS, &[TIME, 40]),
        (OTHER | BACK, &[0]),
    ];
    let errors: [(u8, &[u8]); 5] = [
        (0, &[ACK, 0, 0, 0, 20]),
        (OTHER | 5 | BACK, &[1, 0, OLDEST]),
        (OTHER | 5 | BACK, &[2, 0, OLDEST]),
        (OTHER | 5 | BACK, &[0, 0, FAR]),
        (OTHER | 5, &[0, 0, FIRST]),
    ];
    let full: [(u8, &[u8]); 10] = [
        (0, &[SYN]),
        (1, &[SYN]),
        (2, &[SYN]),
        (3, &[SYN]),
        (4, &[SYN]),
        (5, &[SYN]),
        (6, &[SYN]),
        (HAPPENS, &[1, 3]),
        (4, &[SYN]),
        (HAPPENS, &[SWEEP, 4]),
    ];
    let observed: [(u8, &[u8]); 5] = [
        (4, &[ACK, 0, 0, 60, 20, 3]),
        (4, &[ACK, 0, 0, 60, 20]),
        (4 | BACK, &[ACK, BEHIND, 0, 60, 20]),
        (4 | BACK, &[ACK, 0, 0, 60, 20, 1]),
        (HAPPENS, &[TIME, 200]),
    ];
    let odd_errors: Vec<(u8, Vec<u8>)> = (0..16)
        .map(|kind| (OTHER | 5 | BACK, vec![kind, 0, OLDEST]))
        .chain((0..4).map(|odd| (OTHER | 5 | BACK, vec![0, 0, OLDEST, 0, odd << 5])))
        .chain([(OTHER | 3, vec![2])])
        .chain((0..3).map(|odd| (OTHER | 5 | BACK, vec![0, 0x83, 0, 0, odd << 1])))
        .collect();
    let odd_errors: Vec<(u8, &[u8])> = odd_errors.iter().map(|(what, with)| (*what, &with[..])).collect();
    // Options that are not carried on a SYN, and on what follows.
    let unknown: [(u8, &[u8]); 4] = [
        (0, &[SYN, 0, 0, 0, 0, 0, 0x17, 0, 0, 30]),
        (BACK, &[SYN | ACK, 0, 0, 0, 0, 0, 0x37, 1, 0, 34]),
        (0, &[ACK, 0, 0, 0, 0, 0, 0, 0, 0, 254]),
        (0, &[ACK, 0, 0, 0, 20, 0, 0x20, 2, 0, 30]),
    ];
    // More out of order than is held, before anybody knows what is spoken; what is missing comes at last.
    let mut hoarded: Vec<(u8, &[u8])> = vec![(3, &[ACK, BEHIND, 0, 255, 127]); 10];
    hoarded.extend([(3, &[ACK, FIRST, 0, 255, 60][..]), (3 | BACK, &[ACK, 0, 0, 255, 60])]);
    let closed: [(u8, &[u8]); 6] = [
        (0, &[ACK, 0, 0, 0, 20]),
        (HAPPENS, &[POLICY, 3]),
        (HAPPENS, &[POLICY, 4]),
        (0, &[ACK, 0, 0, 0, 20]),
        (0, &[SYN]),
        (HAPPENS, &[JUDGE, 0]),
    ];
    // Timestamps on both SYNs, and then one that is older than the last, one behind other options, and none.
    let stamped: [(u8, &[u8]); 6] = [
        (3, &[ACK, 0, 0, 255, 20, 0, 0x20, 5]),
        (3 | BACK, &[ACK, 0, 0, 255, 20, 0, 0x20, 7]),
        (3, &[ACK, 0, 0, 255, 20, 0, 0x20, 4]),
        (3, &[ACK, 0, 0, 255, 20, 0, 0x20, 6, 0, 30]),
        (3, &[ACK, 0, 0, 255, 20, 0, 0, 0, 0, 30]),
        (3 | BACK, &[ACK, 0, 0, 255, 20, 0, 0x20, 8]),
    ];
    // What a new policy forbids is looked at by the next packet, whatever that is.
    let forbidden: Vec<(u8, &[u8])> = [
        (OTHER, &[0][..], 1, (OTHER, &[0][..])),
        (OTHER | 3, &[2], 3, (OTHER | 3 | BACK, &[3])),
        (OTHER | 3, &[2], 3, (OTHER | 3, &[2])),
        (OTHER | 3, &[2], 3, (OTHER | 5 | BACK, &[0, 0x83])),
        (OTHER, &[0], 1, (OTHER | 5 | BACK, &[0, 0x80])),
    ]
    .into_iter()
    .flat_map(|(what, with, policy, next)| {
        let policy: &[u8] = if policy == 1 { &[POLICY, 1] } else { &[POLICY, 3] };
        [(HAPPENS, &[POLICY, 0][..]), (what, with), (HAPPENS, policy), next]
    })
    .collect();
    let opened_badly: [(u8, &[u8]); 3] =
        [(0, &[RST | ACK]), (0, &[SYN, 0, 0, 0, 0, 0, 0x80]), (0, &[SYN, 0, 0, 0, 0, 0, 0x17])];
    vec![
        ("forbidden", input(0, &forbidden)),
        ("opened_badly", with(0, &opened(0, 0), &opened_badly)),
        ("stamped", with(0, &opened(3, 0x3e), &stamped)),
        ("stamped_v6", with(1, &opened(3, 0x3e), &stamped)),
        ("errors_of_every_kind", with(0, &opened(0, 0), &odd_errors)),
        ("errors_of_every_kind_v6", with(1, &opened(0, 0), &odd_errors)),
        ("unknown_options", input(0, &unknown)),
        ("unknown_options_v6", input(1, &unknown)),
        ("more_than_is_held", with(0, &opened(3, 0x1e), &hoarded)),
        ("closed_and_opened", with(0, &opened(0, 0), &closed)),
        ("conversation", with(0, &opened(0, 0), &talk)),
        ("conversation_v6", with(3, &opened(0, 0x17), &talk)),
        ("odd", with(2, &opened(0, 0x1e), &odd)),
        ("reset", with(4, &opened(0, 0), &reset)),
        ("challenge", input(0, &challenge)),
        ("ssh", ssh(&in_order)),
        ("ssh_reordered", ssh(&reordered)),
        ("ssh_lies", ssh(&lies)),
        ("ssh_train", ssh(&train)),
        ("policies", ssh(&policies)),
        ("others", input(0, &others)),
        ("others_v6", input(1, &others)),
        ("errors", with(0, &opened(0, 0), &errors)),
        ("full", input(0, &full)),
        ("observed", with(1, &opened(4, 0), &observed)),
    ]
}
