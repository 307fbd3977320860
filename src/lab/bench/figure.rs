//! One measured figure: what was measured, at which layer, in which unit, and every sample of it.

use serde_json::{Map, Value, json};

use super::stats;

/// Samples of one quantity.
#[derive(Clone, Debug, PartialEq)]
pub struct Figure {
    /// Who was measured: `portcullis`, `none` for no tunnel at all, a peer's name, an algorithm.
    pub subject: String,
    /// On which underlay; empty where there is none.
    pub underlay: String,
    /// What was measured: a stable name such as `tcp-1-forward`.
    pub case: String,
    /// Which bytes or packets are counted: the layer and the size.
    pub layer: String,
    /// In what.
    pub unit: &'static str,
    /// One for each round or repetition, as they were taken.
    pub samples: Vec<f64>,
    /// Whether an interval for the median belongs to it (many samples under one condition).
    pub interval: bool,
    /// What a reader has to know about it.
    pub notes: Vec<String>,
}

impl Figure {
    /// A figure without samples.
    #[must_use]
    pub fn new(subject: &str, underlay: &str, case: &str, layer: impl Into<String>, unit: &'static str) -> Self {
        Self {
            subject: subject.to_owned(),
            underlay: underlay.to_owned(),
            case: case.to_owned(),
            layer: layer.into(),
            unit,
            samples: Vec::new(),
            interval: false,
            notes: Vec::new(),
        }
    }

    /// The same with these samples of one condition.
    #[must_use]
    pub fn of(mut self, samples: Vec<f64>) -> Self {
        self.samples = samples;
        self.interval = true;
        self
    }

    /// Adds a remark, once.
    pub fn note(&mut self, note: impl Into<String>) {
        let note = note.into();
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    /// As `--json` shows it.
    #[must_use]
    pub fn json(&self) -> Value {
        let sorted = stats::sorted(&self.samples);
        let mut shown = Map::new();
        let mut put = |key: &str, value: Value| drop(shown.insert(key.to_owned(), value));
        put("subject", json!(self.subject));
        if !self.underlay.is_empty() {
            put("underlay", json!(self.underlay));
        }
        put("case", json!(self.case));
        put("layer", json!(self.layer));
        put("unit", json!(self.unit));
        put("median", json!(stats::median(&self.samples).map(rounded)));
        put("minimum", json!(sorted.first().copied().map(rounded)));
        put("maximum", json!(sorted.last().copied().map(rounded)));
        if self.interval {
            let interval = stats::interval_of_median(&self.samples);
            put("interval95", json!(interval.map(|ends| ends.map(rounded))));
        }
        put("samples", self.samples.iter().copied().map(rounded).collect());
        put("notes", json!(self.notes));
        Value::Object(shown)
    }
}

/// Figures of several rounds: a sample joins those of the same subject, underlay and case.
#[derive(Clone, Debug, Default)]
pub struct Figures(pub Vec<Figure>);

impl Figures {
    /// Adds the samples and notes of `figure`.
    pub fn add(&mut self, figure: Figure) {
        let same = |old: &&mut Figure| {
            (&old.subject, &old.underlay, &old.case) == (&figure.subject, &figure.underlay, &figure.case)
        };
        let Some(old) = self.0.iter_mut().find(same) else { return self.0.push(figure) };
        old.samples.extend(&figure.samples);
        for note in figure.notes {
            old.note(note);
        }
    }

    /// As `--json` shows them.
    #[must_use]
    pub fn json(&self) -> Value {
        self.0.iter().map(Figure::json).collect()
    }
}

/// Four digits after the point are more than any of these measurements has.
fn rounded(value: f64) -> f64 {
    (value * 10_000.0).round() / 10_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_shows_its_middle_its_ends_and_every_sample() {
        let mut figure = Figure::new("portcullis", "plain", "tcp-1-forward", "TCP payload", "Mbit/s");
        figure.samples = vec![3.0, 1.0, 2.5];
        figure.note("once");
        figure.note("once");
        let shown = figure.json();
        assert_eq!(shown["median"], 2.5);
        assert_eq!((&shown["minimum"], &shown["maximum"]), (&json!(1.0), &json!(3.0)));
        assert_eq!(shown["samples"], json!([3.0, 1.0, 2.5]), "in the order in which they were taken");
        assert_eq!(shown["notes"], json!(["once"]));
        assert!(shown.get("interval95").is_none(), "rounds under different conditions have no interval");
        let many = Figure::new("ring", "", "seal", "", "ns").of(vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]).json();
        assert_eq!(many["interval95"], json!([1.0, 6.0]));
        assert!(many.get("underlay").is_none());
    }

    #[test]
    fn a_figure_without_samples_has_no_median() {
        assert_eq!(Figure::new("a", "", "b", "", "ns").json()["median"], Value::Null);
    }

    #[test]
    fn samples_of_later_rounds_join_those_of_the_same_case() {
        let sample = |underlay: &str, value| {
            let mut figure = Figure::new("portcullis", underlay, "tcp", "TCP payload", "Mbit/s");
            figure.samples.push(value);
            figure
        };
        let mut figures = Figures::default();
        for (underlay, value) in [("plain", 1.0), ("card", 2.0), ("plain", 3.0)] {
            figures.add(sample(underlay, value));
        }
        assert_eq!(figures.0.len(), 2);
        assert_eq!(figures.0[0].samples, [1.0, 3.0]);
    }
}
