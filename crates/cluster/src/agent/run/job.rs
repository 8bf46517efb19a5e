//! A task as a job for the host's worker.

use super::Agent;
use crate::agent::host::Host;
use crate::agent::secrets;
use crate::agent::state::Looked;
use crate::agent::task::Task;
use crate::api::Assigned;
use crate::source::source;
use cofferdam_core::class::Class;
use cofferdam_core::doctor::Skip;
use cofferdam_core::history::Through;
use cofferdam_core::name::RuntimeName;
use cofferdam_core::plan::Overwrite;
use cofferdam_host::error::HostError;
use cofferdam_host::history;
use cofferdam_host::survey::{EngineChoice, SurveyOptions};
use cofferdam_host::transact::{self, Mend};
use cofferdam_host::worker::{Job, Wish};

impl<H: Host> Agent<H> {
    /// What the worker is to do; nothing, if what is to go was never there.
    pub(super) fn job(&self, task: &Task) -> Result<Option<Job>, HostError> {
        let wish = match task {
            Task::Install(assigned) => {
                let source =
                    source(&assigned.target.package, |name| secrets::read(&self.options.pull_secrets, name))?
                        .through(&self.options.proxies);
                let drifted = self.report.as_ref().is_some_and(|r| self.known.is_drifted(assigned, r));
                match drifted {
                    true => Wish::Repair(Mend {
                        name: self.known.runtime_of(assigned),
                        from: Some(source.place),
                        descriptor: source.descriptor,
                        proxies: self.options.proxies.clone(),
                        overwrite: Overwrite::No,
                        policy: source.policy,
                        limits: source.limits,
                    }),
                    false => Wish::Install { source, expect: self.known.expected(assigned) },
                }
            }
            Task::Remove(assigned) => match self.known.runtime_of(assigned) {
                Some(name) if is_there(self.looked(), &name) => Wish::Remove { name },
                _ => return Ok(None),
            },
        };
        let survey = SurveyOptions {
            prefix: None,
            engine: EngineChoice::Running { unit: self.host.unit().to_owned() },
            systemd: true,
            skip_checks: match task {
                Task::Install(assigned) => skips(assigned)?,
                // A removal must not fail on what only an installation looks at.
                Task::Remove(_) => Vec::new(),
            },
        };
        let asker = history::asker(Through::Agent);
        let (options, errand) = (transact::Options::default(), Some(task.errand()));
        Ok(Some(Job { wish, survey, options, asker, errand }))
    }
}

/// Whether the host has it; yes, if that is not known.
fn is_there(looked: Looked<'_>, name: &RuntimeName) -> bool {
    match looked {
        Looked::Saw(report) => report.runtimes.contains_key(name),
        // What was seen before the looks failed may have changed since.
        Looked::NotYet | Looked::Failed(_) => true,
    }
}

fn skips(assigned: &Assigned) -> Result<Vec<Skip>, HostError> {
    let skip = |name: &String| {
        Skip::new(name)
            .map_err(|error| HostError::new(Class::Invalid, format!("skipChecks: `{name}`: {error}")))
    };
    assigned.target.skip_checks.iter().map(skip).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::agent::state::tests::report;
    use cofferdam_core::record::Verdict;

    #[test]
    fn only_a_look_that_did_not_see_it_says_that_it_is_gone() {
        let (gvisor, kata) = (RuntimeName::new("gvisor-oci").unwrap(), RuntimeName::new("kata").unwrap());
        let seen = report(&[], Verdict::Proven);
        assert!(is_there(Looked::Saw(&seen), &gvisor) && !is_there(Looked::Saw(&seen), &kata));
        assert!(is_there(Looked::NotYet, &kata) && is_there(Looked::Failed("no D-Bus"), &kata));
    }
}
