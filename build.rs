//! Links the binaries so that they find libtorch at run time without `LD_LIBRARY_PATH`.
use std::path::{Path, PathBuf};

fn main() {
    println!("cargo:rerun-if-env-changed=LIBTORCH");
    println!("cargo:rerun-if-changed=build.rs");
    let root = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from).unwrap_or_default();
    let libtorch = std::env::var_os("LIBTORCH").map_or_else(|| root.join(".libtorch"), PathBuf::from);
    let libtorch = if libtorch.is_absolute() { libtorch } else { root.join(libtorch) };
    let lib = libtorch.join("lib");
    if !lib.join("libtorch_cpu.so").is_file() {
        println!(
            "cargo:warning=no libtorch at {}: run `make setup`, or set LIBTORCH to a libtorch 2.11.0 folder",
            libtorch.display()
        );
    }
    // First beside the checkout (a moved checkout keeps working), then where it was built.
    // cuda/ holds what is loaded only where there is a device.
    for from in ["$ORIGIN/../../.libtorch", "$ORIGIN/../../../.libtorch"] {
        rpath(&Path::new(from).join("lib"));
        rpath(&Path::new(from).join("cuda"));
    }
    rpath(&lib);
    rpath(&libtorch.join("cuda"));
}

fn rpath(dir: &Path) {
    println!("cargo:rustc-link-arg=-Wl,-rpath,{}", dir.display());
}
