//! One transaction for both families, as the bytes that the kernel reads.
//!
//! Kept apart from the socket, so that its size, its speed and its error map are tested without a kernel.

use super::expr::Family;
use super::object::{Chain, Element, Rule, Set, Table};

/// A transaction under construction, about the tables of one name.
///
/// Every push carries the caller's number of the operation; errors come back with it.
#[derive(Clone, Debug)]
pub struct Batch {
    table: String,
}

impl Batch {
    /// An empty one.
    pub fn new(table: &str) -> Self {
        Batch { table: table.to_owned() }
    }

    /// Adds a table, or changes its flags.
    pub fn put_table(&mut self, _operation: u32, _table: &Table) {
        todo!()
    }

    /// Removes a table and everything in it.
    pub fn remove_table(&mut self, _operation: u32, _family: Family) {
        todo!()
    }

    /// Adds a chain.
    pub fn put_chain(&mut self, _operation: u32, _family: Family, _chain: &Chain) {
        todo!()
    }

    /// Removes a chain; nothing may refer to it, rules in it included.
    pub fn remove_chain(&mut self, _operation: u32, _family: Family, _chain: &str) {
        todo!()
    }

    /// Appends a rule to its chain. Handle is ignored.
    pub fn append_rule(&mut self, _operation: u32, _family: Family, _rule: &Rule) {
        todo!()
    }

    /// Removes a rule by its handle.
    pub fn remove_rule(&mut self, _operation: u32, _family: Family, _chain: &str, _handle: u64) {
        todo!()
    }

    /// Removes every rule of a chain.
    pub fn flush_chain(&mut self, _operation: u32, _family: Family, _chain: &str) {
        todo!()
    }

    /// Adds a set or a map.
    pub fn put_set(&mut self, _operation: u32, _family: Family, _set: &Set) {
        todo!()
    }

    /// Removes a set or a map; no rule may refer to it.
    pub fn remove_set(&mut self, _operation: u32, _family: Family, _set: &str) {
        todo!()
    }

    /// Removes every element of a set.
    pub fn flush_set(&mut self, _operation: u32, _family: Family, _set: &str) {
        todo!()
    }

    /// Begins to add elements to a set or a map. An element that is there with another value is refused (`EEXIST`,
    /// `EBUSY`): remove it first, in the same batch.
    pub fn put_elements(&mut self, _family: Family, _set: &str) -> Elements<'_> {
        todo!()
    }

    /// Begins to remove elements from a set or a map; keys are enough.
    pub fn remove_elements(&mut self, _family: Family, _set: &str) -> Elements<'_> {
        todo!()
    }

    /// Makes the commit fail with [`super::CommitError::Raced`] unless the ruleset is at this generation.
    pub fn expect_generation(&mut self, _generation: u32) {
        todo!()
    }

    /// How many pushes there were.
    pub fn len(&self) -> usize {
        todo!()
    }

    /// Nothing was pushed.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The name of the tables.
    pub fn table(&self) -> &str {
        &self.table
    }
}

/// Elements of one set on their way into a batch: packed into as few messages as the 64 KiB limit of an attribute allows.
#[derive(Debug)]
pub struct Elements<'b> {
    batch: &'b mut Batch,
}

impl Elements<'_> {
    /// Adds one.
    pub fn push(&mut self, _operation: u32, _element: &Element<'_>) {
        let _ = &self.batch;
        todo!()
    }
}
