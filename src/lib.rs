//! sightline: the operations console and engine for vision models in production.
//!
//! The rooms, in the order an image walks through them. Imports point one way: see `ARCHITECTURE.md`.

// Imported by every room, importing none.
pub mod domain;
// Imported by whoever opens a file, importing none.
pub mod files;
// Imports `domain`.
pub mod config;

pub mod intake;

pub mod archive;

pub mod vision;

pub mod gallery;

pub mod journal;

pub mod store;

// Uses `vision`.
pub mod learn;

// Joins the rooms above.
pub mod engine;

// Sees the engine.
pub mod api;

// Sees the API's client and the domain.
pub mod console;

pub mod cli;
