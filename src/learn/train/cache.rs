//! Decoded pictures that stay in memory, in blocks of their own.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{OnceLock, PoisonError, RwLock};

use image::RgbImage;
use memmap2::MmapMut;

/// Bytes of a block; a larger picture has one for itself.
const BLOCK: usize = 64 << 20;

/// Decoded pictures by their places, as many as there is room for.
///
/// They lie in memory that comes from the kernel directly. Among the C library's other memory each would keep the space that
/// libtorch freed around it from being used for the next layer's output: a training process of 16 GB was one of 4.5 after this,
/// of which 4 were kept crops.
pub struct PictureCache {
    places: Vec<OnceLock<Place>>,
    blocks: RwLock<Blocks>,
    /// Bytes that may still be kept.
    room: AtomicU64,
}

/// Where a picture lies.
struct Place {
    block: usize,
    from: usize,
    size: (u32, u32),
}

#[derive(Default)]
struct Blocks {
    all: Vec<MmapMut>,
    /// Of the last one.
    used: usize,
}

impl PictureCache {
    /// For so many pictures, and up to `room` bytes of them.
    #[must_use]
    pub fn new(pictures: usize, room: u64) -> Self {
        let places = (0..pictures).map(|_| OnceLock::new()).collect();
        Self { places, blocks: RwLock::default(), room: AtomicU64::new(room) }
    }

    /// A copy of the picture at a place; none where it is not kept.
    #[must_use]
    pub fn get(&self, place: usize) -> Option<RgbImage> {
        let Place { block, from, size: (width, height) } = self.places.get(place)?.get()?;
        let blocks = self.blocks.read().unwrap_or_else(PoisonError::into_inner);
        let length = *width as usize * *height as usize * 3;
        RgbImage::from_raw(*width, *height, blocks.all.get(*block)?.get(*from..from + length)?.to_vec())
    }

    /// Keeps a picture at a place, where there is room.
    pub fn keep(&self, place: usize, picture: &RgbImage) {
        let bytes = picture.as_raw().as_slice();
        let take = |room: u64| room.checked_sub(bytes.len() as u64);
        if self.room.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_err() {
            return;
        }
        let mut blocks = self.blocks.write().unwrap_or_else(PoisonError::into_inner);
        let Blocks { all, used } = &mut *blocks;
        if all.last().is_none_or(|last| last.len() - *used < bytes.len()) {
            // Where the kernel has none to give, it is read again each time.
            let Ok(new) = MmapMut::map_anon(BLOCK.max(bytes.len())) else { return };
            all.push(new);
            *used = 0;
        }
        let (Some(last), Some(kept)) = (all.len().checked_sub(1), self.places.get(place)) else { return };
        let from = *used;
        all[last][from..from + bytes.len()].copy_from_slice(bytes);
        // Another thread may have read it at the same time: the first one's stays.
        if kept.set(Place { block: last, from, size: picture.dimensions() }).is_ok() {
            *used += bytes.len();
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test's panic is its report")]
    use image::Rgb;

    use super::*;

    fn picture(n: u8, width: u32, height: u32) -> RgbImage {
        RgbImage::from_fn(width, height, |x, y| Rgb([n, x as u8, y as u8]))
    }

    #[test]
    fn what_is_kept_comes_back_as_it_was_up_to_the_room_there_is() {
        let sizes = [(7, 5), (1, 1), (640, 480), (7, 5)];
        let all: Vec<RgbImage> = (0..).zip(sizes).map(|(n, (w, h))| picture(n, w, h)).collect();
        let bytes: usize = all.iter().take(3).map(|one| one.as_raw().len()).sum();
        let cache = PictureCache::new(all.len(), bytes as u64);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                // The same one by several threads takes no other's place, though it takes of the room.
                scope.spawn(|| cache.keep(1, &all[1]));
            }
        });
        for place in [0, 2, 3] {
            cache.keep(place, &all[place]);
        }
        assert_eq!(cache.get(0).unwrap(), all[0]);
        assert_eq!(cache.get(1).unwrap(), all[1]);
        assert!(cache.get(2).is_none(), "the room is used up");
        assert_eq!(cache.get(3).unwrap(), all[3]);
        assert!(cache.get(4).is_none());
    }

    #[test]
    fn pictures_fill_block_after_block() {
        // 14 of them fill a block; the last but one is larger than a block.
        let large = picture(9, 5000, 5000);
        let cache = PictureCache::new(40, u64::MAX);
        for n in 0..38 {
            cache.keep(n, &picture(n as u8, 1600, 1000));
        }
        cache.keep(38, &large);
        cache.keep(39, &picture(39, 3, 3));
        assert!((0..38).all(|n| cache.get(n).unwrap() == picture(n as u8, 1600, 1000)));
        assert_eq!((cache.get(38).unwrap(), cache.get(39).unwrap()), (large, picture(39, 3, 3)));
    }
}
