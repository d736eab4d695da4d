//! The master key: is it there, does only its owner read it, and does it wrap and unwrap?

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use millrace_storage::encryption::{KeyMaterial, MasterKey};

use super::Check;
use crate::encryption::{EncryptionSettings, master_keys};

/// What others than the owner may do with a file: read, write, run.
const OTHERS: u32 = 0o077;

/// Checks the master key where one is set. A probe is wrapped and unwrapped; nothing is stored.
pub(super) async fn check(settings: &EncryptionSettings) -> Vec<Check> {
    let files = [&settings.master_key_file, &settings.vault_token_file];
    let mut checks: Vec<Check> = files.into_iter().flatten().map(|path| permissions(path)).collect();
    let advice = "see the settings `encryption.*` in `millrace serve --help`";
    match master_keys(settings) {
        Err(error) => checks.push(Check::bad("master key", error.to_string(), advice)),
        Ok(masters) => {
            if let Ok(master) = masters.current() {
                checks.push(probe(&**master).await);
            }
        }
    }
    checks
}

fn permissions(path: &Path) -> Check {
    const NAME: &str = "key file";
    let place = path.display();
    match path.metadata() {
        Err(error) => Check::bad(NAME, format!("{place} cannot be read: {error}"), "give the server's user the file"),
        Ok(file) if mode(&file) & OTHERS != 0 => Check::bad(
            NAME,
            format!("{place} has mode {:04o}: others than its owner get at it", mode(&file)),
            format!("chmod 0400 {place}"),
        ),
        Ok(file) => Check::good(NAME, format!("{place} has mode {:04o}", mode(&file))),
    }
}

fn mode(file: &Metadata) -> u32 {
    file.mode() & 0o7777
}

async fn probe(master: &dyn MasterKey) -> Check {
    const NAME: &str = "master key";
    let (key, bound_to) = (KeyMaterial::new(*b"a probe, and no key of a stream."), b"doctor");
    let unwrapped = match master.wrap(&key, bound_to).await {
        Ok(wrapped) => master.unwrap(&wrapped, bound_to).await,
        Err(error) => Err(error),
    };
    match unwrapped {
        Ok(found) if found == key => Check::good(NAME, format!("{} wraps and unwraps", master.id())),
        Ok(_) => {
            Check::bad(NAME, format!("{} unwraps another key", master.id()), "use a transit key that is not derived")
        }
        Err(error) => Check::bad(NAME, error.to_string(), "encrypted streams are locked until it can be used"),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::super::Verdict;
    use super::*;

    #[tokio::test]
    async fn a_file_that_others_read_is_bad_and_a_private_one_is_good() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("master.key");
        std::fs::write(&path, "0123456789abcdef".repeat(4)).unwrap();
        let settings = EncryptionSettings { master_key_file: Some(path.clone()), ..EncryptionSettings::default() };
        for (mode, verdict) in
            [(0o400, Verdict::Good), (0o600, Verdict::Good), (0o640, Verdict::Bad), (0o404, Verdict::Bad)]
        {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            let checks = check(&settings).await;
            assert_eq!((checks[0].check, checks[0].verdict), ("key file", verdict), "{mode:o}: {checks:?}");
            assert_eq!((checks[1].check, checks[1].verdict), ("master key", Verdict::Good), "{checks:?}");
        }
        std::fs::remove_file(&path).unwrap();
        let checks = check(&settings).await;
        assert!(checks.iter().all(|check| check.verdict == Verdict::Bad) && checks.len() == 2, "{checks:?}");
        assert!(check(&EncryptionSettings::default()).await.is_empty());
    }
}
