//! Seeds for the kept state of agreements: files as they lie on the disk, and lives, four bytes for each thing that happens.

use portcullis::agreement::Digest;

use super::Seed;

/// A book of an agreement that waits for its authorisation.
const BOOK: &[u8] = br#"{"serial":2,"highest":"2026-05-22T08:36:25Z","entries":{"cbp":{"state":"awaiting-authorisation","since":"2026-05-22T08:36:25Z","lost":false,"agreed":{"date":"2025-03-01","years":3,"file_date":"2025-03-01","file_years":3},"baseline":{"port":"sha256:58d95458f5516fe229d34520b6a0ff0256d49be260fc2d98b552eeffbaee9f5e"},"reviewed":null,"termination":null,"reason":"an exercise","evidence":[{"file":"e.txt","size":3,"digest":"sha256:98ea6e4f216f2fb4b69fff9b3a44842c38686ca685f3f55dc48c5d3fb1107be4"}],"authorisation":null,"told":{"expiry":null,"termination":null,"review":{"day":"2026-03-01","ahead":-1},"change":null},"history":[{"at":"2026-05-22T08:36:25Z","from":"active","to":"suspended","cause":"an exercise","by":"uid 0"}]}}}"#;

/// Kinds of input, by their first byte.
const FILES: u8 = 0;
const IN_FORCE: u8 = 2;
const DRAFT: u8 = 3;
const WITNESS: u8 = 4;
const BOTH: u8 = 5;

/// What happens, by the first of four bytes.
const ACTIVATE: u8 = 0;
const REVIEW: u8 = 1;
const RENEW: u8 = 2;
const RENEW_FROM: u8 = 3;
const SUSPEND: u8 = 4;
const RESUME: u8 = 6;
const EVIDENCE: u8 = 7;
const NOTICE: u8 = 9;
const NOTICE_FOR: u8 = 10;
const END: u8 = 11;
const RESTART: u8 = 12;
const FILE: u8 = 13;
const TRUST: u8 = 14;
const TIME: u8 = 15;

/// A file whose record lacks nothing; and a word of somebody.
const WHOLE: [u8; 4] = [FILE, 0x13, 0x1f, 0];
const fn said(act: u8) -> [u8; 4] {
    [act, 65, 66, 1]
}

fn happen(kind: u8, things: &[[u8; 4]]) -> Vec<u8> {
    [&[kind][..], things.as_flattened()].concat()
}

fn lives() -> Vec<Seed> {
    let notice = [&[[NOTICE, 0, 0, 0], [RENEW, 0, 0, 0], [NOTICE_FOR, 3, 0xe8, 0], [NOTICE_FOR, 0, 5, 0]][..]].concat();
    let over = [ACTIVATE, REVIEW, RENEW, SUSPEND, RESUME, NOTICE].map(|act| [act, 0, 0, 0]);
    let incident = [said(SUSPEND), [EVIDENCE, 65, 1, 0], said(RESUME)];
    vec![
        // Suspended, restarted, shown, authorised; a year and more; renewed; noticed; the clock back; over.
        (
            "life",
            happen(
                IN_FORCE,
                &[
                    said(SUSPEND),
                    [RESTART, 0, 0, 0],
                    [RESUME, 0, 0, 0],
                    [EVIDENCE, 65, 1, 0],
                    said(RESUME),
                    [TIME, 0x3c, 0, 0],
                    [RENEW_FROM, 0, 0, 1],
                    [NOTICE, 0, 0, 0],
                    [TIME, 0xf0, 0, 0],
                    [TIME, 0x20, 0, 0],
                ],
            ),
        ),
        (
            "expiry",
            happen(
                IN_FORCE,
                &[
                    [TIME, 0x40, 0, 0],
                    [TIME, 0xd0, 0, 0],
                    [RESTART, 0, 0, 0],
                    [RENEW_FROM, 0xff, 0xf0, 0],
                    [FILE, 1, 0, 0],
                ],
            ),
        ),
        // Refused what a draft cannot have; in force once its record is whole, and again refused; then others write the file.
        (
            "draft",
            happen(
                DRAFT,
                &[
                    [ACTIVATE, 0, 0, 0],
                    [REVIEW, 0, 0, 0],
                    [RENEW, 0, 0, 0],
                    [SUSPEND, 0, 0, 0],
                    [RESUME, 0, 0, 0],
                    said(TRUST),
                    [NOTICE, 0, 0, 0],
                    WHOLE,
                    said(ACTIVATE),
                    said(ACTIVATE),
                    [RESUME, 0, 0, 0],
                    said(REVIEW),
                    [FILE, 0x83, 0x5f, 0x40],
                    [FILE, 0x23, 0x9f, 0x80],
                    said(RENEW),
                    [SUSPEND, 0, 0, 0],
                    [FILE, 0x24, 0x3f, 0xc0],
                    [RENEW, 0, 0, 0],
                    said(RENEW),
                ],
            ),
        ),
        // Its term has not begun; then it has none, and cannot be renewed; then no length.
        ("not_yet", happen(DRAFT, &[[FILE, 3, 0x1f, 0x3f], said(ACTIVATE), [TIME, 0x44, 0x70, 0], said(RENEW)])),
        (
            "no_term",
            happen(
                DRAFT,
                &[
                    [FILE, 0x0b, 0x1f, 0],
                    said(ACTIVATE),
                    said(RENEW),
                    [FILE, 7, 0x1f, 0],
                    said(RENEW),
                    [FILE, 1, 0x1f, 0],
                    [TIME, 0x50, 0, 0],
                ],
            ),
        ),
        // Days of another beginning, or that lie ahead, or are over.
        (
            "renewals",
            happen(
                IN_FORCE,
                &[
                    [RENEW, 0, 0, 0],
                    [RENEW_FROM, 0, 9, 1],
                    [RENEW_FROM, 0xfc, 0, 1],
                    [RENEW_FROM, 0xff, 0xf0, 0],
                    [FILE, 0, 0, 0],
                    [RENEW_FROM, 0xff, 0xff, 0],
                    [TIME, 0x3c, 0, 0],
                    [ACTIVATE, 0, 0, 0],
                    [SUSPEND, 0, 0, 0],
                    [ACTIVATE, 0, 0, 0],
                    [SUSPEND, 0, 0, 0],
                    [RENEW_FROM, 0, 0, 1],
                ],
            ),
        ),
        // A clock that goes back, and is trusted again, or not.
        (
            "clock",
            happen(
                IN_FORCE,
                &[
                    [TIME, 0xf8, 0, 0],
                    said(RENEW),
                    [TRUST, 0, 0, 0],
                    said(TRUST),
                    [TIME, 0x7f, 0, 0],
                    said(ACTIVATE),
                    said(TRUST),
                    [TIME, 0x81, 0, 0],
                    [SUSPEND, 0, 0, 0],
                    said(TRUST),
                    [TIME, 0x80, 0, 0],
                    said(TRUST),
                ],
            ),
        ),
        ("clock_expired", happen(IN_FORCE, &[[TIME, 0x7f, 0, 0], [TIME, 0x81, 0, 0], said(TRUST), said(REVIEW)])),
        ("notice", [happen(IN_FORCE, &notice), over.as_flattened().to_vec()].concat()),
        ("notice_past", happen(IN_FORCE, &[[NOTICE_FOR, 0xff, 0xf0, 0], [TIME, 0, 9, 0]])),
        ("noticed_and_suspended", happen(IN_FORCE, &[&[[NOTICE, 0, 0, 0]][..], &incident].concat())),
        ("ended", [happen(IN_FORCE, &[[END, 255, 0, 0]]), over.as_flattened().to_vec()].concat()),
        // What may not be said; more than is kept; nothing shown.
        (
            "incident",
            happen(
                IN_FORCE,
                &[
                    [SUSPEND, 65, 66, 255],
                    [SUSPEND, 1, 2, 1],
                    [SUSPEND, 0, 0, 0],
                    [SUSPEND, 0, 0, 0],
                    said(RESUME),
                    [RESUME, 0, 0, 0],
                    [RESUME, 0, 0, 0],
                    [EVIDENCE, 65, 200, 0],
                    [EVIDENCE, 65, 40, 0],
                    [EVIDENCE, 65, 40, 0],
                    [RESUME, 0, 0, 0],
                    [SUSPEND | 0x80, 0, 0, 0],
                    said(RESUME),
                ],
            ),
        ),
        ("incidents", happen(IN_FORCE, &incident.repeat(21))),
    ]
}

pub(super) fn agreement_state() -> Vec<Seed> {
    let witness = |serial: u64, digest: Digest| {
        format!(r#"{{"serial":{serial},"highest":"2026-05-22T08:36:25Z","book":"{digest}"}}"#).into_bytes()
    };
    let both = |witness: Vec<u8>| {
        let length = (BOOK.len() as u16).to_be_bytes();
        [&[BOTH], &length[..], BOOK, &witness].concat()
    };
    let sealed = [format!("portcullis agreements 1 {}\n", Digest::of(BOOK)).as_bytes(), BOOK, b"\n"].concat();
    let files = |state: &str| [&[FILES], state.as_bytes()].concat();
    let other = Digest::of(b"another book");
    let mut seeds = vec![
        ("book", [&[1], BOOK].concat()),
        ("empty_book", [&[1][..], br#"{"serial":0,"highest":"2025-01-01T00:00:00Z","entries":{}}"#].concat()),
        ("book_of_blanks", [&[1][..], br#"{"serial":0, "highest":"2025-01-01T00:00:00Z","entries":{}}"#].concat()),
        ("files", files("\u{4}portcullis agreements 1 sha256:00\n{}\nportcullis witness 1 sha256:00\n{}\n")),
        ("later_format", files("portcullis agreements 2 sha256:00\n{}\n")),
        ("no_format", files("portcullis agreements one sha256:00\n{}\n")),
        ("more_words", files(&format!("portcullis agreements 1 {other} more\n{{}}\n"))),
        ("no_words", files("agreements\n")),
        ("witness_alone", [&[WITNESS][..], &witness(3, other)].concat()),
        ("older_than_its_witness", both(witness(3, other))),
        ("not_the_one", both(witness(2, other))),
        ("kept", both(witness(2, Digest::of(&sealed)))),
    ];
    seeds.extend(lives());
    seeds
}
