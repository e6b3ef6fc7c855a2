//! The scanner: one pass over a document for all the paths that are wanted of it.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher};

use super::{SlotColumn, SlotKind, SlotPath, Step, lex, pack};
use crate::jsonb::{Builder, MAX_DEPTH};
use crate::{EvalError, Jsonb};

/// Reads documents once for all the paths that are wanted of them, and checks the syntax of all the rest.
///
/// The module's documentation says how. A scanner learns the shape of its documents, so keep it from batch to batch.
#[derive(Clone, Debug)]
pub struct Scanner {
    paths: Vec<SlotPath>,
    tree: Tree,
    learned: Learned,
    /// For each node, what the document has there.
    found: Vec<Found>,
    builder: Builder,
}

impl Scanner {
    /// A scanner for these paths; column `i` of [`Scanner::scan`] belongs to `paths[i]`.
    pub fn new(paths: &[SlotPath]) -> Scanner {
        let tree = Tree::new(paths);
        Scanner {
            found: vec![Found::default(); tree.nodes.len()],
            learned: Learned::new(),
            tree,
            paths: paths.to_vec(),
            builder: Builder::default(),
        }
    }

    /// The paths, in the order of columns.
    pub fn paths(&self) -> &[SlotPath] {
        &self.paths
    }

    /// Reads one document (bytes that should be UTF-8 JSON) and appends exactly one entry to every column: where the
    /// document is not valid UTF-8 or JSON, the error to each.
    pub fn scan(&mut self, document: &[u8], columns: &mut [SlotColumn]) {
        debug_assert_eq!(columns.len(), self.paths.len());
        // What is wanted whole is parsed at once. Spans are 32 bits wide.
        let simple = self.tree.nodes.len() == 1 || document.len() > u32::MAX as usize;
        if simple || self.read(document).is_none() {
            self.scan_whole(document, columns)
        } else {
            self.emit(document, columns)
        }
    }

    /// Through the parser and the packed form; for what is wanted whole, and for documents that are not plainly valid.
    #[cold]
    fn scan_whole(&mut self, document: &[u8], columns: &mut [SlotColumn]) {
        self.builder.clear();
        let packed = super::decode_utf8(document).and_then(|text| pack::document(text, &mut self.builder));
        match packed {
            Ok(()) => {
                let document = Jsonb::new(self.builder.packed());
                for (path, column) in self.paths.iter().zip(columns) {
                    match path.follow(document) {
                        Some(value) => column.push_jsonb(value),
                        None => column.push_null(),
                    }
                }
            }
            Err(e) => columns.iter_mut().for_each(|c| c.push_error(e.clone())),
        }
    }

    /// Finds the spans of what is wanted; none unless the document is plainly valid.
    #[inline]
    pub(super) fn read(&mut self, bytes: &[u8]) -> Option<()> {
        if self.learned.misses > MISSES {
            self.learned = Learned::new();
        }
        self.found[0] = Found::default();
        let mut reader =
            Reader { bytes, tree: &self.tree, learned: &mut self.learned, found: &mut self.found };
        let end = reader.value(lex::white(bytes, 0), ROOT, ROOT, 0)?;
        (lex::white(bytes, end) == bytes.len()).then_some(())
    }

    /// Appends what was found to the columns.
    fn emit(&mut self, document: &[u8], columns: &mut [SlotColumn]) {
        for ((node, path), column) in self.tree.slots.iter().zip(&self.paths).zip(columns) {
            let found = self.found.get(*node as usize).copied().unwrap_or_default();
            if found.what == What::Absent {
                column.push_null();
            } else if let Err(e) = match path.kind {
                SlotKind::Text => emit_text(document, found, column, &mut self.builder),
                SlotKind::Jsonb => emit_jsonb(document, found, column, &mut self.builder),
            } {
                column.push_error(e);
            }
        }
    }
}

/// A part of a document that was read, as text.
#[inline]
fn span(document: &[u8], start: u32, end: u32) -> Result<&str, EvalError> {
    let bytes = &document[start as usize..end as usize];
    std::str::from_utf8(bytes).or_else(|_| super::decode_utf8(bytes))
}

#[inline]
fn emit_text(
    document: &[u8],
    found: Found,
    column: &mut SlotColumn,
    b: &mut Builder,
) -> Result<(), EvalError> {
    let text = span(document, found.start, found.end)?;
    match found.what {
        What::Absent | What::Null => {
            column.push_null();
            return Ok(());
        }
        What::Text | What::Word => column.text.push_str(text),
        What::Escaped => lex::unescape(text, &mut column.text),
        What::Packed => {
            b.clear();
            pack::document(text, b)?;
            Jsonb::new(b.packed()).write_json(&mut column.text);
        }
    }
    column.push_value();
    Ok(())
}

fn emit_jsonb(
    document: &[u8],
    found: Found,
    column: &mut SlotColumn,
    b: &mut Builder,
) -> Result<(), EvalError> {
    let text = match found.what {
        // With its quotes.
        What::Text | What::Escaped => span(document, found.start - 1, found.end + 1)?,
        _ => span(document, found.start, found.end)?,
    };
    let length = column.bytes.len();
    b.clear();
    b.swap(&mut column.bytes);
    let packed = pack::document(text, b);
    if packed.is_err() {
        b.abandon(length);
    }
    b.swap(&mut column.bytes);
    packed?;
    column.push_value();
    Ok(())
}

/// What a document has where a node points.
#[derive(Clone, Copy, Debug, Default)]
struct Found {
    what: What,
    start: u32,
    end: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum What {
    /// Nothing.
    #[default]
    Absent,
    /// JSON null.
    Null,
    /// The span is the inside of a string without escapes.
    Text,
    /// The span is true, false, or a number as it is printed.
    Word,
    /// The span is the inside of a string with escapes.
    Escaped,
    /// The text must be made from the packed form.
    Packed,
}

/// No node, key or place.
const NONE: u32 = u32::MAX;
/// The document: the first node, and the first place.
const ROOT: u32 = 0;

/// The wanted paths as a tree.
#[derive(Clone, Debug)]
struct Tree {
    /// Each node before its children, so that what is below a node follows it.
    nodes: Vec<Node>,
    /// The node of each path.
    slots: Vec<u32>,
}

#[derive(Clone, Debug, Default)]
struct Node {
    /// The children that are members of an object, by key.
    keys: Vec<(String, u32)>,
    /// The children that are elements of an array, by index.
    indexes: Vec<(i64, u32)>,
    /// Behind the last node below this one.
    end: u32,
}

impl Tree {
    fn new(paths: &[SlotPath]) -> Tree {
        let mut tree = Tree { nodes: vec![], slots: vec![NONE; paths.len()] };
        tree.grow(paths, &(0..paths.len()).collect::<Vec<_>>(), 0);
        tree
    }

    /// Adds the node to which these paths lead after `depth` steps, and all below it.
    fn grow(&mut self, paths: &[SlotPath], members: &[usize], depth: usize) -> u32 {
        let id = self.nodes.len() as u32;
        self.nodes.push(Node::default());
        let mut steps: Vec<(&Step, Vec<usize>)> = vec![];
        for &i in members {
            match paths[i].steps.get(depth) {
                // Deeper than any document goes: never found, and no deep recursion here.
                Some(_) if depth >= MAX_DEPTH => {}
                Some(step) => match steps.iter_mut().find(|(s, _)| *s == step) {
                    Some((_, below)) => below.push(i),
                    None => steps.push((step, vec![i])),
                },
                None => self.slots[i] = id,
            }
        }
        for (step, below) in steps {
            let child = self.grow(paths, &below, depth + 1);
            let node = &mut self.nodes[id as usize];
            match step {
                Step::Key(key) => node.keys.push((key.clone(), child)),
                Step::Index(index) => node.indexes.push((*index, child)),
            }
        }
        self.nodes[id as usize].end = self.nodes.len() as u32;
        id
    }

    /// The child of a node for a key.
    fn child(&self, node: u32, key: &[u8]) -> u32 {
        let Some(node) = self.nodes.get(node as usize) else { return NONE };
        node.keys.iter().find(|(k, _)| k.as_bytes() == key).map_or(NONE, |(_, child)| *child)
    }
}

/// How many bytes a learned text can have.
const PATTERN: usize = 32;
/// How many texts may follow one key before the rest is read letter by letter.
const GUESSES: usize = 4;
/// How many keys are learned in one object, so that a map with data in its keys leaves room for others.
const PLACE_KEYS: u16 = 128;
/// How many keys are learned in all; few in tests, so that they get there.
const KEYS: usize = if cfg!(test) { 600 } else { 4096 };
/// After how many keys that found no room all is learned anew, for streams whose documents change over time.
const MISSES: u32 = if cfg!(test) { 2_000 } else { 1 << 20 };
/// How deep what nobody wants is learned; below, it is skipped without recursion.
const LEARNED_DEPTH: usize = 16;

/// The shape of documents, as seen so far.
#[derive(Clone, Debug)]
struct Learned {
    keys: Vec<Key>,
    /// From the hash of place and pattern to the key.
    index: HashMap<u64, u32, Plain>,
    /// How many keys found no room.
    misses: u32,
    hasher: ahash::RandomState,
}

/// A member of an object at one place of the documents, and also the place of what its value holds. Key 0 is the
/// document itself.
#[derive(Clone, Debug)]
struct Key {
    /// What stands between the previous value (or the opening brace, included) and this member's value.
    pattern: [u128; 2],
    length: u8,
    /// How many keys were learned in the objects at this place.
    children: u16,
    /// Whose member this is.
    place: u32,
    /// The node of the value.
    node: u32,
    /// The keys that may come next in the same object, and those that may come first if the value is an object.
    after: [[u32; GUESSES]; 2],
    /// The place of elements if the value is an array.
    element: u32,
}

/// For each length, ones where a pattern of that length has bytes.
const MASKS: [[u128; 2]; PATTERN + 1] = {
    let mut masks = [[0; 2]; PATTERN + 1];
    let mut n = 1;
    while n <= PATTERN {
        masks[n] = match n {
            0..16 => [(1 << (8 * n)) - 1, 0],
            16 => [u128::MAX, 0],
            17..32 => [u128::MAX, (1 << (8 * (n - 16))) - 1],
            _ => [u128::MAX, u128::MAX],
        };
        n += 1;
    }
    masks
};

#[inline]
fn halves(bytes: &[u8; PATTERN]) -> [u128; 2] {
    let (a, b) = bytes.split_at(16);
    let half = |h: &[u8]| u128::from_le_bytes(h.try_into().expect("half of 32 is 16"));
    [half(a), half(b)]
}

impl Key {
    fn new(pattern: &[u8], place: u32, node: u32) -> Key {
        let mut padded = [0; PATTERN];
        padded[..pattern.len()].copy_from_slice(pattern);
        Key {
            pattern: halves(&padded),
            length: pattern.len() as u8,
            children: 0,
            place,
            node,
            after: [[NONE; GUESSES]; 2],
            element: NONE,
        }
    }

    /// Whether the bytes at a place begin with the pattern.
    #[inline(always)]
    fn matches(&self, bytes: &[u8], at: usize) -> bool {
        let there = match bytes.get(at..).and_then(|b| b.first_chunk::<PATTERN>()) {
            Some(chunk) => halves(chunk),
            None => tail(bytes, at),
        };
        let mask = &MASKS[usize::from(self.length)];
        ((there[0] ^ self.pattern[0]) & mask[0]) | ((there[1] ^ self.pattern[1]) & mask[1]) == 0
    }
}

/// The last bytes of a document, padded with zeros, which no pattern has.
#[cold]
fn tail(bytes: &[u8], at: usize) -> [u128; 2] {
    let rest = bytes.get(at..).unwrap_or(&[]);
    let mut padded = [0; PATTERN];
    padded[..rest.len()].copy_from_slice(rest);
    halves(&padded)
}

impl Learned {
    fn new() -> Learned {
        Learned {
            keys: vec![Key::new(b"", NONE, ROOT)],
            index: HashMap::default(),
            misses: 0,
            // Fixed, so that two runs learn the same.
            hasher: ahash::RandomState::with_seeds(1, 2, 3, 4),
        }
    }

    fn hash(&self, place: u32, pattern: &[u8]) -> u64 {
        let mut h = self.hasher.build_hasher();
        h.write_u32(place);
        h.write(pattern);
        h.finish()
    }

    /// The key with this pattern at a place, learned now if need be.
    fn key(&mut self, place: u32, pattern: &[u8], node: impl FnOnce() -> u32) -> u32 {
        if place == NONE || pattern.len() > PATTERN {
            return NONE;
        }
        let hash = self.hash(place, pattern);
        if let Some(&id) = self.index.get(&hash) {
            let known = &self.keys[id as usize];
            let same = known.place == place
                && usize::from(known.length) == pattern.len()
                && known.pattern == Key::new(pattern, place, NONE).pattern;
            return if same { id } else { NONE };
        }
        if self.keys.len() >= KEYS {
            self.misses += 1;
            return NONE;
        }
        if self.keys[place as usize].children >= PLACE_KEYS {
            return NONE;
        }
        self.keys[place as usize].children += 1;
        let id = self.keys.len() as u32;
        self.keys.push(Key::new(pattern, place, node()));
        self.index.insert(hash, id);
        id
    }

    /// The place of the elements of an array.
    fn element(&mut self, place: u32) -> u32 {
        let Some(key) = self.keys.get(place as usize) else { return NONE };
        if key.element == NONE && self.keys.len() < KEYS {
            let id = self.keys.len() as u32;
            self.keys.push(Key::new(b"", NONE, NONE));
            self.keys[place as usize].element = id;
        }
        self.keys[place as usize].element
    }

    /// Remembers that `key` came after the key `previous`, or first in an object at the place `previous`.
    fn follow(&mut self, previous: u32, first: bool, key: u32) {
        let Some(previous) = self.keys.get_mut(previous as usize) else { return };
        if key == NONE {
            return;
        }
        let guesses = &mut previous.after[usize::from(first)];
        let free = guesses.iter().position(|g| *g == NONE || *g == key).unwrap_or(GUESSES - 1);
        guesses[free] = key;
    }
}

/// Hashes that are hashes already.
#[derive(Clone, Copy, Debug, Default)]
struct Plain;

impl BuildHasher for Plain {
    type Hasher = PlainHasher;
    fn build_hasher(&self) -> PlainHasher {
        PlainHasher(0)
    }
}

struct PlainHasher(u64);

impl Hasher for PlainHasher {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|b| self.0 = self.0 << 8 | u64::from(*b));
    }
    fn write_u64(&mut self, n: u64) {
        self.0 = n;
    }
}

/// The reading of one document.
struct Reader<'a> {
    bytes: &'a [u8],
    tree: &'a Tree,
    learned: &'a mut Learned,
    found: &'a mut [Found],
}

/// What the slow look at a member gives.
enum Member {
    /// There is none: the object ends, and this is behind it.
    End(usize),
    /// The position of the value, its key (or none) and its node (or none).
    Value(usize, u32, u32),
}

impl Reader<'_> {
    /// Reads a value at a place for a node (either may be none), nested `depth` deep, and returns the end.
    fn value(&mut self, at: usize, place: u32, node: u32, depth: usize) -> Option<usize> {
        let bytes = self.bytes;
        if node != NONE {
            // Of equal keys the last wins, so what an earlier one had below is gone.
            let end = self.tree.nodes[node as usize].end;
            self.found[node as usize + 1..end as usize].fill(Found::default());
        }
        let (what, start, inner_end, end) = match *bytes.get(at)? {
            b'"' => {
                let (end, escaped) = lex::string::<true>(bytes, at + 1)?;
                (if escaped { What::Escaped } else { What::Text }, at + 1, end - 1, end)
            }
            b'{' => {
                let end = self.object(at, place, node, depth)?;
                (What::Packed, at, end, end)
            }
            b'[' => {
                let end = self.array(at, place, node, depth)?;
                (What::Packed, at, end, end)
            }
            b'-' | b'0'..=b'9' => {
                let (end, canonical) = lex::number(bytes, at)?;
                (if canonical { What::Word } else { What::Packed }, at, end, end)
            }
            // A guessed key may be followed by more white space than the one it was learned from.
            b' ' | b'\n' | b'\t' | b'\r' => return self.value(lex::white(bytes, at), place, node, depth),
            first => {
                let end = lex::literal(bytes, at)?;
                (if first == b'n' { What::Null } else { What::Word }, at, end, end)
            }
        };
        if node != NONE {
            self.found[node as usize] = Found { what, start: start as u32, end: inner_end as u32 };
        }
        Some(end)
    }

    fn object(&mut self, at: usize, place: u32, node: u32, depth: usize) -> Option<usize> {
        if depth >= LEARNED_DEPTH && node == NONE {
            return lex::skip(self.bytes, at, depth);
        }
        if depth == MAX_DEPTH {
            return None;
        }
        let bytes = self.bytes;
        let mut at = at;
        let (mut previous, mut first) = (place, true);
        loop {
            let mut guess = None;
            for i in 0..GUESSES {
                let keys = &self.learned.keys;
                let Some(before) = keys.get(previous as usize) else { break };
                let id = before.after[usize::from(first)][i];
                let Some(key) = keys.get(id as usize) else { break };
                if key.matches(bytes, at) {
                    guess = Some((at + usize::from(key.length), id, key.node));
                    if i > 0 {
                        // Frequent ones move to the front, so that rare ones are what is replaced.
                        self.learned.keys[previous as usize].after[usize::from(first)].swap(i - 1, i);
                    }
                    break;
                }
            }
            let (value, key, child) = match guess {
                Some(member) => member,
                None => match self.member(at, (previous, first), place, node)? {
                    Member::End(end) => return Some(end),
                    Member::Value(value, key, child) => (value, key, child),
                },
            };
            at = match bytes.get(value) {
                // Most members by far, so without the call.
                Some(b'"') if child == NONE => lex::string::<true>(bytes, value + 1)?.0,
                _ => self.value(value, key, child, depth + 1)?,
            };
            if bytes.get(at) == Some(&b'}') {
                return Some(at + 1);
            }
            (previous, first) = (key, false);
        }
    }

    /// The next member of an object letter by letter, from the end of the value before it, or from the opening brace
    /// if it is the first.
    #[cold]
    fn member(
        &mut self,
        start: usize,
        (previous, first): (u32, bool),
        place: u32,
        node: u32,
    ) -> Option<Member> {
        let bytes = self.bytes;
        let mut at = lex::white(bytes, start);
        match *bytes.get(at)? {
            b'{' if first => {
                at = lex::white(bytes, at + 1);
                if bytes.get(at) == Some(&b'}') {
                    return Some(Member::End(at + 1));
                }
            }
            b'}' if !first => return Some(Member::End(at + 1)),
            b',' if !first => at = lex::white(bytes, at + 1),
            _ => return None,
        }
        if bytes.get(at) != Some(&b'"') {
            return None;
        }
        let (end, escaped) = lex::string::<true>(bytes, at + 1)?;
        let inside = &bytes[at + 1..end - 1];
        at = lex::white(bytes, end);
        if bytes.get(at) != Some(&b':') {
            return None;
        }
        at = lex::white(bytes, at + 1);
        let child = if node == NONE {
            NONE
        } else if escaped {
            let mut key = String::new();
            lex::unescape(std::str::from_utf8(inside).ok()?, &mut key);
            self.tree.child(node, key.as_bytes())
        } else {
            self.tree.child(node, inside)
        };
        let key = self.learned.key(place, &bytes[start..at], || child);
        self.learned.follow(previous, first, key);
        Some(Member::Value(at, key, child))
    }

    fn array(&mut self, at: usize, place: u32, node: u32, depth: usize) -> Option<usize> {
        if depth >= LEARNED_DEPTH && node == NONE {
            return lex::skip(self.bytes, at, depth);
        }
        if depth == MAX_DEPTH {
            return None;
        }
        let bytes = self.bytes;
        let tree = self.tree;
        let wanted = tree.nodes.get(node as usize).map_or(&[][..], |n| &n.indexes);
        // Indexes from the end need the length first.
        let length = match wanted.iter().any(|(i, _)| *i < 0) {
            true => count(bytes, at, depth)?,
            false => 0,
        };
        let element = self.learned.element(place);
        let mut at = lex::white(bytes, at + 1);
        if bytes.get(at) == Some(&b']') {
            return Some(at + 1);
        }
        for index in 0i64.. {
            let mut end = None;
            for (i, child) in wanted {
                if *i == index || (*i < 0 && i.checked_add(length) == Some(index)) {
                    // One element may be wanted by its index from either end; then it is read for each.
                    end = Some(self.value(at, NONE, *child, depth + 1)?);
                }
            }
            let end = match end {
                Some(end) => end,
                None => self.value(at, element, NONE, depth + 1)?,
            };
            at = lex::white(bytes, end);
            match *bytes.get(at)? {
                b',' => at = lex::white(bytes, at + 1),
                b']' => return Some(at + 1),
                _ => return None,
            }
        }
        None
    }
}

/// How many elements an array has.
fn count(bytes: &[u8], at: usize, depth: usize) -> Option<i64> {
    let mut at = lex::white(bytes, at + 1);
    if bytes.get(at) == Some(&b']') {
        return Some(0);
    }
    let mut length = 0;
    loop {
        length += 1;
        at = lex::white(bytes, lex::skip(bytes, at, depth + 1)?);
        match *bytes.get(at)? {
            b',' => at = lex::white(bytes, at + 1),
            b']' => return Some(length),
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_learned_is_bounded_and_begun_anew_when_documents_change() {
        let path = SlotPath { steps: vec![Step::Key("type".into())], kind: SlotKind::Text };
        let mut scanner = Scanner::new(std::slice::from_ref(&path));
        let mut columns = SlotColumn::for_paths(&[path]);
        let (mut full, mut anew, mut before) = (false, false, 0);
        for i in 0..10_000 {
            let document = format!("{{\"m{}\":{{\"user-{i}\":{{\"n{i}\":{i}}}}},\"type\":\"t{i}\"}}", i % 50);
            scanner.scan(document.as_bytes(), &mut columns);
            assert_eq!(columns[0].get(i), Ok(crate::Datum::Text(&format!("t{i}"))));
            let learned = scanner.learned.keys.len();
            assert!(learned <= KEYS);
            full |= learned == KEYS;
            anew |= learned < before;
            before = learned;
        }
        assert!(full && anew);
    }
}
