//! From candidates to detections: decoding boxes, and greedy non-maximum suppression within each class.

use super::plan::BINS;

/// Puts classes so far apart that their boxes never meet (Ultralytics' `max_wh`). Added in `f32`, as the
/// reference does: at high class numbers it rounds the boxes, and with them the overlaps.
const CLASS_DISTANCE: f32 = 7680.0;
/// Ultralytics' `max_nms`.
const MAX_CANDIDATES: usize = 30_000;

/// A box that might be an object, in pixels of the network's input.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// `[x1, y1, x2, y2]`
    pub corners: [f32; 4],
    /// 0 to 1.
    pub confidence: f32,
    /// The class: the most likely one, or each that is confident enough.
    pub class: u32,
    /// Which anchor it came from.
    pub anchor: usize,
}

/// The anchors of an input, finest level first: centres in cells, and the cell's size in pixels.
pub(super) fn anchor(index: usize, width: usize, height: usize) -> ([f32; 2], f32) {
    let mut index = index;
    for stride in [8usize, 16, 32] {
        let (across, down) = (width / stride, height / stride);
        if index < across * down || stride == 32 {
            let centre = [(index % across.max(1)) as f32 + 0.5, (index / across.max(1)) as f32 + 0.5];
            return (centre, stride as f32);
        }
        index -= across * down;
    }
    ([0.5, 0.5], 32.0)
}

/// A box from its four distributions over 16 distances (Generalized Focal Loss, arXiv:2006.04388, section 3).
pub(super) fn decode(bins: &[f32], centre: [f32; 2], stride: f32) -> [f32; 4] {
    let distance = |side: usize| {
        let bins = &bins[side * BINS..(side + 1) * BINS];
        let top = bins.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let (mut sum, mut mean) = (0.0, 0.0);
        for (bin, logit) in bins.iter().enumerate() {
            let weight = (logit - top).exp();
            sum += weight;
            mean += weight * bin as f32;
        }
        mean / sum
    };
    let (x1, y1) = (centre[0] - distance(0), centre[1] - distance(1));
    let (x2, y2) = (centre[0] + distance(2), centre[1] + distance(3));
    // By way of centre and size, as the reference rounds.
    let (x, y) = ((x1 + x2) / 2.0 * stride, (y1 + y2) / 2.0 * stride);
    let (w, h) = ((x2 - x1) * stride / 2.0, (y2 - y1) * stride / 2.0);
    [x - w, y - h, x + w, y + h]
}

/// Keeps the most confident of boxes of one class that overlap by more than `iou`, at most `limit`, most confident first.
#[must_use]
pub fn suppress(mut candidates: Vec<Candidate>, iou: f64, limit: usize) -> Vec<Candidate> {
    // Stable, so that equals stay in the anchors' order.
    candidates.sort_by(|a, b| b.confidence.total_cmp(&a.confidence));
    candidates.truncate(MAX_CANDIDATES);
    let apart = |candidate: &Candidate| candidate.corners.map(|c| c + candidate.class as f32 * CLASS_DISTANCE);
    let area = |b: &[f32; 4]| (b[2] - b[0]) * (b[3] - b[1]);
    let mut kept: Vec<(Candidate, [f32; 4])> = Vec::new();
    for candidate in candidates {
        if kept.len() >= limit {
            break;
        }
        let here = apart(&candidate);
        let overlaps = |(other, there): &(Candidate, [f32; 4])| {
            if other.class != candidate.class {
                return false;
            }
            let width = (here[2].min(there[2]) - here[0].max(there[0])).max(0.0);
            let height = (here[3].min(there[3]) - here[1].max(there[1])).max(0.0);
            let shared = width * height;
            f64::from(shared / (area(there) + area(&here) - shared)) > iou
        };
        if !kept.iter().any(overlaps) {
            kept.push((candidate, here));
        }
    }
    kept.into_iter().map(|(candidate, _)| candidate).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(corners: [f32; 4], confidence: f32, class: u32) -> Candidate {
        Candidate { corners, confidence, class, anchor: 0 }
    }

    #[test]
    fn overlapping_boxes_of_one_class_give_way() {
        let all = vec![
            candidate([0.0, 0.0, 10.0, 10.0], 0.5, 0),
            candidate([1.0, 0.0, 11.0, 10.0], 0.9, 0),
            candidate([0.0, 0.0, 10.0, 10.0], 0.4, 1),
            candidate([50.0, 0.0, 60.0, 10.0], 0.3, 0),
        ];
        let kept: Vec<f32> = suppress(all.clone(), 0.7, 300).iter().map(|c| c.confidence).collect();
        assert_eq!(kept, [0.9, 0.4, 0.3], "iou 0.82 > 0.7 within class 0 only");
        assert_eq!(suppress(all.clone(), 0.9, 300).len(), 4);
        assert_eq!(suppress(all, 0.7, 2).len(), 2);
    }

    #[test]
    fn a_flat_distribution_is_seven_and_a_half_cells() {
        let corners = decode(&[0.0; 64], [20.5, 10.5], 8.0);
        assert_eq!(corners, [(20.5 - 7.5) * 8.0, (10.5 - 7.5) * 8.0, (20.5 + 7.5) * 8.0, (10.5 + 7.5) * 8.0]);
    }

    #[test]
    fn anchors_run_through_the_levels() {
        assert_eq!(anchor(0, 640, 448), ([0.5, 0.5], 8.0));
        assert_eq!(anchor(81, 640, 448), ([1.5, 1.5], 8.0));
        assert_eq!(anchor(80 * 56, 640, 448), ([0.5, 0.5], 16.0));
        assert_eq!(anchor(80 * 56 + 40 * 28 + 20 * 14 - 1, 640, 448), ([19.5, 13.5], 32.0));
    }
}
