//! The number formats that weights files hold. Block sizes and ids follow ggml (`ggml.h`, `enum
//! ggml_type`; `ggml-common.h`, the `block_*` structures).

/// How the elements of a tensor are stored. Quantised formats pack `block_len` consecutive elements
/// of a row into `block_bytes` bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(non_camel_case_types, reason = "the field writes Q4_0, IQ4_XS; so do files and people")]
#[expect(missing_docs, reason = "each variant is the format's own name")]
pub enum DType {
    F32,
    F16,
    BF16,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    Q2_K,
    Q3_K,
    Q4_K,
    Q5_K,
    Q6_K,
    IQ4_NL,
    IQ4_XS,
    MXFP4,
}

/// One row per format: (format, ggml id, elements per block, bytes per block, name).
const TABLE: [(DType, u32, usize, usize, &str); 16] = [
    (DType::F32, 0, 1, 4, "F32"),
    (DType::F16, 1, 1, 2, "F16"),
    (DType::BF16, 30, 1, 2, "BF16"),
    (DType::Q4_0, 2, 32, 18, "Q4_0"),
    (DType::Q4_1, 3, 32, 20, "Q4_1"),
    (DType::Q5_0, 6, 32, 22, "Q5_0"),
    (DType::Q5_1, 7, 32, 24, "Q5_1"),
    (DType::Q8_0, 8, 32, 34, "Q8_0"),
    (DType::Q2_K, 10, 256, 84, "Q2_K"),
    (DType::Q3_K, 11, 256, 110, "Q3_K"),
    (DType::Q4_K, 12, 256, 144, "Q4_K"),
    (DType::Q5_K, 13, 256, 176, "Q5_K"),
    (DType::Q6_K, 14, 256, 210, "Q6_K"),
    (DType::IQ4_NL, 20, 32, 18, "IQ4_NL"),
    (DType::IQ4_XS, 23, 256, 136, "IQ4_XS"),
    (DType::MXFP4, 39, 32, 17, "MXFP4"),
];

impl DType {
    /// Every format, in the order of the table.
    pub fn all() -> impl Iterator<Item = DType> {
        TABLE.iter().map(|row| row.0)
    }

    /// The format with this ggml type id, if it is one that Lucid reads.
    pub fn from_ggml(id: u32) -> Option<DType> {
        TABLE.iter().find(|row| row.1 == id).map(|row| row.0)
    }

    /// The format's ggml type id, as written in a GGUF tensor's entry.
    pub fn ggml_id(self) -> u32 {
        self.row().1
    }

    /// Elements per block; 1 for plain floats.
    pub fn block_len(self) -> usize {
        self.row().2
    }

    /// Bytes per block.
    pub fn block_bytes(self) -> usize {
        self.row().3
    }

    /// The name that people use, e.g. `Q4_K`.
    pub fn name(self) -> &'static str {
        self.row().4
    }

    /// Bytes of a row of `len` elements; `None` if it is not a whole number of blocks or overflows.
    pub fn row_bytes(self, len: usize) -> Option<usize> {
        if !len.is_multiple_of(self.block_len()) {
            return None;
        }
        (len / self.block_len()).checked_mul(self.block_bytes())
    }

    fn row(self) -> &'static (DType, u32, usize, usize, &'static str) {
        // Sixteen entries; the order of the enum is the order of the table (tested below).
        &TABLE[self as usize]
    }
}

impl std::fmt::Display for DType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_the_enum() {
        for (index, row) in TABLE.iter().enumerate() {
            assert_eq!(row.0 as usize, index, "{}", row.4);
            assert_eq!(DType::from_ggml(row.1), Some(row.0));
        }
    }

    #[test]
    fn rows_are_whole_blocks() {
        assert_eq!(DType::Q4_K.row_bytes(512), Some(288));
        assert_eq!(DType::Q4_K.row_bytes(300), None);
        assert_eq!(DType::F32.row_bytes(usize::MAX), None);
    }
}
