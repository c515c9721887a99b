//! What can be typed about learning: sets of pictures, training, judging.

use std::path::PathBuf;

use clap::builder::RangedU64ValueParser;
use clap::{Args, Subcommand};

#[derive(Debug, Args)]
pub(in crate::cli) struct Train {
    /// A data.yaml, a COCO .json, or a folder.
    #[arg(required_unless_present = "resume", conflicts_with = "resume")]
    pub(in crate::cli) data: Option<PathBuf>,
    /// Settings, with Ultralytics' names: epochs=50 batch=16 imgsz=320 lr0=0.01 mosaic=0 …; embedders also
    /// loss=supcon|arcface labels=16 per_label=4 last_blocks=2 …
    #[arg(value_name = "KEY=VALUE")]
    pub(in crate::cli) options: Vec<String>,
    /// The weights to begin with, or an architecture to begin from nothing: yolov8n-seg, yolov8s, …, or an embedder's:
    /// dinov2_vits14, dinov2_vit192x8_14, …
    #[arg(long, value_name = "W", default_value = "yolov8n-seg")]
    pub(in crate::cli) model: String,
    /// Makes a classifier of a DINOv2: a head on its vectors as they are, or the head and the network.
    #[arg(long, conflicts_with = "resume")]
    pub(in crate::cli) head: Option<Head>,
    /// Searches for better settings: so many runs with others, those without hope ended early; the given ones are first.
    #[arg(long, value_name = "N", conflicts_with = "resume", value_parser = RangedU64ValueParser::<usize>::new().range(1..=10_000))]
    pub(in crate::cli) tune: Option<usize>,
    /// The folder in which the run gets its own.
    #[arg(long, value_name = "DIR", default_value = "runs")]
    pub(in crate::cli) runs: PathBuf,
    /// The run's name; without it train, train-2, …
    #[arg(long)]
    pub(in crate::cli) name: Option<String>,
    /// Goes on with a run that was stopped: its folder.
    #[arg(long, value_name = "RUN", conflicts_with_all = ["name", "model"])]
    pub(in crate::cli) resume: Option<PathBuf>,
    /// Learns although labels were left out or mended while reading.
    #[arg(long)]
    pub(in crate::cli) despite_problems: bool,
    /// What the cards of the weights say of their origin, beside the model they began with.
    #[arg(long, value_name = "TEXT", conflicts_with = "resume")]
    pub(in crate::cli) origin: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Runs {
    /// Every run of a folder, with its best epoch.
    List {
        /// The folder of runs.
        #[arg(long, value_name = "DIR", default_value = "runs")]
        runs: PathBuf,
    },
    /// A run's settings and epochs.
    Show {
        /// The run's folder.
        run: PathBuf,
    },
    /// Runs beside each other: the settings that differ, and the best epochs.
    Compare {
        /// The runs' folders.
        #[arg(required = true, num_args = 2..)]
        runs: Vec<PathBuf>,
    },
}

/// How a classifier is learnt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(in crate::cli) enum Head {
    /// A linear head, solved; the network stays as it is.
    Linear,
    /// The head and the network.
    Full,
    /// No head: an embedder, from a classifier's weights too.
    None,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Evaluate {
    /// A data.yaml, a COCO .json, or a folder.
    pub(in crate::cli) data: PathBuf,
    /// The weights; without it, the workspace's detector.
    #[arg(long, value_name = "W")]
    pub(in crate::cli) model: Option<PathBuf>,
    /// Which part of the set.
    #[arg(long, default_value = "val", value_parser = ["train", "val", "test"])]
    pub(in crate::cli) split: String,
    /// The longer side of a detector's input, a multiple of 32; without it, the size that its weights were trained with, else 640.
    /// Others see pictures at the size they were trained with.
    #[arg(long)]
    pub(in crate::cli) imgsz: Option<u32>,
    /// Draws the figures, as PNG files into this folder.
    #[arg(long, value_name = "DIR")]
    pub(in crate::cli) out: Option<PathBuf>,
    /// Judges although labels were left out while reading.
    #[arg(long)]
    pub(in crate::cli) despite_problems: bool,
    /// Puts the figures into the card beside the model, under this name, for example `held out`.
    #[arg(long, value_name = "NAME")]
    pub(in crate::cli) record: Option<String>,
    /// A file that says which figures are asked for; exit 3 where they are not reached, or cannot be told for too little
    /// evidence.
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) gate: Option<PathBuf>,
    /// Embedders: pictures of each label that are enrolled, in four rotations; the others are asked about.
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub(in crate::cli) enrolled: usize,
    /// Embedders: share of the labels (the last by name) that are not enrolled and must get no answer.
    #[arg(long, value_name = "S", default_value_t = 0.2)]
    pub(in crate::cli) strangers: f64,
    /// Embedders: the share of wrong answers that thresholds are suggested for.
    #[arg(long, value_name = "S", default_value_t = 0.005)]
    pub(in crate::cli) most_wrong: f64,
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Dataset {
    /// Reads a set (YOLO, COCO, Pascal VOC, class folders) and writes it in YOLO's layout, its pictures upright.
    Import(DatasetCopy),
    /// Writes a set as YOLO or COCO.
    Export {
        #[command(flatten)]
        copy: DatasetCopy,
        /// yolo, or coco.
        #[arg(long, default_value = "yolo", value_parser = ["yolo", "coco"])]
        format: String,
    },
    /// Looks for broken files, doubles, leaks between the parts and odd labels. Exits 1 where the set is not sound.
    Check {
        /// A data.yaml, a COCO .json, or a folder.
        set: PathBuf,
        /// Writes a sheet of pictures with their labels drawn.
        #[arg(long, value_name = "PNG")]
        sheet: Option<PathBuf>,
    },
    /// Draws photographs of invented packs, with outlines and which pack each is: a set to learn from.
    Synth(Synth),
    /// Divides a set into train, val and test, each class in its share; pictures that look alike stay together.
    Split {
        #[command(flatten)]
        copy: DatasetCopy,
        /// Share to learn from; shares count by their sum.
        #[arg(long, default_value_t = 0.8)]
        train: f64,
        /// Share to choose by.
        #[arg(long, default_value_t = 0.1)]
        val: f64,
        /// Share to judge by.
        #[arg(long, default_value_t = 0.1)]
        test: f64,
        /// The same seed divides the same way.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Keeps pictures together by folder, by the part of their name before a text (prefix:_), or by what a table beside the set
        /// (metadata.jsonl or .csv, a drawn set's instances.jsonl) or a COCO file's `images` say of them (key:patient).
        #[arg(long, value_name = "KEY")]
        group_by: Option<String>,
    },
    /// Keeps the present state of a set's folder as a version, by content, as dvc 3 does.
    Snapshot {
        /// The set's folder.
        set: PathBuf,
        /// What is to be said about it.
        #[arg(long, short, default_value = "")]
        message: String,
    },
    /// Lists the versions of a set; the star is at the one that the folder was last brought to.
    List {
        /// The set's folder.
        set: PathBuf,
    },
    /// Says which files differ between two versions, or between a version and the folder as it is now.
    Diff {
        /// The set's folder.
        set: PathBuf,
        /// The earlier version: a number, or the beginning of its MD5.
        from: String,
        /// The later one, or now.
        #[arg(default_value = "now")]
        to: String,
    },
    /// Brings a version back, byte for byte. Refuses where files would be lost that no version holds.
    Restore {
        /// The set's folder.
        set: PathBuf,
        /// The version: a number, or the beginning of its MD5.
        #[arg(value_name = "VERSION")]
        which: String,
        /// Loses what no version holds.
        #[arg(long)]
        force: bool,
    },
}

/// From a set to a new folder.
#[derive(Debug, Args)]
pub(in crate::cli) struct DatasetCopy {
    /// A data.yaml, a COCO .json, or a folder.
    pub(in crate::cli) set: PathBuf,
    /// The folder to make.
    #[arg(long, value_name = "DIR")]
    pub(in crate::cli) out: PathBuf,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Synth {
    /// The folder to make.
    #[arg(long, value_name = "DIR")]
    pub(in crate::cli) out: PathBuf,
    /// Photographs, with outlines: what a detector learns from.
    #[arg(long, value_name = "N", required_unless_present = "crops")]
    pub(in crate::cli) images: Option<u32>,
    #[command(flatten)]
    pub(in crate::cli) cut: Cut,
    /// Designs; each odd one is the look-alike of the even one before, in another strength.
    #[arg(long, value_name = "K")]
    pub(in crate::cli) packs: u32,
    /// Of designs and pictures: the same seed draws the same bytes.
    #[arg(long, default_value_t = 1)]
    pub(in crate::cli) seed: u64,
    /// The number of the first design, so that a set can have designs that another of the seed has not.
    #[arg(long, value_name = "F", default_value_t = 0)]
    pub(in crate::cli) first_design: u32,
    /// Share of pictures to choose by; with --crops, of packs: they are not learnt from.
    #[arg(long, default_value_t = 0.0)]
    pub(in crate::cli) val: f64,
    /// Share of pictures to judge by; with --crops, of packs.
    #[arg(long, default_value_t = 0.0)]
    pub(in crate::cli) test: f64,
}

/// Crops instead of photographs.
#[derive(Debug, Args)]
pub(in crate::cli) struct Cut {
    /// Crops of each pack instead, a folder a pack: what an embedder learns from.
    #[arg(long, value_name = "N", conflicts_with = "images")]
    pub(in crate::cli) crops: Option<u32>,
    /// A crop's side in pixels, a multiple of 14.
    #[arg(long, value_name = "PIXELS", default_value_t = 224, requires = "crops", conflicts_with = "images")]
    pub(in crate::cli) side: u32,
    /// Greys the crops' background, as behind a detector that outlines.
    #[arg(long, requires = "crops", conflicts_with = "images")]
    pub(in crate::cli) mask_background: bool,
    /// Turns packs so that they lie level, as behind a detector that outlines where `crop.align` is on.
    #[arg(long, requires = "crops", conflicts_with = "images")]
    pub(in crate::cli) align: bool,
    /// Stretches crops to a square instead of filling them up to one, as with `crop.square: false`.
    #[arg(long, requires = "crops", conflicts_with = "images")]
    pub(in crate::cli) stretch: bool,
    /// Turns those that lie level so that their print reads from left to right: to learn from with `upright=true`.
    #[arg(long, requires = "align", conflicts_with = "images")]
    pub(in crate::cli) upright: bool,
    /// Share of the packs that stand in look-alike pairs; the others are the first of a pair each, with crops.
    #[arg(long, value_name = "SHARE", requires = "crops", conflicts_with = "images", default_value_t = 1.0)]
    pub(in crate::cli) pairs: f64,
    /// What a folder stands for: a pack, or a strength on whatever pack, to learn reading by.
    #[arg(long, requires = "crops", conflicts_with = "images", default_value = "pack", value_parser = ["pack", "strength"])]
    pub(in crate::cli) by: String,
}
