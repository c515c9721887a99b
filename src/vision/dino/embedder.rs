//! Pictures in, unit vectors out.

use std::path::Path;

use image::RgbImage;
use sha2::{Digest, Sha256};
use tch::{Device, Kind, Tensor};

use super::crop::{CropPolicy, fit};
use super::network::Network;
use crate::domain::{Embedding, Fingerprint, ImageId};
use crate::vision::checkpoint::{self, Checkpoint, Weights};
use crate::vision::device::{Precision, Runtime};
use crate::vision::{Embed, VisionError};

/// ImageNet's mean of red, green and blue, 0 to 1: what DINOv2 was trained with.
pub const MEAN: [f32; 3] = [0.485, 0.456, 0.406];
/// Its deviation.
pub const DEVIATION: [f32; 3] = [0.229, 0.224, 0.225];

/// A DINOv2 embedder with its weights and crop policy.
#[derive(Debug)]
pub struct Embedder {
    network: Network,
    policy: CropPolicy,
    fingerprint: Fingerprint,
    mean: Tensor,
    deviation: Tensor,
}

impl Embedder {
    /// Loads an embedder from a model file of any known kind.
    ///
    /// # Errors
    /// When the file cannot be read, is no embedder, a setting is out of range, or libtorch fails.
    pub fn load(path: &Path, policy: CropPolicy, runtime: Runtime) -> Result<Self, VisionError> {
        Self::of(&checkpoint::read(path)?, policy, runtime)
    }

    /// Builds an embedder from a model file that was read.
    ///
    /// # Errors
    /// As [`Embedder::load`].
    pub fn of(checkpoint: &Checkpoint, policy: CropPolicy, runtime: Runtime) -> Result<Self, VisionError> {
        if checkpoint.info.task != checkpoint::Task::Embed {
            let (architecture, found) = (checkpoint.info.architecture.clone(), checkpoint.info.task);
            return Err(VisionError::Task { architecture, found, needed: "embed" });
        }
        Self::new(&checkpoint.weights, policy, runtime)
    }

    /// Builds an embedder from weights.
    ///
    /// # Errors
    /// When the weights are not DINOv2's, a setting is out of range, or libtorch fails.
    pub fn new(weights: &Weights, policy: CropPolicy, runtime: Runtime) -> Result<Self, VisionError> {
        policy.check().map_err(VisionError::Setting)?;
        let row = |values: &[f32; 3]| -> Result<Tensor, VisionError> {
            Ok(Tensor::f_from_slice(values)?.f_view([1, 3, 1, 1])?.f_to_device(runtime.device)?)
        };
        let network = Network::new(weights, runtime)?;
        let fingerprint = fingerprint(weights.fingerprint(), &policy, runtime.precision());
        Ok(Self { network, policy, fingerprint, mean: row(&MEAN)?, deviation: row(&DEVIATION)? })
    }

    /// The network's shape and place.
    #[must_use]
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// How pictures are prepared.
    #[must_use]
    pub fn policy(&self) -> &CropPolicy {
        &self.policy
    }

    /// Embeds pictures in one batch, in their order: each brought to the input size (crops made with the same policy
    /// already have it), its class token scaled to unit length.
    ///
    /// # Errors
    /// When a picture has no pixels, libtorch fails, or the network's numbers are not finite.
    pub fn embed(&self, pictures: &[RgbImage]) -> Result<Vec<Embedding>, VisionError> {
        if pictures.is_empty() {
            return Ok(Vec::new());
        }
        let mut parts = Vec::with_capacity(pictures.len());
        for picture in pictures {
            let (width, height) = picture.dimensions();
            if width == 0 || height == 0 {
                return Err(VisionError::EmptyPicture { width, height });
            }
            let fitted = fit(picture, &self.policy);
            let shape = [1, i64::from(fitted.height()), i64::from(fitted.width()), 3];
            parts.push(Tensor::f_from_data_size(fitted.as_raw(), &shape, Kind::Uint8)?);
        }
        let tokens = tch::no_grad(|| self.network.forward(&self.normalise(&Tensor::f_cat(&parts, 0)?)?))?;
        let (_, width) = tokens.size2()?;
        let flat = tokens.f_to_device(Device::Cpu)?.f_to_kind(Kind::Float)?.f_contiguous()?.f_view([-1])?;
        let values: Vec<f32> = Vec::try_from(flat)?;
        let unit = |token: &[f32]| Embedding::normalised(token.to_vec()).ok_or(VisionError::NotFinite);
        values.chunks_exact(width as usize).map(unit).collect()
    }

    /// `[batch, height, width, 3]` bytes to what the network takes.
    fn normalise(&self, bytes: &Tensor) -> Result<Tensor, tch::TchError> {
        let shares = bytes.f_to_device(self.mean.device())?.f_to_kind(Kind::Float)?.f_div_scalar(255.0)?;
        shares.f_permute([0, 3, 1, 2])?.f_sub(&self.mean)?.f_div(&self.deviation)
    }
}

impl Embed for Embedder {
    fn embed(&self, pictures: &[RgbImage]) -> Result<Vec<Embedding>, VisionError> {
        Self::embed(self, pictures)
    }

    fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    fn policy(&self) -> &CropPolicy {
        &self.policy
    }
}

/// The weights, everything that is done to a picture before they see it, and how precisely they count.
///
/// Vectors of different precision are never compared, and an entry of the journal tells which one made it.
/// The reason is measured: ViT-S/14 with random weights on 72 photographs (shelves, pills, faces), each in four
/// rotations, in bf16 by avx512_bf16 against fp32. The two vectors of a picture had a cosine of 0.9997 or more, yet a
/// similarity of two pictures moved by up to 0.0065 between the precisions and by up to 0.0053 where one vector was fp32
/// and the other bf16, and for 11 pictures the nearest other one was another one, where it had led by up to 0.0026. Against
/// a margin of 0.03 that is little, but it is not nothing: a gallery that mixed them would decide some probes by how its
/// vectors happened to be computed. (Sums were rounded to bf16 then. Since they are not,
/// `pack-embed` moves a similarity of 60 drawn pictures by 0.0022 at most, where it was 0.0061, and by 0.0017 where they mix.)
///
/// fp32 leaves no mark, so that galleries of before keep their fingerprint.
fn fingerprint(weights: ImageId, policy: &CropPolicy, precision: Precision) -> Fingerprint {
    let mut hash = Sha256::new();
    hash.update(b"sightline embedding 1\0");
    hash.update(weights.0);
    hash.update(policy.padding.to_le_bytes());
    hash.update([u8::from(policy.square), u8::from(policy.mask_background)]);
    hash.update(policy.input_size.to_le_bytes());
    // So does a crop that is not turned.
    if policy.align {
        hash.update(b"\0align");
    }
    if precision != Precision::Fp32 {
        hash.update(format!("\0{precision}"));
    }
    if precision == Precision::Bf16 {
        // As long as sums were rounded, too, the vectors were others.
        hash.update("\0fp32 sums");
    }
    Fingerprint(ImageId(hash.finalize().into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_changes_the_fingerprint() {
        let policy = CropPolicy::default();
        let changed = [
            CropPolicy { padding: 0.06, ..policy },
            CropPolicy { square: !policy.square, ..policy },
            CropPolicy { mask_background: !policy.mask_background, ..policy },
            CropPolicy { align: !policy.align, ..policy },
            CropPolicy { input_size: 518, ..policy },
        ];
        let full = |weights, policy| fingerprint(ImageId([weights; 32]), policy, Precision::Fp32);
        let mut all = vec![full(1, &policy), full(2, &policy)];
        all.extend(changed.iter().map(|policy| full(1, policy)));
        all.extend([Precision::Bf16, Precision::Fp16].map(|half| fingerprint(ImageId([1; 32]), &policy, half)));
        all.sort();
        all.dedup();
        assert_eq!(all.len(), 9);
    }

    #[test]
    fn the_fingerprint_never_changes_by_accident() {
        let frozen = fingerprint(ImageId([7; 32]), &CropPolicy::default(), Precision::Fp32);
        assert_eq!(frozen.to_string(), "221762821923c0aa173199ff47a7ba163d33168870cdecc6f26f940c9856bfe6");
    }
}
