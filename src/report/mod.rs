//! What is printed for people: plain text, aligned, as wide as the terminal. Scripts read `--json` instead.

pub mod agreement;
pub mod algs;
pub mod bench;
pub mod bench_page;
pub mod check;
pub mod event;
pub mod explain;
pub mod peer_config;
pub mod policy;
pub mod rekey;
pub mod sa;
pub mod sim;
pub mod status;
pub mod table;

/// Columns of the terminal; 120 where the output goes somewhere else.
#[must_use]
pub fn width() -> usize {
    let columns = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    columns.filter(|columns| (40..=1000).contains(columns)).unwrap_or(120)
}

/// `3 d 4 h`, `5 min 6 s`: the two largest units.
#[must_use]
pub fn duration(seconds: u64) -> String {
    let units = [("d", seconds / 86_400), ("h", seconds / 3600 % 24), ("min", seconds / 60 % 60), ("s", seconds % 60)];
    let first = units.iter().position(|(_, count)| *count > 0).unwrap_or(units.len() - 1);
    let shown: Vec<_> = units
        .iter()
        .skip(first)
        .take(2)
        .enumerate()
        .filter(|(i, (_, count))| *i == 0 || *count > 0)
        .map(|(_, (unit, count))| format!("{count} {unit}"))
        .collect();
    shown.join(" ")
}

/// `999 B`, `1.2 kB`, `3.4 GB`: decimal units.
#[must_use]
pub fn bytes(count: u64) -> String {
    let mut rest = count;
    let mut unit = "B";
    let mut tenths = 0;
    for next in ["kB", "MB", "GB", "TB", "PB"] {
        if rest < 1000 {
            break;
        }
        (tenths, rest, unit) = (rest % 1000 / 100, rest / 1000, next);
    }
    if unit == "B" { format!("{rest} B") } else { format!("{rest}.{tenths} {unit}") }
}

/// What came from a file or from another process, without characters that a terminal would obey.
#[must_use]
pub fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_show_their_two_largest_units() {
        for (seconds, text) in [
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 min"),
            (3661, "1 h 1 min"),
            (86_400, "1 d"),
            (90_061, "1 d 1 h"),
            (3605, "1 h"),
        ] {
            assert_eq!(duration(seconds), text);
        }
    }

    #[test]
    fn bytes_have_decimal_units() {
        for (count, text) in
            [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (1_250_000, "1.2 MB"), (u64::MAX, "18446.7 PB")]
        {
            assert_eq!(bytes(count), text);
        }
    }
}
