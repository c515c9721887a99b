//! A first look at pictures: their headers alone, microseconds each, so that what is no picture is known before hours of
//! work rather than in the middle of them. A picture cut off later than its header is found when it is read.

use std::io::BufReader;
use std::path::Path;

use image::ImageReader;

use super::{Dataset, Problem};

impl Dataset {
    /// Leaves out the pictures that are missing, or whose headers are none, and lists them with the other problems.
    pub fn leave_out_unreadable(&mut self) {
        let Self { items, problems, .. } = self;
        items.retain(|item| match header(&item.image) {
            Ok(()) => true,
            Err(reason) => {
                problems.push(Problem::rejected(&item.image, None, reason));
                false
            }
        });
    }
}

fn header(path: &Path) -> Result<(), String> {
    // A link to a picture is one, so what it leads to is looked at; what is no ordinary file may hang who opens it.
    let about = std::fs::metadata(path).map_err(|error| format!("it cannot be read: {error}"))?;
    if !about.is_file() {
        return Err("it is no ordinary file".into());
    }
    let file = std::fs::File::open(path).map_err(|error| format!("it cannot be read: {error}"))?;
    let reader = ImageReader::new(BufReader::new(file)).with_guessed_format();
    let reader = reader.map_err(|error| format!("it cannot be read: {error}"))?;
    if reader.format().is_none() {
        return Err("it is no picture of a known format".into());
    }
    reader.into_dimensions().map(drop).map_err(|error| format!("it is a damaged picture: {error}"))
}
