//! Nearly the same picture: a perceptual hash and the hashes seen before.

use image::RgbImage;
use image_hasher::{HashAlg, Hasher, HasherConfig};

use crate::domain::ImageId;

/// A 64-bit perceptual hash: pictures that look alike differ in few bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PerceptualHash(pub u64);

impl PerceptualHash {
    /// The differing bits of two hashes, 0 to 64.
    #[must_use]
    pub fn distance(self, other: Self) -> u32 {
        (self.0 ^ other.0).count_ones()
    }

    /// 16 hex digits.
    #[must_use]
    pub fn to_hex(self) -> String {
        format!("{:016x}", self.0)
    }

    /// Reads 16 hex digits.
    #[must_use]
    pub fn from_hex(text: &str) -> Option<Self> {
        u64::from_str_radix(text, 16).ok().map(Self)
    }
}

/// Computes hashes (the `image_hasher` crate: DCT, then the double gradient's sign).
pub struct PerceptualHasher(Hasher);

impl Default for PerceptualHasher {
    fn default() -> Self {
        Self(HasherConfig::new().hash_size(8, 8).hash_alg(HashAlg::Gradient).preproc_dct().to_hasher())
    }
}

impl PerceptualHasher {
    /// The hash of an upright picture.
    #[must_use]
    pub fn hash(&self, image: &RgbImage) -> PerceptualHash {
        // The hash looks at a 16 x 16 reduction; a fast thumbnail first makes a 12-megapixel picture cheap.
        let small = if image.width().max(image.height()) > 256 {
            let scale = 256.0 / f64::from(image.width().max(image.height()));
            let side = |length: u32| ((f64::from(length) * scale).round() as u32).max(1);
            image::imageops::thumbnail(image, side(image.width()), side(image.height()))
        } else {
            image.clone()
        };
        let bytes = self.0.hash_image(&small);
        let mut bits = [0; 8];
        for (bit, byte) in bits.iter_mut().zip(bytes.as_bytes()) {
            *bit = *byte;
        }
        PerceptualHash(u64::from_be_bytes(bits))
    }
}

/// Every hash seen, searched straight through: a million take about a millisecond.
#[derive(Debug, Default)]
pub struct PerceptualIndex {
    hashes: Vec<u64>,
    images: Vec<ImageId>,
}

impl PerceptualIndex {
    /// Remembers a picture.
    pub fn insert(&mut self, hash: PerceptualHash, image: ImageId) {
        self.hashes.push(hash.0);
        self.images.push(image);
    }

    /// The nearest picture within `most` differing bits, the earliest of equals.
    #[must_use]
    pub fn nearest(&self, hash: PerceptualHash, most: u32) -> Option<(ImageId, u32)> {
        let best = self.hashes.iter().enumerate().map(|(i, h)| ((h ^ hash.0).count_ones(), i)).min()?;
        (best.0 <= most).then(|| (self.images[best.1], best.0))
    }

    /// How many are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.hashes.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    fn picture(seed: u32) -> RgbImage {
        RgbImage::from_fn(200, 150, |x, y| {
            let v = ((x * (seed % 7 + 1) / 9) ^ (y * (seed % 5 + 2) / 11)).wrapping_mul(37) as u8;
            image::Rgb([v, v.wrapping_add(40), 255 - v])
        })
    }

    #[test]
    fn a_brighter_smaller_copy_is_near_and_another_picture_is_not() {
        let hasher = PerceptualHasher::default();
        let mut index = PerceptualIndex::default();
        let image = picture(3);
        index.insert(hasher.hash(&image), ImageId([1; 32]));
        let mut copy = image::imageops::resize(&image, 100, 75, image::imageops::FilterType::Triangle);
        copy.pixels_mut().for_each(|p| p.0.iter_mut().for_each(|c| *c = c.saturating_add(4)));
        assert_eq!(index.nearest(hasher.hash(&copy), 6).map(|(id, _)| id), Some(ImageId([1; 32])));
        assert_eq!(index.nearest(hasher.hash(&picture(20)), 6), None);
    }

    #[test]
    fn hex_round_trips() {
        let hash = PerceptualHash(0x0123_4567_89ab_cdef);
        assert_eq!(PerceptualHash::from_hex(&hash.to_hex()), Some(hash));
    }
}
