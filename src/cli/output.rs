//! Where results go: text for people or JSON for programs, on stdout, safe to show.

use std::io::{self, Write};

use serde::Serialize;

use super::CliError;
use crate::domain::display_safe;

/// The command's output.
pub(super) struct Out {
    pub(super) json: bool,
    stdout: io::StdoutLock<'static>,
    /// Whether it was said that nothing can be printed.
    has_complained: bool,
}

impl Out {
    pub(super) fn new(json: bool) -> Self {
        Self { json, stdout: io::stdout().lock(), has_complained: false }
    }

    /// A line of text, whatever is in it made safe to show.
    pub(super) fn line(&mut self, text: impl AsRef<str>) -> Result<(), CliError> {
        self.raw(&display_safe(text.as_ref()))
    }

    /// A JSON value on a line.
    pub(super) fn value(&mut self, value: &impl Serialize) -> Result<(), CliError> {
        let text = serde_json::to_string(value).map_err(CliError::failed)?;
        self.raw(&text)
    }

    /// As [`Out::line`] in the midst of work that keeps what it gives: where nobody reads any more, or nothing can be
    /// written (a full device), it goes on.
    pub(super) fn offer(&mut self, text: &str) {
        self.if_possible(&display_safe(text));
    }

    /// As [`Out::value`], likewise.
    pub(super) fn offer_value(&mut self, value: &impl Serialize) -> Result<(), CliError> {
        let text = serde_json::to_string(value).map_err(CliError::failed)?;
        self.if_possible(&text);
        Ok(())
    }

    fn if_possible(&mut self, text: &str) {
        let Err(error) = self.write(text) else { return };
        if error.kind() != io::ErrorKind::BrokenPipe && !self.has_complained {
            self.has_complained = true;
            tell(&format!("cannot print: {error}; the work goes on, and what it gives is kept"));
        }
    }

    fn write(&mut self, text: &str) -> io::Result<()> {
        writeln!(self.stdout, "{text}").and_then(|()| self.stdout.flush())
    }

    fn raw(&mut self, text: &str) -> Result<(), CliError> {
        match self.write(text) {
            // Whoever reads has seen enough (`| head`): that is no failure, and there is nothing more to say.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
            other => other.map_err(CliError::failed),
        }
    }
}

/// Says something on stderr, after the program's name: whatever is in it made safe to show, our own line breaks kept.
/// Where nothing can be said (a full device, a closed pipe), nothing is: the exit code stays that of the command.
pub(super) fn tell(text: &str) {
    let lines: Vec<String> = text.split('\n').map(display_safe).collect();
    // In one piece: other threads and processes may write there, too.
    let text = format!("sightline: {}\n", lines.join("\n"));
    drop(io::stderr().lock().write_all(text.as_bytes()));
}

/// A time in the local zone.
pub(super) fn when(ms: i64) -> String {
    chrono::DateTime::from_timestamp_millis(ms).map_or_else(
        || ms.to_string(),
        |time| time.with_timezone(&chrono::Local).format("%Y-%m-%d %H:%M:%S").to_string(),
    )
}

/// Bytes for people.
pub(super) fn size(bytes: u64) -> String {
    let units = ["B", "KB", "MB", "GB", "TB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1000.0 && unit + 1 < units.len() {
        value /= 1000.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{value:.1} {}", units[unit]) }
}
