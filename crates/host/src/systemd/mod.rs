//! systemd over D-Bus: the system bus, or systemd's own socket where no bus answers.
//!
//! `/run/systemd/private` speaks peer-to-peer D-Bus (no Hello, no names), to root in systemd's PID namespace only.

mod transient;
mod wire;

pub use transient::{Restart, Started, TransientUnit, Type};

use cofferdam_core::class::Class;
use cofferdam_core::observation::UnitObservation;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use wire::{Peer, Reply, Target};
use zbus::OwnedVariant;

/// How long an ordinary call may take.
pub const CALL_LIMIT: Duration = Duration::from_secs(10);

/// `daemon-reload` runs every generator before it answers.
const RELOAD_LIMIT: Duration = Duration::from_secs(60);

/// How often a job or a unit is looked at while waiting for it.
const POLL: Duration = Duration::from_millis(20);

const BUS_SOCKET: &str = "/run/dbus/system_bus_socket";
const PRIVATE_SOCKET: &str = "/run/systemd/private";
const SYSTEMD: &str = "org.freedesktop.systemd1";
const MANAGER_PATH: &str = "/org/freedesktop/systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";

/// Why systemd did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum SystemdError {
    /// Nobody answers on the socket.
    #[error("no connection to systemd at {socket}: {source}")]
    Connect {
        /// The socket.
        socket: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// No answer in time.
    #[error("systemd did not finish {what} within {limit:?}")]
    Timeout {
        /// What was asked.
        what: String,
        /// The limit.
        limit: Duration,
    },
    /// systemd refused.
    #[error("systemd {call}: {message} ({name})")]
    Refused {
        /// The call.
        call: String,
        /// D-Bus's name for the error.
        name: String,
        /// systemd's words.
        message: String,
    },
    /// A transient unit of that name is there: its work goes on, or its failure was not looked at.
    #[error("the unit {unit} exists already: another worker holds it, or it failed")]
    UnitExists {
        /// The unit.
        unit: String,
    },
    /// The job ended, and the unit is not in the state that the job was to bring.
    #[error("{unit} is {state} after its {job} (result {result}, exit status {status})")]
    JobFailed {
        /// The unit.
        unit: String,
        /// start, restart, stop.
        job: &'static str,
        /// `ActiveState/SubState`.
        state: String,
        /// `Result`.
        result: String,
        /// `ExecMainStatus`.
        status: i32,
    },
    /// Not D-Bus, or not systemd's D-Bus.
    #[error("cannot read {what}: {reason}")]
    Protocol {
        /// What was read.
        what: String,
        /// Why not.
        reason: String,
    },
}

impl SystemdError {
    /// What a caller may do about it.
    pub const fn class(&self) -> Class {
        match self {
            Self::Connect { .. } | Self::Timeout { .. } | Self::JobFailed { .. } | Self::Refused { .. } => {
                Class::Unavailable
            }
            Self::UnitExists { .. } => Class::Conflict,
            Self::Protocol { .. } => Class::Internal,
        }
    }

    /// What to do next, if there is more to say than the message does.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Connect { .. } => Some(
                "Cofferdam needs systemd: run it on the host itself, in the host's PID namespace".to_owned(),
            ),
            Self::UnitExists { unit } => {
                Some(format!("look with systemctl status {unit}, then systemctl reset-failed {unit}"))
            }
            Self::JobFailed { unit, .. } => Some(format!("journalctl -u {unit} says why")),
            Self::Timeout { .. } | Self::Refused { .. } | Self::Protocol { .. } => None,
        }
    }

    fn is(&self, error_name: &str) -> bool {
        matches!(self, Self::Refused { name, .. } if name == error_name)
    }
}

/// A unit's state.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct UnitState {
    /// Its name, as asked.
    pub name: String,
    /// `LoadState`: `loaded`, `not-found`, `masked` ...
    pub load_state: String,
    /// `ActiveState`: `active`, `inactive`, `failed`, `activating`, `deactivating`.
    pub active_state: String,
    /// `SubState`: `running`, `exited`, `auto-restart` ...
    pub sub_state: String,
    /// `FragmentPath`: the unit's file; empty if it has none.
    pub fragment_path: String,
    /// `DropInPaths`.
    pub drop_in_paths: Vec<String>,
    /// `KillMode`.
    pub kill_mode: String,
    /// `MainPID`; 0 if none runs.
    pub main_pid: u32,
    /// `ExecMainStatus`: the last exit code or signal.
    pub exec_main_status: i32,
    /// `Result`: `success`, `exit-code`, `signal`, `timeout`, `start-limit-hit` ...
    pub result: String,
    /// `NRestarts`: automatic restarts (systemd 235 and later; 0 before).
    pub restarts: u32,
}

impl UnitState {
    /// Whether the unit exists.
    pub fn is_loaded(&self) -> bool {
        self.load_state == "loaded"
    }

    /// Whether it runs, or is on its way there or away.
    pub fn is_busy(&self) -> bool {
        matches!(self.active_state.as_str(), "active" | "activating" | "deactivating")
    }

    /// As an observation.
    pub fn observation(&self) -> UnitObservation {
        UnitObservation {
            name: self.name.clone(),
            active_state: self.active_state.clone(),
            kill_mode: self.kill_mode.clone(),
            main_pid: self.main_pid,
        }
    }
}

/// A connection to systemd.
#[derive(Debug)]
pub struct Manager {
    peer: Peer,
    destination: Option<&'static str>,
}

impl Manager {
    /// Connects over the system bus, or to systemd's own socket if no bus answers within two seconds (at early boot
    /// the bus's socket accepts before anybody reads from it).
    ///
    /// # Errors
    /// If neither answers.
    pub fn connect() -> Result<Self, SystemdError> {
        Self::connect_bus(Path::new(BUS_SOCKET), Duration::from_secs(2)).or_else(|_| Self::connect_private())
    }

    /// Connects to systemd's own socket: needs no bus, so it also works at early boot.
    ///
    /// # Errors
    /// If it does not answer.
    pub fn connect_private() -> Result<Self, SystemdError> {
        let peer = Peer::connect(Path::new(PRIVATE_SOCKET), Instant::now() + CALL_LIMIT)?;
        let mut manager = Self { peer, destination: None };
        manager.check(CALL_LIMIT)?;
        Ok(manager)
    }

    fn connect_bus(socket: &Path, limit: Duration) -> Result<Self, SystemdError> {
        let mut peer = Peer::connect(socket, Instant::now() + limit)?;
        let hello = Target {
            destination: Some("org.freedesktop.DBus"),
            path: "/org/freedesktop/DBus",
            interface: "org.freedesktop.DBus",
            method: "Hello",
        };
        peer.call(hello, &(), limit)?;
        let mut manager = Self { peer, destination: Some(SYSTEMD) };
        manager.check(limit)?;
        Ok(manager)
    }

    /// A bus may be there without systemd on it.
    fn check(&mut self, limit: Duration) -> Result<(), SystemdError> {
        let body = (MANAGER.to_owned(), "Version".to_owned());
        self.call_at(MANAGER_PATH, PROPERTIES, "Get", &body, limit).map(drop)
    }

    /// A unit's state. A unit that does not exist has the load state `not-found`.
    ///
    /// # Errors
    /// If systemd does not answer, or the name is none.
    pub fn unit(&mut self, name: &str) -> Result<UnitState, SystemdError> {
        let (path,) = self
            .manager("LoadUnit", &(name.to_owned(),), CALL_LIMIT)?
            .read::<(zbus::OwnedObjectPath,)>("LoadUnit")?;
        let unit = self.properties(path.as_str(), "org.freedesktop.systemd1.Unit")?;
        let kind = name.rsplit_once('.').map_or("", |(_, kind)| kind);
        let service = match kind {
            "service" => self.properties(path.as_str(), "org.freedesktop.systemd1.Service")?,
            _ => Properties::default(),
        };
        Ok(UnitState {
            name: name.to_owned(),
            load_state: unit.text("LoadState"),
            active_state: unit.text("ActiveState"),
            sub_state: unit.text("SubState"),
            fragment_path: unit.text("FragmentPath"),
            drop_in_paths: unit.get("DropInPaths").unwrap_or_default(),
            kill_mode: service.text("KillMode"),
            main_pid: service.get("MainPID").unwrap_or_default(),
            exec_main_status: service.get("ExecMainStatus").unwrap_or_default(),
            result: service.text("Result"),
            restarts: service.get("NRestarts").unwrap_or_default(),
        })
    }

    /// Restarts `unit`, its failed state reset first: after a start limit was hit, systemd refuses otherwise. Returns
    /// its state once the job ended and the unit is active.
    ///
    /// # Errors
    /// If the job does not end within `limit` (it goes on then), or the unit is not active afterwards.
    pub fn restart(&mut self, unit: &str, limit: Duration) -> Result<UnitState, SystemdError> {
        self.reset_failed(unit)?;
        self.job("RestartUnit", "restart", unit, "active", limit)
    }

    /// Kills the main process of `unit` with SIGKILL: a daemon that hangs is otherwise waited for until its stop
    /// timeout. Its `Restart=` setting applies.
    ///
    /// # Errors
    /// If systemd refuses, e.g. since no process is there.
    pub fn kill_main(&mut self, unit: &str) -> Result<(), SystemdError> {
        const SIGKILL: i32 = 9;
        self.manager("KillUnit", &(unit.to_owned(), "main".to_owned(), SIGKILL), CALL_LIMIT).map(drop)
    }

    /// Resets the failed state and the start limit of `unit`. A unit that is not loaded has neither.
    ///
    /// # Errors
    /// If systemd does not answer.
    pub fn reset_failed(&mut self, unit: &str) -> Result<(), SystemdError> {
        match self.manager("ResetFailedUnit", &(unit.to_owned(),), CALL_LIMIT) {
            Err(error) if error.is("org.freedesktop.systemd1.NoSuchUnit") => Ok(()),
            other => other.map(drop),
        }
    }

    /// `daemon-reload`.
    ///
    /// # Errors
    /// If systemd does not answer in time.
    pub fn reload(&mut self) -> Result<(), SystemdError> {
        self.manager("Reload", &(), RELOAD_LIMIT).map(drop)
    }

    fn job(
        &mut self,
        method: &'static str,
        job: &'static str,
        unit: &str,
        wanted: &str,
        limit: Duration,
    ) -> Result<UnitState, SystemdError> {
        let deadline = Instant::now() + limit;
        let (path,) = self
            .manager(method, &(unit.to_owned(), "replace".to_owned()), CALL_LIMIT.min(limit))?
            .read::<(zbus::OwnedObjectPath,)>(method)?;
        while self.job_exists(path.as_str())? {
            if Instant::now() >= deadline {
                return Err(SystemdError::Timeout { what: format!("the {job} of {unit}"), limit });
            }
            std::thread::sleep(POLL);
        }
        let state = self.unit(unit)?;
        // Units that fail on their way down are stopped nevertheless.
        let reached =
            state.active_state == wanted || (wanted == "inactive" && state.active_state == "failed");
        if reached {
            return Ok(state);
        }
        Err(SystemdError::JobFailed {
            unit: unit.to_owned(),
            job,
            state: format!("{}/{}", state.active_state, state.sub_state),
            result: state.result,
            status: state.exec_main_status,
        })
    }

    fn job_exists(&mut self, path: &str) -> Result<bool, SystemdError> {
        let body = ("org.freedesktop.systemd1.Job".to_owned(), "State".to_owned());
        match self.call_at(path, PROPERTIES, "Get", &body, CALL_LIMIT) {
            Ok(_) => Ok(true),
            Err(SystemdError::Refused { .. }) => Ok(false),
            Err(other) => Err(other),
        }
    }

    fn properties(&mut self, path: &str, interface: &str) -> Result<Properties, SystemdError> {
        let reply = self.call_at(path, PROPERTIES, "GetAll", &(interface.to_owned(),), CALL_LIMIT)?;
        reply.read::<(HashMap<String, OwnedVariant>,)>("GetAll").map(|(all,)| Properties(all))
    }

    fn manager<B>(&mut self, method: &'static str, body: &B, limit: Duration) -> Result<Reply, SystemdError>
    where
        B: serde::Serialize + zbus::wire::Type,
    {
        self.call_at(MANAGER_PATH, MANAGER, method, body, limit)
    }

    fn call_at<B>(
        &mut self,
        path: &str,
        interface: &str,
        method: &'static str,
        body: &B,
        limit: Duration,
    ) -> Result<Reply, SystemdError>
    where
        B: serde::Serialize + zbus::wire::Type,
    {
        self.peer.call(Target { destination: self.destination, path, interface, method }, body, limit)
    }
}

/// An object's properties. Which there are depends on systemd's release, so a missing one is a default.
#[derive(Debug, Default)]
struct Properties(HashMap<String, OwnedVariant>);

impl Properties {
    fn get<T: TryFrom<OwnedVariant>>(&self, name: &str) -> Option<T> {
        self.0.get(name)?.try_clone().ok()?.try_into().ok()
    }

    fn text(&self, name: &str) -> String {
        self.get(name).unwrap_or_default()
    }
}
