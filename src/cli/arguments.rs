//! What can be typed.

mod learn;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

pub(super) use learn::{Dataset, DatasetCopy, Evaluate, Head, Runs, Synth, Train};

use crate::domain::{ItemState, Label, SightingId};

/// The operations console and engine for vision models in production.
///
/// Without a command it opens the console on the workspace, starting an engine if none is running.
#[derive(Debug, Parser)]
#[command(name = "sightline", version, propagate_version = true, max_term_width = 100)]
pub struct Arguments {
    /// The workspace: the folder with config.yaml, models/ and database/.
    #[arg(long, global = true, value_name = "DIR", default_value = ".")]
    pub workspace: PathBuf,
    /// Prints JSON: one value, or one a line for lists.
    #[arg(long, global = true)]
    pub json: bool,
    #[command(subcommand)]
    pub(super) command: Option<Command>,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Makes a demo workspace with generated pack pictures arriving, and opens the console on it.
    Demo(Demo),
    /// Runs the engine without a console, until SIGTERM or Ctrl-C.
    Serve(Serve),
    /// Writes a commented config.yaml and the folders into the workspace.
    Init(Init),
    /// Runs the detector (and, if given, the embedder) on pictures.
    See(See),
    /// Prints whole-picture vectors, no detector.
    Embed(Embed),
    /// Queues copies of files or folders.
    Ingest(Ingest),
    /// Adds pictures to the gallery under a label.
    Enroll(Enroll),
    /// Asks the gallery what pictures show. Exits 4 where it abstains.
    Identify(Identify),
    /// The queue: what waits, what is done, what was set aside.
    #[command(subcommand)]
    Queue(Queue),
    /// The gallery: labels, sightings, search, import and export.
    #[command(subcommand)]
    Gallery(Gallery),
    /// The journal: everything that became true, and its proof.
    #[command(subcommand)]
    Journal(Journal),
    /// The projection of the journal.
    #[command(subcommand)]
    Db(Db),
    /// Model files: look into them, import them.
    #[command(subcommand)]
    Model(Model),
    /// Sets of pictures with labels: read, check, divide and convert them.
    #[command(subcommand)]
    Dataset(Dataset),
    /// Trains a detector, an embedder or a classifier on a set of pictures with labels.
    Train(Train),
    /// What training gave: list, show and compare runs.
    #[command(subcommand)]
    Runs(Runs),
    /// Judges a detector, a classifier or an embedder by a set of pictures with labels.
    Evaluate(Evaluate),
    /// Checks the machine and the workspace; names each problem with its remedy.
    Doctor,
}

#[derive(Debug, Args)]
pub(super) struct Demo {
    /// Where to make the workspace; without it, in a temporary folder.
    #[arg(long, value_name = "DIR")]
    pub(super) dir: Option<PathBuf>,
    /// Prints a JSON summary instead of opening the console.
    #[arg(long)]
    pub(super) headless: bool,
    /// How long to run headless: 60s, 2m.
    #[arg(long = "for", value_name = "TIME", default_value = "20s", value_parser = duration)]
    pub(super) time: std::time::Duration,
    /// Every seed draws other packs.
    #[arg(long, default_value_t = 1)]
    pub(super) seed: u64,
}

fn duration(text: &str) -> Result<std::time::Duration, String> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let seconds: u64 = number.parse().map_err(|_| format!("`{text}` is no time; write 60s or 2m"))?;
    let factor = match unit {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return Err(format!("`{unit}` is no unit of time; write 60s or 2m")),
    };
    Ok(std::time::Duration::from_secs(seconds.saturating_mul(factor)))
}

#[derive(Debug, Args)]
pub(super) struct Serve {
    /// Answers programs on this address too, e.g. 127.0.0.1:8080. Nobody is asked for a name there.
    #[arg(long, value_name = "ADDR")]
    pub(super) listen: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct Init {
    /// The detector's weights.
    #[arg(long, value_name = "W")]
    pub(super) detector: Option<PathBuf>,
    /// The embedder's weights.
    #[arg(long, value_name = "W")]
    pub(super) embedder: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct See {
    /// Pictures, or folders of them.
    #[arg(required = true, value_name = "IMAGE")]
    pub(super) images: Vec<PathBuf>,
    /// The detector's weights; without it, the workspace's.
    #[arg(long, value_name = "W")]
    pub(super) model: Option<PathBuf>,
    /// Embeds each object with these weights.
    #[arg(long, value_name = "W")]
    pub(super) embed: Option<PathBuf>,
    /// Least confidence.
    #[arg(long, default_value_t = 0.25)]
    pub(super) conf: f32,
    /// Overlap above which the weaker of two boxes goes.
    #[arg(long, default_value_t = 0.7)]
    pub(super) iou: f32,
    /// Longer side of the network's input, a multiple of 32; without it, what the weights were trained with, else 640.
    #[arg(long)]
    pub(super) imgsz: Option<u32>,
    /// Writes annotated pictures there.
    #[arg(long, value_name = "DIR")]
    pub(super) save: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct Embed {
    /// Pictures, or folders of them.
    #[arg(required = true, value_name = "IMAGE")]
    pub(super) images: Vec<PathBuf>,
    /// The embedder's weights; without it, the workspace's.
    #[arg(long, value_name = "W")]
    pub(super) embed: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct Ingest {
    /// Files or folders.
    #[arg(required = true, value_name = "PATH")]
    pub(super) paths: Vec<PathBuf>,
    /// Waits until all of them have an outcome.
    #[arg(long)]
    pub(super) wait: bool,
    /// Enrols them under this label.
    #[arg(long, value_name = "L", value_parser = Label::new)]
    pub(super) label: Option<Label>,
}

#[derive(Debug, Args)]
pub(super) struct Enroll {
    /// The label.
    #[arg(value_parser = Label::new)]
    pub(super) label: Label,
    /// Files or folders.
    #[arg(required = true, value_name = "PATH")]
    pub(super) paths: Vec<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct Identify {
    /// Pictures, or folders of them.
    #[arg(required = true, value_name = "IMAGE")]
    pub(super) images: Vec<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(super) enum Queue {
    /// Counts by state.
    Stats,
    /// Files, oldest first.
    List {
        /// Only those in this state.
        #[arg(long, value_parser = state)]
        state: Option<ItemState>,
        /// At most so many.
        #[arg(long, default_value_t = 1000)]
        limit: usize,
    },
    /// What was set aside, with the reasons.
    Quarantine,
    /// Sends a quarantined or failed file through again.
    Release(Aside),
    /// Drops a quarantined or failed file for good.
    Discard(Aside),
}

#[derive(Debug, Args)]
pub(super) struct Aside {
    /// The file's id, from `queue quarantine`.
    pub(super) id: String,
    /// Why; goes into the journal.
    #[arg(long, value_name = "TEXT")]
    pub(super) reason: String,
}

fn state(text: &str) -> Result<ItemState, String> {
    let names = ItemState::ALL.map(ItemState::name).join(", ");
    ItemState::ALL
        .into_iter()
        .find(|state| state.name() == text)
        .ok_or_else(|| format!("`{text}` is no state; there are {names}"))
}

#[derive(Debug, Subcommand)]
pub(super) enum Gallery {
    /// Labels and how many sightings each has.
    List {
        /// Only labels that hold this.
        #[arg(long)]
        filter: Option<String>,
    },
    /// A label's sightings.
    Show {
        /// The label.
        #[arg(value_parser = Label::new)]
        label: Label,
    },
    /// What is enrolled near a picture.
    Search {
        /// The picture.
        image: PathBuf,
    },
    /// The gallery in numbers.
    Stats,
    /// Writes all vectors and labels to a .safetensors file.
    Export {
        /// The file.
        file: PathBuf,
    },
    /// Enrols the vectors of a .safetensors export or a PillTrack .pkl.
    Import {
        /// The file.
        file: PathBuf,
        /// Why; goes into the journal.
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Gives a label, or one sighting, another label.
    Relabel {
        /// The label, or a sighting (IMAGE:INDEX).
        what: String,
        /// The new label.
        #[arg(value_parser = Label::new)]
        to: Label,
        /// Why; goes into the journal.
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
    /// Takes a label, or one sighting, out of the gallery.
    Remove {
        /// The label, or a sighting (IMAGE:INDEX).
        what: String,
        /// Why; goes into the journal.
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
    /// Embeds anew what other weights than those in use have embedded.
    Reembed {
        /// Why; goes into the journal.
        #[arg(long, default_value = "other weights")]
        reason: String,
    },
}

/// A label or a sighting.
pub(super) fn which(text: &str) -> Result<crate::domain::view::Which, String> {
    use crate::domain::view::Which;
    text.parse::<SightingId>().map(Which::Sighting).or_else(|_| Label::new(text).map(Which::Label))
}

#[derive(Debug, Subcommand)]
pub(super) enum Journal {
    /// The last entries, oldest of them first.
    Tail {
        /// So many.
        #[arg(short, default_value_t = 20)]
        n: usize,
    },
    /// One entry, whole.
    Show {
        /// Its sequence number.
        sequence: u64,
    },
    /// Proves every entry up to the last checkpoint; says what it cannot prove.
    Verify {
        /// The public key that must have signed: a copy of database/journal/key.pub kept elsewhere, or its text.
        #[arg(long)]
        key: Option<String>,
        /// A checkpoint that must lie on the journal's way: a file kept elsewhere that `journal checkpoint` wrote.
        #[arg(long)]
        checkpoint: Option<PathBuf>,
    },
    /// The last signed checkpoint. Kept elsewhere, it proves later that nothing before it was cut off or rewritten.
    Checkpoint,
    /// Writes every entry.
    Export {
        /// jsonl: one entry a line.
        #[arg(long, default_value = "jsonl", value_parser = ["jsonl"])]
        format: String,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum Db {
    /// Compares the projection, the vectors and the originals with the journal.
    Verify,
    /// Makes the projection anew from the journal; no engine may be running.
    Rebuild,
    /// Records and bytes.
    Stats,
}

#[derive(Debug, Subcommand)]
pub(super) enum Model {
    /// Task, size, classes, parameters, dtype and hash of a model file. Executes nothing.
    Inspect {
        /// The file: .pt, .pth or .safetensors.
        file: PathBuf,
        /// Runs these pictures (or folders of them) in fp32 and in the device's faster precision, and records in the
        /// model's card whether they agree: `precision: auto` takes the faster one only then. Exits 1 where they don't.
        #[arg(long, value_name = "IMAGE", num_args = 1..)]
        compare_precision: Vec<PathBuf>,
    },
    /// Converts a model file to safetensors and a card in the workspace's models/.
    Import {
        /// The file: .pt, .pth or .safetensors.
        file: PathBuf,
        /// What it is called from now on.
        #[arg(long)]
        name: String,
        /// Under which licence the weights are used.
        #[arg(long)]
        licence: Option<String>,
        /// Replaces a model of that name.
        #[arg(long)]
        force: bool,
    },
    /// Makes weights of random numbers, to try sightline with before there are trained ones.
    Untrained {
        /// The architecture: yolov8n, yolov8n-seg, dinov2_vits14, dinov2_vits14_reg, …
        architecture: String,
        /// What it is called from now on.
        #[arg(long)]
        name: String,
        /// Every seed gives other numbers.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Classes of a detector.
        #[arg(long, default_value_t = 1)]
        classes: u32,
    },
    /// The workspace's models.
    List,
}
