//! What stands in the file: every key with its value and its place, nothing judged beyond its type.
//!
//! The tables are walked by hand over `toml`'s spanned values instead of derived with serde, because serde stops at
//! the first error and forgets places inside flattened tables; here one run shows every error.

use std::ops::RangeInclusive;

use jiff::civil::Date;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::{Problems, Span};

/// A value and its place.
pub(super) type At<T> = Spanned<T>;

/// The whole file.
#[derive(Debug)]
pub(super) struct File {
    pub(super) gateway: Gateway,
    pub(super) agreements: Vec<Named<Agreement>>,
    pub(super) tunnels: Vec<Named<Tunnel>>,
    pub(super) rules: Vec<(Span, Rule)>,
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
}

#[derive(Debug)]
pub(super) struct Agreement {
    pub(super) kind: Option<At<String>>,
    pub(super) document: Option<At<String>>,
    pub(super) organisation: Option<At<String>>,
    pub(super) basis: Option<At<String>>,
    pub(super) date: Option<At<Date>>,
    pub(super) years: Option<At<i64>>,
}

#[derive(Debug)]
pub(super) struct Tunnel {
    pub(super) agreement: Option<At<String>>,
    pub(super) local: Option<At<String>>,
    pub(super) peer: Option<At<String>>,
    pub(super) local_id: Option<At<String>>,
    pub(super) peer_id: Option<At<String>>,
    pub(super) auth: Option<At<Auth>>,
    pub(super) weak_psk: Option<At<String>>,
    pub(super) preset: Option<At<String>>,
    pub(super) ike: Option<At<Vec<At<String>>>>,
    pub(super) esp: Option<At<Vec<At<String>>>>,
    pub(super) start: Option<At<String>>,
    pub(super) encapsulation: Option<At<String>>,
    pub(super) selectors: Option<At<String>>,
    pub(super) replay_window: Option<At<i64>>,
    pub(super) liveness: Option<At<i64>>,
}

/// `auth = { method = "psk", secret = ".." }`.
#[derive(Debug)]
pub(super) struct Auth {
    pub(super) method: Option<At<String>>,
    pub(super) secret: Option<At<String>>,
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
    root.finish();
    File { gateway: gateway.unwrap_or_default(), agreements, tunnels, rules }
}

fn read_gateway(section: &mut Section<'_, '_>) -> Gateway {
    Gateway {
        state_dir: section.string("state_dir"),
        control_socket: section.string("control_socket"),
        tun: section.string("tun"),
        mtu: section.integer("mtu"),
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
    }
}

fn read_tunnel(section: &mut Section<'_, '_>) -> Tunnel {
    Tunnel {
        agreement: section.required("agreement", "the name of an [agreement.NAME]").string(),
        local: section.required("local", "this gateway's own address").string(),
        peer: section.required("peer", "the peer's address").string(),
        local_id: section.string("local_id"),
        peer_id: section.string("peer_id"),
        auth: section
            .required("auth", "{ method = \"psk\", secret = \"file:...\" }")
            .table()
            .map(|(table, span)| At::new(span.clone(), section.inside(table, span, "auth", read_auth))),
        weak_psk: section.string("weak_psk"),
        preset: section.string("preset"),
        ike: section.strings("ike"),
        esp: section.strings("esp"),
        start: section.string("start"),
        encapsulation: section.string("encapsulation"),
        selectors: section.string("selectors"),
        replay_window: section.integer("replay_window"),
        liveness: section.integer("liveness"),
    }
}

fn read_auth(section: &mut Section<'_, '_>) -> Auth {
    Auth {
        method: section.required("method", "\"psk\"").string(),
        secret: section.required("secret", "\"file:/path\", \"credential:name\", \"hex:..\" or \"base64:..\"").string(),
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
    }
}

/// A table that is being read: what is asked for is known, what is left over is complained of.
struct Section<'a, 'p> {
    table: &'a DeTable<'a>,
    span: Span,
    called: String,
    known: Vec<&'static str>,
    problems: &'p mut Problems,
}

/// A value that was looked up, present or not.
struct Found<'a, 's> {
    value: Option<&'a At<DeValue<'a>>>,
    key: &'static str,
    problems: &'s mut Problems,
}

impl<'a, 'p> Section<'a, 'p> {
    fn new(table: &'a DeTable<'a>, span: Span, called: impl Into<String>, problems: &'p mut Problems) -> Self {
        Self { table, span, called: called.into(), known: Vec::new(), problems }
    }

    fn optional(&mut self, key: &'static str) -> Found<'a, '_> {
        self.known.push(key);
        let value = self.table.iter().find(|(name, _)| name.get_ref() == key).map(|(_, value)| value);
        Found { value, key, problems: self.problems }
    }

    fn required(&mut self, key: &'static str, what: &str) -> Found<'a, '_> {
        if self.optional(key).value.is_none() {
            let message = format!("{} has no `{key}`", self.called);
            self.problems
                .error(&self.span, message, format!("`{key}` is missing here"))
                .mend(format!("add `{key}`: {what}"));
        }
        self.known.pop();
        self.optional(key)
    }

    fn string(&mut self, key: &'static str) -> Option<At<String>> {
        self.optional(key).string()
    }

    fn strings(&mut self, key: &'static str) -> Option<At<Vec<At<String>>>> {
        self.optional(key).strings()
    }

    fn integer(&mut self, key: &'static str) -> Option<At<i64>> {
        let found = self.optional(key);
        found.value.and_then(|value| integer(key, value, found.problems))
    }

    fn integers(&mut self, key: &'static str) -> Option<At<Vec<At<i64>>>> {
        self.optional(key).list(integer)
    }

    fn date(&mut self, key: &'static str) -> Option<At<Date>> {
        let found = self.optional(key);
        let value = found.value?;
        let date = match value.get_ref() {
            DeValue::Datetime(datetime) if datetime.time.is_none() && datetime.offset.is_none() => {
                datetime.date.and_then(|date| {
                    let year = i16::try_from(date.year).ok()?;
                    Date::new(year, i8::try_from(date.month).ok()?, i8::try_from(date.day).ok()?).ok()
                })
            }
            _ => None,
        };
        if date.is_none() {
            found
                .problems
                .error(&value.span(), format!("`{key}` is not a date"), format!("this is {}", kind_of(value)))
                .mend("write a day without quotes, such as 2025-03-01");
        }
        date.map(|date| At::new(value.span(), date))
    }

    fn table(&mut self, key: &'static str) -> Option<(&'a DeTable<'a>, Span)> {
        self.optional(key).table()
    }

    /// `[[key]]` tables.
    fn tables(&mut self, key: &'static str) -> Vec<(&'a DeTable<'a>, Span)> {
        let found = self.optional(key);
        let Some(value) = found.value else { return Vec::new() };
        let DeValue::Array(array) = value.get_ref() else {
            found
                .problems
                .error(&value.span(), format!("`{key}` is not a list of tables"), format!("this is {}", kind_of(value)))
                .mend(format!("begin each {key} with a line [[{key}]]"));
            return Vec::new();
        };
        let mut tables = Vec::new();
        for item in array {
            match item.get_ref() {
                DeValue::Table(table) => tables.push((table, item.span())),
                _ => found
                    .problems
                    .error(&item.span(), format!("`{key}` is not a list of tables"), "this is not a table")
                    .mend(format!("begin each {key} with a line [[{key}]]")),
            }
        }
        tables
    }

    /// `[key.NAME]` tables, in the order of the file.
    fn named<T>(&mut self, key: &'static str, read: fn(&mut Section<'_, '_>) -> T) -> Vec<Named<T>> {
        let Some((outer, _)) = self.table(key) else { return Vec::new() };
        let mut list = Vec::new();
        for (name, value) in outer {
            let DeValue::Table(table) = value.get_ref() else {
                self.problems
                    .error(&name.span(), format!("`{key}.{}` is not a table", name.get_ref()), "a table is wanted here")
                    .mend(format!("each {key} has a name: begin it with a line such as [{key}.{}]", "example"));
                continue;
            };
            let called = format!("[{key}.{}]", name.get_ref());
            let body = self.inside(table, name.span(), called, read);
            list.push(Named { name: At::new(name.span(), name.get_ref().clone().into_owned()), body });
        }
        list.sort_by_key(|named| named.name.span().start);
        list
    }

    /// Reads a table inside this one.
    fn inside<T>(
        &mut self,
        table: &DeTable<'_>,
        span: Span,
        called: impl Into<String>,
        read: fn(&mut Section<'_, '_>) -> T,
    ) -> T {
        let mut section = Section::new(table, span, called, self.problems);
        let value = read(&mut section);
        section.finish();
        value
    }

    /// Complains of every key that nobody asked for.
    fn finish(self) {
        for (key, _) in self.table {
            let name: &str = key.get_ref();
            if self.known.contains(&name) {
                continue;
            }
            let noted = self.problems.error(
                &key.span(),
                format!("unknown key `{}` in {}", printable(name), self.called),
                "not a key of this table",
            );
            match nearest(name, self.known.iter().copied()) {
                Some(near) => noted.mend(format!("did you mean `{near}`?")),
                None => noted.mend(format!("the keys of this table are {}", self.known.join(", "))),
            }
        }
    }
}

impl<'a> Found<'a, '_> {
    fn string(self) -> Option<At<String>> {
        self.value.and_then(|value| string(self.key, value, self.problems))
    }

    fn strings(self) -> Option<At<Vec<At<String>>>> {
        self.list(string)
    }

    fn table(self) -> Option<(&'a DeTable<'a>, Span)> {
        let value = self.value?;
        if let DeValue::Table(table) = value.get_ref() {
            return Some((table, value.span()));
        }
        let message = format!("`{}` is not a table", self.key);
        self.problems
            .error(&value.span(), message, format!("this is {}", kind_of(value)))
            .mend("write a table: a [section] or { key = value }");
        None
    }

    fn list<T>(self, read: fn(&str, &At<DeValue<'_>>, &mut Problems) -> Option<At<T>>) -> Option<At<Vec<At<T>>>> {
        let value = self.value?;
        let DeValue::Array(array) = value.get_ref() else {
            self.problems
                .error(&value.span(), format!("`{}` is not a list", self.key), format!("this is {}", kind_of(value)))
                .mend(format!("put it in brackets: {} = [ .. ]", self.key));
            return None;
        };
        if array.is_empty() {
            self.problems
                .error(&value.span(), format!("`{}` is empty", self.key), "nothing stands in this list")
                .mend("name at least one, or take the key out");
            return None;
        }
        let items: Vec<_> = array.iter().filter_map(|item| read(self.key, item, self.problems)).collect();
        // An item that was complained of must not leave a shorter list that looks whole.
        (items.len() == array.len()).then(|| At::new(value.span(), items))
    }
}

fn string(key: &str, value: &At<DeValue<'_>>, problems: &mut Problems) -> Option<At<String>> {
    let DeValue::String(text) = value.get_ref() else {
        problems
            .error(&value.span(), format!("`{key}` is not text"), format!("this is {}", kind_of(value)))
            .mend("put it in quotes");
        return None;
    };
    let trouble = if text.trim().is_empty() {
        "is empty"
    } else if text.chars().any(char::is_control) {
        "contains a control character"
    } else {
        return Some(At::new(value.span(), text.clone().into_owned()));
    };
    problems.error(&value.span(), format!("`{key}` {trouble}"), "this text").mend("write plain text on one line");
    None
}

fn integer(key: &str, value: &At<DeValue<'_>>, problems: &mut Problems) -> Option<At<i64>> {
    if let DeValue::Integer(number) = value.get_ref()
        && let Ok(number) = i64::from_str_radix(number.as_str(), number.radix())
    {
        return Some(At::new(value.span(), number));
    }
    problems
        .error(&value.span(), format!("`{key}` is not a whole number"), format!("this is {}", kind_of(value)))
        .mend("write a number without quotes");
    None
}

fn kind_of(value: &At<DeValue<'_>>) -> &'static str {
    match value.get_ref() {
        DeValue::String(_) => "text",
        DeValue::Integer(_) => "a number",
        DeValue::Float(_) => "a number with a point",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
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
