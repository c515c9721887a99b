//! The one table of keys: path, kind, default and comment.

/// What a key's value may be.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// A path; relative ones start at the workspace.
    Path,
    /// `auto`, `true` or `false`.
    AutoOrFlag,
    /// A number from, to.
    Number(f64, f64),
    /// A whole number from, to.
    Whole(u64, u64),
    /// `auto`, or a whole number from, to, that a number divides.
    AutoOrMultiple(u64, u64, u64),
    /// One of these words.
    Word(&'static [&'static str]),
    /// `auto`, `cpu` or `cuda:N`.
    Device,
    /// A list of user names.
    Names,
    /// The list of watched folders.
    Watches,
}

impl Kind {
    /// What is allowed, for error messages and comments.
    #[must_use]
    pub fn allowed(self) -> String {
        match self {
            Self::Path => "a path".into(),
            Self::AutoOrFlag => "auto, true or false".into(),
            Self::Number(from, to) => format!("a number from {from} to {to}"),
            Self::Whole(from, to) => format!("a whole number from {from} to {to}"),
            Self::AutoOrMultiple(from, to, of) => format!("auto, or a multiple of {of} from {from} to {to}"),
            Self::Word(words) => words.join(", "),
            Self::Device => "auto, cpu, or cuda:N with N from 0 to 63".into(),
            Self::Names => "a list of user names, for example [ana, li]".into(),
            Self::Watches => "a list of {path, mode: identify or enroll, backend: auto, events or poll}".into(),
        }
    }
}

/// One key of `config.yaml`.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// `group.name`, or `name` at the top.
    pub path: &'static str,
    /// What it may be.
    pub kind: Kind,
    /// Its default, as YAML.
    pub default: &'static str,
    /// What it does.
    pub comment: &'static str,
}

const fn key(path: &'static str, kind: Kind, default: &'static str, comment: &'static str) -> Key {
    Key { path, kind, default, comment }
}

const POLICY: Kind = Kind::Word(&["skip", "keep", "flag"]);

/// Every key, in the order in which `sightline init` writes them.
pub const KEYS: &[Key] = &[
    key("models.detector", Kind::Path, "models/pack-seg.safetensors", "YOLOv8 weights, detect or segment"),
    key("models.embedder", Kind::Path, "models/pack-embed.safetensors", "DINOv2 weights"),
    key("device", Kind::Device, "auto", "auto takes CUDA where there is one"),
    key(
        "precision",
        Kind::Word(&["auto", "fp32", "bf16", "fp16"]),
        "auto",
        "arithmetic of the networks; auto: fp32, or faster where compared and found to agree",
    ),
    key("watch", Kind::Watches, "", "folders to watch; below an enroll folder the sub-folder's name is the label"),
    key("decision.min_similarity", Kind::Number(-1.0, 1.0), "0.80", "least similarity of an accepted answer"),
    key("decision.min_margin", Kind::Number(0.0, 2.0), "0.03", "least lead over the next label"),
    key("detect.confidence", Kind::Number(0.0, 1.0), "0.25", "least confidence of an object"),
    key("detect.iou", Kind::Number(0.0, 1.0), "0.7", "overlap above which the weaker of two boxes goes"),
    key(
        "detect.image_size",
        Kind::AutoOrMultiple(32, 4096, 32),
        "auto",
        "longer side of the detector's input, pixels; auto: the one that its weights were trained with, else 640",
    ),
    key("detect.max_objects", Kind::Whole(1, 3000), "300", "most objects a picture"),
    key(
        "detect.objects",
        Kind::Word(&["found", "whole", "found_or_whole"]),
        "found",
        "what is embedded: found objects, or the whole picture (no detector), or the picture where nothing is found",
    ),
    key(
        "enroll.several",
        Kind::Word(&["refuse", "largest", "all"]),
        "refuse",
        "an enrolment picture with several objects: quarantine it, take the largest, take all",
    ),
    key("crop.padding", Kind::Number(0.0, 1.0), "0.05", "room around the box, share of its longer side"),
    key(
        "crop.square",
        Kind::AutoOrFlag,
        "auto",
        "fill up to a square (true) or stretch to one (false); auto: as the embedder's weights were trained, else true",
    ),
    key(
        "crop.mask_background",
        Kind::AutoOrFlag,
        "auto",
        "grey out what lies outside the mask; auto: where the embedder's weights were trained so",
    ),
    key(
        "crop.align",
        Kind::AutoOrFlag,
        "auto",
        "turn an outlined object to lie level; auto: where the embedder's weights were trained so",
    ),
    key(
        "crop.image_size",
        Kind::AutoOrMultiple(14, 1400, 14),
        "auto",
        "side of the embedder's input, pixels; auto: the one that its weights were trained with, else 224",
    ),
    key("intake.max_pixels", Kind::Whole(1, 1_000_000_000), "100000000", "most pixels, width x height"),
    key("intake.max_file_mb", Kind::Whole(1, 4096), "64", "most megabytes a file"),
    key("intake.max_decode_mb", Kind::Whole(1, 65536), "512", "most memory for decoding one picture"),
    key("intake.min_side", Kind::Whole(1, 10000), "32", "shortest side, pixels"),
    key("intake.min_contrast", Kind::Number(0.0, 127.0), "2.0", "least standard deviation of brightness (0 to 255)"),
    key("intake.exact_duplicates", POLICY, "skip", "the same bytes: skip, keep, or flag (quarantine)"),
    key("intake.near_duplicates", POLICY, "keep", "nearly the same picture: skip, keep, or flag (quarantine)"),
    key("intake.near_distance", Kind::Whole(0, 32), "3", "most differing bits of the 64-bit perceptual hash"),
    key("intake.settle_ms", Kind::Whole(0, 600_000), "1000", "how long a file must lie unchanged"),
    key("intake.rescan_seconds", Kind::Whole(1, 3600), "30", "full scans catch what events missed"),
    key("intake.poll_seconds", Kind::Whole(1, 3600), "5", "looks at folders without events (NFS, SMB, FUSE)"),
    key("engine.batch", Kind::Whole(1, 256), "8", "most pictures a batch"),
    key("engine.ahead", Kind::Whole(1, 1024), "16", "pictures decoded ahead of the models"),
    key("engine.decoders", Kind::Whole(1, 256), "1", "threads that archive and decode"),
    key("engine.model_threads", Kind::Whole(0, 256), "0", "threads of the networks; 0: all cores"),
    key("engine.attempts", Kind::Whole(1, 20), "3", "tries before a file counts as failed"),
    key("engine.checkpoint_every", Kind::Whole(1, 1_000_000), "256", "journal entries between signed checkpoints"),
    key(
        "engine.min_free_percent",
        Kind::Number(0.0, 50.0),
        "5",
        "with less of the disk free, nothing more is taken in",
    ),
    key(
        "engine.ballast_mb",
        Kind::Whole(0, 65536),
        "32",
        "kept back on the disk so that a full one can be opened again",
    ),
    key("gallery.vectors", Kind::Word(&["f32", "f16"]), "f32", "how new vectors are kept on disk"),
    key(
        "gallery.ann_above",
        Kind::Whole(0, 100_000_000),
        "50000",
        "vectors above which an approximate index is kept beside exact search; 0: never",
    ),
    key("gallery.ann_beam", Kind::Whole(16, 4096), "64", "vectors it keeps on the way: more are surer and slower"),
    key("gallery.ann_sample", Kind::Whole(1, 1_000_000), "20", "every so many-th list to look at is asked both ways"),
    key("gallery.import_max_mb", Kind::Whole(1, 65536), "1024", "most megabytes of a file of vectors to import"),
    key(
        "access.operators",
        Kind::Names,
        "[]",
        "users who may release, discard, enrol, relabel; root and the engine's own user always may",
    ),
    key(
        "access.approvers",
        Kind::Names,
        "[]",
        "users who may also approve; everybody else who reaches the socket may look",
    ),
    key("console.theme", Kind::Word(&["auto", "dark", "light"]), "auto", "the console's colours"),
];

/// The watched folders of a new workspace.
pub(super) const DEFAULT_WATCH: &str =
    "  - { path: watch/inbox, mode: identify }\n  - { path: watch/enroll, mode: enroll }\n";

/// A whole config with every key at its default, or at the value given for it.
#[must_use]
pub fn documented_yaml(overrides: &[(&str, String)]) -> String {
    let mut text = String::from(
        "# Settings of this sightline workspace. Every key is optional; what stands here is checked on start.\n",
    );
    let mut group = "";
    for key in KEYS {
        let (this, name) = key.path.split_once('.').unwrap_or(("", key.path));
        if this != group || this.is_empty() {
            text.push('\n');
            if !this.is_empty() {
                text.push_str(&format!("{this}:\n"));
            }
            group = this;
        }
        let indent = if this.is_empty() { "" } else { "  " };
        if matches!(key.kind, Kind::Watches) {
            text.push_str(&format!("# {}\n{name}:\n{DEFAULT_WATCH}", key.comment));
            continue;
        }
        let value = overrides
            .iter()
            .find(|(path, _)| *path == key.path)
            .map_or(key.default.to_owned(), |(_, value)| value.clone());
        let allowed = if matches!(key.kind, Kind::Path) { String::new() } else { format!(" ({})", key.kind.allowed()) };
        text.push_str(&format!("{:<43} # {}{allowed}\n", format!("{indent}{name}: {value}"), key.comment));
    }
    text
}
