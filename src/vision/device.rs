//! Where the networks run, how many threads they get and how precisely they count.

use std::sync::OnceLock;

use tch::{Cuda, Device, Kind};

use super::VisionError;
pub use crate::config::{Device as DeviceChoice, Precision};

/// A device in use.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Runtime {
    /// Where tensors live.
    pub device: Device,
    /// The kind of their numbers.
    pub kind: Kind,
}

impl Runtime {
    /// The CPU in fp32.
    #[must_use]
    pub fn cpu() -> Self {
        Self { device: Device::Cpu, kind: Kind::Float }
    }

    /// Takes the device asked for, loading the CUDA libraries first where they are. `Precision::Auto` is fp32 here:
    /// what it may be instead depends on the model's card ([`super::precision::settle`]).
    ///
    /// `threads` sets how many threads one operation on the CPU may use, for the whole process; `None` leaves
    /// libtorch's choice (the physical cores).
    ///
    /// # Errors
    /// When a CUDA device was asked for by number and is not there.
    pub fn open(choice: DeviceChoice, precision: Precision, threads: Option<u16>) -> Result<Self, VisionError> {
        let loaded = load_cuda();
        if let Some(threads) = threads {
            tch::set_num_threads(i32::from(threads.max(1)));
        }
        let device = match choice {
            DeviceChoice::Cpu => Device::Cpu,
            DeviceChoice::Auto if Cuda::is_available() => Device::Cuda(0),
            DeviceChoice::Auto => Device::Cpu,
            DeviceChoice::Cuda(number) => {
                let count = usize::try_from(Cuda::device_count()).unwrap_or(0);
                if number >= count {
                    let why = match loaded {
                        CudaLibrary::Missing(why) => format!(
                            "libtorch's CUDA library cannot be loaded ({why}); run `make setup CUDA=1`, or use `device: cpu`"
                        ),
                        CudaLibrary::Loaded => format!(
                            "{count} CUDA devices are visible; see `nvidia-smi` and CUDA_VISIBLE_DEVICES, or use `device: auto`"
                        ),
                    };
                    return Err(VisionError::Device { asked: choice.to_string(), why });
                }
                Device::Cuda(number)
            }
        };
        Ok(Self { device, kind: Kind::Float }.with(precision))
    }

    /// The same device at another precision.
    #[must_use]
    pub fn with(self, precision: Precision) -> Self {
        let kind = match precision {
            Precision::Auto | Precision::Fp32 => Kind::Float,
            Precision::Bf16 => Kind::BFloat16,
            Precision::Fp16 => Kind::Half,
        };
        Self { kind, ..self }
    }

    /// The precision in use, never `Auto`.
    #[must_use]
    pub fn precision(&self) -> Precision {
        match self.kind {
            Kind::BFloat16 => Precision::Bf16,
            Kind::Half => Precision::Fp16,
            _ => Precision::Fp32,
        }
    }

    /// `cpu` or `cuda:N`.
    #[must_use]
    pub fn place(&self) -> String {
        match self.device {
            Device::Cuda(number) => format!("cuda:{number}"),
            _ => "cpu".to_owned(),
        }
    }

    /// `cpu` or `cuda:N`, and the precision.
    #[must_use]
    pub fn describe(&self) -> String {
        format!("{} {}", self.place(), self.precision())
    }
}

/// Whether libtorch's CUDA library could be loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CudaLibrary {
    /// It is in the process.
    Loaded,
    /// It is not; the loader's reason.
    Missing(String),
}

/// Loads `libtorch_cuda.so` once, before the first tensor: its initialisers enrol the CUDA kernels with the
/// `libtorch_cpu.so` this program links, so that one binary serves machines with and without CUDA.
pub fn load_cuda() -> CudaLibrary {
    use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_LAZY};
    static LOADED: OnceLock<CudaLibrary> = OnceLock::new();
    let load = || {
        // SAFETY: loading runs the library's initialisers; it is the companion of the libtorch already linked,
        // found by the same rpath, and those initialisers only register kernels.
        match unsafe { Library::open(Some("libtorch_cuda.so"), RTLD_LAZY | RTLD_GLOBAL) } {
            Ok(library) => {
                // Kernels stay enrolled for ever; unloading their code would leave dangling pointers.
                std::mem::forget(library);
                CudaLibrary::Loaded
            }
            Err(error) => CudaLibrary::Missing(error.to_string()),
        }
    };
    LOADED.get_or_init(load).clone()
}

/// How many threads one operation on the CPU may use.
#[must_use]
pub fn threads() -> i32 {
    tch::get_num_threads()
}

/// How many CUDA devices are visible, once [`load_cuda`] has run.
#[must_use]
pub fn cuda_devices() -> usize {
    usize::try_from(Cuda::device_count()).unwrap_or(0)
}

/// The version of the libtorch in use, as its own folder or file states it; `unknown` where it does not.
#[must_use]
pub fn libtorch_version() -> String {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let library =
        maps.lines().filter_map(|line| line.split_whitespace().last()).find(|path| path.ends_with("libtorch_cpu.so"));
    let stated = library.and_then(|path| {
        let folder = std::path::Path::new(path).parent()?.parent()?;
        std::fs::read_to_string(folder.join("build-version")).ok()
    });
    stated.map_or_else(|| "unknown".into(), |version| version.trim().to_owned())
}

/// The instructions this CPU has for bf16, as `/proc/cpuinfo` names them; none where bf16 would only be imitated.
#[must_use]
pub fn instructions() -> Option<&'static str> {
    static FOUND: OnceLock<Option<&'static str>> = OnceLock::new();
    *FOUND.get_or_init(|| {
        let about = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let flags = about.lines().find(|line| line.starts_with("flags")).unwrap_or_default();
        ["amx_bf16", "avx512_bf16"].into_iter().find(|name| flags.split_whitespace().any(|flag| flag == *name))
    })
}
