//! The layer at work with AVX-512: tiles in groups, each group from what it sees to its results.

use std::arch::x86_64::*;
use std::cell::RefCell;
use std::sync::atomic::{AtomicUsize, Ordering};

use tch::Tensor;

use super::{A_THREAD, GROUP, Kernels, LANES, PRODUCTS, SEEN, TILE};
use crate::vision::lanes::silu;

thread_local! {
    /// Memory for the groups on their way, kept from layer to layer.
    static SCRATCH: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// Values in memory: where, and how far apart pictures, rows and pixels are, in values.
#[derive(Clone, Copy)]
struct View {
    at: *mut f32,
    picture: usize,
    row: usize,
    pixel: usize,
}

// SAFETY: tensors that `run` borrows. Each place of the result is written by one thread, the others are only read.
unsafe impl Send for View {}
// SAFETY: as above.
unsafe impl Sync for View {}

impl View {
    fn of(tensor: &Tensor) -> Self {
        let stride: Vec<usize> = tensor.stride().into_iter().map(|n| n as usize).collect();
        Self { at: tensor.data_ptr().cast(), picture: stride[0], row: stride[2], pixel: stride[3] }
    }
}

/// A layer at work.
struct Layer<'a> {
    kernels: &'a Kernels,
    x: View,
    plus: Option<View>,
    result: View,
    height: usize,
    width: usize,
    /// Tiles of a row, and of a picture.
    across: usize,
    tiles: usize,
    activated: bool,
}

/// `x` and `plus` have the channels of a pixel together, `result` too; shapes and kinds fit.
pub fn run(x: &Tensor, kernels: &Kernels, activated: bool, plus: Option<&Tensor>, result: &Tensor) {
    let size: Vec<usize> = x.size().into_iter().map(|n| n as usize).collect();
    let (batch, height, width) = (size[0], size[2], size[3]);
    let across = width.div_ceil(TILE);
    let tiles = across * height.div_ceil(TILE);
    let (x_view, plus, result) = (View::of(x), plus.map(View::of), View::of(result));
    let layer = Layer { kernels, x: x_view, plus, result, height, width, across, tiles, activated };
    let (all, each) = (batch * tiles, PRODUCTS * (kernels.inputs + kernels.outputs));
    let work = all * PRODUCTS * kernels.inputs * kernels.outputs;
    let threads = (work / A_THREAD).clamp(1, tch::get_num_threads().max(1) as usize).min(all);
    // As many groups as keep all threads at work to the end.
    let fit = (GROUP / (size_of::<f32>() * each)).max(1);
    let groups = all.div_ceil(fit).next_multiple_of(threads);
    let count = all.div_ceil(groups);
    let next = AtomicUsize::new(0);
    let work = |scratch: &mut [f32]| {
        loop {
            let first = next.fetch_add(1, Ordering::Relaxed) * count;
            if first >= all {
                return;
            }
            let range = (first, count.min(all - first));
            // SAFETY: `convolve` has checked the instructions, kinds and shapes; the scratch is for `count` tiles.
            unsafe { group(&layer, range, scratch, count) };
        }
    };
    SCRATCH.with_borrow_mut(|scratch| {
        if scratch.len() < threads * count * each {
            scratch.resize(threads * count * each, 0.0);
        }
        std::thread::scope(|scope| {
            let mut parts = scratch.chunks_exact_mut(count * each).take(threads);
            let own = parts.next();
            for part in parts {
                let work = &work;
                scope.spawn(move || work(part));
            }
            if let Some(own) = own {
                work(own);
            }
        });
    });
}

/// Some tiles from the first step to the last.
///
/// # Safety
/// The instructions are there, the layer's views fit it, and the scratch has room for `room` tiles, `count` at most.
#[target_feature(enable = "avx512f")]
unsafe fn group(layer: &Layer, (first, count): (usize, usize), scratch: &mut [f32], room: usize) {
    let (inputs, outputs) = (layer.kernels.inputs, layer.kernels.outputs);
    let (seen, products) = scratch.split_at_mut(PRODUCTS * room * inputs);
    // SAFETY: promised by the caller; both parts hold `PRODUCTS` matrices of `room` rows.
    unsafe {
        for tile in 0..count {
            look(layer, first + tile, seen.as_mut_ptr().add(tile * inputs), room * inputs);
        }
        let (seen, products) = (seen.as_ptr(), products.as_mut_ptr());
        match layer.kernels.registers() {
            5 => multiply::<5, 5>(layer.kernels, seen, products, count, room),
            4 => multiply::<4, 6>(layer.kernels, seen, products, count, room),
            3 => multiply::<3, 8>(layer.kernels, seen, products, count, room),
            2 => multiply::<2, 12>(layer.kernels, seen, products, count, room),
            _ => multiply::<1, 14>(layer.kernels, seen, products, count, room),
        }
        for tile in 0..count {
            tell(layer, first + tile, products.add(tile * outputs), room * outputs);
        }
    }
}

/// Six values at the six points.
#[inline]
#[target_feature(enable = "avx512f")]
fn to_points(d: [__m512; SEEN]) -> [__m512; SEEN] {
    let (two, four, five) = (_mm512_set1_ps(2.0), _mm512_set1_ps(4.0), _mm512_set1_ps(5.0));
    let (even, odd) = (_mm512_fnmadd_ps(four, d[2], d[4]), _mm512_fnmadd_ps(four, d[1], d[3]));
    let (far_even, far_odd) = (_mm512_sub_ps(d[4], d[2]), _mm512_mul_ps(two, _mm512_sub_ps(d[3], d[1])));
    [
        _mm512_fmadd_ps(four, d[0], _mm512_fnmadd_ps(five, d[2], d[4])),
        _mm512_add_ps(even, odd),
        _mm512_sub_ps(even, odd),
        _mm512_add_ps(far_even, far_odd),
        _mm512_sub_ps(far_even, far_odd),
        _mm512_fmadd_ps(four, d[1], _mm512_fnmadd_ps(five, d[3], d[5])),
    ]
}

/// Four results from what they are at the six points.
#[inline]
#[target_feature(enable = "avx512f")]
fn from_points(m: [__m512; SEEN]) -> [__m512; TILE] {
    let (two, four, eight) = (_mm512_set1_ps(2.0), _mm512_set1_ps(4.0), _mm512_set1_ps(8.0));
    let (near, near_odd) = (_mm512_add_ps(m[1], m[2]), _mm512_sub_ps(m[1], m[2]));
    let (far, far_odd) = (_mm512_add_ps(m[3], m[4]), _mm512_sub_ps(m[3], m[4]));
    [
        _mm512_add_ps(m[0], _mm512_add_ps(near, far)),
        _mm512_fmadd_ps(two, far_odd, near_odd),
        _mm512_fmadd_ps(four, far, near),
        _mm512_fmadd_ps(eight, far_odd, _mm512_add_ps(near_odd, m[5])),
    ]
}

impl Layer<'_> {
    /// A tile's picture, and the row and column of its first result.
    fn place(&self, tile: usize) -> (usize, usize, usize) {
        let within = tile % self.tiles;
        (tile / self.tiles, within / self.across * TILE, within % self.across * TILE)
    }
}

/// A tile's inputs at the points, one matrix `apart` from the next.
#[target_feature(enable = "avx512f")]
unsafe fn look(layer: &Layer, tile: usize, to: *mut f32, apart: usize) {
    let (picture, top, left) = layer.place(tile);
    let x = &layer.x;
    // Rows and columns of what is seen that lie within the picture; around it there are zeros.
    let rows = usize::from(top == 0)..SEEN.min(layer.height + 1 - top);
    let columns = usize::from(left == 0)..SEEN.min(layer.width + 1 - left);
    for channel in (0..layer.kernels.inputs).step_by(LANES) {
        let mut across = [[_mm512_setzero_ps(); SEEN]; SEEN];
        for row in rows.clone() {
            let mut values = [_mm512_setzero_ps(); SEEN];
            let begin = picture * x.picture + (top + row - 1) * x.row + channel;
            for column in columns.clone() {
                // SAFETY: the pixel is within the picture, and has the layer's inputs.
                values[column] = unsafe { _mm512_loadu_ps(x.at.add(begin + (left + column - 1) * x.pixel)) };
            }
            across[row] = to_points(values);
        }
        for (column, down) in
            std::array::from_fn::<_, SEEN, _>(|column| across.map(|row| row[column])).into_iter().enumerate()
        {
            for (row, value) in to_points(down).into_iter().enumerate() {
                // SAFETY: the caller has room for a tile's inputs in each matrix.
                unsafe { _mm512_storeu_ps(to.add((row * SEEN + column) * apart + channel), value) };
            }
        }
    }
}

/// The products of all matrices: `count` rows of `seen` by the kernels. `ACROSS` registers of outputs and `DOWN` tiles are
/// summed side by side, as many as there are registers for.
#[target_feature(enable = "avx512f")]
unsafe fn multiply<const ACROSS: usize, const DOWN: usize>(
    kernels: &Kernels,
    seen: *const f32,
    products: *mut f32,
    count: usize,
    room: usize,
) {
    let (inputs, outputs, wide) = (kernels.inputs, kernels.outputs, ACROSS * LANES);
    for (place, kernel) in kernels.values.chunks_exact(inputs * wide).enumerate() {
        let (product, block) = (place / (outputs / wide), place % (outputs / wide));
        let mut tile = 0;
        while tile < count {
            // SAFETY: rows and columns are within the matrices, which have `room` rows.
            unsafe {
                let from = seen.add((product * room + tile) * inputs);
                let to = products.add((product * room + tile) * outputs + block * wide);
                tile += match count - tile {
                    left if left >= DOWN => some::<ACROSS, DOWN>(kernel, from, inputs, to, outputs),
                    left if left >= 3 => some::<ACROSS, 3>(kernel, from, inputs, to, outputs),
                    _ => some::<ACROSS, 1>(kernel, from, inputs, to, outputs),
                };
            }
        }
    }
}

/// `DOWN` rows of a product; gives `DOWN`.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn some<const ACROSS: usize, const DOWN: usize>(
    kernel: &[f32],
    from: *const f32,
    inputs: usize,
    to: *mut f32,
    outputs: usize,
) -> usize {
    let mut sums = [[_mm512_setzero_ps(); ACROSS]; DOWN];
    for (input, kernel) in kernel.chunks_exact(ACROSS * LANES).enumerate() {
        // SAFETY: a chunk has so many registers; the caller's rows have `inputs` values each.
        unsafe {
            let kernel: [__m512; ACROSS] = std::array::from_fn(|n| _mm512_loadu_ps(kernel.as_ptr().add(n * LANES)));
            for (row, sums) in sums.iter_mut().enumerate() {
                let value = _mm512_set1_ps(*from.add(row * inputs + input));
                for (sum, kernel) in sums.iter_mut().zip(kernel) {
                    *sum = _mm512_fmadd_ps(value, kernel, *sum);
                }
            }
        }
    }
    for (row, sums) in sums.into_iter().enumerate() {
        for (n, sum) in sums.into_iter().enumerate() {
            // SAFETY: the caller's rows have room for them.
            unsafe { _mm512_storeu_ps(to.add(row * outputs + n * LANES), sum) };
        }
    }
    DOWN
}

/// A tile's results from its products, one matrix `apart` from the next.
#[target_feature(enable = "avx512f")]
unsafe fn tell(layer: &Layer, tile: usize, products: *const f32, apart: usize) {
    let (picture, top, left) = layer.place(tile);
    let (rows, columns) = (TILE.min(layer.height - top), TILE.min(layer.width - left));
    for channel in (0..layer.kernels.outputs).step_by(LANES) {
        // SAFETY: products, bias and views have the layer's outputs, the pixels are within the picture.
        unsafe {
            let mut down = [[_mm512_setzero_ps(); SEEN]; TILE];
            for column in 0..SEEN {
                let at = |row: usize| products.add((row * SEEN + column) * apart + channel);
                let values = from_points(std::array::from_fn(|row| _mm512_loadu_ps(at(row))));
                for (down, value) in down.iter_mut().zip(values) {
                    down[column] = value;
                }
            }
            let bias = _mm512_loadu_ps(layer.kernels.bias.as_ptr().add(channel));
            for (row, values) in down.into_iter().enumerate().take(rows) {
                for (column, value) in from_points(values).into_iter().enumerate().take(columns) {
                    let place = |view: &View| {
                        picture * view.picture + (top + row) * view.row + (left + column) * view.pixel + channel
                    };
                    let mut value = _mm512_add_ps(value, bias);
                    if layer.activated {
                        value = silu(value);
                    }
                    if let Some(plus) = &layer.plus {
                        value = _mm512_add_ps(value, _mm512_loadu_ps(plus.at.add(place(plus))));
                    }
                    _mm512_storeu_ps(layer.result.at.add(place(&layer.result)), value);
                }
            }
        }
    }
}
