//! Other programs that install runtimes.

use super::{Looked, no, yes};
use crate::doctor::Case;
use crate::doctor::facts::{Installer, registered_by};
use crate::record::PREFIX;
use std::collections::BTreeMap;

/// Nobody else has registered the same runtime. Others' presence alone is worth knowing, and no obstacle: a folder such
/// as /opt/kata is also what a release's archive unpacks to.
pub(in crate::doctor) fn other_installers(case: &Case<'_>) -> Looked {
    let traces = case.facts.traces.as_ref()?;
    let prefix = case.target.map(|target| target.prefix.as_str()).unwrap_or(PREFIX);
    let mut found: BTreeMap<Installer, String> = BTreeMap::new();
    for (path, text) in case.engine.iter().flat_map(|engine| &engine.files) {
        for installer in registered_by(text, prefix) {
            found.entry(installer).or_insert_with(|| path.to_string());
        }
    }
    let wanted = case.wanted.map(|wanted| wanted.name.as_str()).unwrap_or_default();
    let same = found.iter().find(|(installer, _)| !wanted.is_empty() && installer.manages(wanted));
    let same = same.map(|(installer, path)| (*installer, path.clone()));
    for trace in traces {
        found.entry(trace.installer).or_insert_with(|| trace.path.clone());
    }
    let named = |(installer, path): (&Installer, &String)| {
        format!("{} ({path}): {}", installer.name(), installer.means())
    };
    if let Some((installer, path)) = same {
        let name = installer.name();
        return no(
            format!(
                "{name} manages {wanted} on this node, too ({path}): each would undo what the other does"
            ),
            format!("remove what {name} installed by its own means first"),
        );
    }
    if found.is_empty() {
        return yes("no trace of another installer");
    }
    yes(found.iter().map(named).collect::<Vec<_>>().join("; "))
}
