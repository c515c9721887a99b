//! JPEG by libjpeg-turbo's code (the `mozjpeg` crate): unlike lenient decoders it notices damage.
//!
//! libjpeg fills what is missing with grey and reports a warning. Here the first warning about the
//! data ends the decoding: a picture with a hole in it is not predicted on.

use std::os::raw::c_int;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use image::RgbImage;
use image::metadata::Orientation;
use mozjpeg::{ColorSpace, Decompress, Marker};

use super::clean::{Reject, corrupt, truncated};

/// Messages with this level are about damaged data (libjpeg.txt, "Error handling").
const WARNING: c_int = -1;

/// What is thrown through libjpeg's frames when the data is damaged: libjpeg's own sentence.
struct Damage(String);

extern "C-unwind" fn on_message(info: &mut mozjpeg_sys::jpeg_common_struct, level: c_int) {
    if level == WARNING {
        let text = message(info);
        // Oddities of the header (an unknown JFIF revision, an Adobe transform) leave the pixels whole.
        if !text.starts_with("Warning:") && !text.starts_with("Unknown Adobe") {
            resume_unwind(Box::new(Damage(text)));
        }
    }
}

/// libjpeg's sentence for the message that is being reported.
fn message(info: &mut mozjpeg_sys::jpeg_common_struct) -> String {
    type BoundFormat = unsafe extern "C-unwind" fn(&mut mozjpeg_sys::jpeg_common_struct, &[u8; 80]);
    type Format = unsafe extern "C-unwind" fn(&mut mozjpeg_sys::jpeg_common_struct, *mut u8);
    // SAFETY: libjpeg sets `err` before it reports anything.
    let Some(format) = unsafe { info.err.as_ref() }.and_then(|err| err.format_message) else { return String::new() };
    let mut text = [0_u8; 256];
    // SAFETY: format_message writes at most JMSG_LENGTH_MAX (200) bytes to the address it is given. The
    // binding declares that address as a shared array of 80 although C writes there; it is called as what it is.
    unsafe { std::mem::transmute::<BoundFormat, Format>(format)(info, text.as_mut_ptr()) };
    text.split(|byte| *byte == 0).next().map_or_else(String::new, |bytes| String::from_utf8_lossy(bytes).into_owned())
}

/// Decodes a whole JPEG to 8-bit RGB, not yet upright; `check` sees the size before memory is taken.
pub(super) fn decode(
    bytes: &[u8],
    check: impl Fn(u32, u32) -> Result<(), Reject>,
) -> Result<(RgbImage, Orientation), Reject> {
    caught(|| decode_or_unwind(bytes, check))
}

/// Width and height, pixels, as they are stored: from the header alone.
pub(super) fn size(bytes: &[u8]) -> Result<(u32, u32), Reject> {
    caught(|| begun(bytes).map(|source| (source.width() as u32, source.height() as u32)))
}

/// What is thrown through libjpeg's frames, as a reason.
fn caught<T>(run: impl FnOnce() -> Result<T, Reject>) -> Result<T, Reject> {
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(done) => done,
        Err(thrown) => Err(match thrown.downcast::<Damage>() {
            Ok(damage) if damage.0.starts_with("Premature end") => truncated(damage.0),
            Ok(damage) => corrupt(damage.0),
            Err(other) => corrupt(other.downcast::<String>().map_or_else(|_| "libjpeg gave up".into(), |text| *text)),
        }),
    }
}

/// With its header read.
fn begun(bytes: &[u8]) -> Result<Decompress<&[u8]>, Reject> {
    // SAFETY: an all-zero error manager is what jpeg_std_error expects to fill in.
    let mut errors = unsafe {
        let mut errors = std::mem::zeroed();
        mozjpeg_sys::jpeg_std_error(&mut errors);
        errors
    };
    errors.error_exit = Some(on_error);
    errors.emit_message = Some(on_message);
    Decompress::builder().with_err(errors).with_markers(&[Marker::APP(1)]).from_mem(bytes).map_err(corrupt)
}

fn decode_or_unwind(
    bytes: &[u8],
    check: impl Fn(u32, u32) -> Result<(), Reject>,
) -> Result<(RgbImage, Orientation), Reject> {
    let source = begun(bytes)?;
    let (width, height) = (source.width() as u32, source.height() as u32);
    check(width, height)?;
    let orientation = source
        .markers()
        .find_map(|marker| marker.data.strip_prefix(b"Exif\0\0").and_then(Orientation::from_exif_chunk))
        .unwrap_or(Orientation::NoTransforms);
    let cmyk = matches!(source.color_space(), ColorSpace::JCS_CMYK | ColorSpace::JCS_YCCK);
    let pixels = if cmyk {
        read(source.to_colorspace(ColorSpace::JCS_CMYK).map_err(corrupt)?)?
    } else {
        read(source.rgb().map_err(corrupt)?)?
    };
    let rgb = if cmyk {
        pixels.chunks_exact(4).flat_map(|p| [0, 1, 2].map(|i| inverted(p[i], p[3]))).collect()
    } else {
        pixels
    };
    let image = RgbImage::from_raw(width, height, rgb).ok_or_else(|| corrupt("fewer pixels than it claims"))?;
    Ok((image, orientation))
}

/// Adobe's CMYK JPEGs hold inverted inks: the product of ink and black is the light.
fn inverted(ink: u8, black: u8) -> u8 {
    ((u32::from(ink) * u32::from(black) + 127) / 255) as u8
}

fn read<R: std::io::BufRead>(mut started: mozjpeg::decompress::DecompressStarted<R>) -> Result<Vec<u8>, Reject> {
    let pixels = started.read_scanlines::<u8>().map_err(corrupt)?;
    started.finish().map_err(corrupt)?;
    Ok(pixels)
}

#[cold]
extern "C-unwind" fn on_error(info: &mut mozjpeg_sys::jpeg_common_struct) {
    resume_unwind(Box::new(message(info)));
}
