//! Files of named vectors: PillTrack's `.pkl`, a pickled dict of name to one vector or several, as NumPy
//! arrays or plain lists. Read with the same machine as checkpoints: nothing is executed.

use std::path::Path;

use super::error::{CheckpointError, Fault, damaged};
use super::node::{Arena, Node, Object, Ref};
use super::pickle::{self, Limits};

/// Lists in lists.
const MAX_DEPTH: usize = 8;

/// A name and its vectors.
pub type NamedVectors = (String, Vec<Vec<f32>>);

/// How a number is read from its bytes, and how many it has.
type NumberKind = (fn(&[u8]) -> f32, usize);

/// Reads a pickled dict of name to vectors, in the file's order. All vectors of a name have one length.
///
/// # Errors
/// When the file cannot be read, is damaged or unsafe, or is not such a dict.
pub fn read_pickle(path: &Path) -> Result<Vec<NamedVectors>, CheckpointError> {
    let bytes = super::slurp(path)?;
    parse(&bytes).map_err(|fault| fault.at(path))
}

/// As [`read_pickle`], of bytes in memory.
///
/// # Errors
/// When the bytes are damaged or unsafe, or not such a dict.
pub fn parse(bytes: &[u8]) -> Result<Vec<NamedVectors>, Fault> {
    if bytes.starts_with(b"PK") {
        return Err(Fault::Unsupported(
            "it was written by torch.save; a pickled dict of name to vectors is needed".into(),
        ));
    }
    let unpickled = pickle::read(bytes, Limits::VECTORS)?;
    let arena = &unpickled.arena;
    let Some(pairs) = arena.pairs(unpickled.root) else {
        return Err(Fault::Unsupported("its pickle is not a dict of name to vectors".into()));
    };
    // Shared arrays may be read more than once, not without end.
    let mut reader = Reader { arena, budget: bytes.len().saturating_mul(2) };
    let mut named = Vec::new();
    for (key, value) in pairs {
        let name = match arena.get(*key) {
            Node::Text(name) => name.to_string(),
            Node::Int(number) => number.to_string(),
            _ => return Err(Fault::Unsupported("a key of its dict is not a name".into())),
        };
        let vectors = reader.vectors(*value, 0).map_err(|fault| within(&name, fault))?;
        let uneven = vectors.windows(2).any(|pair| pair[0].len() != pair[1].len());
        if uneven || vectors.iter().flatten().any(|value| !value.is_finite()) {
            return Err(within(&name, Fault::Damaged("its vectors differ in length or hold no finite numbers".into())));
        }
        named.push((name, vectors));
    }
    Ok(named)
}

fn within(name: &str, fault: Fault) -> Fault {
    let name = crate::domain::display_safe(name);
    match fault {
        Fault::Damaged(what) => Fault::Damaged(format!("under `{name}`: {what}")),
        Fault::Unsupported(what) => Fault::Unsupported(format!("under `{name}`: {what}")),
        other => other,
    }
}

/// An array as it is found.
struct Array {
    shape: Vec<usize>,
    values: Vec<f32>,
}

struct Reader<'a> {
    arena: &'a Arena,
    budget: usize,
}

impl Reader<'_> {
    fn vectors(&mut self, at: Ref, depth: usize) -> Result<Vec<Vec<f32>>, Fault> {
        if depth > MAX_DEPTH {
            return Err(Fault::Limit(format!("lists in its dict nest deeper than {MAX_DEPTH} (or in a circle)")));
        }
        if let Some(items) = self.arena.sequence(at) {
            if items.is_empty() {
                return Ok(Vec::new());
            }
            self.spend(items.len())?;
            let numbers: Option<Vec<f32>> = items.iter().map(|item| self.number(*item)).collect();
            if let Some(vector) = numbers {
                return Ok(vec![vector]);
            }
            let mut all = Vec::new();
            for item in items {
                all.extend(self.vectors(*item, depth + 1)?);
            }
            return Ok(all);
        }
        match self.arena.get(at) {
            Node::Object(object) => {
                let array = self.array(object)?;
                match array.shape.last() {
                    Some(len) if *len > 0 => Ok(array.values.chunks_exact(*len).map(<[f32]>::to_vec).collect()),
                    _ => Ok(Vec::new()),
                }
            }
            _ => Err(Fault::Unsupported("neither a list nor a NumPy array of numbers".into())),
        }
    }

    fn spend(&mut self, numbers: usize) -> Result<(), Fault> {
        let left = self.budget.checked_sub(numbers);
        self.budget =
            left.ok_or_else(|| Fault::Limit("its vectors add up to much more than the file itself".into()))?;
        Ok(())
    }

    fn number(&self, at: Ref) -> Option<f32> {
        match self.arena.get(at) {
            Node::Float(value) => Some(*value as f32),
            Node::Int(value) => Some(*value as f32),
            Node::Object(object) if self.called(object, "scalar") => match self.arena.sequence(object.args)? {
                [dtype, bytes] => {
                    let (read, width) = self.number_kind(*dtype)?;
                    match self.arena.get(*bytes) {
                        Node::Bytes(bytes) if bytes.len() == width => Some(read(bytes)),
                        _ => None,
                    }
                }
                _ => None,
            },
            _ => None,
        }
    }

    fn called(&self, object: &Object, name: &str) -> bool {
        match self.arena.get(object.class) {
            Node::Global(class) => &*class.name == name && class.module.starts_with("numpy"),
            _ => false,
        }
    }

    /// `_reconstruct(…)` with its state, or protocol 5's `_frombuffer(bytes, dtype, shape, order)`.
    fn array(&mut self, object: &Object) -> Result<Array, Fault> {
        let (shape, dtype, fortran, data) = if self.called(object, "_reconstruct") {
            match object.state.and_then(|state| self.arena.sequence(state)) {
                Some([_version, shape, dtype, fortran, data]) => {
                    (*shape, *dtype, matches!(self.arena.get(*fortran), Node::Bool(true)), *data)
                }
                _ => return damaged("an array without content"),
            }
        } else if self.called(object, "_frombuffer") {
            match self.arena.sequence(object.args) {
                Some([data, dtype, shape, order]) => (*shape, *dtype, self.arena.text(*order) == Some("F"), *data),
                _ => return damaged("an array without content"),
            }
        } else {
            return Err(Fault::Unsupported("neither a list nor a NumPy array of numbers".into()));
        };
        let sizes = self.arena.sequence(shape).unwrap_or_default();
        let shape: Option<Vec<usize>> =
            sizes.iter().map(|s| self.arena.unsigned(*s).and_then(|s| usize::try_from(s).ok())).collect();
        let Some(shape) = shape.filter(|shape| (1..=4).contains(&shape.len())) else {
            return damaged("an array without a valid shape");
        };
        if fortran && shape.iter().filter(|size| **size > 1).count() > 1 {
            return Err(Fault::Unsupported(
                "a column-major array; save a copy made with numpy.ascontiguousarray".into(),
            ));
        }
        let Some((read, width)) = self.number_kind(dtype) else {
            return Err(Fault::Unsupported("an array that is not of float16, float32 or float64".into()));
        };
        let Node::Bytes(bytes) = self.arena.get(data) else {
            return damaged("an array without bytes");
        };
        let count = shape.iter().try_fold(1usize, |product, size| product.checked_mul(*size));
        if count.and_then(|count| count.checked_mul(width)) != Some(bytes.len()) {
            return damaged("an array whose shape does not fit its bytes");
        }
        self.spend(bytes.len() / width)?;
        let values = self.floats(data, width, read);
        Ok(Array { shape, values })
    }

    fn floats(&self, data: Ref, width: usize, read: fn(&[u8]) -> f32) -> Vec<f32> {
        match self.arena.get(data) {
            Node::Bytes(bytes) => bytes.chunks_exact(width).map(read).collect(),
            _ => Vec::new(),
        }
    }

    /// How to read a number of a `numpy.dtype('f4')` with its state `(3, '<', …)`, and its width.
    fn number_kind(&self, at: Ref) -> Option<NumberKind> {
        let Node::Object(object) = self.arena.get(at) else { return None };
        if !self.called(object, "dtype") {
            return None;
        }
        let kind = self.arena.text(*self.arena.sequence(object.args)?.first()?)?;
        let order = object.state.and_then(|state| self.arena.text(*self.arena.sequence(state)?.get(1)?));
        let big = order == Some(">") || kind.starts_with('>');
        match (kind.trim_start_matches(['<', '>', '=', '|']), big) {
            ("f2", false) => Some((|b| half::f16::from_le_bytes([b[0], b[1]]).to_f32(), 2)),
            ("f4", false) => Some((|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]), 4)),
            ("f8", false) => Some((|b| f64::from_le_bytes(std::array::from_fn(|i| b[i])) as f32, 8)),
            ("f4", true) => Some((|b| f32::from_be_bytes([b[0], b[1], b[2], b[3]]), 4)),
            ("f8", true) => Some((|b| f64::from_be_bytes(std::array::from_fn(|i| b[i])) as f32, 8)),
            _ => None,
        }
    }
}
