//! IBM MQ.

use super::*;

fn turns(said: &[Said]) -> Vec<Turn> {
    said.iter().map(|said| if said.by_opener { opener(&said.bytes) } else { responder(&said.bytes) }).collect()
}

fn any() -> Inspection {
    Inspection::Mq(MqLimits::default())
}

/// All that the lab's conversations name.
fn listed() -> MqLimits {
    MqLimits {
        channels: names(&["CBP.SVRCONN"]),
        queue_managers: names(&["QM1"]),
        queues: names(&["CBP.*"]),
        ..MqLimits::default()
    }
}

const PLAIN: Dialect = Dialect { level: 13, little: false, ebcdic: false };

#[test]
fn a_faithful_conversation_passes_in_every_dialect_however_it_is_cut() {
    let mut clients = listed();
    clients.server = false;
    let mut senders = listed();
    senders.client = false;
    for dialect in Dialect::all() {
        for length in [0, 1, 900, 100_000] {
            let client = turns(&mq_dialect::client(dialect, &Names::default(), length));
            let sender = turns(&mq_dialect::sender(dialect, &Names::default(), length));
            for (turns, limits) in [(&client, &clients), (&sender, &senders)] {
                for demands in [&any(), &Inspection::Mq(limits.clone())] {
                    let passed = Heard::Passed { settled: true };
                    if length < 1000 {
                        assert_eq!(verdict(demands, 1414, turns), passed, "{dialect:?} {length}");
                    } else {
                        assert_eq!(whole(demands, turns), passed, "{dialect:?} {length}");
                    }
                }
            }
        }
    }
}

#[test]
fn bulk_is_not_heard() {
    let said = mq_dialect::client(PLAIN, &Names::default(), 30_000);
    let put = said.iter().find(|said| said.bytes.len() > 30_000).unwrap();
    let mut recogniser = Recogniser::of(&any(), 1414).unwrap();
    for said in &said {
        let by = if said.by_opener { Speaker::Opener } else { Speaker::Responder };
        if said == put {
            recogniser.hear(&any(), by, &said.bytes[..36]).unwrap();
            assert_eq!(recogniser.unheard(by), said.bytes.len() as u64 - 36);
            return;
        }
        recogniser.hear(&any(), by, &said.bytes).unwrap();
    }
    unreachable!("the PUT was found");
}

#[test]
fn the_recogniser_finds_the_byte_of_a_first_segment_that_is_not_legal() {
    let first = mq_dialect::client(PLAIN, &Names::default(), 0).remove(0).bytes;
    for (at, byte) in [
        (0, b'U'),
        (1, b'T'),
        (2, b'G'),
        (3, b'C'),
        (3, b'M'),
        (4, 1),
        (5, 1),
        (6, 5),
        (8, 3),
        (9, 5),
        (10, 0x02),
        (11, 0x10),
        (12, 1),
        (19, 1),
        (20, 1),
        (22, 0x10),
        (26, 1),
        (27, 1),
        (28, b'J'),
        (29, b'E'),
        (31, b'X'),
        (32, 0),
        (32, 33),
        (52, b' '),
        (53, b'-'),
        (71, b'X'),
    ] {
        let mut changed = first.clone();
        changed[at] = byte;
        let expected = stopped(Speaker::Opener, at, DropReason::NotMq);
        assert_eq!(verdict(&any(), 1414, &[opener(changed)]), expected, "{at}");
    }
    // Too short for its level, and for any level.
    for (length, at) in [(28 + 239, 32), (71, 7)] {
        let mut changed = first.clone();
        changed[6..8].copy_from_slice(&u16::try_from(length).unwrap().to_be_bytes());
        assert_eq!(verdict(&any(), 1414, &[opener(changed)]), stopped(Speaker::Opener, at, DropReason::NotMq));
    }
}

#[test]
fn the_server_waits_for_the_whole_first_segment_and_answers_with_one_of_its_own() {
    let said = mq_dialect::client(PLAIN, &Names::default(), 0);
    let (first, answer) = (&said[0].bytes, &said[1].bytes);
    let (begun, rest) = first.split_at(100);
    let early = [opener(begun), responder(&answer[..1]), opener(rest)];
    assert_eq!(verdict(&any(), 1414, &early), stopped(Speaker::Responder, 0, DropReason::SpokeFirst));
    let mut wrong = answer.clone();
    wrong[9] = 9;
    let turns = [opener(first), responder(wrong)];
    assert_eq!(verdict(&any(), 1414, &turns), stopped(Speaker::Responder, 9, DropReason::NotMq));
    let mut status = answer[..36].to_vec();
    (status[7], status[9]) = (36, 5);
    status[6] = 0;
    let turns = [opener(first), responder(status)];
    assert_eq!(verdict(&any(), 1414, &turns), Heard::Passed { settled: true });
}

/// A conversation up to the reply to MQCONN, and then one segment of the client's.
fn behind(dialect: Dialect, said: Said) -> (Vec<Turn>, usize) {
    let mut all = mq_dialect::client(dialect, &Names::default(), 0);
    let kind_at = if dialect.level >= 10 { 17 } else { 9 };
    let opened = all.iter().position(|said| said.by_opener && said.bytes[kind_at] == 0x83);
    all.truncate(opened.unwrap());
    let before = all.iter().filter(|said| said.by_opener).map(|said| said.bytes.len()).sum();
    all.push(said);
    (turns(&all), before)
}

fn told(dialect: Dialect, limits: MqLimits, said: Said) -> Option<(usize, DropReason)> {
    let (turns, before) = behind(dialect, said);
    match verdict(&Inspection::Mq(limits), 1414, &turns) {
        Heard::Passed { .. } => None,
        Heard::Stopped { by, at, reason } => {
            assert_eq!(by, Speaker::Opener);
            Some((at - before, reason))
        }
    }
}

#[test]
fn names_that_the_rule_does_not_have_are_stopped_at_the_letter_that_differs() {
    for dialect in Dialect::all() {
        let header = if dialect.level >= 10 { 36 } else { 28 };
        let queue = |queue| Names { queue, ..Names::default() };
        let manager = |queue_manager| Names { queue_manager, ..Names::default() };
        let wrong = |at: usize, reason| Some((header + at, reason));
        assert_eq!(told(dialect, listed(), mq_dialect::put1(dialect, &queue("CBP.A"))), None);
        assert_eq!(
            told(dialect, listed(), mq_dialect::put1(dialect, &queue("CBQ.A"))),
            wrong(16 + 12 + 2, DropReason::MqQueue)
        );
        assert_eq!(
            told(dialect, listed(), mq_dialect::put1(dialect, &manager("QM2"))),
            wrong(16 + 60 + 2, DropReason::MqQueueManager)
        );
        assert_eq!(told(dialect, listed(), mq_dialect::put1(dialect, &manager(""))), None, "that which is connected");
        let spi = 16 + 12 + 12 + 12 + 32;
        assert_eq!(told(dialect, listed(), mq_dialect::spi_open(dialect, &queue("CBP.A"))), None);
        assert_eq!(
            told(dialect, listed(), mq_dialect::spi_open(dialect, &queue("XBP.A"))),
            wrong(spi + 12, DropReason::MqQueue)
        );
        let admin = "SYSTEM.ADMIN.COMMAND.QUEUE";
        for said in [mq_dialect::put1(dialect, &queue(admin)), mq_dialect::spi_open(dialect, &queue(admin))] {
            let (_, reason) = told(dialect, MqLimits::default(), said).unwrap();
            assert_eq!(reason, DropReason::MqAdministration);
        }
        let (at, reason) =
            told(dialect, MqLimits::default(), mq_dialect::put1(dialect, &queue("SYSTEM.COMMAND.INPUT"))).unwrap();
        assert_eq!((at, reason), (header + 16 + 12 + 14, DropReason::MqAdministration));
        assert_eq!(told(dialect, MqLimits::default(), mq_dialect::put1(dialect, &queue("SYSTEM.DEFAULT"))), None);
    }
}

#[test]
fn a_connection_to_another_channel_or_queue_manager_is_stopped_where_it_is_named() {
    for dialect in Dialect::all() {
        let limits = || Inspection::Mq(listed());
        let channel = Names { channel: "CBP.OTHER", ..Names::default() };
        let said = turns(&mq_dialect::client(dialect, &channel, 0));
        assert_eq!(verdict(&limits(), 1414, &said), stopped(Speaker::Opener, 56, DropReason::MqChannel));
        let manager = Names { queue_manager: "QM2", ..Names::default() };
        let said = turns(&mq_dialect::client(dialect, &manager, 0));
        assert_eq!(verdict(&limits(), 1414, &said), stopped(Speaker::Responder, 28 + 50, DropReason::MqQueueManager));
        let admin = Names { channel: "SYSTEM.ADMIN.SVRCONN", ..Names::default() };
        let said = turns(&mq_dialect::client(dialect, &admin, 0));
        let expected = stopped(Speaker::Opener, 52 + 12, DropReason::MqAdministration);
        assert_eq!(verdict(&any(), 1414, &said), expected);
        // Between queue managers.
        let queue = Names { queue: "OTHER", ..Names::default() };
        let said = turns(&mq_dialect::sender(dialect, &queue, 10));
        let Heard::Stopped { by: Speaker::Opener, reason: DropReason::MqQueue, .. } = verdict(&limits(), 1414, &said)
        else {
            panic!("{dialect:?}")
        };
        let queue = Names { queue: "SYSTEM.ADMIN.COMMAND.QUEUE", ..Names::default() };
        let said = turns(&mq_dialect::sender(dialect, &queue, 10));
        let Heard::Stopped { reason: DropReason::MqAdministration, .. } = verdict(&any(), 1414, &said) else {
            panic!("{dialect:?}")
        };
    }
}

#[test]
fn roles_xa_unknown_types_and_wrong_directions_are_stopped_at_the_type() {
    let dialect = PLAIN;
    let only = |client, server| MqLimits { client, server, ..MqLimits::default() };
    let kind_at = 17;
    for (kind, limits, reason) in [
        (0x81, only(false, true), DropReason::MqRole),
        (0x0e, only(false, true), DropReason::MqRole),
        (0x04, only(true, false), DropReason::MqRole),
        (0x02, only(true, false), DropReason::MqRole),
        (0xa1, only(true, true), DropReason::MqXa),
        (0xaa, only(true, true), DropReason::MqXa),
        (0xb1, only(true, true), DropReason::MqXa),
        (0x91, only(true, true), DropReason::MqSegment),
        (0x00, only(true, true), DropReason::MqSegment),
        (0x10, only(true, true), DropReason::MqSegment),
        (0x80, only(true, true), DropReason::MqSegment),
        (0x90, only(true, true), DropReason::MqSegment),
        (0xff, only(true, true), DropReason::MqSegment),
        (0x8e, listed(), DropReason::MqQueue),
    ] {
        // MQCONN itself would be stopped where only queue managers talk.
        let said = if limits.client {
            told(dialect, limits, mq_dialect::lone(dialect, kind, &[0; 200]))
        } else {
            let mut all = mq_dialect::client(dialect, &Names::default(), 0);
            all.truncate(2);
            let before = all[0].bytes.len();
            all.push(mq_dialect::lone(dialect, kind, &[0; 200]));
            match verdict(&Inspection::Mq(limits), 1414, &turns(&all)) {
                Heard::Stopped { at, reason, .. } => Some((at - before, reason)),
                Heard::Passed { .. } => None,
            }
        };
        assert_eq!(said, Some((kind_at, reason)), "{kind:02x}");
    }
    for control in [0x05, 0x09, 0x0c, 0x0b, 0x06] {
        for (client, server) in [(true, true), (true, false)] {
            let said = mq_dialect::lone(dialect, control, &[0; 20]);
            assert_eq!(told(dialect, only(client, server), said), None, "{control:02x}");
        }
    }
}

#[test]
fn a_header_in_the_middle_of_a_flow_and_its_length_are_judged() {
    let heartbeat = mq_dialect::lone(PLAIN, 0x09, &[]);
    let told = |at: usize, byte: u8| {
        let mut said = heartbeat.clone();
        said.bytes[at] = byte;
        told(PLAIN, MqLimits::default(), said)
    };
    assert_eq!(told(0, b'X'), Some((0, DropReason::MqSegment)));
    assert_eq!(told(3, b'X'), Some((3, DropReason::MqSegment)));
    assert_eq!(told(16, 0), Some((16, DropReason::MqSegment)), "the byte order");
    assert_eq!(told(7, 35), Some((7, DropReason::MqLength)), "shorter than the header");
    assert_eq!(told(4, 1), Some((4, DropReason::MqLength)));
    // 32,748 were agreed, and 1,024 more are let pass: 0x83ec.
    assert_eq!(told(6, 0x84), Some((6, DropReason::MqLength)));
    assert_eq!(told(5, 1), Some((5, DropReason::MqLength)));
    // Before anything was agreed it is 4,096.
    let first = mq_dialect::client(PLAIN, &Names::default(), 0).remove(0).bytes;
    let mut long = heartbeat.bytes.clone();
    long[6..8].copy_from_slice(&4097_u16.to_be_bytes());
    let before = first.len();
    let expected = stopped(Speaker::Opener, before + 7, DropReason::MqLength);
    assert_eq!(verdict(&any(), 1414, &[opener(first), opener(long)]), expected);
}

#[test]
fn a_call_that_hides_its_name_is_refused_where_names_are_demanded() {
    for (at, value, reason) in [(19, 0x01, DropReason::MqCompressed), (18, 0x00, DropReason::MqSegment)] {
        let mut said = mq_dialect::lone(PLAIN, 0x83, &[0; 200]);
        said.bytes[at] = value;
        // The last byte of the header decides.
        assert_eq!(told(PLAIN, listed(), said.clone()), Some((35, reason)));
        let unlisted = told(PLAIN, MqLimits::default(), said);
        assert_eq!(unlisted, (reason == DropReason::MqSegment).then_some((35, reason)));
    }
    let without_descriptor = mq_dialect::lone(PLAIN, 0x83, &[0; 200]);
    let expected = Some((36 + 19, DropReason::MqSegment));
    assert_eq!(told(PLAIN, MqLimits::default(), without_descriptor), expected);
    let too_short = mq_dialect::lone(PLAIN, 0x83, &[0; 20]);
    assert_eq!(told(PLAIN, MqLimits::default(), too_short), Some((35, DropReason::MqLength)));
}

#[test]
fn a_descriptor_hidden_in_the_options_of_another_is_judged_as_well() {
    let names = Names { queue: "FORBIDDEN", ..Names::default() };
    let mut said = mq_dialect::spi_open(PLAIN, &names);
    // The options before the descriptor look like one that begins 16 bytes earlier.
    let at = 36 + 16 + 12 + 12 + 12 + 32 - 16;
    said.bytes[at..at + 16].copy_from_slice(b"OD  \0\0\0\x01\0\0\0\x01CBP.");
    assert!(told(PLAIN, MqLimits { queues: super::names(&["CBP.*"]), ..MqLimits::default() }, said).is_some());
}

#[test]
fn whether_mq_goes_in_tls_is_decided_by_its_first_byte() {
    let first = mq_dialect::client(PLAIN, &Names::default(), 0).remove(0).bytes;
    let with = |wrapping| Inspection::Mq(MqLimits { wrapping, ..MqLimits::default() });
    let hello = tls::client_hello(&tls::Client::default());
    let at_once = |reason| stopped(Speaker::Opener, 0, reason);
    assert_eq!(verdict(&with(Wrapping::Required), 1414, &[opener(&first)]), at_once(DropReason::TlsRequired));
    assert_eq!(verdict(&with(Wrapping::Refused), 1414, &[opener(&hello)]), at_once(DropReason::TlsRefused));
    assert_eq!(verdict(&with(Wrapping::Required), 1414, &[opener(b"SSH")]), at_once(DropReason::NotMq));
    for wrapping in [Wrapping::Required, Wrapping::Allowed] {
        assert_eq!(verdict(&with(wrapping), 1414, &[opener(&hello)]), Heard::Passed { settled: false });
    }
    // A server that answers TLS in the clear.
    let turns = [opener(hello), responder(b"TSH ")];
    assert_eq!(verdict(&any(), 1414, &turns), stopped(Speaker::Responder, 0, DropReason::NotTls));
}

#[test]
fn a_channel_is_recognised_by_the_server_name_of_tls() {
    use super::tls::{Client, client_hello};
    let limits = Inspection::Mq(MqLimits { channels: names(&["TO.QMGR1"]), ..MqLimits::default() });
    let hello = |name: Option<&'static str>| client_hello(&Client { name, ..Client::default() });
    let told = |name| verdict(&limits, 1414, &[opener(hello(name))]);
    assert_eq!(told(Some("to2e-qmgr1.chl.mq.ibm.com")), Heard::Passed { settled: false });
    for name in [Some("to2e-qmgr2.chl.mq.ibm.com"), Some("mq.example"), None] {
        let Heard::Stopped { reason: DropReason::MqChannel, .. } = told(name) else { panic!("{name:?}") };
    }
}
