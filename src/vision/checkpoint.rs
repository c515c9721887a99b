//! Model files, read as data: Ultralytics `.pt`, state dicts `.pt` / `.pth`, `.safetensors`.
//!
//! A file's kind is told from its content, never from its name.

mod error;

// The three kinds of file, and the pickle machine that two of them need.
mod archive;
mod node;
mod pickle;
mod rebuild;
mod safe;
mod torch;
pub mod vectors;

// What comes out, what it is, and where it is kept.
mod weights;

mod recognise;

mod import;

mod tensors;

use std::path::Path;

use sha2::{Digest, Sha256};

pub use error::{CheckpointError, Fault};
pub use import::{
    Card, Listed, UNKNOWN_LICENCE, amendable, beside, card, import, is_untrained, keep, list, record, record_figures,
    save,
};
pub use recognise::{ModelInfo, Task};
pub use tensors::to_tensor;
pub use weights::{Dtype, TensorData, Weights};

use crate::domain::ImageId;
use crate::files::{self, Unread};
use recognise::recognise;

/// ViT-g in fp32 has 4.5 GB.
const MAX_FILE: u64 = 16 << 30;

/// A model file: its weights and what they are.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    /// The weights.
    pub weights: Weights,
    /// What they are.
    pub info: ModelInfo,
}

/// Reads a model file of any known kind, executing nothing of it.
///
/// # Errors
/// When the file cannot be read, is damaged or unsafe, or holds no network that is built here.
pub fn read(path: &Path) -> Result<Checkpoint, CheckpointError> {
    from_bytes(&slurp(path)?).map_err(|fault| fault.at(path))
}

/// A model file that is in memory.
///
/// # Errors
/// As [`read`], but for the reading.
pub fn from_bytes(bytes: &[u8]) -> Result<Checkpoint, Fault> {
    let weights = parse(bytes)?;
    let sha256 = ImageId(Sha256::digest(bytes).into());
    let info = recognise(&weights, bytes.len() as u64, sha256)?;
    Ok(Checkpoint { weights, info })
}

/// What a model file is.
///
/// # Errors
/// As [`read`].
pub fn inspect(path: &Path) -> Result<ModelInfo, CheckpointError> {
    read(path).map(|checkpoint| checkpoint.info)
}

/// The weights in the bytes of a model file.
///
/// # Errors
/// When the bytes are damaged, unsafe or of no known kind.
pub fn parse(bytes: &[u8]) -> Result<Weights, Fault> {
    if safe::looks_like(bytes) {
        safe::read(bytes)
    } else if torch::looks_like(bytes) {
        torch::read(bytes)
    } else {
        Err(Fault::Unsupported("it is neither a .safetensors file nor a .pt or .pth file of PyTorch".into()))
    }
}

/// Weights as the bytes of a `.safetensors` file.
///
/// # Errors
/// When a tensor does not have the numbers its shape says.
pub fn to_bytes(weights: &Weights) -> Result<Vec<u8>, Fault> {
    safe::write(weights)
}

/// A whole file in memory. Not mapped: a file that shrinks while mapped would kill the process.
fn slurp(path: &Path) -> Result<Vec<u8>, CheckpointError> {
    files::read_within(path, MAX_FILE).map_err(|unread| {
        let source = match unread {
            Unread::Io(source) => source,
            Unread::Kind(kind) => std::io::Error::other(format!("{kind}, not a regular file")),
            Unread::TooLarge { bytes, .. } => return Fault::Limit(format!("it has {bytes} bytes")).at(path),
        };
        CheckpointError::Read { path: path.to_owned(), source }
    })
}
