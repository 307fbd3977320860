//! Blots inline secrets out of the text that error messages show.
//!
//! A file that fails to load is the most likely one to be pasted into a ticket, and its lines are shown with each
//! error. Two nets: the parsed tables (every string under `auth` that is not a reference, whatever its key is called),
//! and the bare text, for files that do not even parse. What is blotted out becomes `*`, byte for byte.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::Span;

/// `text` with every inline secret blotted out. `document` is what could be parsed of it.
pub(super) fn redact(text: &str, document: &Spanned<DeTable<'_>>) -> String {
    let mut shown = text.as_bytes().to_vec();
    for span in spans_of_secrets(text) {
        blot(&mut shown, &span);
    }
    let mut stack: Vec<(&Spanned<DeValue<'_>>, bool)> =
        document.get_ref().iter().map(|(key, value)| (value, is_telling(key.get_ref()))).collect();
    while let Some((value, telling)) = stack.pop() {
        match value.get_ref() {
            DeValue::String(content) if is_inline(content) || (telling && !is_reference(content)) => {
                blot(&mut shown, &value.span());
            }
            DeValue::Integer(_) if telling => blot(&mut shown, &value.span()),
            DeValue::Table(table) => {
                let below = |key: &str| is_telling(key) || (telling && !PLAIN.contains(&key));
                stack.extend(table.iter().map(|(key, value)| (value, below(key.get_ref()))));
            }
            DeValue::Array(array) => stack.extend(array.iter().map(|value| (value, telling))),
            _ => {}
        }
    }
    // Only whole bytes within a character were replaced if a span was wrong; then nothing is shown at all.
    String::from_utf8(shown).unwrap_or_else(|_| "*".repeat(text.len()))
}

/// What stands under `auth` and may be shown.
const PLAIN: &[&str] = &["method", "user", "name", "allow_weak", "revocation"];

/// Whether what stands under this key may be a secret.
fn is_telling(key: &str) -> bool {
    let key = key.to_lowercase();
    !["weak_psk", "method", "rekey", "authorising-official"].contains(&key.as_str())
        && ["auth", "secret", "psk", "password", "key"].iter().any(|word| key.contains(word))
}

fn is_reference(content: &str) -> bool {
    content == "psk" || content.starts_with("file:") || content.starts_with("credential:")
}

fn is_inline(content: &str) -> bool {
    let content = content.trim_start();
    ["hex:", "base64:"].iter().any(|scheme| content.get(..scheme.len()).is_some_and(|c| c.eq_ignore_ascii_case(scheme)))
}

/// The secrets of a text that need not be TOML: what follows `hex:` and `base64:`, and what follows a key that may
/// hold a secret, to the end of the line (of the text, where a multi-line string begins).
fn spans_of_secrets(text: &str) -> Vec<Span> {
    let lower = text.to_ascii_lowercase();
    let last_bracket = lower.rfind(']').unwrap_or(0);
    let mut spans = Vec::new();
    let line_end = |from: usize| lower[from..].find('\n').map_or(lower.len(), |at| from + at);
    for scheme in ["hex:", "base64:"] {
        for (at, _) in lower.match_indices(scheme) {
            // `keyid:` and `dn:` take hexadecimal without this word, so nothing else is hit.
            let from = at + scheme.len();
            let to = lower[from..].find(['"', '\'', '\n']).map_or(lower.len(), |end| from + end);
            spans.push(from..to);
        }
    }
    for word in ["secret", "password"] {
        for (at, _) in lower.match_indices(word) {
            let rest = &lower[at + word.len()..];
            let trimmed = rest.trim_start_matches(['"', '\'', ' ', '\t']);
            let Some(value) = trimmed.strip_prefix('=') else { continue };
            let from = lower.len() - value.len();
            let value = value.trim_start();
            let refers = |item: &str| is_reference(item.trim_start().trim_start_matches(['"', '\'']));
            // Only as far into the text as is needed: a file may have a secret on every other line.
            let list = value.strip_prefix('[').filter(|_| from < last_bracket);
            if match list.and_then(|rest| rest.split_once(']')) {
                Some((items, _)) => items.split(',').all(refers),
                None => refers(value),
            } {
                continue;
            }
            let many = value.starts_with("\"\"\"") || value.starts_with("'''");
            spans.push(from..if many { lower.len() } else { line_end(from) });
        }
    }
    // Each byte once, however many spans it lies in.
    spans.sort_unstable_by_key(|span| (span.start, span.end));
    let mut done = 0;
    for span in &mut spans {
        span.start = span.start.max(done);
        done = done.max(span.end);
    }
    spans
}

fn blot(shown: &mut [u8], span: &Span) {
    for byte in shown.get_mut(span.clone()).unwrap_or_default() {
        if !byte.is_ascii_whitespace() {
            *byte = b'*';
        }
    }
}
