//! Honest conversations pass however they are cut; the first byte that is not honest, or not allowed, is found.

use proptest::prelude::*;

use super::*;
use crate::event::DropReason;
use crate::lab::mq_dialect::{self, Dialect, Names, Said};
use crate::policy::inspection::{MqLimits, Names as List, SmtpLimits, SshLimits, TlsLimits, Wrapping};

mod mq;
mod smtp;
mod ssh;
mod tls;

/// One side's bytes.
type Turn = (Speaker, Vec<u8>);

fn names(names: &[&str]) -> List {
    List::generic(names.iter().copied()).unwrap()
}

fn from(speaker: Speaker, bytes: impl AsRef<[u8]>) -> Turn {
    (speaker, bytes.as_ref().to_vec())
}

fn opener(bytes: impl AsRef<[u8]>) -> Turn {
    from(Speaker::Opener, bytes)
}

fn responder(bytes: impl AsRef<[u8]>) -> Turn {
    from(Speaker::Responder, bytes)
}

/// What was heard: the objection, with its place counted over all that its speaker has said, or whether it is settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Heard {
    Passed { settled: bool },
    Stopped { by: Speaker, at: usize, reason: DropReason },
}

/// Shows `turns` to a recogniser in pieces; `piece` says how long the next one is. What need not be heard is passed over.
fn heard(demands: &Inspection, port: u16, turns: &[Turn], mut piece: impl FnMut() -> usize) -> Heard {
    let mut recogniser = Recogniser::of(demands, port).unwrap();
    let mut said = [0_usize; 2];
    for (by, bytes) in turns {
        let count = &mut said[usize::from(*by == Speaker::Responder)];
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let unheard = usize::try_from(recogniser.unheard(*by)).unwrap_or(usize::MAX).min(rest.len());
            if unheard > 0 && piece().is_multiple_of(2) {
                recogniser.skip(*by, unheard as u64);
                rest = &rest[unheard..];
                *count += unheard;
                continue;
            }
            let (now, later) = rest.split_at(piece().clamp(1, rest.len()));
            if let Err(Objection { at, reason }) = recogniser.hear(demands, *by, now) {
                assert_eq!(recogniser.hear(demands, by.other(), b"x"), Err(Objection { at: 0, reason }), "it is over");
                return Heard::Stopped { by: *by, at: *count + at, reason };
            }
            *count += now.len();
            rest = later;
        }
    }
    Heard::Passed { settled: recogniser.settled() }
}

/// In one piece for each turn.
fn whole(demands: &Inspection, turns: &[Turn]) -> Heard {
    heard(demands, 0, turns, || usize::MAX)
}

/// The verdict, which is the same in single bytes, in pieces of some lengths and in one piece.
fn verdict(demands: &Inspection, port: u16, turns: &[Turn]) -> Heard {
    let expected = heard(demands, port, turns, || usize::MAX);
    for length in [1, 2, 7, 28, 1460, 65_535] {
        assert_eq!(heard(demands, port, turns, || length), expected, "in pieces of {length}");
    }
    expected
}

fn stopped(by: Speaker, at: usize, reason: DropReason) -> Heard {
    Heard::Stopped { by, at, reason }
}

#[test]
fn what_is_not_inspected_has_no_recogniser() {
    assert!(Recogniser::of(&Inspection::Uninspected, 1414).is_none());
}

#[test]
fn a_recogniser_says_nothing_about_a_protocol_that_is_not_its_own() {
    let mq = Inspection::Mq(MqLimits::default());
    let mut recogniser = Recogniser::of(&mq, 1414).unwrap();
    assert_eq!(recogniser.hear(&Inspection::Ssh(SshLimits::default()), Speaker::Opener, b"SSH-2.0-x\r\n"), Ok(()));
}

/// The beginnings of what is often tried on an open port.
const STRANGERS: [(&str, &[u8]); 10] = [
    ("ssh", b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n"),
    ("tls", &[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3]),
    ("http", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
    ("smtp", b"EHLO example.net\r\n"),
    ("amqp", b"AMQP\x00\x00\x09\x01"),
    ("mqtt", &[0x10, 0x10, 0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 60, 0, 4, b'a', b'b', b'c', b'd']),
    ("mq", b"TSH \x00\x00\x01\x0c\x01\x01\x31\x00"),
    ("telnet", &[0xff, 0xfd, 0x18]),
    ("socks", &[5, 1, 0]),
    ("rdp", &[3, 0, 0, 0x13, 0x0e, 0xe0]),
];

#[test]
fn strangers_are_stopped_at_their_first_byte_or_where_they_first_differ() {
    let mq = Inspection::Mq(MqLimits { wrapping: Wrapping::Refused, ..MqLimits::default() });
    let ssh = Inspection::of(crate::policy::Service::Sftp);
    let tls = Inspection::of(crate::policy::Service::Tls);
    let smtp = Inspection::of(crate::policy::Service::Smtp);
    for (name, bytes) in STRANGERS {
        let told = |demands: &Inspection, port| verdict(demands, port, &[opener(bytes)]);
        let at = |reason| stopped(Speaker::Opener, 0, reason);
        match name {
            "mq" => assert_eq!(told(&mq, 1414), Heard::Passed { settled: false }),
            "tls" => assert_eq!(told(&mq, 1414), at(DropReason::TlsRefused)),
            _ => assert_eq!(told(&mq, 1414), at(DropReason::NotMq), "{name}"),
        }
        if name != "ssh" {
            // SMTP's greeting has no S, MQ no second one.
            assert_eq!(told(&ssh, 22), at(DropReason::NotSsh), "{name}");
        }
        if name != "tls" {
            let reason = if name == "telnet" { DropReason::TlsOldHello } else { DropReason::NotTls };
            assert_eq!(told(&tls, 443), at(reason), "{name}");
            assert_eq!(told(&smtp, 465), at(reason), "{name}");
        }
        assert_eq!(told(&smtp, 25), at(DropReason::SpokeFirst), "{name}");
    }
}

/// Any beginning of anything, to every recogniser, cut in two ways: no panic, and one verdict.
fn any_turns() -> impl Strategy<Value = Vec<Turn>> {
    let bytes = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..40),
        prop::sample::select(STRANGERS.map(|(_, bytes)| bytes.to_vec()).to_vec()),
        prop::sample::select(vec![b"220 mail ESMTP\r\n".to_vec(), b"EHLO a\r\n".to_vec(), b"250 a\r\n".to_vec()]),
    ];
    let turn = (any::<bool>(), bytes).prop_map(|(first, bytes)| if first { opener(bytes) } else { responder(bytes) });
    prop::collection::vec(turn, 1..6)
}

proptest! {
    #[test]
    fn where_bytes_are_cut_changes_no_verdict(turns in any_turns(), cuts in prop::collection::vec(0_usize..20, 1..40)) {
        for service in [crate::policy::Service::Mq, crate::policy::Service::Sftp, crate::policy::Service::Smtp, crate::policy::Service::Tls] {
            let demands = Inspection::of(service);
            let mut cuts = cuts.iter().cycle();
            let piecewise = heard(&demands, 25, &turns, || *cuts.next().unwrap());
            prop_assert_eq!(piecewise, heard(&demands, 25, &turns, || usize::MAX));
        }
    }
}
