//! What is wrong with a file: each problem with its place, a label on the exact value and a way to mend it.
//!
//! The text that a problem shows is a copy in which every inline secret has been blotted out (see `redact`), byte for
//! byte, so that places stay where they are.

use std::fmt::{self, Write as _};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use miette::{Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, NamedSource, Severity, SourceCode};

/// Nobody mends more errors than this at once.
const SHOWN: usize = 20;

/// A place in the file, in bytes.
pub(super) type Span = Range<usize>;

/// One error or warning.
#[derive(Clone, Debug)]
pub struct Problem {
    message: String,
    severity: Severity,
    labels: Vec<(Span, String)>,
    help: Option<String>,
    source: Option<Arc<NamedSource<String>>>,
}

impl Problem {
    /// What is wrong, in a sentence, without its place.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// How to mend it.
    #[must_use]
    pub fn mend(&self) -> Option<&str> {
        self.help.as_deref()
    }

    /// The message in one line, behind the file and the place in it.
    #[must_use]
    pub fn located(&self, path: &Path) -> String {
        let place = self.place().map(|(line, column)| format!(":{line}:{column}")).unwrap_or_default();
        format!("{}{place}: {self}", path.display())
    }

    /// Line and column of the first label, counted from one.
    #[must_use]
    pub fn place(&self) -> Option<(usize, usize)> {
        let (span, _) = self.labels.first()?;
        let before = self.source.as_ref()?.inner().get(..span.start)?;
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Some((before.matches('\n').count() + 1, before.get(line_start..)?.chars().count() + 1))
    }

    /// The problem with its lines of the file, as it is shown to people.
    #[must_use]
    pub fn render(&self, colour: bool) -> String {
        let theme = if colour { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
        let mut out = String::new();
        let handler = GraphicalReportHandler::new_themed(theme).with_links(false).with_width(110);
        match handler.render_report(&mut out, self) {
            Ok(()) => out,
            Err(fmt::Error) => self.to_string(),
        }
    }
}

/// The message alone, without place and mend.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Problem {}

impl Diagnostic for Problem {
    fn severity(&self) -> Option<Severity> {
        Some(self.severity)
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.help.as_ref().map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        if self.labels.is_empty() {
            return None;
        }
        self.source.as_deref().map(|source| source as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        Some(Box::new(
            self.labels.iter().map(|(span, text)| {
                LabeledSpan::new(Some(text.clone()), span.start, span.end.saturating_sub(span.start))
            }),
        ))
    }
}

/// Why a configuration does not load: every error that was found, and the warnings beside them.
#[derive(Debug)]
pub struct ConfigError {
    /// The file.
    pub path: PathBuf,
    /// The errors, in the order of the file; at least one.
    pub errors: Vec<Problem>,
    /// What would only have been warned of.
    pub warnings: Vec<Problem>,
}

impl ConfigError {
    /// An error that has no place in the file, because the file could not even be read.
    pub(super) fn unreadable(path: &Path, message: String, mend: &str) -> Self {
        let problem = Problem {
            message,
            severity: Severity::Error,
            labels: Vec::new(),
            help: Some(mend.to_owned()),
            source: None,
        };
        Self { path: path.to_owned(), errors: vec![problem], warnings: Vec::new() }
    }

    /// A file that would load, for somebody to whom every warning is an error.
    #[must_use]
    pub fn of_warnings(path: &Path, warnings: Vec<Problem>) -> Self {
        let errors = warnings.into_iter().map(|warning| Problem { severity: Severity::Error, ..warning }).collect();
        Self { path: path.to_owned(), errors, warnings: Vec::new() }
    }

    /// The errors with their lines of the file, as they are shown to people: the first ones, where there are many.
    #[must_use]
    pub fn render(&self, colour: bool) -> String {
        let shown: Vec<_> = self.errors.iter().take(SHOWN).map(|problem| problem.render(colour)).collect();
        let mut out = shown.join("\n");
        if self.errors.len() > SHOWN {
            let _ = writeln!(out, "\nand {} more errors", self.errors.len() - SHOWN);
        }
        out
    }
}

/// One line, for a log: the first error with its place, and how many more there are.
impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.errors.first() {
            Some(first) => f.write_str(&first.located(&self.path))?,
            None => write!(f, "{}", self.path.display())?,
        }
        match self.errors.len() {
            0 | 1 => Ok(()),
            n => write!(f, " (and {} more)", n - 1),
        }
    }
}

impl std::error::Error for ConfigError {}

impl Diagnostic for ConfigError {
    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn Diagnostic> + 'a>> {
        Some(Box::new(self.errors.iter().map(|problem| problem as &dyn Diagnostic)))
    }
}

/// When a warning counts that depends on the day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    Before(Timestamp),
    From(Timestamp),
}

/// A warning that is one on some days and not on others.
#[derive(Clone, Debug)]
pub(super) struct Dated {
    when: When,
    problem: Problem,
}

impl Dated {
    /// The warning, if it is one at this moment.
    pub(super) fn at(&self, now: Timestamp) -> Option<&Problem> {
        let counts = match self.when {
            When::Before(moment) => now < moment,
            When::From(moment) => now >= moment,
        };
        counts.then_some(&self.problem)
    }
}

/// Problems while they are being collected.
#[derive(Debug, Default)]
pub(super) struct Problems {
    errors: Vec<Problem>,
    warnings: Vec<Problem>,
    dated: Vec<(When, Problem)>,
}

impl Problems {
    /// Notes an error; the handle takes further labels and the mend.
    pub(super) fn error(&mut self, span: &Span, message: impl Into<String>, label: impl Into<String>) -> Noted<'_> {
        Self::note(&mut self.errors, Severity::Error, span, message.into(), label.into())
    }

    /// Notes a warning.
    pub(super) fn warning(&mut self, span: &Span, message: impl Into<String>, label: impl Into<String>) -> Noted<'_> {
        Self::note(&mut self.warnings, Severity::Warning, span, message.into(), label.into())
    }

    /// Notes a warning that is one before this moment.
    pub(super) fn warning_before(&mut self, moment: Timestamp, span: &Span, message: String, label: &str) -> Noted<'_> {
        self.note_dated(When::Before(moment), span, message, label)
    }

    /// Notes a warning that is one from this moment on.
    pub(super) fn warning_from(&mut self, moment: Timestamp, span: &Span, message: String, label: &str) -> Noted<'_> {
        self.note_dated(When::From(moment), span, message, label)
    }

    fn note_dated(&mut self, when: When, span: &Span, message: String, label: &str) -> Noted<'_> {
        let labels = vec![(span.clone(), label.to_owned())];
        self.dated.push((when, Problem { message, severity: Severity::Warning, labels, help: None, source: None }));
        Noted(&mut self.dated.last_mut().expect("one was pushed in the line above").1)
    }

    fn note<'a>(
        list: &'a mut Vec<Problem>,
        severity: Severity,
        span: &Span,
        message: String,
        label: String,
    ) -> Noted<'a> {
        list.push(Problem { message, severity, labels: vec![(span.clone(), label)], help: None, source: None });
        Noted(list.last_mut().expect("one was pushed in the line above"))
    }

    /// Whether there are more errors than anybody reads.
    pub(super) fn is_flooded(&self) -> bool {
        self.errors.len() > 100
    }

    /// Whether nothing forbids going on.
    pub(super) fn is_clean(&self) -> bool {
        self.errors.is_empty()
    }

    /// Gives every problem its text, in the order of the file: the warnings if there is no error, with those that depend on the
    /// day beside them; else the refusal.
    pub(super) fn finish(mut self, path: &Path, shown: String) -> Result<(Vec<Problem>, Vec<Dated>), ConfigError> {
        let source = Arc::new(NamedSource::new(path.display().to_string(), shown));
        for list in [&mut self.errors, &mut self.warnings] {
            list.sort_by_key(|problem| problem.labels.first().map_or(0, |(span, _)| span.start));
            for problem in list {
                problem.source = Some(Arc::clone(&source));
            }
        }
        if self.errors.is_empty() {
            let dated = self.dated.into_iter().map(|(when, mut problem)| {
                problem.source = Some(Arc::clone(&source));
                Dated { when, problem }
            });
            return Ok((self.warnings, dated.collect()));
        }
        Err(ConfigError { path: path.to_owned(), errors: self.errors, warnings: self.warnings })
    }
}

/// A problem that was just noted.
pub(super) struct Noted<'a>(&'a mut Problem);

impl Noted<'_> {
    /// Another place that has to do with it.
    pub(super) fn also(self, span: &Span, label: impl Into<String>) -> Self {
        self.0.labels.push((span.clone(), label.into()));
        self
    }

    /// How to mend it.
    pub(super) fn mend(self, help: impl Into<String>) {
        self.0.help = Some(help.into());
    }
}
