//! Pictures in, detections out: what `yolo predict` does with its defaults.

use std::collections::BTreeMap;
use std::path::Path;

use image::RgbImage;
use tch::{Device, Kind, Tensor};

use super::network::{Heads, Network};
use super::nms::{Candidate, anchor, decode, suppress};
use super::outline::{Logits, trace};
use crate::domain::{Detection, Fingerprint};
use crate::vision::checkpoint::{self, Checkpoint, Weights};
use crate::vision::device::Runtime;
use crate::vision::letterbox::{Letterbox, STRIDE};
use crate::vision::{Detect, VisionError, masks};

/// The longer side of the input where neither the asker nor the weights tell another, pixels: what YOLOv8 was trained with.
pub const INPUT_SIZE: u32 = 640;
/// The largest longer side of the input, pixels.
const MOST: u32 = 4096;

/// Whether the network can have an input of this side.
#[must_use]
pub fn possible(side: u32) -> bool {
    (STRIDE..=MOST).contains(&side) && side.is_multiple_of(STRIDE)
}

/// What counts as a detection.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DetectOptions {
    /// The least confidence, 0 to 1 (exclusive).
    pub confidence: f64,
    /// Boxes of one class that overlap by more give way to the more confident, 0 to 1.
    pub iou: f64,
    /// The most detections in a picture.
    pub limit: usize,
    /// The longer side of the network's input in pixels, rounded up to a multiple of 32.
    pub input_size: u32,
    /// Whether a place may be an object of several classes, each that is confident enough (`yolo val`), or of the most likely one
    /// alone (`yolo predict`). Judged by the latter, classes that are mostly taken for a more frequent one seem not to be found at all.
    pub multi_label: bool,
}

impl Default for DetectOptions {
    fn default() -> Self {
        Self { confidence: 0.25, iou: 0.7, limit: 300, input_size: INPUT_SIZE, multi_label: false }
    }
}

impl DetectOptions {
    fn check(&self) -> Result<u32, VisionError> {
        let share = |value: f64| (0.0..=1.0).contains(&value);
        if !share(self.confidence) || !share(self.iou) {
            let (confidence, iou) = (self.confidence, self.iou);
            return Err(VisionError::Setting(format!(
                "confidence {confidence} and iou {iou} must lie between 0 and 1"
            )));
        }
        if !(STRIDE..=MOST).contains(&self.input_size) {
            return Err(VisionError::Setting(format!(
                "the input size {} must lie between {STRIDE} and {MOST}",
                self.input_size
            )));
        }
        Ok(self.input_size.next_multiple_of(STRIDE))
    }
}

/// Pictures of one letterboxed shape, and what the network says about them.
#[derive(Debug)]
pub struct Group {
    /// What it says.
    pub heads: Heads,
    /// Each picture's place in the list asked about, and how it lies in the input.
    pub members: Vec<(usize, Letterbox)>,
}

/// A YOLOv8 detector with its weights.
#[derive(Debug)]
pub struct Detector {
    network: Network,
    names: Vec<String>,
    fingerprint: Fingerprint,
}

impl Detector {
    /// Loads a detector from a model file of any known kind.
    ///
    /// # Errors
    /// When the file cannot be read, is no detector, or libtorch fails.
    pub fn load(path: &Path, runtime: Runtime) -> Result<Self, VisionError> {
        Self::of(&checkpoint::read(path)?, runtime)
    }

    /// Builds a detector from a model file that was read.
    ///
    /// # Errors
    /// As [`Detector::load`].
    pub fn of(checkpoint: &Checkpoint, runtime: Runtime) -> Result<Self, VisionError> {
        if !matches!(checkpoint.info.task, checkpoint::Task::Detect | checkpoint::Task::Segment) {
            let (architecture, found) = (checkpoint.info.architecture.clone(), checkpoint.info.task);
            return Err(VisionError::Task { architecture, found, needed: "detect or segment" });
        }
        Self::new(&checkpoint.weights, runtime)
    }

    /// Builds a detector from weights.
    ///
    /// # Errors
    /// When the weights are not YOLOv8's, or libtorch fails.
    pub fn new(weights: &Weights, runtime: Runtime) -> Result<Self, VisionError> {
        let network = Network::new(weights, runtime)?;
        let numbered = || (0..network.plan.classes).map(|class| format!("class {class}")).collect();
        let names = weights.names.clone().unwrap_or_else(numbered);
        Ok(Self { network, names, fingerprint: Fingerprint(weights.fingerprint()) })
    }

    /// The network's shape and place.
    #[must_use]
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// Finds the objects in upright pictures, most confident first; one list a picture, in their order.
    ///
    /// Boxes are in pixels of the picture and cut to it. A segmenting network gives each detection its mask, and drops
    /// those whose mask has no pixel.
    ///
    /// # Errors
    /// When an option is out of range, a picture has no pixels, or libtorch fails.
    pub fn detect(&self, pictures: &[&RgbImage], options: &DetectOptions) -> Result<Vec<Vec<Detection>>, VisionError> {
        let mut all = vec![Vec::new(); pictures.len()];
        for group in self.run(pictures, options)? {
            for place in 0..group.members.len() {
                all[group.members[place].0] = self.read(&group, place, options)?;
            }
        }
        Ok(all)
    }

    /// Runs the network: pictures of one letterboxed shape go through it together.
    ///
    /// # Errors
    /// As [`Detector::detect`].
    pub fn run(&self, pictures: &[&RgbImage], options: &DetectOptions) -> Result<Vec<Group>, VisionError> {
        let size = options.check()?;
        let mut groups: BTreeMap<(u32, u32), Vec<(usize, Letterbox)>> = BTreeMap::new();
        for (index, picture) in pictures.iter().enumerate() {
            let (width, height) = picture.dimensions();
            if width == 0 || height == 0 {
                return Err(VisionError::EmptyPicture { width, height });
            }
            let fitted = Letterbox::fit(width, height, size);
            groups.entry((fitted.width, fitted.height)).or_default().push((index, fitted));
        }
        let run = |members: Vec<(usize, Letterbox)>| {
            let inputs: Vec<RgbImage> = members.iter().map(|(index, fitted)| fitted.apply(pictures[*index])).collect();
            let heads = tch::no_grad(|| self.network.forward(&self.input(&inputs)?).map_err(VisionError::from))?;
            Ok(Group { heads, members })
        };
        groups.into_values().map(run).collect()
    }

    /// Pictures of one size as the network's input: `[batch, 3, height, width]`, RGB from 0 to 255.
    ///
    /// # Errors
    /// When libtorch fails.
    pub fn input(&self, pictures: &[RgbImage]) -> Result<Tensor, VisionError> {
        let runtime = self.network.runtime();
        let mut parts = Vec::with_capacity(pictures.len());
        for picture in pictures {
            let shape = [1, i64::from(picture.height()), i64::from(picture.width()), 3];
            parts.push(Tensor::f_from_data_size(picture.as_raw(), &shape, Kind::Uint8)?);
        }
        let bytes = if let [one] = parts.as_slice() { one.shallow_clone() } else { Tensor::f_cat(&parts, 0)? };
        // The pictures come with their channels last, and stay so in memory.
        Ok(bytes.f_to_device(runtime.device)?.f_to_kind(runtime.kind)?.f_permute([0, 3, 1, 2])?)
    }

    /// The objects of a group's picture, as [`Detector::detect`] gives them.
    ///
    /// # Errors
    /// As [`Detector::detect`].
    pub fn read(&self, group: &Group, place: usize, options: &DetectOptions) -> Result<Vec<Detection>, VisionError> {
        let (heads, fitted, place) = (&group.heads, group.members[place].1, place as i64);
        let candidates = candidates(heads, place, fitted, options)?;
        let kept = suppress(candidates, options.iou, options.limit);
        let outlines = match (&heads.coefficients, &heads.prototypes) {
            (Some(coefficients), Some(prototypes)) if !kept.is_empty() => {
                Some(logits(&coefficients.f_get(place)?, &prototypes.f_get(place)?, &kept)?)
            }
            _ => None,
        };
        let mut detections = Vec::with_capacity(kept.len());
        for (i, candidate) in kept.iter().enumerate() {
            let bounding_box = fitted.restore(candidate.corners);
            let mut mask = None;
            if let Some(outlines) = &outlines {
                let (left, top, window) = trace(&outlines[i], fitted.source, bounding_box);
                if window.area() == 0 {
                    continue;
                }
                mask = Some(masks::encode_window([fitted.source.1, fitted.source.0], left, top, &window));
            }
            detections.push(Detection {
                class: candidate.class,
                name: self.names.get(candidate.class as usize).cloned().unwrap_or_default(),
                confidence: candidate.confidence,
                bounding_box,
                mask,
            });
        }
        Ok(detections)
    }
}

impl Detect for Detector {
    fn detect(&self, pictures: &[&RgbImage], options: &DetectOptions) -> Result<Vec<Vec<Detection>>, VisionError> {
        Self::detect(self, pictures, options)
    }

    fn names(&self) -> &[String] {
        &self.names
    }

    fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }
}

/// The boxes above the least confidence, decoded.
fn candidates(
    heads: &Heads,
    place: i64,
    fitted: Letterbox,
    options: &DetectOptions,
) -> Result<Vec<Candidate>, VisionError> {
    let (best, classes) = heads.scores.f_get(place)?.f_to_kind(Kind::Float)?.f_max_dim(0, false)?;
    let confidences: Vec<f32> = host(&best.f_sigmoid()?)?;
    if confidences.iter().any(|confidence| confidence.is_nan()) {
        return Err(VisionError::NotFinite);
    }
    let classes: Vec<i64> = Vec::try_from(classes.f_to_device(Device::Cpu)?)?;
    let least = options.confidence as f32;
    let above: Vec<i64> = (0..confidences.len()).filter(|i| confidences[*i] > least).map(|i| i as i64).collect();
    if above.is_empty() {
        return Ok(Vec::new());
    }
    let chosen = Tensor::f_from_slice(&above)?.f_to_device(heads.boxes.device())?;
    let bins = heads.boxes.f_get(place)?.f_index_select(1, &chosen)?.f_t_()?.f_to_kind(Kind::Float)?;
    let (rows, width) = bins.size2()?;
    let bins: Vec<f32> = host(&bins)?;
    if bins.iter().any(|value| !value.is_finite()) {
        return Err(VisionError::NotFinite);
    }
    debug_assert_eq!(rows as usize, above.len());
    // Each place's classes that are confident enough, in the order of their numbers.
    let likely: Vec<Vec<(u32, f32)>> = if options.multi_label {
        let scores = heads.scores.f_get(place)?.f_index_select(1, &chosen)?.f_t_()?.f_to_kind(Kind::Float)?;
        let count = scores.size2()?.1 as usize;
        let numbered = |row: &[f32]| {
            let all = row.iter().enumerate().map(|(class, confidence)| (class as u32, *confidence));
            all.filter(|(_, confidence)| *confidence > least).collect()
        };
        host(&scores.f_sigmoid()?)?.chunks_exact(count.max(1)).map(numbered).collect()
    } else {
        above.iter().map(|index| vec![(classes[*index as usize] as u32, confidences[*index as usize])]).collect()
    };
    let mut found = Vec::with_capacity(above.len());
    for ((index, bins), likely) in above.iter().zip(bins.chunks_exact(width as usize)).zip(likely) {
        let index = *index as usize;
        let (centre, stride) = anchor(index, fitted.width as usize, fitted.height as usize);
        let corners = decode(bins, centre, stride);
        let of = |(class, confidence)| Candidate { corners, confidence, class, anchor: index };
        found.extend(likely.into_iter().map(of));
    }
    Ok(found)
}

/// Each detection's mask logits: its coefficients times the prototypes.
fn logits(coefficients: &Tensor, prototypes: &Tensor, kept: &[Candidate]) -> Result<Vec<Logits>, VisionError> {
    let anchors: Vec<i64> = kept.iter().map(|candidate| candidate.anchor as i64).collect();
    let anchors = Tensor::f_from_slice(&anchors)?.f_to_device(coefficients.device())?;
    let chosen = coefficients.f_index_select(1, &anchors)?.f_t_()?.f_to_kind(Kind::Float)?;
    let (_, height, width) = prototypes.size3()?;
    let flat = prototypes.f_to_kind(Kind::Float)?.f_reshape([prototypes.size3()?.0, height * width])?;
    let values: Vec<f32> = host(&chosen.f_matmul(&flat)?)?;
    let (width, height) = (width as usize, height as usize);
    Ok(values.chunks_exact(width * height).map(|v| Logits { width, height, values: v.to_vec() }).collect())
}

fn host(tensor: &Tensor) -> Result<Vec<f32>, VisionError> {
    let flat = tensor.f_to_device(Device::Cpu)?.f_contiguous()?.f_view([-1])?;
    Ok(Vec::try_from(flat)?)
}
