//! Whether each line of the product that refuses an archive refused one of the cases: a case that wants its words goes red
//! when the line is gone.

use cofferdam_host::archive::refusals;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Lines that no archive reaches, and why they are there.
const UNREACHED: [(&str, &str, &str); 1] =
    [("writing.rs", "is shorter than it says", "else a reader that gives nothing would be asked for ever")];

/// The lines that no case reached.
pub fn without_a_case() -> Vec<String> {
    let reached: BTreeSet<(String, u32)> = refusals::lines()
        .into_iter()
        .map(|(file, line)| (Path::new(file).file_name().unwrap().to_string_lossy().into_owned(), line))
        .collect();
    let mut without = Vec::new();
    let mut guards = 0;
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/archive")).unwrap() {
        let path = entry.unwrap().path();
        let file = path.file_name().unwrap().to_string_lossy().into_owned();
        let text = fs::read_to_string(&path).unwrap();
        let product = text.split("#[cfg(test)]").next().unwrap_or_default();
        for (number, line) in (1..).zip(product.lines()) {
            let refuses =
                line.contains("ArchiveError::refused(") || line.contains("ArchiveError::too_large(");
            if !refuses {
                continue;
            }
            guards += 1;
            let is_known = UNREACHED.iter().any(|(known, words, _)| *known == file && line.contains(words));
            if !is_known && !reached.contains(&(file.clone(), number)) {
                without.push(format!("{file}:{number}: {}", line.trim()));
            }
        }
    }
    assert!(guards > 50, "only {guards} guards were found");
    without
}
