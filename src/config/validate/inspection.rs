//! What a rule demands of the bytes of its flows: the keys of `[[rule]]` beside hosts and ports.

use std::collections::BTreeSet;

use super::choice;
use crate::config::problem::{Problems, Span};
use crate::config::raw::{self, At, printable};
use crate::policy::inspection::{MAX_NAMES, Mode, MqLimits, Names, SmtpLimits, SshLimits, TlsLimits, Wrapping};
use crate::policy::{Inspection, Service, suites};

/// Ciphers of SSH that a rule can name.
const SSH_CIPHERS: [&str; 12] = [
    "aes256-gcm@openssh.com",
    "aes256-ctr",
    "aes256-cbc",
    "aes192-ctr",
    "aes192-cbc",
    "aes128-gcm@openssh.com",
    "aes128-ctr",
    "aes128-cbc",
    "chacha20-poly1305@openssh.com",
    "AEAD_AES_256_GCM",
    "AEAD_AES_128_GCM",
    "3des-cbc",
];
/// Which services take which keys.
const KEYS: [(&str, &[Service]); 9] = [
    ("inspect", &[Service::Mq, Service::Sftp, Service::Smtp, Service::Tls]),
    ("roles", &[Service::Mq]),
    ("channels", &[Service::Mq]),
    ("queue_managers", &[Service::Mq]),
    ("queues", &[Service::Mq]),
    ("tls", &[Service::Mq, Service::Smtp]),
    ("tls_versions", &[Service::Mq, Service::Smtp, Service::Tls]),
    ("ciphers", &[Service::Mq, Service::Sftp, Service::Smtp, Service::Tls]),
    ("sni", &[Service::Mq, Service::Smtp, Service::Tls]),
];

/// Checks the keys of one rule that speak of what is said.
pub(super) fn check(service: Service, raw: &raw::Rule, problems: &mut Problems) -> Option<(Inspection, Mode)> {
    let fits = keys_fit(service, raw, problems);
    let mode = match &raw.inspect {
        Some(word) => {
            choice("inspect", word, &[Mode::Enforce, Mode::Observe].map(|mode| (mode.as_str(), mode)), problems)
        }
        None => Some(Mode::default()),
    };
    let inspection = match service {
        Service::Mq => mq(raw, problems).map(Inspection::Mq),
        Service::Sftp => ssh(raw, problems).map(|ciphers| Inspection::Ssh(SshLimits { ciphers })),
        Service::Smtp => {
            let wrapping = wrapping(raw, problems);
            tls(raw, problems)
                .zip(wrapping)
                .map(|(handshake, wrapping)| Inspection::Smtp(SmtpLimits { wrapping, handshake }))
        }
        Service::Tls => tls(raw, problems).map(Inspection::Tls),
        Service::Tcp | Service::Udp | Service::Echo => Some(Inspection::Uninspected),
    };
    if fits { inspection.zip(mode) } else { None }
}

/// Complains of every key that says nothing about this service.
fn keys_fit(service: Service, raw: &raw::Rule, problems: &mut Problems) -> bool {
    fn place<T>(value: Option<&At<T>>) -> Option<Span> {
        value.map(At::span)
    }
    let places = [
        place(raw.inspect.as_ref()),
        place(raw.roles.as_ref()),
        place(raw.channels.as_ref()),
        place(raw.queue_managers.as_ref()),
        place(raw.queues.as_ref()),
        place(raw.tls.as_ref()),
        place(raw.tls_versions.as_ref()),
        place(raw.ciphers.as_ref()),
        place(raw.sni.as_ref()),
    ];
    let mut fit = true;
    for ((key, services), place) in KEYS.iter().zip(places) {
        let Some(place) = place.filter(|_| !services.contains(&service)) else { continue };
        fit = false;
        let words: Vec<_> = services.iter().map(|service| format!("\"{}\"", service.as_str())).collect();
        let noted = problems.error(
            &place,
            format!("`{key}` does not go with service \"{}\"", service.as_str()),
            "this is of no use here",
        );
        let noted = match &raw.service {
            Some(word) => noted.also(&word.span(), "of this service nothing of the kind is looked at"),
            None => noted,
        };
        noted.mend(format!("take it out; it is for service {}", words.join(", ")));
    }
    fit
}

fn mq(raw: &raw::Rule, problems: &mut Problems) -> Option<MqLimits> {
    let roles = match &raw.roles {
        Some(list) => {
            let words = [("client", 0), ("server", 1)];
            let roles: Vec<_> =
                list.get_ref().iter().filter_map(|word| choice("roles", word, &words, problems)).collect();
            (roles.len() == list.get_ref().len()).then(|| [roles.contains(&0), roles.contains(&1)])
        }
        None => Some([true, true]),
    };
    let channels = objects("channels", 20, raw.channels.as_ref(), problems);
    let queue_managers = objects("queue_managers", 48, raw.queue_managers.as_ref(), problems);
    let queues = objects("queues", 48, raw.queues.as_ref(), problems);
    let wrapping = wrapping(raw, problems);
    let handshake = tls(raw, problems);
    let [client, server] = roles?;
    Some(MqLimits {
        client,
        server,
        channels: channels?,
        queue_managers: queue_managers?,
        queues: queues?,
        wrapping: wrapping?,
        handshake: handshake?,
    })
}

/// Names of MQ objects, of up to `longest` letters, with a `*` at the end where any may follow.
fn objects(key: &str, longest: usize, list: Option<&At<Vec<At<String>>>>, problems: &mut Problems) -> Option<Names> {
    let Some(list) = list else { return Some(Names::default()) };
    short(key, list, problems)?;
    let mut holds = true;
    for text in list.get_ref() {
        let name = text.get_ref();
        let stem = name.strip_suffix('*').unwrap_or(name);
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"._/%".contains(&byte);
        let (message, mend) = if stem.len() > longest || name.is_empty() || !stem.bytes().all(legal) {
            (
                format!("`{key}`: \"{}\" is not the name of an MQ object", printable(name)),
                format!("up to {longest} letters, digits, `.`, `_`, `/` and `%`, and a `*` at the end for any ending"),
            )
        } else if ["SYSTEM.ADMIN.", "SYSTEM.COMMAND."].iter().any(|known| stem.starts_with(known)) {
            (
                format!("`{key}`: {} administers a queue manager", printable(name)),
                "no rule allows that: CBP §1b authorises messages and the signals that go with them".to_owned(),
            )
        } else {
            continue;
        };
        holds = false;
        problems.error(&text.span(), message, "this name").mend(mend);
    }
    if holds { names(key, list, problems) } else { None }
}

fn ssh(raw: &raw::Rule, problems: &mut Problems) -> Option<Names> {
    let Some(list) = &raw.ciphers else { return Some(SshLimits::default().ciphers) };
    short("ciphers", list, problems)?;
    let words = SSH_CIPHERS.map(|cipher| (cipher, cipher));
    let ciphers: Vec<_> = list.get_ref().iter().filter_map(|word| choice("ciphers", word, &words, problems)).collect();
    if ciphers.len() < list.get_ref().len() { None } else { names("ciphers", list, problems) }
}

fn wrapping(raw: &raw::Rule, problems: &mut Problems) -> Option<Wrapping> {
    let Some(word) = &raw.tls else { return Some(Wrapping::default()) };
    let words = [Wrapping::Allowed, Wrapping::Required, Wrapping::Refused].map(|word| (word.as_str(), word));
    let wrapping = choice("tls", word, &words, problems)?;
    let details = [
        ("tls_versions", raw.tls_versions.as_ref().map(At::span)),
        ("ciphers", raw.ciphers.as_ref().map(At::span)),
        ("sni", raw.sni.as_ref().map(At::span)),
    ];
    for (key, place) in details {
        if wrapping == Wrapping::Refused
            && let Some(place) = place
        {
            problems
                .error(&place, format!("`{key}` says how TLS has to be, and the rule refuses it"), "this")
                .also(&word.span(), "TLS is refused here")
                .mend("take one of the two out");
            return None;
        }
    }
    Some(wrapping)
}

fn tls(raw: &raw::Rule, problems: &mut Problems) -> Option<TlsLimits> {
    let versions = match &raw.tls_versions {
        Some(list) => versions(list, problems),
        None => Some([true, true]),
    };
    let suites = match &raw.ciphers {
        Some(list) => tls_suites(list, problems),
        None => Some(BTreeSet::new()),
    };
    let names = match &raw.sni {
        Some(list) => server_names(list, problems),
        None => Some(Names::default()),
    };
    let [tls12, tls13] = versions?;
    Some(TlsLimits { tls12, tls13, suites: suites?, names: names? })
}

fn versions(list: &At<Vec<At<String>>>, problems: &mut Problems) -> Option<[bool; 2]> {
    let mut allowed = [false; 2];
    let mut holds = true;
    for word in list.get_ref() {
        if matches!(word.get_ref().as_str(), "1.0" | "1.1") {
            holds = false;
            problems
                .error(&word.span(), format!("TLS {} is not accepted", word.get_ref()), "this version")
                .mend("\"1.2\" and \"1.3\" are; RFC 8996 has taken the older ones out of use");
        } else if let Some(place) = choice("tls_versions", word, &[("1.2", 0_usize), ("1.3", 1)], problems) {
            allowed[place] = true;
        } else {
            holds = false;
        }
    }
    holds.then_some(allowed)
}

fn tls_suites(list: &At<Vec<At<String>>>, problems: &mut Problems) -> Option<BTreeSet<u16>> {
    short("ciphers", list, problems)?;
    let mut words: Vec<_> = [suites::AES256, suites::AES256_GCM].map(|word| (word, word)).to_vec();
    words.extend(suites::SUITES.map(|(name, _)| (name, name)));
    let mut numbers = BTreeSet::new();
    let mut holds = true;
    for word in list.get_ref() {
        match choice("ciphers", word, &words, problems) {
            Some(word) => numbers.extend(suites::meant(word)),
            None => holds = false,
        }
    }
    holds.then_some(numbers)
}

fn server_names(list: &At<Vec<At<String>>>, problems: &mut Problems) -> Option<Names> {
    short("sni", list, problems)?;
    let mut holds = true;
    for text in list.get_ref() {
        let name = text.get_ref();
        let label = |label: &str| {
            (1..=63).contains(&label.len()) && label.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
        };
        let number = name.rsplit('.').next().is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit()));
        if name.len() > 253 || !name.split('.').all(label) || number {
            holds = false;
            problems
                .error(&text.span(), format!("`sni`: \"{}\" is not a host name", printable(name)), "this name")
                .mend("write the whole name that clients ask for, such as \"ais2.cisa.dhs.gov\"");
        }
    }
    if holds { names("sni", list, problems) } else { None }
}

fn names(key: &str, list: &At<Vec<At<String>>>, problems: &mut Problems) -> Option<Names> {
    let mut seen: BTreeSet<&str> = BTreeSet::new();
    for text in list.get_ref() {
        if !seen.insert(text.get_ref()) {
            problems
                .error(&text.span(), format!("`{key}` names \"{}\" twice", printable(text.get_ref())), "again")
                .mend("take it out");
            return None;
        }
    }
    Names::generic(seen)
}

fn short(key: &str, list: &At<Vec<At<String>>>, problems: &mut Problems) -> Option<()> {
    if list.get_ref().len() <= MAX_NAMES {
        return Some(());
    }
    problems
        .error(&list.span(), format!("`{key}` is too long"), "this list")
        .mend(format!("a rule takes up to {MAX_NAMES}; write several rules, or a `*` at the end of a name"));
    None
}
