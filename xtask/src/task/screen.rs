//! How tasks talk to a person: headings, commands with their output, colour on terminals only.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// Standard output.
#[derive(Debug)]
pub struct Screen {
    colour: bool,
    step: usize,
    begun: Instant,
}

impl Default for Screen {
    fn default() -> Self {
        Self::new()
    }
}

impl Screen {
    /// Colour if standard output is a terminal and `NO_COLOR` is not set.
    pub fn new() -> Self {
        let colour = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        Self { colour, step: 0, begun: Instant::now() }
    }

    /// A line as it is. A reader that went away is no reason to stop: cleaning up comes first.
    pub fn line(&self, text: &str) {
        let _ = writeln!(std::io::stdout().lock(), "{text}");
    }

    /// The next step's heading.
    pub fn heading(&mut self, text: &str) {
        self.step += 1;
        self.line(&format!("\n{}", self.paint("1;36", &format!("== {}. {text}", self.step))));
    }

    /// What a person types, and where.
    pub fn typed(&self, prompt: &str, command: &str) {
        self.line(&self.paint("1", &format!("{prompt} {command}")));
    }

    /// What a command printed.
    pub fn output(&self, text: &str) {
        for line in text.trim_end().lines() {
            self.line(format!("    {line}").trim_end());
        }
    }

    /// What was found to be as it should.
    pub fn good(&self, text: &str) {
        self.line(&self.paint("32", &format!("ok: {text}")));
    }

    /// What was not.
    pub fn bad(&self, text: &str) {
        self.line(&self.paint("1;31", text));
    }

    /// How long it has been.
    pub fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// `1.4 s` or `3 min 05 s`.
pub fn time(took: Duration) -> String {
    let seconds = took.as_secs();
    if seconds < 60 {
        return format!("{:.1} s", took.as_secs_f64());
    }
    format!("{} min {:02} s", seconds / 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_readable() {
        assert_eq!(time(Duration::from_millis(1440)), "1.4 s");
        assert_eq!(time(Duration::from_secs(185)), "3 min 05 s");
    }
}
