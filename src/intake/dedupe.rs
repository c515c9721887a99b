//! Nearly the same picture: a perceptual hash and the hashes seen before.

use image::{GrayImage, Luma, RgbImage};
use image_hasher::{HashAlg, Hasher, HasherConfig};

use crate::domain::ImageId;

/// Pixels of the longer side, about, that are enough to hash.
const SMALL: u32 = 64;

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
        let bytes = self.0.hash_image(&reduced(image));
        let mut bits = [0; 8];
        for (bit, byte) in bits.iter_mut().zip(bytes.as_bytes()) {
            *bit = *byte;
        }
        PerceptualHash(u64::from_be_bytes(bits))
    }
}

/// A picture in grey, its longer side from [`SMALL`] to twice that where it is longer: means of whole blocks of pixels, in one pass.
///
/// The hash looks at a 16 x 16 reduction, for which a careful one of all pixels is wasted: with it, hashing took three times as
/// long as decoding. Less than a block is left out at the right and lower edge.
fn reduced(image: &RgbImage) -> GrayImage {
    let (width, height) = image.dimensions();
    let block = (width.max(height) / SMALL).clamp(1, 256);
    let (across, down) = (block.min(width).max(1), block.min(height).max(1));
    let mut small = GrayImage::new(width / across, height / down);
    // Added up downwards first: that is one addition a byte, many at once. 256 rows are the most that fit.
    let mut sums = vec![0_u16; width as usize * 3];
    for (row, pixels) in (0..small.height() * down).zip(image.as_raw().chunks_exact(sums.len().max(1))) {
        sums.iter_mut().zip(pixels).for_each(|(sum, value)| *sum += u16::from(*value));
        if (row + 1) % down == 0 {
            for (column, block) in (0..small.width()).zip(sums.chunks_exact(across as usize * 3)) {
                let sum: u64 = block.as_chunks::<3>().0.iter().map(brightness).sum();
                small.put_pixel(column, row / down, Luma([(sum / (256 * u64::from(across * down))) as u8]));
            }
            sums.fill(0);
        }
    }
    small
}

/// 256 times the brightness of a pixel, or of some added up, by the weights that the hash itself takes (Rec. 709).
fn brightness([red, green, blue]: &[u16; 3]) -> u64 {
    u64::from(54 * u32::from(*red) + 183 * u32::from(*green) + 19 * u32::from(*blue))
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
    fn a_reduced_picture_has_the_means_of_its_blocks() {
        // Blocks of 2 x 2; the last column and row are left out.
        let image = RgbImage::from_fn(129, 101, |x, y| image::Rgb([(x / 2 + y / 2) as u8; 3]));
        let small = reduced(&image);
        assert_eq!(small.dimensions(), (64, 50));
        assert!(small.enumerate_pixels().all(|(x, y, pixel)| pixel.0[0] == (x + y) as u8));
        let blue = reduced(&RgbImage::from_pixel(40, 30, image::Rgb([0, 0, 200])));
        assert_eq!((blue.dimensions(), blue.get_pixel(3, 4).0), ((40, 30), [14]));
        // A strip is no reason to divide by nothing.
        assert_eq!(reduced(&RgbImage::new(5000, 3)).dimensions(), (64, 1));
        assert_eq!(reduced(&RgbImage::new(1, 700)).dimensions(), (1, 70));
    }

    #[test]
    fn hex_round_trips() {
        let hash = PerceptualHash(0x0123_4567_89ab_cdef);
        assert_eq!(PerceptualHash::from_hex(&hash.to_hex()), Some(hash));
    }
}
