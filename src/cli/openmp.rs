//! How long libtorch's OpenMP threads spin while they wait for one another.

use std::os::unix::process::CommandExt as _;

const SPIN: &str = "GOMP_SPINCOUNT";

/// Starts this program anew with a short spin, unless the environment says something about it already.
///
/// GNU OpenMP reads its settings when it is loaded, before `main`, so they can only be given to a
/// new image of the process. Its default is to spin for milliseconds: where other work (decoding,
/// another program) needs the core that a thread spins on, a 640-pixel detection took 700 to 2000 ms
/// instead of 150 on two busy cores, and nothing was gained on idle ones.
///
/// Returns only if there is nothing to do, or if it cannot be done; then the slow way is taken.
pub fn spin_briefly() {
    if std::env::var_os(SPIN).is_some() || std::env::var_os("OMP_WAIT_POLICY").is_some() {
        return;
    }
    let Ok(program) = std::env::current_exe() else { return };
    let mut arguments = std::env::args_os();
    let name = arguments.next().unwrap_or_else(|| "sightline".into());
    drop(std::process::Command::new(program).arg0(name).args(arguments).env(SPIN, "1000").exec());
}
