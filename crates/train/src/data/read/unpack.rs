//! gz, zst and xz, told by their first bytes, with bounds: on the memory of a decoder, and on how
//! much more may come out than went in.

use std::error::Error;
use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::bufread::MultiGzDecoder;
use lzma_rust2::XzReader;
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

/// Texts shrink to a third or a tenth; lists of the same line to a hundredth.
const RATIO_MAX: u64 = 250;
/// So much may come out of anything.
const BYTES_FREE: u64 = 1 << 26;
/// What a decoder may remember. The largest levels of zstd and xz need 128 and 64 MiB.
const WINDOW_BYTES_MAX: u64 = 1 << 27;
const BUFFER_BYTES: usize = 1 << 16;

/// More came out than texts give.
#[derive(Debug)]
pub(super) struct Bomb {
    taken: u64,
    given: u64,
}

impl fmt::Display for Bomb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { taken, given } = self;
        write!(f, "{given} bytes from {taken}, at most {RATIO_MAX} for one; the rest is left out")
    }
}

impl Error for Bomb {}

/// The compressed form is broken.
#[derive(Debug)]
pub(super) struct Damaged(io::Error);

impl fmt::Display for Damaged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; what came before is kept", self.0)
    }
}

impl Error for Damaged {}

/// Opens a file and unpacks it if it is compressed. What is taken from the file is added to
/// `taken`.
pub(super) fn open(path: &Path, taken: &Arc<AtomicU64>) -> io::Result<Box<dyn BufRead>> {
    let file = File::open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    let start = taken.load(Ordering::Relaxed);
    let counted = Counted { file, taken: Arc::clone(taken) };
    let mut reader = BufReader::with_capacity(BUFFER_BYTES, counted);
    let magic = reader.fill_buf()?;
    let unpacked: Box<dyn Read> = if magic.starts_with(&[0x1f, 0x8b]) {
        Box::new(MultiGzDecoder::new(reader))
    } else if magic.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        Box::new(Frames::new(reader))
    } else if magic.starts_with(&[0xfd, b'7', b'z', b'X', b'Z', 0]) {
        let kilobytes = (WINDOW_BYTES_MAX >> 10) as u32;
        Box::new(XzReader::new_mem_limit(reader, true, kilobytes))
    } else {
        return Ok(Box::new(reader));
    };
    let bounded = Bounded { reader: unpacked, taken: Arc::clone(taken), start, given: 0 };
    Ok(Box::new(BufReader::with_capacity(BUFFER_BYTES, bounded)))
}

/// Counts what is read.
struct Counted {
    file: File,
    taken: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.taken.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

/// Ends with an error where too much comes out.
struct Bounded<R> {
    reader: R,
    taken: Arc<AtomicU64>,
    start: u64,
    given: u64,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = match self.reader.read(buffer) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Err(error),
            Err(error) => return Err(io::Error::other(Damaged(error))),
        };
        self.given += count as u64;
        let taken = self.taken.load(Ordering::Relaxed) - self.start;
        if self.given > BYTES_FREE && self.given / RATIO_MAX > taken {
            return Err(io::Error::other(Bomb { taken, given: self.given }));
        }
        Ok(count)
    }
}

/// The frames of a zstd file, one after the other.
struct Frames<R> {
    reader: R,
    decoder: FrameDecoder,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Between,
    Within,
}

impl<R: BufRead> Frames<R> {
    fn new(reader: R) -> Self {
        let mut decoder = FrameDecoder::new();
        decoder.set_max_window_size(WINDOW_BYTES_MAX);
        Self { reader, decoder, stage: Stage::Between }
    }

    /// Begins the next frame, if there is one.
    fn begin(&mut self) -> io::Result<Option<()>> {
        while !self.reader.fill_buf()?.is_empty() {
            match self.decoder.init(&mut self.reader) {
                Ok(()) => {
                    self.stage = Stage::Within;
                    return Ok(Some(()));
                }
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                    length,
                    ..
                })) => {
                    let mut frame = self.reader.by_ref().take(u64::from(length));
                    io::copy(&mut frame, &mut io::sink())?;
                }
                Err(error) => return Err(io::Error::other(error)),
            }
        }
        Ok(None)
    }
}

impl<R: BufRead> Read for Frames<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            if self.stage == Stage::Between && self.begin()?.is_none() {
                return Ok(0);
            }
            while self.decoder.can_collect() == 0 && !self.decoder.is_finished() {
                let one = BlockDecodingStrategy::UptoBlocks(1);
                self.decoder.decode_blocks(&mut self.reader, one).map_err(io::Error::other)?;
            }
            let count = self.decoder.read(buffer)?;
            if count > 0 {
                return Ok(count);
            }
            let expected = self.decoder.get_checksum_from_data();
            if expected.is_some() && expected != self.decoder.get_calculated_checksum() {
                return Err(io::Error::other("a frame does not have its checksum"));
            }
            self.stage = Stage::Between;
        }
    }
}
