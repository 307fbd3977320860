//! What `portcullis bench` has found, as a page for a report: plots, every figure, and on what, how and by which command it was
//! measured. One file that needs nothing else, read from the object that `--json` prints.

mod plot;

use std::fmt::Write as _;

use serde_json::Value;

use self::plot::{Bar, Line};
use super::bench::{distinct, is_ours, list, named, number, remarks, text};

/// How the page looks, on a screen and on paper.
const STYLE: &str = include_str!("page.css");

/// The whole page.
#[must_use]
pub fn page(outcome: &Value) -> String {
    let figures = outcome["figures"].as_array().map(Vec::as_slice).unwrap_or_default();
    let environment = &outcome["environment"];
    let bench = text(&outcome["bench"]);
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width\">\n\
         <title>portcullis bench {0}</title>\n<style>\n{STYLE}</style>\n<main>\n<h1>portcullis bench {0}</h1>\n",
        escaped(&bench)
    );
    let facts: Vec<String> = [
        text(&environment["cpu"]),
        format!("{} processors", text(&environment["cores"])),
        format!("Linux {}", text(&environment["kernel"])),
        format!("portcullis {}, {}", text(&environment["version"]), text(&environment["build"])),
        text(&environment["time"]),
    ]
    .into_iter()
    .filter(|fact| !fact.is_empty())
    .collect();
    let _ = writeln!(out, "<p class=\"facts\">{}</p>", escaped(&facts.join(" · ")));
    let _ = writeln!(out, "<pre class=\"command\">{}</pre>", escaped(&text(&outcome["command"])));
    let failed = list(&outcome["failed"]);
    bullets(&mut out, "Not measured", "failed", &failed);
    people(&mut out, outcome);
    for underlay in distinct(figures, "underlay") {
        let here: Vec<&Value> = figures.iter().filter(|figure| text(&figure["underlay"]) == underlay).collect();
        if !underlay.is_empty() {
            let _ = writeln!(out, "<h2>Underlay: {}</h2>", escaped(&underlay));
        }
        plots(&mut out, &here);
    }
    bullets(&mut out, "Remarks", "remarks", &remarks(figures));
    out.push_str("<h2>Every figure</h2>\n");
    table_of(&mut out, figures);
    for (title, key) in
        [("Measured how", "plan"), ("Measured on", "environment"), ("The other machine", "peer_environment")]
    {
        facts_of(&mut out, title, &outcome[key]);
    }
    for peer in outcome["peers"].as_array().into_iter().flatten() {
        let commands = list(&peer["commands"]).join("\n");
        if !commands.is_empty() {
            let name = escaped(&text(&peer["name"]));
            let _ = writeln!(
                out,
                "<details><summary>How {name} was started at gateway A</summary><pre class=\"command\">{}</pre></details>",
                escaped(&commands)
            );
        }
    }
    for (wire, offloads) in outcome["offloads"].as_object().into_iter().flatten() {
        let _ = writeln!(
            out,
            "<details><summary>Offloads of the wire {} (<code>ethtool -k</code>)</summary><p class=\"offloads\">{}</p></details>",
            escaped(wire),
            escaped(&text(offloads))
        );
    }
    out.push_str("</main>\n</html>\n");
    out
}

/// Text as it may stand in a page, wherever it came from.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in super::plain(text).chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

/// What belongs into one plot: the beginning of a case's name, or its end, and what the plot is called.
const FAMILIES: [(&str, &str, &str); 22] = [
    ("tcp-", "", "TCP"),
    ("cpu-gateways-", "", "Processor time of both gateways"),
    ("cpu-machine-", "", "Processor time of the whole machine, hosts included"),
    ("udp-", "-payload", "UDP, payload at the highest rate with at most 0.1 % loss"),
    ("udp-", "-flood", "UDP, delivered while the generator sends as fast as it can"),
    ("udp-", "", "UDP, highest rate with at most 0.1 % loss"),
    ("latency-idle", "", "Round trips, idle"),
    ("latency-loaded", "", "Round trips beside a TCP stream"),
    ("latency-", "", "Latency at the zero-loss rate"),
    ("handshakes", "", "Handshakes"),
    ("rekey", "", "New keys under load"),
    ("throughput-0.1-", "", "Throughput with at most 0.1 % loss"),
    ("throughput-", "", "Throughput without loss"),
    ("back-to-back-", "", "Longest burst without loss"),
    ("seal-", "", "Sealing"),
    ("open-", "", "Opening"),
    ("threads-", "", "Several threads at once"),
    ("outbound-judgement", "", "What policy and connection tracking cost"),
    ("inbound-judgement", "", "What policy and connection tracking cost"),
    ("outbound-1000", "", "What 999 further rules cost"),
    ("inbound-1000", "", "What 999 further rules cost"),
    ("", "", "The packet path"),
];

fn family(case: &str) -> &'static str {
    let of = |(begin, end, _): &&(&str, &str, &str)| case.starts_with(begin) && case.ends_with(end);
    FAMILIES.iter().find(of).map_or("", |(.., title)| title)
}

/// Plots of the figures of one underlay: one for each family and unit, and the curve of losses.
fn plots(out: &mut String, figures: &[&Value]) {
    let mut drawn: Vec<(&str, String)> = Vec::new();
    for figure in figures {
        let key = (family(&text(&figure["case"])), text(&figure["unit"]));
        if loss(figure).is_none() && !drawn.contains(&key) {
            drawn.push(key);
        }
    }
    for (title, unit) in drawn {
        let here: Vec<&Value> = figures
            .iter()
            .copied()
            .filter(|figure| family(&text(&figure["case"])) == title && text(&figure["unit"]) == unit)
            .filter(|figure| loss(figure).is_none())
            .collect();
        let owned: Vec<Value> = here.iter().map(|figure| (*figure).clone()).collect();
        let alone = distinct(&owned, "subject").len() == 1;
        let mut bars = Vec::new();
        // All of a case stand together, whenever they were measured.
        for case in distinct(&owned, "case") {
            bars.extend(here.iter().filter(|figure| text(&figure["case"]) == case).map(|figure| bar(figure, alone)));
        }
        let layers = distinct(&owned, "layer").join("; ");
        let _ = writeln!(
            out,
            "<figure><figcaption>{}<span>{}</span></figcaption>{}</figure>",
            escaped(title),
            escaped(&layers),
            plot::bars(&format!("{unit}{}", better(&unit)), &bars)
        );
    }
    curve(out, figures);
}

/// Which bars one would like to be long.
fn better(unit: &str) -> &'static str {
    match unit {
        "Mbit/s"
        | "datagrams/s"
        | "delivered/s"
        | "handshakes/s"
        | "frames/s"
        | "frames"
        | "packets a second in sum" => ", more is better",
        _ => ", less is better",
    }
}

fn bar(figure: &Value, alone: bool) -> Bar {
    let value = |key: &str| figure[key].as_f64().unwrap_or(0.0);
    let interval = figure["interval95"].as_array().filter(|ends| ends.len() == 2);
    let end = |at: usize, key: &str| interval.and_then(|ends| ends[at].as_f64()).unwrap_or_else(|| value(key));
    let case = text(&figure["case"]);
    let subject = if figure["subject"] == "none" { "no tunnel".to_owned() } else { text(&figure["subject"]) };
    Bar {
        more: format!("{case}, {subject}: {}", text(&figure["layer"])),
        label: if alone { case.clone() } else { subject },
        group: if alone { String::new() } else { case },
        low: end(0, "minimum"),
        middle: value("median"),
        high: end(1, "maximum"),
        samples: figure["samples"].as_array().into_iter().flatten().filter_map(Value::as_f64).collect(),
        ours: !alone && is_ours(figure),
    }
}

/// Which subject and frames a figure of the curve of losses is about, and at how much of the highest rate.
fn loss(figure: &Value) -> Option<(String, f64)> {
    let case = text(&figure["case"]);
    let (frame, percent) = case.strip_prefix("loss-")?.split_once("-at-")?;
    Some((format!("{}, {frame} bytes", text(&figure["subject"])), percent.parse().ok()?))
}

fn curve(out: &mut String, figures: &[&Value]) {
    let mut lines: Vec<Line> = Vec::new();
    for figure in figures {
        let (Some((name, percent)), Some(lost)) = (loss(figure), figure["median"].as_f64()) else { continue };
        match lines.iter_mut().find(|line| line.name == name) {
            Some(line) => line.points.push((percent, lost)),
            None => lines.push(Line { name, points: vec![(percent, lost)] }),
        }
    }
    if lines.is_empty() {
        return;
    }
    for line in &mut lines {
        line.points.sort_by(|one, other| one.0.total_cmp(&other.0));
    }
    let plot = plot::lines("offered, % of the generator's highest rate", "% lost", &lines);
    let _ = writeln!(out, "<figure><figcaption>Frame loss</figcaption>{plot}</figure>");
}

/// Who was measured, and who is not here.
fn people(out: &mut String, outcome: &Value) {
    for (key, title, columns) in [
        (
            "peers",
            "Who was measured",
            &[("name", "Name"), ("version", "Version"), ("cipher", "Cipher"), ("mtu", "Inner MTU")][..],
        ),
        ("missing", "Not here", &[("name", "Name"), ("why", "Why"), ("install", "How to have it")]),
    ] {
        let all = outcome[key].as_array().map(Vec::as_slice).unwrap_or_default();
        if all.is_empty() {
            continue;
        }
        let _ = writeln!(out, "<h2>{title}</h2>");
        let heads: Vec<&str> = columns.iter().map(|(_, head)| *head).collect();
        let rows = all.iter().map(|one| columns.iter().map(|(key, _)| text(&one[*key])).collect());
        rows_of(out, &heads, &[], rows);
    }
}

/// Every figure in numbers.
fn table_of(out: &mut String, figures: &[Value]) {
    let several = distinct(figures, "underlay").len() > 1;
    let mut heads = vec!["What", "Who", "Median", "Lowest", "Highest", "Samples", "Unit", "Of what"];
    if several {
        heads.insert(0, "Underlay");
    }
    let right = if several { [3, 4, 5, 6] } else { [2, 3, 4, 5] };
    let rows = figures.iter().map(|figure| {
        let samples = figure["samples"].as_array().map_or(0, Vec::len);
        let mut row = vec![
            text(&figure["case"]),
            text(&figure["subject"]),
            number(&figure["median"]),
            number(&figure["minimum"]),
            number(&figure["maximum"]),
            samples.to_string(),
            text(&figure["unit"]),
            text(&figure["layer"]),
        ];
        if several {
            row.insert(0, text(&figure["underlay"]));
        }
        row
    });
    rows_of(out, &heads, &right, rows);
}

/// A table whose columns `right` are numbers.
fn rows_of(out: &mut String, heads: &[&str], right: &[usize], rows: impl Iterator<Item = Vec<String>>) {
    let class = |at: usize| if right.contains(&at) { " class=\"number\"" } else { "" };
    out.push_str("<table><thead><tr>");
    for (at, head) in heads.iter().enumerate() {
        let _ = write!(out, "<th{}>{head}</th>", class(at));
    }
    out.push_str("</tr></thead><tbody>\n");
    for row in rows {
        out.push_str("<tr>");
        for (at, cell) in row.iter().enumerate() {
            let _ = write!(out, "<td{}>{}</td>", class(at), escaped(cell));
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</tbody></table>\n");
}

fn facts_of(out: &mut String, title: &str, facts: &Value) {
    let facts = named(facts);
    if facts.is_empty() {
        return;
    }
    let _ = writeln!(out, "<h2>{title}</h2>\n<dl>");
    for (name, value) in facts {
        let _ = writeln!(out, "<dt>{}</dt><dd>{}</dd>", escaped(&name), escaped(&value));
    }
    out.push_str("</dl>\n");
}

fn bullets(out: &mut String, title: &str, class: &str, lines: &[String]) {
    if lines.is_empty() {
        return;
    }
    let _ = writeln!(out, "<section class=\"{class}\"><h2>{title}</h2><ul>");
    for line in lines {
        let _ = writeln!(out, "<li>{}</li>", escaped(line));
    }
    out.push_str("</ul></section>\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn figure(subject: &str, case: &str, unit: &str, samples: &[f64]) -> Value {
        json!({
            "subject": subject, "underlay": "card", "case": case, "layer": "TCP payload", "unit": unit,
            "median": samples[0], "minimum": samples[0] - 1.0, "maximum": samples[0] + 1.0, "samples": samples, "notes": ["so it is"],
        })
    }

    #[test]
    fn a_page_has_a_plot_for_each_kind_of_figure_and_every_number() {
        let shown = page(&json!({
            "bench": "compare", "command": "portcullis bench compare --html <a>",
            "environment": {"cpu": "Example 9000", "cores": 2, "kernel": "6.1", "mitigations": {"spectre": "on"}},
            "plan": {"seconds": 3.0}, "failed": ["openvpn: nothing passes"],
            "peers": [{"name": "portcullis", "version": "1", "cipher": "AES", "mtu": 1438}],
            "missing": [{"name": "boringtun", "why": "not installed", "install": "cargo install boringtun-cli"}],
            "offloads": {"card": {"rx-gro": true}},
            "figures": [
                figure("none", "tcp-1-forward", "Mbit/s", &[6616.0, 6600.0]), figure("portcullis", "tcp-1-forward", "Mbit/s", &[3002.0, 2098.0]),
                figure("none", "latency-idle-p50", "µs", &[73.0]), figure("portcullis", "latency-idle-p50", "µs", &[471.0]),
                figure("portcullis", "loss-64-at-100", "% lost", &[50.0]), figure("portcullis", "loss-64-at-90", "% lost", &[40.0]),
            ],
        }));
        assert_eq!(shown.matches("<svg").count(), 3, "{shown}");
        for part in [
            "Underlay: card",
            "<figcaption>TCP<span>TCP payload</span>",
            "Round trips, idle",
            "Mbit/s, more is better",
            "µs, less is better",
            "no tunnel",
            "Frame loss",
            "3,002",
            "--html &lt;a&gt;",
            "openvpn: nothing passes",
            "cargo install boringtun-cli",
            "Example 9000",
            "spectre: on",
            "rx-gro: true",
            "so it is",
        ] {
            assert!(shown.contains(part), "{part}: {shown}");
        }
        // Nothing is fetched from anywhere.
        for part in ["http:", "https:", "src=", "@import", "url("] {
            assert!(!shown.contains(part), "{part}");
        }
    }

    #[test]
    fn what_comes_from_elsewhere_cannot_change_the_page() {
        let shown = page(&json!({"command": "</pre><script>", "figures": [figure("<b>", "\"'&", "<i>", &[1.0])]}));
        assert!(!shown.contains("<script") && !shown.contains("<b>") && !shown.contains("<i>"), "{shown}");
        assert!(shown.contains("&quot;&#39;&amp;"), "{shown}");
    }

    #[test]
    fn every_case_has_a_family() {
        for (case, title) in [
            ("tcp-8-both-there", "TCP"),
            ("udp-imix-payload", "UDP, payload at the highest rate with at most 0.1 % loss"),
            ("udp-64-flood", "UDP, delivered while the generator sends as fast as it can"),
            ("udp-64", "UDP, highest rate with at most 0.1 % loss"),
            ("latency-64", "Latency at the zero-loss rate"),
            ("throughput-0.1-64", "Throughput with at most 0.1 % loss"),
            ("outbound-train-null", "The packet path"),
        ] {
            assert_eq!(family(case), title);
        }
    }
}
