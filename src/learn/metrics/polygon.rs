//! The pixels of a polygon as pycocotools has them: outlines of COCO files are judged so. Its rule is not that a pixel's centre
//! lies within: the boundary is walked in steps of a fifth of a pixel, and the mask begins or ends in a column where that walk
//! crosses the column's middle. On small objects the difference is some percent of the pixels. Written from the observed
//! behaviour and the description in `maskApi.c`; equal to it (`tests/golden/metrics.py`).

use super::shape::Runs;

/// Steps a pixel.
const STEPS: i64 = 5;

impl Runs {
    /// The mask within a closed polygon, in a picture of that width and height; corners in pixels.
    ///
    /// Corners count to a ten-thousandth of a pixel, so that shares of a side in 32 bits give the decimals that they were made of.
    #[must_use]
    pub fn within(corners: &[[f32; 2]], (width, height): (u32, u32)) -> Self {
        let decimal = |value: f32| (f64::from(value) * 1e4).round() / 1e4;
        // Further out it makes no difference, and overflows nothing.
        let step = |value: f32, side: u32| {
            let far = f64::from(side) + 2.0;
            (decimal(value).clamp(-far, 2.0 * far) * STEPS as f64 + 0.5) as i64
        };
        let corners: Vec<[i64; 2]> = corners.iter().map(|[x, y]| [step(*x, width), step(*y, height)]).collect();
        let mut turns = Vec::new();
        for (number, to) in corners.iter().enumerate() {
            let from = corners[(number + corners.len() - 1) % corners.len()];
            edge(from, *to, (i64::from(width), i64::from(height)), &mut turns);
        }
        turns.sort_unstable();
        Self::between(&turns, u64::from(width) * u64::from(height))
    }
}

/// Adds the places, counted down the columns, at which an edge turns the mask on or off.
fn edge(from: [i64; 2], to: [i64; 2], (width, height): (i64, i64), turns: &mut Vec<u64>) {
    let [dx, dy] = [(to[0] - from[0]).abs(), (to[1] - from[1]).abs()];
    let is_flat = dx >= dy;
    // An edge has the same points from either end.
    let is_turned = if is_flat { from[0] > to[0] } else { from[1] > to[1] };
    let [start, end] = if is_turned { [to, from] } else { [from, to] };
    let slope = if is_flat {
        if dx == 0 { 0.0 } else { (end[1] - start[1]) as f64 / dx as f64 }
    } else {
        (end[0] - start[0]) as f64 / dy as f64
    };
    let length = dx.max(dy);
    let point = |number: i64| -> [i64; 2] {
        let t = if is_turned { length - number } else { number };
        if is_flat {
            [t + start[0], (start[1] as f64 + slope * t as f64 + 0.5) as i64]
        } else {
            [(start[0] as f64 + slope * t as f64 + 0.5) as i64, t + start[1]]
        }
    };
    let mut before = point(0);
    for number in 1..=length {
        let here = point(number);
        if here[0] != before[0] {
            // The step that holds the middle of a column.
            let crossed = if here[0] < before[0] { here[0] } else { here[0] - 1 };
            let column = crossed.div_euclid(STEPS);
            if crossed.rem_euclid(STEPS) == STEPS / 2 && (0..width).contains(&column) {
                let row = (here[1].min(before[1]) as f64 + 0.5) / STEPS as f64 - 0.5;
                let row = row.clamp(0.0, height as f64).ceil() as i64;
                turns.push((column * height + row) as u64);
            }
        }
        before = here;
    }
}
