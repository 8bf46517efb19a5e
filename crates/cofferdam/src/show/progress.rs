//! Events as they come: lines and a progress bar for people, JSON lines for programs.

use super::{line, note};
use cofferdam_host::event::{Event, Sink};
use indicatif::{ProgressBar, ProgressStyle};

/// Shows events.
pub(crate) struct Progress {
    json: bool,
    steps: usize,
    bar: Option<ProgressBar>,
}

impl Progress {
    pub(crate) const fn new(json: bool) -> Self {
        Self { json, steps: 0, bar: None }
    }

    /// Takes the bar away.
    pub(crate) fn finish(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }

    fn staged(&mut self, bytes: u64, total: u64) {
        // indicatif draws on a terminal only.
        let bar = self.bar.get_or_insert_with(|| {
            let style =
                ProgressStyle::with_template("staging [{bar:32}] {bytes}/{total_bytes} {bytes_per_sec}");
            ProgressBar::new(total).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        });
        bar.set_position(bytes);
    }
}

impl Sink for Progress {
    fn take(&mut self, event: Event) {
        if self.json {
            if let Ok(text) = serde_json::to_string(&event) {
                note(&text);
            }
            return;
        }
        match event {
            Event::Started { change, steps, .. } => {
                self.steps = steps;
                line(&change);
            }
            Event::Step { index, text, .. } => {
                self.finish();
                line(&format!("  [{index}/{}] {text}", self.steps));
            }
            Event::Staged { bytes, total } => self.staged(bytes, total),
            Event::Note { text } => line(&format!("  note: {text}")),
            Event::RollingBack { reason } => {
                self.finish();
                note(&format!("  taking it back: {reason}"));
            }
            Event::Finished(_) => self.finish(),
        }
    }
}
