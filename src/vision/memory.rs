//! Memory that libtorch gives back and asks for again a moment later is kept.

use std::sync::Once;

/// Blocks up to this size come from the heap; above, from the kernel each time. A batch of 32 photographs at 640
/// pixels takes 200 MB in its largest layer.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const LARGEST: libc::c_int = 1 << 30;
/// Free memory at the heap's end above this goes back to the kernel.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const KEPT: libc::c_int = 512 << 20;

/// Lets the C library keep large blocks that are freed, for the whole process; once.
///
/// A layer's output is some megabytes, freed when the next layer has read it. By default glibc takes each such block
/// from the kernel and returns it, and the kernel clears every page of it anew when it is first touched: about 2 GB/s,
/// a third of a detection's time. The price is memory that stays with the process after a large batch, up to half
/// a gigabyte; and what is kept for long should not come to lie among such blocks, as their space falls to pieces.
pub fn keep_blocks() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        #[cfg(all(target_os = "linux", target_env = "gnu"))]
        // SAFETY: `mallopt` takes two integers, locks what it changes, and may be called at any time (mallopt(3)).
        // One arena: a second one's blocks live in pieces of 64 MB that are returned as soon as they are free.
        unsafe {
            libc::mallopt(libc::M_ARENA_MAX, 1);
            libc::mallopt(libc::M_MMAP_THRESHOLD, LARGEST);
            libc::mallopt(libc::M_TRIM_THRESHOLD, KEPT);
            libc::mallopt(libc::M_TOP_PAD, 16 << 20);
        }
    });
}
