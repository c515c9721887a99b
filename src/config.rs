//! `config.yaml`: every key, its default and its limits stand once, in [`keys`].
//!
//! The file is read as plain YAML, checked key by key, and only then becomes a [`Config`]. Nothing
//! lenient: an unknown key, a wrong type or a value out of range is an error that names the key, the
//! value and what is allowed.

mod keys;
mod read;

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::domain::Thresholds;
use crate::files::{self, Unread};

pub use keys::{KEYS, Key, Kind, documented_yaml};

/// A config of more bytes is none.
const LARGEST: u64 = 1 << 20;

/// What is wrong with a config, one line a fault.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {path}: {source}; `sightline init` writes a commented one")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: Unread,
    },
    /// The file is not YAML.
    #[error("{path}: {message}")]
    NotYaml {
        /// The file.
        path: PathBuf,
        /// Where and what.
        message: String,
    },
    /// Keys or values that cannot be.
    #[error("{}", faults.join("\n"))]
    Faults {
        /// One line each.
        faults: Vec<String>,
    },
}

/// Which processor runs the models.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Device {
    /// CUDA where there is one, else the CPU.
    Auto,
    /// The CPU.
    Cpu,
    /// A CUDA device by number.
    Cuda(usize),
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(number) => write!(f, "cuda:{number}"),
        }
    }
}

/// The arithmetic of the networks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// The fast one of the device, where `sightline model inspect --compare-precision` found it to agree with fp32 on
    /// these weights; else fp32.
    Auto,
    /// 32-bit floats: the reference's own numbers.
    Fp32,
    /// 16-bit brain floats: about half the time where the CPU has avx512_bf16 or amx, about 3 significant digits.
    Bf16,
    /// 16-bit floats: for CUDA; slow on most CPUs.
    Fp16,
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Fp32 => "fp32",
            Self::Bf16 => "bf16",
            Self::Fp16 => "fp16",
        })
    }
}

/// What a watched folder is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WatchMode {
    /// Pictures are probes.
    Identify,
    /// Pictures are enrolled; the first sub-folder's name is the label.
    Enroll,
}

/// How changes in a watched folder are noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WatchBackend {
    /// Events of the kernel, polling on network file systems.
    Auto,
    /// Events of the kernel.
    Events,
    /// Looking again every `intake.poll_seconds`.
    Poll,
}

/// One watched folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watch {
    /// The folder, absolute.
    pub path: PathBuf,
    /// What its pictures are for.
    pub mode: WatchMode,
    /// How changes are noticed.
    pub backend: WatchBackend,
}

/// What happens to a duplicate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DuplicatePolicy {
    /// Recorded as a duplicate; not run through the models.
    Skip,
    /// Processed like any other; the duplication is recorded with it.
    Keep,
    /// Quarantined for an operator to decide.
    Flag,
}

/// `models`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Models {
    /// The YOLOv8 weights.
    pub detector: PathBuf,
    /// The DINOv2 weights.
    pub embedder: PathBuf,
}

/// What is embedded of a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Objects {
    /// The objects that the detector found.
    Found,
    /// The whole picture; the detector is not asked.
    Whole,
    /// The objects, or the whole picture where none was found.
    FoundOrWhole,
}

/// What an enrolment picture with several objects means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Several {
    /// It is set aside: which one is meant?
    Refuse,
    /// The largest is enrolled.
    Largest,
    /// All are enrolled under the label.
    All,
}

/// `detect`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Detect {
    /// What is embedded.
    pub objects: Objects,
    /// Least confidence.
    pub confidence: f32,
    /// Overlap above which the weaker of two boxes of a class goes.
    pub iou: f32,
    /// Longer side of the network's input, pixels; none for the one that its weights were trained with.
    pub image_size: Option<u32>,
    /// Most objects a picture.
    pub max_objects: u32,
}

/// `crop`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Crop {
    /// Room around the box, as a share of its longer side.
    pub padding: f32,
    /// Whether a crop keeps its proportions in a square rather than being stretched to one; none for as the embedder's weights
    /// were trained.
    pub square: Option<bool>,
    /// Whether what lies outside the mask is greyed; none for as the embedder's weights were trained.
    pub mask_background: Option<bool>,
    /// Whether an object is turned to lie level; none for as the embedder's weights were trained.
    pub align: Option<bool>,
    /// Side of the embedder's input, a multiple of 14; none for the one that its weights were trained with.
    pub image_size: Option<u32>,
}

/// `intake`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Intake {
    /// Most pixels (width x height).
    pub max_pixels: u64,
    /// Most bytes a file.
    pub max_file_bytes: u64,
    /// Most memory for decoding one picture, bytes.
    pub max_decode_bytes: u64,
    /// Shortest side, pixels.
    pub min_side: u32,
    /// Least standard deviation of brightness, 0 to 255.
    pub min_contrast: f32,
    /// What happens to the same bytes.
    pub exact_duplicates: DuplicatePolicy,
    /// What happens to nearly the same picture.
    pub near_duplicates: DuplicatePolicy,
    /// Most differing bits of the 64-bit perceptual hash that still count as near.
    pub near_distance: u32,
    /// How long a file must lie unchanged, milliseconds.
    pub settle_ms: u64,
    /// Seconds between full scans.
    pub rescan_seconds: u64,
    /// Seconds between looks at a polled folder.
    pub poll_seconds: u64,
}

/// `engine`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Engine {
    /// Most pictures a batch.
    pub batch: usize,
    /// Pictures decoded ahead of the models.
    pub ahead: usize,
    /// Threads that archive and decode.
    pub decoders: usize,
    /// Threads of the networks; 0: what is left.
    pub model_threads: usize,
    /// Tries before a file counts as failed.
    pub attempts: u32,
    /// Entries between checkpoints.
    pub checkpoint_every: u64,
    /// Share of the disk, in percent, that stays free.
    pub min_free_percent: f64,
    /// Bytes kept back so that a full disk can be opened again.
    pub ballast_bytes: u64,
}

/// `access`: who may do what, by user name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Access {
    /// May change the queue and the gallery.
    pub operators: Vec<String>,
    /// May do what operators may, and approve.
    pub approvers: Vec<String>,
}

/// How vectors are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VectorType {
    /// 32-bit floats.
    F32,
    /// 16-bit floats: half the disk, similarities within 0.001.
    F16,
}

/// The approximate index of large galleries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approximate {
    /// Vectors of the same weights above which there is one; 0: never.
    pub above: usize,
    /// Vectors that a search keeps on the way.
    pub beam: usize,
    /// Every so many-th probe is asked both ways.
    pub sample: u64,
}

/// The console's colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ThemeName {
    /// Dark, unless the terminal says that it is light.
    Auto,
    /// Light text on dark.
    Dark,
    /// Dark text on light.
    Light,
}

/// The checked settings of a workspace. Paths are absolute.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// The workspace's folder.
    pub workspace: PathBuf,
    /// Weights.
    pub models: Models,
    /// Processor.
    pub device: Device,
    /// Arithmetic.
    pub precision: Precision,
    /// Watched folders.
    pub watch: Vec<Watch>,
    /// When an answer is good enough.
    pub decision: Thresholds,
    /// The detector's settings.
    pub detect: Detect,
    /// `enroll.several`.
    pub several: Several,
    /// How objects are cut out for the embedder.
    pub crop: Crop,
    /// What is let in.
    pub intake: Intake,
    /// Threads and batches.
    pub engine: Engine,
    /// How new vectors are kept.
    pub vector_type: VectorType,
    /// When and how the gallery is searched approximately.
    pub approximate: Approximate,
    /// The most bytes of a file of vectors that is imported.
    pub max_import_bytes: u64,
    /// Who may do what.
    pub access: Access,
    /// The console's colours.
    pub theme: ThemeName,
}

impl Config {
    /// Reads and checks `config.yaml` of a workspace; without the file, the defaults hold.
    ///
    /// # Errors
    /// [`ConfigError`], with a line for each fault.
    pub fn load(workspace: &Path) -> Result<Self, ConfigError> {
        let path = workspace.join("config.yaml");
        match files::text_within(&path, LARGEST) {
            Ok(text) => Self::parse(&text, workspace),
            Err(Unread::Io(error)) if error.kind() == std::io::ErrorKind::NotFound => Self::parse("", workspace),
            Err(source) => Err(ConfigError::Unreadable { path, source }),
        }
    }

    /// Checks the text of a config for a workspace.
    ///
    /// # Errors
    /// [`ConfigError`], with a line for each fault.
    pub fn parse(text: &str, workspace: &Path) -> Result<Self, ConfigError> {
        read::parse(text, workspace)
    }

    /// The folder that the engine owns.
    #[must_use]
    pub fn database(&self) -> PathBuf {
        self.workspace.join("database")
    }

    /// The socket that consoles and commands use.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.database().join("sightline.sock")
    }
}
