//! What `portcullis bench` has found, as tables. It reads the object that `--json` prints, so nothing is told to people that
//! is not told to scripts.

use std::fmt::Write as _;

use serde_json::{Map, Value};

use super::table::{pairs, table};

/// The whole outcome.
#[must_use]
pub fn outcome(outcome: &Value, width: usize) -> String {
    let mut out = String::new();
    for (title, key) in [("Measured on", "environment"), ("Measured how", "plan")] {
        let rows = named(&outcome[key]);
        if !rows.is_empty() {
            let rows: Vec<_> = rows.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
            let _ = write!(out, "{title}\n{}", pairs(&rows));
        }
    }
    let _ = writeln!(out, "Command\n  {}", super::plain(&text(&outcome["command"])));
    out.push_str(&people(outcome));
    let figures = outcome["figures"].as_array().map(Vec::as_slice).unwrap_or_default();
    for underlay in distinct(figures, "underlay") {
        let here: Vec<_> = figures.iter().filter(|figure| text(&figure["underlay"]) == underlay).collect();
        let title = if underlay.is_empty() { String::new() } else { format!("Underlay: {underlay}\n") };
        let _ = write!(out, "\n{title}{}", table_of(&here, width));
    }
    out.push_str(&lines("\nRemarks", &remarks(figures)));
    for peer in outcome["peers"].as_array().into_iter().flatten() {
        out.push_str(&lines(
            &format!("\nHow {} was started at gateway A", super::plain(&text(&peer["name"]))),
            &list(&peer["commands"]),
        ));
    }
    out.push_str(&lines("\nNOT MEASURED", &list(&outcome["failed"])));
    out
}

/// The peers of `compare`, found and missing.
fn people(outcome: &Value) -> String {
    let mut out = String::new();
    let all = |key: &str| outcome[key].as_array().cloned().unwrap_or_default();
    let rows: Vec<_> =
        all("peers").iter().map(|peer| ["name", "version", "cipher", "mtu"].map(|key| text(&peer[key]))).collect();
    if !rows.is_empty() {
        let _ = write!(out, "\n{}", table(["PEER", "VERSION", "CIPHER", "INNER MTU"], &rows, usize::MAX));
    }
    let rows: Vec<_> =
        all("missing").iter().map(|peer| ["name", "why", "install"].map(|key| text(&peer[key]))).collect();
    if !rows.is_empty() {
        let _ = write!(out, "\n{}", table(["NOT HERE", "WHY", "HOW TO HAVE IT"], &rows, usize::MAX));
    }
    out
}

fn table_of(figures: &[&Value], width: usize) -> String {
    let owned: Vec<Value> = figures.iter().map(|figure| (*figure).clone()).collect();
    let several = distinct(&owned, "subject").len() > 1 && figures.iter().any(|figure| is_ours(figure));
    let mut rows = Vec::new();
    for case in distinct(&owned, "case") {
        let of_case: Vec<_> = figures.iter().filter(|figure| text(&figure["case"]) == case).collect();
        let ours = of_case.iter().find(|figure| is_ours(figure)).and_then(|figure| figure["median"].as_f64());
        for figure in of_case {
            let interval = &figure["interval95"];
            let (low, high) = if interval.is_array() {
                (&interval[0], &interval[1])
            } else {
                (&figure["minimum"], &figure["maximum"])
            };
            let to_ours = match (figure["median"].as_f64(), ours) {
                (Some(median), Some(ours)) if several && ours != 0.0 => format!("{:.2}", median / ours),
                _ => String::new(),
            };
            rows.push([
                text(&figure["case"]),
                text(&figure["subject"]),
                number(&figure["median"]),
                number(low),
                number(high),
                to_ours,
                text(&figure["unit"]),
                text(&figure["layer"]),
            ]);
        }
    }
    let intervals = figures.iter().any(|figure| figure["interval95"].is_array());
    let (low, high) = if intervals { ("95 % FROM", "TO") } else { ("LOWEST", "HIGHEST") };
    if several {
        return table(["WHAT", "WHO", "MEDIAN", low, high, "TO OURS", "UNIT", "OF WHAT"], &rows, width);
    }
    let rows: Vec<_> = rows
        .into_iter()
        .map(|[what, who, middle, low, high, _, unit, of]| [what, who, middle, low, high, unit, of])
        .collect();
    table(["WHAT", "WHO", "MEDIAN", low, high, "UNIT", "OF WHAT"], &rows, width)
}

pub(super) fn is_ours(figure: &Value) -> bool {
    figure["subject"] == "portcullis"
}

/// What figures have to say; what more than three of them say, once.
pub(super) fn remarks(figures: &[Value]) -> Vec<String> {
    let mut all: Vec<(String, Vec<String>)> = Vec::new();
    for figure in figures {
        for note in list(&figure["notes"]) {
            let underlay = text(&figure["underlay"]);
            let place = if underlay.is_empty() { String::new() } else { format!(", {underlay}") };
            let who = format!("{}, {}{place}", text(&figure["case"]), text(&figure["subject"]));
            match all.iter_mut().find(|(said, _)| *said == note) {
                Some((_, by)) => by.push(who),
                None => all.push((note, vec![who])),
            }
        }
    }
    let told = |(note, by): (String, Vec<String>)| match by.len() {
        0..=3 => by.into_iter().map(|who| format!("{who}: {note}")).collect(),
        many => vec![format!("{many} of {} figures, {} and so on: {note}", figures.len(), by[0])],
    };
    all.into_iter().flat_map(told).collect::<Vec<String>>()
}

fn lines(title: &str, lines: &[String]) -> String {
    if lines.is_empty() {
        return String::new();
    }
    lines.iter().fold(format!("{title}\n"), |out, line| out + "  " + &super::plain(line) + "\n")
}

pub(super) fn list(value: &Value) -> Vec<String> {
    value.as_array().map(|all| all.iter().map(text).collect()).unwrap_or_default()
}

/// The values of `key`, each once, in the order in which they come.
pub(super) fn distinct(figures: &[Value], key: &str) -> Vec<String> {
    let mut seen = Vec::new();
    for figure in figures {
        let value = text(&figure[key]);
        if !seen.contains(&value) {
            seen.push(value);
        }
    }
    seen
}

/// What belongs to one object, nested ones in a line.
pub(super) fn named(value: &Value) -> Vec<(String, String)> {
    let none = Map::new();
    value
        .as_object()
        .unwrap_or(&none)
        .iter()
        .map(|(name, value)| (super::plain(&name.replace('_', " ")), text(value)))
        .collect()
}

pub(super) fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(all) => all.iter().map(text).collect::<Vec<_>>().join(" "),
        Value::Object(all) => {
            all.iter().map(|(key, value)| format!("{key}: {}", text(value))).collect::<Vec<_>>().join("; ")
        }
        Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}

/// Four digits that count, and thousands apart.
pub(super) fn number(value: &Value) -> String {
    let Some(value) = value.as_f64() else { return "-".to_owned() };
    let decimals = match value.abs() {
        size if size >= 1000.0 => 0,
        size if size >= 100.0 => 1,
        size if size >= 1.0 => 2,
        _ => 3,
    };
    let plain = format!("{value:.decimals$}");
    let (whole, rest) = plain.split_once('.').map_or((plain.as_str(), ""), |(whole, rest)| (whole, rest));
    let (sign, digits) = whole.strip_prefix('-').map_or(("", whole), |digits| ("-", digits));
    let mut grouped = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    if rest.is_empty() { format!("{sign}{grouped}") } else { format!("{sign}{grouped}.{rest}") }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn figure(subject: &str, underlay: &str, median: f64) -> Value {
        json!({
            "subject": subject, "underlay": underlay, "case": "tcp-1-forward", "layer": "TCP payload", "unit": "Mbit/s",
            "median": median, "minimum": median - 1.0, "maximum": median + 1.0, "samples": [median], "notes": ["so it is"],
        })
    }

    #[test]
    fn numbers_are_short_and_grouped() {
        for (value, shown) in [
            (1_234_567.8, "1,234,568"),
            (1000.0, "1,000"),
            (123.45, "123.5"),
            (12.345, "12.35"),
            (0.01234, "0.012"),
            (-4321.0, "-4,321"),
        ] {
            assert_eq!(number(&json!(value)), shown);
        }
        assert_eq!(number(&Value::Null), "-");
    }

    #[test]
    fn subjects_of_a_case_stand_together_with_their_ratio_to_ours() {
        let shown = outcome(
            &json!({"command": "portcullis bench compare", "figures": [
                figure("none", "plain", 10_000.0), figure("portcullis", "plain", 5000.0), figure("none", "card", 4000.0)
            ]}),
            120,
        );
        let rows: Vec<&str> = shown.lines().filter(|line| line.starts_with("tcp-1")).collect();
        assert!(rows[0].contains("none") && rows[0].contains("10,000") && rows[0].contains("2.00"), "{shown}");
        assert!(rows[1].contains("portcullis") && rows[1].contains("1.00"), "{shown}");
        assert!(shown.find("Underlay: plain").unwrap() < shown.find("Underlay: card").unwrap());
        assert!(shown.contains("tcp-1-forward, none, card: so it is"));
        assert!(!shown.contains("NOT MEASURED"));
    }

    #[test]
    fn what_many_figures_say_is_said_once() {
        let figures: Vec<Value> = ["a", "b", "c", "d"].map(|subject| figure(subject, "plain", 1.0)).into();
        let shown = outcome(&json!({"figures": figures}), 120);
        assert!(shown.contains("4 of 4 figures, tcp-1-forward, a, plain and so on: so it is"), "{shown}");
        assert_eq!(shown.matches("so it is").count(), 1);
    }

    #[test]
    fn what_is_missing_is_shown_with_how_to_have_it() {
        let shown = outcome(
            &json!({"missing": [{"name": "wireguard-go", "why": "not installed", "install": "apt-get install wireguard-go"}],
                "failed": ["udp-64: the tunnel went down"]}),
            120,
        );
        assert!(shown.contains("wireguard-go  not installed  apt-get install wireguard-go"), "{shown}");
        assert!(shown.contains("NOT MEASURED\n  udp-64: the tunnel went down"), "{shown}");
    }

    #[test]
    fn a_foreign_word_cannot_move_the_cursor() {
        let shown = outcome(&json!({"command": "\x1b[2J", "failed": ["\x1b[2J"], "plan": {"a\x1b": "\r"}}), 80);
        assert!(!shown.contains('\x1b') && !shown.contains('\r'));
    }
}
