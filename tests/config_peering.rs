//! Several head-ends, inner addresses, childless IKE SAs and MOBIKE in the file: what loads, and what is refused with which
//! advice.

mod support;

use std::time::Duration;

use portcullis::config::{ConfigError, Loaded};
use portcullis::ike::config::{Childless, Peering};
use support::{Case, EXAMPLE, LAB};

const ONE: &str = "peer = \"203.0.113.5\"";
const TWO: &str = "peer = [\"203.0.113.5\", \"203.0.113.6\"]\npeer_id = \"gw.example.com\"";

fn load(text: &str) -> Result<Loaded, ConfigError> {
    Case::new().load(text)
}

fn with(lines: &str) -> String {
    EXAMPLE.replace(ONE, lines)
}

fn peering(text: &str) -> Peering {
    let loaded = load(text).unwrap_or_else(|refused| panic!("{}", refused.render(false)));
    loaded.ike.tunnels[0].peering.clone()
}

fn refused(text: &str, message: &str, mend: &str) {
    let error = load(text).expect_err(message).render(false).split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(error.contains(message) && error.contains(mend), "{error}");
}

#[test]
fn a_peer_may_have_several_head_ends_in_order() {
    let loaded = load(&with(TWO)).unwrap();
    let (info, tunnel) = (&loaded.tunnels[0], &loaded.ike.tunnels[0]);
    let addresses = ["203.0.113.5", "203.0.113.6"].map(|address| address.parse::<std::net::IpAddr>().unwrap());
    assert_eq!(info.peers().collect::<Vec<_>>(), addresses);
    assert_eq!(tunnel.peers().collect::<Vec<_>>(), addresses);
    assert_eq!(tunnel.peering.fail_back, Some(Duration::from_mins(1)));
    assert_eq!(peering(&with(&format!("{TWO}\nfail_back = 0"))).fail_back, None);
    assert_eq!(peering(&with(&format!("{TWO}\nfail_back = 300"))).fail_back, Some(Duration::from_mins(5)));
    let one = peering(&with("peer = [\"203.0.113.5\"]"));
    assert_eq!(one, peering(EXAMPLE), "a list of one is one");
}

#[test]
fn head_ends_are_checked_like_a_single_peer() {
    let list = |addresses: &str| with(&format!("peer = [{addresses}]\npeer_id = \"gw.example.com\""));
    refused(&list("\"203.0.113.5\", \"203.0.113.5\""), "`peer` names this address twice", "take one of them out");
    refused(&list("\"203.0.113.5\", \"2001:db8::1\""), "different address families", "two IPv4 or two IPv6");
    refused(&list("\"203.0.113.5\", \"198.51.100.10\""), "are the same address", "the other gateway's");
    refused(&list("\"203.0.113.5\", \"gw2.example.com\""), "`peer` is not an address", "names are not looked up");
    refused(&list(""), "`peer` is empty", "name at least one");
    let nine: Vec<_> = (1..=9).map(|host| format!("\"203.0.113.{}\"", 100 + host)).collect();
    refused(&list(&nine.join(", ")), "more than 8 head-ends", "name fewer");
    refused(&with("peer = [\"203.0.113.5\", \"203.0.113.6\"]"), "has no `peer_id`", "every head-end proves");
    // The second head-end lies among the protected hosts.
    refused(
        &list("\"203.0.113.5\", \"203.0.113.20\""),
        "203.0.113.20 of tunnel `cbp` lies inside",
        "hosts behind the peer",
    );
}

#[test]
fn two_tunnels_never_share_a_head_end() {
    let second = "\n[tunnel.two]\nagreement = \"cbp\"\nlocal = \"198.51.100.10\"\n\
                  peer = [\"203.0.113.9\", \"203.0.113.6\"]\npeer_id = \"gw2.example.com\"\n\
                  auth = { method = \"psk\", secret = \"file:PSK\" }\npreset = \"cisco-asa\"\n";
    refused(&format!("{}{second}", with(TWO)), "`cbp` and `two` join the same two addresses", "make one tunnel");
}

#[test]
fn fail_back_without_a_second_head_end_is_told() {
    let loaded = load(&with(&format!("{ONE}\nfail_back = 30"))).unwrap();
    assert!(loaded.warnings.iter().any(|warning| warning.render(false).contains("`fail_back` has no meaning")));
    refused(&with(&format!("{TWO}\nfail_back = 3")), "`fail_back` is out of bounds", "from 5 to 86400");
}

#[test]
fn childless_is_one_of_three_words() {
    for (word, meaning) in [("allow", Childless::Allow), ("prefer", Childless::Prefer), ("off", Childless::Off)] {
        assert_eq!(peering(&with(&format!("{ONE}\nchildless = \"{word}\""))).childless, meaning);
    }
    refused(&with(&format!("{ONE}\nchildless = \"prefers\"")), "`childless` cannot be", "did you mean \"prefer\"?");
}

#[test]
fn one_side_hands_out_addresses_and_the_other_asks() {
    assert!(peering(&with(&format!("{ONE}\nrequest_address = true"))).request_address);
    let both = peering(&with(&format!("{ONE}\npool = [\"10.9.0.0/24\", \"2001:db8:9::/64\"]\ndns = \"192.0.2.53\"")));
    assert_eq!(both.pool.iter().map(ToString::to_string).collect::<Vec<_>>(), ["10.9.0.0/24", "2001:db8:9::/64"]);
    assert_eq!(both.dns, ["192.0.2.53".parse::<std::net::IpAddr>().unwrap()]);
    let tunnel = |lines: &str| with(&format!("{ONE}\n{lines}"));
    refused(&tunnel("request_address = true\npool = \"10.9.0.0/24\""), "exclude each other", "keep one of them");
    refused(&tunnel("request_address = \"yes\""), "neither true nor false", "without quotes");
    refused(&tunnel("pool = \"10.9.0.1/24\""), "bits beyond its length", "10.9.0.0/24");
    refused(&tunnel("pool = [\"10.9.0.0/24\", \"10.8.0.0/24\"]"), "two networks of one address family", "one of each");
    refused(&tunnel("pool = \"ten\""), "`pool` is not a network", "10.9.0.0/24");
    refused(&tunnel("dns = \"192.0.2.53\""), "`dns` without `pool`", "take `dns` out");
}

#[test]
fn mobike_stays_within_what_an_agreement_names() {
    refused(&with(&format!("{ONE}\nmobike = true")), "names the peer's addresses", "list in `peer` every address");
    assert!(peering(&with(&format!("{TWO}\nmobike = true"))).mobike);
    assert!(!peering(&with(&format!("{ONE}\nmobike = false"))).mobike);
    let lab = LAB.replace("start = \"manual\"", "start = \"manual\"\nmobike = true");
    assert!(peering(&lab).mobike, "in a laboratory anything may move");
}
