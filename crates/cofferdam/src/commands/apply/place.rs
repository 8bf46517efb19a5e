//! Where a file is applied: on this machine (or an offline tree), or from a container on its host.

use crate::cli::ApplyArgs;
use crate::commands::{look_ahead, outcome_of};
use crate::show;
use cofferdam_core::class::Class;
use cofferdam_core::history::Through;
use cofferdam_core::name::RuntimeName;
use cofferdam_core::plan::{self, Force};
use cofferdam_host::error::{HostError, Result};
use cofferdam_host::event::{Ending, Event, Outcome, Sink, Transfer};
use cofferdam_host::history;
use cofferdam_host::outpost::Outpost;
use cofferdam_host::package::TemporaryRoom;
use cofferdam_host::report::Depth;
use cofferdam_host::store::Store;
use cofferdam_host::survey::SurveyOptions;
use cofferdam_host::transact::Options;
use cofferdam_host::worker::{Job, Wish};
use std::time::{Duration, Instant};

/// How long a pod waits for another change of its host to end. Then the kubelet starts it again.
const BUSY_LIMIT: Duration = Duration::from_secs(300);
const BUSY_POLL: Duration = Duration::from_secs(1);

/// Where a file is applied.
pub(super) enum Place<'a> {
    /// Here.
    Here(&'a ApplyArgs),
    /// On the host of this container.
    Host(&'a ApplyArgs, Outpost),
}

/// Told the name of the package's runtime as soon as it is known; may refuse it.
pub(super) type Named<'n> = dyn FnMut(&RuntimeName) -> Result<()> + 'n;

impl<'a> Place<'a> {
    pub(super) fn of(args: &'a ApplyArgs) -> Result<Self> {
        Ok(if args.in_pod {
            Self::Host(args, Outpost::establish(&args.node.unit)?)
        } else {
            Self::Here(args)
        })
    }

    /// Carries out a wish, and shows how it ended. None: it was only shown what it would do.
    pub(super) fn carry_out(
        &mut self,
        mut wish: Wish,
        options: Options,
        survey: SurveyOptions,
        named: &mut Named<'_>,
    ) -> Result<Option<Outcome>> {
        let asker = history::asker(Through::Apply);
        match self {
            Self::Here(args) => {
                let planned = match &mut wish {
                    Wish::Install { source, expect } => {
                        let room = TemporaryRoom::default();
                        let root = args.node.open_root()?;
                        let ledger = Store::new(&root)?.ledger()?;
                        let installed = ledger.as_ref().map(|ledger| (&root, ledger));
                        let mut progress = show::Progress::new(args.node.json);
                        let mut told = |transfer: Transfer| {
                            if !args.node.json {
                                progress.fetched(&transfer);
                            }
                        };
                        let package = match args.dry_run {
                            true => room.look(source, installed, &mut told),
                            false => room.open(source, installed, &mut told).map(|dir| dir.package),
                        };
                        progress.finish();
                        let package = &package?;
                        // A tag may move until the worker asks for it.
                        source.place = source.place.clone().pinned(package.image);
                        named(&package.descriptor.name)?;
                        look_ahead(&args.node, &survey, args.dry_run, |survey| {
                            let rehearse = !args.skip_rehearsal;
                            let plan =
                                survey.plan(|world| plan::install(world, package, expect, rehearse))?;
                            Ok((plan, survey.overridden(&package.descriptor)))
                        })?
                    }
                    Wish::Remove { name } => look_ahead(&args.node, &survey, args.dry_run, |survey| {
                        let rehearse = !args.skip_rehearsal;
                        let plan = survey.plan(|world| plan::remove(world, name, Force::No, rehearse))?;
                        Ok((plan, Vec::new()))
                    })?,
                    _ => return Err(HostError::new(Class::Internal, "apply only installs and removes")),
                };
                if let Some((plan, overridden)) = planned {
                    if args.dry_run {
                        show::plan(&plan, &overridden, args.node.json)?;
                        return Ok(None);
                    }
                    if plan.is_empty() {
                        let generation = plan.after.generation.saturating_sub(1);
                        let message = format!("{}: nothing to do", plan.change);
                        return Ok(Some(Outcome::new(Ending::Unchanged, generation, message)));
                    }
                }
                outcome_of(&Job { wish, survey, options, asker, errand: None }, &args.node).map(Some)
            }
            Self::Host(args, outpost) => {
                let mut progress = show::Progress::new(args.node.json);
                let mut refused = Ok(());
                let mut sink = |event: Event| {
                    if let Event::Read { package } = &event {
                        refused = named(&package.name);
                    }
                    progress.take(event);
                };
                let job = Job { wish, survey, options, asker, errand: None };
                let deadline = Instant::now() + BUSY_LIMIT;
                let outcome = loop {
                    // Another pod's change, or one that this pod began before it was started again.
                    match outpost.carry_out(&job, &mut sink) {
                        Err(error) if error.class() == Class::Unavailable && Instant::now() < deadline => {
                            std::thread::sleep(BUSY_POLL);
                        }
                        ended => break ended?,
                    }
                };
                progress.finish();
                refused.map(|()| Some(outcome))
            }
        }
    }

    /// The runtimes that an earlier apply installed.
    pub(super) fn declared(&self) -> Result<Vec<RuntimeName>> {
        Ok(match self {
            Self::Here(args) => {
                let root = args.node.open_root()?;
                let ledger = Store::new(&root)?.ledger()?;
                let runtimes = ledger.into_iter().flat_map(|ledger| ledger.runtimes);
                runtimes.filter(|(_, installed)| installed.declared).map(|(name, _)| name).collect()
            }
            Self::Host(_, outpost) => {
                let runtimes = outpost.report(Depth::Quick)?.runtimes.into_iter();
                runtimes.filter(|(_, runtime)| runtime.declared).map(|(name, _)| name).collect()
            }
        })
    }
}
