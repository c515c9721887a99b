//! What a run is told: `args.yaml`; what the detector's training knows as well is called as there.

use serde::{Deserialize, Serialize};

use super::judge::Aim;
use crate::learn::augment::crops::Changes;
use crate::learn::train::options::{Mixed, changed, within};
use crate::learn::train::schedule::Terms;
use crate::vision::CropPolicy;
use crate::vision::dino::PATCH;

/// What an embedder learns by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Loss {
    /// Supervised contrastive (arXiv:2004.11362).
    Supcon,
    /// Additive angular margin softmax (arXiv:1801.07698).
    Arcface,
}

/// What the best epoch is the best by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fitness {
    /// `recall1` for embedders, `accuracy` for classifiers.
    Auto,
    /// Embedders: how often the nearest neighbour has the right label.
    Recall1,
    /// Embedders: how often one of the five nearest has.
    Recall5,
    /// Embedders: mean average precision over all neighbours.
    Map,
    /// Classifiers: right answers by all.
    Accuracy,
    /// Classifiers: the mean F1 of the classes.
    F1,
    /// The recall of the class that is told worst; for embedders the share of a label's crops whose nearest neighbour is right.
    WorstRecall,
}

impl Fitness {
    /// Whether a run for this aim can be judged by it.
    ///
    /// # Errors
    /// A sentence naming those that it can be judged by.
    pub fn suits(self, aim: Aim) -> Result<(), String> {
        match (aim, self) {
            (_, Self::Auto | Self::WorstRecall)
            | (Aim::Embed, Self::Recall1 | Self::Recall5 | Self::Map)
            | (Aim::Classify, Self::Accuracy | Self::F1) => Ok(()),
            (Aim::Embed, _) => Err("an embedder is judged by `fitness=` recall1, recall5, map or worst_recall".into()),
            (Aim::Classify, _) => Err("a classifier is judged by `fitness=` accuracy, f1 or worst_recall".into()),
        }
    }
}

/// What a run is told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Options {
    /// How often as many crops are seen as there are, 1 or more.
    pub epochs: u64,
    /// Embedders: labels a batch, 2 to 1024.
    pub labels: usize,
    /// Embedders: crops of each label in a batch, 2 to 256.
    pub per_label: usize,
    /// Embedders: labels whose names follow each other and that are shown together, 1 to 1024: where look-alikes stand
    /// beside each other, 2 puts each beside the one that it has to be told from.
    pub together: usize,
    /// Embedders: whether those that are shown together are rather the ones that the network itself finds alike, asked anew
    /// at each epoch's beginning.
    pub mine: bool,
    /// Classifiers: crops a batch, 1 to 1024.
    pub batch: usize,
    /// The input's side in pixels, a multiple of 14 from 14 to 1540.
    pub imgsz: u32,
    /// Whether the crops' background is grey already; the weights then say so, and an engine cuts crops alike.
    pub mask_background: bool,
    /// Whether the crops lie level; the weights then say so, and an engine turns its crops alike.
    pub align: bool,
    /// Whether crops that are not square are filled up to a square, or stretched to one (false); the weights then say so, and an
    /// engine cuts crops alike.
    pub square: bool,
    /// Embedders: whether the crops' print is upright, too: what `turn` turns is then all crops of a label alike, so that two
    /// that are turned differently need not look the same to the network, as four rotations are enrolled of each.
    pub upright: bool,
    /// Every seed is another run; the same seed on the same machine is the same run.
    pub seed: u64,
    /// What an embedder learns by.
    pub loss: Loss,
    /// The contrastive loss's temperature, above 0 to 10.
    pub temperature: f64,
    /// ArcFace's margin in radians, 0 to 1.5.
    pub margin: f64,
    /// What ArcFace multiplies cosines by, 1 to 1000.
    pub margin_scale: f64,
    /// How many of the last blocks learn, with the last norm and the head; 0 for all there is.
    pub last_blocks: usize,
    /// AdamW's learning rate at first.
    pub lr0: f64,
    /// The share of it that is left at the end, 0 to 1.
    pub lrf: f64,
    /// Whether the rate falls along a cosine rather than a line.
    pub cos_lr: bool,
    /// AdamW's first beta, 0 to 1.
    pub momentum: f64,
    /// What of a weight is taken off at a rate of 1.
    pub weight_decay: f64,
    /// Epochs in which rates rise to their first value.
    pub warmup_epochs: f64,
    /// Classifiers: how far rare classes count more: 0 not at all, 1 in proportion.
    pub cls_pw: f64,
    /// The linear probe's C: the larger, the less its weights are held back.
    pub c: f64,
    /// Epochs without a better one after which the run ends; 0 for never.
    pub patience: u64,
    /// What the best epoch is the best by.
    pub fitness: Fitness,
    /// In what the network counts.
    pub amp: Mixed,
    /// Threads that make batches.
    pub workers: usize,
    /// Megabytes of crops that are kept in memory.
    pub cache_mb: u64,
    /// How crops are changed.
    #[serde(flatten)]
    pub augment: Changes,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            epochs: 50,
            labels: 16,
            per_label: 4,
            together: 1,
            mine: false,
            batch: 64,
            imgsz: 224,
            mask_background: false,
            align: false,
            square: true,
            upright: false,
            seed: 0,
            loss: Loss::Supcon,
            temperature: 0.1,
            margin: 0.5,
            margin_scale: 30.0,
            last_blocks: 0,
            lr0: 0.0003,
            lrf: 0.01,
            cos_lr: true,
            momentum: 0.9,
            weight_decay: 0.05,
            warmup_epochs: 1.0,
            cls_pw: 0.0,
            c: 1.0,
            patience: 50,
            fitness: Fitness::Auto,
            amp: Mixed::Fp32,
            workers: 2,
            cache_mb: 2048,
            augment: Changes::default(),
        }
    }
}

impl Options {
    /// The defaults, changed by `KEY=VALUE` each.
    ///
    /// # Errors
    /// A sentence naming the key that is not known, or the value that is out of range.
    pub fn from_pairs(pairs: &[String]) -> Result<Self, String> {
        let options: Self = changed(pairs)?;
        options.check()?;
        Ok(options)
    }

    /// Whether every value lies in its range.
    ///
    /// # Errors
    /// A sentence naming the value that does not.
    pub fn check(&self) -> Result<(), String> {
        within(&[
            ("epochs", self.epochs, 1, 100_000),
            ("labels", self.labels as u64, 2, 1024),
            ("per_label", self.per_label as u64, 2, 256),
            ("together", self.together as u64, 1, 1024),
            ("batch", self.batch as u64, 1, 1024),
            ("workers", self.workers as u64, 1, 256),
            ("last_blocks", self.last_blocks as u64, 0, 1000),
        ])?;
        let most = CropPolicy::MAX_INPUT;
        if !self.imgsz.is_multiple_of(PATCH as u32) || !(PATCH as u32..=most).contains(&self.imgsz) {
            return Err(format!("`imgsz={}` must be a multiple of 14 from 14 to {most}", self.imgsz));
        }
        within(&[
            ("temperature", self.temperature, 0.001, 10.0),
            ("margin", self.margin, 0.0, 1.5),
            ("margin_scale", self.margin_scale, 1.0, 1000.0),
            ("lr0", self.lr0, 0.0, 10.0),
            ("lrf", self.lrf, 0.0, 1.0),
            ("momentum", self.momentum, 0.0, 0.9999),
            ("weight_decay", self.weight_decay, 0.0, 1.0),
            ("warmup_epochs", self.warmup_epochs, 0.0, 100_000.0),
            ("cls_pw", self.cls_pw, 0.0, 1.0),
            ("c", self.c, 1e-9, 1e9),
        ])?;
        if self.mine && self.together < 2 {
            return Err(
                "`mine=true` shows labels together that are alike; say how many, for example `together=8`".into()
            );
        }
        self.augment.check()
    }

    /// The settings that a run for this aim does not look at: a head alone that is solved rather than trained (`probe`) only
    /// takes how crops are made and how strongly it is held back.
    #[must_use]
    pub fn without_effect(&self, aim: Aim, probe: bool) -> &'static [&'static str] {
        match (aim, probe, self.loss) {
            (Aim::Embed, _, Loss::Supcon) => &["batch", "cls_pw", "c", "margin", "margin_scale"],
            (Aim::Embed, _, Loss::Arcface) => &["batch", "cls_pw", "c", "temperature"],
            (Aim::Classify, false, _) => {
                &["labels", "per_label", "together", "mine", "loss", "temperature", "margin", "margin_scale", "c"]
            }
            (Aim::Classify, true, _) => &[
                "batch",
                "labels",
                "per_label",
                "together",
                "mine",
                "loss",
                "temperature",
                "margin",
                "margin_scale",
                "epochs",
                "lr0",
                "lrf",
                "cos_lr",
                "momentum",
                "weight_decay",
                "warmup_epochs",
                "cls_pw",
                "patience",
                "amp",
                "last_blocks",
                "upright",
                "turn",
                "degrees",
                "scale",
                "translate",
                "perspective",
                "blur",
                "fliplr",
                "hsv_h",
                "hsv_s",
                "hsv_v",
            ],
        }
    }

    /// How crops are brought to the network's input.
    #[must_use]
    pub fn policy(&self) -> CropPolicy {
        CropPolicy {
            padding: 0.0,
            input_size: self.imgsz,
            mask_background: self.mask_background,
            align: self.align,
            square: self.square,
        }
    }

    /// What the rates follow from, for batches of so many crops.
    #[must_use]
    pub fn terms(&self, batch: usize) -> Terms {
        Terms {
            epochs: self.epochs,
            batch,
            nbs: batch,
            lrf: self.lrf,
            cos_lr: self.cos_lr,
            weight_decay: self.weight_decay,
            warmup_epochs: self.warmup_epochs,
            warmup_batches: 0,
            warmup_momentum: self.momentum,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test's panic is its report")]
    use super::*;

    #[test]
    fn pairs_change_the_defaults_and_wrong_ones_are_named() {
        let pairs = |list: &[&str]| Options::from_pairs(&list.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>());
        let options = pairs(&["epochs=3", "loss=arcface", "turn=0", "last_blocks=2", "amp=bf16"]).unwrap();
        assert_eq!((options.epochs, options.loss, options.augment.turn), (3, Loss::Arcface, 0.0));
        assert_eq!((options.last_blocks, options.amp), (2, Mixed::Bf16));
        for (wrong, named) in [
            ("mosaic=1", "`mosaic` is no option"),
            ("imgsz=100", "multiple of 14"),
            ("per_label=1", "`per_label=1`"),
            ("temperature=0", "`temperature=0`"),
            ("loss=triplet", "`loss=triplet`"),
            ("blur=2", "blur: 2"),
            ("mine=true", "together=8"),
        ] {
            let error = pairs(&[wrong]).unwrap_err();
            assert!(error.contains(named), "{wrong}: {error}");
        }
        let text = serde_json::to_string(&Options::default()).unwrap();
        assert_eq!(serde_json::from_str::<Options>(&text).unwrap(), Options::default());
    }

    #[test]
    fn settings_without_effect_are_settings() {
        let all = serde_json::to_value(Options::default()).unwrap();
        for (aim, probe, loss) in [
            (Aim::Embed, false, Loss::Supcon),
            (Aim::Embed, false, Loss::Arcface),
            (Aim::Classify, false, Loss::Supcon),
            (Aim::Classify, true, Loss::Supcon),
        ] {
            let idle = Options { loss, ..Options::default() }.without_effect(aim, probe);
            assert!(idle.iter().all(|key| all.get(key).is_some()), "{idle:?}");
            assert!(!idle.contains(&"imgsz") && !idle.is_empty());
        }
    }
}
