//! `portcullis explain` over whole negotiations: two endpoints, each with its file, and one thing that differs.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use portcullis::config::{self, Loaded};
use portcullis::entropy::SeededEntropy;
use portcullis::ike::api::{Input, Output};
use portcullis::ike::endpoint::Endpoint;
use portcullis::report::explain::{Device, Finding, Here, Report, Source, report};
use portcullis::time::Instant;

/// What a side writes, by default; the first pair of words that matches is replaced.
#[derive(Clone, Copy)]
struct Side<'a> {
    ike: &'a str,
    esp: &'a str,
    secret: &'a str,
    ids: (&'a str, &'a str),
    near: &'a str,
    far: &'a str,
    start: &'a str,
}

const GCM: &str = "aes256gcm16-prfsha384-ecp384";
const ESP: &str = "aes256gcm16-ecp384";
const SECRET: &str = "6c6f6e6720656e6f75676820746f2062652061206b657920686572652e2e2e2e";

const ALICE: Side<'_> = Side {
    ike: GCM,
    esp: ESP,
    secret: SECRET,
    ids: ("a.example", "b.example"),
    near: "10.1.0.1",
    far: "10.2.0.1",
    start: "always",
};
const BOB: Side<'_> =
    Side { ids: ("b.example", "a.example"), near: "10.2.0.1", far: "10.1.0.1", start: "manual", ..ALICE };

fn text(side: Side<'_>, addresses: [&str; 2]) -> String {
    let Side { ike, esp, secret, ids: (local_id, peer_id), near, far, start } = side;
    let [local, peer] = addresses;
    format!(
        "[gateway]\nstate_dir = \"/tmp/x\"\n[agreement.lab]\nkind = \"lab\"\n[tunnel.cbp]\nagreement = \"lab\"\nlocal = \"{local}\"\n\
         peer = \"{peer}\"\nlocal_id = \"{local_id}\"\npeer_id = \"{peer_id}\"\nauth = {{ method = \"psk\", secret = \"hex:{secret}\" }}\n\
         ike = [\"{ike}\"]\nesp = [\"{esp}\"]\nstart = \"{start}\"\n[[rule]]\nname = \"mq\"\ntunnel = \"cbp\"\nclause = \"1a\"\nfrom = \
         [\"{near}\"]\nto = [\"{far}\"]\nservice = \"mq\"\ndirection = \"outbound\"\n"
    )
}

/// Two endpoints and the line between them.
struct Line {
    sides: [(Loaded, String, Endpoint); 2],
    under_way: VecDeque<(usize, SocketAddr, SocketAddr, Vec<u8>)>,
    now: Instant,
}

impl Line {
    fn new(alice: Side<'_>, bob: Side<'_>) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let side = |side, addresses, seed| {
            let text = text(side, addresses);
            let path = folder.path().join("portcullis.toml");
            std::fs::write(&path, &text).expect("a file");
            let loaded = config::load(&path).unwrap_or_else(|error| panic!("{error}"));
            let endpoint = Endpoint::new(loaded.ike.clone(), Box::new(SeededEntropy::new(seed)), false);
            (loaded, text, endpoint)
        };
        let (a, b) = ("192.0.2.1", "198.51.100.1");
        let sides = [side(alice, [a, b], 1), side(bob, [b, a], 2)];
        Self { sides, under_way: VecDeque::new(), now: Instant::ZERO + Duration::from_secs(1000) }
    }

    fn input(&mut self, side: usize, input: Input<'_>) {
        self.sides[side].2.handle(self.now, input);
        loop {
            match self.sides[side].2.poll_output() {
                Output::Transmit { local, remote, bytes } => self.under_way.push_back((1 - side, local, remote, bytes)),
                Output::Timeout(_) => return,
                _ => {}
            }
        }
    }

    /// Lets time pass, a second at a time.
    fn run(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.now = self.now + Duration::from_secs(1);
            for side in [0, 1] {
                self.input(side, Input::Timeout);
            }
            while let Some((to, remote, local, bytes)) = self.under_way.pop_front() {
                self.input(to, Input::Datagram { local, remote, bytes: &bytes });
            }
        }
    }

    fn explain(&self, side: usize) -> Report {
        let (loaded, text, endpoint) = &self.sides[side];
        let places = config::places(text);
        let here = Here { file: "portcullis.toml".to_owned(), places: &places, tunnel: "cbp" };
        let explained = endpoint.explain(loaded.tunnels[0].id).expect("the tunnel");
        // What the control socket carries is the same afterwards.
        let line = serde_json::to_string(&explained).expect("JSON");
        let explained = serde_json::from_str(&line).expect("and back");
        report(&explained, Source::Gateway, Some(&here), Some(Device::CiscoIosXe))
    }
}

fn differs(finding: &Finding) -> &str {
    finding.differs.as_deref().unwrap_or_default()
}

fn ours(finding: &Finding) -> &str {
    finding.change_ours.as_deref().unwrap_or_default()
}

fn peer(finding: &Finding) -> &str {
    finding.change_peer.as_deref().unwrap_or_default()
}

/// The first finding that failed.
fn failed(report: &Report) -> &Finding {
    report.negotiations.iter().find(|finding| finding.outcome == "failed").unwrap_or_else(|| panic!("{report:#?}"))
}

#[test]
fn the_responder_names_the_transform_and_the_initiator_what_it_was_told() {
    for (theirs, what, reason) in [
        ("aes256gcm16-prfsha384-modp2048", "group: ours 14 (MODP_2048), theirs 20 (ECP_384)", "same group"),
        ("aes256gcm16-prfsha256-ecp384", "PRF: ours PRF_HMAC_SHA2_256, theirs PRF_HMAC_SHA2_384", "same PRF"),
        ("aes256-sha384-ecp384", "encryption: ours AES_CBC-256, theirs AES_GCM_16-256", "CBC"),
        (
            "aes128gcm16-prfsha384-ecp384",
            "encryption: ours AES_GCM_16-128, theirs AES_GCM_16-256",
            "ours 128 bits, theirs 256",
        ),
    ] {
        let mut line = Line::new(ALICE, Side { ike: theirs, ..BOB });
        line.run(2);
        let report = line.explain(1);
        let finding = failed(&report);
        assert_eq!((finding.exchange, finding.by_us, finding.authenticated), ("IKE_SA_INIT", false, false));
        assert_eq!(finding.code.as_deref(), Some("no-proposal-chosen"));
        assert_eq!(differs(finding), what, "{theirs}");
        assert!(finding.reason.contains(reason), "{}", finding.reason);
        assert!(ours(finding).starts_with(&format!("portcullis.toml:12: ike = [.., \"{GCM}\"]")), "{}", ours(finding));
        assert!(peer(finding).starts_with("crypto ikev2 proposal"), "{}", peer(finding));
        let text = report.text(false, 140);
        assert!(text.contains("THE PEER (UNAUTHENTICATED) SAYS"), "{text}");
        // Whoever asked knows only that somebody said no.
        let asked = line.explain(0);
        let asked = failed(&asked);
        assert!(asked.reason.contains("the peer (unauthenticated) says NO_PROPOSAL_CHOSEN"), "{}", asked.reason);
        assert!(!asked.authenticated && asked.by_us);
    }
}

#[test]
fn what_the_peer_offers_when_it_asks_explains_its_mere_no() {
    let mut line = Line::new(ALICE, Side { ike: "aes256gcm16-prfsha384-modp2048", start: "always", ..BOB });
    line.run(3);
    for side in [0, 1] {
        let report = line.explain(side);
        let asked = report.negotiations.iter().find(|finding| finding.by_us).expect("a page of ours");
        assert!(differs(asked).starts_with("group:"), "{asked:#?}");
        assert!(asked.reason.contains("so it offered when it asked itself"), "{}", asked.reason);
    }
}

#[test]
fn a_pfs_mismatch_is_named_when_the_child_sa_is_rekeyed() {
    let mut line = Line::new(ALICE, Side { esp: "aes256gcm16-modp2048", ..BOB });
    line.run(3);
    assert!(line.explain(0).negotiations.iter().all(|finding| finding.outcome == "agreed"), "IKE_AUTH names no group");
    let id = line.sides[0].0.tunnels[0].id;
    line.input(0, Input::Rekey { tunnel: id, children: true, ike: false });
    line.run(2);
    let report = line.explain(0);
    let finding = failed(&report);
    assert_eq!((finding.exchange, finding.authenticated), ("CREATE_CHILD_SA (rekeying of a child SA)", true));
    assert!(differs(finding).contains("PFS"), "{finding:#?}");
    assert!(finding.reason.contains("PFS") && !finding.reason.contains("unauthenticated"), "{}", finding.reason);
    assert!(
        ours(finding).starts_with("portcullis.toml:13:") && peer(finding).contains("set pfs group20"),
        "{finding:#?}"
    );
    let report = line.explain(1);
    let finding = failed(&report);
    assert_eq!(
        differs(finding),
        "group of the child SA's own key exchange (PFS): ours 14 (MODP_2048), theirs 20 (ECP_384)"
    );
    assert!(ours(finding).contains("esp = [.., \"aes256gcm16-ecp384\"]"), "{finding:#?}");
    assert!(report.text(false, 140).contains("THE PEER"), "what it says is authenticated");
}

#[test]
fn selectors_that_no_rule_has_are_named_by_their_side() {
    let mut line = Line::new(ALICE, Side { near: "10.2.0.9", ..BOB });
    line.run(2);
    let report = line.explain(1);
    let finding = failed(&report);
    assert_eq!((finding.exchange, finding.code.as_deref()), ("IKE_AUTH (first child SA)", Some("ts-unacceptable")));
    assert_eq!(differs(finding), "selectors, our side: ours 10.2.0.9, theirs 10.2.0.1");
    assert!(finding.authenticated, "the peer had proved who it is");
    assert!(ours(finding).starts_with("portcullis.toml:17: `from` and `to`"), "{}", ours(finding));
    let report = line.explain(0);
    let finding = failed(&report);
    assert!(finding.reason.contains("TS_UNACCEPTABLE"), "{}", finding.reason);
    assert!(peer(finding).contains("permit ip"), "{finding:#?}");
}

#[test]
fn an_identity_that_is_not_the_expected_one_is_named_as_a_claim() {
    let mut line = Line::new(Side { ids: ("c.example", "b.example"), ..ALICE }, BOB);
    line.run(2);
    let report = line.explain(1);
    let finding = failed(&report);
    assert_eq!((finding.exchange, finding.authenticated), ("IKE_AUTH", false));
    assert_eq!(differs(finding), "the peer's identity: ours a.example, theirs c.example");
    assert!(finding.reason.contains("the peer (unauthenticated) says it is c.example"), "{}", finding.reason);
    assert!(ours(finding).starts_with("portcullis.toml:10: peer_id = \"c.example\""), "{}", ours(finding));
    assert!(peer(finding).contains("identity local fqdn a.example"), "{}", peer(finding));
    // It asked for somebody else.
    let mut line = Line::new(Side { ids: ("a.example", "x.example"), ..ALICE }, BOB);
    line.run(2);
    let report = line.explain(1);
    let finding = failed(&report);
    assert_eq!(differs(finding), "our identity: ours b.example, theirs x.example");
    assert!(ours(finding).starts_with("portcullis.toml:9: local_id"), "{}", ours(finding));
}

#[test]
fn a_wrong_key_is_told_from_a_wrong_name() {
    let other = SECRET.replace("6c6f", "6d6f");
    let mut line = Line::new(Side { secret: &other, ..ALICE }, BOB);
    line.run(2);
    let report = line.explain(1);
    let finding = failed(&report);
    assert_eq!((finding.exchange, finding.code.as_deref()), ("IKE_AUTH", Some("authentication-failed")));
    assert!(finding.reason.contains("pre-shared keys differ"), "{}", finding.reason);
    assert!(ours(finding).starts_with("portcullis.toml:11:") && peer(finding).contains("keyring"), "{finding:#?}");
    let report = line.explain(0);
    let finding = failed(&report);
    assert!(finding.reason.contains("(unauthenticated) says AUTHENTICATION_FAILED"), "{}", finding.reason);
    assert!(!report.text(true, 140).contains(SECRET) && !report.text(true, 140).contains(&other));
}

#[test]
fn what_succeeds_is_explained_too_and_a_stranger_does_not_take_its_place() {
    let mut line = Line::new(ALICE, BOB);
    line.run(3);
    for side in [0, 1] {
        let report = line.explain(side);
        let agreed: Vec<_> = report.negotiations.iter().map(|of| (of.exchange, of.outcome, of.authenticated)).collect();
        assert_eq!(agreed.len(), 3, "{report:#?}");
        assert!(agreed.iter().all(|(_, outcome, authenticated)| *outcome == "agreed" && *authenticated), "{agreed:?}");
        assert!(report.text(false, 120).contains("Both sides agree on aes256gcm16-prfsha384-ecp384."));
    }
    // A request in the peer's name, from anybody.
    let mut stranger = Line::new(Side { ike: "aes256-sha384-ecp384", ..ALICE }, BOB);
    stranger.run(1);
    let (to, remote, local) =
        (1, "192.0.2.1:500".parse().expect("an address"), "198.51.100.1:500".parse().expect("one"));
    let mut other = Line::new(Side { ike: "aes256-sha384-ecp384", ..ALICE }, BOB);
    other.input(0, Input::Timeout);
    let (_, _, _, bytes) = other.under_way.pop_front().expect("a request");
    line.input(to, Input::Datagram { local, remote, bytes: &bytes });
    let report = line.explain(1);
    let init: Vec<_> = report.negotiations.iter().filter(|of| of.exchange == "IKE_SA_INIT").collect();
    assert_eq!(
        init.iter().map(|of| (of.outcome, of.authenticated)).collect::<Vec<_>>(),
        [("failed", false), ("agreed", true)]
    );
}
