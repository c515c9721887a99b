//! sightline: the operations console and engine for vision models in production.
//!
//! The rooms, in the order an image walks through them. Imports point one way: see `ARCHITECTURE.md`.

pub mod domain;
pub mod gallery;
pub mod journal;
pub mod store;
