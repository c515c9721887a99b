//! Makes checkpoint files byte by byte, well-formed ones and others.

/// Assembles a pickle, instruction by instruction.
#[derive(Clone, Default)]
pub struct Pickle(pub Vec<u8>);

impl Pickle {
    pub fn new() -> Self {
        Self(b"\x80\x02".to_vec())
    }

    pub fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    pub fn text(self, text: &str) -> Self {
        self.raw(b"X").raw(&(text.len() as u32).to_le_bytes()).raw(text.as_bytes())
    }

    pub fn int(self, value: i32) -> Self {
        self.raw(b"J").raw(&value.to_le_bytes())
    }

    pub fn float(self, value: f64) -> Self {
        self.raw(b"G").raw(&value.to_be_bytes())
    }

    pub fn global(self, module: &str, name: &str) -> Self {
        self.raw(format!("c{module}\n{name}\n").as_bytes())
    }

    /// `torch._utils._rebuild_tensor_v2(storage, offset, shape, stride, False, OrderedDict())`
    pub fn tensor(self, class: &str, key: &str, len: i32, offset: i32, shape: &[i32], stride: &[i32]) -> Self {
        let start = self.global("torch._utils", "_rebuild_tensor_v2").raw(b"((").text("storage");
        let start = start.global("torch", class).text(key).text("cpu").int(len).raw(b"tQ").int(offset);
        let shaped = shape.iter().fold(start.raw(b"("), |pickle, size| pickle.int(*size)).raw(b"t");
        let strided = stride.iter().fold(shaped.raw(b"("), |pickle, step| pickle.int(*step)).raw(b"t");
        strided.raw(b"\x89").global("collections", "OrderedDict").raw(b")RtR")
    }

    pub fn stop(self) -> Vec<u8> {
        self.raw(b".").0
    }
}

/// One record of a zip file. What is not given is as `torch.save` writes it.
#[derive(Clone, Default)]
pub struct Record {
    pub name: String,
    pub data: Vec<u8>,
    pub flags: u16,
    pub method: u16,
    pub local_name: Option<String>,
    pub claimed_size: Option<u32>,
    pub crc: Option<u32>,
    pub header_at: Option<u32>,
}

impl Record {
    pub fn new(name: &str, data: &[u8]) -> Self {
        Self { name: name.into(), data: data.to_vec(), ..Self::default() }
    }
}

pub fn zip(records: &[Record]) -> Vec<u8> {
    let (mut out, mut directory) = (Vec::new(), Vec::new());
    for record in records {
        let at = record.header_at.unwrap_or(out.len() as u32);
        let crc = record.crc.unwrap_or_else(|| crc32fast::hash(&record.data));
        let size = record.claimed_size.unwrap_or(record.data.len() as u32);
        let common = |name: &str| {
            let mut bytes = Vec::new();
            for half in [record.flags, record.method, 0, 0] {
                bytes.extend(half.to_le_bytes());
            }
            for word in [crc, size, size] {
                bytes.extend(word.to_le_bytes());
            }
            bytes.extend((name.len() as u16).to_le_bytes());
            bytes.extend(0u16.to_le_bytes());
            bytes
        };
        let local = record.local_name.as_ref().unwrap_or(&record.name);
        out.extend(b"PK\x03\x04\x14\x00");
        out.extend(common(local));
        out.extend(local.as_bytes());
        out.extend(&record.data);
        directory.extend(b"PK\x01\x02\x14\x00\x14\x00");
        directory.extend(common(&record.name));
        directory.extend([0; 10]);
        directory.extend(at.to_le_bytes());
        directory.extend(record.name.as_bytes());
    }
    let (start, count) = (out.len() as u32, records.len() as u16);
    let size = directory.len() as u32;
    out.extend(directory);
    out.extend(b"PK\x05\x06\x00\x00\x00\x00");
    out.extend(count.to_le_bytes());
    out.extend(count.to_le_bytes());
    out.extend(size.to_le_bytes());
    out.extend(start.to_le_bytes());
    out.extend(0u16.to_le_bytes());
    out
}

/// A `.pt` file of a pickle and one storage of six floats, 0 to 5.
pub fn pt(pickle: Vec<u8>) -> Vec<u8> {
    let numbers: Vec<u8> = (0..6).flat_map(|v| (v as f32).to_le_bytes()).collect();
    zip(&[
        Record::new("m/data.pkl", &pickle),
        Record::new("m/byteorder", b"little"),
        Record::new("m/data/0", &numbers),
        Record::new("m/version", b"3\n"),
    ])
}

/// A state dict of one tensor `w`.
pub fn one_tensor(len: i32, offset: i32, shape: &[i32], stride: &[i32]) -> Vec<u8> {
    pt(Pickle::new().raw(b"}").text("w").tensor("FloatStorage", "0", len, offset, shape, stride).raw(b"s").stop())
}
