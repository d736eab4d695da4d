//! Compiled code on disk, so that a restart does not compile again. It is run as it is, so a file is used only where its digest
//! is the one that the meta store has of what was compiled here; anything else is compiled anew.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use millrace_storage::meta::keys::transform::Sha256;

/// The folder of compiled code.
#[derive(Debug, Clone)]
pub(in crate::transform) struct CompiledFolder {
    path: PathBuf,
}

impl CompiledFolder {
    pub(in crate::transform) const fn new(path: PathBuf) -> Self {
        Self { path }
    }

    fn file(&self, module: Sha256, engine: u64) -> PathBuf {
        self.path.join(format!("{module}-{engine:016x}.compiled"))
    }

    /// The code of a module, where the folder has it with the digest that it must have.
    pub(in crate::transform) fn read(&self, module: Sha256, engine: u64, expected: Sha256) -> Option<Vec<u8>> {
        let code = fs::read(self.file(module, engine)).ok()?;
        (digest(&code) == expected).then_some(code)
    }

    /// Keeps code. Nothing depends on it: what cannot be kept is compiled again.
    pub(in crate::transform) fn write(&self, module: Sha256, engine: u64, code: &[u8]) -> std::io::Result<()> {
        fs::create_dir_all(&self.path)?;
        let (file, new) = (self.file(module, engine), self.path.join(format!("{module}.new")));
        fs::File::create(&new)?.write_all(code)?;
        fs::rename(&new, file)
    }

    /// Removes the code of modules that are not kept, and of other engines.
    pub(in crate::transform) fn tidy(&self, engine: u64, kept: impl Fn(&str) -> bool) {
        let Ok(entries) = fs::read_dir(&self.path) else { return };
        let ending = format!("-{engine:016x}.compiled");
        for entry in entries.flatten() {
            let name = entry.file_name();
            let used = name.to_str().and_then(|name| name.strip_suffix(&ending)).is_some_and(&kept);
            if !used {
                remove(&entry.path());
            }
        }
    }
}

fn remove(path: &Path) {
    if let Err(error) = fs::remove_file(path) {
        tracing::warn!(%error, path = %path.display(), "cannot remove compiled code that nothing uses");
    }
}

/// The SHA-256 digest of bytes.
pub(in crate::transform) fn digest(bytes: &[u8]) -> Sha256 {
    let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
    Sha256::try_from(digest.as_ref()).expect("a SHA-256 digest has 32 bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let cache = CompiledFolder::new(folder.path().join("compiled"));
        let (module, other) = (digest(b"module"), digest(b"other"));
        assert_eq!(cache.read(module, 1, digest(b"code")), None);
        cache.write(module, 1, b"code").unwrap();
        assert_eq!(cache.read(module, 1, digest(b"code")).as_deref(), Some(&b"code"[..]));
        assert_eq!(cache.read(module, 2, digest(b"code")), None);
        assert_eq!(cache.read(other, 1, digest(b"code")), None);
        fs::write(cache.file(module, 1), b"c0de").unwrap();
        assert_eq!(cache.read(module, 1, digest(b"code")), None, "somebody else's code");
    }

    #[test]
    fn what_nothing_uses_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let cache = CompiledFolder::new(folder.path().to_path_buf());
        let (kept, gone) = (digest(b"kept"), digest(b"gone"));
        for (module, engine) in [(kept, 1), (kept, 2), (gone, 1)] {
            cache.write(module, engine, b"code").unwrap();
        }
        fs::write(folder.path().join("stray"), b"x").unwrap();
        cache.tidy(1, |module| module == kept.to_string());
        let left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert_eq!(left, [cache.file(kept, 1)]);
    }
}
