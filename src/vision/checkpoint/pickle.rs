//! A machine for Python pickles that executes nothing.
//!
//! A pickle is a program for a stack machine (PEP 307, PEP 3154) whose `REDUCE`, `NEWOBJ` and `BUILD`
//! call whatever the file names. Here they only note what would have been called, as an inert
//! [`Object`]; names outside a short list are refused at sight, so that a hostile file is called
//! hostile. Every length is checked against what is left of the input before anything is allocated,
//! and values live in one flat arena, so that neither shared nor cyclic nor deep values can blow up.

use std::collections::HashMap;

use super::error::{Fault, damaged};
use super::node::{Arena, Global, Node, Object, Ref, Storage};
use super::rebuild;

/// How much a pickle may do.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Length of the pickle in bytes.
    pub bytes: usize,
    /// Instructions.
    pub operations: usize,
    /// Values made.
    pub values: usize,
    /// Values on the stack at once.
    pub stack: usize,
    /// Open marks at once: the nesting of the literals being built.
    pub nesting: usize,
    /// Remembered values.
    pub memo: usize,
}

impl Limits {
    /// For checkpoints: a hundred times the largest known one.
    pub const CHECKPOINT: Self = Self {
        bytes: 64 << 20,
        operations: 8_000_000,
        values: 4_000_000,
        stack: 500_000,
        nesting: 1_000,
        memo: 2_000_000,
    };
    /// For files of vectors, where each number may be a value of its own.
    pub const VECTORS: Self = Self {
        bytes: 512 << 20,
        operations: 120_000_000,
        values: 60_000_000,
        stack: 4_000_000,
        nesting: 1_000,
        memo: 4_000_000,
    };
}

/// What a pickle came to.
#[derive(Debug)]
pub struct Unpickled {
    /// All values.
    pub arena: Arena,
    /// The value itself.
    pub root: Ref,
}

/// Reads one pickle that must fill `input` to the last byte.
///
/// # Errors
/// When the pickle is damaged, names what is not on the list, or asks for more than the limits.
pub fn read(input: &[u8], limits: Limits) -> Result<Unpickled, Fault> {
    if input.len() > limits.bytes {
        return Err(Fault::Limit(format!("its pickle has {} bytes, at most {} are read", input.len(), limits.bytes)));
    }
    let arena = Arena::new(limits.values, limits.bytes);
    let mut machine =
        Machine { input, at: 0, limits, arena, stack: Vec::new(), marks: Vec::new(), memo: HashMap::new() };
    let root = machine.run()?;
    if machine.at != input.len() {
        let rest = input.len() - machine.at;
        return Err(Fault::Unsafe(format!("{rest} bytes follow the end of its pickle (several pickles in one file)")));
    }
    Ok(Unpickled { arena: machine.arena, root })
}

struct Machine<'a> {
    input: &'a [u8],
    at: usize,
    limits: Limits,
    arena: Arena,
    stack: Vec<Ref>,
    marks: Vec<usize>,
    memo: HashMap<u32, Ref>,
}

impl<'a> Machine<'a> {
    fn run(&mut self) -> Result<Ref, Fault> {
        for _ in 0..self.limits.operations {
            let [opcode] = self.array()?;
            if opcode == b'.' {
                let root = self.pop()?;
                return if self.stack.is_empty() && self.marks.is_empty() {
                    Ok(root)
                } else {
                    damaged("its pickle ends with values left over")
                };
            }
            self.step(opcode)?;
        }
        Err(Fault::Limit(format!("its pickle has more than {} instructions", self.limits.operations)))
    }

    fn step(&mut self, opcode: u8) -> Result<(), Fault> {
        match opcode {
            0x80 => self.protocol(),
            0x95 => self.frame(),
            b'(' => self.mark(),
            b'0' => self.pop().map(drop),
            b'1' => self.since_mark().map(drop),
            b'2' => {
                let top = self.top()?;
                self.push_ref(top)
            }
            b'q' | b'r' | b'p' | 0x94 => self.remember(opcode),
            b'h' | b'j' | b'g' => self.recall(opcode),
            b'}' => self.push(Node::Dict(Vec::new())),
            b']' => self.push(Node::List(Vec::new())),
            b')' => self.push(Node::Tuple(Vec::new())),
            0x8f => self.push(Node::Set(Vec::new())),
            b'N' => self.push(Node::None),
            0x88 => self.push(Node::Bool(true)),
            0x89 => self.push(Node::Bool(false)),
            b'J' | b'K' | b'M' | b'I' | b'L' | 0x8a | 0x8b => self.integer(opcode),
            b'G' => {
                let bits = self.array()?;
                self.push(Node::Float(f64::from_be_bytes(bits)))
            }
            b'F' => {
                let value = self.line()?.parse().or_else(|_| damaged("a float in its pickle is not a number"))?;
                self.push(Node::Float(value))
            }
            b'X' | 0x8c | 0x8d => self.text(opcode),
            b'B' | b'C' | 0x8e | 0x96 | b'U' | b'T' => self.bytes(opcode),
            b't' | b'l' | b'd' | 0x91 | 0x85 | 0x86 | 0x87 => self.collect(opcode),
            b'a' | b'e' | 0x90 => self.append(opcode),
            b's' | b'u' => self.set_items(opcode),
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                self.global(module, name)
            }
            0x93 => self.stack_global(),
            b'R' | 0x81 | 0x92 => self.construct(opcode),
            b'b' => self.build(),
            b'Q' => self.persistent(),
            b'i' | b'o' | 0x82 | 0x83 | 0x84 | b'P' | 0x97 | 0x98 => Err(Fault::Unsafe(format!(
                "its pickle uses the instruction 0x{opcode:02x}, which no writer of checkpoints uses"
            ))),
            _ => damaged(format!("0x{opcode:02x} at byte {} of its pickle is no instruction", self.at - 1)),
        }
    }

    // Input ------------------------------------------------------------------------------------

    fn take(&mut self, len: usize) -> Result<&'a [u8], Fault> {
        let taken = self.at.checked_add(len).and_then(|end| self.input.get(self.at..end));
        let Some(taken) = taken else {
            let left = self.input.len().saturating_sub(self.at);
            return damaged(format!("its pickle claims {len} bytes where {left} are left"));
        };
        self.at += len;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        self.take(N)?.try_into().or_else(|_| damaged("its pickle is cut short"))
    }

    fn length(&mut self, width: usize) -> Result<usize, Fault> {
        let mut wide = [0; 8];
        wide[..width].copy_from_slice(self.take(width)?);
        usize::try_from(u64::from_le_bytes(wide)).or_else(|_| damaged("a length in its pickle is absurd"))
    }

    fn line(&mut self) -> Result<&'a str, Fault> {
        let rest = &self.input[self.at..];
        let Some(end) = rest.iter().take(4096).position(|b| *b == b'\n') else {
            return damaged("a line in its pickle does not end");
        };
        self.at += end + 1;
        std::str::from_utf8(&rest[..end]).or_else(|_| damaged("a line in its pickle is not text"))
    }

    // Stack ------------------------------------------------------------------------------------

    fn push(&mut self, node: Node) -> Result<(), Fault> {
        let made = self.arena.add(node)?;
        self.push_ref(made)
    }

    fn push_ref(&mut self, value: Ref) -> Result<(), Fault> {
        if self.stack.len() >= self.limits.stack {
            return Err(Fault::Limit(format!("its pickle stacks more than {} values", self.limits.stack)));
        }
        self.stack.push(value);
        Ok(())
    }

    /// The values above the last mark cannot be popped past it.
    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn pop(&mut self) -> Result<Ref, Fault> {
        if self.stack.len() <= self.floor() {
            return damaged("its pickle takes a value where there is none");
        }
        self.stack.pop().ok_or_else(|| Fault::Damaged("its pickle takes a value where there is none".into()))
    }

    fn top(&self) -> Result<Ref, Fault> {
        match self.stack.last() {
            Some(top) if self.stack.len() > self.floor() => Ok(*top),
            _ => damaged("its pickle uses a value where there is none"),
        }
    }

    fn mark(&mut self) -> Result<(), Fault> {
        if self.marks.len() >= self.limits.nesting {
            return Err(Fault::Limit(format!("its pickle nests deeper than {}", self.limits.nesting)));
        }
        self.marks.push(self.stack.len());
        Ok(())
    }

    fn since_mark(&mut self) -> Result<Vec<Ref>, Fault> {
        match self.marks.pop() {
            Some(mark) if mark <= self.stack.len() => Ok(self.stack.split_off(mark)),
            _ => damaged("its pickle closes what was not opened"),
        }
    }

    // Instructions -----------------------------------------------------------------------------

    fn protocol(&mut self) -> Result<(), Fault> {
        let [version] = self.array()?;
        if version > 5 { damaged(format!("its pickle claims protocol {version}")) } else { Ok(()) }
    }

    fn frame(&mut self) -> Result<(), Fault> {
        let len = self.length(8)?;
        if len > self.input.len() - self.at { damaged("a frame in its pickle is longer than the file") } else { Ok(()) }
    }

    fn remember(&mut self, opcode: u8) -> Result<(), Fault> {
        let key = match opcode {
            0x94 => u32::try_from(self.memo.len()).or_else(|_| damaged("its pickle's memo is absurd"))?,
            _ => self.memo_key(opcode)?,
        };
        let value = self.top()?;
        if self.memo.len() >= self.limits.memo && !self.memo.contains_key(&key) {
            return Err(Fault::Limit(format!("its pickle remembers more than {} values", self.limits.memo)));
        }
        self.memo.insert(key, value);
        Ok(())
    }

    fn recall(&mut self, opcode: u8) -> Result<(), Fault> {
        let key = self.memo_key(opcode)?;
        match self.memo.get(&key).copied() {
            Some(value) => self.push_ref(value),
            None => damaged(format!("its pickle recalls {key}, which it never remembered")),
        }
    }

    fn memo_key(&mut self, opcode: u8) -> Result<u32, Fault> {
        match opcode {
            b'q' | b'h' => self.array::<1>().map(|[key]| u32::from(key)),
            b'r' | b'j' => self.array().map(u32::from_le_bytes),
            _ => self.line()?.parse().or_else(|_| damaged("a memo key in its pickle is not a number")),
        }
    }

    fn integer(&mut self, opcode: u8) -> Result<(), Fault> {
        let node = match opcode {
            b'J' => Node::Int(i32::from_le_bytes(self.array()?).into()),
            b'K' => self.array::<1>().map(|[v]| Node::Int(v.into()))?,
            b'M' => Node::Int(u16::from_le_bytes(self.array()?).into()),
            b'I' => match self.line()? {
                "00" => Node::Bool(false),
                "01" => Node::Bool(true),
                digits => Node::Int(digits.parse().or_else(|_| damaged("an integer in its pickle is not a number"))?),
            },
            b'L' => self.line()?.trim_end_matches('L').parse().map_or(Node::Huge, Node::Int),
            _ => {
                let len = self.length(if opcode == 0x8a { 1 } else { 4 })?;
                let digits = self.take(len)?;
                let negative = digits.last().is_some_and(|b| b & 0x80 != 0);
                let mut wide = [if negative { 0xff } else { 0 }; 8];
                if len > 8 {
                    Node::Huge
                } else {
                    wide[..len].copy_from_slice(digits);
                    Node::Int(i64::from_le_bytes(wide))
                }
            }
        };
        self.push(node)
    }

    fn text(&mut self, opcode: u8) -> Result<(), Fault> {
        let width = match opcode {
            0x8c => 1,
            b'X' => 4,
            _ => 8,
        };
        let len = self.length(width)?;
        let bytes = self.take(len)?;
        let text = std::str::from_utf8(bytes).or_else(|_| damaged("a text in its pickle is not UTF-8"))?;
        self.push(Node::Text(text.into()))
    }

    fn bytes(&mut self, opcode: u8) -> Result<(), Fault> {
        let width = match opcode {
            b'C' | b'U' => 1,
            b'B' | b'T' => 4,
            _ => 8,
        };
        let len = self.length(width)?;
        let bytes = self.take(len)?;
        // Python 2 wrote its text as byte strings.
        match (opcode, std::str::from_utf8(bytes)) {
            (b'U' | b'T', Ok(text)) => self.push(Node::Text(text.into())),
            _ => self.push(Node::Bytes(bytes.into())),
        }
    }

    fn collect(&mut self, opcode: u8) -> Result<(), Fault> {
        let node = match opcode {
            b't' => Node::Tuple(self.since_mark()?),
            b'l' => Node::List(self.since_mark()?),
            0x91 => Node::Set(self.since_mark()?),
            b'd' => Node::Dict(pairs(&self.since_mark()?)?),
            _ => {
                let mut items = Vec::with_capacity(3);
                for _ in 0..=(opcode - 0x85) {
                    items.push(self.pop()?);
                }
                items.reverse();
                Node::Tuple(items)
            }
        };
        self.push(node)
    }

    fn append(&mut self, opcode: u8) -> Result<(), Fault> {
        let items = if opcode == b'a' { vec![self.pop()?] } else { self.since_mark()? };
        let target = self.top()?;
        match (opcode, self.arena.get_mut(target)) {
            (0x90, Some(Node::Set(list))) | (b'a' | b'e', Some(Node::List(list))) => list.extend(items),
            (_, Some(Node::Object(object))) => object.items.extend(items),
            _ => return damaged("its pickle appends to what is no list"),
        }
        Ok(())
    }

    fn set_items(&mut self, opcode: u8) -> Result<(), Fault> {
        let items = if opcode == b's' {
            let value = self.pop()?;
            vec![self.pop()?, value]
        } else {
            self.since_mark()?
        };
        let items = pairs(&items)?;
        let target = self.top()?;
        match self.arena.get_mut(target) {
            Some(Node::Dict(dict)) => dict.extend(items),
            Some(Node::Object(object)) => object.entries.extend(items),
            _ => return damaged("its pickle sets a key in what is no dict"),
        }
        Ok(())
    }

    fn stack_global(&mut self) -> Result<(), Fault> {
        let (name, module) = (self.pop()?, self.pop()?);
        match (self.arena.text(module), self.arena.text(name)) {
            (Some(module), Some(name)) => {
                let (module, name) = (module.to_owned(), name.to_owned());
                self.global(&module, &name)
            }
            _ => damaged("a name in its pickle is not text"),
        }
    }

    fn global(&mut self, module: &str, name: &str) -> Result<(), Fault> {
        rebuild::admit(module, name)?;
        self.push(Node::Global(Box::new(Global { module: module.into(), name: name.into() })))
    }

    fn construct(&mut self, opcode: u8) -> Result<(), Fault> {
        if opcode == 0x92 {
            self.pop()?; // keyword arguments: nothing that is interpreted takes any
        }
        let (args, class) = (self.pop()?, self.pop()?);
        let Node::Global(global) = self.arena.get(class) else {
            return Err(Fault::Unsafe("its pickle calls something that is not a name".into()));
        };
        if !matches!(self.arena.get(args), Node::Tuple(_)) {
            return damaged("its pickle calls with what is no tuple");
        }
        let global = (**global).clone();
        match rebuild::interpret(&mut self.arena, &global, args)? {
            Some(made) => self.push_ref(made),
            None => {
                let object = Object { class, args, state: None, items: Vec::new(), entries: Vec::new() };
                self.push(Node::Object(Box::new(object)))
            }
        }
    }

    fn build(&mut self) -> Result<(), Fault> {
        let state = self.pop()?;
        let target = self.top()?;
        match self.arena.get_mut(target) {
            Some(Node::Object(object)) => object.state = Some(state),
            // An OrderedDict's or a parameter's attributes (`_metadata`): nothing that is read needs them.
            Some(Node::Dict(_) | Node::Tensor(_)) => {}
            _ => return damaged("its pickle gives a state to what has none"),
        }
        Ok(())
    }

    /// `('storage', torch.HalfStorage, '17', 'cpu', 1024)`, as `torch.save` writes it.
    fn persistent(&mut self) -> Result<(), Fault> {
        let id = self.pop()?;
        let parts = self.arena.sequence(id).unwrap_or_default();
        let [kind, class, key, _location, len] = parts else {
            return damaged("a storage in its pickle is not described by five values");
        };
        let class = match self.arena.get(*class) {
            Node::Global(class) if self.arena.text(*kind) == Some("storage") => class.name.clone(),
            _ => return damaged("a storage in its pickle has no class"),
        };
        match (self.arena.text(*key), self.arena.unsigned(*len)) {
            (Some(key), Some(len)) => {
                let storage = Storage { class, key: key.into(), len };
                self.push(Node::Storage(Box::new(storage)))
            }
            _ => damaged("a storage in its pickle has no key or length"),
        }
    }
}

fn pairs(items: &[Ref]) -> Result<Vec<(Ref, Ref)>, Fault> {
    if !items.len().is_multiple_of(2) {
        return damaged("a dict in its pickle has a key without a value");
    }
    Ok(items.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect())
}
