//! Writes and reads the log of what was done on a host (its lines are [`cofferdam_core::history`]).

use crate::error::{HostError, Result};
use crate::event::{Ending, Outcome};
use crate::root::HostRoot;
use crate::store::Store;
use cofferdam_core::class::Class;
use cofferdam_core::history::{Asker, Log, LogEntry, MOST_ENTRIES, Through, timestamp, whole_lines};
use cofferdam_core::record::Journal;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Writes down how one request ended.
#[derive(Debug)]
pub struct Scribe {
    asker: Asker,
    wish: String,
    begun: Instant,
}

impl Scribe {
    /// For a request of `asker`, who wishes for `wish`. It begins now.
    pub fn new(asker: Asker, wish: impl Into<String>) -> Self {
        Self { asker, wish: wish.into(), begun: Instant::now() }
    }

    /// Who asked.
    pub(crate) const fn asker(&self) -> &Asker {
        &self.asker
    }

    /// Writes down the end of the transaction of `journal`, while the journal is still there: a crash between the two
    /// ends the transaction once more, and is not told twice.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(crate) fn ended(&self, store: &Store<'_>, journal: &Journal, outcome: &Outcome) -> Result<()> {
        append(store, &self.entry(Some(journal), outcome))
    }

    /// Writes down what was refused, or is not over yet. What ended wrote [`Self::ended`]. On a host that has nothing
    /// of ours, or while another change is under way, nothing is written.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn not_ended(&self, root: &HostRoot, outcome: &Outcome) -> Result<()> {
        let is_written = match outcome.result {
            Ending::Unchanged | Ending::RolledBack => true,
            Ending::Committed => outcome.class.is_none(),
            Ending::Refused | Ending::Conflict | Ending::Mended | Ending::Unfinished => false,
        };
        let store = Store::new(root)?;
        if is_written || store.ledger()?.is_none() && store.journal()?.is_none() {
            return Ok(());
        }
        let Ok((_lock, _)) = store.lock() else { return Ok(()) };
        let journal = store.journal()?.filter(|_| outcome.result != Ending::Refused);
        append(&store, &self.entry(journal.as_ref(), outcome))
    }

    fn entry(&self, journal: Option<&Journal>, outcome: &Outcome) -> LogEntry {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let by = journal.and_then(|journal| journal.asker.as_ref()).unwrap_or(&self.asker);
        let before = journal.map_or(outcome.generation, |journal| {
            journal.before.as_ref().map_or(0, |ledger| ledger.generation)
        });
        LogEntry {
            id: journal.map_or_else(|| format!("{:x}", now.as_nanos()), |journal| journal.id.clone()),
            time: timestamp(now.as_secs()),
            change: journal.map_or_else(|| self.wish.clone(), |journal| journal.change.to_string()),
            by: by.clone(),
            ended_by: (*by != self.asker).then(|| self.asker.clone()),
            result: outcome.result,
            class: outcome.class,
            message: outcome.message.clone(),
            verdict: outcome.verdict.clone(),
            before,
            after: outcome.generation,
            millis: u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX),
        }
        .bounded()
    }
}

/// The log; an empty one if nothing was written yet.
///
/// # Errors
/// If it cannot be read.
pub fn read(store: &Store<'_>) -> Result<Log> {
    Ok(Log::parse(&store.root().read(&store.log_path()?)?.unwrap_or_default()))
}

/// Adds an entry, durably, in the place of a last line without its end. A full log loses its oldest entry.
fn append(store: &Store<'_>, entry: &LogEntry) -> Result<()> {
    let path = store.log_path()?;
    let present = store.root().read(&path)?.unwrap_or_default();
    let lines: Vec<&[u8]> = whole_lines(&present).collect();
    let last = lines.last().and_then(|line| serde_json::from_slice::<LogEntry>(line).ok());
    if last.is_some_and(|last| last.is_same_end(entry)) {
        return Ok(());
    }
    let mut line =
        serde_json::to_vec(entry).map_err(|error| HostError::new(Class::Internal, error.to_string()))?;
    line.push(b'\n');
    let whole: usize = lines.iter().map(|line| line.len()).sum();
    if lines.len() < MOST_ENTRIES && present.starts_with(&lines.concat()) {
        return store.root().append(&path, whole as u64, &line);
    }
    let kept = lines.get((lines.len() + 1).saturating_sub(MOST_ENTRIES)..).unwrap_or_default();
    store.root().write_file(&path, [kept.concat(), line].concat().as_slice(), 0o600, &entry.id)
}

/// Who runs this process.
pub fn asker(through: Through) -> Asker {
    let uid = rustix::process::getuid().as_raw();
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    // 4294967295: nobody logged in, e.g. a service.
    let login = std::fs::read_to_string("/proc/self/loginuid").ok();
    let login = login.and_then(|text| text.trim().parse().ok()).filter(|uid| *uid != u32::MAX);
    Asker {
        uid,
        user: name_of(&passwd, uid),
        login: login.map(|uid| name_of(&passwd, uid).unwrap_or_else(|| uid.to_string())),
        sudo_user: std::env::var("SUDO_USER").ok().filter(|name| !name.is_empty()),
        through,
    }
}

/// A user's name in `/etc/passwd`. A static program has no NSS, so users of a directory service have none.
fn name_of(passwd: &str, uid: u32) -> Option<String> {
    let found = passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then_some(name)
    });
    found.map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use cofferdam_core::name::HostPath;

    fn scribe() -> Scribe {
        let by = Asker {
            uid: 0,
            user: None,
            login: None,
            sudo_user: Some("ann".to_owned()),
            through: Through::Command,
        };
        Scribe::new(by, "remove toy")
    }

    fn refused(n: usize) -> LogEntry {
        let error = HostError::new(Class::InUse, format!("number {n}"));
        LogEntry { id: n.to_string(), ..scribe().entry(None, &Outcome::refused(&error, 7)) }
    }

    #[test]
    fn a_half_written_line_is_cut_and_a_full_log_loses_its_oldest() {
        let folder = tempfile::tempdir().unwrap();
        let root = HostRoot::open(folder.path()).unwrap();
        std::fs::create_dir_all(folder.path().join("var/lib")).unwrap();
        let store = Store::new(&root).unwrap();
        let (_lock, _) = store.lock().unwrap();
        let path = folder.path().join("var/lib/cofferdam/log");

        append(&store, &refused(0)).unwrap();
        append(&store, &refused(0)).unwrap();
        let mut torn = std::fs::read(&path).unwrap();
        torn.extend(b"{\"id\":\"half");
        std::fs::write(&path, &torn).unwrap();
        append(&store, &refused(1)).unwrap();
        let ids = |log: Log| log.entries.into_iter().map(|entry| entry.id).collect::<Vec<_>>();
        assert_eq!(ids(read(&store).unwrap()), ["0", "1"]);
        assert!(!std::fs::read_to_string(&path).unwrap().contains("half"));

        for n in 2..MOST_ENTRIES + 5 {
            append(&store, &refused(n)).unwrap();
        }
        let kept = ids(read(&store).unwrap());
        assert_eq!(kept.len(), MOST_ENTRIES);
        assert_eq!((kept[0].as_str(), kept[MOST_ENTRIES - 1].as_str()), ("5", "1004"));
        assert!(root.list(&HostPath::new("/var/lib/cofferdam/tmp").unwrap()).unwrap().is_empty());
    }

    #[test]
    fn blocks_of_zeros_are_cut_out() {
        let folder = tempfile::tempdir().unwrap();
        let root = HostRoot::open(folder.path()).unwrap();
        std::fs::create_dir_all(folder.path().join("var/lib")).unwrap();
        let store = Store::new(&root).unwrap();
        let (_lock, _) = store.lock().unwrap();
        let path = folder.path().join("var/lib/cofferdam/log");
        append(&store, &refused(0)).unwrap();
        let first = std::fs::read(&path).unwrap();
        std::fs::write(&path, [&[0; 100][..], &b"\n"[..], &first].concat()).unwrap();
        append(&store, &refused(1)).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        assert!(bytes.starts_with(&first) && !bytes.contains(&0), "{}", String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn names_of_users() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nbroken\nann:x:1000:1000::/home/ann:/bin/sh\n";
        assert_eq!(name_of(passwd, 1000).as_deref(), Some("ann"));
        assert_eq!(name_of(passwd, 1), None);
    }
}
