//! Refusals of what is said.

use portcullis::event::DropReason;
use portcullis::lab::mq_dialect::{self, Dialect, Names, Said};
use portcullis::policy::inspection::{MqLimits, Names as List, TlsLimits, Wrapping};
use portcullis::policy::suites;
use portcullis::policy::{Inspection, Service};
use portcullis::wire::tcp::ACK;

use super::Counted;
use super::conversations::{BANNER, Hello, Turn, kexinit, mail_greeted, server_hello};
use super::esp_support::tcp;
use super::packets::{counted, hearing};

const DIALECT: Dialect = Dialect { level: 13, little: false, ebcdic: false };

/// All of it is said through a pair that hears it; the last turn, and no other, is refused for `reason`.
fn said(inspection: &Inspection, turns: &[Turn], reason: DropReason) -> Counted {
    let mut pair = hearing(inspection);
    pair.connect(5000);
    let (mut there, mut back) = (101, 501);
    for (turn, (by_opener, bytes)) in turns.iter().enumerate() {
        let len = bytes.len() as u32;
        let outcome = if *by_opener {
            let outcome = pair.rightwards(&tcp(5000, true, ACK, there, back, &[], bytes));
            there += len;
            outcome
        } else {
            let outcome = pair.leftwards(&tcp(5000, false, ACK, back, there, &[], bytes));
            back += len;
            outcome
        };
        let wanted = if turn + 1 == turns.len() { Some(reason) } else { None };
        assert_eq!(outcome.err(), wanted, "turn {turn}");
    }
    counted(&pair)
}

fn opener(bytes: impl AsRef<[u8]>) -> Turn {
    (true, bytes.as_ref().to_vec())
}

fn responder(bytes: impl AsRef<[u8]>) -> Turn {
    (false, bytes.as_ref().to_vec())
}

fn names(name: &str) -> List {
    List::generic([name]).unwrap()
}

pub fn by_the_wrong_side_first(reason: DropReason) -> Counted {
    said(&Inspection::of(Service::Tls), &[responder(b"220 mail.example\r\n")], reason)
}

pub fn wrapped_or_not(reason: DropReason) -> Counted {
    let (wrapping, first) = match reason {
        DropReason::TlsRequired => (Wrapping::Required, mq(&Names::default())[0].bytes.clone()),
        _ => (Wrapping::Refused, Hello::default().client()),
    };
    said(&Inspection::Mq(MqLimits { wrapping, ..MqLimits::default() }), &[opener(first)], reason)
}

fn mq(names: &Names<'_>) -> Vec<Said> {
    mq_dialect::client(DIALECT, names, 0)
}

fn turns(said: &[Said]) -> Vec<Turn> {
    said.iter().map(|said| (said.by_opener, said.bytes.clone())).collect()
}

/// A connection that stands, and then this of the client.
fn behind(said: Said) -> Vec<Turn> {
    let mut all = mq(&Names::default());
    let opens = all.iter().position(|said| said.by_opener && said.bytes[17] == 0x83).unwrap();
    all.truncate(opens);
    all.push(said);
    turns(&all)
}

pub fn in_mq(reason: DropReason) -> Counted {
    let limits = MqLimits::default;
    let lone = |kind, body: &[u8]| mq_dialect::lone(DIALECT, kind, body);
    let (limits, turns) = match reason {
        DropReason::NotMq => (limits(), vec![opener(BANNER)]),
        DropReason::MqSegment => (limits(), behind(lone(0x91, &[0; 200]))),
        DropReason::MqLength => {
            let mut short = lone(0x09, &[]);
            short.bytes[7] = 35;
            (limits(), behind(short))
        }
        DropReason::MqRole => (MqLimits { server: false, ..limits() }, behind(lone(0x04, &[0; 200]))),
        DropReason::MqXa => (limits(), behind(lone(0xa1, &[0; 200]))),
        DropReason::MqCompressed => {
            let mut hidden = lone(0x83, &[0; 200]);
            hidden.bytes[19] = 1;
            (MqLimits { queues: names("CBP.*"), ..limits() }, behind(hidden))
        }
        DropReason::MqQueue => {
            let other = Names { queue: "OTHER.A", ..Names::default() };
            (MqLimits { queues: names("CBP.*"), ..limits() }, behind(mq_dialect::put1(DIALECT, &other)))
        }
        DropReason::MqChannel => {
            let other = Names { channel: "CBP.OTHER", ..Names::default() };
            let first = mq(&other).remove(0);
            (MqLimits { channels: names("CBP.SVRCONN"), ..limits() }, turns(&[first]))
        }
        DropReason::MqQueueManager => {
            let other = Names { queue_manager: "QM2", ..Names::default() };
            let answered = mq(&other)[..2].to_vec();
            (MqLimits { queue_managers: names("QM1"), ..limits() }, turns(&answered))
        }
        _ => {
            let admin = Names { channel: "SYSTEM.ADMIN.SVRCONN", ..Names::default() };
            (limits(), turns(&mq(&admin)[..1]))
        }
    };
    said(&Inspection::Mq(limits), &turns, reason)
}

pub fn in_ssh(reason: DropReason) -> Counted {
    let turns = match reason {
        DropReason::NotSsh => vec![responder(b"Welcome\r\n")],
        DropReason::SshVersion => vec![responder(b"SSH-1.99-Cisco-1.25\r\n")],
        DropReason::SshKexinit => vec![responder(BANNER), opener(BANNER), opener(b"GET / HTTP/1.1\r\n\r\n")],
        _ => vec![
            responder(BANNER),
            opener(BANNER),
            opener(kexinit("aes128-ctr,aes256-ctr")),
            responder(kexinit("aes256-ctr,aes128-ctr")),
        ],
    };
    said(&Inspection::of(Service::Sftp), &turns, reason)
}

pub fn in_mail(reason: DropReason) -> Counted {
    let turns = match reason {
        DropReason::NotSmtp => vec![responder(b"+OK POP3 ready\r\n")],
        _ => [mail_greeted(), vec![opener(b"GET / HTTP/1.1\r\n")]].concat(),
    };
    said(&Inspection::of(Service::Smtp), &turns, reason)
}

pub fn in_tls(reason: DropReason) -> Counted {
    let hello = Hello::default();
    let mut limits = TlsLimits::default();
    let turns = match reason {
        DropReason::NotTls => vec![opener(b"GET / HTTP/1.1\r\n\r\n")],
        DropReason::TlsOldHello => vec![opener([0x80, 0x2e, 1, 3, 1, 0, 0x15, 0, 0, 0, 0x10])],
        DropReason::TlsHello => {
            let mut other = hello.client();
            other[5] = 2;
            vec![opener(other)]
        }
        DropReason::TlsVersion => vec![opener(Hello { versions: &[], legacy: 0x0302, ..hello }.client())],
        DropReason::TlsSuite => {
            limits.suites = suites::meant("aes256").collect();
            vec![opener(hello.client()), responder(server_hello(Some(0x0304), 0x1301))]
        }
        DropReason::TlsServerName => {
            limits.names = names("ais2.cisa.dhs.gov");
            vec![opener(hello.client())]
        }
        _ => vec![opener(Hello { more: Some((0xfe0d, &[0; 40])), ..hello }.client())],
    };
    said(&Inspection::Tls(limits), &turns, reason)
}
