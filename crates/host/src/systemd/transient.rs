//! Transient units: work that outlives its starter.

use super::{CALL_LIMIT, Manager, POLL, SystemdError};
use std::time::{Duration, Instant};
use zbus::Variant;

/// A service that exists only while it is needed. Its name is a lock: a second start with the same name fails while
/// it runs, and after a failure until its failed state is reset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransientUnit {
    /// Its name, ending in `.service`.
    pub name: String,
    /// What `systemctl status` shows.
    pub description: String,
    /// The program's absolute path and its arguments.
    pub exec: Vec<String>,
    /// When its start counts as done.
    pub kind: Type,
    /// When it is started again.
    pub restart: Restart,
    /// The pause before it is started again.
    pub restart_delay: Duration,
    /// Units that must be up (or have failed) before it starts, if they are starting.
    pub after: Vec<String>,
    /// It is killed after that time, if set. systemd 229 and later; ignored before.
    pub runtime_limit: Option<Duration>,
}

/// `Type=`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// Started once the process exists.
    Simple,
    /// Started once it ended.
    Oneshot,
}

/// `Restart=`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    /// Never.
    No,
    /// After any failure.
    OnFailure,
    /// After a signal or a timeout, not after an exit code: codes are results here, a SIGKILL is a crash.
    OnAbnormal,
}

/// A transient unit that was started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Started {
    /// Properties that this systemd refused and that it was started without. systemd 219 knows none but the type
    /// and the command of a transient service: who relies on a restart must then do it otherwise.
    pub refused: Vec<String>,
}

impl Type {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Simple => "simple",
            Self::Oneshot => "oneshot",
        }
    }
}

impl Restart {
    const fn as_str(self) -> &'static str {
        match self {
            Self::No => "no",
            Self::OnFailure => "on-failure",
            Self::OnAbnormal => "on-abnormal",
        }
    }
}

/// Properties without which a unit is of no use.
const NEEDED: [&str; 3] = ["Description", "Type", "ExecStart"];

impl TransientUnit {
    fn properties(&self) -> Vec<(&'static str, Variant<'static>)> {
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let program = self.exec.first().cloned().unwrap_or_default();
        let ignore_failure = false;
        let mut all = vec![
            ("Description", Variant::new(self.description.clone())),
            ("Type", Variant::new(self.kind.as_str().to_owned())),
            ("ExecStart", Variant::new(vec![(program, self.exec.clone(), ignore_failure)])),
        ];
        if self.restart != Restart::No {
            all.push(("Restart", Variant::new(self.restart.as_str().to_owned())));
            all.push(("RestartUSec", Variant::new(micros(self.restart_delay))));
        }
        if !self.after.is_empty() {
            all.push(("After", Variant::new(self.after.clone())));
        }
        if let Some(limit) = self.runtime_limit {
            // A oneshot service has no runtime, only a start.
            let name = if self.kind == Type::Oneshot { "TimeoutStartUSec" } else { "RuntimeMaxUSec" };
            all.push((name, Variant::new(micros(limit))));
        }
        all
    }
}

impl Manager {
    /// Starts `unit`, without waiting for its end.
    ///
    /// # Errors
    /// [`SystemdError::UnitExists`] if one of that name is there; others if systemd refuses.
    pub fn start_transient(&mut self, unit: &TransientUnit) -> Result<Started, SystemdError> {
        let mut refused: Vec<String> = Vec::new();
        loop {
            let properties: Vec<_> = unit
                .properties()
                .into_iter()
                .filter(|(name, _)| !refused.iter().any(|r| r == name))
                .collect();
            let names: Vec<&str> = properties.iter().map(|(name, _)| *name).collect();
            let auxiliary: Vec<(String, Vec<(String, Variant<'_>)>)> = Vec::new();
            // "fail": the name is a lock.
            let body = (unit.name.clone(), "fail".to_owned(), &properties, auxiliary);
            let error = match self.manager("StartTransientUnit", &body, CALL_LIMIT) {
                Ok(_) => return Ok(Started { refused }),
                Err(error) => error,
            };
            if error.is("org.freedesktop.systemd1.UnitExists") {
                return Err(SystemdError::UnitExists { unit: unit.name.clone() });
            }
            match refused_property(&error, &names) {
                Some(name) => refused.push(name.to_owned()),
                None => return Err(error),
            }
        }
    }
}

impl Manager {
    /// Has systemd mount a tmpfs of its own at `place`, which exists, from which programs run, and waits for it.
    ///
    /// # Errors
    /// If systemd refuses, or the mount fails.
    pub fn mount_programs(&mut self, place: &str, limit: Duration) -> Result<(), SystemdError> {
        let unit = mount_unit(place);
        let text = |value: &str| Variant::new(value.to_owned());
        let properties = vec![
            ("Description", text("Cofferdam: the program of the cluster's agent")),
            ("What", text("tmpfs")),
            ("Type", text("tmpfs")),
            ("Options", text("mode=0700,size=256m,nosuid,nodev")),
        ];
        let auxiliary: Vec<(String, Vec<(String, Variant<'_>)>)> = Vec::new();
        let body = (unit.clone(), "replace".to_owned(), &properties, auxiliary);
        self.manager("StartTransientUnit", &body, CALL_LIMIT)?;
        let deadline = Instant::now() + limit;
        loop {
            let state = self.unit(&unit)?;
            if state.active_state == "active" {
                return Ok(());
            }
            if state.active_state == "failed" || Instant::now() > deadline {
                return Err(SystemdError::JobFailed {
                    unit,
                    job: "start",
                    state: format!("{}/{}", state.active_state, state.sub_state),
                    result: state.result,
                    status: state.exec_main_status,
                });
            }
            std::thread::sleep(POLL);
        }
    }
}

/// The name that systemd gives to a mount of this path (systemd.mount(5)); ours need no escapes.
fn mount_unit(place: &str) -> String {
    format!("{}.mount", place.trim_matches('/').replace('/', "-"))
}

/// The property that an old systemd does not know ("Cannot set property X, or unknown property."), unless the unit
/// is of no use without it.
fn refused_property<'n>(error: &SystemdError, sent: &[&'n str]) -> Option<&'n str> {
    let SystemdError::Refused { name, message, .. } = error else { return None };
    if !matches!(
        name.as_str(),
        "org.freedesktop.DBus.Error.PropertyReadOnly" | "org.freedesktop.DBus.Error.UnknownProperty"
    ) {
        return None;
    }
    let words: Vec<&str> = message.split(|c: char| !c.is_ascii_alphanumeric()).collect();
    sent.iter().copied().find(|sent| !NEEDED.contains(sent) && words.contains(sent))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(name: &str, message: &str) -> SystemdError {
        SystemdError::Refused {
            call: "StartTransientUnit".to_owned(),
            name: name.to_owned(),
            message: message.to_owned(),
        }
    }

    #[test]
    fn an_optional_property_that_systemd_does_not_know_is_left_out() {
        let read_only = "org.freedesktop.DBus.Error.PropertyReadOnly";
        let sent = ["Description", "Type", "ExecStart", "Restart", "RestartUSec"];
        let known = |message: &str| refused_property(&refusal(read_only, message), &sent);
        assert_eq!(known("Cannot set property RestartUSec, or unknown property."), Some("RestartUSec"));
        assert_eq!(known("Cannot set property Restart, or unknown property."), Some("Restart"));
        assert_eq!(known("Cannot set property ExecStart, or unknown property."), None);
        assert_eq!(known("something else"), None);
        assert_eq!(refused_property(&refusal("other", "Cannot set property Restart"), &sent), None);
    }
}
