//! Outlines: cut to a picture, filled, measured.

/// The part of a polygon within `0..width` by `0..height` (Sutherland and Hodgman, 1974). Empty where nothing is left.
#[must_use]
pub fn clip(corners: &[[f32; 2]], width: f32, height: f32) -> Vec<[f32; 2]> {
    let mut left = corners.to_vec();
    for (axis, edge, above) in [(0, 0.0, true), (0, width, false), (1, 0.0, true), (1, height, false)] {
        let inside = |corner: &[f32; 2]| if above { corner[axis] >= edge } else { corner[axis] <= edge };
        if left.iter().all(inside) {
            continue;
        }
        let mut cut = Vec::with_capacity(left.len() + 4);
        for (n, corner) in left.iter().enumerate() {
            let before = &left[(n + left.len() - 1) % left.len()];
            if inside(corner) != inside(before) {
                let share = (edge - before[axis]) / (corner[axis] - before[axis]);
                let mut crossing: [f32; 2] = std::array::from_fn(|i| before[i] + share * (corner[i] - before[i]));
                crossing[axis] = edge;
                cut.push(crossing);
            }
            if inside(corner) {
                cut.push(*corner);
            }
        }
        left = cut;
    }
    if left.len() < 3 { Vec::new() } else { left }
}

/// Calls `paint` with the place (`row * width + column`) of each pixel whose centre lies within a polygon, by the even-odd rule.
pub fn fill(corners: &[[f32; 2]], width: usize, height: usize, mut paint: impl FnMut(usize)) {
    let bottom = corners.iter().fold(f32::MIN, |most, corner| most.max(corner[1]));
    let top = corners.iter().fold(f32::MAX, |least, corner| least.min(corner[1]));
    let mut crossings: Vec<f32> = Vec::new();
    for row in (top.floor().max(0.0) as usize)..(bottom.ceil().max(0.0) as usize).min(height) {
        let y = row as f32 + 0.5;
        crossings.clear();
        for (n, [x2, y2]) in corners.iter().enumerate() {
            let [x1, y1] = corners[(n + corners.len() - 1) % corners.len()];
            if (y1 <= y) != (*y2 <= y) {
                crossings.push(x1 + (y - y1) / (y2 - y1) * (x2 - x1));
            }
        }
        crossings.sort_by(f32::total_cmp);
        for [from, to] in crossings.as_chunks::<2>().0 {
            let first = (from - 0.5).ceil().max(0.0) as usize;
            let last = ((to - 0.5).ceil().max(0.0) as usize).min(width);
            (first..last).for_each(|column| paint(row * width + column));
        }
    }
}

/// The area of a polygon (the shoelace formula).
#[must_use]
pub fn area(corners: &[[f32; 2]]) -> f32 {
    let doubled: f32 = corners
        .iter()
        .enumerate()
        .map(|(n, [x2, y2])| {
            let [x1, y1] = corners[(n + corners.len() - 1) % corners.len()];
            x1 * y2 - x2 * y1
        })
        .sum();
    (doubled / 2.0).abs()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_cut_lies_within_and_is_filled_as_the_whole_is(
            corners in prop::collection::vec((-40.0_f32..80.0, -40.0_f32..80.0), 3..9),
        ) {
            let corners: Vec<[f32; 2]> = corners.into_iter().map(|(x, y)| [x, y]).collect();
            let cut = clip(&corners, 40.0, 30.0);
            prop_assert!(cut.iter().all(|[x, y]| (0.0..=40.0).contains(x) && (0.0..=30.0).contains(y)));
            let filled = |corners: &[[f32; 2]]| {
                let mut map = vec![false; 40 * 30];
                fill(corners, 40, 30, |place| map[place] = true);
                map
            };
            let (whole, part) = (filled(&corners), filled(&cut));
            let differ = whole.iter().zip(&part).filter(|(a, b)| a != b).count();
            prop_assert!(differ <= 12, "{differ} pixels differ: only those that an edge goes through may");
        }
    }

    #[test]
    fn a_rectangle_is_as_large_as_it_is() {
        let rectangle = [[2.0, 3.0], [12.0, 3.0], [12.0, 8.0], [2.0, 8.0]];
        let mut count = 0;
        fill(&rectangle, 20, 20, |_| count += 1);
        assert_eq!((count, area(&rectangle)), (50, 50.0));
        assert!(clip(&[[-5.0, -5.0], [-1.0, -5.0], [-1.0, -1.0]], 20.0, 20.0).is_empty());
    }
}
