//! Which anchors answer for which object: task-aligned assignment (Feng et al., TOOD, arXiv:2108.07755), as YOLOv8 uses it.
//!
//! An anchor is a candidate for an object when its centre lies in the object's box. Candidates are ranked by
//! `score^0.5 * CIoU^6`; the ten best of each object answer for it, and an anchor wanted by several answers for the one that its
//! box covers best. What its class score should be is its rank relative to the object's best, times the best overlap.
//!
//! Pure: plain slices, no tensors. A picture has a few objects, each with a few hundred candidates; going through these is
//! a hundredth of the work of a table of all anchors by all objects.

/// How many anchors answer for an object at most.
const ANSWERS: usize = 10;
/// The power of the class score.
const ALPHA: f32 = 0.5;
/// The power of the overlap.
const BETA: i32 = 6;
/// Keeps divisions by nothing from happening.
const TINY: f32 = 1e-9;

/// What one picture's heads say, decoded.
#[derive(Clone, Copy, Debug)]
pub struct Said<'a> {
    /// `[anchors * classes]`: scores, 0 to 1, each anchor's together.
    pub scores: &'a [f32],
    /// Boxes in pixels, `[x1, y1, x2, y2]`.
    pub boxes: &'a [[f32; 4]],
    /// Anchors' centres, pixels.
    pub centres: &'a [[f32; 2]],
    /// The number of classes.
    pub classes: usize,
}

/// An object that should be found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Wanted {
    /// Its class.
    pub class: u32,
    /// Its box in pixels, `[x1, y1, x2, y2]`.
    pub corners: [f32; 4],
}

/// An anchor that answers for an object.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Answer {
    /// The anchor.
    pub anchor: usize,
    /// The object's place in the list.
    pub object: usize,
    /// What its score for the object's class should be, 0 to 1.
    pub score: f32,
}

/// An anchor that would answer for an object.
#[derive(Clone, Copy)]
struct Candidate {
    anchor: usize,
    rank: f32,
    overlap: f32,
}

/// The answers for one picture, by anchor.
///
/// Boxes narrower or lower than the finest stride are candidates' as if that side were `strides[1]` long: nothing else
/// would have its centre in them.
#[must_use]
pub fn assign(said: &Said, wanted: &[Wanted], strides: [f32; 2]) -> Vec<Answer> {
    // Each anchor with the objects that want it.
    let mut claims: Vec<Vec<(usize, Candidate)>> = Vec::new();
    let mut claimed: Vec<Option<usize>> = vec![None; said.boxes.len()];
    for (object, want) in wanted.iter().enumerate() {
        for candidate in best(said, want, strides) {
            let place = *claimed[candidate.anchor].get_or_insert_with(|| {
                claims.push(Vec::new());
                claims.len() - 1
            });
            claims[place].push((object, candidate));
        }
    }
    let mut kept: Vec<(usize, Candidate)> = Vec::with_capacity(claims.len());
    for claim in &claims {
        if let [only] = claim.as_slice() {
            kept.push(*only);
        } else if let Some((_, first)) = claim.first() {
            // Among all objects, not only those that want it: the one its box covers best.
            let covers = |object: usize| reach(said, first.anchor, &wanted[object], strides).map_or(0.0, |c| c.overlap);
            let mut most = 0;
            for object in 1..wanted.len() {
                if covers(object) > covers(most) {
                    most = object;
                }
            }
            let candidate = reach(said, first.anchor, &wanted[most], strides);
            kept.push((most, candidate.unwrap_or(Candidate { anchor: first.anchor, rank: 0.0, overlap: 0.0 })));
        }
    }
    let mut tops = vec![(0.0_f32, 0.0_f32); wanted.len()];
    for (object, candidate) in &kept {
        let (rank, overlap) = &mut tops[*object];
        *rank = rank.max(candidate.rank);
        *overlap = overlap.max(candidate.overlap);
    }
    let score = |(object, candidate): &(usize, Candidate)| {
        let (rank, overlap) = tops[*object];
        Answer { anchor: candidate.anchor, object: *object, score: candidate.rank * overlap / (rank + TINY) }
    };
    let mut answers: Vec<Answer> = kept.iter().map(score).collect();
    answers.sort_by_key(|answer| answer.anchor);
    answers
}

/// The anchors that would answer for an object best.
fn best(said: &Said, want: &Wanted, strides: [f32; 2]) -> Vec<Candidate> {
    // Whose box does not meet the object's at all has nothing to learn from it: its score should be 0 anyway. (The
    // reference lets some of these count for masks, whichever its sorting happens to leave in front.)
    let mut inside: Vec<Candidate> = (0..said.boxes.len())
        .filter_map(|anchor| reach(said, anchor, want, strides))
        .filter(|candidate| candidate.rank > 0.0)
        .collect();
    // Stable, so that equals stay in the anchors' order.
    inside.sort_by(|a, b| b.rank.total_cmp(&a.rank));
    inside.truncate(ANSWERS);
    inside
}

/// An anchor as a candidate for an object, if its centre lies in the object's box.
fn reach(said: &Said, anchor: usize, want: &Wanted, strides: [f32; 2]) -> Option<Candidate> {
    let [x1, y1, x2, y2] = want.corners;
    let [x, y] = said.centres[anchor];
    let widened = |low: f32, high: f32| {
        if high - low < strides[0] {
            let middle = (low + high) / 2.0;
            (middle - strides[1] / 2.0, middle + strides[1] / 2.0)
        } else {
            (low, high)
        }
    };
    let ((left, right), (top, bottom)) = (widened(x1, x2), widened(y1, y2));
    if (x - left).min(y - top).min(right - x).min(bottom - y) <= TINY {
        return None;
    }
    let overlap = ciou(&want.corners, &said.boxes[anchor]).max(0.0);
    let score = said.scores[anchor * said.classes + want.class as usize];
    Some(Candidate { anchor, rank: score.powf(ALPHA) * overlap.powi(BETA), overlap })
}

/// Complete IoU of two boxes (Zheng et al., arXiv:1911.08287): the overlap, less the squared distance of the centres over the
/// squared diagonal around both, less what their shapes differ by.
#[must_use]
pub fn ciou(a: &[f32; 4], b: &[f32; 4]) -> f32 {
    const EPS: f32 = 1e-7;
    let (w1, h1) = (a[2] - a[0], a[3] - a[1] + EPS);
    let (w2, h2) = (b[2] - b[0], b[3] - b[1] + EPS);
    let across = (a[2].min(b[2]) - a[0].max(b[0])).max(0.0);
    let shared = across * (a[3].min(b[3]) - a[1].max(b[1])).max(0.0);
    let iou = shared / (w1 * h1 + w2 * h2 - shared + EPS);
    let (wide, high) = (a[2].max(b[2]) - a[0].min(b[0]), a[3].max(b[3]) - a[1].min(b[1]));
    let diagonal = wide.powi(2) + high.powi(2) + EPS;
    let apart = ((b[0] + b[2] - a[0] - a[2]).powi(2) + (b[1] + b[3] - a[1] - a[3]).powi(2)) / 4.0;
    let shapes = 4.0 / std::f32::consts::PI.powi(2) * ((w2 / h2).atan() - (w1 / h1).atan()).powi(2);
    let weight = shapes / (shapes - iou + 1.0 + EPS);
    iou - (apart / diagonal + shapes * weight)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A grid of 8 by 8 anchors of stride 8 whose boxes are 16 pixels wide.
    fn grid() -> (Vec<[f32; 2]>, Vec<[f32; 4]>) {
        let centres: Vec<[f32; 2]> =
            (0..64).map(|i| [(i % 8) as f32 * 8.0 + 4.0, (i / 8) as f32 * 8.0 + 4.0]).collect();
        let boxes = centres.iter().map(|[x, y]| [x - 8.0, y - 8.0, x + 8.0, y + 8.0]).collect();
        (centres, boxes)
    }

    #[test]
    fn ciou_of_a_box_and_itself_is_one_and_far_ones_are_negative() {
        let a = [0.0, 0.0, 10.0, 20.0];
        assert!((ciou(&a, &a) - 1.0).abs() < 1e-5);
        assert!(ciou(&a, &[100.0, 100.0, 110.0, 105.0]) < -0.5);
        // By hand: shared 50, both together 350, centres 10 apart in x... (0..10) and (5..15): overlap 1/3, distance 25.
        let iou = ciou(&a, &[5.0, 0.0, 15.0, 20.0]);
        assert!((iou - (1.0 / 3.0 - 25.0 / (225.0 + 400.0))).abs() < 1e-5, "{iou}");
    }

    #[test]
    fn anchors_outside_a_box_never_answer_and_ten_do_at_most() {
        let (centres, boxes) = grid();
        let scores = vec![0.5; 64];
        let said = Said { scores: &scores, boxes: &boxes, centres: &centres, classes: 1 };
        let wanted = [Wanted { class: 0, corners: [0.0, 0.0, 40.0, 40.0] }];
        let answers = assign(&said, &wanted, [8.0, 16.0]);
        assert_eq!(answers.len(), 10);
        assert!(answers.iter().all(|a| centres[a.anchor][0] < 40.0 && centres[a.anchor][1] < 40.0));
        let best = answers.iter().map(|a| a.score).fold(0.0, f32::max);
        let overlap = answers.iter().map(|a| ciou(&wanted[0].corners, &boxes[a.anchor])).fold(0.0, f32::max);
        // Less what keeps divisions by nothing from happening.
        assert!((best - overlap).abs() < 1e-4, "the best answer's score is the best overlap: {best}, {overlap}");
    }

    #[test]
    fn an_anchor_answers_once_for_what_it_covers_best() {
        let (centres, boxes) = grid();
        let scores = vec![0.5; 64];
        let said = Said { scores: &scores, boxes: &boxes, centres: &centres, classes: 1 };
        let wanted = [
            Wanted { class: 0, corners: [8.0, 8.0, 24.0, 24.0] },
            Wanted { class: 0, corners: [10.0, 10.0, 30.0, 30.0] },
        ];
        let answers = assign(&said, &wanted, [8.0, 16.0]);
        let mut anchors: Vec<usize> = answers.iter().map(|a| a.anchor).collect();
        anchors.dedup();
        assert_eq!(anchors.len(), answers.len(), "no anchor twice");
        for answer in &answers {
            let overlap = |object: usize| ciou(&wanted[object].corners, &boxes[answer.anchor]);
            let other = overlap(1 - answer.object);
            let inside = reach(&said, answer.anchor, &wanted[1 - answer.object], [8.0, 16.0]).is_some();
            assert!(!inside || overlap(answer.object) >= other, "{answer:?}");
        }
    }

    #[test]
    fn a_tiny_object_is_answered_for() {
        let (centres, _) = grid();
        let boxes: Vec<[f32; 4]> = centres.iter().map(|_| [6.0, 6.0, 10.0, 10.0]).collect();
        let scores = vec![0.5; 64];
        let said = Said { scores: &scores, boxes: &boxes, centres: &centres, classes: 1 };
        // Between four centres: none lies in it.
        let wanted = [Wanted { class: 0, corners: [7.0, 7.0, 9.0, 9.0] }];
        assert_eq!(assign(&said, &wanted, [8.0, 16.0]).len(), 4);
        assert!(assign(&said, &[], [8.0, 16.0]).is_empty());
    }
}
