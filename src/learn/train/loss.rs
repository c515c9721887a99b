//! What YOLOv8 is trained by: overlap of boxes (CIoU), distributions over distances (DFL, arXiv:2006.04388), class
//! scores (binary cross entropy), and masks (binary cross entropy within the box, by the box's area).
//!
//! Parity with Ultralytics' loss is proved by `tests/it/learn/train.rs` against `tests/golden/train.py`.

use tch::{Device, Kind, Reduction, TchError, Tensor};

use super::TrainError;
use super::assign::{Answer, Said, Wanted, assign};
use crate::vision::yolo::{BINS, Heads};

/// The cells' sizes in pixels, finest level first.
const STRIDES: [i64; 3] = [8, 16, 32];
/// Keeps divisions by nothing from happening.
const EPS: f64 = 1e-7;

/// What each part of the loss counts for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gains {
    /// Boxes, and masks.
    pub boxes: f64,
    /// Class scores.
    pub classes: f64,
    /// Distributions over distances.
    pub distances: f64,
}

impl Default for Gains {
    fn default() -> Self {
        Self { boxes: 7.5, classes: 0.5, distances: 1.5 }
    }
}

/// What is in a batch's pictures.
#[derive(Debug, Default)]
pub struct Targets {
    /// Each picture's objects, boxes in pixels of the network's input.
    pub objects: Vec<Vec<Wanted>>,
    /// Each picture's outlines at a quarter of the input's size, row by row: 0 for none, else the object's place plus one.
    pub masks: Option<Vec<Vec<u16>>>,
}

/// A batch's loss.
#[derive(Debug)]
pub struct Loss {
    /// What is to become small: the sum of the parts times the number of pictures.
    pub total: Tensor,
    /// The parts with their gains: boxes, masks (0 without), classes, distances.
    pub parts: [f64; 4],
}

/// The loss of a batch whose input has `height` by `width` pixels. `weights` makes the classes count more or less
/// (1 each where it is empty).
///
/// # Errors
/// Targets that do not fit the heads, or libtorch fails.
pub fn loss(
    heads: &Heads,
    targets: &Targets,
    (height, width): (i64, i64),
    gains: &Gains,
    weights: &[f32],
) -> Result<Loss, TrainError> {
    let device = heads.scores.device();
    let (batch, classes, anchors) = heads.scores.size3()?;
    if targets.objects.len() != batch as usize {
        return Err(TrainError::Weights(format!("{} pictures' labels for {batch} pictures", targets.objects.len())));
    }
    let grid = Grid::of(height, width);
    if grid.centres.len() != anchors as usize {
        return Err(TrainError::Weights(format!(
            "{anchors} anchors where {width}x{height} pixels have {}",
            grid.centres.len()
        )));
    }
    let answers = tch::no_grad(|| answers(heads, targets, &grid))?;
    let all: Vec<(usize, Answer)> = answers
        .iter()
        .enumerate()
        .flat_map(|(picture, list)| list.iter().map(move |answer| (picture, *answer)))
        .collect();
    let sum: f64 = all.iter().map(|(_, answer)| f64::from(answer.score)).sum::<f64>().max(1.0);

    let mut wanted = vec![0.0_f32; (batch * classes * anchors) as usize];
    for (picture, answer) in &all {
        let class = targets.objects[*picture][answer.object].class as usize;
        wanted[(picture * classes as usize + class) * anchors as usize + answer.anchor] = answer.score;
    }
    let wanted = Tensor::f_from_slice(&wanted)?.f_view([batch, classes, anchors])?.f_to_device(device)?;
    let weight = if weights.is_empty() {
        None
    } else {
        Some(Tensor::f_from_slice(weights)?.f_view([1, classes, 1])?.f_to_device(device)?)
    };
    let by_class =
        heads.scores.f_binary_cross_entropy_with_logits(&wanted, weight.as_ref(), None::<&Tensor>, Reduction::Sum)?;
    let by_class = by_class.f_div_scalar(sum)?.f_mul_scalar(gains.classes)?;
    if all.is_empty() {
        let part = by_class.f_double_value(&[])?;
        return Ok(Loss { total: by_class.f_mul_scalar(batch as f64)?, parts: [0.0, 0.0, part, 0.0] });
    }

    let places: Vec<i64> = all.iter().map(|(picture, a)| *picture as i64 * anchors + a.anchor as i64).collect();
    let places = Tensor::f_from_slice(&places)?.f_to_device(device)?;
    let answering = Answering::of(&all, targets, &grid, device)?;
    let bins = chosen(&heads.boxes, &places)?;
    let (by_box, by_distance) = boxes(&bins, &answering, sum)?;
    let by_box = by_box.f_mul_scalar(gains.boxes)?;
    let by_distance = by_distance.f_mul_scalar(gains.distances)?;
    let by_mask = match (&heads.coefficients, &heads.prototypes, &targets.masks) {
        (Some(coefficients), Some(prototypes), Some(maps)) => {
            let coefficients = chosen(coefficients, &places)?;
            Some(masks(&coefficients, prototypes, maps, &all, targets, (height, width))?.f_mul_scalar(gains.boxes)?)
        }
        _ => None,
    };
    let mut total = by_box.f_add(&by_class)?.f_add(&by_distance)?;
    let value = |part: &Tensor| part.f_double_value(&[]);
    let mut parts = [value(&by_box)?, 0.0, value(&by_class)?, value(&by_distance)?];
    if let Some(by_mask) = by_mask {
        parts[1] = value(&by_mask)?;
        total = total.f_add(&by_mask)?;
    }
    Ok(Loss { total: total.f_mul_scalar(batch as f64)?, parts })
}

/// The values `[rows, values]` of heads `[batch, values, anchors]` at so many places `picture * anchors + anchor`.
fn chosen(heads: &Tensor, places: &Tensor) -> Result<Tensor, TchError> {
    let values = heads.size3()?.1;
    heads.f_transpose(1, 2)?.f_reshape([-1, values])?.f_index_select(0, places)
}

/// The anchors of an input.
struct Grid {
    /// Centres in pixels.
    centres: Vec<[f32; 2]>,
    /// Their cells' sizes.
    strides: Vec<f32>,
}

impl Grid {
    fn of(height: i64, width: i64) -> Self {
        let (mut centres, mut strides) = (Vec::new(), Vec::new());
        for stride in STRIDES {
            for (row, column) in
                (0..height / stride).flat_map(|row| (0..width / stride).map(move |column| (row, column)))
            {
                let middle = |cell: i64| (cell as f32 + 0.5) * stride as f32;
                centres.push([middle(column), middle(row)]);
                strides.push(stride as f32);
            }
        }
        Self { centres, strides }
    }
}

/// Which anchors of each picture answer for what.
fn answers(heads: &Heads, targets: &Targets, grid: &Grid) -> Result<Vec<Vec<Answer>>, TrainError> {
    let (batch, classes, anchors) = heads.scores.size3()?;
    let host = |tensor: &Tensor| -> Result<Vec<f32>, TchError> {
        Vec::try_from(tensor.f_to_device(Device::Cpu)?.f_contiguous()?.f_view([-1])?)
    };
    let scores = host(&heads.scores.f_detach()?.f_sigmoid()?.f_transpose(1, 2)?)?;
    let distances = host(&means(&heads.boxes.f_detach()?.f_transpose(1, 2)?.f_reshape([-1, 4, BINS as i64])?)?)?;
    let (anchors, classes) = (anchors as usize, classes as usize);
    if scores.iter().chain(&distances).any(|value| !value.is_finite()) {
        return Err(TrainError::NotFinite);
    }
    let mut all = Vec::with_capacity(batch as usize);
    for (picture, wanted) in targets.objects.iter().enumerate() {
        if let Some(object) = wanted.iter().find(|object| object.class as usize >= classes) {
            return Err(TrainError::Class { class: object.class, classes });
        }
        let sides = distances[picture * anchors * 4..][..anchors * 4].as_chunks::<4>().0;
        let boxes: Vec<[f32; 4]> = sides
            .iter()
            .zip(grid.centres.iter().zip(&grid.strides))
            .map(|([l, t, r, b], ([x, y], stride))| [x - l * stride, y - t * stride, x + r * stride, y + b * stride])
            .collect();
        let scores = &scores[picture * anchors * classes..][..anchors * classes];
        let said = Said { scores, boxes: &boxes, centres: &grid.centres, classes };
        all.push(assign(&said, wanted, [STRIDES[0] as f32, STRIDES[1] as f32]));
    }
    Ok(all)
}

/// The mean of each distribution `[.., 16]`, in cells.
fn means(bins: &Tensor) -> Result<Tensor, TchError> {
    let places = Tensor::f_arange(BINS as i64, (Kind::Float, bins.device()))?;
    bins.f_softmax(-1, Kind::Float)?.f_matmul(&places)
}

/// What the anchors that answer should say.
struct Answering {
    /// `[rows, 2]`: their centres in cells.
    centres: Tensor,
    /// `[rows, 4]`: the objects' boxes in cells.
    corners: Tensor,
    /// `[rows, 1]`: what they count for.
    weights: Tensor,
}

impl Answering {
    fn of(all: &[(usize, Answer)], targets: &Targets, grid: &Grid, device: Device) -> Result<Self, TchError> {
        let rows = all.len() as i64;
        let (mut centres, mut corners) = (Vec::with_capacity(2 * all.len()), Vec::with_capacity(4 * all.len()));
        for (picture, answer) in all {
            let stride = grid.strides[answer.anchor];
            centres.extend(grid.centres[answer.anchor].map(|c| c / stride));
            corners.extend(targets.objects[*picture][answer.object].corners.map(|c| c / stride));
        }
        let weights: Vec<f32> = all.iter().map(|(_, answer)| answer.score).collect();
        let place =
            |values: &[f32], width: i64| Tensor::f_from_slice(values)?.f_view([rows, width])?.f_to_device(device);
        Ok(Self { centres: place(&centres, 2)?, corners: place(&corners, 4)?, weights: place(&weights, 1)? })
    }
}

/// The losses of boxes and of their distributions, before their gains.
fn boxes(bins: &Tensor, answering: &Answering, sum: f64) -> Result<(Tensor, Tensor), TchError> {
    let rows = bins.size2()?.0;
    let bins = bins.f_view([rows, 4, BINS as i64])?;
    let sides = means(&bins)?;
    let (x, y) = (answering.centres.f_narrow(1, 0, 1)?, answering.centres.f_narrow(1, 1, 1)?);
    let side = |n: i64| sides.f_narrow(1, n, 1);
    let said = [x.f_sub(&side(0)?)?, y.f_sub(&side(1)?)?, x.f_add(&side(2)?)?, y.f_add(&side(3)?)?];
    let edge = |n: i64| answering.corners.f_narrow(1, n, 1);
    let wanted = [edge(0)?, edge(1)?, edge(2)?, edge(3)?];
    let overlap = ciou(&said, &wanted)?;
    let by_box =
        overlap.f_neg()?.f_add_scalar(1.0)?.f_mul(&answering.weights)?.f_sum(Kind::Float)?.f_div_scalar(sum)?;

    // The distance lies between two bins; each should have what the other's is nearer than its own.
    let most = (BINS - 1) as f64 - 0.01;
    let distance =
        Tensor::f_cat(&[x.f_sub(&wanted[0])?, y.f_sub(&wanted[1])?, wanted[2].f_sub(&x)?, wanted[3].f_sub(&y)?], 1)?;
    let distance = distance.f_clamp(0.0, most)?;
    let below = distance.f_floor()?;
    let to_above = distance.f_sub(&below)?;
    let logs = bins.f_log_softmax(-1, Kind::Float)?;
    let bin = below.f_to_kind(Kind::Int64)?.f_unsqueeze(-1)?;
    let at = |bin: &Tensor| logs.f_gather(-1, bin, false)?.f_squeeze_dim(-1)?.f_neg();
    let near = at(&bin)?.f_mul(&to_above.f_neg()?.f_add_scalar(1.0)?)?;
    let far = at(&bin.f_add_scalar(1)?)?.f_mul(&to_above)?;
    let each = near.f_add(&far)?.f_mean_dim([1_i64].as_slice(), true, Kind::Float)?;
    let by_distance = each.f_mul(&answering.weights)?.f_sum(Kind::Float)?.f_div_scalar(sum)?;
    Ok((by_box, by_distance))
}

/// Complete IoU of boxes given by their edges, `[rows, 1]` each. How much the shapes count is no part of the gradient.
fn ciou(a: &[Tensor; 4], b: &[Tensor; 4]) -> Result<Tensor, TchError> {
    let size = |edges: &[Tensor; 4]| -> Result<(Tensor, Tensor), TchError> {
        Ok((edges[2].f_sub(&edges[0])?, edges[3].f_sub(&edges[1])?.f_add_scalar(EPS)?))
    };
    let ((w1, h1), (w2, h2)) = (size(a)?, size(b)?);
    let shared =
        |low: usize, high: usize| a[high].f_minimum(&b[high])?.f_sub(&a[low].f_maximum(&b[low])?)?.f_clamp_min(0.0);
    let shared = shared(0, 2)?.f_mul(&shared(1, 3)?)?;
    let either = w1.f_mul(&h1)?.f_add(&w2.f_mul(&h2)?)?.f_sub(&shared)?.f_add_scalar(EPS)?;
    let iou = shared.f_div(&either)?;
    let around = |low: usize, high: usize| a[high].f_maximum(&b[high])?.f_sub(&a[low].f_minimum(&b[low])?)?.f_square();
    let diagonal = around(0, 2)?.f_add(&around(1, 3)?)?.f_add_scalar(EPS)?;
    let apart = |low: usize, high: usize| b[low].f_add(&b[high])?.f_sub(&a[low])?.f_sub(&a[high])?.f_square();
    let apart = apart(0, 2)?.f_add(&apart(1, 3)?)?.f_div_scalar(4.0)?;
    let angle = w2.f_div(&h2)?.f_atan()?.f_sub(&w1.f_div(&h1)?.f_atan()?)?;
    let shapes = angle.f_square()?.f_mul_scalar(4.0 / std::f64::consts::PI.powi(2))?;
    let weight = tch::no_grad(|| shapes.f_div(&shapes.f_sub(&iou)?.f_add_scalar(1.0 + EPS)?))?;
    iou.f_sub(&apart.f_div(&diagonal)?.f_add(&shapes.f_mul(&weight)?)?)
}

/// The loss of masks before its gain: each within its object's box, by the box's area, all answers alike.
fn masks(
    coefficients: &Tensor,
    prototypes: &Tensor,
    maps: &[Vec<u16>],
    all: &[(usize, Answer)],
    targets: &Targets,
    (height, width): (i64, i64),
) -> Result<Tensor, TrainError> {
    let device = prototypes.device();
    let (_, count, rows, columns) = prototypes.size4()?;
    let mut losses = Vec::new();
    for (picture, (map, objects)) in maps.iter().zip(&targets.objects).enumerate() {
        if map.len() as i64 != rows * columns {
            return Err(TrainError::Weights(format!("a map of {} outlines for {columns}x{rows}", map.len())));
        }
        let mut of_object: Vec<Vec<i64>> = vec![Vec::new(); objects.len()];
        for (row, (_, answer)) in all.iter().enumerate().filter(|(_, (there, _))| *there == picture) {
            of_object[answer.object].push(row as i64);
        }
        if of_object.iter().all(Vec::is_empty) {
            continue;
        }
        let here = prototypes.f_get(picture as i64)?;
        for (object, answering) in of_object.iter().enumerate().filter(|(_, list)| !list.is_empty()) {
            let [x1, y1, x2, y2] = objects[object].corners;
            // The pixels of the outlines whose number is within the box; as shares of the input, as the reference counts.
            let (across, down) = (columns as f32 / width as f32, rows as f32 / height as f32);
            let window = |low: f32, high: f32, scale: f32, len: i64| {
                let low = ((low * scale).ceil() as i64).clamp(0, len);
                (low, ((high * scale).ceil() as i64).clamp(low, len))
            };
            let ((left, right), (top, bottom)) = (window(x1, x2, across, columns), window(y1, y2, down, rows));
            let (wide, high) = (right - left, bottom - top);
            if wide * high == 0 {
                continue;
            }
            let inside = |row: i64| {
                let line = &map[(row * columns + left) as usize..(row * columns + right) as usize];
                line.iter().map(|place| f32::from(u8::from(usize::from(*place) == object + 1)))
            };
            let wanted: Vec<f32> = (top..bottom).flat_map(inside).collect();
            let wanted = Tensor::f_from_slice(&wanted)?.f_view([1, wide * high])?.f_to_device(device)?;
            let chosen = coefficients.f_index_select(0, &Tensor::f_from_slice(answering)?.f_to_device(device)?)?;
            let seen = here.f_narrow(1, top, high)?.f_narrow(2, left, wide)?.f_reshape([count, wide * high])?;
            let said = chosen.f_matmul(&seen)?;
            let wanted = wanted.f_expand_as(&said)?;
            let each =
                said.f_binary_cross_entropy_with_logits(&wanted, None::<&Tensor>, None::<&Tensor>, Reduction::Sum)?;
            let area = f64::from((x2 - x1) / width as f32) * f64::from((y2 - y1) / height as f32);
            losses.push(each.f_div_scalar((rows * columns) as f64 * area)?);
        }
    }
    if losses.is_empty() {
        return Ok(prototypes.f_sum(Kind::Float)?.f_mul_scalar(0.0)?);
    }
    Ok(Tensor::f_stack(&losses, 0)?.f_sum(Kind::Float)?.f_div_scalar(all.len() as f64)?)
}
