//! `config.yaml`.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use sightline::config::Config;

fuzz_target!(|text: &str| {
    if let Err(error) = Config::parse(text, Path::new("/w")) {
        // What is wrong is said, and fits a screen.
        assert!(!error.to_string().is_empty());
    }
});
