//! Writes a float matrix as a `.npy` file, row by row. Source: NumPy's format description, version
//! 1.0 (`numpy/lib/format.py`).

use std::io::{self, Write};

/// Writes the header of a little-endian f32 matrix `[rows, cols]`, row-major; the rows follow.
pub(crate) fn write_header(out: &mut dyn Write, rows: usize, cols: usize) -> io::Result<()> {
    let mut header =
        format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {cols}), }}");
    // Magic, version and length take 10 bytes; data starts at a multiple of 64, after a line break.
    let padding = (10 + header.len() + 1).next_multiple_of(64) - (10 + header.len() + 1);
    header.push_str(&" ".repeat(padding));
    header.push('\n');
    out.write_all(b"\x93NUMPY\x01\x00")?;
    out.write_all(&(header.len() as u16).to_le_bytes())?;
    out.write_all(header.as_bytes())
}

/// Writes one row.
pub(crate) fn write_row(out: &mut dyn Write, row: &[f32]) -> io::Result<()> {
    let bytes: Vec<u8> = row.iter().flat_map(|value| value.to_le_bytes()).collect();
    out.write_all(&bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_starts_at_a_multiple_of_64() {
        for (rows, cols) in [(1, 1), (12, 32_000), (4_000_000, 128_256)] {
            let mut out = Vec::new();
            write_header(&mut out, rows, cols).unwrap();
            assert_eq!(out.len() % 64, 0);
            assert_eq!(usize::from(u16::from_le_bytes([out[8], out[9]])), out.len() - 10);
            assert_eq!(out.last(), Some(&b'\n'));
        }
    }
}
