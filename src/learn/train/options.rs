//! What a training run is told: `args.yaml`, with Ultralytics' names and defaults where it has one.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::loss::Gains;
use super::optimiser::Method;
use crate::learn::augment::Recipe;
use crate::vision::yolo;

/// Which method, or the usual choice: AdamW for short runs, SGD for long ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Chosen {
    /// The usual choice.
    Auto,
    /// SGD with Nesterov's momentum.
    Sgd,
    /// AdamW.
    AdamW,
}

/// What the best epoch is the best by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fitness {
    /// Nine tenths of the mean average precision from 0.50 to 0.95 and a tenth of that at 0.50 (what Ultralytics chose by for
    /// long; its latest versions take the first alone), of boxes and masks together.
    Map,
    /// Mean average precision at an overlap of 0.50.
    Map50,
    /// The recall of the class that is found worst, where the mean F1 is highest.
    WorstRecall,
}

/// In what the network counts while it learns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", try_from = "Said")]
pub enum Mixed {
    /// fp32 throughout.
    Fp32,
    /// Convolutions in bf16 over fp32 weights.
    Bf16,
    /// bf16 where the machine multiplies it faster, else fp32.
    Auto,
}

/// As it is written: Ultralytics' `amp` is on or off.
#[derive(Deserialize)]
#[serde(untagged)]
enum Said {
    Switch(bool),
    Name(String),
}

impl TryFrom<Said> for Mixed {
    type Error = &'static str;

    fn try_from(said: Said) -> Result<Self, Self::Error> {
        match said {
            Said::Switch(true) => Ok(Self::Auto),
            Said::Switch(false) => Ok(Self::Fp32),
            Said::Name(name) => match name.as_str() {
                "fp32" => Ok(Self::Fp32),
                "bf16" => Ok(Self::Bf16),
                "auto" => Ok(Self::Auto),
                _ => Err("amp must be fp32, bf16 or auto"),
            },
        }
    }
}

/// What a run is told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Options {
    /// How often every picture is seen, 1 or more.
    pub epochs: u64,
    /// Pictures a batch, 1 to 1024.
    pub batch: usize,
    /// The input's side in pixels, a multiple of 32 from 32 to 4096.
    pub imgsz: u32,
    /// Every seed is another run; the same seed on the same machine is the same run.
    pub seed: u64,
    /// How weights are changed.
    pub optimizer: Chosen,
    /// The learning rate at first; not used where the optimiser is chosen by `auto`.
    pub lr0: f64,
    /// The share of it that is left at the end, 0 to 1.
    pub lrf: f64,
    /// Whether the rate falls along a cosine rather than a line.
    pub cos_lr: bool,
    /// SGD's momentum, AdamW's first beta, 0 to 1.
    pub momentum: f64,
    /// What of a weight is taken off at a rate of 1.
    pub weight_decay: f64,
    /// Epochs (and at least 100 batches) in which rates rise to their first value.
    pub warmup_epochs: f64,
    /// Momentum at the very beginning, 0 to 1.
    pub warmup_momentum: f64,
    /// The biases' rate at the very beginning.
    pub warmup_bias_lr: f64,
    /// Gradients of so many pictures make a step.
    pub nbs: usize,
    /// What boxes and masks count for.
    #[serde(rename = "box")]
    pub boxes: f64,
    /// What class scores count for.
    pub cls: f64,
    /// What distributions over distances count for.
    pub dfl: f64,
    /// How far rare classes count more: 0 not at all, 1 in proportion.
    pub cls_pw: f64,
    /// The first layers that stay as they are: 10 is the backbone, 22 all but the heads.
    pub freeze: usize,
    /// Epochs at the end in which pictures are no longer put together by four.
    pub close_mosaic: u64,
    /// Epochs without a better one after which the run ends; 0 for never.
    pub patience: u64,
    /// What the best epoch is the best by.
    pub fitness: Fitness,
    /// In what the network counts.
    pub amp: Mixed,
    /// Threads that make batches.
    pub workers: usize,
    /// Megabytes of pictures that are kept in memory.
    pub cache_mb: u64,
    /// How pictures are changed.
    #[serde(flatten)]
    pub augment: Recipe,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            epochs: 100,
            batch: 16,
            imgsz: 640,
            seed: 0,
            optimizer: Chosen::Auto,
            lr0: 0.01,
            lrf: 0.01,
            cos_lr: false,
            momentum: 0.937,
            weight_decay: 0.0005,
            warmup_epochs: 3.0,
            warmup_momentum: 0.8,
            warmup_bias_lr: 0.1,
            nbs: 64,
            boxes: 7.5,
            cls: 0.5,
            dfl: 1.5,
            cls_pw: 0.0,
            freeze: 0,
            close_mosaic: 10,
            patience: 100,
            fitness: Fitness::Map,
            amp: Mixed::Fp32,
            workers: 2,
            cache_mb: 2048,
            augment: Recipe::default(),
        }
    }
}

impl Options {
    /// Whether pictures of an epoch (from 0) are no longer put together by four. As Ultralytics counts: in a run of no more
    /// epochs than `close_mosaic` they never are.
    #[must_use]
    pub fn is_whole(&self, epoch: u64) -> bool {
        epoch.saturating_add(self.close_mosaic) >= self.epochs
    }

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
            ("batch", self.batch as u64, 1, 1024),
            ("nbs", self.nbs as u64, 1, 65_536),
            ("workers", self.workers as u64, 1, 256),
            ("freeze", self.freeze as u64, 0, 22),
        ])?;
        if !yolo::possible(self.imgsz) {
            return Err(format!("`imgsz={}` must be a multiple of 32 from 32 to 4096", self.imgsz));
        }
        within(&[
            ("lr0", self.lr0, 0.0, 10.0),
            ("lrf", self.lrf, 0.0, 1.0),
            ("momentum", self.momentum, 0.0, 0.9999),
            ("weight_decay", self.weight_decay, 0.0, 1.0),
            ("warmup_epochs", self.warmup_epochs, 0.0, 100_000.0),
            ("warmup_momentum", self.warmup_momentum, 0.0, 0.9999),
            ("warmup_bias_lr", self.warmup_bias_lr, 0.0, 10.0),
            ("box", self.boxes, 0.0, 1000.0),
            ("cls", self.cls, 0.0, 1000.0),
            ("dfl", self.dfl, 0.0, 1000.0),
            ("cls_pw", self.cls_pw, 0.0, 1.0),
        ])?;
        if self.boxes == 0.0 && self.cls == 0.0 && self.dfl == 0.0 {
            return Err("`box`, `cls` and `dfl` are all 0: nothing would be learnt".into());
        }
        self.augment.check()
    }

    /// The settings that a run does not look at: what `optimizer=auto` chooses, and mosaics where none is made.
    #[must_use]
    pub fn without_effect(&self) -> Vec<&'static str> {
        let chosen: &[&str] = if self.optimizer == Chosen::Auto { &["lr0", "momentum", "warmup_bias_lr"] } else { &[] };
        chosen.iter().copied().chain(self.is_whole(0).then_some("mosaic")).collect()
    }

    /// What each part of the loss counts for.
    #[must_use]
    pub fn gains(&self) -> Gains {
        Gains { boxes: self.boxes, classes: self.cls, distances: self.dfl }
    }

    /// The method, rate, momentum and first rate of biases that a run of so many steps takes for so many classes.
    #[must_use]
    pub fn method(&self, steps: u64, classes: u32) -> (Method, f64, f64, f64) {
        match self.optimizer {
            Chosen::Sgd => (Method::Sgd, self.lr0, self.momentum, self.warmup_bias_lr),
            Chosen::AdamW => (Method::AdamW, self.lr0, self.momentum, self.warmup_bias_lr),
            Chosen::Auto if steps > 10_000 => (Method::Sgd, 0.01, 0.9, 0.0),
            Chosen::Auto => {
                let rate = 0.002 * 5.0 / (4.0 + f64::from(classes));
                (Method::AdamW, (rate * 1e6).round() / 1e6, 0.9, 0.0)
            }
        }
    }
}

/// Whether settings lie in their ranges: name, value, least, most; what is no number lies in none.
///
/// # Errors
/// A sentence naming the first that does not.
pub fn within<T: PartialOrd + std::fmt::Display>(settings: &[(&str, T, T, T)]) -> Result<(), String> {
    match settings.iter().find(|(_, value, least, most)| !(least..=most).contains(&value)) {
        Some((name, value, least, most)) => Err(format!("`{name}={value}` must lie between {least} and {most}")),
        None => Ok(()),
    }
}

/// Settings' defaults, changed by `KEY=VALUE` each; ranges are not looked at.
///
/// # Errors
/// A sentence naming the key that is not known, or the value that is of no use for it.
pub fn changed<T: Default + Serialize + DeserializeOwned>(pairs: &[String]) -> Result<T, String> {
    let mut all = serde_json::to_value(T::default()).map_err(|error| error.to_string())?;
    let Some(map) = all.as_object_mut() else { return Err("the options are no map".into()) };
    let mut given: Vec<&str> = Vec::new();
    for pair in pairs {
        let (key, value) =
            pair.split_once('=').ok_or_else(|| format!("`{pair}` is no KEY=VALUE, for example `epochs=50`"))?;
        if !map.contains_key(key) {
            let keys: Vec<&str> = map.keys().map(String::as_str).collect();
            return Err(format!("`{key}` is no option of this training; there are: {}", keys.join(", ")));
        }
        if given.contains(&key) {
            return Err(format!("`{key}` is given twice; leave one out"));
        }
        given.push(key);
        let value = match value.to_ascii_lowercase().as_str() {
            "true" => true.into(),
            "false" => false.into(),
            text => serde_json::from_str(text).unwrap_or_else(|_| text.to_owned().into()),
        };
        let before = map.insert(key.to_owned(), value);
        serde_json::from_value::<T>(map.clone().into()).map_err(|error| {
            let wanted = match before {
                Some(Value::Bool(_)) => "it must be true or false".to_owned(),
                Some(Value::Number(number)) if number.is_f64() => "it must be a number".to_owned(),
                Some(Value::Number(_)) => "it must be a whole number that is not negative".to_owned(),
                // One of several words, which the error lists; or a list.
                _ => error.to_string(),
            };
            format!("`{pair}`: {wanted}")
        })?;
    }
    serde_json::from_value(all).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test's panic is its report")]
    use super::*;

    #[test]
    fn the_last_epochs_have_whole_pictures_and_a_short_run_no_others() {
        let whole = |epochs, close_mosaic| {
            let options = Options { epochs, close_mosaic, ..Options::default() };
            (0..epochs).filter(|epoch| options.is_whole(*epoch)).count()
        };
        assert_eq!([whole(100, 10), whole(11, 10), whole(10, 10), whole(9, 10), whole(3, 0)], [10, 10, 10, 9, 0]);
    }

    #[test]
    fn pairs_change_the_defaults_and_wrong_ones_are_named() {
        let pairs = |list: &[&str]| Options::from_pairs(&list.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>());
        assert_eq!(pairs(&["amp=True"]).map(|options| options.amp), Ok(Mixed::Auto));
        assert!(pairs(&["amp=fp16"]).unwrap_err().contains("fp32, bf16 or auto"));
        let options = pairs(&["epochs=3", "box=2.5", "mosaic=0", "optimizer=SGD", "cos_lr=True", "amp=bf16"]).unwrap();
        assert_eq!((options.epochs, options.boxes, options.augment.mosaic), (3, 2.5, 0.0));
        assert_eq!((options.optimizer, options.cos_lr, options.amp), (Chosen::Sgd, true, Mixed::Bf16));
        for (wrong, named) in [
            ("epoch=3", "`epoch` is no option"),
            ("epochs", "is no KEY=VALUE"),
            ("epochs=many", "`epochs=many`: it must be a whole number that is not negative"),
            ("epochs=1.5", "it must be a whole number"),
            ("lr0=fast", "it must be a number"),
            ("cos_lr=1", "it must be true or false"),
            ("optimizer=adam2", "one of"),
            ("imgsz=100", "multiple of 32"),
            ("lr0=-1", "`lr0=-1`"),
            ("degrees=400", "degrees: 400"),
            ("batch=0", "`batch=0`"),
        ] {
            let error = pairs(&[wrong]).unwrap_err();
            assert!(error.contains(named) && !error.contains("u64") && !error.contains("f64"), "{wrong}: {error}");
        }
        assert_eq!(pairs(&["epochs=1", "lr0=1", "epochs=2"]).unwrap_err(), "`epochs` is given twice; leave one out");
    }

    #[test]
    fn what_has_no_effect_is_known() {
        let idle = |pairs: &[&str]| {
            let pairs: Vec<String> = pairs.iter().map(|pair| (*pair).to_owned()).collect();
            Options::from_pairs(&pairs).unwrap().without_effect()
        };
        assert_eq!(idle(&["epochs=11"]), ["lr0", "momentum", "warmup_bias_lr"]);
        assert_eq!(idle(&["epochs=10", "optimizer=adamw"]), ["mosaic"]);
    }

    #[test]
    fn args_yaml_says_everything() {
        let text = serde_json::to_string(&Options::default()).unwrap();
        assert_eq!(serde_json::from_str::<Options>(&text).unwrap(), Options::default());
        assert!(text.contains("\"mosaic\":1.0") && text.contains("\"box\":7.5"));
    }
}
