//! How far is it, for a person who watches: a bar on standard error, and where that is no terminal a line for each step.

use std::io::{self, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// A bar of known length.
pub struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// A bar of `steps`.
    #[must_use]
    pub fn new(steps: usize) -> Self {
        let bar = ProgressBar::new(steps as u64);
        let style = ProgressStyle::with_template("{bar:24} {pos}/{len} {elapsed} (about {eta} left)  {wide_msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.enable_steady_tick(Duration::from_millis(200));
        Self { bar }
    }

    /// The next step begins, and this is it.
    pub fn step(&self, what: &str) {
        if !self.bar.message().is_empty() {
            self.bar.inc(1);
        }
        self.bar.set_message(what.to_owned());
        // No terminal: the bar draws nothing.
        if self.bar.is_hidden() {
            let (number, of) = (self.bar.position() + 1, self.bar.length().unwrap_or_default());
            say(&format!("{number}/{of} after {} s: {what}", self.bar.elapsed().as_secs()));
        }
    }

    /// Says something above the bar.
    pub fn tell(&self, what: &str) {
        self.bar.suspend(|| say(what));
    }
}

/// A reader who has gone away is no reason to stop measuring.
fn say(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
