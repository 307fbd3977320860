//! A policy as text: what its digest is made of, and what two policies are compared by.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use ipnet::IpNet;

use super::Snapshot;

impl Snapshot {
    /// The rules as text, independent of their order in the file and of their numbers: what the digest is made of.
    #[must_use]
    pub fn canonical_text(&self) -> String {
        let mut lines = BTreeSet::new();
        for tunnel in self.tunnels.iter() {
            let state = if tunnel.enabled { "enabled" } else { "disabled" };
            lines.insert(format!("tunnel {:?} selectors {} {state}", tunnel.name, tunnel.selectors.as_str()));
        }
        for rule in self.rules.iter() {
            let tunnel = self.tunnel(rule.tunnel).map_or("", |tunnel| &tunnel.name);
            let mut line = format!(
                "rule {:?} tunnel {tunnel:?} agreement {:?} clause {:?} {} {} ports",
                rule.name,
                rule.agreement,
                rule.clause,
                rule.direction.as_str(),
                rule.service.as_str()
            );
            for port in rule.effective_ports() {
                let _ = write!(line, " {port}");
            }
            if !rule.purposes.is_empty() {
                let _ = write!(line, " purpose {}", rule.purposes.join(" "));
            }
            for (word, networks) in [("from", &rule.from), ("to", &rule.to)] {
                line.push(' ');
                line.push_str(word);
                for network in networks.iter().map(IpNet::trunc).collect::<BTreeSet<_>>() {
                    let _ = write!(line, " {network}");
                }
            }
            if !rule.inspection.is_uninspected() {
                let _ = write!(line, " {} {}", rule.mode.as_str(), rule.inspection);
            }
            lines.insert(line);
        }
        for translation in self.translations.list() {
            let tunnel = self.tunnel(translation.tunnel).map_or("", |tunnel| &tunnel.name);
            let mut line = format!("translate tunnel {tunnel:?} outside {} inside", translation.outside);
            for network in translation.inside.iter().map(IpNet::trunc).collect::<BTreeSet<_>>() {
                let _ = write!(line, " {network}");
            }
            if let Some(host) = translation.inbound {
                let _ = write!(line, " inbound {host}");
            }
            lines.insert(line);
        }
        lines.into_iter().fold(String::new(), |text, line| text + &line + "\n")
    }
}
