//! What stands in the file: every key with its value and its place, nothing judged beyond its type.
//!
//! The tables are walked by hand over `toml`'s spanned values instead of derived with serde, because serde stops at
//! the first error and forgets places inside flattened tables; here one run shows every error.

use std::ops::RangeInclusive;

use jiff::civil::Date;
use toml::Spanned;
use toml::de::DeTable;

use super::problem::{Problems, Span};
use super::section::Section;
use crate::agreement::Role;

/// A value and its place.
pub(super) type At<T> = Spanned<T>;

/// The whole file.
#[derive(Debug)]
pub(super) struct File {
    pub(super) gateway: Gateway,
    pub(super) agreements: Vec<Named<Agreement>>,
    pub(super) tunnels: Vec<Named<Tunnel>>,
    pub(super) rules: Vec<(Span, Rule)>,
    pub(super) translations: Vec<(Span, Translate)>,
    pub(super) cases: Vec<(Span, Case)>,
    pub(super) approval: Option<(Span, Approval)>,
}

/// `[KIND.NAME]`.
#[derive(Debug)]
pub(super) struct Named<T> {
    pub(super) name: At<String>,
    pub(super) body: T,
}

#[derive(Debug, Default)]
pub(super) struct Gateway {
    pub(super) state_dir: Option<At<String>>,
    pub(super) control_socket: Option<At<String>>,
    pub(super) tun: Option<At<String>>,
    pub(super) mtu: Option<At<i64>>,
    pub(super) tun_offload: Option<At<String>>,
    pub(super) udp_send: Option<At<String>>,
    pub(super) udp_gro: Option<At<String>>,
    pub(super) puzzles: Option<At<String>>,
    pub(super) reset_peers: Option<At<String>>,
    pub(super) workers: Option<At<Option<i64>>>,
    pub(super) processors: Option<At<Option<Vec<At<i64>>>>>,
}

#[derive(Debug)]
pub(super) struct Agreement {
    pub(super) kind: Option<At<String>>,
    pub(super) document: Option<At<String>>,
    pub(super) organisation: Option<At<String>>,
    pub(super) basis: Option<At<String>>,
    pub(super) date: Option<At<Date>>,
    pub(super) years: Option<At<i64>>,
    pub(super) document_digest: Option<At<String>>,
    pub(super) classification: Option<At<String>>,
    pub(super) contacts: Option<At<Contacts>>,
    pub(super) zone: Option<At<String>>,
    pub(super) grace_days: Option<At<i64>>,
    pub(super) reviewed: Option<At<Date>>,
    pub(super) termination: Option<At<Date>>,
    pub(super) activation: Option<At<String>>,
}

/// `[agreement.NAME.contacts]`: whoever is named, by role.
#[derive(Debug)]
pub(super) struct Contacts(pub(super) Vec<(Role, At<String>)>);

#[derive(Debug)]
pub(super) struct Tunnel {
    pub(super) agreement: Option<At<String>>,
    pub(super) local: Option<At<String>>,
    pub(super) peer: Option<At<Vec<At<String>>>>,
    pub(super) fail_back: Option<At<i64>>,
    pub(super) childless: Option<At<String>>,
    pub(super) mobike: Option<At<bool>>,
    pub(super) request_address: Option<At<bool>>,
    pub(super) pool: Option<At<Vec<At<String>>>>,
    pub(super) dns: Option<At<Vec<At<String>>>>,
    pub(super) local_id: Option<At<String>>,
    pub(super) peer_id: Option<At<String>>,
    pub(super) auth: Option<At<Auth>>,
    pub(super) peer_auth: Option<At<Auth>>,
    pub(super) weak_psk: Option<At<String>>,
    pub(super) preset: Option<At<String>>,
    pub(super) ike: Option<At<Vec<At<String>>>>,
    pub(super) esp: Option<At<Vec<At<String>>>>,
    pub(super) start: Option<At<String>>,
    pub(super) encapsulation: Option<At<String>>,
    pub(super) fragmentation: Option<At<String>>,
    pub(super) ppk: Option<At<Ppk>>,
    pub(super) selectors: Option<At<String>>,
    pub(super) lanes: Option<At<i64>>,
    pub(super) replay_window: Option<At<i64>>,
    pub(super) liveness: Option<At<i64>>,
    pub(super) child_lifetime: Option<At<ChildLifetime>>,
    pub(super) ike_lifetime: Option<At<i64>>,
    pub(super) rekey: Option<At<Rekey>>,
}

/// `child_lifetime = { time = 3600, bytes = .., packets = .. }`.
#[derive(Debug)]
pub(super) struct ChildLifetime {
    pub(super) time: Option<At<i64>>,
    pub(super) bytes: Option<At<i64>>,
    pub(super) packets: Option<At<i64>>,
}

/// `rekey = { at = 85, jitter = 10 }`.
#[derive(Debug)]
pub(super) struct Rekey {
    pub(super) at: Option<At<i64>>,
    pub(super) jitter: Option<At<i64>>,
}

/// `ppk = { id = "..", secret = "..", required = true }`.
#[derive(Debug)]
pub(super) struct Ppk {
    pub(super) id: Option<At<String>>,
    pub(super) secret: Option<At<String>>,
    pub(super) required: Option<At<bool>>,
}

/// `auth = { method = "psk", secret = ".." }`, and the same words in `peer_auth`. Which keys a method takes and needs is
/// judged later.
#[derive(Debug)]
pub(super) struct Auth {
    pub(super) method: Option<At<String>>,
    pub(super) secret: Option<At<Vec<At<String>>>>,
    pub(super) user: Option<At<String>>,
    pub(super) password: Option<At<String>>,
    pub(super) users: Option<At<String>>,
    pub(super) certificate: Option<At<String>>,
    pub(super) key: Option<At<String>>,
    pub(super) ca: Option<At<Vec<At<String>>>>,
    pub(super) name: Option<At<String>>,
    pub(super) allow_weak: Option<At<String>>,
    pub(super) revocation: Option<At<String>>,
    pub(super) crl: Option<At<Vec<At<String>>>>,
    pub(super) ocsp: Option<At<Vec<At<String>>>>,
    pub(super) ask_identity: Option<At<bool>>,
}

impl Auth {
    /// The keys that are there beside `method`.
    pub(super) fn keys(&self) -> impl Iterator<Item = (&'static str, Span)> {
        [
            ("secret", self.secret.as_ref().map(At::span)),
            ("user", self.user.as_ref().map(At::span)),
            ("password", self.password.as_ref().map(At::span)),
            ("users", self.users.as_ref().map(At::span)),
            ("certificate", self.certificate.as_ref().map(At::span)),
            ("key", self.key.as_ref().map(At::span)),
            ("ca", self.ca.as_ref().map(At::span)),
            ("name", self.name.as_ref().map(At::span)),
            ("allow_weak", self.allow_weak.as_ref().map(At::span)),
            ("revocation", self.revocation.as_ref().map(At::span)),
            ("crl", self.crl.as_ref().map(At::span)),
            ("ocsp", self.ocsp.as_ref().map(At::span)),
            ("ask_identity", self.ask_identity.as_ref().map(At::span)),
        ]
        .into_iter()
        .filter_map(|(key, span)| Some((key, span?)))
    }
}

#[derive(Debug)]
pub(super) struct Rule {
    pub(super) name: Option<At<String>>,
    pub(super) tunnel: Option<At<String>>,
    pub(super) clause: Option<At<String>>,
    pub(super) from: Option<At<Vec<At<String>>>>,
    pub(super) to: Option<At<Vec<At<String>>>>,
    pub(super) service: Option<At<String>>,
    pub(super) tcp: Option<At<Vec<At<i64>>>>,
    pub(super) udp: Option<At<Vec<At<i64>>>>,
    pub(super) direction: Option<At<String>>,
    pub(super) allow_network: Option<At<String>>,
    pub(super) inspect: Option<At<String>>,
    pub(super) roles: Option<At<Vec<At<String>>>>,
    pub(super) channels: Option<At<Vec<At<String>>>>,
    pub(super) queue_managers: Option<At<Vec<At<String>>>>,
    pub(super) queues: Option<At<Vec<At<String>>>>,
    pub(super) tls: Option<At<String>>,
    pub(super) tls_versions: Option<At<Vec<At<String>>>>,
    pub(super) ciphers: Option<At<Vec<At<String>>>>,
    pub(super) sni: Option<At<Vec<At<String>>>>,
    pub(super) purpose: Option<At<Vec<At<String>>>>,
}

/// `[[test]]`.
#[derive(Debug)]
pub(super) struct Case {
    pub(super) from: Option<At<Vec<At<String>>>>,
    pub(super) to: Option<At<Vec<At<String>>>>,
    pub(super) service: Option<At<String>>,
    pub(super) port: Option<At<i64>>,
    pub(super) expect: Option<At<String>>,
}

/// `[approval]`.
#[derive(Debug)]
pub(super) struct Approval {
    pub(super) approver: Option<At<String>>,
    pub(super) ticket: Option<At<String>>,
    pub(super) policy: Option<At<String>>,
}

/// `[[translate]]`.
#[derive(Debug)]
pub(super) struct Translate {
    pub(super) tunnel: Option<At<String>>,
    pub(super) inside: Option<At<Vec<At<String>>>>,
    pub(super) outside: Option<At<String>>,
    pub(super) inbound: Option<At<String>>,
}

/// Reads the tables of a parsed document. `None` stands for a value that is missing or has been complained of.
pub(super) fn read(document: &At<DeTable<'_>>, problems: &mut Problems) -> File {
    let mut root = Section::new(document.get_ref(), document.span(), "the file", problems);
    let gateway = root.table("gateway").map(|(table, span)| root.inside(table, span, "[gateway]", read_gateway));
    let agreements = root.named("agreement", read_agreement);
    let tunnels = root.named("tunnel", read_tunnel);
    let rules = root
        .tables("rule")
        .into_iter()
        .map(|(table, span)| (span.clone(), root.inside(table, span, "[[rule]]", read_rule)))
        .collect();
    let translations = root
        .tables("translate")
        .into_iter()
        .map(|(table, span)| (span.clone(), root.inside(table, span, "[[translate]]", read_translate)))
        .collect();
    let cases = root
        .tables("test")
        .into_iter()
        .map(|(table, span)| (span.clone(), root.inside(table, span, "[[test]]", read_case)))
        .collect();
    let approval = root
        .table("approval")
        .map(|(table, span)| (span.clone(), root.inside(table, span, "[approval]", read_approval)));
    root.finish();
    File { gateway: gateway.unwrap_or_default(), agreements, tunnels, rules, translations, cases, approval }
}

fn read_gateway(section: &mut Section<'_, '_>) -> Gateway {
    Gateway {
        state_dir: section.string("state_dir"),
        control_socket: section.string("control_socket"),
        tun: section.string("tun"),
        mtu: section.integer("mtu"),
        tun_offload: section.string("tun_offload"),
        udp_send: section.string("udp_send"),
        udp_gro: section.string("udp_gro"),
        puzzles: section.string("puzzles"),
        reset_peers: section.string("reset_peers"),
        workers: section.integer_or("workers", "auto"),
        processors: section.integers_or("processors", "auto"),
    }
}

fn read_agreement(section: &mut Section<'_, '_>) -> Agreement {
    Agreement {
        kind: section.string("kind"),
        document: section.string("document"),
        organisation: section.string("organisation"),
        basis: section.string("basis"),
        date: section.date("date"),
        years: section.integer("years"),
        document_digest: section.string("document_digest"),
        classification: section.string("classification"),
        contacts: section
            .table("contacts")
            .map(|(table, span)| At::new(span.clone(), section.inside(table, span, "contacts", read_contacts))),
        zone: section.string("zone"),
        grace_days: section.integer("grace_days"),
        reviewed: section.date("reviewed"),
        termination: section.date("termination"),
        activation: section.string("activation"),
    }
}

fn read_contacts(section: &mut Section<'_, '_>) -> Contacts {
    Contacts(Role::ALL.into_iter().filter_map(|role| Some((role, section.string(role.as_str())?))).collect())
}

fn read_tunnel(section: &mut Section<'_, '_>) -> Tunnel {
    Tunnel {
        agreement: section.required("agreement", "the name of an [agreement.NAME]").string(),
        local: section.required("local", "this gateway's own address").string(),
        peer: section.required("peer", "the peer's address").one_or_more(),
        fail_back: section.integer("fail_back"),
        childless: section.string("childless"),
        mobike: section.boolean("mobike"),
        request_address: section.boolean("request_address"),
        pool: section.one_or_more("pool"),
        dns: section.one_or_more("dns"),
        local_id: section.string("local_id"),
        peer_id: section.string("peer_id"),
        auth: section
            .required("auth", "{ method = \"psk\", secret = \"file:...\" }")
            .table()
            .map(|(table, span)| At::new(span.clone(), section.inside(table, span, "auth", read_auth))),
        peer_auth: section
            .table("peer_auth")
            .map(|(table, span)| At::new(span.clone(), section.inside(table, span, "peer_auth", read_auth))),
        weak_psk: section.string("weak_psk"),
        preset: section.string("preset"),
        ike: section.strings("ike"),
        esp: section.strings("esp"),
        start: section.string("start"),
        encapsulation: section.string("encapsulation"),
        fragmentation: section.string("fragmentation"),
        ppk: section
            .table("ppk")
            .map(|(table, span)| At::new(span.clone(), section.inside(table, span, "ppk", read_ppk))),
        selectors: section.string("selectors"),
        lanes: section.integer("lanes"),
        replay_window: section.integer("replay_window"),
        liveness: section.integer("liveness"),
        child_lifetime: section
            .table("child_lifetime")
            .map(|(table, span)| At::new(span.clone(), section.inside(table, span, "child_lifetime", read_lifetime))),
        ike_lifetime: section.integer("ike_lifetime"),
        rekey: section
            .table("rekey")
            .map(|(table, span)| At::new(span.clone(), section.inside(table, span, "rekey", read_rekey))),
    }
}

fn read_lifetime(section: &mut Section<'_, '_>) -> ChildLifetime {
    ChildLifetime {
        time: section.integer("time"),
        bytes: section.integer("bytes"),
        packets: section.integer("packets"),
    }
}

fn read_rekey(section: &mut Section<'_, '_>) -> Rekey {
    Rekey { at: section.integer("at"), jitter: section.integer("jitter") }
}

fn read_ppk(section: &mut Section<'_, '_>) -> Ppk {
    Ppk {
        id: section.required("id", "the name by which both sides know the key").string(),
        secret: section.required("secret", "\"file:/path\", \"credential:name\", \"hex:..\" or \"base64:..\"").string(),
        required: section.boolean("required"),
    }
}

fn read_auth(section: &mut Section<'_, '_>) -> Auth {
    Auth {
        method: section.required("method", "\"psk\", \"certificate\", \"eap-mschapv2\" or \"eap-tls\"").string(),
        secret: section.one_or_more("secret"),
        user: section.string("user"),
        password: section.string("password"),
        users: section.string("users"),
        certificate: section.string("certificate"),
        key: section.string("key"),
        ca: section.one_or_more("ca"),
        name: section.string("name"),
        allow_weak: section.string("allow_weak"),
        revocation: section.string("revocation"),
        crl: section.one_or_more("crl"),
        ocsp: section.one_or_more("ocsp"),
        ask_identity: section.boolean("ask_identity"),
    }
}

fn read_rule(section: &mut Section<'_, '_>) -> Rule {
    Rule {
        name: section.required("name", "a name for status lines and events").string(),
        tunnel: section.required("tunnel", "the name of a [tunnel.NAME]").string(),
        clause: section.required("clause", "the clause of the agreement that allows it, such as \"1a\"").string(),
        from: section.required("from", "the hosts that may open a connection").strings(),
        to: section.required("to", "the hosts that are connected to").strings(),
        service: section.required("service", "mq, sftp, smtp, tls, tcp, or under a lab agreement udp or echo").string(),
        tcp: section.integers("tcp"),
        udp: section.integers("udp"),
        direction: section.string("direction"),
        allow_network: section.string("allow_network"),
        inspect: section.string("inspect"),
        roles: section.strings("roles"),
        channels: section.strings("channels"),
        queue_managers: section.strings("queue_managers"),
        queues: section.strings("queues"),
        tls: section.string("tls"),
        tls_versions: section.strings("tls_versions"),
        ciphers: section.strings("ciphers"),
        sni: section.strings("sni"),
        purpose: section.one_or_more("purpose"),
    }
}

fn read_case(section: &mut Section<'_, '_>) -> Case {
    Case {
        from: section.required("from", "the host that would open a connection").one_or_more(),
        to: section.required("to", "the host that it would be opened to").one_or_more(),
        service: section.string("service"),
        port: section.integer("port"),
        expect: section.required("expect", "\"allow\", or the reason for which it must be refused").string(),
    }
}

fn read_approval(section: &mut Section<'_, '_>) -> Approval {
    Approval {
        approver: section.required("approver", "who has approved this policy").string(),
        ticket: section.required("ticket", "where that is recorded").string(),
        policy: section.string("policy"),
    }
}

fn read_translate(section: &mut Section<'_, '_>) -> Translate {
    Translate {
        tunnel: section.required("tunnel", "the name of a [tunnel.NAME]").string(),
        inside: section.required("inside", "the hosts of ours that the peer knows under another address").one_or_more(),
        outside: section.required("outside", "the address that the peer and the rules call them").string(),
        inbound: section.string("inbound"),
    }
}

/// The word of `known` that `word` was probably meant to be.
pub(super) fn nearest<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let word = word.to_lowercase();
    known
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&word, &candidate.to_lowercase()), candidate))
        .filter(|(distance, candidate)| *distance <= candidate.len().max(3) / 3)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// A word of the file as it may stand in a message: no control characters, not endless.
pub(super) fn printable(word: &str) -> String {
    let mut out: String = word.chars().take(60).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if word.chars().nth(60).is_some() {
        out.push('…');
    }
    out
}

/// A number of the file within its bounds.
pub(super) fn bounded<T: TryFrom<i64>>(
    key: &str,
    value: &At<i64>,
    bounds: RangeInclusive<i64>,
    problems: &mut Problems,
) -> Option<T> {
    if bounds.contains(value.get_ref())
        && let Ok(number) = T::try_from(*value.get_ref())
    {
        return Some(number);
    }
    problems.error(&value.span(), format!("`{key}` is out of bounds"), "this number").mend(format!(
        "choose a number from {} to {}",
        bounds.start(),
        bounds.end()
    ));
    None
}
