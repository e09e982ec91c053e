//! The nodes' names, each kept once however many keys the node wants.

use std::collections::HashMap;
use std::hash::Hash;

use crate::identity::Node;

#[derive(Debug)]
pub(crate) struct Names<A> {
    numbers: HashMap<A, Node>,
    entries: Vec<Entry<A>>,
    free: Vec<Node>,
}

#[derive(Debug)]
struct Entry<A> {
    name: A,
    /// How many keys remember the node.
    keys: u32,
    /// When a permit last brought it a byte, in milliseconds since the swarm began.
    fed: Option<u32>,
}

impl<A: Copy + Eq + Hash> Names<A> {
    pub(crate) fn new() -> Self {
        Self {
            numbers: HashMap::new(),
            entries: Vec::new(),
            free: Vec::new(),
        }
    }

    pub(crate) fn number(&self, name: A) -> Option<Node> {
        self.numbers.get(&name).copied()
    }

    pub(crate) fn name(&self, node: Node) -> Option<A> {
        self.entry(node).map(|entry| entry.name)
    }

    /// How many keys remember the node.
    pub(crate) fn keys(&self, name: A) -> usize {
        let entry = self.number(name).and_then(|node| self.entry(node));
        entry.map_or(0, |entry| usize::try_from(entry.keys).unwrap_or(usize::MAX))
    }

    /// The number of a name, given to it if it had none. Callers that store the number call
    /// [`Names::keep`].
    pub(crate) fn intern(&mut self, name: A) -> Option<Node> {
        if let Some(node) = self.number(name) {
            return Some(node);
        }
        let entry = Entry {
            name,
            keys: 0,
            fed: None,
        };
        let node = if let Some(node) = self.free.pop() {
            *self.entries.get_mut(index(node))? = entry;
            node
        } else {
            let node = Node(u32::try_from(self.entries.len()).ok()?);
            self.entries.push(entry);
            node
        };
        self.numbers.insert(name, node);
        Some(node)
    }

    /// One more key remembers the node.
    pub(crate) fn keep(&mut self, node: Node) {
        if let Some(entry) = self.entries.get_mut(index(node)) {
            entry.keys = entry.keys.saturating_add(1);
        }
    }

    /// One key less remembers the node; with the last the name is forgotten.
    pub(crate) fn release(&mut self, node: Node) {
        let Some(entry) = self.entries.get_mut(index(node)) else {
            return;
        };
        entry.keys = entry.keys.saturating_sub(1);
        if entry.keys == 0 && self.numbers.remove(&entry.name).is_some() {
            self.free.push(node);
        }
        if self.numbers.is_empty() {
            *self = Self::new();
        }
    }

    /// A permit has brought the node a byte.
    pub(crate) fn feed(&mut self, node: Node, now: u32) {
        if let Some(entry) = self.entries.get_mut(index(node)) {
            entry.fed = Some(now);
        }
    }

    /// When a permit last brought the node a byte of any key.
    pub(crate) fn fed(&self, node: Node) -> Option<u32> {
        self.entry(node)?.fed
    }

    /// Bytes that it takes, about.
    pub(crate) fn size(&self) -> usize {
        let number = size_of::<(A, Node)>() + 1;
        self.numbers.capacity() * 8 / 7 * number
            + self.entries.capacity() * size_of::<Entry<A>>()
            + self.free.capacity() * size_of::<Node>()
    }

    fn entry(&self, node: Node) -> Option<&Entry<A>> {
        self.entries.get(index(node))
    }
}

fn index(node: Node) -> usize {
    usize::try_from(node.0).unwrap_or(usize::MAX)
}
