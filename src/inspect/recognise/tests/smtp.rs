//! Mail.

use super::tls::{Client, client_hello};
use super::*;

const GREETING: &[u8] = b"220-mail.example ESMTP\r\n220 ready\r\n";
const EHLO: &[u8] = b"250-mail.example\r\n250-PIPELINING\r\n250-STARTTLS\r\n250 8BITMIME\r\n";

fn with(wrapping: Wrapping) -> Inspection {
    Inspection::Smtp(SmtpLimits { wrapping, ..SmtpLimits::default() })
}

/// A greeting each way, and then what the client says.
fn greeted(more: &[Turn]) -> Vec<Turn> {
    let mut turns = vec![responder(GREETING), opener(b"EHLO client.example\r\n"), responder(EHLO)];
    turns.extend_from_slice(more);
    turns
}

fn told(wrapping: Wrapping, more: &[Turn]) -> Option<(Speaker, usize, DropReason)> {
    let before =
        |by| greeted(&[]).iter().filter(|(speaker, _)| *speaker == by).map(|(_, bytes)| bytes.len()).sum::<usize>();
    match verdict(&with(wrapping), 25, &greeted(more)) {
        Heard::Stopped { by, at, reason } => Some((by, at - before(by), reason)),
        Heard::Passed { .. } => None,
    }
}

#[test]
fn a_mail_in_the_clear_passes_where_the_rule_allows_it() {
    let mail = [
        opener(b"MAIL FROM:<a@example.net> SIZE=100\r\nRCPT TO:<b@example.net>\r\nrcpt to:<c@example.net>\r\nDATA\r\n"),
        responder(b"250 ok\r\n250 2.1.5\r\n550 no\r\n354 go on\r\n"),
        opener(b"Subject: x\r\n\r\n..dot\r\nMAIL FROM is text here\r\n.\r\nQUIT\r\n"),
        responder(b"250 queued\r\n221 bye\r\n"),
    ];
    assert_eq!(verdict(&with(Wrapping::Allowed), 25, &greeted(&mail)), Heard::Passed { settled: true });
    assert_eq!(told(Wrapping::Refused, &mail), None);
    let old = [
        responder(b"220 x\r\n"),
        opener(b"HELO a\r\n"),
        responder(b"250 b\r\n"),
        opener(b"NOOP\r\n"),
        responder(b"250\r\n"),
    ];
    assert_eq!(verdict(&with(Wrapping::Allowed), 25, &old), Heard::Passed { settled: true });
    // Chunks, also one of nothing, which are followed by commands.
    let chunks = [
        opener(b"MAIL FROM:<>\r\nRCPT TO:<b@example.net>\r\nBDAT 7\r\n\0\xff\r\n.\r\nBDAT 0 LAST\r\nRSET\r\n"),
        responder(b"250 a\r\n250 b\r\n250 c\r\n250 d\r\n250 e\r\n"),
    ];
    assert_eq!(told(Wrapping::Allowed, &chunks), None);
    let auth = [
        opener(b"AUTH LOGIN\r\n"),
        responder(b"334 VXNlcm5hbWU6\r\n"),
        opener(b"dXNlcg==\r\n"),
        responder(b"334 UGFzc3dvcmQ6\r\n"),
        opener(b"*\r\n"),
        responder(b"501 given up\r\n"),
        opener(b"NOOP\r\n"),
    ];
    assert_eq!(told(Wrapping::Allowed, &auth), None);
    // A goodbye may come at any time, another answer only if somebody has asked.
    assert_eq!(told(Wrapping::Allowed, &[responder(b"421 idle too long\r\n")]), None);
    let unasked = told(Wrapping::Allowed, &[responder(b"250 ok\r\n")]);
    assert_eq!(unasked, Some((Speaker::Responder, 0, DropReason::NotSmtp)));
}

#[test]
fn nothing_of_a_mail_is_said_before_tls_where_it_is_required() {
    for (command, at) in [("MAIL FROM:<a@b>", 3), ("rcpt", 3), ("DATA", 3), ("BDAT", 3), ("AUTH", 3), ("VRFY", 3)] {
        let refused = told(Wrapping::Required, &[opener(format!("{command}\r\n"))]);
        assert_eq!(refused, Some((Speaker::Opener, at, DropReason::TlsRequired)), "{command}");
    }
    for command in ["NOOP", "RSET", "QUIT", "HELP", "STARTTLS", "HELO x", "EHLO x"] {
        assert_eq!(told(Wrapping::Required, &[opener(format!("{command}\r\n"))]), None, "{command}");
    }
    let refused = told(Wrapping::Refused, &[opener(b"STARTTLS\r\n")]);
    assert_eq!(refused, Some((Speaker::Opener, 7, DropReason::TlsRefused)));
}

#[test]
fn tls_follows_starttls_and_nothing_else_does() {
    let begun = [opener(b"STARTTLS\r\n"), responder(b"220 go on\r\n")];
    let hello = client_hello(&Client::default());
    let then = |turn: Turn| {
        let mut turns = begun.to_vec();
        turns.push(turn);
        told(Wrapping::Required, &turns)
    };
    assert_eq!(then(opener(&hello)), None);
    assert_eq!(then(opener(b"MAIL FROM:<a@b>\r\n")), Some((Speaker::Opener, 10, DropReason::NotTls)));
    assert_eq!(then(responder(b"250 ok\r\n")), Some((Speaker::Responder, 11, DropReason::SpokeFirst)));
    // Commands that would be read behind the handshake.
    let ahead = told(Wrapping::Required, &[opener(b"STARTTLS\r\nMAIL")]);
    assert_eq!(ahead, Some((Speaker::Opener, 10, DropReason::SpokeFirst)));
    // A server that cannot goes on in the clear.
    let cannot = [opener(b"STARTTLS\r\n"), responder(b"454 not now\r\n"), opener(b"NOOP\r\nMAIL")];
    assert_eq!(told(Wrapping::Required, &cannot), Some((Speaker::Opener, 10 + 9, DropReason::TlsRequired)));
    let strict = Inspection::Smtp(SmtpLimits {
        handshake: TlsLimits { tls12: false, names: names(&["mail.example"]), ..TlsLimits::default() },
        ..SmtpLimits::default()
    });
    let mut turns = greeted(&begun);
    turns.push(opener(&hello));
    let Heard::Stopped { reason: DropReason::TlsServerName, .. } = verdict(&strict, 25, &turns) else {
        panic!("passed")
    };
}

#[test]
fn on_port_465_tls_begins_with_the_first_byte() {
    let any = with(Wrapping::Allowed);
    let hello = client_hello(&Client::default());
    assert_eq!(verdict(&any, 465, &[opener(&hello)]), Heard::Passed { settled: false });
    assert_eq!(verdict(&any, 465, &[responder(GREETING)]), stopped(Speaker::Responder, 0, DropReason::SpokeFirst));
    assert_eq!(verdict(&any, 25, &[opener(&hello)]), stopped(Speaker::Opener, 0, DropReason::SpokeFirst));
    let refused = verdict(&with(Wrapping::Refused), 465, &[opener(&hello)]);
    assert_eq!(refused, stopped(Speaker::Opener, 0, DropReason::TlsRefused));
}

#[test]
fn servers_that_are_none_are_stopped_where_they_differ() {
    let told = |bytes: &[u8]| match verdict(&with(Wrapping::Allowed), 25, &[responder(bytes)]) {
        Heard::Stopped { at, reason: DropReason::NotSmtp, .. } => Some(at),
        Heard::Stopped { reason, .. } => panic!("{reason}"),
        Heard::Passed { .. } => None,
    };
    for (bytes, at) in [
        (&b"SSH-2.0-x\r\n"[..], 0),
        (b"+OK POP3\r\n", 0),
        (b"* OK IMAP\r\n", 0),
        (b"120 wait\r\n", 0),
        (b"230 in\r\n", 1),
        (b"220x", 3),
        (b"220 a\n", 5),
        (b"220 a\rb", 6),
        (b"220-a\r\n221", 9),
        (b"220 \x01", 4),
    ] {
        assert_eq!(told(bytes), Some(at), "{}", bytes.escape_ascii());
    }
    for bytes in [&b"220 mail\r\n"[..], b"554 no service\r\n", b"421 busy\r\n", b"220\r\n", b"220 m\xc3\xbcnchen\r\n"] {
        assert_eq!(told(bytes), None, "{}", bytes.escape_ascii());
    }
    assert_eq!(told(&[b"220 ".to_vec(), vec![b'x'; 3000]].concat()), Some(2048));
}

#[test]
fn clients_that_are_none_are_stopped_where_they_differ() {
    for (bytes, at) in [
        (&b"GET / HTTP/1.1\r\n"[..], 0),
        (b"HTTP", 1),
        (b"USER x\r\n", 0),
        (b"MAID", 3),
        (b"STARTTLSX", 8),
        (b"NOOP\n", 4),
        (b"NOOPX", 4),
        (b"NOOP a\nMAIL", 6),
        (b"NOOP \r\r", 6),
        (b"NOOP \x01", 5),
        (b"BDAT\r\n", 4),
        (b"BDAT x", 5),
        (b"BDAT 99999999999999", 17),
        (b"EHLO x\r\nMAIL", 8),
        (b"DATA\r\nSubject", 6),
        (b"AUTH PLAIN\r\nAA", 12),
    ] {
        let (by, where_, reason) = told(Wrapping::Allowed, &[opener(bytes)]).expect("it is stopped");
        assert_eq!((by, where_), (Speaker::Opener, at), "{}", bytes.escape_ascii());
        let waits =
            matches!(at, 6 | 8 | 12) && bytes.ends_with(b"t") || bytes.ends_with(b"MAIL") && at == 8 || at == 12;
        let expected = if waits { DropReason::SpokeFirst } else { DropReason::SmtpCommand };
        assert_eq!(reason, expected, "{}", bytes.escape_ascii());
    }
    assert_eq!(told(Wrapping::Allowed, &[opener([b"NOOP ".to_vec(), vec![b'x'; 13_000]].concat())]).unwrap().1, 12_290);
    // Ends of a mail that servers disagree about.
    for end in [&b"x\n.\r\n"[..], b"x\n.\n", b"x\r\n.\n"] {
        let turns = [opener(b"DATA\r\n"), responder(b"354 go\r\n"), opener(end)];
        let (_, at, reason) = told(Wrapping::Allowed, &turns).expect("it is stopped");
        assert_eq!(reason, DropReason::SmtpCommand);
        assert!(at < 6 + end.len());
    }
}
