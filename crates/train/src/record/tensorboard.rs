//! Scalars in the files that TensorBoard reads. Sources: TensorFlow's `record_writer.cc` (frames),
//! `event.proto` and `summary.proto` (numbers of fields), RFC 3720 (CRC-32C).

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

/// Appends scalars to one file. Each record is written as a whole; a torn one at the end is what a
/// reader skips.
#[derive(Debug)]
pub struct TensorBoard {
    file: File,
}

impl TensorBoard {
    /// Opens a file to append to, and begins it if it is new. TensorBoard looks for `tfevents` in
    /// its name.
    ///
    /// # Errors
    /// What the system says.
    pub fn open(path: &Path, wall_time: f64) -> io::Result<Self> {
        let mut file = OpenOptions::new().create(true).append(true).open(path)?;
        if file.metadata()?.len() == 0 {
            let mut event = Vec::new();
            put_double(&mut event, 1, wall_time);
            put_bytes(&mut event, 3, b"brain.Event:2");
            file.write_all(&frame(&event))?;
        }
        Ok(Self { file })
    }

    /// Appends the scalars of a step; `wall_time` in seconds since 1970.
    ///
    /// # Errors
    /// What the system says.
    pub fn scalars(
        &mut self,
        wall_time: f64,
        step: u64,
        scalars: &[(&str, f64)],
    ) -> io::Result<()> {
        let mut summary = Vec::new();
        for (tag, value) in scalars {
            let mut entry = Vec::new();
            put_bytes(&mut entry, 1, tag.as_bytes());
            put_varint(&mut entry, 2 << 3 | 5);
            entry.extend_from_slice(&(*value as f32).to_le_bytes());
            put_bytes(&mut summary, 1, &entry);
        }
        let mut event = Vec::new();
        put_double(&mut event, 1, wall_time);
        put_varint(&mut event, 2 << 3);
        put_varint(&mut event, step);
        put_bytes(&mut event, 5, &summary);
        self.file.write_all(&frame(&event))
    }
}

/// Length, its checksum, the bytes, their checksum.
fn frame(bytes: &[u8]) -> Vec<u8> {
    let length = (bytes.len() as u64).to_le_bytes();
    let mut out = length.to_vec();
    out.extend_from_slice(&masked(&length).to_le_bytes());
    out.extend_from_slice(bytes);
    out.extend_from_slice(&masked(bytes).to_le_bytes());
    out
}

/// A checksum that stays good if the sum of its own bytes is taken.
fn masked(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn put_bytes(out: &mut Vec<u8>, field: u64, bytes: &[u8]) {
    put_varint(out, field << 3 | 2);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn put_double(out: &mut Vec<u8>, field: u64, value: f64) {
    put_varint(out, field << 3 | 1);
    out.extend_from_slice(&value.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_what_tensorflow_writes() {
        // The checksum of nine digits, from RFC 3720's family of examples.
        assert_eq!(crc32c::crc32c(b"123456789"), 0xe306_9283);
        let frame = frame(b"abc");
        assert_eq!(frame[..8], 3_u64.to_le_bytes());
        assert_eq!(frame.len(), 8 + 4 + 3 + 4);
        let sum = u32::from_le_bytes([frame[15], frame[16], frame[17], frame[18]]);
        let unmasked = sum.wrapping_sub(0xa282_ead8).rotate_left(15);
        assert_eq!(unmasked, crc32c::crc32c(b"abc"));
    }

    #[test]
    fn a_file_is_begun_once() {
        let path = std::env::temp_dir().join(format!("lucid-tfevents-{}", std::process::id()));
        for step in [1, 2] {
            let mut board = TensorBoard::open(&path, 10.0).unwrap();
            board.scalars(11.0, step, &[("loss", 2.5), ("rate", 0.1)]).unwrap();
        }
        let bytes = std::fs::read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let mut rest = &bytes[..];
        let mut lengths = Vec::new();
        while let Some((head, tail)) = rest.split_at_checked(12) {
            let length = u64::from_le_bytes(head[..8].try_into().unwrap()) as usize;
            assert_eq!(head[8..], masked(&head[..8]).to_le_bytes());
            assert_eq!(tail[length..length + 4], masked(&tail[..length]).to_le_bytes());
            lengths.push(length);
            rest = &tail[length + 4..];
        }
        assert_eq!(lengths.len(), 3, "one beginning and two steps");
        assert!(rest.is_empty());
        assert!(bytes.windows(13).any(|window| window == b"brain.Event:2"));
    }
}
