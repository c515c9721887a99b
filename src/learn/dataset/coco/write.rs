//! Writing COCO files.

use std::path::Path;

use super::super::{Dataset, DatasetError, Object, Outline, Split};
use super::file::{Annotation, Category, File, Image, Segmentation};

/// A set as a COCO file; `size` gives each picture's width and height in pixels, upright. A picture's crowds stand behind its
/// objects.
///
/// # Errors
/// A picture's size cannot be told.
pub fn write(
    dataset: &Dataset,
    split: Split,
    size: impl Fn(&Path) -> Result<(u32, u32), DatasetError>,
) -> Result<String, DatasetError> {
    let mut file = File { images: Vec::new(), annotations: Vec::new(), categories: Vec::new() };
    file.categories.extend((1..).zip(&dataset.names).map(|(id, name)| Category { id, name: name.clone() }));
    for (image_id, item) in (1..).zip(dataset.of(split)) {
        let (width, height) = size(&item.image)?;
        let file_name = item.image.file_name().unwrap_or_default().to_string_lossy().into_owned();
        file.images.push(Image { id: image_id, file_name, width, height });
        let (objects, crowds) = (item.objects.iter().map(|it| (it, 0)), item.crowds.iter().map(|it| (it, 1)));
        for (object, iscrowd) in objects.chain(crowds) {
            let Some((bbox, segmentation, area)) = placed(object, width, height) else { continue };
            let (id, category_id) = (file.annotations.len() as i64 + 1, i64::from(object.class) + 1);
            file.annotations.push(Annotation { id, image_id, category_id, bbox, segmentation, area, iscrowd });
        }
    }
    serde_json::to_string(&file)
        .map_err(|error| DatasetError::description(Path::new("the COCO file"), error.to_string()))
}

/// An object's box, outline and area in pixels; none for a label of the whole picture.
fn placed(object: &Object, width: u32, height: u32) -> Option<(Vec<f64>, Option<Segmentation>, f64)> {
    let outline = object.outline.as_ref()?;
    let (w, h) = (f64::from(width), f64::from(height));
    let [left, top, right, bottom] = outline.corners().map(f64::from);
    // Shares in 32 bits bring digits along that mean nothing.
    let decimal = |value: f64| (value * 1e4).round() / 1e4;
    let bbox = [left * w, top * h, (right - left) * w, (bottom - top) * h].map(decimal).to_vec();
    let area = bbox[2] * bbox[3];
    let Outline::Polygon(points) = outline else { return Some((bbox, None, area)) };
    let flat: Vec<f64> = points.iter().flat_map(|[x, y]| [f64::from(*x) * w, f64::from(*y) * h].map(decimal)).collect();
    let area = shoelace(&flat);
    Some((bbox, Some(Segmentation::Polygons(vec![flat])), area))
}

/// The area within a closed outline.
fn shoelace(flat: &[f64]) -> f64 {
    let points: Vec<&[f64]> = flat.chunks_exact(2).collect();
    let next = points.iter().cycle().skip(1);
    (points.iter().zip(next).map(|(a, b)| a[0] * b[1] - b[0] * a[1]).sum::<f64>() / 2.0).abs()
}
