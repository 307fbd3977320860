//! What differs between two policies, rule by rule: from their canonical texts, which say all that a policy means and
//! nothing else, so that nothing that changes the digest can be missing here.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// One line that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// What it is about: `rule mq`, `tunnel cbp`.
    pub about: String,
    /// The line before; none: it is new.
    pub before: Option<String>,
    /// The line after; none: it is gone.
    pub after: Option<String>,
}

impl Change {
    /// `added`, `removed` or `changed`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match (&self.before, &self.after) {
            (None, _) => "added",
            (_, None) => "removed",
            _ => "changed",
        }
    }
}

/// The lines of two canonical texts that differ, by what they are about.
#[must_use]
pub fn between(before: &str, after: &str) -> Vec<Change> {
    let (before, after) = (by_name(before), by_name(after));
    let mut names: Vec<&str> = before.keys().chain(after.keys()).copied().collect();
    names.sort_unstable();
    names.dedup();
    let changes = names.into_iter().filter_map(|name| {
        let line = |of: &BTreeMap<&str, &str>| of.get(name).map(|line| (*line).to_owned());
        let (before, after) = (line(&before), line(&after));
        (before != after).then(|| Change { about: name.replace('"', ""), before, after })
    });
    changes.collect()
}

/// Each line by its first two words: what it is, and its name in quotation marks. Names hold neither.
fn by_name(text: &str) -> BTreeMap<&str, &str> {
    let lines = text.lines().map(|line| {
        let end = line.match_indices(' ').nth(1).map_or(line.len(), |(at, _)| at);
        (line.get(..end).unwrap_or(line), line)
    });
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: &str = "rule \"mail\" tunnel \"cbp\" smtp ports 25\nrule \"mq\" tunnel \"cbp\" mq ports 1414\ntunnel \"cbp\" enabled\n";

    #[test]
    fn what_is_added_removed_and_changed_is_told_and_nothing_else() {
        assert_eq!(between(BEFORE, BEFORE), []);
        let after = "rule \"files\" tunnel \"cbp\" sftp ports 22\nrule \"mq\" tunnel \"cbp\" mq ports 1415\ntunnel \"cbp\" enabled\n";
        let told: Vec<_> = between(BEFORE, after).into_iter().map(|of| (of.kind(), of.about.clone())).collect();
        assert_eq!(
            told,
            [("added", "rule files".into()), ("removed", "rule mail".into()), ("changed", "rule mq".into())]
        );
        let mq = between(BEFORE, after).pop().unwrap();
        assert!(mq.before.unwrap().ends_with("1414") && mq.after.unwrap().ends_with("1415"));
    }

    #[test]
    fn there_and_back_is_the_same_with_its_sides_changed() {
        let turned: Vec<_> =
            between("", BEFORE).into_iter().map(|of| Change { before: of.after, after: of.before, ..of }).collect();
        assert_eq!(between(BEFORE, ""), turned);
        assert_eq!(turned.len(), 3);
    }
}
