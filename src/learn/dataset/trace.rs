//! From the pixels of an object to the corners of its outline.

/// The outline of the pixels that `inside` says, in pixels: all parts and holes joined by lines that are gone there and
/// back, so that any filling rule gives the pixels again. Parts of fewer than `least` pixels are left out.
pub(in crate::learn) fn outline(
    width: usize,
    height: usize,
    inside: impl Fn(usize, usize) -> bool,
    least: f32,
) -> Vec<[f32; 2]> {
    let mut rings = rings(width, height, inside);
    rings.retain(|ring| area(ring).abs() >= least);
    // The largest ring is the outside of the largest part.
    rings.sort_by(|a, b| area(b).abs().total_cmp(&area(a).abs()));
    joined(rings.iter().map(|ring| simplified(ring, 0.75)).filter(|ring| ring.len() >= 3).collect())
}

/// Twice the signed area, halved: positive for outsides (clockwise in a picture), negative for holes.
pub(in crate::learn) fn area(ring: &[[f32; 2]]) -> f32 {
    let next = ring.iter().cycle().skip(1);
    ring.iter().zip(next).map(|(a, b)| a[0] * b[1] - b[0] * a[1]).sum::<f32>() / 2.0
}

/// All closed ways along pixel edges that have the inside on their right.
pub(in crate::learn) fn rings(
    width: usize,
    height: usize,
    inside: impl Fn(usize, usize) -> bool,
) -> Vec<Vec<[f32; 2]>> {
    // right, down, left, up
    const STEPS: [(isize, isize); 4] = [(1, 0), (0, 1), (-1, 0), (0, -1)];
    let at = |x: isize, y: isize| {
        x >= 0 && y >= 0 && (x as usize) < width && (y as usize) < height && inside(x as usize, y as usize)
    };
    // Upper edges of pixels that have been walked along.
    let mut walked = vec![false; width * height];
    let mut rings = Vec::new();
    for (y, x) in (0..height as isize).flat_map(|y| (0..width as isize).map(move |x| (y, x))) {
        if !at(x, y) || at(x, y - 1) || walked[y as usize * width + x as usize] {
            continue;
        }
        let (mut px, mut py, mut way) = (x, y, 0_usize);
        let mut ring = Vec::new();
        loop {
            if way == 0 {
                walked[py as usize * width + px as usize] = true;
            }
            let (dx, dy) = STEPS[way];
            (px, py) = (px + dx, py + dy);
            // The two pixels ahead: left and right of the way.
            let (left, right) = match way {
                0 => (at(px, py - 1), at(px, py)),
                1 => (at(px, py), at(px - 1, py)),
                2 => (at(px - 1, py), at(px - 1, py - 1)),
                _ => (at(px - 1, py - 1), at(px, py - 1)),
            };
            let turned = if !right {
                (way + 1) % 4
            } else if left {
                (way + 3) % 4
            } else {
                way
            };
            if turned != way {
                ring.push([px as f32, py as f32]);
            }
            way = turned;
            if (px, py, way) == (x, y, 0) {
                break;
            }
        }
        rings.push(ring);
    }
    rings
}

/// Fewer corners, none of those left out farther than `most` from the way (Douglas and Peucker, 1973).
pub(in crate::learn) fn simplified(ring: &[[f32; 2]], most: f32) -> Vec<[f32; 2]> {
    let far = |from: [f32; 2]| {
        let distance = |p: &[f32; 2]| (p[0] - from[0]).powi(2) + (p[1] - from[1]).powi(2);
        (0..ring.len()).max_by(|a, b| distance(&ring[*a]).total_cmp(&distance(&ring[*b]))).unwrap_or(0)
    };
    let Some(first) = ring.first() else { return Vec::new() };
    // Two corners that are far from each other are kept in any case.
    let a = far(*first);
    let turned: Vec<[f32; 2]> = ring[a..].iter().chain(&ring[..=a]).copied().collect();
    let b = {
        let distance = |p: &[f32; 2]| (p[0] - ring[a][0]).powi(2) + (p[1] - ring[a][1]).powi(2);
        (0..turned.len()).max_by(|x, y| distance(&turned[*x]).total_cmp(&distance(&turned[*y]))).unwrap_or(0)
    };
    let mut keep = vec![false; turned.len()];
    keep[0] = true;
    keep[b] = true;
    let mut open = vec![(0, b), (b, turned.len() - 1)];
    while let Some((from, to)) = open.pop() {
        if to <= from + 1 {
            continue;
        }
        let (p, q) = (turned[from], turned[to]);
        let (dx, dy) = (q[0] - p[0], q[1] - p[1]);
        let length = dx.hypot(dy).max(1e-6);
        let off = |r: [f32; 2]| ((r[0] - p[0]) * dy - (r[1] - p[1]) * dx).abs() / length;
        let worst = (from + 1..to).max_by(|a, b| off(turned[*a]).total_cmp(&off(turned[*b])));
        if let Some(worst) = worst.filter(|worst| off(turned[*worst]) > most) {
            keep[worst] = true;
            open.extend([(from, worst), (worst, to)]);
        }
    }
    // The last corner is the first again.
    turned[..turned.len() - 1].iter().zip(keep).filter_map(|(corner, keep)| keep.then_some(*corner)).collect()
}

/// One way around all rings: each next is reached from the nearest corner so far, and left the same way.
pub(in crate::learn) fn joined(rings: Vec<Vec<[f32; 2]>>) -> Vec<[f32; 2]> {
    let mut rings = rings.into_iter();
    let mut whole = rings.next().unwrap_or_default();
    for ring in rings {
        let distance = |a: [f32; 2], b: [f32; 2]| (a[0] - b[0]).powi(2) + (a[1] - b[1]).powi(2);
        let pairs = (0..whole.len()).flat_map(|i| (0..ring.len()).map(move |j| (i, j)));
        let nearest = pairs.min_by(|a, b| distance(whole[a.0], ring[a.1]).total_cmp(&distance(whole[b.0], ring[b.1])));
        let Some((from, to)) = nearest else { continue };
        let way: Vec<[f32; 2]> = ring[to..].iter().chain(&ring[..=to]).copied().chain([whole[from]]).collect();
        whole.splice(from + 1..from + 1, way);
    }
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether a point lies inside, by the even-odd rule.
    fn holds(outline: &[[f32; 2]], x: f32, y: f32) -> bool {
        let next = outline.iter().cycle().skip(1);
        let crossings = outline
            .iter()
            .zip(next)
            .filter(|(a, b)| (a[1] > y) != (b[1] > y) && x < (b[0] - a[0]) * (y - a[1]) / (b[1] - a[1]) + a[0]);
        crossings.count() % 2 == 1
    }

    #[test]
    fn parts_and_holes_come_back_pixel_for_pixel() {
        // A frame with a hole, a bar beside it, and a speck that touches the bar by a corner.
        let inside = |x: usize, y: usize| {
            let frame = (2..20).contains(&x) && (3..18).contains(&y) && !((8..12).contains(&x) && (7..11).contains(&y));
            frame || ((24..28).contains(&x) && (0..20).contains(&y)) || ((28..30).contains(&x) && (20..22).contains(&y))
        };
        let outline = outline(32, 24, inside, 0.5);
        for (x, y) in (0..32).flat_map(|x| (0..24).map(move |y| (x, y))) {
            // Beside the pixel's middle, so that the joining lines are not met.
            let held = holds(&outline, x as f32 + 0.43, y as f32 + 0.57);
            assert_eq!(held, inside(x, y), "({x}, {y})");
        }
        assert!(super::outline(32, 24, |_, _| false, 0.5).is_empty());
    }
}
