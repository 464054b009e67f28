//! One file from the hub to its place. Bytes are appended to a hidden `.part` file whose name
//! carries the checksum, so that a later pull goes on with the same content or not at all; size and
//! checksum are compared before the rename that makes the file visible.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::digest::Hasher;
use super::http::{Client, Failure, Method, Reply};
use super::{PlannedFile, PullEvent};
use crate::names::split_extension;
use crate::{HubError, RepoId};

const BUFFER_BYTES: usize = 256 << 10;
/// Progress that makes up for the failures before it.
const PROGRESS_BYTES: u64 = 1 << 20;
/// Left free on the disk.
const ROOM_BYTES: u64 = 16 << 20;

pub(super) struct Download<'a> {
    pub(super) client: &'a Client,
    pub(super) repo: &'a RepoId,
    pub(super) url: String,
    pub(super) file: &'a PlannedFile,
    pub(super) folder: &'a Path,
    /// Bytes of the plan's files before this one.
    pub(super) done_before: u64,
    pub(super) total_bytes: u64,
    pub(super) cancel: &'a AtomicBool,
}

type Progress<'p> = &'p mut dyn FnMut(PullEvent<'_>);

impl Download<'_> {
    pub(super) fn run(&self, progress: Progress<'_>) -> Result<(), HubError> {
        let file = self.file;
        let finished = PullEvent::Finished { file, checked: file.checksum.is_some() };
        let target = self.folder.join(&file.name);
        if self.is_complete(&target, progress)? {
            progress(finished);
            return Ok(());
        }
        let parent = target.parent().unwrap_or(self.folder);
        fs::create_dir_all(parent).map_err(|source| HubError::io("create", parent, source))?;
        let mut part = Part::open(part_path(self.folder, file), file)?;
        if part.bytes > 0 {
            progress(PullEvent::Verifying { file });
            part.hash_existing(self.cancel)?;
        }
        progress(PullEvent::Started { file, resumed_bytes: part.bytes });
        self.transfer_all(&mut part, progress)?;
        part.finish(&target)?;
        progress(finished);
        Ok(())
    }

    /// Whether the file is in place already with the right content.
    fn is_complete(&self, target: &Path, progress: Progress<'_>) -> Result<bool, HubError> {
        let right_size =
            target.metadata().is_ok_and(|data| data.is_file() && data.len() == self.file.bytes);
        let Some(checksum) = self.file.checksum.as_ref().filter(|_| right_size) else {
            return Ok(right_size);
        };
        progress(PullEvent::Verifying { file: self.file });
        let mut hasher = Hasher::new(Some(checksum), self.file.bytes);
        let io = |source| HubError::io("read", target, source);
        hash(&mut File::open(target).map_err(io)?, target, &mut hasher, self.cancel)?;
        Ok(hasher.hex() == checksum.hex())
    }

    /// Repeats the transfer until all bytes are there.
    fn transfer_all(&self, part: &mut Part<'_>, progress: Progress<'_>) -> Result<(), HubError> {
        let mut failures = 0;
        while part.bytes < self.file.bytes {
            let before = part.bytes;
            let (reason, wait) = match self.transfer(part, progress) {
                Ok(()) => continue,
                Err(Failure::Final(error)) => return Err(error),
                // The server's file ends before the declared size.
                Err(Failure::OutOfRange) => {
                    return Err(part.wrong_size(format!("the server has {before} at most")));
                }
                Err(Failure::Passing { reason, wait }) => (reason, wait),
            };
            if part.bytes >= before + PROGRESS_BYTES {
                failures = 0;
            }
            failures += 1;
            if failures >= self.client.retry.attempts {
                let url = self.url.clone();
                return Err(HubError::Network { url, attempts: failures, reason });
            }
            let wait = wait.unwrap_or_else(|| self.client.pause(failures));
            progress(PullEvent::Retrying { file: self.file, reason: &reason, wait });
            sleep(wait, self.cancel)?;
        }
        Ok(())
    }

    /// One request, until all bytes are there or something fails.
    fn transfer(&self, part: &mut Part<'_>, progress: Progress<'_>) -> Result<(), Failure> {
        check_cancel(self.cancel)?;
        let what = format!("{}:{}", self.repo, self.file.name);
        let mut reply = self.client.request(Method::Get, &self.url, part.bytes, &what)?;
        self.align(part, &reply)?;
        let mut buffer = vec![0; BUFFER_BYTES];
        while part.bytes < self.file.bytes {
            check_cancel(self.cancel)?;
            let count = match reply.body.read(&mut buffer) {
                Ok(0) => return Err(Failure::passing("the connection ended early")),
                Ok(count) => count,
                Err(error) => return Err(Failure::passing(error.to_string())),
            };
            if count as u64 > self.file.bytes - part.bytes {
                return Err(part.wrong_size("more arrived".to_owned()).into());
            }
            if part.bytes == 0 && looks_like_pickle(&self.file.name, &buffer[..count]) {
                part.delete();
                let (repo, file) = (self.repo.to_string(), self.file.name.clone());
                return Err(HubError::Pickle { repo, file }.into());
            }
            part.append(&buffer[..count])?;
            progress(PullEvent::Progress {
                file: self.file,
                file_bytes: part.bytes,
                done_bytes: self.done_before + part.bytes,
                total_bytes: self.total_bytes,
            });
        }
        // Without a declared length, one look whether the body goes on.
        if reply.body_bytes.is_none() && matches!(reply.body.read(&mut buffer[..1]), Ok(1)) {
            return Err(part.wrong_size("more arrived".to_owned()).into());
        }
        Ok(())
    }

    /// Brings the part in line with where the answer starts, and compares the sizes.
    fn align(&self, part: &mut Part<'_>, reply: &Reply) -> Result<(), Failure> {
        let start = reply.range_start.unwrap_or(0);
        if start == 0 && part.bytes > 0 {
            part.restart()?; // the server does not know ranges
        } else if start != part.bytes {
            let reason = format!("it starts at byte {start}, asked was {}", part.bytes);
            return Err(HubError::BadReply { url: self.url.clone(), reason }.into());
        }
        match reply.body_bytes {
            Some(length) if length != self.file.bytes - start => {
                Err(part.wrong_size(format!("{length} are offered from byte {start}")).into())
            }
            _ => Ok(()),
        }
    }
}

/// A file that is not complete yet. Locked against other processes while it is open.
struct Part<'a> {
    path: PathBuf,
    handle: File,
    bytes: u64,
    hasher: Hasher,
    planned: &'a PlannedFile,
}

impl<'a> Part<'a> {
    fn open(path: PathBuf, planned: &'a PlannedFile) -> Result<Self, HubError> {
        let handle = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(|source| HubError::io("write", &path, source))?;
        // Not every file system knows locks; without them a race costs a checksum error.
        let locked = !matches!(handle.try_lock(), Err(TryLockError::WouldBlock));
        if !locked || !path.exists() {
            return Err(HubError::Busy { path });
        }
        let bytes = handle.metadata().map_err(|e| HubError::io("read", &path, e))?.len();
        let hasher = Hasher::new(planned.checksum.as_ref(), planned.bytes);
        let mut part = Self { path, handle, bytes, hasher, planned };
        if bytes > planned.bytes {
            part.restart()?;
        }
        Ok(part)
    }

    fn io(&self, action: &'static str) -> impl Fn(std::io::Error) -> HubError + use<> {
        let path = self.path.clone();
        move |source| HubError::io(action, &path, source)
    }

    /// Reads what an earlier pull left, and stands at its end.
    fn hash_existing(&mut self, cancel: &AtomicBool) -> Result<(), HubError> {
        self.handle.rewind().map_err(self.io("read"))?;
        self.bytes = hash(&mut self.handle, &self.path, &mut self.hasher, cancel)?;
        Ok(())
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), HubError> {
        self.handle.write_all(bytes).map_err(self.io("write"))?;
        self.hasher.update(bytes);
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    fn restart(&mut self) -> Result<(), HubError> {
        self.handle.set_len(0).map_err(self.io("truncate"))?;
        self.handle.seek(SeekFrom::Start(0)).map_err(self.io("write"))?;
        self.bytes = 0;
        self.hasher = Hasher::new(self.planned.checksum.as_ref(), self.planned.bytes);
        Ok(())
    }

    fn delete(&self) {
        // If even that fails, the next pull finds the wrong content again and says so.
        let _ = fs::remove_file(&self.path);
    }

    fn wrong_size(&self, found: String) -> HubError {
        self.delete();
        HubError::WrongSize { file: self.planned.name.clone(), expected: self.planned.bytes, found }
    }

    /// Compares the checksum and gives the file its name.
    fn finish(self, target: &Path) -> Result<(), HubError> {
        self.handle.sync_all().map_err(self.io("write"))?;
        let Self { path, handle, hasher, planned, .. } = self;
        drop(handle); // Windows renames closed files only
        if let Some(checksum) = &planned.checksum {
            let found = hasher.hex();
            if found != checksum.hex() {
                fs::remove_file(&path).map_err(|e| HubError::io("delete", &path, e))?;
                let (file, expected) = (planned.name.clone(), checksum.hex().to_owned());
                return Err(HubError::WrongChecksum { file, expected, found });
            }
        }
        fs::rename(&path, target).map_err(|source| HubError::io("rename", &path, source))?;
        delete_older_parts(target);
        Ok(())
    }
}

/// How much of `file` earlier pulls left in `folder`.
pub(super) fn bytes_on_disk(folder: &Path, file: &PlannedFile) -> u64 {
    let length = |path: PathBuf| path.metadata().map_or(0, |data| data.len());
    let complete = length(folder.join(&file.name));
    if complete == file.bytes {
        return complete;
    }
    let partial = length(part_path(folder, file));
    if partial <= file.bytes { partial } else { 0 }
}

/// Whether the disk has room for what is still missing. A disk that does not say passes.
pub(super) fn check_room(folder: &Path, files: &[PlannedFile]) -> Result<(), HubError> {
    let missing = files.iter().map(|file| file.bytes - bytes_on_disk(folder, file));
    let needed = missing.fold(0, u64::saturating_add);
    let Ok(available) = fs4::available_space(folder) else { return Ok(()) };
    if needed > 0 && needed.saturating_add(ROOM_BYTES) > available {
        return Err(HubError::DiskFull { path: folder.to_owned(), needed, available });
    }
    Ok(())
}

fn part_path(folder: &Path, file: &PlannedFile) -> PathBuf {
    let id = file.checksum.as_ref().and_then(|checksum| checksum.hex().get(..12));
    let id = id.unwrap_or("unchecked");
    let target = folder.join(&file.name);
    target.with_file_name(format!("{}{id}.part", part_prefix(&target)))
}

fn part_prefix(target: &Path) -> String {
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    format!(".{name}.")
}

/// Parts of other versions of a file that is complete now.
fn delete_older_parts(target: &Path) {
    let prefix = part_prefix(target);
    let Some(entries) = target.parent().and_then(|folder| folder.read_dir().ok()) else { return };
    for entry in entries.filter_map(Result::ok) {
        let name = entry.file_name().to_string_lossy().into_owned();
        let middle = name.strip_prefix(&prefix).and_then(|rest| rest.strip_suffix(".part"));
        if middle.is_some_and(|id| id == "unchecked" || id.len() == 12 && !id.contains('.')) {
            let _ = fs::remove_file(entry.path()); // a leftover costs room, nothing else
        }
    }
}

fn hash(
    file: &mut File,
    path: &Path,
    hasher: &mut Hasher,
    cancel: &AtomicBool,
) -> Result<u64, HubError> {
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut bytes = 0;
    loop {
        check_cancel(cancel)?;
        let count = file.read(&mut buffer).map_err(|e| HubError::io("read", path, e))?;
        if count == 0 {
            return Ok(bytes);
        }
        hasher.update(&buffer[..count]);
        bytes += count as u64;
    }
}

fn check_cancel(cancel: &AtomicBool) -> Result<(), HubError> {
    if cancel.load(Ordering::Relaxed) { Err(HubError::Cancelled) } else { Ok(()) }
}

fn sleep(wait: Duration, cancel: &AtomicBool) -> Result<(), HubError> {
    let start = Instant::now();
    while let Some(left) = wait.checked_sub(start.elapsed()).filter(|left| !left.is_zero()) {
        check_cancel(cancel)?;
        thread::sleep(left.min(Duration::from_millis(50)));
    }
    check_cancel(cancel)
}

/// A `.bin` may be a llama2.c checkpoint or a pickle. A pickle is a zip archive or starts with
/// `0x80 VERSION OPCODE`; a checkpoint of dimension 640 shares the first two bytes, then has 0.
fn looks_like_pickle(name: &str, start: &[u8]) -> bool {
    split_extension(name).1 == "bin"
        && (start.starts_with(b"PK\x03\x04")
            || matches!(start, [0x80, 1..=5, opcode, ..] if *opcode != 0))
}
