//! Built things, outside the checkout, keyed by the hash of their recipe.
//!
//! ```text
//! <cache>/entries/<name>-<digest16>/   complete; never changed afterwards
//! <cache>/building/<name>-<digest16>/  half-built; only the holder of the lock looks at it
//! <cache>/locks/<name>-<digest16>      flock: exclusive while building, shared while in use
//! <cache>/debs/                        packages that debootstrap fetched
//! <cache>/nodes/<number>/              the writable part of running nodes
//! <cache>/sites/<kind>-<number>/       files and logs of running clusters and registries
//! ```
//!
//! `<cache>` is `$COFFERDAM_CACHE`, else `$XDG_CACHE_HOME/cofferdam-testbed`, else `~/.cache/cofferdam-testbed`.

use super::error::{Error, Result};
use super::host;
use rustix::fs::{FlockOperation, flock};
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// The cache directory.
#[derive(Clone, Debug)]
pub struct Cache {
    root: PathBuf,
}

/// Everything that decides what is built: two recipes with equal text give the same entry.
#[derive(Clone, Debug)]
pub struct Recipe {
    name: &'static str,
    text: String,
}

/// A complete entry. It cannot be removed while this value lives.
#[derive(Debug)]
pub struct Entry {
    path: PathBuf,
    _in_use: File,
}

impl Recipe {
    /// A recipe without ingredients.
    pub const fn new(name: &'static str) -> Self {
        Self { name, text: String::new() }
    }

    /// Adds an ingredient: a version, a list of packages, the text of a file.
    pub fn with(mut self, key: &str, value: impl AsRef<str>) -> Self {
        let value = value.as_ref();
        // The length keeps two ingredients from running into one another.
        self.text.push_str(&format!("{key} {}\n{value}\n", value.len()));
        self
    }

    fn key(&self) -> String {
        let digest = Sha256::digest(format!("{}\n{}", self.name, self.text));
        let hex: String = digest.iter().take(8).map(|b| format!("{b:02x}")).collect();
        format!("{}-{hex}", self.name)
    }
}

impl Entry {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Cache {
    /// The cache that the environment names.
    ///
    /// # Errors
    /// No variable names one, or it cannot be made.
    pub fn open() -> Result<Self> {
        let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|p| p.is_absolute());
        let root = absolute("COFFERDAM_CACHE")
            .or_else(|| absolute("XDG_CACHE_HOME").map(|p| p.join("cofferdam-testbed")))
            .or_else(|| absolute("HOME").map(|p| p.join(".cache/cofferdam-testbed")))
            .ok_or_else(|| Error::Missing {
                what: "a cache directory".into(),
                why: "COFFERDAM_CACHE, XDG_CACHE_HOME and HOME are all unset or relative".into(),
                next: "set COFFERDAM_CACHE to an absolute path".into(),
            })?;
        Self::at(root)
    }

    /// A cache in this directory.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn at(root: PathBuf) -> Result<Self> {
        let cache = Self { root };
        for dir in ["entries", "building", "locks", "debs", "nodes", "sites"] {
            let dir = cache.root.join(dir);
            fs::create_dir_all(&dir).map_err(Error::io("create", &dir))?;
        }
        Ok(cache)
    }

    /// The directory for packages that debootstrap fetches.
    pub fn debs(&self) -> PathBuf {
        self.root.join("debs")
    }

    /// The directory for the writable part of running nodes.
    pub fn nodes(&self) -> PathBuf {
        self.root.join("nodes")
    }

    /// The directory for what running clusters and registries write.
    pub fn sites(&self) -> PathBuf {
        self.root.join("sites")
    }

    /// The entry of a recipe, built first if it is not there. `build` gets an empty directory.
    ///
    /// # Errors
    /// What `build` fails with; nothing half-built is ever returned.
    pub fn entry(&self, recipe: &Recipe, build: impl FnOnce(&Path) -> Result<()>) -> Result<Entry> {
        let key = recipe.key();
        let path = self.root.join("entries").join(&key);
        if let Some(entry) = self.present(&key, &path)? {
            return Ok(entry);
        }
        let lock = self.lock_file(&key)?;
        lock_exclusive(&lock, &key)?;
        // Another process may have built it while we waited.
        if !path.exists() {
            self.build(&key, &path, recipe, build)?;
        }
        // Turning an exclusive lock into a shared one may let others in between, so look again.
        drop(lock);
        self.present(&key, &path)?.ok_or_else(|| Error::Unexpected {
            what: format!("cache entry {key}"),
            why: "it was removed as soon as it was built".into(),
            next: "do not clean the cache while something is being built".into(),
        })
    }

    fn build(
        &self,
        key: &str,
        path: &Path,
        recipe: &Recipe,
        build: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<()> {
        let temporary = self.root.join("building").join(key);
        // We hold the lock: whatever lies there was left by a builder that died.
        host::remove_tree(&temporary)?;
        fs::create_dir_all(&temporary).map_err(Error::io("create", &temporary))?;
        step(recipe.name, || build(&temporary))?;
        fs::rename(&temporary, path).map_err(Error::io("complete", path))
    }

    fn present(&self, key: &str, path: &Path) -> Result<Option<Entry>> {
        let lock = self.lock_file(key)?;
        flock(&lock, FlockOperation::LockShared).map_err(Error::io("lock", &self.root.join(key)))?;
        Ok(path.exists().then(|| Entry { path: path.to_owned(), _in_use: lock }))
    }

    fn lock_file(&self, key: &str) -> Result<File> {
        let path = self.root.join("locks").join(key);
        File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(Error::io("open the lock", &path))
    }

    /// Removes every entry that nothing uses, and the fetched packages. Returns the names of what stayed.
    ///
    /// # Errors
    /// Something cannot be removed.
    pub fn clean(&self) -> Result<Vec<String>> {
        let mut stayed = Vec::new();
        for dir in ["entries", "building"] {
            for path in host::children(&self.root.join(dir))? {
                let key = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                let lock = self.lock_file(&key)?;
                if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok() {
                    host::remove_tree(&path)?;
                } else {
                    stayed.push(key);
                }
            }
        }
        for path in host::children(&self.debs())? {
            host::remove_tree(&path)?;
        }
        Ok(stayed)
    }
}

fn lock_exclusive(lock: &File, key: &str) -> Result<()> {
    if flock(lock, FlockOperation::NonBlockingLockExclusive).is_ok() {
        return Ok(());
    }
    eprintln!("waiting for another process that builds {key}");
    flock(lock, FlockOperation::LockExclusive).map_err(Error::io("lock", Path::new(key)))
}

/// Carries out a named step and prints its name and its time.
///
/// # Errors
/// Those of the step.
pub fn step<T>(name: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    eprintln!("{name} ...");
    let begun = Instant::now();
    let result = work();
    let word = if result.is_ok() { "done" } else { "failed" };
    eprintln!("{name}: {word} in {:.1} s", begun.elapsed().as_secs_f64());
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    fn unexpected() -> Error {
        Error::Unexpected { what: "a test".into(), why: "on purpose".into(), next: "nothing".into() }
    }

    #[test]
    fn half_built_entry_is_never_used() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::at(dir.path().to_owned()).unwrap();
        let recipe = Recipe::new("thing").with("version", "1");
        let failed = cache.entry(&recipe, |dir| {
            host::write(&dir.join("half"), "", 0o644)?;
            Err(unexpected())
        });
        assert!(failed.is_err());
        let entry = cache.entry(&recipe, |dir| host::write(&dir.join("whole"), "", 0o644)).unwrap();
        let names: Vec<_> = host::children(entry.path()).unwrap();
        assert_eq!(names, [entry.path().join("whole")], "nothing of the failed build is left");
        let again = cache.entry(&recipe, |_| Err(unexpected())).unwrap();
        assert_eq!(again.path(), entry.path());
        let other = cache.entry(&recipe.with("version", "2"), |_| Ok(())).unwrap();
        assert_ne!(other.path(), entry.path());
    }

    #[test]
    fn two_builders_build_once() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::at(dir.path().to_owned()).unwrap();
        let (builds, barrier) = (AtomicUsize::new(0), Barrier::new(2));
        let build = || {
            barrier.wait();
            let build = |_: &Path| {
                builds.fetch_add(1, Ordering::SeqCst);
                std::thread::sleep(Duration::from_millis(100));
                Ok(())
            };
            cache.entry(&Recipe::new("thing"), build).map(drop)
        };
        std::thread::scope(|scope| {
            let (a, b) = (scope.spawn(build), scope.spawn(build));
            a.join().unwrap().unwrap();
            b.join().unwrap().unwrap();
        });
        assert_eq!(builds.into_inner(), 1);
    }

    #[test]
    fn clean_leaves_what_is_in_use() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::at(dir.path().to_owned()).unwrap();
        let used = cache.entry(&Recipe::new("used"), |_| Ok(())).unwrap();
        let unused = cache.entry(&Recipe::new("unused"), |_| Ok(())).unwrap().path().to_owned();
        assert_eq!(cache.clean().unwrap().len(), 1);
        assert!(used.path().exists() && !unused.exists());
    }
}
