//! Looks up types in a kernel's BTF by name: just what [`super::layout`] needs.
//!
//! The format is described in Documentation/bpf/btf.rst. One pass over the types notes where the
//! wanted names are and keeps nothing else, which takes milliseconds and no memory beyond the
//! file's own bytes. (The libraries that read BTF keep every type and string of the kernel, some
//! 40 MiB, or keep their lookups private, or may not be linked statically into a program under
//! this licence.) Every offset in the file is checked: a damaged file yields an error or a name
//! that isn't found, never a panic.
//!
//! A kind of type that this version does not know is skipped if the file says how long it is, which
//! newer kernels do in a section of their BTF (`struct btf_layout`). Otherwise nothing after it can
//! be found: [`Btf::unknown_kind`] says so, and what came before stays usable.

use std::collections::{BTreeMap, HashMap};

const MAGIC: u16 = 0xeb9f;
/// The header without the layout section, which older kernels lack.
const HEADER: usize = 24;
/// The header with it.
const LONG_HEADER: u32 = 32;
/// `struct btf_layout`.
const LAYOUT: usize = 4;
/// `struct btf_type`.
const TYPE: usize = 12;
const KIND_INT: u32 = 1;
const KIND_ARRAY: u32 = 3;
const KIND_STRUCT: u32 = 4;
const KIND_UNION: u32 = 5;
const KIND_ENUM: u32 = 6;
const KIND_TYPEDEF: u32 = 8;
const KIND_VOLATILE: u32 = 9;
const KIND_CONST: u32 = 10;
const KIND_RESTRICT: u32 = 11;
const KIND_FUNC: u32 = 12;
const KIND_FUNC_PROTO: u32 = 13;
const KIND_VAR: u32 = 14;
const KIND_DATASEC: u32 = 15;
const KIND_DECL_TAG: u32 = 17;
const KIND_TYPE_TAG: u32 = 18;
const KIND_ENUM64: u32 = 19;
/// The highest kind known.
const KIND_MAX: u32 = KIND_ENUM64;
/// The nesting depth of anonymous members and qualifiers, at most.
const MAX_DEPTH: u32 = 16;

/// A kernel's BTF.
#[derive(Debug)]
pub struct Btf<'a> {
    bytes: &'a [u8],
    strings: usize,
    /// The offset of each type; the first is the type with id 1.
    types: Vec<u32>,
    /// The ids of the types of each wanted name.
    named: HashMap<String, Vec<u32>>,
    /// The kind at which the parse ended, if it did not know its length.
    unknown_kind: Option<u32>,
}

struct Type {
    kind: u32,
    vlen: usize,
    /// Whether members have their offset in 24 bits and a bit-field's size in the rest.
    kind_flag: bool,
    /// `size` or `type`, depending on the kind.
    size_or_type: u32,
    /// The offset of what follows the type.
    rest: usize,
}

impl<'a> Btf<'a> {
    /// Parses BTF and notes the types of the wanted names.
    ///
    /// # Errors
    /// When the bytes aren't BTF, or are cut off or damaged.
    pub fn parse(bytes: &'a [u8], wanted: &[&str]) -> Result<Self, String> {
        let word = |at: usize| read_u32(bytes, at).ok_or("the header is cut off");
        if bytes.len() < HEADER || u16::from_le_bytes([bytes[0], bytes[1]]) != MAGIC {
            return Err("it does not begin with the magic number of little-endian BTF".into());
        }
        let header = word(4)? as usize;
        let types = header.saturating_add(word(8)? as usize);
        let end = types.saturating_add(word(12)? as usize);
        let strings = header.saturating_add(word(16)? as usize);
        let strings_end = strings.saturating_add(word(20)? as usize);
        if end > bytes.len() || strings_end > bytes.len() {
            return Err("it is cut off".into());
        }
        let layout = match (header as u32 >= LONG_HEADER, word(24), word(28)) {
            (true, Ok(offset), Ok(length)) => {
                let from = header.saturating_add(offset as usize);
                bytes.get(from..from.saturating_add(length as usize))
            }
            _ => None,
        };
        let mut btf = Btf {
            bytes,
            strings,
            types: Vec::new(),
            named: HashMap::new(),
            unknown_kind: None,
        };
        let wanted: HashMap<&[u8], &str> = wanted.iter().map(|w| (w.as_bytes(), *w)).collect();
        let mut at = types;
        while at < end {
            let id = btf.types.len() as u32 + 1;
            let t = btf.at(at).ok_or_else(|| format!("type {id} is damaged"))?;
            let tail = match tail(t.kind, t.vlen) {
                Some(bytes) => bytes,
                None => match layout.and_then(|layout| tail_by(layout, t.kind, t.vlen)) {
                    Some(bytes) => bytes,
                    None => {
                        btf.unknown_kind = Some(t.kind);
                        break;
                    }
                },
            };
            btf.types
                .push(u32::try_from(at).map_err(|_| "it is too large")?);
            let kinds = [KIND_STRUCT, KIND_UNION, KIND_ENUM, KIND_TYPEDEF, KIND_FUNC];
            if kinds.contains(&t.kind)
                && let Some(name) = wanted.get(btf.name_at(at))
            {
                btf.named.entry((*name).to_owned()).or_default().push(id);
            }
            at = t.rest.saturating_add(tail);
        }
        Ok(btf)
    }

    /// Returns the kind that this version does not know and could not skip, if there is one: types
    /// after it were not found.
    pub fn unknown_kind(&self) -> Option<u32> {
        self.unknown_kind
    }

    /// Returns the offset in bits of a field of a struct or union, including fields of anonymous
    /// members.
    pub fn field(&self, name: &str, field: &str) -> Option<u32> {
        self.of_name(name)
            .find_map(|t| self.member(&t, field.as_bytes(), 0))
    }

    /// Returns the id of the function of this name, static or not.
    pub fn function(&self, name: &str) -> Option<u32> {
        let ids = self.named.get(name)?;
        ids.iter()
            .copied()
            .find(|id| self.by_id(*id).is_some_and(|t| t.kind == KIND_FUNC))
    }

    /// Whether the kernel has this tracepoint: every tracepoint has a typedef for its probes
    /// (include/trace/bpf_probe.h: `btf_trace_##call`).
    pub fn has_tracepoint(&self, name: &str) -> bool {
        self.of_name(&tracepoint_type(name))
            .any(|t| t.kind == KIND_TYPEDEF)
    }

    /// Returns the size in bytes of a struct or union.
    pub fn size_of(&self, name: &str) -> Option<u32> {
        self.of_name(name)
            .find(|t| matches!(t.kind, KIND_STRUCT | KIND_UNION))
            .map(|t| t.size_or_type)
    }

    /// Returns the value of an enum's name.
    pub fn enum_value(&self, name: &str, value: &str) -> Option<u32> {
        self.of_name(name)
            .filter(|t| t.kind == KIND_ENUM)
            .find_map(|t| {
                (0..t.vlen)
                    .map(|i| t.rest + i * 8)
                    .find(|at| self.name_is(*at, value.as_bytes()))
                    .and_then(|at| read_u32(self.bytes, at + 4))
            })
    }

    fn of_name(&self, name: &str) -> impl Iterator<Item = Type> {
        let ids = self.named.get(name).map_or(&[][..], Vec::as_slice);
        ids.iter().filter_map(|id| self.by_id(*id))
    }

    fn by_id(&self, id: u32) -> Option<Type> {
        self.at(*self.types.get((id as usize).checked_sub(1)?)? as usize)
    }

    fn at(&self, at: usize) -> Option<Type> {
        let info = read_u32(self.bytes, at + 4)?;
        // Older kernels have five bits for the kind and 16 for the number of members, and leave the
        // other bits at 0.
        let kind = info >> 24 & 0x7f;
        (kind != 0).then_some(Type {
            kind,
            vlen: (info & 0xff_ffff) as usize,
            kind_flag: info >> 31 != 0,
            size_or_type: read_u32(self.bytes, at + 8)?,
            rest: at + TYPE,
        })
    }

    fn member(&self, t: &Type, field: &[u8], depth: u32) -> Option<u32> {
        if depth > MAX_DEPTH {
            return None;
        }
        match t.kind {
            KIND_STRUCT | KIND_UNION => (0..t.vlen).find_map(|i| {
                let at = t.rest + i * 12;
                let offset = read_u32(self.bytes, at + 8)?;
                let offset = if t.kind_flag {
                    offset & 0xff_ffff
                } else {
                    offset
                };
                if self.name_is(at, field) {
                    return Some(offset);
                }
                if !self.name_is(at, b"") {
                    return None;
                }
                let inner = self.by_id(read_u32(self.bytes, at + 4)?)?;
                Some(offset + self.member(&inner, field, depth + 1)?)
            }),
            KIND_TYPEDEF | KIND_VOLATILE | KIND_CONST | KIND_RESTRICT | KIND_TYPE_TAG => {
                self.member(&self.by_id(t.size_or_type)?, field, depth + 1)
            }
            _ => None,
        }
    }

    /// Returns the string whose offset is at `at`; empty if there is none.
    fn name_at(&self, at: usize) -> &[u8] {
        let text = read_u32(self.bytes, at)
            .and_then(|offset| self.strings.checked_add(offset as usize))
            .and_then(|text| self.bytes.get(text..))
            .unwrap_or_default();
        let end = text.iter().position(|b| *b == 0).unwrap_or(0);
        &text[..end]
    }

    /// Whether the string whose offset is at `at` is `name`.
    fn name_is(&self, at: usize, name: &[u8]) -> bool {
        let Some(offset) = read_u32(self.bytes, at) else {
            return false;
        };
        let Some(text) = self.strings.checked_add(offset as usize) else {
            return false;
        };
        self.bytes
            .get(text..)
            .is_some_and(|rest| rest.starts_with(name) && rest.get(name.len()) == Some(&0))
    }
}

/// Makes BTF with only these functions, by name and id, and placeholders in between: what a loader
/// needs to find their ids, at a tenth of the memory of all the kernel's types.
pub fn sparse(functions: &BTreeMap<String, u32>) -> Vec<u8> {
    const FWD: u32 = 7 << 24;
    let by_id: BTreeMap<u32, &str> = functions.iter().map(|(n, id)| (*id, n.as_str())).collect();
    let last = by_id.keys().next_back().copied().unwrap_or(0);
    let mut types = Vec::with_capacity(last as usize * TYPE);
    let mut strings = vec![0];
    for id in 1..=last {
        let (name, info) = match by_id.get(&id) {
            Some(name) => {
                let at = strings.len() as u32;
                strings.extend(name.as_bytes());
                strings.push(0);
                (at, KIND_FUNC << 24)
            }
            None => (0, FWD),
        };
        for word in [name, info, 0] {
            types.extend(word.to_le_bytes());
        }
    }
    let mut bytes = Vec::with_capacity(HEADER + types.len() + strings.len());
    bytes.extend(MAGIC.to_le_bytes());
    bytes.extend([1, 0]);
    let (types_len, strings_len) = (types.len() as u32, strings.len() as u32);
    for word in [HEADER as u32, 0, types_len, types_len, strings_len] {
        bytes.extend(word.to_le_bytes());
    }
    bytes.extend(types);
    bytes.extend(strings);
    bytes
}

/// Returns the name that [`Btf::parse`] must be given for [`Btf::has_tracepoint`].
pub fn tracepoint_type(tracepoint: &str) -> String {
    format!("btf_trace_{tracepoint}")
}

/// Returns the number of bytes that follow a `struct btf_type`; `None` for an unknown kind.
fn tail(kind: u32, vlen: usize) -> Option<usize> {
    match kind {
        KIND_INT | KIND_VAR | KIND_DECL_TAG => Some(4),
        KIND_ARRAY => Some(12),
        KIND_STRUCT | KIND_UNION | KIND_DATASEC | KIND_ENUM64 => Some(vlen * 12),
        KIND_ENUM | KIND_FUNC_PROTO => Some(vlen * 8),
        0..=KIND_MAX => Some(0),
        _ => None,
    }
}

/// Returns the same by the layout section, which has for each kind the bytes after the type and
/// those of each member.
fn tail_by(layout: &[u8], kind: u32, vlen: usize) -> Option<usize> {
    let entry = layout.chunks_exact(LAYOUT).nth(kind as usize)?;
    let (once, each) = (usize::from(entry[0]), usize::from(entry[1]));
    // All parts of a type are words. A longer jump would lead to a wrong type.
    (once.is_multiple_of(4) && each.is_multiple_of(4)).then_some(once + vlen * each)
}

fn read_u32(bytes: &[u8], at: usize) -> Option<u32> {
    let four = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_le_bytes(four.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sparse_btf_keeps_the_ids() {
        let functions = BTreeMap::from([("f".to_owned(), 3), ("longer".to_owned(), 70_000)]);
        let bytes = sparse(&functions);
        let btf = Btf::parse(&bytes, &["f", "longer"]).unwrap();
        assert_eq!(btf.function("f"), Some(3));
        assert_eq!(btf.function("longer"), Some(70_000));
        // The loader that it is made for can parse it too.
        let theirs = aya::Btf::parse(&bytes, aya::Endianness::Little);
        assert!(theirs.is_ok(), "{theirs:?}");
        assert_eq!(sparse(&BTreeMap::new()).len(), HEADER + 1);
    }

    /// struct s { int a; struct { int b; }; int c:3, d:1; }; enum e { X = 7 };
    fn sample() -> Vec<u8> {
        sample_with(&[], &[])
    }

    /// The same, with `between` as type 4 before the enum, and with a layout section.
    fn sample_with(between: &[u32], layout: &[[u8; 4]]) -> Vec<u8> {
        let strings = b"\0s\0a\0b\0c\0d\0e\0X\0";
        let of = |s: &str| {
            strings
                .windows(s.len() + 1)
                .position(|w| w == [s.as_bytes(), b"\0"].concat())
                .unwrap() as u32
        };
        let kind = |k: u32, vlen: u32| k << 24 | vlen;
        let types: Vec<u32> = [
            vec![0, kind(KIND_INT, 0), 4, 32],
            vec![0, kind(KIND_STRUCT, 1), 4, of("b"), 1, 0],
            vec![of("s"), 1 << 31 | kind(KIND_STRUCT, 4), 12]
                .into_iter()
                .chain([
                    of("a"),
                    1,
                    0,
                    0,
                    2,
                    32,
                    of("c"),
                    1,
                    3 << 24 | 64,
                    of("d"),
                    1,
                    1 << 24 | 67,
                ])
                .collect(),
            between.to_vec(),
            vec![of("e"), kind(KIND_ENUM, 1), 4, of("X"), 7],
        ]
        .concat();
        let length = types.len() as u32 * 4;
        let after = length + strings.len() as u32;
        let mut header = vec![24, 0, length, length, strings.len() as u32];
        if !layout.is_empty() {
            header[0] = LONG_HEADER;
            header.extend([after, layout.len() as u32 * 4]);
        }
        let mut bytes = vec![0x9f, 0xeb, 1, 0];
        for word in header.iter().chain(&types) {
            bytes.extend(word.to_le_bytes());
        }
        bytes.extend(strings);
        bytes.extend(layout.concat());
        bytes
    }

    /// A type of kind 20 that is followed by one word, and by two for each of its two members.
    const NEW_KIND: [u32; 8] = [0, 20 << 24 | 2, 0, 1, 2, 3, 4, 5];

    #[test]
    fn an_unknown_kind_is_skipped_where_the_file_has_its_length() {
        let mut layout = vec![[0; 4]; 20];
        layout.push([4, 8, 0, 0]);
        let bytes = sample_with(&NEW_KIND, &layout);
        let btf = Btf::parse(&bytes, &WANTED).unwrap();
        assert_eq!(btf.unknown_kind(), None);
        assert_eq!(btf.field("s", "d"), Some(67));
        assert_eq!(btf.enum_value("e", "X"), Some(7));
    }

    #[test]
    fn an_unknown_kind_ends_the_parse_where_nothing_has_its_length() {
        // No layout, one without this kind, and one that cannot be right.
        let mut wrong = vec![[0; 4]; 20];
        wrong.push([3, 8, 0, 0]);
        for layout in [vec![], vec![[0; 4]; 20], wrong] {
            let bytes = sample_with(&NEW_KIND, &layout);
            let btf = Btf::parse(&bytes, &WANTED).unwrap();
            assert_eq!(btf.unknown_kind(), Some(20));
            // What came before is known.
            assert_eq!(btf.field("s", "d"), Some(67));
            assert_eq!(btf.enum_value("e", "X"), None);
        }
    }

    const WANTED: [&str; 2] = ["s", "e"];

    #[test]
    fn finds_fields_bit_fields_and_values() {
        let bytes = sample();
        let btf = Btf::parse(&bytes, &WANTED).unwrap();
        assert_eq!(btf.field("s", "a"), Some(0));
        assert_eq!(btf.field("s", "b"), Some(32));
        assert_eq!(btf.field("s", "c"), Some(64));
        assert_eq!(btf.field("s", "d"), Some(67));
        assert_eq!(btf.field("s", "nosuch"), None);
        assert_eq!(btf.size_of("s"), Some(12));
        assert_eq!(btf.enum_value("e", "X"), Some(7));
        assert_eq!(btf.enum_value("e", "Y"), None);
        assert_eq!(btf.field("nosuch", "a"), None);
    }

    #[test]
    fn what_is_not_btf_is_refused() {
        assert!(Btf::parse(&[], &WANTED).is_err());
        assert!(Btf::parse(b"not BTF, and long enough for a header", &WANTED).is_err());
        let whole = sample();
        for length in 0..whole.len() {
            assert!(
                Btf::parse(&whole[..length], &WANTED).is_err(),
                "{length} bytes"
            );
        }
    }

    proptest! {
        #[test]
        fn damage_never_panics(at in 0usize..200, byte in any::<u8>()) {
            let mut bytes = sample();
            let length = bytes.len();
            bytes[at % length] = byte;
            if let Ok(btf) = Btf::parse(&bytes, &WANTED) {
                for field in ["a", "b", "c", "d"] {
                    let _ = btf.field("s", field);
                }
                let _ = btf.enum_value("e", "X");
            }
        }
    }
}
