//! From bytes to an upright picture, or to a reason why not. What is doubtful is never predicted on.

use std::io::Cursor;
use std::panic::AssertUnwindSafe;

use image::codecs::bmp::BmpDecoder;
use image::codecs::png::PngDecoder;
use image::codecs::tiff::TiffDecoder;
use image::codecs::webp::WebPDecoder;
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, RgbImage};

use super::{jpeg, structure};
use crate::config::Intake;
use crate::domain::QuarantineCode;

/// The formats that are read, told by their first bytes; a file's extension is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// JPEG (ITU-T T.81).
    Jpeg,
    /// PNG (ISO/IEC 15948).
    Png,
    /// WebP (RFC 9649).
    WebP,
    /// Windows bitmap.
    Bmp,
    /// TIFF 6.0 and BigTIFF.
    Tiff,
}

impl Format {
    /// Tells the format by its first bytes.
    #[must_use]
    pub fn sniff(bytes: &[u8]) -> Option<Self> {
        match bytes {
            [0xFF, 0xD8, 0xFF, ..] => Some(Self::Jpeg),
            [0x89, b'P', b'N', b'G', 0x0D, 0x0A, 0x1A, 0x0A, ..] => Some(Self::Png),
            [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Some(Self::WebP),
            [b'B', b'M', ..] => Some(Self::Bmp),
            [b'I', b'I', 42 | 43, 0, ..] | [b'M', b'M', 0, 42 | 43, ..] => Some(Self::Tiff),
            _ => None,
        }
    }

    /// The extension used in the archive.
    #[must_use]
    pub fn extension(self) -> &'static str {
        match self {
            Self::Jpeg => "jpg",
            Self::Png => "png",
            Self::WebP => "webp",
            Self::Bmp => "bmp",
            Self::Tiff => "tiff",
        }
    }
}

/// A picture that passed every check.
#[derive(Debug)]
pub struct Clean {
    /// 8-bit RGB, upright: the EXIF orientation is applied.
    pub image: RgbImage,
    /// Its format.
    pub format: Format,
    /// The EXIF orientation that was applied, 1 to 8.
    pub orientation: u8,
}

/// Why a file was not let in.
#[derive(Debug, thiserror::Error)]
#[error("{sentence}")]
pub struct Reject {
    /// For programs.
    pub code: QuarantineCode,
    /// For people.
    pub sentence: String,
}

impl Reject {
    /// A reason with its sentence.
    pub fn new(code: QuarantineCode, sentence: impl Into<String>) -> Self {
        Self { code, sentence: sentence.into() }
    }
}

/// Limits and doubts, from `intake` in the config.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Most pixels.
    pub max_pixels: u64,
    /// Most bytes of decoding memory.
    pub max_decode_bytes: u64,
    /// Shortest side, pixels.
    pub min_side: u32,
    /// Least standard deviation of brightness.
    pub min_contrast: f32,
}

impl From<&Intake> for Limits {
    fn from(intake: &Intake) -> Self {
        Self {
            max_pixels: intake.max_pixels,
            max_decode_bytes: intake.max_decode_bytes,
            min_side: intake.min_side,
            min_contrast: intake.min_contrast,
        }
    }
}

impl Limits {
    /// The same limits without the doubts about quality, for files that an operator has released.
    #[must_use]
    pub fn released(self) -> Self {
        Self { min_side: 1, min_contrast: 0.0, ..self }
    }
}

/// Whether a file is a whole picture within the limits, as far as its frame and header tell: no pixel is decoded, so that damage to
/// the pixels themselves is left for [`clean`] to find.
///
/// # Errors
/// [`Reject`] with the reason.
pub fn whole(bytes: &[u8], limits: &Limits) -> Result<Format, Reject> {
    let format = framed(bytes)?;
    let (width, height) = unpanicked(|| match format {
        Format::Jpeg => jpeg::size(bytes),
        Format::Png => Ok(png(&structure::png_without_extras(bytes))?.dimensions()),
        Format::WebP => Ok(webp(bytes)?.dimensions()),
        Format::Bmp => Ok(bmp(bytes)?.dimensions()),
        Format::Tiff => Ok(tiff(bytes)?.dimensions()),
    })?;
    check_size(width, height, 3, limits)?;
    Ok(format)
}

/// Decodes and checks a whole file.
///
/// # Errors
/// [`Reject`] with the reason; nothing doubtful is returned as a picture.
pub fn clean(bytes: &[u8], limits: &Limits) -> Result<Clean, Reject> {
    let format = framed(bytes)?;
    let (image, orientation) = unpanicked(|| decode(format, bytes, limits))?;
    check_quality(&image, limits)?;
    Ok(Clean { image, format, orientation: orientation.to_exif() })
}

/// The format of a file whose frame is whole.
fn framed(bytes: &[u8]) -> Result<Format, Reject> {
    if bytes.is_empty() {
        return Err(Reject::new(QuarantineCode::Empty, "the file is empty"));
    }
    let Some(format) = Format::sniff(bytes) else {
        return Err(Reject::new(
            QuarantineCode::NotAnImage,
            format!("{}; read are JPEG, PNG, WebP, BMP and TIFF", looks_like(bytes)),
        ));
    };
    structure::check(format, bytes)?;
    Ok(format)
}

/// A decoder that panics has met something it did not expect: that is damage, not our end.
fn unpanicked<T>(decoding: impl FnOnce() -> Result<T, Reject>) -> Result<T, Reject> {
    let decoded = std::panic::catch_unwind(AssertUnwindSafe(decoding));
    decoded.unwrap_or_else(|_| Err(corrupt("the decoder gave up on it")))
}

pub(super) fn corrupt(detail: impl std::fmt::Display) -> Reject {
    Reject::new(QuarantineCode::Corrupt, format!("the picture's data is damaged: {detail}"))
}

pub(super) fn truncated(detail: impl std::fmt::Display) -> Reject {
    Reject::new(QuarantineCode::Truncated, format!("the file ends before the picture does: {detail}"))
}

fn looks_like(bytes: &[u8]) -> &'static str {
    match bytes {
        [b'G', b'I', b'F', b'8', ..] => "this is a GIF",
        [_, _, _, _, b'f', b't', b'y', b'p', ..] => "this is a HEIC, AVIF or video file",
        [b'%', b'P', b'D', b'F', ..] => "this is a PDF",
        [b'P', b'K', 3, 4, ..] => "this is a ZIP archive",
        [0, 0, 0, ..] if bytes.iter().all(|b| *b == 0) => "the file holds only zeroes",
        _ => "this is not an image",
    }
}

fn decode(format: Format, bytes: &[u8], limits: &Limits) -> Result<(RgbImage, Orientation), Reject> {
    match format {
        Format::Jpeg => {
            let (image, orientation) = jpeg::decode(bytes, |width, height| check_size(width, height, 3, limits))?;
            Ok((upright(DynamicImage::ImageRgb8(image), orientation), orientation))
        }
        Format::Png => {
            let bytes = structure::png_without_extras(bytes);
            finish(png(&bytes)?, limits)
        }
        Format::WebP => finish(webp(bytes)?, limits),
        Format::Bmp => finish(bmp(bytes)?, limits),
        Format::Tiff => finish(tiff(bytes)?, limits),
    }
}

// A decoder each, with its header read.

fn png(bytes: &[u8]) -> Result<PngDecoder<Cursor<&[u8]>>, Reject> {
    let decoder = PngDecoder::new(Cursor::new(bytes)).map_err(damage)?;
    if decoder.is_apng().map_err(damage)? {
        return Err(animated("PNG"));
    }
    Ok(decoder)
}

fn webp(bytes: &[u8]) -> Result<WebPDecoder<Cursor<&[u8]>>, Reject> {
    let decoder = WebPDecoder::new(Cursor::new(bytes)).map_err(damage)?;
    if decoder.has_animation() {
        return Err(animated("WebP"));
    }
    Ok(decoder)
}

fn bmp(bytes: &[u8]) -> Result<BmpDecoder<Cursor<&[u8]>>, Reject> {
    BmpDecoder::new(Cursor::new(bytes)).map_err(damage)
}

fn tiff(bytes: &[u8]) -> Result<TiffDecoder<Cursor<&[u8]>>, Reject> {
    TiffDecoder::new(Cursor::new(bytes)).map_err(damage)
}

fn animated(format: &str) -> Reject {
    let sentence = format!("an animated {format} has more than one picture; which is meant?");
    Reject::new(QuarantineCode::Animated, sentence)
}

fn damage(error: image::ImageError) -> Reject {
    match &error {
        image::ImageError::IoError(io) if io.kind() == std::io::ErrorKind::UnexpectedEof => truncated(&error),
        image::ImageError::Unsupported(_) => {
            Reject::new(QuarantineCode::NotAnImage, format!("this kind of picture is not read: {error}"))
        }
        image::ImageError::Limits(_) => {
            Reject::new(QuarantineCode::TooManyPixels, format!("decoding would take too much memory: {error}"))
        }
        _ => corrupt(&error),
    }
}

fn finish(mut decoder: impl ImageDecoder, limits: &Limits) -> Result<(RgbImage, Orientation), Reject> {
    let (width, height) = decoder.dimensions();
    let bytes_a_pixel = u64::from(decoder.color_type().bytes_per_pixel()) + 3;
    check_size(width, height, bytes_a_pixel, limits)?;
    let mut own = image::Limits::no_limits();
    own.max_alloc = Some(limits.max_decode_bytes);
    decoder.set_limits(own).map_err(damage)?;
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let image = DynamicImage::from_decoder(decoder).map_err(damage)?;
    Ok((upright(image, orientation), orientation))
}

fn upright(mut image: DynamicImage, orientation: Orientation) -> RgbImage {
    image.apply_orientation(orientation);
    image.into_rgb8()
}

/// Refuses a size before any memory is taken for it.
fn check_size(width: u32, height: u32, bytes_a_pixel: u64, limits: &Limits) -> Result<(), Reject> {
    let pixels = u64::from(width) * u64::from(height);
    if pixels == 0 {
        return Err(corrupt(format!("it claims to be {width} x {height} pixels")));
    }
    if pixels > limits.max_pixels {
        let sentence = format!("{width} x {height} are {pixels} pixels; intake.max_pixels is {}", limits.max_pixels);
        return Err(Reject::new(QuarantineCode::TooManyPixels, sentence));
    }
    let need = pixels.saturating_mul(bytes_a_pixel);
    if need > limits.max_decode_bytes {
        let sentence = format!(
            "decoding {width} x {height} takes {} MB; intake.max_decode_mb is {}",
            need >> 20,
            limits.max_decode_bytes >> 20
        );
        return Err(Reject::new(QuarantineCode::TooManyPixels, sentence));
    }
    Ok(())
}

fn check_quality(image: &RgbImage, limits: &Limits) -> Result<(), Reject> {
    let (width, height) = image.dimensions();
    if width.min(height) < limits.min_side {
        let sentence = format!("{width} x {height} pixels; intake.min_side is {}", limits.min_side);
        return Err(Reject::new(QuarantineCode::TooSmall, sentence));
    }
    let contrast = contrast(image);
    if contrast < limits.min_contrast {
        let sentence =
            format!("hardly any contrast ({contrast:.1} of 255); intake.min_contrast is {}", limits.min_contrast);
        return Err(Reject::new(QuarantineCode::Blank, sentence));
    }
    Ok(())
}

/// The standard deviation of brightness (ITU-R BT.601 luma), 0 to 127.5, over at most about 65,000 pixels.
fn contrast(image: &RgbImage) -> f32 {
    let step = ((f64::from(image.width()) * f64::from(image.height()) / 65_536.0).sqrt().ceil() as usize).max(1);
    let (mut n, mut sum, mut squares) = (0_f64, 0_f64, 0_f64);
    for y in (0..image.height()).step_by(step) {
        for x in (0..image.width()).step_by(step) {
            let [r, g, b] = image.get_pixel(x, y).0.map(f64::from);
            let luma = 0.299 * r + 0.587 * g + 0.114 * b;
            (n, sum, squares) = (n + 1.0, sum + luma, squares + luma * luma);
        }
    }
    ((squares / n - (sum / n).powi(2)).max(0.0)).sqrt() as f32
}
