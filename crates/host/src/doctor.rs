//! The doctor's look at a machine, as far as it can be looked at; [`cofferdam_core::doctor`] judges.

use crate::error::Result;
use crate::observe;
use crate::root::HostRoot;
use crate::survey::{Look, SurveyOptions};
use cofferdam_core::descriptor::Descriptor;
use cofferdam_core::doctor::{Case, EngineFault, Fact, Facts, Unseen};
use cofferdam_core::observation::{EngineObservation, TargetObservation};

/// What the doctor saw.
#[derive(Debug)]
pub struct Checkup {
    engine: std::result::Result<EngineObservation, EngineFault>,
    target: Fact<TargetObservation>,
    facts: Facts,
}

impl Checkup {
    /// Looks. An engine that does not run, or cannot be asked, is a finding and no error.
    ///
    /// # Errors
    /// If Cofferdam's own records cannot be read, or say something else than `options`.
    pub fn take(root: &HostRoot, options: &SurveyOptions) -> Result<Self> {
        let look = Look::take(root, options)?;
        let facts = observe::facts(root, &look.prefix, look.engine.as_ref().ok());
        Ok(Self {
            target: observe::target(root, &look.prefix).map_err(|error| Unseen::new(error.to_string())),
            engine: look.engine.map_err(|error| EngineFault::from(&error)),
            facts,
        })
    }

    /// The case to judge: for a runtime, or for the node alone.
    pub fn case<'a>(&'a self, wanted: Option<&'a Descriptor>) -> Case<'a> {
        Case { engine: self.engine.as_ref(), target: self.target.as_ref(), facts: &self.facts, wanted }
    }

    /// Everything that was looked at.
    pub const fn facts(&self) -> &Facts {
        &self.facts
    }
}
