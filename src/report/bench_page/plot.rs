//! Plots as SVG: bars with all their samples, and lines. They take their colours and fonts from the page around them.

use std::fmt::Write as _;

use super::super::bench::number;
use super::escaped;

/// Width of a plot, in units of which the page shows about one a pixel.
const WIDTH: f64 = 960.0;
/// Where the values are written.
const VALUES: f64 = 190.0;
const BAR: f64 = 15.0;
const ROW: f64 = 22.0;
const HEADING: f64 = 26.0;
const AXIS: f64 = 34.0;
/// More samples than these are a cloud: then the ends of the interval are enough.
const DOTS: usize = 25;
/// No axis is shorter: samples have four digits behind the point.
const LEAST: f64 = 1e-6;
/// Ticks of an axis, about.
const TICKS: f64 = 5.0;

/// One bar: a median, the ends of what it stands for, and every sample.
#[derive(Clone, Debug, Default)]
pub(super) struct Bar {
    /// Written in front of it.
    pub(super) label: String,
    /// Bars of one group stand together under this; empty: none has a heading.
    pub(super) group: String,
    pub(super) low: f64,
    pub(super) middle: f64,
    pub(super) high: f64,
    pub(super) samples: Vec<f64>,
    /// It is what the page is about.
    pub(super) ours: bool,
    /// Shown by who points at it.
    pub(super) more: String,
}

/// Horizontal bars from zero on, with an axis in `unit`.
pub(super) fn bars(unit: &str, bars: &[Bar]) -> String {
    let longest = bars.iter().map(|bar| bar.label.chars().count()).max().unwrap_or(0);
    let left = 7.0_f64.mul_add(longest as f64, 20.0).min(WIDTH / 2.0);
    let right = WIDTH - VALUES;
    let ends = bars.iter().flat_map(|bar| [bar.low, bar.middle, bar.high]);
    let (least, most) = ends.fold((0.0_f64, 0.0_f64), |(least, most), value| (least.min(value), most.max(value)));
    let scale = Scale::new((least, most), (left, right));
    let mut out = String::new();
    let mut y = 4.0;
    let mut group = "";
    for bar in bars {
        if bar.group != group {
            group = &bar.group;
            let _ = write!(out, r#"<text class="group" x="0" y="{:.0}">{}</text>"#, y + 17.0, escaped(group));
            y += HEADING;
        }
        one(&mut out, &scale, bar, y, left, right);
        y += ROW;
    }
    let (foot, mut axis) = (y + 2.0, String::new());
    for tick in scale.ticks() {
        let x = scale.at(tick);
        let _ = write!(axis, r#"<path class="grid" d="M{x:.1} 0V{foot:.0}"/>"#);
        let _ = write!(axis, r#"<text class="tick" x="{x:.1}" y="{:.0}">{}</text>"#, foot + 14.0, short(tick));
    }
    let _ = write!(axis, r#"<text class="unit" x="{right:.0}" y="{:.0}">{}</text>"#, foot + 28.0, escaped(unit));
    framed(foot + AXIS, &(axis + &out))
}

fn one(out: &mut String, scale: &Scale, bar: &Bar, y: f64, left: f64, right: f64) {
    let class = if bar.ours { "bar ours" } else { "bar" };
    let (zero, end, middle) = (scale.at(0.0), scale.at(bar.middle), y + BAR / 2.0 + 1.0);
    let _ = write!(out, r#"<g class="{class}"><title>{}</title>"#, escaped(&bar.more));
    let _ = write!(
        out,
        r#"<text class="label" x="{:.0}" y="{:.1}">{}</text>"#,
        left - 8.0,
        middle + 4.0,
        escaped(&bar.label)
    );
    let _ = write!(
        out,
        r#"<rect x="{:.1}" y="{y:.1}" width="{:.1}" height="{BAR}"/>"#,
        zero.min(end),
        (end - zero).abs().max(1.0)
    );
    let (low, high) = (scale.at(bar.low), scale.at(bar.high));
    if high - low >= 1.0 {
        let _ = write!(
            out,
            r#"<path class="span" d="M{low:.1} {middle:.1}H{high:.1}M{low:.1} {:.1}v8M{high:.1} {:.1}v8"/>"#,
            middle - 4.0,
            middle - 4.0
        );
    }
    if (2..=DOTS).contains(&bar.samples.len()) {
        for sample in &bar.samples {
            let _ = write!(out, r#"<circle cx="{:.1}" cy="{middle:.1}" r="2"/>"#, scale.at(*sample));
        }
    }
    let shown = |value: f64| number(&value.into());
    let ends = if bar.samples.len() > 1 {
        format!(r#" <tspan class="ends" dx="6">{} – {}</tspan>"#, shown(bar.low), shown(bar.high))
    } else {
        String::new()
    };
    let _ = write!(
        out,
        r#"<text class="value" x="{:.0}" y="{:.1}">{}{ends}</text></g>"#,
        right + 10.0,
        middle + 4.0,
        shown(bar.middle)
    );
}

/// A line: its name, and its points from left to right.
#[derive(Clone, Debug, Default)]
pub(super) struct Line {
    pub(super) name: String,
    pub(super) points: Vec<(f64, f64)>,
}

/// Colours of lines, told apart by eyes of any kind and on paper.
const COLOURS: [&str; 8] = ["#0b5cad", "#d1600a", "#2a8a5f", "#a3348e", "#7a5c00", "#c22f3d", "#5a6b7b", "#111111"];

/// Lines over a common axis.
pub(super) fn lines(across: &str, upwards: &str, lines: &[Line]) -> String {
    let (left, right, top, foot) = (60.0, WIDTH - VALUES, 24.0, 300.0);
    let all = || lines.iter().flat_map(|line| line.points.iter());
    let span = |values: &mut dyn Iterator<Item = f64>| {
        values.fold((0.0_f64, 0.0_f64), |(least, most), value| (least.min(value), most.max(value)))
    };
    let horizontal = Scale::new(span(&mut all().map(|point| point.0)), (left, right));
    let vertical = Scale::new(span(&mut all().map(|point| point.1)), (foot, top));
    let mut out = String::new();
    for tick in vertical.ticks() {
        let y = vertical.at(tick);
        let _ = write!(out, r#"<path class="grid" d="M{left} {y:.1}H{right}"/>"#);
        let _ = write!(out, r#"<text class="label" x="{:.0}" y="{:.1}">{}</text>"#, left - 8.0, y + 4.0, short(tick));
    }
    for tick in horizontal.ticks() {
        let x = horizontal.at(tick);
        let _ = write!(out, r#"<text class="tick" x="{x:.1}" y="{:.0}">{}</text>"#, foot + 16.0, short(tick));
    }
    let _ = write!(out, r#"<text class="unit" x="{right:.0}" y="{:.0}">{}</text>"#, foot + 31.0, escaped(across));
    let _ = write!(out, r#"<text x="0" y="12">{}</text>"#, escaped(upwards));
    for (at, line) in lines.iter().enumerate() {
        let colour = COLOURS[at % COLOURS.len()];
        let points = line.points.iter().map(|(x, y)| (horizontal.at(*x), vertical.at(*y)));
        let path: Vec<String> = points.clone().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let _ = write!(out, r#"<polyline class="line" stroke="{colour}" points="{}"/>"#, path.join(" "));
        for (x, y) in points {
            let _ = write!(out, r#"<circle cx="{x:.1}" cy="{y:.1}" r="3" style="fill:{colour}"/>"#);
        }
        let y = 20.0_f64.mul_add(at as f64, top + 6.0);
        let _ =
            write!(out, r#"<rect x="{:.0}" y="{:.0}" width="14" height="4" fill="{colour}"/>"#, right + 16.0, y - 6.0);
        let _ = write!(out, r#"<text x="{:.0}" y="{y:.0}">{}</text>"#, right + 36.0, escaped(&line.name));
    }
    framed(foot + 40.0, &out)
}

fn framed(height: f64, inside: &str) -> String {
    format!(r#"<svg viewBox="0 0 {WIDTH} {height:.0}" role="img">{inside}</svg>"#)
}

/// From values to places.
struct Scale {
    least: f64,
    most: f64,
    step: f64,
    from: f64,
    to: f64,
}

impl Scale {
    /// Takes `least` to `most`, widened to whole steps, over `from` to `to`.
    fn new((least, most): (f64, f64), (from, to): (f64, f64)) -> Self {
        let step = step((most - least).max(LEAST) / TICKS);
        let (least, most) = ((least / step).floor() * step, (most / step).ceil() * step);
        Self { least, most, step, from, to }
    }

    fn at(&self, value: f64) -> f64 {
        let share = (value - self.least) / (self.most - self.least).max(LEAST);
        share.mul_add(self.to - self.from, self.from)
    }

    fn ticks(&self) -> impl Iterator<Item = f64> {
        let count = ((self.most - self.least) / self.step).round().min(4.0 * TICKS);
        (0_u32..).map(f64::from).take_while(move |at| *at <= count).map(|at| at.mul_add(self.step, self.least))
    }
}

/// 1, 2 or 5 times a power of ten, at least as much as this.
fn step(least: f64) -> f64 {
    let power = 10.0_f64.powf(least.log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|times| times * power);
    // What rounding took is no reason for a longer step.
    steps.into_iter().find(|step| *step >= least * 0.999_999).unwrap_or(10.0 * power)
}

/// A tick's number, without digits that do not count.
fn short(value: f64) -> String {
    let shown = number(&((value * 1e6).round() / 1e6).into());
    if shown.contains('.') { shown.trim_end_matches('0').trim_end_matches('.').to_owned() } else { shown }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_round_and_reach_as_far_as_the_values() {
        for (least, expected) in [(0.9, 1.0), (1.0, 1.0), (1.1, 2.0), (30.0, 50.0), (70.0, 100.0), (0.03, 0.05)] {
            assert!((step(least) - expected).abs() < 1e-9, "{least}: {}", step(least));
        }
        let scale = Scale::new((0.0, 3002.0), (100.0, 500.0));
        let ticks: Vec<f64> = scale.ticks().collect();
        assert_eq!(ticks, [0.0, 1000.0, 2000.0, 3000.0, 4000.0]);
        assert!((scale.at(0.0) - 100.0).abs() < 1e-9 && (scale.at(4000.0) - 500.0).abs() < 1e-9);
        // A difference may be less than nothing, and everything may be nothing.
        assert!(Scale::new((-3.0, 10.0), (0.0, 100.0)).at(0.0) > 0.0);
        assert!(Scale::new((0.0, 0.0), (0.0, 100.0)).ticks().count() < 100);
        assert_eq!(
            (short(0.5), short(1500.0), short(0.0), short(2.0)),
            ("0.5".into(), "1,500".into(), "0".into(), "2".into())
        );
    }

    #[test]
    fn every_sample_of_a_bar_is_there_and_its_ends_and_numbers() {
        let bar = Bar {
            label: "por<tcullis".into(),
            low: 2000.0,
            middle: 3002.0,
            high: 3100.0,
            samples: vec![2000.0, 3002.0, 3100.0],
            ours: true,
            ..Bar::default()
        };
        let shown = bars("Mbit/s", std::slice::from_ref(&bar));
        assert_eq!(shown.matches("<circle").count(), 3);
        for part in ["por&lt;tcullis", "3,002", "2,000 – 3,100", "bar ours", "Mbit/s", "<path class=\"span\""] {
            assert!(shown.contains(part), "{part}: {shown}");
        }
        assert!(!shown.contains("NaN") && !shown.contains("inf"));
        let cloud = bars("ns", &[Bar { samples: vec![1.0; 100], ..bar }]);
        assert_eq!(cloud.matches("<circle").count(), 0);
    }

    #[test]
    fn lines_have_a_point_for_each_value_and_a_name() {
        let line = |name: &str| Line { name: name.into(), points: vec![(10.0, 0.0), (50.0, 0.0), (100.0, 40.0)] };
        let shown = lines("% of the highest rate", "% lost", &[line("64"), line("1518")]);
        assert_eq!((shown.matches("<polyline").count(), shown.matches("<circle").count()), (2, 6));
        assert!(shown.contains(">1518</text>") && !shown.contains("NaN"));
        assert!(!lines("", "", &[]).contains("NaN"));
    }
}
