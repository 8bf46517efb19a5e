//! Archives, written as their author pleases.

/// An archive without its end.
#[derive(Clone, Default)]
pub struct Tar(pub Vec<u8>);

/// A header, each field of which may be changed before its checksum is.
#[derive(Clone)]
pub struct Head(pub [u8; 512]);

pub fn tar() -> Tar {
    Tar::default()
}

impl Head {
    pub fn new(kind: u8, name: &str) -> Self {
        let head = Self([0; 512]).text(0, name).octal(100, 8, 0o644).octal(108, 8, 0).octal(116, 8, 0);
        let mut head = head.octal(124, 12, 0).octal(136, 12, 0).text(257, "ustar\x0000");
        head.0[156] = kind;
        head
    }

    pub fn text(mut self, at: usize, text: &str) -> Self {
        self.0[at..at + text.len()].copy_from_slice(text.as_bytes());
        self
    }

    pub fn bytes(mut self, at: usize, bytes: &[u8]) -> Self {
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
        self
    }

    pub fn octal(self, at: usize, width: usize, value: u64) -> Self {
        self.text(at, &format!("{value:0width$o}\0", width = width - 1))
    }

    pub fn mode(self, mode: u64) -> Self {
        self.octal(100, 8, mode)
    }

    pub fn size(self, size: u64) -> Self {
        match size < 1 << 33 {
            true => self.octal(124, 12, size),
            false => self.bytes(124, &[0x80, 0, 0, 0]).bytes(128, &size.to_be_bytes()),
        }
    }

    pub fn link(self, target: &str) -> Self {
        self.text(157, target)
    }

    pub fn gnu(self) -> Self {
        self.bytes(257, b"ustar  \0")
    }

    pub fn old(self) -> Self {
        self.bytes(257, &[0; 8])
    }

    pub fn prefix(self, prefix: &str) -> Self {
        self.text(345, prefix)
    }

    pub fn summed(self) -> [u8; 512] {
        let head = self.text(148, "        ");
        let sum: u64 = head.0.iter().map(|byte| u64::from(*byte)).sum();
        head.text(148, &format!("{sum:06o}\0 ")).0
    }
}

impl Tar {
    /// A header with a checksum, and whatever follows it, to the end of the block.
    pub fn head(mut self, head: Head, content: &[u8]) -> Self {
        self.0.extend_from_slice(&head.summed());
        self.bytes(content)
    }

    pub fn bytes(mut self, content: &[u8]) -> Self {
        self.0.extend_from_slice(content);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    pub fn file(self, name: &str, content: &str) -> Self {
        self.head(Head::new(b'0', name).size(content.len() as u64), content.as_bytes())
    }

    pub fn folder(self, name: &str) -> Self {
        self.head(Head::new(b'5', name).mode(0o755), b"")
    }

    pub fn link(self, name: &str, target: &str) -> Self {
        self.head(Head::new(b'2', name).link(target), b"")
    }

    pub fn hard(self, name: &str, target: &str) -> Self {
        self.head(Head::new(b'1', name).link(target), b"")
    }

    /// An extended header with these records.
    pub fn pax(self, records: &[(&str, &str)]) -> Self {
        self.records(b'x', records)
    }

    pub fn global(self, records: &[(&str, &str)]) -> Self {
        self.records(b'g', records)
    }

    pub fn records(self, kind: u8, records: &[(&str, &str)]) -> Self {
        let text: Vec<u8> = records.iter().flat_map(|(key, value)| record(key, value.as_bytes())).collect();
        self.raw_records(kind, &text)
    }

    pub fn raw_records(self, kind: u8, text: &[u8]) -> Self {
        self.head(Head::new(kind, "pax").size(text.len() as u64), text)
    }

    /// A long name (`L`) or link (`K`) in GNU's form.
    pub fn long(self, kind: u8, name: &str) -> Self {
        let name = [name.as_bytes(), b"\0"].concat();
        self.head(Head::new(kind, "././@LongLink").gnu().size(name.len() as u64), &name)
    }

    pub fn end(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 1024, 0);
        self.0
    }
}

/// A record of an extended header.
pub fn record(key: &str, value: &[u8]) -> Vec<u8> {
    let rest = [b" ", key.as_bytes(), b"=", value, b"\n"].concat();
    let mut length = rest.len() + 1;
    while length != rest.len() + length.to_string().len() {
        length = rest.len() + length.to_string().len();
    }
    [length.to_string().as_bytes(), &rest].concat()
}
