//! `.pt` and `.pth` files of `torch.save`: state dicts, and Ultralytics checkpoints, which hold the
//! whole network object.

use std::collections::{BTreeMap, BTreeSet};

use super::archive::Archive;
use super::error::{Fault, damaged};
use super::node::{Arena, Node, Ref, Storage, TensorView};
use super::pickle::{self, Limits};
use super::weights::{Dtype, TensorData, Weights};

/// Modules in modules.
const MAX_DEPTH: usize = 32;
/// Modules, tensors and attributes looked at in one model.
const MAX_VISITS: usize = 2_000_000;
/// Where a training run's dict keeps the weights, best first.
const HOLDERS: &[&str] = &["ema", "model", "state_dict", "model_state_dict", "teacher"];

/// The first bytes of `torch.save` before PyTorch 1.6: a pickled magic number.
const LEGACY_MAGIC: &[u8] = b"\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19";

/// Whether the bytes begin like a file that [`read`] takes or knows how to refuse.
#[must_use]
pub fn looks_like(bytes: &[u8]) -> bool {
    bytes.starts_with(b"PK") || (bytes.first() == Some(&0x80) && bytes.get(1).is_some_and(|v| *v <= 5))
}

/// Reads the weights of a `.pt` or `.pth` file, executing nothing.
///
/// # Errors
/// When the file is damaged, unsafe, or of a kind that is not read.
pub fn read(bytes: &[u8]) -> Result<Weights, Fault> {
    if !bytes.starts_with(b"PK") {
        if bytes.get(2..).is_some_and(|rest| rest.starts_with(LEGACY_MAGIC)) {
            return Err(Fault::Unsupported(
                "it was written by PyTorch before 1.6; re-save it there: torch.save(torch.load(FILE), NEW)".into(),
            ));
        }
        return Err(Fault::Unsupported("a bare pickle is no checkpoint of PyTorch 1.6 or later".into()));
    }
    let archive = Archive::open(bytes)?;
    let prefix = prefix(&archive)?;
    if let Ok(order) = archive.get(&format!("{prefix}byteorder"))
        && order != b"little"
    {
        return Err(Fault::Unsupported("its numbers are big-endian".into()));
    }
    let unpickled = pickle::read(archive.get(&format!("{prefix}data.pkl"))?, Limits::CHECKPOINT)?;
    let mut reader = Reader {
        arena: &unpickled.arena,
        archive: &archive,
        prefix: &prefix,
        // A view may be read twice (tied weights), not without end.
        budget: bytes.len().saturating_mul(4),
        visits: 0,
        weights: Weights::default(),
    };
    reader.root(unpickled.root)?;
    let mut weights = reader.weights;
    weights.normalise();
    if weights.tensors.is_empty() {
        return Err(Fault::Unsupported("it holds no tensors".into()));
    }
    Ok(weights)
}

/// The folder inside the zip that holds `data.pkl`.
fn prefix(archive: &Archive<'_>) -> Result<String, Fault> {
    if archive.names().any(|name| name.ends_with("/constants.pkl") || name.contains("/code/")) {
        return Err(Fault::Unsafe(
            "it is a TorchScript program, not weights; export a state dict or .safetensors instead".into(),
        ));
    }
    let mut pickles = archive.names().filter(|name| name.split('/').next_back() == Some("data.pkl"));
    match (pickles.next(), pickles.next()) {
        (Some(name), None) => Ok(name.trim_end_matches("data.pkl").to_owned()),
        (Some(_), Some(_)) => Err(Fault::Unsafe("its zip holds several pickles".into())),
        _ => Err(Fault::Unsupported("a zip without `data.pkl` is no checkpoint of PyTorch".into())),
    }
}

struct Reader<'a> {
    arena: &'a Arena,
    archive: &'a Archive<'a>,
    prefix: &'a str,
    budget: usize,
    visits: usize,
    weights: Weights,
}

impl Reader<'_> {
    fn root(&mut self, root: Ref) -> Result<(), Fault> {
        if matches!(self.arena.get(root), Node::Object(_)) {
            return self.network(root);
        }
        self.describe(root);
        for holder in HOLDERS {
            let Some(held) = self.arena.lookup(root, holder) else { continue };
            match self.arena.get(held) {
                Node::Object(_) => return self.network(held),
                Node::Dict(pairs) if !pairs.is_empty() => return self.state_dict(held),
                _ => {}
            }
        }
        self.state_dict(root)
    }

    /// What the dict around the weights says about them.
    fn describe(&mut self, root: Ref) {
        // Ultralytics keeps the settings of the training there, and predicts and judges at its size.
        let settings = self.arena.lookup(root, "train_args");
        let side = settings.and_then(|at| self.arena.lookup(at, "imgsz")).and_then(|at| self.arena.unsigned(at));
        if let Some(side) = side.and_then(|side| u32::try_from(side).ok()) {
            self.weights.state_input_size(side);
        }
        for (key, name) in [("license", "licence"), ("version", "version"), ("date", "date"), ("docs", "docs")] {
            if let Some(text) = self.arena.lookup(root, key).and_then(|at| self.arena.text(at)) {
                self.weights.meta.insert(name.into(), text.chars().take(500).collect());
            }
        }
    }

    /// A pickled `nn.Module`.
    fn network(&mut self, module: Ref) -> Result<(), Fault> {
        if let Some(class) = self.arena.class(module) {
            self.weights.meta.insert("class".into(), format!("{}.{}", class.module, class.name));
        }
        if let Some(task) = self.arena.attribute(module, "task").and_then(|at| self.arena.text(at)) {
            self.weights.meta.insert("task".into(), task.chars().take(100).collect());
        }
        let names = self.arena.attribute(module, "names");
        self.weights.names = names.map(|names| class_names(self.arena, names)).transpose()?;
        self.module(module, "", 0)
    }

    fn module(&mut self, module: Ref, prefix: &str, depth: usize) -> Result<(), Fault> {
        let attributes = match self.arena.get(module) {
            Node::Object(object) => object.state.and_then(|state| self.arena.pairs(state)).map_or(0, <[_]>::len),
            _ => 0,
        };
        self.visit(1 + attributes)?;
        if depth > MAX_DEPTH {
            return Err(Fault::Limit(format!("its modules nest deeper than {MAX_DEPTH} (or in a circle)")));
        }
        if self.arena.class(module).is_some_and(|class| class.name.starts_with("BatchNorm"))
            && let Some(Node::Float(eps)) = self.arena.attribute(module, "eps").map(|at| self.arena.get(at))
        {
            let eps = format!("{eps}");
            match self.weights.meta.get("bn_eps") {
                Some(other) if *other != eps => return Err(Fault::Unsupported("batch norms with unlike `eps`".into())),
                _ => self.weights.meta.insert("bn_eps".into(), eps),
            };
        }
        if let Some(activation) = self.child(module, "act").and_then(|act| self.arena.class(act)) {
            // Ultralytics has built SPPF's first convolution both with and without; only the object knows.
            match &*activation.name {
                "SiLU" => {}
                "Identity" => {
                    let linear = self.weights.meta.entry("linear".into()).or_default();
                    *linear = format!("{linear} {}", prefix.trim_end_matches('.')).trim_start().to_owned();
                    self.visits += linear.len();
                }
                other => return Err(Fault::Unsupported(format!("`{prefix}act` is {other}; only SiLU is built"))),
            }
        }
        let transient = self.arena.attribute(module, "_non_persistent_buffers_set");
        let transient: BTreeSet<&str> = transient.map(|at| members(self.arena, at)).unwrap_or_default();
        for table in ["_parameters", "_buffers"] {
            for (name, value) in self.table(module, table)? {
                if !transient.contains(name.as_str()) && !matches!(self.arena.get(value), Node::None) {
                    self.tensor(format!("{prefix}{name}"), value)?;
                }
            }
        }
        for (name, child) in self.table(module, "_modules")? {
            match self.arena.get(child) {
                Node::None => {}
                Node::Object(_) => self.module(child, &format!("{prefix}{name}."), depth + 1)?,
                _ => return damaged(format!("`{prefix}{name}` in its pickle is no module")),
            }
        }
        Ok(())
    }

    fn child(&self, module: Ref, name: &str) -> Option<Ref> {
        self.arena.lookup(self.arena.attribute(module, "_modules")?, name)
    }

    fn table(&mut self, module: Ref, table: &str) -> Result<Vec<(String, Ref)>, Fault> {
        let Some(dict) = self.arena.attribute(module, table) else {
            return Ok(Vec::new());
        };
        let pairs = self.arena.pairs(dict).unwrap_or_default();
        self.visit(pairs.len())?;
        let named = |(key, value): &(Ref, Ref)| match self.arena.text(*key) {
            Some(name) if name.len() <= 200 && !name.chars().any(char::is_control) => Ok((name.to_owned(), *value)),
            _ => damaged(format!("a name in `{table}` of its pickle is not plain text")),
        };
        pairs.iter().map(named).collect()
    }

    fn state_dict(&mut self, dict: Ref) -> Result<(), Fault> {
        let Some(pairs) = self.arena.pairs(dict) else {
            return Err(Fault::Unsupported("it holds neither a state dict nor an Ultralytics model".into()));
        };
        for (key, value) in pairs {
            if let (Some(name), Node::Tensor(_)) = (self.arena.text(*key), self.arena.get(*value)) {
                self.tensor(name.to_owned(), *value)?;
            }
        }
        Ok(())
    }

    /// Counts work, so that a short file cannot ask for it without end by naming a large value often.
    fn visit(&mut self, values: usize) -> Result<(), Fault> {
        self.visits = self.visits.saturating_add(values);
        if self.visits > MAX_VISITS {
            return Err(Fault::Limit(format!("it holds more than {MAX_VISITS} modules, tensors and attributes")));
        }
        Ok(())
    }

    fn tensor(&mut self, name: String, at: Ref) -> Result<(), Fault> {
        self.visit(1)?;
        let Node::Tensor(view) = self.arena.get(at) else {
            return damaged(format!("`{name}` in its pickle is no tensor"));
        };
        let Node::Storage(storage) = self.arena.get(view.storage) else {
            return damaged(format!("`{name}` in its pickle has no storage"));
        };
        let tensor = self.materialise(&name, view, storage)?;
        if self.weights.tensors.insert(name.clone(), tensor).is_some() {
            return damaged(format!("`{name}` is in its pickle twice"));
        }
        Ok(())
    }

    fn materialise(&mut self, name: &str, view: &TensorView, storage: &Storage) -> Result<TensorData, Fault> {
        let Some(dtype) = dtype(&storage.class) else {
            return Err(Fault::Unsupported(format!("`{name}` holds numbers of the kind {}", storage.class)));
        };
        if storage.key.is_empty() || !storage.key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            return damaged(format!("`{name}` names an impossible storage"));
        }
        let data = self.archive.get(&format!("{}data/{}", self.prefix, storage.key))?;
        let held = data.len() / dtype.size();
        if usize::try_from(storage.len).ok() != Some(held) || data.len() % dtype.size() != 0 {
            return damaged(format!("the storage of `{name}` has {held} numbers where {} are claimed", storage.len));
        }
        let extent = Extent::of(view).filter(|extent| extent.count <= held && extent.end <= held);
        let Some(extent) = extent else {
            return damaged(format!("`{name}` claims more than its storage holds"));
        };
        let bytes = extent.count * dtype.size();
        self.budget = self
            .budget
            .checked_sub(bytes)
            .ok_or_else(|| Fault::Limit("its tensors add up to much more than the file itself".into()))?;
        let shape: Vec<usize> = view.shape.iter().map(|size| *size as usize).collect();
        Ok(TensorData { dtype, bytes: gather(data, dtype.size(), view, &shape, extent.count), shape })
    }
}

/// How many numbers a view has, and how far into its storage it reaches.
struct Extent {
    count: usize,
    end: usize,
}

impl Extent {
    fn of(view: &TensorView) -> Option<Self> {
        let count = view.shape.iter().try_fold(1u64, |product, size| product.checked_mul(*size))?;
        let mut last = view.offset;
        for (size, stride) in view.shape.iter().zip(&view.stride) {
            last = last.checked_add(size.saturating_sub(1).checked_mul(*stride)?)?;
        }
        let end = if count == 0 { 0 } else { last.checked_add(1)? };
        Some(Self { count: usize::try_from(count).ok()?, end: usize::try_from(end).ok()? })
    }
}

/// The numbers of a checked view in row-major order.
fn gather(data: &[u8], width: usize, view: &TensorView, shape: &[usize], count: usize) -> Vec<u8> {
    if count == 0 {
        return Vec::new();
    }
    let stride: Vec<usize> = view.stride.iter().map(|s| *s as usize).collect();
    let offset = view.offset as usize;
    let mut dense = 1;
    let mut contiguous = true;
    for (size, stride) in shape.iter().zip(&stride).rev() {
        contiguous &= *size <= 1 || *stride == dense;
        dense *= (*size).max(1);
    }
    if contiguous {
        return data[offset * width..(offset + count) * width].to_vec();
    }
    let mut out = Vec::with_capacity(count * width);
    let mut index = vec![0usize; shape.len()];
    for _ in 0..count {
        let at = offset + index.iter().zip(&stride).map(|(i, s)| i * s).sum::<usize>();
        out.extend_from_slice(&data[at * width..(at + 1) * width]);
        for axis in (0..shape.len()).rev() {
            index[axis] += 1;
            if index[axis] < shape[axis] {
                break;
            }
            index[axis] = 0;
        }
    }
    out
}

fn dtype(storage: &str) -> Option<Dtype> {
    Some(match storage {
        "FloatStorage" => Dtype::F32,
        "HalfStorage" => Dtype::F16,
        "BFloat16Storage" => Dtype::BF16,
        "DoubleStorage" => Dtype::F64,
        "LongStorage" => Dtype::I64,
        "IntStorage" => Dtype::I32,
        "ShortStorage" => Dtype::I16,
        "CharStorage" => Dtype::I8,
        "ByteStorage" => Dtype::U8,
        "BoolStorage" => Dtype::Bool,
        _ => return None,
    })
}

/// The text members of a set, written as a set or as a call of `set`.
fn members(arena: &Arena, set: Ref) -> BTreeSet<&str> {
    let items: &[Ref] = match arena.get(set) {
        Node::Set(items) | Node::List(items) => items,
        Node::Object(object) => {
            arena.sequence(object.args).and_then(|args| arena.sequence(*args.first()?)).unwrap_or_default()
        }
        _ => &[],
    };
    items.iter().take(1000).filter_map(|item| arena.text(*item)).collect()
}

/// `{0: 'person', …}` or `['person', …]`.
fn class_names(arena: &Arena, names: Ref) -> Result<Vec<String>, Fault> {
    let mut by_number: BTreeMap<u64, String> = BTreeMap::new();
    if let Some(list) = arena.sequence(names) {
        for (number, name) in list.iter().enumerate() {
            by_number.insert(number as u64, arena.text(*name).unwrap_or_default().to_owned());
        }
    }
    for (number, name) in arena.pairs(names).unwrap_or_default() {
        if let (Some(number), Some(name)) = (arena.unsigned(*number), arena.text(*name)) {
            by_number.insert(number, name.to_owned());
        }
    }
    let gapless = by_number.keys().enumerate().all(|(index, number)| index as u64 == *number);
    if !gapless || by_number.values().any(|name| name.is_empty() || name.len() > 500) {
        return damaged("its class names are not numbered from 0 without a gap");
    }
    Ok(by_number.into_values().collect())
}
