//! Drawn photographs of medicine packs: invented designs, in any pose and light, from a seed.
//!
//! Each even design has a look-alike, the next odd one, that differs in its strength alone: the mistake that hurts.
//!
//! In the order in which a photograph is made: a [`design`] is chosen and its `face` (or `blister`) drawn on a `canvas`;
//! `solid` makes a body of it; a `scene` places bodies and `clutter` on a `table` below a `camera`; `paint` draws what is
//! seen, `lens` makes a photograph of it, `dataset::trace` finds the outlines; `set` writes many; `crop` makes what an embedder learns from, one at a time, `crop_set` many.

mod blister;
mod camera;
mod canvas;
mod clutter;
pub mod crop;
pub mod crop_set;
pub mod design;
mod face;
mod lens;
mod paint;
mod plane;
pub mod scene;
pub mod set;
mod solid;
mod table;
#[cfg(test)]
mod tests;
mod words;

pub use design::{Form, Pack};
pub use scene::{Instance, Photograph};
