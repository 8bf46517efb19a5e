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
    way: Way,
    /// When the step that was shown last began.
    step: Option<Instant>,
}

/// Which way the bytes of a package go.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// From where it is.
    Fetch,
    /// To where it will be.
    Stage,
}

impl Way {
    /// While it happens, and after it.
    const fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Fetch => ("fetching", "fetched"),
            Self::Stage => ("staging", "staged"),
        }
    }
}

/// How the copy of a package is shown.
enum Staging {
    /// Not begun.
    Idle,
    /// As a bar, on a terminal.
    Bar(ProgressBar),
    /// As lines.
    Lines(Copying),
}

/// How far a copy is.
struct Copying {
    way: Way,
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
        Self { json, steps: 0, staging: Staging::Idle, way: Way::Stage, step: None }
    }

    /// Ends what was shown last: the copy's bar or line, and the last step.
    pub(crate) fn finish(&mut self) {
        match std::mem::replace(&mut self.staging, Staging::Idle) {
            Staging::Idle => {}
            Staging::Bar(bar) => bar.finish_and_clear(),
            Staging::Lines(copying) => copying.tell_end(),
        }
        if let Some(begun) = self.step.take()
            && volume() == Volume::Verbose
        {
            line(&format!("{FADED}          {} ms{FADED:#}", begun.elapsed().as_millis()));
        }
    }

    /// So much of the package was fetched.
    pub(crate) fn fetched(&mut self, bytes: u64, total: u64) {
        self.moved(Way::Fetch, bytes, total);
    }

    fn moved(&mut self, way: Way, bytes: u64, total: u64) {
        if volume() == Volume::Quiet {
            return;
        }
        if self.way != way {
            self.finish();
            self.way = way;
        }
        if matches!(self.staging, Staging::Idle) {
            self.staging = Staging::begin(way, total);
        }
        match &mut self.staging {
            Staging::Idle => {}
            Staging::Bar(bar) => bar.set_position(bytes),
            Staging::Lines(copying) => copying.reach(bytes),
        }
    }
}

impl Copying {
    fn reach(&mut self, bytes: u64) {
        self.bytes = bytes;
        if self.told.elapsed() >= TELL_EVERY {
            let rate = bytes as f64 / self.begun.elapsed().as_secs_f64();
            let (bytes, total) = (HumanBytes(bytes), HumanBytes(self.total));
            let (doing, _) = self.way.words();
            line(&format!("  {doing}: {bytes} of {total}, {}/s", HumanBytes(rate as u64)));
            self.told = Instant::now();
        }
    }

    fn tell_end(self) {
        let mut text = format!("  {} {}", self.way.words().1, HumanBytes(self.bytes));
        if volume() == Volume::Verbose {
            text.push_str(&format!(" in {} ms", self.begun.elapsed().as_millis()));
        }
        line(&text);
    }
}

impl Staging {
    fn begin(way: Way, total: u64) -> Self {
        if !std::io::stderr().is_terminal() {
            let now = Instant::now();
            return Self::Lines(Copying { way, begun: now, told: now, bytes: 0, total });
        }
        let style = ProgressStyle::with_template(&format!(
            "  {} [{{bar:32}}] {{bytes}}/{{total_bytes}} {{bytes_per_sec}} {{eta}}",
            way.words().0
        ));
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
            Event::Fetched { bytes, total } => self.fetched(bytes, total),
            Event::Staged { bytes, total } => self.moved(Way::Stage, bytes, total),
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
