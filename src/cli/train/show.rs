//! What is shown while a run goes on: a bar on a terminal, a line an epoch (and a minute) elsewhere.

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;

use crate::cli::CliError;
use crate::cli::output::Out;

/// What is shown of a run.
pub(super) struct Show<'a> {
    out: &'a mut Out,
    bar: Option<ProgressBar>,
    pub(super) epochs: u64,
    spoken: Instant,
    failed: Result<(), CliError>,
}

impl<'a> Show<'a> {
    pub(super) fn new(out: &'a mut Out, epochs: u64) -> Self {
        let bar = (std::io::stderr().is_terminal() && !out.json).then(|| {
            let bar = ProgressBar::new(1);
            if let Ok(style) = ProgressStyle::with_template("{prefix} {bar:24} {pos}/{len} {msg} ETA {eta}") {
                bar.set_style(style);
            }
            bar
        });
        Self { out, bar, epochs, spoken: Instant::now(), failed: Ok(()) }
    }

    /// A batch of an epoch (from 0) was learnt from: which, of how many.
    pub(super) fn batch(&mut self, epoch: u64, (batch, count): (u64, u64), losses: String) {
        if let Some(bar) = &self.bar {
            // The whole run's, so that the time left is the run's.
            bar.set_length(self.epochs * count);
            bar.set_position(epoch * count + batch + 1);
            bar.set_prefix(format!("{}/{}", epoch + 1, self.epochs));
            bar.set_message(losses);
        } else if !self.out.json && self.spoken.elapsed() > Duration::from_secs(60) {
            self.spoken = Instant::now();
            self.say(&format!("epoch {}/{} batch {}/{count} {losses}", epoch + 1, self.epochs, batch + 1));
        }
    }

    /// So many pictures were looked at for labels that are alike, of how many.
    pub(super) fn mined(&self, done: usize, of: usize) {
        if let Some(bar) = &self.bar {
            bar.set_message(format!("looking for labels that are alike: {done} of {of}"));
        }
    }

    /// So many pictures were judged, of how many.
    pub(super) fn judged(&self, done: usize, of: usize) {
        if let Some(bar) = &self.bar {
            bar.set_message(format!("judged {done} of {of}"));
        }
    }

    /// So much of a work without batches is done.
    pub(super) fn done(&self, done: usize, of: usize) {
        if let Some(bar) = &self.bar {
            bar.set_length(of as u64);
            bar.set_position(done as u64);
        }
    }

    /// An epoch ended: what it gave, for programs and for people.
    pub(super) fn epoch(&mut self, value: &Value, text: &str) {
        self.spoken = Instant::now();
        if self.out.json {
            let shown = self.out.offer_value(value);
            return self.note(shown);
        }
        self.say(text);
    }

    fn say(&mut self, text: &str) {
        match &self.bar {
            Some(bar) => bar.println(text),
            None => self.out.offer(text),
        }
    }

    fn note(&mut self, shown: Result<(), CliError>) {
        if self.failed.is_ok() {
            self.failed = shown;
        }
    }

    pub(super) fn end(self) -> Result<(), CliError> {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
        self.failed
    }
}
