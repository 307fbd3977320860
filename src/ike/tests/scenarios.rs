//! What happens, one test each, with the messages of RFC 7296 above the steps.

use super::pair::*;

/// ```text
/// A                              B
/// HDR, SAi1, KEi, Ni        -->
///                           <--  HDR, SAr1, KEr, Nr
/// HDR, SK {IDi, IDr, AUTH,
///     SAi2, TSi, TSr}       -->
///                           <--  HDR, SK {IDr, AUTH, SAr2, TSi, TSr}
/// ```
#[test]
fn four_messages_make_an_ike_sa_and_a_child_sa() {
    for (ike, esp) in [(X25519, ESP), (GCM, ESP), (CBC, ESP_CBC)] {
        let [mut a, mut b] = [tunnel(A), tunnel(B)];
        (a.ike, b.ike) = (vec![ike], vec![ike]);
        (a.esp, b.esp) = (vec![esp], vec![esp]);
        let mut pair = Pair::new(a, b);
        pair.run_secs(1);
        pair.assert_up(1);
        assert_eq!(pair.trace.len(), 4);
        assert_eq!(pair.status(A).ike.unwrap().peer_id, "b.example");
        assert_eq!(pair.status(B).ike.unwrap().peer_id, "a.example");
    }
}
