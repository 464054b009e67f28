//! The register tile: inner products of a few rows with a few others at once, so that each load
//! serves several products. Every product sums in the order of `dot`, whatever the tile.

use crate::simd::{LANES, Simd};

/// A row of numbers that can be read sixteen at a time, whatever its storage.
pub(crate) trait Row<S: Simd>: Copy {
    /// Elements of the row.
    fn len(self) -> usize;
    /// Elements `16 * chunk ..`.
    ///
    /// # Safety
    /// `16 * chunk + 16 <= len()`.
    unsafe fn chunk(self, s: S, chunk: usize) -> S::F;
    /// Elements from `start` to the end, fewer than sixteen, padded with zeros.
    fn tail(self, s: S, start: usize) -> S::F;
}

impl<S: Simd> Row<S> for &[f32] {
    #[inline(always)]
    fn len(self) -> usize {
        self.len()
    }
    #[inline(always)]
    unsafe fn chunk(self, s: S, chunk: usize) -> S::F {
        // SAFETY: the caller keeps the chunk inside the row.
        s.load(unsafe { &*self.as_ptr().add(chunk * LANES).cast() })
    }
    #[inline(always)]
    fn tail(self, s: S, start: usize) -> S::F {
        s.load_partial(&self[start..])
    }
}

/// Binary16 in memory of our own.
impl<S: Simd> Row<S> for &[u16] {
    #[inline(always)]
    fn len(self) -> usize {
        self.len()
    }
    #[inline(always)]
    unsafe fn chunk(self, s: S, chunk: usize) -> S::F {
        // SAFETY: the caller keeps the chunk inside the row.
        s.load_f16(unsafe { &*self.as_ptr().add(chunk * LANES).cast() })
    }
    #[inline(always)]
    fn tail(self, s: S, start: usize) -> S::F {
        let mut lanes = [0; LANES];
        lanes[..self.len() - start].copy_from_slice(&self[start..]);
        s.load_f16(&lanes)
    }
}

/// Defines a row of little-endian numbers as files hold them, at any address.
macro_rules! file_row {
    ($(#[$doc:meta])* $name:ident, $bytes:literal, $load:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy)]
        pub(crate) struct $name<'a>(pub(crate) &'a [u8]);

        impl<S: Simd> Row<S> for $name<'_> {
            #[inline(always)]
            fn len(self) -> usize {
                self.0.len() / $bytes
            }
            #[inline(always)]
            unsafe fn chunk(self, s: S, chunk: usize) -> S::F {
                // SAFETY: the caller keeps the chunk inside the row.
                s.$load(unsafe { &*self.0.as_ptr().add(chunk * LANES * $bytes).cast() })
            }
            #[inline(always)]
            fn tail(self, s: S, start: usize) -> S::F {
                let mut lanes = [0; LANES * $bytes];
                let rest = &self.0[start * $bytes..];
                lanes[..rest.len()].copy_from_slice(rest);
                s.$load(&lanes)
            }
        }
    };
}

file_row!(
    /// f32.
    F32Row, 4, load_f32_bytes
);
file_row!(
    /// Binary16.
    F16Row, 2, load_f16_bytes
);
file_row!(
    /// bfloat16.
    Bf16Row, 2, load_bf16_bytes
);

/// `products[m][n] = dot(x[m], w[n])`. All rows have the same length.
#[inline(always)]
pub(crate) fn tile<S: Simd, X: Row<S>, W: Row<S>, const M: usize, const N: usize>(
    s: S,
    x: [X; M],
    w: [W; N],
) -> [[f32; N]; M] {
    let len = x[0].len();
    for x in &x {
        assert_eq!(x.len(), len, "rows of different lengths");
    }
    for w in &w {
        assert_eq!(w.len(), len, "rows of different lengths");
    }
    let (mut xs, mut ws) = ([s.zero(); M], [s.zero(); N]);
    let mut sums = [[s.zero(); N]; M];
    for chunk in 0..len / LANES {
        for m in 0..M {
            // SAFETY: chunk < len / 16, and every row has `len` elements (asserted above).
            xs[m] = unsafe { x[m].chunk(s, chunk) };
        }
        for n in 0..N {
            // SAFETY: the same.
            ws[n] = unsafe { w[n].chunk(s, chunk) };
        }
        step(s, &mut sums, xs, ws);
    }
    let start = len / LANES * LANES;
    if start < len {
        for m in 0..M {
            xs[m] = x[m].tail(s, start);
        }
        for n in 0..N {
            ws[n] = w[n].tail(s, start);
        }
        step(s, &mut sums, xs, ws);
    }
    let mut products = [[0.0; N]; M];
    for m in 0..M {
        let (fours, rest) = products[m].as_chunks_mut::<4>();
        for (i, four) in fours.iter_mut().enumerate() {
            let a = 4 * i;
            *four = s.sum4([sums[m][a], sums[m][a + 1], sums[m][a + 2], sums[m][a + 3]]);
        }
        for (i, product) in rest.iter_mut().enumerate() {
            *product = s.sum(sums[m][N / 4 * 4 + i]);
        }
    }
    products
}

#[inline(always)]
fn step<S: Simd, const M: usize, const N: usize>(
    s: S,
    sums: &mut [[S::F; N]; M],
    x: [S::F; M],
    w: [S::F; N],
) {
    for m in 0..M {
        for n in 0..N {
            sums[m][n] = s.fma(x[m], w[n], sums[m][n]);
        }
    }
}
