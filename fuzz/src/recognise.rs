//! What two sides say, to the recognisers: where it was cut changes no verdict, and what passes holds before a second reading.
//!
//! An input is two bytes, which choose the demands and the cuts, and a list of steps: who speaks, and what.

use std::collections::BTreeSet;

use portcullis::event::DropReason;
use portcullis::inspect::recognise::{Objection, Recogniser, Speaker};
use portcullis::policy::inspection::{MqLimits, Names, SmtpLimits, SshLimits, TlsLimits, Wrapping};
use portcullis::policy::{Inspection, suites};

use super::seeds::recognise::RETRY;
use super::steps::{self, List};

/// How the inputs look.
pub const LIST: List = List { prefix: 2, most: 64 };

/// Everything that one side has said, in the order in which both spoke.
type Turns = Vec<(Speaker, Vec<u8>)>;

/// The verdict: settled or not, or who was stopped at which of its bytes and why.
type Verdict = Result<bool, (Speaker, usize, DropReason)>;

fn turns(data: &[u8]) -> ([u8; 2], Turns) {
    let (head, mut rest) = data.split_first_chunk().map_or(([0; 2], data), |(head, rest)| (*head, rest));
    let mut turns: Turns = Vec::new();
    for _ in 0..LIST.most {
        let Some((what, bytes)) = steps::next(&mut rest) else { break };
        let by = if what & 1 == 0 { Speaker::Opener } else { Speaker::Responder };
        match turns.last_mut() {
            Some((last, said)) if *last == by => said.extend(bytes),
            _ => turns.push((by, bytes.to_vec())),
        }
    }
    (head, turns)
}

/// The bytes of one side.
fn said(turns: &Turns, by: Speaker) -> Vec<u8> {
    turns.iter().filter(|(speaker, _)| *speaker == by).flat_map(|(_, bytes)| bytes).copied().collect()
}

fn verdict(demands: &Inspection, port: u16, turns: &Turns, mut piece: impl FnMut() -> usize, skip: bool) -> Verdict {
    let mut recogniser = Recogniser::of(demands, port).expect("it is inspected");
    let mut heard = [0; 2];
    for (by, bytes) in turns {
        let count = &mut heard[usize::from(*by == Speaker::Opener)];
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let unheard = usize::try_from(recogniser.unheard(*by)).unwrap_or(usize::MAX).min(rest.len());
            if skip && unheard > 0 {
                recogniser.skip(*by, unheard as u64);
                *count += unheard;
                rest = &rest[unheard..];
                continue;
            }
            let (now, later) = rest.split_at(piece().clamp(1, rest.len()));
            if let Err(Objection { at, reason }) = recogniser.hear(demands, *by, now) {
                assert!(at < now.len(), "an objection is to a byte that was shown");
                assert_eq!(recogniser.unheard(*by), 0, "nothing is passed over behind an objection");
                return Err((*by, *count + at, reason));
            }
            *count += now.len();
            rest = later;
        }
    }
    Ok(recogniser.settled())
}

/// One verdict, whichever way it is shown.
fn agreed(demands: &Inspection, port: u16, turns: &Turns, seed: u8) -> Verdict {
    let whole = verdict(demands, port, turns, || usize::MAX, false);
    assert_eq!(verdict(demands, port, turns, || 1, false), whole, "in single bytes");
    let mut random = steps::Random::new(seed.into());
    assert_eq!(
        verdict(demands, port, turns, || random.below(40), true),
        whole,
        "in pieces, with what is unheard left out"
    );
    whole
}

fn list(names: &[&str]) -> Names {
    Names::generic(names.iter().copied()).expect("few names")
}

fn wrapping(choice: u8) -> Wrapping {
    [Wrapping::Allowed, Wrapping::Required, Wrapping::Refused][usize::from(choice) % 3]
}

/// IBM MQ.
pub fn mq(data: &[u8]) {
    let ([options, seed], turns) = turns(data);
    let lists = options & 4 != 0;
    let names = |names: &[&str]| if lists { list(names) } else { Names::default() };
    let limits = MqLimits {
        client: options & 8 == 0,
        server: options & 16 == 0,
        channels: names(&["CBP.*"]),
        queue_managers: names(&["QM1"]),
        queues: names(&["CBP.DECLARATIONS", "REPLY.*"]),
        wrapping: wrapping(options & 3),
        handshake: TlsLimits::default(),
    };
    let refuses_tls = limits.wrapping != Wrapping::Required;
    let verdict = agreed(&Inspection::Mq(limits), 1414, &turns, seed);
    let opener = said(&turns, Speaker::Opener);
    let responder_was_right = !matches!(verdict, Err((Speaker::Responder, ..)));
    if !lists && refuses_tls && responder_was_right && opener.first().is_some_and(|first| *first != 0x16) {
        let expected = first_illegal(&opener);
        match verdict {
            Err((Speaker::Opener, at, reason)) if at < 72 => {
                let administration = reason == DropReason::MqAdministration;
                assert!(administration || expected == Some(at), "{at}, and by the table {expected:?}");
            }
            // What was not said when the other side was stopped is not judged.
            _ => assert_eq!(expected, None, "the table refuses it"),
        }
    }
}

/// The table of the client's first segment, read once more: the first of its 72 bytes that is not legal.
fn first_illegal(bytes: &[u8]) -> Option<usize> {
    let ebcdic = bytes[0] == 0xe3;
    let little = bytes.get(8) == Some(&2);
    let id_ebcdic = bytes.get(28) == Some(&0xc9);
    let length =
        |upto: usize| bytes[4..=upto].iter().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte)) << (8 * (7 - upto));
    let body =
        bytes.get(4..8).map_or(0, |length| u32::from_be_bytes(length.try_into().expect("four"))).saturating_sub(28);
    let letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._/%";
    let is_letter = |byte: u8| {
        let known: Vec<u8> = if id_ebcdic {
            let row = |from: u8, to: u8| (from..=to).collect::<Vec<u8>>();
            [
                row(0x81, 0x89),
                row(0x91, 0x99),
                row(0xa2, 0xa9),
                row(0xc1, 0xc9),
                row(0xd1, 0xd9),
                row(0xe2, 0xe9),
                row(0xf0, 0xf9),
                vec![0x4b, 0x6d, 0x61, 0x6c],
            ]
            .concat()
        } else {
            letters.bytes().collect()
        };
        known.contains(&byte)
    };
    let blank = if id_ebcdic { 0x40 } else { 0x20 };
    let encoding = |upto: usize| bytes[20..=upto].iter().any(|byte| *byte != 0);
    let legal = |at: usize, byte: u8| match at {
        0 => matches!(byte, 0x54 | 0xe3),
        1 => byte == if ebcdic { 0xe2 } else { 0x53 },
        2 => byte == if ebcdic { 0xc8 } else { 0x48 },
        3 => byte == if ebcdic { 0x40 } else { 0x20 },
        4..=7 => length(at) <= 1024 && (at < 7 || length(at) >= 72),
        8 => matches!(byte, 1 | 2),
        9 => byte == 1,
        10 => byte & 0x8e == 0,
        11 => byte & 0xf0 == 0,
        12..=19 | 26 | 27 => byte == 0,
        // The encoding: twelve bits, not all zero, in the byte order of the segment.
        20 if little => true,
        21 if little => byte < 16 && encoding(21),
        20..=23 if little || at < 22 => byte == 0,
        22 => byte < 16,
        23 => encoding(23),
        28 => matches!(byte, 0x49 | 0xc9),
        29 => byte == if id_ebcdic { 0xc4 } else { 0x44 },
        30 | 31 => byte == blank,
        32 => {
            let least = match byte {
                0..4 => 44,
                4..9 => 102,
                9..11 => 208,
                _ => 240,
            };
            (1..=32).contains(&byte) && body >= least && (body >= 240 || [44, 102, 208].contains(&body))
        }
        52 => is_letter(byte),
        53..72 => byte == blank || (is_letter(byte) && !bytes[52..at].contains(&blank)),
        _ => true,
    };
    bytes.iter().take(72).enumerate().find(|(at, byte)| !legal(*at, **byte)).map(|(at, _)| at)
}

/// SSH.
pub fn ssh(data: &[u8]) {
    let ([options, seed], turns) = turns(data);
    let limits = if options & 1 == 0 { SshLimits::default() } else { SshLimits { ciphers: list(&["aes128-ctr"]) } };
    let verdict = agreed(&Inspection::Ssh(limits.clone()), 22, &turns, seed);
    if verdict != Ok(true) {
        return;
    }
    // A key exchange that went through: the lists say what was agreed on.
    let [client, server] =
        [Speaker::Opener, Speaker::Responder].map(|by| ciphers(&said(&turns, by)).expect("a KEXINIT"));
    for (client, server) in client.iter().zip(&server) {
        let chosen = client.iter().find(|name| server.contains(name)).expect("a cipher in common");
        assert!(limits.ciphers.allow(chosen), "{}", chosen.escape_ascii());
    }
}

/// The ciphers there and back of the KEXINIT behind a banner, and behind whatever stands before it.
fn ciphers(bytes: &[u8]) -> Option<[Vec<Vec<u8>>; 2]> {
    let end = bytes.iter().position(|byte| *byte == b'\n')? + 1;
    let mut rest = &bytes[end..];
    loop {
        let (length, behind) = rest.split_first_chunk()?;
        let (packet, next) = behind.split_at_checked(u32::from_be_bytes(*length) as usize)?;
        rest = next;
        if packet.get(1) != Some(&20) {
            continue;
        }
        let mut fields = packet.get(18..)?;
        let mut lists = Vec::new();
        for _ in 0..4 {
            let (length, behind) = fields.split_first_chunk()?;
            let (names, next) = behind.split_at_checked(u32::from_be_bytes(*length) as usize)?;
            lists.push(names.split(|byte| *byte == b',').map(<[u8]>::to_vec).collect::<Vec<_>>());
            fields = next;
        }
        return lists.try_into().ok().map(|[_, _, there, back]: [Vec<Vec<u8>>; 4]| [there, back]);
    }
}

/// TLS.
pub fn tls(data: &[u8]) {
    let ([options, seed], turns) = turns(data);
    let limits = TlsLimits {
        tls12: options & 1 == 0,
        tls13: options & 2 == 0,
        suites: if options & 4 == 0 { BTreeSet::new() } else { suites::meant(suites::AES256).collect() },
        names: if options & 8 == 0 { Names::default() } else { list(&["mq.example"]) },
    };
    let verdict = agreed(&Inspection::Tls(limits.clone()), 443, &turns, seed);
    if verdict == Ok(true) {
        judge(&said(&turns, Speaker::Responder), &limits);
    }
}

/// The server's hello, read once more from the records of a handshake that went through.
fn judge(bytes: &[u8], limits: &TlsLimits) {
    let mut rest = bytes;
    let mut handshake = Vec::new();
    while let Some(([content, _, _, high, low], behind)) = rest.split_first_chunk() {
        let (record, next) = behind.split_at(usize::from(u16::from_be_bytes([*high, *low])).min(behind.len()));
        if *content == 22 {
            handshake.extend(record);
        }
        rest = next;
    }
    // The last one, if there was a HelloRetryRequest.
    let hello = |message: &[u8]| -> Option<(u16, Option<u16>, usize)> {
        let length = usize::from(message[1]) << 16 | usize::from(message[2]) << 8 | usize::from(message[3]);
        let body = message.get(4..4 + length)?;
        let session = usize::from(body[34]);
        let suite = u16::from_be_bytes([body[35 + session], body[36 + session]]);
        let mut extensions = body.get(40 + session..).unwrap_or_default();
        let mut version = None;
        while let Some(([a, b, c, d], behind)) = extensions.split_first_chunk() {
            let (value, next) = behind.split_at_checked(u16::from_be_bytes([*c, *d]).into())?;
            if [*a, *b] == [0, 43] {
                version = Some(u16::from_be_bytes([value[0], value[1]]));
            }
            extensions = next;
        }
        Some((suite, version, 4 + length))
    };
    let (mut suite, mut version, length) = hello(&handshake).expect("a ServerHello");
    // Nothing but a retry is followed by another one: behind the ServerHello itself everything is sealed.
    if handshake.get(6..38) == Some(&RETRY)
        && handshake.get(length) == Some(&2)
        && let Some((second, chosen, _)) = hello(&handshake[length..])
    {
        (suite, version) = (second, chosen);
    }
    assert!(if version == Some(0x0304) { limits.tls13 } else { version.is_none() && limits.tls12 }, "{version:?}");
    assert!(limits.suites.is_empty() || limits.suites.contains(&suite), "{suite:04x}");
}

/// Mail.
pub fn smtp(data: &[u8]) {
    let ([options, seed], turns) = turns(data);
    let port = if options & 4 == 0 { 25 } else { 465 };
    let wrapping = wrapping(options & 3);
    let limits = SmtpLimits { wrapping, handshake: TlsLimits::default() };
    let verdict = agreed(&Inspection::Smtp(limits), port, &turns, seed);
    if wrapping == Wrapping::Required && port == 25 && verdict.is_ok() {
        // Everything up to STARTTLS stands in lines, and none of them is of a mail.
        for line in said(&turns, Speaker::Opener).split(|byte| *byte == b'\n') {
            let word = line.split(|byte| !byte.is_ascii_alphabetic()).next().unwrap_or_default().to_ascii_uppercase();
            assert!(!matches!(&word[..], b"MAIL" | b"RCPT" | b"DATA" | b"BDAT" | b"AUTH"), "{}", line.escape_ascii());
            if word == b"STARTTLS" {
                break;
            }
        }
    }
}
