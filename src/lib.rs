//! sightline: the operations console and engine for vision models in production.
//!
//! The rooms, in the order an image walks through them. Imports point one way: see `ARCHITECTURE.md`.

pub mod domain;
// `domain` is imported by every room and imports none.
pub mod config;

pub mod archive;
pub mod intake;

pub mod api;
