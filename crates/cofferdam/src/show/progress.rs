//! Events as they come: lines and a progress bar for people, JSON lines for programs.

use super::fetch::Fetching;
use super::look::{FADED, Volume, volume};
use super::{line, note, say};
use cofferdam_host::event::{Event, Sink, Transfer};
use indicatif::{HumanBytes, ProgressBar, ProgressStyle};
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// How often a long copy is told where nobody watches a bar.
const TELL_EVERY: Duration = Duration::from_secs(5);

/// Shows events.
pub(crate) struct Progress {
    json: bool,
    steps: usize,
    moving: Moving,
    /// When the step that was shown last began.
    step: Option<Instant>,
}

/// Which way the bytes of a package go.
enum Moving {
    /// None do.
    Idle,
    /// From where it is.
    Here(Fetching),
    /// To where it will be, as a bar, on a terminal.
    Bar(ProgressBar),
    /// The same as lines.
    Lines(Copying),
}

/// How far a copy is.
struct Copying {
    begun: Instant,
    /// When a line was printed last.
    told: Instant,
    bytes: u64,
    total: u64,
}

/// One event as JSON, on a line of its own.
pub(super) fn event(event: &Event) {
    if let Ok(text) = serde_json::to_string(event) {
        line(&text);
    }
}

impl Progress {
    pub(crate) const fn new(json: bool) -> Self {
        Self { json, steps: 0, moving: Moving::Idle, step: None }
    }

    /// Ends what was shown last: a bar or its line, and the last step.
    pub(crate) fn finish(&mut self) {
        match std::mem::replace(&mut self.moving, Moving::Idle) {
            Moving::Idle => {}
            Moving::Here(fetching) => {
                fetching.end(volume() == Volume::Verbose).iter().for_each(|text| line(text));
            }
            Moving::Bar(bar) => bar.finish_and_clear(),
            Moving::Lines(copying) => copying.tell_end(),
        }
        if let Some(begun) = self.step.take()
            && volume() == Volume::Verbose
        {
            line(&format!("{FADED}          {} ms{FADED:#}", begun.elapsed().as_millis()));
        }
    }

    /// So much of the package was fetched.
    pub(crate) fn fetched(&mut self, transfer: &Transfer) {
        if volume() == Volume::Quiet {
            return;
        }
        if !matches!(self.moving, Moving::Here(_)) {
            self.finish();
            self.moving = Moving::Here(Fetching::begin());
        }
        if let Moving::Here(fetching) = &mut self.moving {
            fetching.reach(transfer).iter().for_each(|text| line(text));
        }
    }

    fn staged(&mut self, bytes: u64, total: u64) {
        if volume() == Volume::Quiet {
            return;
        }
        if !matches!(self.moving, Moving::Bar(_) | Moving::Lines(_)) {
            self.finish();
            self.moving = Moving::stage(total);
        }
        match &mut self.moving {
            Moving::Idle | Moving::Here(_) => {}
            Moving::Bar(bar) => bar.set_position(bytes),
            Moving::Lines(copying) => copying.reach(bytes),
        }
    }
}

impl Copying {
    fn reach(&mut self, bytes: u64) {
        self.bytes = bytes;
        if self.told.elapsed() >= TELL_EVERY {
            let rate = bytes as f64 / self.begun.elapsed().as_secs_f64();
            let (bytes, total) = (HumanBytes(bytes), HumanBytes(self.total));
            line(&format!("  staging: {bytes} of {total}, {}/s", HumanBytes(rate as u64)));
            self.told = Instant::now();
        }
    }

    fn tell_end(self) {
        let mut text = format!("  staged {}", HumanBytes(self.bytes));
        if volume() == Volume::Verbose {
            text.push_str(&format!(" in {} ms", self.begun.elapsed().as_millis()));
        }
        line(&text);
    }
}

impl Moving {
    fn stage(total: u64) -> Self {
        if !std::io::stderr().is_terminal() {
            let now = Instant::now();
            return Self::Lines(Copying { begun: now, told: now, bytes: 0, total });
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
            Event::Fetched(transfer) => self.fetched(&transfer),
            Event::Staged { bytes, total } => self.staged(bytes, total),
            Event::Note { text } => say(&format!("  note: {text}")),
            Event::RollingBack { reason } => {
                self.finish();
                note(&format!("  taking it back: {reason}"));
            }
            // What it says of itself stands in the plan.
            Event::Read { .. } | Event::Finished(_) => self.finish(),
        }
    }
}
