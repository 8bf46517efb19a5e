//! What was done on a host: the lines of `/var/lib/cofferdam/log`, the oldest first.
//!
//! Each line is one [`LogEntry`] as JSON. A line without its end (the power went) is none, and the next one takes its
//! place. The log lives as long as the ledger: the last removal leaves nothing of ours, the log included.

use crate::class::Class;
use crate::record::Verdict;
use serde::{Deserialize, Serialize};

/// How many entries are kept.
pub const MOST_ENTRIES: usize = 1000;

/// Bytes of a message that are kept.
const MOST_MESSAGE: usize = 4096;

/// One ended transaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogEntry {
    /// The transaction's id; an id of its own if it was refused.
    pub id: String,
    /// When it ended, by this host's clock: RFC 3339, UTC.
    pub time: String,
    /// What was to be done, for people.
    pub change: String,
    /// Who asked for it.
    pub by: Asker,
    /// Who ended it, if that is somebody else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_by: Option<Asker>,
    /// How it ended.
    pub result: Ending,
    /// The class of what went wrong, if something did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<Class>,
    /// For people.
    pub message: String,
    /// What the probe said, after an installation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
    /// The ledger's generation before.
    pub before: u64,
    /// The ledger's generation after.
    pub after: u64,
    /// How long whoever ended it worked on it, in milliseconds.
    pub millis: u64,
}

impl LogEntry {
    /// Whether both tell the same end of the same transaction (its last moments were carried out twice).
    pub fn is_same_end(&self, other: &Self) -> bool {
        (&self.id, self.result, self.class) == (&other.id, other.result, other.class)
    }

    /// With its message cut to what is kept.
    #[must_use]
    pub fn bounded(mut self) -> Self {
        if self.message.len() > MOST_MESSAGE {
            let end = (0..=MOST_MESSAGE).rev().find(|at| self.message.is_char_boundary(*at)).unwrap_or(0);
            self.message.truncate(end);
            self.message.push_str(" ...");
        }
        self
    }
}

/// How a transaction ended, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ending {
    /// The host is as it was asked to be.
    Committed,
    /// It was so before: nothing was written, nothing restarted.
    Unchanged,
    /// Refused before anything was changed.
    Refused,
    /// The host is as it was before.
    RolledBack,
    /// Someone else's change stands in the way of taking it back.
    Conflict,
    /// The files are as before; the engine will be asked once it is up.
    Mended,
    /// Neither done nor taken back: something failed on the way back. The journal is kept.
    Unfinished,
}

impl Ending {
    /// The word used in JSON and in the log.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Committed => "committed",
            Self::Unchanged => "unchanged",
            Self::Refused => "refused",
            Self::RolledBack => "rolled-back",
            Self::Conflict => "conflict",
            Self::Mended => "mended",
            Self::Unfinished => "unfinished",
        }
    }
}

/// Who asked for a change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asker {
    /// The user id of the process that asked.
    pub uid: u32,
    /// That user's name, if the host knows one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Who logged in, as the kernel's audit knows it; it follows through su and sudo.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login: Option<String>,
    /// `SUDO_USER`: who called sudo.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sudo_user: Option<String>,
    /// By which way.
    pub through: Through,
}

/// By which way a change was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Through {
    /// Somebody (or their program) ran the command.
    Command,
    /// `cofferdam apply`, for a declarative file.
    Apply,
    /// The cluster's agent on this node, for a SandboxRuntime.
    Agent,
    /// systemd started the worker again, after a signal had ended it.
    Worker,
    /// Recovery at boot.
    Boot,
}

impl std::fmt::Display for Asker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.through {
            Through::Worker => return f.write_str("the worker, started again"),
            Through::Boot => return f.write_str("recovery at boot"),
            Through::Agent => return f.write_str("the cluster's agent"),
            Through::Command | Through::Apply => {}
        }
        match (&self.sudo_user, &self.user) {
            (Some(user), _) => write!(f, "{} (sudo)", user.escape_debug())?,
            (None, Some(user)) => write!(f, "{}", user.escape_debug())?,
            (None, None) => write!(f, "uid {}", self.uid)?,
        }
        match &self.login {
            Some(login) if [&self.sudo_user, &self.user].into_iter().flatten().all(|name| name != login) => {
                write!(f, ", logged in as {}", login.escape_debug())
            }
            _ => Ok(()),
        }
    }
}

/// A log as it was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Log {
    /// Its entries, the oldest first.
    pub entries: Vec<LogEntry>,
    /// Whole lines that are no entries (another version wrote them, or a disk lost them).
    pub unknown: usize,
}

impl Log {
    /// Reads the lines that are whole.
    pub fn parse(bytes: &[u8]) -> Self {
        let mut log = Self::default();
        for line in whole_lines(bytes) {
            match serde_json::from_slice(line) {
                Ok(entry) => log.entries.push(entry),
                Err(_) => log.unknown += 1,
            }
        }
        log
    }
}

/// The lines of a log that have their end, with it. Blocks of zeros that a power cut left are no lines either.
pub fn whole_lines(bytes: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    bytes
        .split_inclusive(|byte| *byte == b'\n')
        .filter(|line| line.ends_with(b"\n") && line.starts_with(b"{"))
}

/// Seconds since 1970 as RFC 3339, UTC. The calendar is Howard Hinnant's `civil_from_days`.
pub fn timestamp(seconds: u64) -> String {
    let (days, of_day) = (seconds / 86_400, seconds % 86_400);
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (of_day / 3_600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(message: &str) -> LogEntry {
        LogEntry {
            id: "1".to_owned(),
            time: timestamp(0),
            change: "remove toy".to_owned(),
            by: Asker { uid: 0, user: None, login: None, sudo_user: None, through: Through::Command },
            ended_by: None,
            result: Ending::Committed,
            class: None,
            message: message.to_owned(),
            verdict: None,
            before: 1,
            after: 2,
            millis: 3,
        }
    }

    #[test]
    fn times_as_date_prints_them() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_709_251_199, "2024-02-29T23:59:59Z"),
            (1_735_689_599, "2024-12-31T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(timestamp(seconds), text);
        }
    }

    #[test]
    fn a_line_without_its_end_is_no_entry() {
        let mut bytes = serde_json::to_vec(&entry("one")).unwrap();
        bytes.push(b'\n');
        bytes.extend(b"{\"from\":\"a newer version\"}\n");
        bytes.extend(serde_json::to_vec(&entry("two")).unwrap());
        let log = Log::parse(&bytes);
        assert_eq!(log.entries, [entry("one")]);
        assert_eq!(log.unknown, 1);
        assert_eq!(Log::parse(&[0; 64]), Log::default());
    }

    #[test]
    fn long_messages_are_cut_between_characters() {
        let cut = entry(&"ä".repeat(4000)).bounded().message;
        assert!(cut.len() <= MOST_MESSAGE + 4 && cut.ends_with("ä ..."), "{}", cut.len());
        assert_eq!(entry("short").bounded().message, "short");
    }

    #[test]
    fn who_asked() {
        let asker = |user: Option<&str>, sudo: Option<&str>, login: Option<&str>| Asker {
            uid: 0,
            user: user.map(str::to_owned),
            login: login.map(str::to_owned),
            sudo_user: sudo.map(str::to_owned),
            through: Through::Command,
        };
        assert_eq!(asker(None, None, None).to_string(), "uid 0");
        assert_eq!(asker(Some("root"), None, Some("root")).to_string(), "root");
        assert_eq!(asker(Some("root"), Some("ann"), Some("ann")).to_string(), "ann (sudo)");
        assert_eq!(asker(Some("root"), None, Some("ann")).to_string(), "root, logged in as ann");
        let boot = Asker { through: Through::Boot, ..asker(None, None, None) };
        assert_eq!(boot.to_string(), "recovery at boot");
    }
}
