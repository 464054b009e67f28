//! The reference's log-probabilities in a run's folder, so that a run that goes on compares with
//! what it began from and not with what it has become.

use std::path::Path;

use lucid_checkpoint::{Checkpoint, GgufWriter};
use lucid_tensor::{DType, MetaValue, WeightSource as _};

use crate::TrainError;
use crate::feed::Compared;
use crate::saved::{read_floats, write};

const FILE: &str = "reference.gguf";
const IDENTITY: &str = "lucid.reference.identity";
const SIDES: [&str; 2] = ["training", "held_out"];

/// Writes what is known of both sides into a run's folder.
///
/// # Errors
/// The system refuses.
pub fn keep_reference(folder: &Path, sides: [&Compared; 2]) -> Result<(), TrainError> {
    std::fs::create_dir_all(folder)
        .map_err(|source| TrainError::io("cannot make", folder, source))?;
    let mut writer = GgufWriter::new();
    let architecture = MetaValue::Text("lucid.reference".to_owned());
    writer.metadata("general.architecture", architecture);
    writer.metadata(IDENTITY, MetaValue::Text(identity(sides)));
    for (name, side) in SIDES.iter().zip(sides) {
        writer.tensor(*name, DType::F32, &[side.reference().len()])?;
    }
    write(&writer, &mut |number, put| put(sides[number].reference()), &folder.join(FILE))?;
    Ok(())
}

/// Reads them; false where there is no such file.
///
/// # Errors
/// The file is not what was written, or of other comparisons.
pub fn kept_reference(folder: &Path, sides: [&Compared; 2]) -> Result<bool, TrainError> {
    let path = folder.join(FILE);
    if !path.exists() {
        return Ok(false);
    }
    let kept = Checkpoint::open(&path)?;
    for (name, side) in SIDES.iter().zip(sides) {
        let view = kept.tensor(name).ok_or_else(|| TrainError::missing(name))?;
        let mut reference = vec![0.0; side.examples.len()];
        read_floats(name, &view, 0, side.examples.len(), &mut reference)?;
        side.set_reference(reference)?;
    }
    let found = kept.metadata().text(IDENTITY).ok().flatten();
    if found != Some(identity(sides).as_str()) {
        let what = "it is not what was written at the beginning of this run".to_owned();
        return Err(TrainError::damaged(&path, what));
    }
    Ok(true)
}

/// Tells these answers with these numbers from all others.
fn identity(sides: [&Compared; 2]) -> String {
    let mut hasher = blake3::Hasher::new_derive_key("lucid reference 1");
    for side in sides {
        hasher.update(&side.examples.identity());
        for number in side.reference() {
            hasher.update(&number.to_le_bytes());
        }
    }
    hasher.finalize().to_hex().to_string()
}
