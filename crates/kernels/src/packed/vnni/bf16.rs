//! bfloat16 by pairs.

use super::super::{Activations, PackedRows, Sink};

pub(super) fn multiply(_: Activations<'_>, _: PackedRows<'_>, _: &mut Sink<'_, '_>) -> bool {
    false
}
