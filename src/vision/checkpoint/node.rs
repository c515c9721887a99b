//! What a pickle holds, as data in an arena: shared and cyclic values cost nothing, and dropping is flat.

use super::error::Fault;

/// A value's place in the arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ref(pub(super) u32);

/// The name of something in Python. It is only ever a name here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Global {
    /// `torch.nn.modules.conv`
    pub module: Box<str>,
    /// `Conv2d`
    pub name: Box<str>,
}

/// An instance of a class that is not interpreted: what it would have been made from.
#[derive(Clone, Debug)]
pub struct Object {
    /// The class or function's name.
    pub class: Ref,
    /// The tuple it would have been called with.
    pub args: Ref,
    /// What `__setstate__` would have been given.
    pub state: Option<Ref>,
    /// What would have been appended to it.
    pub items: Vec<Ref>,
    /// What would have been set in it by key.
    pub entries: Vec<(Ref, Ref)>,
}

/// A block of numbers kept beside the pickle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Storage {
    /// The storage class, for example `HalfStorage`.
    pub class: Box<str>,
    /// Its record in the zip: `data/<key>`.
    pub key: Box<str>,
    /// How many numbers it claims to hold.
    pub len: u64,
}

/// A view of a storage.
#[derive(Clone, Debug)]
pub struct TensorView {
    /// The storage.
    pub storage: Ref,
    /// The first element.
    pub offset: u64,
    /// Sizes.
    pub shape: Vec<u64>,
    /// Elements between neighbours along each axis.
    pub stride: Vec<u64>,
}

/// One value.
#[derive(Clone, Debug)]
pub enum Node {
    /// `None`
    None,
    /// `True`, `False`
    Bool(bool),
    /// An integer of at most 64 bits.
    Int(i64),
    /// An integer past 64 bits; nothing that is read needs its value.
    Huge,
    /// A float.
    Float(f64),
    /// A string.
    Text(Box<str>),
    /// Bytes.
    Bytes(Box<[u8]>),
    /// A list.
    List(Vec<Ref>),
    /// A tuple, or a `torch.Size`.
    Tuple(Vec<Ref>),
    /// A set.
    Set(Vec<Ref>),
    /// A dict or an OrderedDict, in its order.
    Dict(Vec<(Ref, Ref)>),
    /// A name.
    Global(Box<Global>),
    /// An instance of something else.
    Object(Box<Object>),
    /// A torch storage.
    Storage(Box<Storage>),
    /// A torch tensor.
    Tensor(Box<TensorView>),
}

/// Everything one pickle holds.
#[derive(Debug, Default)]
pub struct Arena {
    nodes: Vec<Node>,
    limit: usize,
    /// Bytes that may still be copied from values made before: a short pickle can name a long value often.
    copies_left: usize,
}

impl Arena {
    pub(super) fn new(limit: usize, copies: usize) -> Self {
        Self { nodes: Vec::new(), limit, copies_left: copies }
    }

    /// Pays for copying `bytes` of a value made before.
    pub(super) fn charge(&mut self, bytes: usize) -> Result<(), Fault> {
        match self.copies_left.checked_sub(bytes) {
            Some(left) => self.copies_left = left,
            None => return Err(Fault::Limit("the pickle copies its values over and over".into())),
        }
        Ok(())
    }

    pub(super) fn add(&mut self, node: Node) -> Result<Ref, Fault> {
        let index = self.nodes.len();
        if index >= self.limit {
            return Err(Fault::Limit(format!("the pickle makes more than {} values", self.limit)));
        }
        self.nodes.push(node);
        u32::try_from(index).map(Ref).map_err(|_| Fault::Limit("the pickle makes more than 2^32 values".into()))
    }

    /// The value at a place.
    #[must_use]
    pub fn get(&self, at: Ref) -> &Node {
        self.nodes.get(at.0 as usize).unwrap_or(&Node::None)
    }

    pub(super) fn get_mut(&mut self, at: Ref) -> Option<&mut Node> {
        self.nodes.get_mut(at.0 as usize)
    }

    /// The text at a place, if it is text.
    #[must_use]
    pub fn text(&self, at: Ref) -> Option<&str> {
        match self.get(at) {
            Node::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The integer at a place, if it is one (and not negative).
    #[must_use]
    pub fn unsigned(&self, at: Ref) -> Option<u64> {
        match self.get(at) {
            Node::Int(value) => u64::try_from(*value).ok(),
            _ => None,
        }
    }

    /// The elements of a list or tuple.
    #[must_use]
    pub fn sequence(&self, at: Ref) -> Option<&[Ref]> {
        match self.get(at) {
            Node::List(items) | Node::Tuple(items) => Some(items),
            _ => None,
        }
    }

    /// The pairs of a dict, or of an object that is a dict at heart.
    #[must_use]
    pub fn pairs(&self, at: Ref) -> Option<&[(Ref, Ref)]> {
        match self.get(at) {
            Node::Dict(pairs) => Some(pairs),
            Node::Object(object) if !object.entries.is_empty() => Some(&object.entries),
            _ => None,
        }
    }

    /// The last value under a key of a dict, as Python would have it.
    #[must_use]
    pub fn lookup(&self, dict: Ref, key: &str) -> Option<Ref> {
        let found = self.pairs(dict)?.iter().rev().find(|(k, _)| self.text(*k) == Some(key));
        found.map(|(_, value)| *value)
    }

    /// The attribute of an object: the value in its state.
    #[must_use]
    pub fn attribute(&self, object: Ref, key: &str) -> Option<Ref> {
        match self.get(object) {
            Node::Object(object) => self.lookup(object.state?, key),
            _ => None,
        }
    }

    /// The class name of an object.
    #[must_use]
    pub fn class(&self, object: Ref) -> Option<&Global> {
        match self.get(object) {
            Node::Object(object) => match self.get(object.class) {
                Node::Global(global) => Some(global),
                _ => None,
            },
            _ => None,
        }
    }
}
