//! `cofferdam catalog [show NAME]`.

use crate::cli::{CatalogArgs, CatalogCommand};
use crate::show;
use cofferdam_core::preset;
use cofferdam_host::error::Result;
use std::process::ExitCode;

pub(crate) fn run(args: &CatalogArgs) -> Result<ExitCode> {
    match &args.show {
        None => {
            let entries = preset::catalog()?;
            if args.json {
                return show::json(&entries);
            }
            for entry in &entries {
                show::line(&format!("{:12} {}", entry.name, entry.summary));
            }
            show::line("\ncofferdam catalog show NAME tells what a package must hold.");
        }
        Some(CatalogCommand::Show { name }) => {
            let entry = preset::find(name).and_then(preset::catalog_entry)?;
            if args.json {
                return show::json(&entry);
            }
            show::line(&format!("{}: {}\n\n{}\n", entry.name, entry.summary, entry.description));
            show::line(&format!("handlers  {}", entry.handlers.join(", ")));
            show::line(&format!("needs     {}", entry.needs.join(", ")));
            if !entry.adds.is_empty() {
                show::line(&format!("adds      {}", entry.adds.join(", ")));
            }
            show::line(&format!("\n{}", entry.text.trim_end()));
        }
    }
    Ok(ExitCode::SUCCESS)
}
