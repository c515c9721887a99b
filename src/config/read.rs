//! From YAML to a checked [`Config`].

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use serde_json::Value;

use super::keys::{DEFAULT_WATCH, KEYS, Key, Kind};
use super::{
    Access, Approximate, Config, ConfigError, Crop, Detect, Device, DuplicatePolicy, Engine, Intake, Models, Objects,
    Precision, Several, ThemeName, VectorType, Watch, WatchBackend, WatchMode,
};
use crate::domain::{Thresholds, display_safe};

pub(super) fn parse(text: &str, workspace: &Path) -> Result<Config, ConfigError> {
    let path = workspace.join("config.yaml");
    let not_yaml = |message: String| ConfigError::NotYaml { path: path.clone(), message };
    let tree: Value = match text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
        true => Value::Object(serde_json::Map::new()),
        false => yaml(text).map_err(not_yaml)?,
    };
    let Value::Object(top) = tree else {
        return Err(not_yaml("a config is a list of `key: value` lines; this is not one".into()));
    };
    let mut faults = Vec::new();
    let given = flatten(top, &mut faults);
    let mut checked = BTreeMap::new();
    for key in KEYS {
        let value = match given.get(key.path) {
            Some(value) => value.clone(),
            None => default(key.path).map_err(not_yaml)?,
        };
        match check(key.path, key.kind, &value) {
            Ok(()) => drop(checked.insert(key.path, value)),
            Err(mut wrong) => faults.append(&mut wrong),
        }
    }
    if !faults.is_empty() {
        return Err(ConfigError::Faults { faults: faults.into_iter().map(|f| format!("config.yaml: {f}")).collect() });
    }
    Values { checked, workspace }.config()
}

fn yaml(text: &str) -> Result<Value, String> {
    let said = |error: serde_saphyr::Error| {
        let message = error.to_string();
        let message = message.lines().next().unwrap_or("not YAML").trim_start_matches("error: ").to_owned();
        // The library's advice is for who calls it.
        let message = message.split(", set DuplicateKeyPolicy").next().unwrap_or_default().to_owned();
        let message = message.replace(" rejected by reject_non_finite_typeless_float", " is not allowed");
        let line = message.strip_prefix("line ").and_then(|rest| rest.split(' ').next()?.parse::<usize>().ok());
        match line.and_then(|number| text.lines().nth(number.checked_sub(1)?)) {
            Some(line) => format!("{message}; the line reads `{}`", crate::domain::display_safe(line.trim())),
            None => message,
        }
    };
    serde_saphyr::from_str(text).map_err(said)
}

fn default(path: &str) -> Result<Value, String> {
    // Read once, not at every config that leaves them out.
    static DEFAULTS: LazyLock<BTreeMap<&str, Result<Value, String>>> = LazyLock::new(|| {
        let read = |key: &Key| yaml(if matches!(key.kind, Kind::Watches) { DEFAULT_WATCH } else { key.default });
        KEYS.iter().map(|key| (key.path, read(key))).collect()
    });
    DEFAULTS.get(path).cloned().unwrap_or_else(|| Err(format!("{path} has no default")))
}

/// Turns groups into dotted keys; unknown ones become faults.
fn flatten(top: serde_json::Map<String, Value>, faults: &mut Vec<String>) -> BTreeMap<String, Value> {
    let mut flat = BTreeMap::new();
    for (name, value) in top {
        let is_group = KEYS.iter().any(|key| key.path.split_once('.').is_some_and(|(group, _)| group == name));
        match value {
            Value::Object(inner) if is_group => {
                for (inner_name, value) in inner {
                    known(format!("{name}.{inner_name}"), value, &mut flat, faults);
                }
            }
            Value::Null if is_group => {}
            other if is_group => {
                faults.push(format!("`{name}` is {}; it is a group of keys: {}", shown(&other), keys_of(&name)))
            }
            other => known(name, other, &mut flat, faults),
        }
    }
    flat
}

fn known(path: String, value: Value, flat: &mut BTreeMap<String, Value>, faults: &mut Vec<String>) {
    if KEYS.iter().any(|key| key.path == path) {
        flat.insert(path, value);
        return;
    }
    let near = KEYS.iter().map(|key| (distance(key.path, &path), key.path)).min();
    let hint = match near {
        Some((d, name)) if d <= 3 => format!("did you mean `{name}`?"),
        _ => match path.split_once('.') {
            Some((group, _)) => format!("`{group}` has {}", keys_of(group)),
            None => format!("allowed are {}", tops().join(", ")),
        },
    };
    faults.push(format!("there is no key `{}` (its value is {}); {hint}", display_safe(&path), shown(&value)));
}

fn keys_of(group: &str) -> String {
    let names =
        KEYS.iter().filter_map(|key| key.path.split_once('.').filter(|(g, _)| *g == group).map(|(_, name)| name));
    names.collect::<Vec<_>>().join(", ")
}

fn tops() -> Vec<&'static str> {
    let mut names: Vec<_> = KEYS.iter().map(|key| key.path.split('.').next().unwrap_or(key.path)).collect();
    names.dedup();
    names
}

/// Levenshtein's distance, for "did you mean".
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let cost = usize::from(ca != *cb);
            let next = (row[j] + 1).min(row[j + 1] + 1).min(diagonal + cost);
            diagonal = std::mem::replace(&mut row[j + 1], next);
        }
    }
    row.last().copied().unwrap_or(0)
}

fn shown(value: &Value) -> String {
    let text = display_safe(&value.to_string());
    if text.chars().count() > 60 { format!("{}…", text.chars().take(60).collect::<String>()) } else { text }
}

fn check(path: &str, kind: Kind, value: &Value) -> Result<(), Vec<String>> {
    let fits = match kind {
        Kind::Path => value.as_str().is_some_and(|text| !text.is_empty() && !text.contains('\0')),
        Kind::AutoOrFlag => value.is_boolean() || value.as_str() == Some("auto"),
        Kind::Number(from, to) => value.as_f64().is_some_and(|number| number >= from && number <= to),
        Kind::Whole(from, to) => value.as_u64().is_some_and(|number| number >= from && number <= to),
        Kind::AutoOrMultiple(from, to, of) => value.as_str() == Some("auto") || is_multiple(value, from, to, of),
        Kind::Word(words) => value.as_str().is_some_and(|text| words.contains(&text)),
        Kind::Device => value.as_str().is_some_and(|text| device(text).is_some()),
        Kind::Names => {
            value.as_array().is_some_and(|list| list.iter().all(|name| name.as_str().is_some_and(|n| !n.is_empty())))
        }
        Kind::Watches => return check_watches(path, value),
    };
    if fits { Ok(()) } else { Err(vec![format!("`{path}` is {}; allowed: {}", shown(value), kind.allowed())]) }
}

fn is_multiple(value: &Value, from: u64, to: u64, of: u64) -> bool {
    value.as_u64().is_some_and(|number| number >= from && number <= to && number % of == 0)
}

fn check_watches(path: &str, value: &Value) -> Result<(), Vec<String>> {
    let Some(list) = value.as_array() else {
        return Err(vec![format!("`{path}` is {}; allowed: {}", shown(value), Kind::Watches.allowed())]);
    };
    let mut faults = Vec::new();
    for (index, watch) in list.iter().enumerate() {
        let at = format!("{path}[{index}]");
        let Some(map) = watch.as_object() else {
            faults.push(format!("`{at}` is {}; allowed: {{path, mode, backend}}", shown(watch)));
            continue;
        };
        for (name, value) in map {
            let kind = match name.as_str() {
                "path" => Kind::Path,
                "mode" => Kind::Word(&["identify", "enroll"]),
                "backend" => Kind::Word(&["auto", "events", "poll"]),
                _ => {
                    faults.push(format!(
                        "there is no key `{at}.{}`; allowed are path, mode, backend",
                        display_safe(name)
                    ));
                    continue;
                }
            };
            faults.extend(check(&format!("{at}.{name}"), kind, value).err().into_iter().flatten());
        }
        for needed in ["path", "mode"] {
            if !map.contains_key(needed) {
                faults.push(format!("`{at}` has no `{needed}`; a watched folder needs path and mode"));
            }
        }
    }
    if faults.is_empty() { Ok(()) } else { Err(faults) }
}

fn device(text: &str) -> Option<Device> {
    match text {
        "auto" => Some(Device::Auto),
        "cpu" => Some(Device::Cpu),
        other => other.strip_prefix("cuda:")?.parse().ok().filter(|n| *n < 64).map(Device::Cuda),
    }
}

/// Checked values; what is read from here has passed its [`Kind`].
struct Values<'a> {
    checked: BTreeMap<&'static str, Value>,
    workspace: &'a Path,
}

impl Values<'_> {
    fn value(&self, path: &str) -> &Value {
        self.checked.get(path).unwrap_or(&Value::Null)
    }

    fn number(&self, path: &str) -> f32 {
        self.value(path).as_f64().unwrap_or_default() as f32
    }

    fn whole(&self, path: &str) -> u64 {
        self.value(path).as_u64().unwrap_or_default()
    }

    /// A whole number; none for `auto`.
    fn whole_or_auto(&self, path: &str) -> Option<u32> {
        self.value(path).as_u64().map(|number| number as u32)
    }

    /// A flag; none for `auto`.
    fn flag_or_auto(&self, path: &str) -> Option<bool> {
        self.value(path).as_bool()
    }

    fn path(&self, value: &Value) -> PathBuf {
        self.workspace.join(value.as_str().unwrap_or_default())
    }

    fn names(&self, path: &str) -> Vec<String> {
        let list = self.value(path).as_array().map(Vec::as_slice).unwrap_or_default();
        list.iter().filter_map(|name| name.as_str().map(str::to_owned)).collect()
    }

    /// An enum whose serde names are the words of the key.
    fn word<T: serde::de::DeserializeOwned>(value: &Value) -> Result<T, ConfigError> {
        serde_json::from_value(value.clone()).map_err(|error| ConfigError::Faults { faults: vec![error.to_string()] })
    }

    fn watches(&self) -> Result<Vec<Watch>, ConfigError> {
        let list = self.value("watch").as_array().map(Vec::as_slice).unwrap_or_default();
        let watches = list.iter().map(|watch| {
            Ok(Watch {
                path: self.path(&watch["path"]),
                mode: Self::word::<WatchMode>(&watch["mode"])?,
                backend: watch.get("backend").map_or(Ok(WatchBackend::Auto), Self::word)?,
            })
        });
        let watches = watches.collect::<Result<Vec<Watch>, ConfigError>>()?;
        for (i, a) in watches.iter().enumerate() {
            for b in &watches[i + 1..] {
                let (real_a, real_b) = (real(&a.path), real(&b.path));
                if real_a.starts_with(&real_b) || real_b.starts_with(&real_a) {
                    let fault = format!(
                        "config.yaml: `watch` has {} and {}: watched folders may not lie in one another",
                        a.path.display(),
                        b.path.display()
                    );
                    return Err(ConfigError::Faults { faults: vec![fault] });
                }
            }
        }
        let database = self.workspace.join("database");
        // Where they really lie: what is watched is taken away, and behind a link may be what is kept.
        let (kept, within) = (real(&database), |a: &Path, b: &Path| a.starts_with(b) || b.starts_with(a));
        let holds = |w: &&Watch| within(&w.path, &database) || within(&real(&w.path), &kept);
        if let Some(watch) = watches.iter().find(holds) {
            let fault = format!(
                "config.yaml: `watch` has {}, which holds or lies in the engine's own folder {}",
                watch.path.display(),
                database.display()
            );
            return Err(ConfigError::Faults { faults: vec![fault] });
        }
        for key in ["models.detector", "models.embedder"] {
            let weights = self.path(self.value(key));
            if let Some(watch) = watches.iter().find(|w| real(&weights).starts_with(real(&w.path))) {
                let fault = format!(
                    "config.yaml: `watch` has {}, in which `{key}` lies: what is watched is taken in",
                    watch.path.display()
                );
                return Err(ConfigError::Faults { faults: vec![fault] });
            }
        }
        Ok(watches)
    }

    fn config(&self) -> Result<Config, ConfigError> {
        let policy = |path| Self::word::<DuplicatePolicy>(self.value(path));
        Ok(Config {
            workspace: self.workspace.to_owned(),
            models: Models {
                detector: self.path(self.value("models.detector")),
                embedder: self.path(self.value("models.embedder")),
            },
            device: device(self.value("device").as_str().unwrap_or_default()).unwrap_or(Device::Auto),
            precision: Self::word::<Precision>(self.value("precision"))?,
            watch: self.watches()?,
            decision: Thresholds {
                min_similarity: self.number("decision.min_similarity"),
                min_margin: self.number("decision.min_margin"),
            },
            detect: Detect {
                objects: Self::word::<Objects>(self.value("detect.objects"))?,
                confidence: self.number("detect.confidence"),
                iou: self.number("detect.iou"),
                image_size: self.whole_or_auto("detect.image_size"),
                max_objects: self.whole("detect.max_objects") as u32,
            },
            several: Self::word::<Several>(self.value("enroll.several"))?,
            crop: Crop {
                padding: self.number("crop.padding"),
                square: self.flag_or_auto("crop.square"),
                mask_background: self.flag_or_auto("crop.mask_background"),
                align: self.flag_or_auto("crop.align"),
                image_size: self.whole_or_auto("crop.image_size"),
            },
            intake: Intake {
                max_pixels: self.whole("intake.max_pixels"),
                max_file_bytes: self.whole("intake.max_file_mb") << 20,
                max_decode_bytes: self.whole("intake.max_decode_mb") << 20,
                min_side: self.whole("intake.min_side") as u32,
                min_contrast: self.number("intake.min_contrast"),
                exact_duplicates: policy("intake.exact_duplicates")?,
                near_duplicates: policy("intake.near_duplicates")?,
                near_distance: self.whole("intake.near_distance") as u32,
                settle_ms: self.whole("intake.settle_ms"),
                rescan_seconds: self.whole("intake.rescan_seconds"),
                poll_seconds: self.whole("intake.poll_seconds"),
            },
            engine: Engine {
                batch: self.whole("engine.batch") as usize,
                ahead: self.whole("engine.ahead") as usize,
                decoders: self.whole("engine.decoders") as usize,
                model_threads: self.whole("engine.model_threads") as usize,
                attempts: self.whole("engine.attempts") as u32,
                checkpoint_every: self.whole("engine.checkpoint_every"),
                min_free_percent: f64::from(self.number("engine.min_free_percent")),
                ballast_bytes: self.whole("engine.ballast_mb") << 20,
            },
            vector_type: Self::word::<VectorType>(self.value("gallery.vectors"))?,
            approximate: Approximate {
                above: self.whole("gallery.ann_above") as usize,
                beam: self.whole("gallery.ann_beam") as usize,
                sample: self.whole("gallery.ann_sample"),
            },
            max_import_bytes: self.whole("gallery.import_max_mb") << 20,
            access: Access { operators: self.names("access.operators"), approvers: self.names("access.approvers") },
            theme: Self::word::<ThemeName>(self.value("console.theme"))?,
        })
    }
}

/// A path without links, as far as it exists.
fn real(path: &Path) -> PathBuf {
    let known = path.ancestors().find_map(|above| Some((above, above.canonicalize().ok()?)));
    known.map_or_else(
        || path.to_owned(),
        |(above, real)| match path.strip_prefix(above) {
            Ok(rest) if !rest.as_os_str().is_empty() => real.join(rest),
            _ => real,
        },
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
    use super::super::documented_yaml;
    use super::*;

    #[test]
    fn the_documented_config_is_the_default() {
        let here = Path::new("/w");
        let documented = parse(&documented_yaml(&[]), here).unwrap();
        assert_eq!(documented, parse("", here).unwrap());
        // A long value does not swallow its comment.
        let long = format!("/{}.safetensors", "long/".repeat(20));
        let config = parse(&documented_yaml(&[("models.embedder", long.clone())]), here).unwrap();
        assert_eq!(config.models.embedder, Path::new(&long));
    }

    #[test]
    fn the_repository_ships_the_documented_config() {
        let shipped = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/config.yaml")).unwrap();
        // The thresholds were chosen for the weights that ship.
        let chosen = [("decision.min_similarity", "0.81".to_owned()), ("decision.min_margin", "0.13".to_owned())];
        assert_eq!(
            shipped,
            documented_yaml(&chosen),
            "write config.yaml anew with `sightline init` in an empty folder"
        );
    }

    /// Every key wrong in turn: one line that names the key, the value and what is allowed.
    #[test]
    fn each_wrong_key_is_named_with_its_value_and_what_is_allowed() {
        for key in KEYS {
            let bad = "{ bad: 1 }";
            let text = match key.path.split_once('.') {
                Some((group, name)) => format!("{group}: {{ {name}: {bad} }}"),
                None => format!("{}: {bad}", key.path),
            };
            let ConfigError::Faults { faults } = parse(&text, Path::new("/w")).unwrap_err() else {
                panic!("{} was read as something else", key.path);
            };
            assert_eq!(faults.len(), 1, "{faults:?}");
            assert!(
                faults[0].contains(key.path) && faults[0].contains("bad") && faults[0].contains("allowed"),
                "{faults:?}"
            );
        }
    }

    #[test]
    fn unknown_keys_get_a_hint() {
        let error = parse("decision: { min_similarty: 0.5 }\nfoo: 1", Path::new("/w")).unwrap_err().to_string();
        assert!(error.contains("did you mean `decision.min_similarity`?"), "{error}");
        assert!(error.contains("there is no key `foo`"), "{error}");
    }

    #[test]
    fn a_link_hides_no_folder_of_the_engines() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("w/database/archive")).unwrap();
        std::os::unix::fs::symlink(dir.path().join("w/database"), dir.path().join("link")).unwrap();
        let workspace = dir.path().join("w");
        for (path, wrong) in [
            ("../link/archive", "the engine's own folder"),
            ("../link/queue/deep", "the engine's own folder"),
            ("models", "in which `models.detector` lies"),
        ] {
            let text = format!("watch: [{{ path: {path}, mode: identify }}]");
            let error = Config::parse(&text, &workspace).unwrap_err().to_string();
            assert!(error.contains(wrong), "{path}: {error}");
        }
    }

    #[test]
    fn nested_watches_are_refused() {
        let text = "watch: [ {path: a, mode: identify}, {path: a/b, mode: enroll} ]";
        assert!(parse(text, Path::new("/w")).unwrap_err().to_string().contains("may not lie in one another"));
    }
}
