//! TLS.

use super::*;

/// A ClientHello's choices.
#[derive(Clone)]
pub(super) struct Client {
    pub(super) legacy: u16,
    pub(super) versions: Option<Vec<u16>>,
    pub(super) name: Option<&'static str>,
    pub(super) more: Vec<(u16, Vec<u8>)>,
}

impl Default for Client {
    fn default() -> Self {
        Self {
            legacy: 0x0303,
            versions: Some(vec![0x0a0a, 0x0304, 0x0303]),
            name: Some("mq.example"),
            more: Vec::new(),
        }
    }
}

fn be16(value: usize) -> [u8; 2] {
    u16::try_from(value).unwrap().to_be_bytes()
}

fn vector(bytes: &[u8]) -> Vec<u8> {
    [&be16(bytes.len())[..], bytes].concat()
}

fn handshake(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    [&[kind, length[1], length[2], length[3]], body].concat()
}

fn record(content: u8, body: &[u8]) -> Vec<u8> {
    [&[content, 3, 3][..], &vector(body)].concat()
}

fn client_message(client: &Client) -> Vec<u8> {
    let mut extensions = Vec::new();
    let mut extension = |kind: u16, body: &[u8]| {
        extensions.extend(kind.to_be_bytes());
        extensions.extend(vector(body));
    };
    extension(0x3a3a, &[]);
    if let Some(name) = client.name {
        extension(0, &vector(&[&[0][..], &vector(name.as_bytes())].concat()));
    }
    extension(16, &vector(b"\x02h2"));
    if let Some(versions) = &client.versions {
        let list: Vec<u8> = versions.iter().flat_map(|version| version.to_be_bytes()).collect();
        extension(43, &[&[u8::try_from(list.len()).unwrap()][..], &list].concat());
    }
    for (kind, body) in &client.more {
        extension(*kind, body);
    }
    let mut body = client.legacy.to_be_bytes().to_vec();
    body.extend([7; 32]);
    body.push(32);
    body.extend([9; 32]);
    body.extend(vector(&[0x13, 0x01, 0x13, 0x02, 0xc0, 0x2f]));
    body.extend([1, 0]);
    body.extend(vector(&extensions));
    handshake(1, &body)
}

pub(super) fn client_hello(client: &Client) -> Vec<u8> {
    record(22, &client_message(client))
}

fn server_message(legacy: u16, version: Option<u16>, suite: u16, random: &[u8; 32]) -> Vec<u8> {
    let mut body = legacy.to_be_bytes().to_vec();
    body.extend(random);
    body.push(0);
    body.extend(suite.to_be_bytes());
    body.push(0);
    if let Some(version) = version {
        body.extend(vector(&[&[0, 43][..], &vector(&version.to_be_bytes())].concat()));
    }
    handshake(2, &body)
}

fn server_hello(version: Option<u16>, suite: u16) -> Vec<u8> {
    record(22, &server_message(0x0303, version, suite, &[5; 32]))
}

/// SHA-256 of "HelloRetryRequest".
fn retry_random() -> [u8; 32] {
    use sha2::{Digest, Sha256};
    Sha256::digest(b"HelloRetryRequest").into()
}

fn retry(suite: u16) -> Vec<u8> {
    record(22, &server_message(0x0303, Some(0x0304), suite, &retry_random()))
}

fn any() -> Inspection {
    Inspection::Tls(TlsLimits::default())
}

fn told(limits: TlsLimits, turns: &[Turn]) -> Heard {
    verdict(&Inspection::Tls(limits), 443, turns)
}

const SETTLED: Heard = Heard::Passed { settled: true };

#[test]
fn handshakes_of_both_versions_pass_and_what_follows_is_not_heard() {
    let data = record(23, &[1; 500]);
    let spec = record(20, &[1]);
    let tls13 = [
        opener(client_hello(&Client::default())),
        responder([server_hello(Some(0x0304), 0x1302), spec.clone(), data.clone()].concat()),
        opener([spec.clone(), data.clone()].concat()),
        responder(b"nothing that anybody could know"),
    ];
    assert_eq!(verdict(&any(), 443, &tls13), SETTLED);
    let flight = handshake(11, &[3; 4000]);
    let tls12 = [
        opener(client_hello(&Client { versions: None, ..Client::default() })),
        responder(record(22, &[server_message(0x0303, None, 0xc030, &[5; 32]), flight].concat())),
        opener([record(22, &[16, 0, 0, 2, 1, 1]), spec.clone(), record(22, &[0; 40])].concat()),
        responder([spec, record(22, &[0; 40]), data.clone()].concat()),
        opener(data),
    ];
    assert_eq!(verdict(&any(), 443, &tls12), SETTLED);
    let mut recogniser = Recogniser::of(&any(), 443).unwrap();
    for (by, bytes) in &tls12 {
        recogniser.hear(&any(), *by, bytes).unwrap();
    }
    assert_eq!([Speaker::Opener, Speaker::Responder].map(|side| recogniser.unheard(side)), [FOR_EVER; 2]);
}

#[test]
fn hellos_over_several_records_and_retries_are_followed() {
    let split = |message: &[u8], length| message.chunks(length).flat_map(|part| record(22, part)).collect::<Vec<u8>>();
    let client = client_message(&Client::default());
    for length in [1, 3, 50, 100] {
        let turns = [
            opener(split(&client, length)),
            responder(split(&server_message(0x0303, Some(0x0304), 0x1302, &[5; 32]), length)),
        ];
        assert_eq!(verdict(&any(), 443, &turns), SETTLED);
    }
    let again = [
        opener(client_hello(&Client::default())),
        responder([retry(0x1302), record(20, &[1])].concat()),
        opener([record(20, &[1]), client_hello(&Client::default())].concat()),
        responder(server_hello(Some(0x0304), 0x1302)),
    ];
    assert_eq!(verdict(&any(), 443, &again), SETTLED);
    assert_eq!(verdict(&any(), 443, &again[..3]), Heard::Passed { settled: false });
    let mut twice = again.to_vec();
    twice[3] = responder(retry(0x1302));
    let Heard::Stopped { by: Speaker::Responder, reason: DropReason::TlsHello, .. } = verdict(&any(), 443, &twice)
    else {
        panic!("a second retry")
    };
    // To a client it is a retry by its random, so it is no hello of TLS 1.2 behind which another one would not be judged.
    for suite in [0xc030, 0x1302] {
        let disguised = record(22, &server_message(0x0303, None, suite, &retry_random()));
        let turns = [opener(client_hello(&Client::default())), responder(disguised)];
        let limits = TlsLimits { tls13: false, ..TlsLimits::default() };
        let Heard::Stopped { by: Speaker::Responder, reason: DropReason::TlsHello, .. } = told(limits, &turns) else {
            panic!("a retry without a version")
        };
    }
    // Without a retry there is one hello.
    let twice = [opener(client_hello(&Client::default())), opener(client_hello(&Client::default()))];
    let at = client_hello(&Client::default()).len();
    assert_eq!(verdict(&any(), 443, &twice), stopped(Speaker::Opener, at, DropReason::NotTls));
}

#[test]
fn versions_are_judged_in_both_hellos() {
    let only13 = || TlsLimits { tls12: false, ..TlsLimits::default() };
    let only12 = || TlsLimits { tls13: false, ..TlsLimits::default() };
    let version = |heard| match heard {
        Heard::Stopped { by, reason: DropReason::TlsVersion, .. } => Some(by),
        Heard::Stopped { reason, .. } => panic!("{reason}"),
        Heard::Passed { .. } => None,
    };
    let client =
        |legacy, versions: Option<Vec<u16>>| opener(client_hello(&Client { legacy, versions, ..Client::default() }));
    for (turn, limits, stopped) in [
        (client(0x0302, None), TlsLimits::default(), true),
        (client(0x0301, None), TlsLimits::default(), true),
        (client(0x0303, Some(vec![0x0302, 0x0301])), TlsLimits::default(), true),
        (client(0x0303, None), only13(), true),
        (client(0x0303, Some(vec![0x0303])), only13(), true),
        (client(0x0303, Some(vec![0x0304])), only12(), true),
        (client(0x0303, Some(vec![0x0304, 0x0303])), only12(), false),
        (client(0x0303, None), only12(), false),
    ] {
        assert_eq!(version(told(limits, &[turn])), stopped.then_some(Speaker::Opener));
    }
    for (legacy, chosen, limits, stopped) in [
        (0x0302, None, TlsLimits::default(), true),
        (0x0303, None, only13(), true),
        (0x0303, Some(0x0304), only12(), true),
        (0x0303, Some(0x0303), TlsLimits::default(), true),
        (0x0303, Some(0x0304), only13(), false),
        (0x0303, None, only12(), false),
    ] {
        let suite = if chosen.is_some() { 0x1302 } else { 0xc030 };
        let server = record(22, &server_message(legacy, chosen, suite, &[5; 32]));
        let turns = [client(0x0303, Some(vec![0x0304, 0x0303])), responder(server)];
        assert_eq!(version(told(limits, &turns)), stopped.then_some(Speaker::Responder), "{legacy:x} {chosen:?}");
    }
}

#[test]
fn the_server_may_choose_only_a_suite_that_the_rule_names() {
    let limits = || TlsLimits { suites: crate::policy::suites::meant("aes256").collect(), ..TlsLimits::default() };
    let turns = |suite| [opener(client_hello(&Client::default())), responder(server_hello(Some(0x0304), suite))];
    assert_eq!(told(limits(), &turns(0x1302)), SETTLED);
    // Record header, handshake header, version, random, an empty session.
    let at = 5 + 4 + 2 + 32 + 1 + 1;
    assert_eq!(told(limits(), &turns(0x1301)), stopped(Speaker::Responder, at, DropReason::TlsSuite));
    assert_eq!(told(TlsLimits::default(), &turns(0x1301)), SETTLED);
    assert_eq!(told(TlsLimits::default(), &turns(0x003b)), stopped(Speaker::Responder, at, DropReason::TlsSuite));
    // A suite of the other version.
    for (version, suite) in [(Some(0x0304), 0xc030), (None, 0x1302)] {
        let server = server_hello(version, suite);
        let at = server.len() - 1;
        let turns = [opener(client_hello(&Client::default())), responder(server)];
        assert_eq!(told(TlsLimits::default(), &turns), stopped(Speaker::Responder, at, DropReason::TlsSuite));
    }
}

#[test]
fn a_pinned_server_name_is_demanded_and_a_hidden_one_is_refused() {
    let limits = || TlsLimits { names: names(&["ais2.cisa.dhs.gov"]), ..TlsLimits::default() };
    let hello = |client: Client| [opener(client_hello(&client))];
    let named = |name| hello(Client { name, ..Client::default() });
    assert_eq!(told(limits(), &named(Some("AIS2.cisa.dhs.gov"))), Heard::Passed { settled: false });
    for name in [Some("ais3.cisa.dhs.gov"), Some("ais2.cisa.dhs.go"), Some("ais2.cisa.dhs.gov.example"), None] {
        let Heard::Stopped { reason: DropReason::TlsServerName, .. } = told(limits(), &named(name)) else {
            panic!("{name:?}")
        };
    }
    for kind in [0xfe0d, 0xffce] {
        let hidden = hello(Client { more: vec![(kind, vec![0; 40])], ..Client::default() });
        let Heard::Stopped { reason: DropReason::TlsHiddenHello, .. } = told(TlsLimits::default(), &hidden) else {
            panic!("{kind:x}")
        };
    }
}

#[test]
fn the_old_hello_a_server_that_begins_and_malformed_hellos_are_refused() {
    let old = [0x80, 0x2e, 1, 3, 1, 0, 0x15, 0, 0, 0, 0x10];
    assert_eq!(verdict(&any(), 443, &[opener(old)]), stopped(Speaker::Opener, 0, DropReason::TlsOldHello));
    let server = server_hello(Some(0x0304), 0x1302);
    assert_eq!(verdict(&any(), 443, &[responder(&server)]), stopped(Speaker::Responder, 0, DropReason::SpokeFirst));
    let hello = client_hello(&Client::default());
    let changed = |at: usize, byte| {
        let mut hello = hello.clone();
        hello[at] = byte;
        verdict(&any(), 443, &[opener(hello)])
    };
    let wrong = |at, reason| stopped(Speaker::Opener, at, reason);
    assert_eq!(changed(1, 2), wrong(1, DropReason::NotTls));
    assert_eq!(changed(2, 4), wrong(2, DropReason::NotTls));
    assert_eq!(changed(3, 0x41), wrong(3, DropReason::NotTls), "longer than a record");
    assert_eq!(changed(5, 2), wrong(5, DropReason::TlsHello), "not a ClientHello");
    assert_eq!(changed(6, 2), wrong(8, DropReason::TlsHello), "longer than any hello");
    assert_eq!(changed(5 + 4 + 2 + 32, 33), wrong(43, DropReason::TlsHello), "a session of 33 bytes");
    // A hello that says that it is shorter than what stands in it, and one with something behind it.
    let shorter = changed(8, hello[8] - 1);
    let Heard::Stopped { reason: DropReason::TlsHello, .. } = shorter else { panic!("{shorter:?}") };
    let behind = record(22, &[client_message(&Client::default()), vec![0]].concat());
    let at = behind.len() - 1;
    assert_eq!(verdict(&any(), 443, &[opener(behind)]), wrong(at, DropReason::TlsHello));
    // An alert is a legal answer; data is not.
    let alert = [opener(&hello), responder([21, 3, 3, 0, 2, 2, 40])];
    assert_eq!(verdict(&any(), 443, &alert), Heard::Passed { settled: false });
    let data = [opener(&hello), responder(record(23, b"x"))];
    assert_eq!(verdict(&any(), 443, &data), stopped(Speaker::Responder, 0, DropReason::NotTls));
}

#[test]
fn who_has_said_its_hello_says_nothing_into_the_other_sides() {
    // Its record promises a byte more, which comes when the other side has begun its own hello.
    let longer = |message: &[u8]| {
        let mut record = record(22, &[message, &[0]].concat());
        record.pop();
        record
    };
    let client = client_message(&Client::default());
    let server = server_hello(Some(0x0304), 0x1302);
    let begun = &server[..20];
    let hello = longer(&client);
    let behind_the_client = [opener(&hello), responder(begun), opener([2])];
    assert_eq!(verdict(&any(), 443, &behind_the_client), stopped(Speaker::Opener, hello.len(), DropReason::TlsHello));
    let retry = longer(&server_message(0x0303, Some(0x0304), 0x1302, &retry_random()));
    let again = client_hello(&Client::default());
    let behind_a_retry = [opener(&again), responder(&retry), opener(&again[..20]), responder([2])];
    assert_eq!(verdict(&any(), 443, &behind_a_retry), stopped(Speaker::Responder, retry.len(), DropReason::TlsHello));
}

#[test]
fn early_data_passes_only_if_it_was_announced() {
    let early = Client { more: vec![(42, Vec::new())], ..Client::default() };
    let data = record(23, &[1; 100]);
    let announced = [
        opener([client_hello(&early), record(20, &[1]), data.clone()].concat()),
        responder(server_hello(Some(0x0304), 0x1302)),
        opener(&data),
    ];
    assert_eq!(verdict(&any(), 443, &announced), SETTLED);
    let hello = client_hello(&Client::default());
    let at = hello.len();
    let unannounced = [opener([hello, data].concat())];
    assert_eq!(verdict(&any(), 443, &unannounced), stopped(Speaker::Opener, at, DropReason::NotTls));
}

#[test]
fn extensions_stand_where_they_may_once_and_are_what_they_say() {
    let asks = |more: &[(u16, &[u8])]| {
        let more = more.iter().map(|(kind, body)| (*kind, body.to_vec())).collect();
        opener(client_hello(&Client { more, ..Client::default() }))
    };
    let answers = |version: Option<u16>, more: &[(u16, &[u8])]| {
        let mut extensions = version.map(|version| [&[0, 43][..], &vector(&version.to_be_bytes())].concat());
        for (kind, body) in more {
            extensions.get_or_insert_default().extend([&kind.to_be_bytes()[..], &vector(body)].concat());
        }
        let suite: u16 = if version.is_some() { 0x1302 } else { 0xc030 };
        let extensions = extensions.map(|extensions| vector(&extensions)).unwrap_or_default();
        let body = [&[3, 3][..], &[5; 32], &[0], &suite.to_be_bytes(), &[0], &extensions];
        responder(record(22, &handshake(2, &body.concat())))
    };
    let groups: (u16, &[u8]) = (10, &[0, 4, 0, 29, 0, 24]);
    let share: (u16, &[u8]) = (51, &[0, 29, 0, 2, 7, 7]);
    let asked = asks(&[groups, (23, &[]), (51, &[0, 6, 0, 29, 0, 2, 7, 7]), (0xfafa, &[0]), (0xff01, &[0])]);
    let refused = |turns: &[Turn]| match told(TlsLimits::default(), turns) {
        Heard::Passed { .. } => None,
        Heard::Stopped { by, reason: DropReason::TlsHello, .. } => Some(by),
        Heard::Stopped { reason, .. } => panic!("{reason}"),
    };
    for (version, more) in [
        (None, &[(16, &b"\0\x03\x02h2"[..]), (23, &[]), (0xff01, &[0])][..]),
        (None, &[(0, &[])]),
        (Some(0x0304), &[share]),
        (None, &[groups]),
    ] {
        assert_eq!(refused(&[asked.clone(), answers(version, more)]), None, "{version:?} {more:?}");
    }
    for (version, more) in [
        // Not asked for; of another version; not for a server; unknown; twice; not what it says.
        (None, &[(22, &[][..])][..]),
        (None, &[share]),
        (Some(0x0304), &[(16, b"\0\x03\x02h2")]),
        (None, &[(13, &[0, 2, 4, 3])]),
        (None, &[(0xfafa, &[0])]),
        (None, &[(23, &[]), (23, &[])]),
        (None, &[(16, b"\0\x04\x02h2")]),
        (Some(0x0304), &[(51, &[0, 29, 0, 3, 7, 7])]),
        (None, &[(0, &[0])]),
    ] {
        let turns = [asked.clone(), answers(version, more)];
        assert_eq!(refused(&turns), Some(Speaker::Responder), "{version:?} {more:?}");
    }
    for more in [
        &[groups, groups][..],
        &[(10, &[0, 3, 0, 29, 0])],
        &[(23, &[0])],
        &[(41, &[0, 7, 0, 1, 1, 0, 0, 0, 0]), (23, &[])],
        &[(51, &[0, 6, 0, 29])],
        &[(17, &[0, 4, 8, 4, 4, 3])],
        &[(57, &[])],
    ] {
        assert_eq!(refused(&[asks(more)]), Some(Speaker::Opener), "{more:?}");
    }
}
