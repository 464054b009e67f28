//! Which format each matrix of a file gets, as llama.cpp's quantiser decides without an importance
//! matrix. Source of the rules: llama.cpp's `src/llama-quant.cpp` (`llama_tensor_get_type_impl`,
//! its `use_more_bits`, and the fallback for rows that are no whole blocks); of the numbers of file
//! types: `llama_ftype` in `include/llama.h`.
//!
//! Departure: a name that is a single format gives every matrix but the head that format. The
//! quantiser's files of those names raise a few more (value matrices of IQ4_XS, say); here the
//! format itself is to be measured.

use lucid_tensor::DType;

/// A kind of file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mix {
    base: DType,
    /// Half of the value and down-projection matrices take Q6_K.
    medium: bool,
    /// The head is not raised.
    pub(crate) pure: bool,
    /// What `general.file_type` says.
    pub(crate) file_type: u64,
}

/// (format, number of the files that hold mostly it).
const FILE_TYPES: [(DType, u64); 16] = [
    (DType::F32, 0),
    (DType::F16, 1),
    (DType::BF16, 32),
    (DType::Q4_0, 2),
    (DType::Q4_1, 3),
    (DType::Q5_0, 8),
    (DType::Q5_1, 9),
    (DType::Q8_0, 7),
    (DType::Q2_K, 10),
    (DType::Q3_K, 11),
    (DType::Q4_K, 14),
    (DType::Q5_K, 16),
    (DType::Q6_K, 18),
    (DType::IQ4_NL, 25),
    (DType::IQ4_XS, 30),
    (DType::MXFP4, 38),
];

/// (name, base, number).
const MEDIUM: [(&str, DType, u64); 2] = [("q4_k_m", DType::Q4_K, 15), ("q5_k_m", DType::Q5_K, 17)];

/// Every name that `Mix::named` knows.
pub(crate) fn names() -> impl Iterator<Item = String> {
    let single = FILE_TYPES.iter().map(|row| row.0.name().to_ascii_lowercase());
    single.chain(MEDIUM.iter().map(|row| row.0.to_owned()))
}

impl Mix {
    pub(crate) fn named(name: &str) -> Option<Self> {
        let single = FILE_TYPES.iter().find(|row| row.0.name().eq_ignore_ascii_case(name));
        let medium = MEDIUM.iter().find(|row| row.0.eq_ignore_ascii_case(name));
        let (base, medium, file_type) = match (single, medium) {
            (Some(&(base, file_type)), _) => (base, false, file_type),
            (None, Some(&(_, base, file_type))) => (base, true, file_type),
            (None, None) => return None,
        };
        Some(Self { base, medium, pure: false, file_type })
    }

    /// The format of the matrix `name` with `cols` columns in layer `layer` of `layers`.
    pub(crate) fn dtype(
        self,
        name: &str,
        layer: usize,
        layers: usize,
        cols: usize,
        tied: bool,
    ) -> DType {
        let is_head = name == if tied { "token_embd.weight" } else { "output.weight" };
        let raised = name.ends_with("attn_v.weight") || name.ends_with("ffn_down.weight");
        let dtype = if is_head && !self.pure {
            self.head(cols)
        } else if self.medium && raised && use_more_bits(layer, layers) {
            DType::Q6_K
        } else {
            self.base
        };
        fitting(dtype, cols)
    }

    fn head(self, cols: usize) -> DType {
        match self.base {
            DType::F32 | DType::F16 | DType::BF16 | DType::Q8_0 => self.base,
            DType::MXFP4 => DType::Q8_0,
            base if !cols.is_multiple_of(base.block_len()) => DType::Q8_0,
            _ => DType::Q6_K,
        }
    }
}

/// The first and the last eighth, and every third layer between.
fn use_more_bits(layer: usize, layers: usize) -> bool {
    let eighth = layers / 8;
    layer < eighth || layer >= 7 * layers / 8 || (layer - eighth) % 3 == 2
}

/// The format, or the one that takes its place where rows are no whole blocks of it.
fn fitting(dtype: DType, cols: usize) -> DType {
    if cols.is_multiple_of(dtype.block_len()) {
        return dtype;
    }
    let smaller = match dtype {
        DType::Q2_K | DType::Q3_K | DType::IQ4_XS => DType::IQ4_NL,
        DType::Q4_K => DType::Q5_0,
        DType::Q5_K => DType::Q5_1,
        _ => DType::Q8_0,
    };
    if cols.is_multiple_of(smaller.block_len()) { smaller } else { DType::F16 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(mix: &str, name: &str, layer: usize, cols: usize, expected: DType) {
        let found = Mix::named(mix).unwrap().dtype(name, layer, 16, cols, true);
        assert_eq!(found, expected, "{mix} {name} {layer} {cols}");
    }

    #[test]
    fn the_quantiser_s_choices() {
        check("q4_k_m", "token_embd.weight", 0, 2048, DType::Q6_K);
        check("q4_0", "token_embd.weight", 0, 2048, DType::Q6_K);
        check("q8_0", "token_embd.weight", 0, 2048, DType::Q8_0);
        check("bf16", "token_embd.weight", 0, 2048, DType::BF16);
        check("Q4_K", "blk.0.attn_v.weight", 0, 2048, DType::Q4_K);
        check("q4_k_m", "blk.0.attn_q.weight", 0, 2048, DType::Q4_K);
        // Rows that are no whole blocks of 256.
        check("q4_k_m", "blk.2.attn_v.weight", 2, 896, DType::Q5_0);
        check("q4_k_m", "blk.0.attn_v.weight", 0, 896, DType::Q8_0);
        check("q4_0", "blk.0.attn_v.weight", 0, 100, DType::F16);
        let raised: Vec<_> = (0..16).filter(|&layer| use_more_bits(layer, 16)).collect();
        assert_eq!(raised, [0, 1, 4, 7, 10, 13, 14, 15]);
        check("q5_k_m", "blk.4.ffn_down.weight", 4, 8192, DType::Q6_K);
        check("q5_k_m", "blk.5.ffn_down.weight", 5, 8192, DType::Q5_K);
    }

    #[test]
    fn every_format_has_a_name() {
        for dtype in DType::all() {
            assert_eq!(Mix::named(dtype.name()).unwrap().base, dtype);
        }
        assert_eq!(Mix::named("q4"), None);
    }
}
