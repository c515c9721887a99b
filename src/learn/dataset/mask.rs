//! Masks as runs of pixels, as COCO files have them, made outlines; and parts of an object made one.

use serde::{Deserialize, Serialize};

use super::trace;
use crate::domain::Rle;
use crate::learn::augment::fill;
use crate::vision::masks;

/// Pixels of a mask at most: a few bytes can claim any size.
const MOST_PIXELS: u64 = 1 << 27;
/// Runs of a mask at most.
const MOST_RUNS: usize = 2_000_000;
/// Corners of its pixels' edges at most.
const MOST_EDGES: usize = 1_000_000;
/// Corners up to which an outline follows the pixels' edges exactly.
const EXACT: usize = 400;
/// Pixels by which an outline of more corners may miss the pixels' edges.
const TOLERANCE: f32 = 0.75;
/// What such an outline must have of the pixels, as intersection over union; else it follows their edges, too.
const LIKE: f64 = 0.98;
/// Parts and holes at most; the largest are kept.
const MOST_PARTS: usize = 100;
/// Corners of all parts at most: each is held against each while they are joined.
const MOST_CORNERS: usize = 20_000;

/// A mask: runs down the columns, of nothing first.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Runs {
    /// Height and width, pixels.
    size: [u64; 2],
    counts: Counts,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum Counts {
    /// As pycocotools compresses them.
    Text(String),
    List(Vec<u64>),
}

/// An outline in pixels, and what it lacks.
#[derive(Debug)]
pub(super) struct Outlined {
    pub(super) corners: Vec<[f32; 2]>,
    /// What was done to it, where that was something.
    pub(super) mended: Option<String>,
}

/// The pixels of a part of a picture.
struct Window {
    left: usize,
    top: usize,
    width: usize,
    height: usize,
    inside: Vec<bool>,
}

impl Window {
    fn new([left, top, right, bottom]: [usize; 4]) -> Self {
        let (width, height) = (right - left, bottom - top);
        Self { left, top, width, height, inside: vec![false; width * height] }
    }

    /// How many corners the edges of its pixels have.
    fn corners(&self) -> usize {
        let (width, height) = (self.width, self.height);
        let at =
            |x: usize, y: usize| x > 0 && y > 0 && x <= width && y <= height && self.inside[(y - 1) * width + x - 1];
        let around = |x: usize, y: usize| [at(x, y), at(x + 1, y), at(x, y + 1), at(x + 1, y + 1)];
        let turns = |pixels: [bool; 4]| match pixels {
            // Two pixels that touch there turn one way each.
            [true, false, false, true] | [false, true, true, false] => 2,
            pixels => pixels.iter().filter(|inside| **inside).count() % 2,
        };
        (0..=height).map(|y| (0..=width).map(|x| turns(around(x, y))).sum::<usize>()).sum()
    }

    /// How much of its pixels an outline in the picture's has: intersection over union.
    fn likeness(&self, corners: &[[f32; 2]]) -> f64 {
        let here: Vec<[f32; 2]> = corners.iter().map(|[x, y]| [x - self.left as f32, y - self.top as f32]).collect();
        let (mut shared, mut added) = (0_u64, 0_u64);
        fill(&here, self.width, self.height, |place| {
            *(if self.inside[place] { &mut shared } else { &mut added }) += 1;
        });
        let all = self.inside.iter().filter(|inside| **inside).count() as u64;
        shared as f64 / (all + added).max(1) as f64
    }

    /// All closed ways around its pixels, in the picture's, the largest first.
    fn rings(&self) -> Vec<Vec<[f32; 2]>> {
        let mut rings = trace::rings(self.width, self.height, |x, y| self.inside[y * self.width + x]);
        let moved = |[x, y]: &mut [f32; 2]| (*x, *y) = (*x + self.left as f32, *y + self.top as f32);
        rings.iter_mut().flatten().for_each(moved);
        largest_first(&mut rings);
        rings
    }
}

fn largest_first(rings: &mut [Vec<[f32; 2]>]) {
    rings.sort_by(|a, b| trace::area(b).abs().total_cmp(&trace::area(a).abs()));
}

/// The outline of a mask of a picture of `width` by `height` pixels.
///
/// # Errors
/// It is of another size, its runs do not fill it, or there is nothing in it: a sentence that says which.
pub(super) fn outline(runs: &Runs, (width, height): (u32, u32)) -> Result<Outlined, String> {
    let [rows, columns] = runs.size;
    if [rows, columns] != [u64::from(height), u64::from(width)] {
        return Err(format!("its mask is {columns} wide and {rows} high, its picture {width} x {height}"));
    }
    if rows * columns > MOST_PIXELS {
        return Err(format!("its mask has {} pixels, more than the {MOST_PIXELS} that are read", rows * columns));
    }
    let counts = counts(runs, (width, height))?;
    if counts.len() > MOST_RUNS {
        return Err(format!("its mask has {} runs, more than the {MOST_RUNS} that are read", counts.len()));
    }
    let pieces = pieces(&counts, rows as usize);
    let bounds = pieces.iter().fold([usize::MAX, usize::MAX, 0, 0], |[l, t, r, b], [from, to, top, bottom]| {
        [l.min(*from), t.min(*top), r.max(*to), b.max(*bottom)]
    });
    if pieces.is_empty() {
        return Err("its mask is empty".into());
    }
    let mut window = Window::new(bounds);
    for [from, to, top, bottom] in pieces {
        for y in top..bottom {
            let row = (y - window.top) * window.width;
            window.inside[row + from - window.left..row + to - window.left].fill(true);
        }
    }
    one(&window, "its mask's")
}

/// The runs, checked to fill the picture.
fn counts(runs: &Runs, (width, height): (u32, u32)) -> Result<Vec<u64>, String> {
    match &runs.counts {
        Counts::Text(text) => {
            let mask = Rle { size: [height, width], counts: text.clone() };
            masks::counts(&mask).map_err(|error| error.to_string())
        }
        Counts::List(counts) => {
            let pixels = u64::from(width) * u64::from(height);
            let runs = counts.iter().fold(0_u64, |sum, count| sum.saturating_add(*count));
            let error = || masks::MaskError::Size { runs, pixels }.to_string();
            if runs == pixels { Ok(counts.clone()) } else { Err(error()) }
        }
    }
}

/// The runs of an object as rectangles of columns and rows, from and to: a run that goes on in the next column is cut there.
fn pieces(counts: &[u64], rows: usize) -> Vec<[usize; 4]> {
    let (mut pieces, mut end) = (Vec::new(), 0);
    for (number, count) in counts.iter().enumerate() {
        let mut at = end;
        end += *count as usize;
        while number % 2 == 1 && at < end {
            let (column, row) = (at / rows, at % rows);
            // Whole columns beside each other are one piece.
            let columns = if row == 0 { ((end - at) / rows).max(1) } else { 1 };
            let bottom = if columns > 1 { rows } else { rows.min(row + end - at) };
            pieces.push([column, column + columns, row, bottom]);
            at = (column + columns - 1) * rows + bottom;
        }
    }
    pieces
}

/// One outline of all pixels of a window.
fn one(window: &Window, whose: &str) -> Result<Outlined, String> {
    let edges = window.corners();
    if edges > MOST_EDGES {
        return Err(format!("{whose} pixels have {edges} corners, more than the {MOST_EDGES} that are traced"));
    }
    let exact = window.rings();
    let all = exact.len();
    let few = |mut rings: Vec<Vec<[f32; 2]>>| {
        rings.truncate(MOST_PARTS);
        rings
    };
    let corners = exact.iter().map(Vec::len).sum::<usize>();
    let mut simpler = None;
    if corners > EXACT {
        let rings = exact.iter().map(|ring| trace::simplified(ring, TOLERANCE)).filter(|ring| ring.len() >= 3);
        let rings = few(rings.collect());
        let joined = together(&rings)?;
        // Ragged or thin things have more to lose than corners.
        simpler = (window.likeness(&joined) >= LIKE).then_some((rings.len(), joined));
    }
    let (kept, corners) = match simpler {
        Some(simpler) => simpler,
        None => {
            let rings = few(exact);
            (rings.len(), together(&rings)?)
        }
    };
    let mut said = Vec::new();
    if kept > 1 {
        said.push(format!("{whose} {kept} parts and holes were joined by lines of no width"));
    }
    if all > kept {
        said.push(format!("{} of the smallest parts and holes were left out", all - kept));
    }
    Ok(Outlined { corners, mended: (!said.is_empty()).then(|| said.join("; ")) })
}

/// Rings joined at their nearest corners, there and back: the lines have no area, whatever rule fills them.
fn together(rings: &[Vec<[f32; 2]>]) -> Result<Vec<[f32; 2]>, String> {
    let corners: usize = rings.iter().map(Vec::len).sum();
    if rings.len() > 1 && corners > MOST_CORNERS {
        return Err(format!(
            "its outline has {corners} corners in {} parts, more than the {MOST_CORNERS} that are joined",
            rings.len()
        ));
    }
    Ok(trace::joined(rings.to_vec()))
}

/// One outline of an object's parts, in pixels of a picture of `width` by `height`. Parts that overlap are traced: an outline
/// that goes around a place twice would leave it out.
///
/// # Errors
/// They have too many corners, or nothing of them is in the picture: a sentence that says which.
pub(super) fn joined(mut parts: Vec<Vec<[f32; 2]>>, (width, height): (u32, u32)) -> Result<Outlined, String> {
    let count = parts.len();
    if count < 2 {
        return Ok(Outlined { corners: parts.pop().unwrap_or_default(), mended: None });
    }
    let corners: usize = parts.iter().map(Vec::len).sum();
    if corners > MOST_CORNERS {
        return Err(format!("its {count} parts have {corners} corners, more than the {MOST_CORNERS} that are joined"));
    }
    if overlap(&parts) && u64::from(width) * u64::from(height) <= MOST_PIXELS {
        let within = |at: f32, most: u32| at.clamp(0.0, most as f32);
        let [left, top, right, bottom] = parts.iter().flatten().fold([f32::MAX, f32::MAX, 0.0, 0.0], |b, [x, y]| {
            let (x, y) = (within(*x, width), within(*y, height));
            [b[0].min(x), b[1].min(y), b[2].max(x), b[3].max(y)]
        });
        let bounds = [left.floor(), top.floor(), right.ceil(), bottom.ceil()].map(|side| side as usize);
        let mut window = Window::new(bounds);
        let mut covered = 0_usize;
        for part in &parts {
            let here: Vec<[f32; 2]> = part.iter().map(|[x, y]| [x - bounds[0] as f32, y - bounds[1] as f32]).collect();
            fill(&here, window.width, window.height, |place| {
                covered += usize::from(window.inside[place]);
                window.inside[place] = true;
            });
        }
        if covered > 0 {
            let mut outlined = one(&window, "their")?;
            let more = outlined.mended.map(|more| format!("; {more}")).unwrap_or_default();
            outlined.mended = Some(format!("its {count} parts overlap and were traced as one{more}"));
            return Ok(outlined);
        }
    }
    // All the same way around, so that what is in them adds up.
    parts.iter_mut().filter(|part| trace::area(part) < 0.0).for_each(|part| part.reverse());
    largest_first(&mut parts);
    let corners = together(&parts)?;
    Ok(Outlined { corners, mended: Some(format!("its {count} parts were joined by lines of no width")) })
}

/// Whether two of the boxes around parts overlap.
fn overlap(parts: &[Vec<[f32; 2]>]) -> bool {
    let around = |part: &Vec<[f32; 2]>| {
        part.iter().fold([f32::MAX, f32::MAX, f32::MIN, f32::MIN], |[l, t, r, b], [x, y]| {
            [l.min(*x), t.min(*y), r.max(*x), b.max(*y)]
        })
    };
    let boxes: Vec<[f32; 4]> = parts.iter().map(around).collect();
    let meet = |a: &[f32; 4], b: &[f32; 4]| a[0] < b[2] && b[0] < a[2] && a[1] < b[3] && b[1] < a[3];
    boxes.iter().enumerate().any(|(number, a)| boxes[..number].iter().any(|b| meet(a, b)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use proptest::prelude::*;

    use super::*;

    fn runs(size: [u64; 2], counts: &str) -> Runs {
        serde_json::from_str(&format!(r#"{{"size": [{}, {}], "counts": {counts}}}"#, size[0], size[1])).unwrap()
    }

    /// The pixels within an outline, row by row.
    fn filled(corners: &[[f32; 2]], width: usize, height: usize) -> Vec<bool> {
        let mut inside = vec![false; width * height];
        fill(corners, width, height, |place| inside[place] = true);
        inside
    }

    #[test]
    fn masks_that_cannot_be_are_refused() {
        for (size, counts, reason) in [
            ([4, 5], "[20]", "its mask is empty"),
            ([4, 5], "[0, 0, 20]", "its mask is empty"),
            ([5, 4], "[0, 20]", "its mask is 4 wide and 5 high, its picture 5 x 4"),
            ([4, 5], "[0, 19]", "the mask's runs cover 19 pixels, the picture has 20"),
            (
                [4, 5],
                "[18446744073709551615, 18446744073709551615]",
                "the mask's runs cover 18446744073709551615 pixels",
            ),
            ([4, 5], "\"not\"", "the mask's counts are damaged"),
            ([4, 5], "\"\"", "the mask's runs cover 0 pixels"),
        ] {
            let error = outline(&runs(size, counts), (5, 4)).unwrap_err();
            assert!(error.contains(reason), "{counts}: {error}");
        }
        let vast = outline(&runs([1 << 20, 1 << 20], "[0, 1099511627776]"), (1 << 20, 1 << 20)).unwrap_err();
        assert!(vast.contains("pixels, more than the"), "{vast}");
        // Every other pixel, and more runs than any picture has.
        for (size, reason) in
            [([801, 800], "its mask's pixels have 1281600 corners, more"), ([1501, 1500], "runs, more than the")]
        {
            let counts = serde_json::to_string(&vec![1; (size[0] * size[1]) as usize]).unwrap();
            let many = outline(&runs(size, &counts), (size[1] as u32, size[0] as u32)).unwrap_err();
            assert!(many.contains(reason), "{many}");
        }
    }

    #[test]
    fn parts_that_overlap_are_one_and_those_apart_stay_what_they_are() {
        let square =
            |left: f32, top: f32| vec![[left, top], [left + 8.0, top], [left + 8.0, top + 8.0], [left, top + 8.0]];
        let turned = |mut part: Vec<[f32; 2]>| {
            part.reverse();
            part
        };
        for (other, said, pixels) in [
            (square(4.0, 4.0), "overlap and were traced as one", 64 + 48),
            (square(20.0, 2.0), "were joined by lines of no width", 128),
            (turned(square(20.0, 2.0)), "were joined by lines of no width", 128),
        ] {
            let whole = joined(vec![square(0.0, 0.0), other], (40, 30)).unwrap();
            assert!(whole.mended.as_ref().unwrap().contains(said), "{whole:?}");
            assert_eq!(filled(&whole.corners, 40, 30).iter().filter(|inside| **inside).count(), pixels, "{said}");
            assert!((trace::area(&whole.corners) - pixels as f32).abs() < 1e-3, "{said}");
        }
    }

    proptest! {
        #[test]
        fn pixels_come_back((rows, columns, bits) in (1_usize..14, 1_usize..14)
            .prop_flat_map(|(rows, columns)| (Just(rows), Just(columns), prop::collection::vec(any::<bool>(), rows * columns))))
        {
            // Down the columns.
            let (mut counts, mut last) = (vec![0_u64], false);
            for bit in &bits {
                if *bit != last {
                    counts.push(0);
                    last = *bit;
                }
                *counts.last_mut().unwrap() += 1;
            }
            let mask = runs([rows as u64, columns as u64], &serde_json::to_string(&counts).unwrap());
            match outline(&mask, (columns as u32, rows as u32)) {
                Err(error) => prop_assert!(error.contains("empty") && !bits.contains(&true), "{}", error),
                Ok(outlined) => {
                    let found = filled(&outlined.corners, columns, rows);
                    let wrong = (0..rows * columns).filter(|at| found[*at] != bits[at % columns * rows + at / columns]).count();
                    let exact = outlined.corners.len() <= EXACT && !outlined.mended.is_some_and(|said| said.contains("left out"));
                    prop_assert!(wrong == 0 || !exact, "{} pixels differ", wrong);
                }
            }
        }
    }
}
