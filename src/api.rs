//! The one interface: consoles and commands over a Unix socket.
//!
//! [`serve`] answers from an engine, [`client`] asks. The records are those of `domain::view`.

pub mod client;
mod guard;
mod openapi;
mod peer;
mod routes;
mod serve;

pub use serve::{Serving, serve};
