//! Plain aligned tables. The last column takes what is left of the line and is wrapped under itself.

use std::fmt::Write as _;

/// No column but the last is narrower than its widest cell; the last is at least this wide.
const LAST_COLUMN: usize = 24;
const GAP: usize = 2;

/// A table with a heading above each column; nothing at all if there are no rows.
#[must_use]
pub fn table<const N: usize>(headings: [&str; N], rows: &[[String; N]], width: usize) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let mut widths = headings.map(columns);
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(columns(cell));
        }
    }
    let mut out = String::new();
    line(&mut out, &headings.map(str::to_owned), &widths, width);
    for row in rows {
        line(&mut out, row, &widths, width);
    }
    out
}

/// Names and values, one pair a line.
#[must_use]
pub fn pairs(rows: &[(&str, String)]) -> String {
    let width = rows.iter().map(|(name, _)| columns(name)).max().unwrap_or(0);
    let mut out = String::new();
    for (name, value) in rows {
        let gap = " ".repeat(width - columns(name) + GAP);
        let _ = writeln!(out, "  {name}{gap}{}", super::plain(value));
    }
    out
}

fn line(out: &mut String, cells: &[String], widths: &[usize], width: usize) {
    let mut at = 0;
    for (i, cell) in cells.iter().enumerate() {
        let cell = super::plain(cell);
        if i + 1 < cells.len() {
            out.push_str(&cell);
            let pad = widths.get(i).copied().unwrap_or(0).saturating_sub(columns(&cell)) + GAP;
            out.push_str(&" ".repeat(pad));
            at += columns(&cell) + pad;
            continue;
        }
        let room = width.saturating_sub(at).max(LAST_COLUMN);
        for (n, piece) in wrap(&cell, room).iter().enumerate() {
            if n > 0 {
                out.push('\n');
                out.push_str(&" ".repeat(at));
            }
            out.push_str(piece);
        }
    }
    let end = out.trim_end_matches(' ').len();
    out.truncate(end);
    out.push('\n');
}

/// Breaks at spaces; a word that is longer than the line stays whole.
fn wrap(text: &str, room: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let last = lines.last_mut().expect("there is always a line");
        if !last.is_empty() && columns(last) + 1 + columns(word) > room {
            lines.push(word.to_owned());
        } else {
            if !last.is_empty() {
                last.push(' ');
            }
            last.push_str(word);
        }
    }
    lines
}

fn columns(text: &str) -> usize {
    text.chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row<const N: usize>(cells: [&str; N]) -> [String; N] {
        cells.map(str::to_owned)
    }

    #[test]
    fn columns_are_aligned_and_lines_end_without_spaces() {
        let text = table(["A", "LONG"], &[row(["x", "1"]), row(["yyy", ""])], 80);
        assert_eq!(text, "A    LONG\nx    1\nyyy\n");
    }

    #[test]
    fn the_last_column_is_wrapped_under_itself() {
        let text = table(["A", "WHY"], &[row(["x", "the peer did not answer ten times in a row"])], 28);
        assert_eq!(text, "A  WHY\nx  the peer did not answer\n   ten times in a row\n");
    }

    #[test]
    fn a_table_without_rows_is_nothing() {
        assert_eq!(table(["A"], &[], 80), "");
    }

    #[test]
    fn a_cell_cannot_move_the_cursor() {
        assert!(!table(["A"], &[row(["\x1b[2J\r"])], 80).contains('\x1b'));
        assert!(!pairs(&[("a", "\x1b[2J".into())]).contains('\x1b'));
    }
}
