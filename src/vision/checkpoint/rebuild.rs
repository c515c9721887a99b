//! The names a pickle may use, and the few that are given a meaning, as data.

use super::error::{Fault, damaged};
use super::node::{Arena, Global, Node, Ref, TensorView};

/// Modules whose names may appear as inert objects. None of them is ever imported or called.
const MODULES: &[&str] = &["torch", "ultralytics", "numpy", "collections", "pathlib", "dinov2", "timm", "models"];

/// Single names from modules that also hold dangerous ones.
const NAMES: &[(&str, &[&str])] = &[
    ("builtins", PLAIN),
    ("__builtin__", PLAIN),
    ("_codecs", &["encode"]),
    ("argparse", &["Namespace"]),
    ("types", &["SimpleNamespace"]),
    ("datetime", &["datetime", "date", "timedelta", "timezone"]),
    ("copyreg", &["_reconstructor"]),
    ("copy_reg", &["_reconstructor"]),
    ("functools", &["partial"]),
    ("omegaconf.dictconfig", &["DictConfig"]),
];

const PLAIN: &[&str] = &[
    "set",
    "frozenset",
    "dict",
    "list",
    "tuple",
    "int",
    "float",
    "bool",
    "str",
    "bytes",
    "bytearray",
    "complex",
    "slice",
    "object",
    "range",
];

/// Refuses a name that no checkpoint has a use for.
pub(super) fn admit(module: &str, name: &str) -> Result<(), Fault> {
    let root = module.split('.').next().unwrap_or(module);
    let listed = NAMES.iter().any(|(from, names)| *from == module && names.contains(&name));
    // `torch.nn.Module.__reduce__`-like dotted names reach into other modules.
    if listed || (MODULES.contains(&root) && !name.contains('.')) {
        Ok(())
    } else {
        let name: String = format!("{module}.{name}").chars().take(120).collect();
        Err(Fault::Unsafe(format!("its pickle names `{}`, which no model needs", crate::domain::display_safe(&name))))
    }
}

/// Gives the known constructors their meaning; `None` for all others.
pub(super) fn interpret(arena: &mut Arena, global: &Global, args: Ref) -> Result<Option<Ref>, Fault> {
    // None of those below takes more; a copy of a long tuple for each call would be an attack of its own.
    let args: Vec<Ref> = arena.sequence(args).unwrap_or_default().iter().take(8).copied().collect();
    match (&*global.module, &*global.name) {
        ("collections", "OrderedDict") => ordered_dict(arena, &args).map(Some),
        ("torch", "Size") => size(arena, &args).map(Some),
        ("torch._utils", "_rebuild_tensor_v2" | "_rebuild_tensor") => tensor(arena, &args).map(Some),
        ("torch._utils", "_rebuild_parameter" | "_rebuild_parameter_with_state") => match args.first() {
            Some(data) if matches!(arena.get(*data), Node::Tensor(_)) => Ok(Some(*data)),
            _ => damaged("a parameter in its pickle has no tensor"),
        },
        ("_codecs", "encode") => encoded(arena, &args).map(Some),
        ("torch.storage", "_load_from_bytes") => {
            Err(Fault::Unsafe("its pickle holds another pickle (torch.storage._load_from_bytes)".into()))
        }
        _ => Ok(None),
    }
}

/// `OrderedDict()` or `OrderedDict([[key, value], …])`.
fn ordered_dict(arena: &mut Arena, args: &[Ref]) -> Result<Ref, Fault> {
    let mut pairs = Vec::new();
    if let Some(list) = args.first() {
        arena.charge(arena.sequence(*list).map_or(0, <[Ref]>::len) * size_of::<(Ref, Ref)>())?;
        for item in arena.sequence(*list).unwrap_or_default() {
            match arena.sequence(*item) {
                Some([key, value]) => pairs.push((*key, *value)),
                _ => return damaged("an OrderedDict in its pickle is made of what are no pairs"),
            }
        }
    }
    arena.add(Node::Dict(pairs))
}

fn size(arena: &mut Arena, args: &[Ref]) -> Result<Ref, Fault> {
    match args {
        [sizes] if arena.sequence(*sizes).is_some() => Ok(*sizes),
        _ => damaged("a torch.Size in its pickle has no sizes"),
    }
}

/// `_rebuild_tensor_v2(storage, offset, size, stride, requires_grad, hooks)`.
fn tensor(arena: &mut Arena, args: &[Ref]) -> Result<Ref, Fault> {
    let [storage, offset, shape, stride, ..] = args else {
        return damaged("a tensor in its pickle lacks arguments");
    };
    if !matches!(arena.get(*storage), Node::Storage(_)) {
        return damaged("a tensor in its pickle has no storage");
    }
    let whole = |sizes: Ref| -> Option<Vec<u64>> {
        let sizes = arena.sequence(sizes)?;
        if sizes.len() > 16 {
            return None;
        }
        sizes.iter().map(|size| arena.unsigned(*size)).collect()
    };
    match (arena.unsigned(*offset), whole(*shape), whole(*stride)) {
        (Some(offset), Some(shape), Some(stride)) if shape.len() == stride.len() => {
            let view = TensorView { storage: *storage, offset, shape, stride };
            arena.add(Node::Tensor(Box::new(view)))
        }
        _ => damaged("a tensor in its pickle has no valid offset, shape or stride"),
    }
}

/// Protocol 2 writes bytes as text: `_codecs.encode('…', 'latin1')`.
fn encoded(arena: &mut Arena, args: &[Ref]) -> Result<Ref, Fault> {
    arena.charge(args.first().and_then(|text| arena.text(*text)).map_or(0, str::len))?;
    let bytes: Option<Vec<u8>> = match args {
        [text, codec] if matches!(arena.text(*codec), Some("latin1" | "latin-1")) => {
            arena.text(*text).and_then(|text| text.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect())
        }
        _ => None,
    };
    match bytes {
        Some(bytes) => arena.add(Node::Bytes(bytes.into())),
        None => damaged("bytes in its pickle are not latin-1"),
    }
}
