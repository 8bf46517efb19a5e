//! `registries.conf` (version 2) of CRI-O, Podman and their kin: where a registry's images may be had. No I/O.

use super::hosts_toml::one_line;
use crate::registry::site::{Can, Scheme, Site, Trust, authority};
use cofferdam_core::reference::Reference;
use toml_edit::{DocumentMut, Item, TableLike};

/// What one or several files say.
#[derive(Debug, Default)]
pub(super) struct Registries(Vec<Entry>);

/// What they say of one reference.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// Nothing.
    Nothing,
    /// Nobody may pull it. The prefix that says so.
    Blocked(String),
    /// Where it may be had.
    Sites(Vec<Site>),
}

#[derive(Debug)]
struct Entry {
    prefix: String,
    blocked: bool,
    own: Location,
    mirrors: Vec<Location>,
}

#[derive(Debug)]
struct Location {
    location: String,
    insecure: bool,
    by: By,
}

/// For which references a mirror is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    All,
    Digest,
    Tag,
}

impl Registries {
    /// Adds what a file says. Of two entries with one prefix the later one counts. A file of version 1 says nothing.
    pub(super) fn add(&mut self, text: &str) -> Result<(), String> {
        let document: DocumentMut = text.parse().map_err(|error: toml_edit::TomlError| one_line(&error))?;
        let Some(registries) = document.get("registry") else { return Ok(()) };
        for table in tables(registries).ok_or("`registry` is no list of tables")? {
            let entry = Entry::of(table)?;
            self.0.retain(|known| known.prefix != entry.prefix);
            self.0.push(entry);
        }
        Ok(())
    }

    /// What it says of `reference`: the entry with the longest prefix that fits counts.
    pub(super) fn said(&self, reference: &Reference) -> Said {
        let name = format!("{}/{}", reference.registry(), reference.repository());
        let whole = reference.to_string();
        let fitting = self.0.iter().filter_map(|entry| Some((fit(&entry.prefix, &whole)?, entry)));
        let Some((length, entry)) = fitting.max_by_key(|(length, _)| *length) else { return Said::Nothing };
        if entry.blocked {
            return Said::Blocked(entry.prefix.clone());
        }
        let rest = name.get(length..).unwrap_or_default();
        let pinned = reference.digest().is_some();
        let counts = |mirror: &&Location| match mirror.by {
            By::All => true,
            By::Digest => pinned,
            By::Tag => !pinned,
        };
        let mirrors = entry.mirrors.iter().filter(counts).map(|mirror| (mirror, true));
        let all = mirrors.chain([(&entry.own, false)]);
        Said::Sites(all.map(|(location, mirror)| location.site(reference, rest, mirror)).collect())
    }
}

impl Entry {
    fn of(table: &dyn TableLike) -> Result<Self, String> {
        let location = text(table, "location")?;
        let prefix = text(table, "prefix")?.or_else(|| location.clone());
        let prefix = prefix.ok_or("a `registry` has neither `prefix` nor `location`")?;
        if location.is_none() && !prefix.starts_with("*.") {
            return Err(format!("the registry `{prefix}` has no `location`"));
        }
        let only_by_digest = flag(table, "mirror-by-digest-only")?;
        let mut mirrors = Vec::new();
        if let Some(found) = table.get("mirror") {
            for mirror in tables(found).ok_or_else(|| format!("the mirrors of `{prefix}` are no tables"))? {
                let location = text(mirror, "location")?;
                let location = location.ok_or_else(|| format!("a mirror of `{prefix}` has no `location`"))?;
                let by = match text(mirror, "pull-from-mirror")?.as_deref() {
                    _ if only_by_digest => By::Digest,
                    None | Some("" | "all") => By::All,
                    Some("digest-only") => By::Digest,
                    Some("tag-only") => By::Tag,
                    Some(other) => return Err(format!("`pull-from-mirror` of `{prefix}` is `{other}`")),
                };
                mirrors.push(Location { location, insecure: flag(mirror, "insecure")?, by });
            }
        }
        let insecure = flag(table, "insecure")?;
        let own = Location { location: location.unwrap_or_default(), insecure, by: By::All };
        Ok(Self { prefix, blocked: flag(table, "blocked")?, own, mirrors })
    }
}

impl Location {
    /// The place, for what follows the prefix in the reference.
    fn site(&self, reference: &Reference, rest: &str, mirror: bool) -> Site {
        let origin = Site::origin(reference);
        let whole = format!("{}{rest}", self.location.trim_end_matches('/'));
        let (host, repository) = match (self.location.as_str(), whole.split_once('/')) {
            ("", _) | (_, None) => (reference.registry(), reference.repository()),
            (_, Some(parts)) => parts,
        };
        let itself = (host, repository) == (reference.registry(), reference.repository());
        let name = if itself { origin.name.clone() } else { host.to_owned() };
        let scheme = if self.insecure { Scheme::Either } else { origin_scheme(host, &origin) };
        let trust = Trust { anyone: self.insecure, ..Trust::default() };
        let (authority, repository) = (authority(host).to_owned(), repository.to_owned());
        Site { name, scheme, authority, repository, trust, can: Can::ALL, mirror, ..origin }
    }
}

/// Only the registry of the reference itself is spoken to as always.
fn origin_scheme(host: &str, origin: &Site) -> Scheme {
    if authority(host) == origin.authority { origin.scheme } else { Scheme::Https }
}

/// How much of a reference a prefix stands for; nothing if it does not fit.
fn fit(prefix: &str, reference: &str) -> Option<usize> {
    let length = match prefix.strip_prefix('*') {
        // The names below a domain.
        Some(domain) => {
            let at = reference.find(domain)?;
            if reference.get(..at)?.contains('/') {
                return None;
            }
            at + domain.len()
        }
        None => {
            reference.strip_prefix(prefix)?;
            prefix.len()
        }
    };
    let is_host = !reference.get(..length)?.contains('/');
    match reference.get(length..)?.chars().next() {
        None | Some('/') => Some(length),
        // After a host that is a port, and another registry.
        Some(':' | '@') if !is_host => Some(length),
        _ => None,
    }
}

fn tables(item: &Item) -> Option<Vec<&dyn TableLike>> {
    if let Some(tables) = item.as_array_of_tables() {
        return Some(tables.iter().map(|table| table as &dyn TableLike).collect());
    }
    let inline = item.as_array()?.iter();
    inline.map(|value| value.as_inline_table().map(|table| table as &dyn TableLike)).collect()
}

fn text(table: &dyn TableLike, key: &str) -> Result<Option<String>, String> {
    match table.get(key) {
        None => Ok(None),
        Some(item) => {
            item.as_str().map(|text| Some(text.to_owned())).ok_or_else(|| format!("`{key}` is no text"))
        }
    }
}

fn flag(table: &dyn TableLike, key: &str) -> Result<bool, String> {
    match table.get(key) {
        None => Ok(false),
        Some(item) => item.as_bool().ok_or_else(|| format!("`{key}` is neither true nor false")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(texts: &[&str], reference: &str) -> Said {
        let mut registries = Registries::default();
        for text in texts {
            registries.add(text).unwrap();
        }
        registries.said(&Reference::new(reference).unwrap())
    }

    fn places(text: &str, reference: &str) -> Vec<String> {
        match said(&[text], reference) {
            Said::Sites(sites) => {
                let shown = |site: &Site| format!("{}{}", site.authority, site.place("manifests", "1"));
                sites.iter().map(shown).collect()
            }
            other => vec![format!("{other:?}")],
        }
    }

    const TEXT: &str = r#"
unqualified-search-registries = ["docker.io"]
[[registry]]
prefix = "r.example/team"
location = "store.example:5000/inner"
[[registry.mirror]]
location = "near.example/cache"
[[registry.mirror]]
location = "plain.example/x/"
insecure = true
[[registry]]
location = "r.example"
blocked = true
[[registry]]
prefix = "*.wild.example"
[[registry]]
location = "docker.io"
[[registry.mirror]]
location = "hub.example"
pull-from-mirror = "digest-only"
[[registry.mirror]]
location = "tags.example"
pull-from-mirror = "tag-only"
"#;

    #[test]
    fn the_longest_prefix_counts_and_is_replaced() {
        let team = [
            "near.example/v2/cache/kata/manifests/1",
            "plain.example/v2/x/kata/manifests/1",
            "store.example:5000/v2/inner/kata/manifests/1",
        ];
        assert_eq!(places(TEXT, "r.example/team/kata:3"), team);
        assert_eq!(said(&[TEXT], "r.example/teams/kata"), Said::Blocked("r.example".to_owned()));
        assert_eq!(said(&[TEXT], "r.example:5000/kata"), Said::Nothing, "another port, another registry");
        assert_eq!(said(&[TEXT], "other.example/kata"), Said::Nothing);
        assert_eq!(places(TEXT, "a.b.wild.example/kata"), ["a.b.wild.example/v2/kata/manifests/1"]);
        assert_eq!(said(&[TEXT], "wild.example/kata"), Said::Nothing);
        assert_eq!(said(&[TEXT], "other.example/a.wild.example/x"), Said::Nothing);
        let Said::Sites(sites) = said(&[TEXT], "r.example/team/kata:3") else { panic!() };
        assert_eq!(sites.iter().map(|site| site.trust.anyone).collect::<Vec<_>>(), [false, true, false]);
        assert_eq!(sites.iter().map(|site| site.mirror).collect::<Vec<_>>(), [true, true, false]);
        assert_eq!(sites[1].scheme, Scheme::Either, "insecure: without TLS, too");
    }

    #[test]
    fn mirrors_may_be_for_digests_or_for_tags() {
        let origin = "registry-1.docker.io/v2/library/kata/manifests/1";
        assert_eq!(places(TEXT, "kata:3"), ["tags.example/v2/library/kata/manifests/1", origin]);
        let pinned = format!("kata@sha256:{}", "a".repeat(64));
        assert_eq!(places(TEXT, &pinned), ["hub.example/v2/library/kata/manifests/1", origin]);
        let only = "[[registry]]\nlocation = \"r.example\"\nmirror-by-digest-only = true\n\
                    [[registry.mirror]]\nlocation = \"m.example\"\n";
        assert_eq!(places(only, "r.example/kata:3"), ["r.example/v2/kata/manifests/1"]);
    }

    #[test]
    fn later_files_replace_entries_of_earlier_ones() {
        let later = "[[registry]]\nlocation = \"r.example\"\nblocked = false\n";
        assert!(matches!(said(&[TEXT, later], "r.example/x"), Said::Sites(_)));
        assert!(matches!(said(&[later, TEXT], "r.example/x"), Said::Blocked(_)));
        let inline = "registry = [{ location = \"r.example\", blocked = true }]";
        assert!(matches!(said(&[inline], "r.example/x"), Said::Blocked(_)));
        let old = "[registries.search]\nregistries = ['docker.io']\n";
        assert_eq!(said(&[old], "kata"), Said::Nothing);
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, reason) in [
            ("registry = 5", "no list of tables"),
            ("[[registry]]\nblocked = true", "neither `prefix` nor `location`"),
            ("[[registry]]\nprefix = \"x\"", "no `location`"),
            ("[[registry]]\nlocation = 5", "no text"),
            ("[[registry]]\nlocation = \"x\"\ninsecure = 1", "neither true nor false"),
            ("[[registry]]\nlocation = \"x\"\n[[registry.mirror]]\ninsecure = true", "no `location`"),
            (
                "[[registry]]\nlocation = \"x\"\n[[registry.mirror]]\nlocation = \"y\"\npull-from-mirror = \"z\"",
                "`z`",
            ),
            ("[[registry]", "no TOML"),
        ] {
            let error = Registries::default().add(text).unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
