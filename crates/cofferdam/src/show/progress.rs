//! Events as they come: lines and a progress bar for people, JSON lines for programs.

use super::look::{FADED, Volume, volume};
use super::{line, note, say};
use cofferdam_host::event::{Event, Sink};
use indicatif::{HumanBytes, ProgressBar, ProgressStyle};
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// How often a long copy is told where nobody watches a bar.
const TELL_EVERY: Duration = Duration::from_secs(5);

/// Shows events.
pub(crate) struct Progress {
    json: bool,
    steps: usize,
    staging: Staging,
    /// When the step that was shown last began.
    step: Option<Instant>,
}

/// How the copy of a package is shown.
enum Staging {
    /// Not begun.
    Idle,
    /// As a bar, on a terminal.
    Bar(ProgressBar),
    /// As lines; the last one was printed then.
    Lines { begun: Instant, told: Instant },
}

/// One event as JSON, on a line of its own.
pub(super) fn event(event: &Event) {
    if let Ok(text) = serde_json::to_string(event) {
        line(&text);
    }
}

impl Progress {
    pub(crate) const fn new(json: bool) -> Self {
        Self { json, steps: 0, staging: Staging::Idle, step: None }
    }

    /// Takes the bar away, and ends the last step.
    pub(crate) fn finish(&mut self) {
        if let Staging::Bar(bar) = std::mem::replace(&mut self.staging, Staging::Idle) {
            bar.finish_and_clear();
        }
        if let Some(begun) = self.step.take()
            && volume() == Volume::Verbose
        {
            line(&format!("{FADED}          {} ms{FADED:#}", begun.elapsed().as_millis()));
        }
    }

    fn staged(&mut self, bytes: u64, total: u64) {
        if volume() == Volume::Quiet {
            return;
        }
        if matches!(self.staging, Staging::Idle) {
            self.staging = Staging::begin(total);
        }
        match &mut self.staging {
            Staging::Idle => {}
            Staging::Bar(bar) => bar.set_position(bytes),
            Staging::Lines { begun, told } if bytes == total => {
                let mut text = format!("  staged {}", HumanBytes(total));
                if volume() == Volume::Verbose {
                    text.push_str(&format!(" in {} ms", begun.elapsed().as_millis()));
                }
                line(&text);
                *told = Instant::now();
            }
            Staging::Lines { begun, told } if told.elapsed() >= TELL_EVERY => {
                let rate = bytes as f64 / begun.elapsed().as_secs_f64();
                let (bytes, total) = (HumanBytes(bytes), HumanBytes(total));
                line(&format!("  staging: {bytes} of {total}, {}/s", HumanBytes(rate as u64)));
                *told = Instant::now();
            }
            Staging::Lines { .. } => {}
        }
    }
}

impl Staging {
    fn begin(total: u64) -> Self {
        if !std::io::stderr().is_terminal() {
            return Self::Lines { begun: Instant::now(), told: Instant::now() };
        }
        let style =
            ProgressStyle::with_template("  staging [{bar:32}] {bytes}/{total_bytes} {bytes_per_sec} {eta}");
        Self::Bar(ProgressBar::new(total).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar())))
    }
}

impl Sink for Progress {
    fn take(&mut self, event: Event) {
        if self.json {
            return self::event(&event);
        }
        match event {
            Event::Started { change, steps, .. } => {
                self.steps = steps;
                say(&change);
            }
            Event::Step { index, text, .. } => {
                self.finish();
                say(&format!("  {FADED}[{index}/{}]{FADED:#} {text}", self.steps));
                self.step = Some(Instant::now());
            }
            Event::Staged { bytes, total } => self.staged(bytes, total),
            Event::Note { text } => say(&format!("  note: {text}")),
            Event::RollingBack { reason } => {
                self.finish();
                note(&format!("  taking it back: {reason}"));
            }
            Event::Finished(_) => self.finish(),
        }
    }
}
