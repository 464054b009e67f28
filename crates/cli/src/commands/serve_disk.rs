//! Where `lucid serve`, and `lucid run --keep`, keep prompts' keys and values, and the secret
//! without which nobody finds them.

use std::fs;
use std::io::{ErrorKind, Write as _};
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use lucid_engine::DiskOptions;
use lucid_sys::{create_private, create_private_folder};

use crate::env::Environment;
use crate::serve_args::{DiskCache, LoadArgs};

/// The file of the secret.
const SECRET: &str = "secret";

/// What the flags say; none is nothing on disk.
pub(crate) fn options(args: &LoadArgs, environment: &Environment) -> Result<Option<DiskOptions>> {
    let DiskCache::Bytes(bytes_max) = args.disk_cache else { return Ok(None) };
    let folder = args.kv_cache_folder.as_ref().or(environment.kv_cache.as_ref());
    let Some(folder) = folder.cloned() else { return Ok(None) };
    let kept = in_folder(&folder, bytes_max);
    kept.context("`--disk-cache off` does without").map(Some)
}

/// Keys and values in a folder, of at most so many bytes.
pub(crate) fn in_folder(folder: &Path, bytes_max: u64) -> Result<DiskOptions> {
    let key = secret(folder)
        .with_context(|| format!("keys and values cannot be kept in {}", folder.display()))?;
    // Apart: whatever lies among the blocks and is none of them is removed.
    Ok(DiskOptions { folder: folder.join("blocks"), bytes_max, key })
}

/// The secret of this installation; made where there is none.
fn secret(folder: &Path) -> Result<[u8; 32]> {
    create_private_folder(folder)?;
    let path = folder.join(SECRET);
    for _ in 0..50 {
        match fs::read(&path).map(<[u8; 32]>::try_from) {
            Ok(Ok(secret)) => return Ok(secret),
            // Another server is about to write it.
            Ok(Err(_)) => {
                sleep(Duration::from_millis(20));
                continue;
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error.into()),
        }
        // Two servers may start at once: one makes the file, the other reads it.
        match create_private(&path) {
            Ok(mut file) => {
                let secret = lucid_server::secret();
                file.write_all(&secret)?;
                file.sync_all()?;
                return Ok(secret);
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error.into()),
        }
    }
    bail!("{} is not the secret that it should be; remove it", path.display())
}
