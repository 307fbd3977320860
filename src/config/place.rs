//! Where things stand in the file: lines of tunnels, their keys and rules, for what is made from a file and says from
//! which of its lines.
//!
//! It reads the same text as the loader and judges nothing; a file that loads has all of these places.

use std::collections::BTreeMap;

use toml::de::{DeTable, DeValue};

use super::raw::At;

/// Lines, counted from one.
#[derive(Debug, Default)]
pub struct Places {
    tunnels: BTreeMap<String, BTreeMap<String, usize>>,
    rules: BTreeMap<String, usize>,
    references: BTreeMap<String, String>,
    presets: BTreeMap<String, String>,
    rule_tunnels: Vec<(String, usize)>,
}

impl Places {
    pub(super) fn read(text: &str) -> Self {
        let (document, _) = DeTable::parse_recoverable(text);
        let mut places = Self::default();
        let starts: Vec<usize> =
            std::iter::once(0).chain(text.match_indices('\n').map(|(newline, _)| newline + 1)).collect();
        let line = |at: usize| starts.partition_point(|start| *start <= at);
        if let Some(DeValue::Table(tunnels)) = find(document.get_ref(), "tunnel") {
            for (name, value) in tunnels {
                let DeValue::Table(table) = value.get_ref() else { continue };
                let mut lines: BTreeMap<String, usize> =
                    table.keys().map(|key| (key.get_ref().to_string(), line(key.span().start))).collect();
                lines.insert(String::new(), line(name.span().start));
                places.tunnels.insert(name.get_ref().to_string(), lines);
                if let Some(DeValue::String(preset)) = find(table, "preset") {
                    places.presets.insert(name.get_ref().to_string(), preset.to_string());
                }
                if let Some(reference) = reference(table) {
                    places.references.insert(name.get_ref().to_string(), reference);
                }
            }
        }
        if let Some(DeValue::Array(rules)) = find(document.get_ref(), "rule") {
            for rule in rules {
                let DeValue::Table(table) = rule.get_ref() else { continue };
                let name = table.iter().find(|(key, _)| key.get_ref() == "name");
                let of = table.iter().find(|(key, _)| key.get_ref() == "tunnel");
                if let Some((key, DeValue::String(tunnel))) = of.map(|(key, value)| (key, value.get_ref())) {
                    places.rule_tunnels.push((tunnel.to_string(), line(key.span().start)));
                }
                if let Some((key, DeValue::String(name))) = name.map(|(key, value)| (key, value.get_ref())) {
                    places.rules.insert(name.to_string(), line(key.span().start));
                }
            }
        }
        places
    }

    /// The line on which `key` of a tunnel stands.
    #[must_use]
    pub fn tunnel_key(&self, tunnel: &str, key: &str) -> Option<usize> {
        self.tunnels.get(tunnel)?.get(key).copied()
    }

    /// The line on which a tunnel begins.
    #[must_use]
    pub fn tunnel(&self, name: &str) -> Option<usize> {
        self.tunnel_key(name, "")
    }

    /// The line on which the name of a rule stands.
    #[must_use]
    pub fn rule(&self, name: &str) -> Option<usize> {
        self.rules.get(name).copied()
    }

    /// The preset of a tunnel: what stands at the other end.
    #[must_use]
    pub fn preset(&self, tunnel: &str) -> Option<&str> {
        self.presets.get(tunnel).map(String::as_str)
    }

    /// The lines of the rules that name a tunnel.
    pub fn rules_of<'a>(&'a self, tunnel: &'a str) -> impl Iterator<Item = usize> + 'a {
        self.rule_tunnels.iter().filter(move |(of, _)| of == tunnel).map(|(_, line)| *line)
    }

    /// The reference to a tunnel's secret, if it is one: a secret that stands in the file itself is not told.
    #[must_use]
    pub fn reference(&self, tunnel: &str) -> Option<&str> {
        self.references.get(tunnel).map(String::as_str)
    }
}

fn find<'a, 'b>(table: &'a DeTable<'b>, key: &str) -> Option<&'a DeValue<'b>> {
    table.iter().find(|(name, _)| name.get_ref() == key).map(|(_, value)| value.get_ref())
}

fn reference(tunnel: &DeTable<'_>) -> Option<String> {
    let DeValue::Table(auth) = find(tunnel, "auth")? else { return None };
    let text = |value: &DeValue<'_>| match value {
        DeValue::String(text) => Some(text.to_string()),
        _ => None,
    };
    let secret = match find(auth, "secret")? {
        DeValue::Array(list) => list.iter().map(At::get_ref).find_map(text),
        value => text(value),
    };
    secret.filter(|secret| secret.starts_with("file:") || secret.starts_with("credential:"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_those_that_an_editor_shows() {
        let places = Places::read(
            "[tunnel.a]\nlocal = \"192.0.2.1\"\n\n[tunnel.a.auth]\nsecret = \"file:/k\"\n[[rule]]\ntunnel = \"a\"\nname \
             = \"mq\"\n",
        );
        assert_eq!((places.tunnel("a"), places.tunnel_key("a", "local")), (Some(1), Some(2)));
        assert_eq!((places.rule("mq"), places.tunnel_key("a", "peer")), (Some(8), None));
        assert_eq!(places.reference("a"), Some("file:/k"));
    }

    #[test]
    fn a_secret_in_the_file_itself_is_not_told() {
        let places = Places::read("[tunnel.a]\nauth = { method = \"psk\", secret = \"hex:00ff\" }\n");
        assert_eq!(places.reference("a"), None);
        assert!(!format!("{places:?}").contains("00ff"));
    }
}
