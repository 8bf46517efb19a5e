//! "Did you mean": the nearest of some known words.

/// The candidate nearest to `word`, if one is near enough to have been meant.
pub(crate) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (word.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| (distance(&folded(word), &folded(candidate)), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Case and the choice between `_` and `-` are the commonest slips: they cost nothing.
fn folded(word: &str) -> Vec<char> {
    // A word longer than any key is cut: the table of distances grows with the product of the lengths.
    word.chars().take(128).flat_map(char::to_lowercase).map(|c| if c == '_' { '-' } else { c }).collect()
}

/// Changes, insertions, removals and swaps of neighbours that make `a` into `b`, one row of the table at a time.
fn distance(a: &[char], b: &[char]) -> usize {
    let at = |row: &[usize], index: usize| row.get(index).copied().unwrap_or(usize::MAX / 2);
    let mut before: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.iter().enumerate() {
        let mut next = vec![i + 1];
        for (j, to) in b.iter().enumerate() {
            let changed = at(&row, j) + usize::from(from != to);
            let mut best = changed.min(at(&row, j + 1) + 1).min(at(&next, j) + 1);
            if i > 0 && j > 0 && a.get(i - 1) == Some(to) && b.get(j - 1) == Some(from) {
                best = best.min(at(&before, j - 1) + 1);
            }
            next.push(best);
        }
        before = std::mem::replace(&mut row, next);
    }
    at(&row, b.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_forgiven_and_strangers_are_not() {
        let keys = ["shim", "oci-runtime", "pod-annotations"];
        assert_eq!(nearest("shimm", keys), Some("shim"));
        assert_eq!(nearest("shmi", keys), Some("shim"));
        assert_eq!(nearest("oci_runtime", keys), Some("oci-runtime"));
        assert_eq!(nearest("Pod-Anotations", keys), Some("pod-annotations"));
        assert_eq!(nearest("kernel", keys), None);
        assert_eq!(nearest("", keys), None);
    }
}
