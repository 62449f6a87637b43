//! One transaction for both families, as the bytes that the kernel reads.
//!
//! Kept apart from the socket, so that its size, its speed and its map of errors are tested without a kernel.

use super::abi::*;
use super::expr::Family;
use super::object::{Chain, Element, Flowtable, Rule, Set, Table};
use super::wire::{put_chain, put_element, put_flowtable, put_rule, put_set, put_table, table_name};
use crate::attr::{close, open, put_be32, put_be64, put_str};
use crate::message::{self, Messages};

/// A transaction under construction, about the tables of one name.
///
/// Every push carries the caller's number of the operation; errors come back with it. A number may be used for
/// several pushes.
#[derive(Clone, Debug)]
pub struct Batch {
    table: String,
    bytes: Vec<u8>,
    /// Where each message begins, the header of the batch included.
    starts: Vec<u32>,
    /// Where each operation begins, where it is not the one before. In ascending order.
    marks: Vec<Mark>,
    pushed: usize,
    set_ids: u32,
    /// How many messages there are without the closing one, which [`Batch::encoded`] adds.
    open_len: Option<(usize, usize)>,
}

#[derive(Clone, Copy, Debug)]
struct Mark {
    offset: u32,
    operation: u32,
}

/// Where [`Batch::new`] puts the payload of `NFNL_BATCH_GENID`.
const GENERATION_AT: usize = NLMSG_HDRLEN + NFGENMSG_LEN + crate::attr::HEADER;

/// An attribute's length has 16 bits; no element is near the kilobyte that is kept free.
const ELEMENTS_LIMIT: usize = u16::MAX as usize - 1024;

impl Batch {
    /// An empty one.
    pub fn new(table: &str) -> Self {
        let mut bytes = Vec::with_capacity(4096);
        let start = message::begin_for(&mut bytes, NFNL_MSG_BATCH_BEGIN, 0, 0, NFNL_SUBSYS_NFTABLES);
        // Generation 0 is any.
        put_be32(&mut bytes, NFNL_BATCH_GENID, 0);
        message::end(&mut bytes, start);
        Batch {
            table: table.to_owned(),
            bytes,
            starts: vec![0],
            marks: Vec::new(),
            pushed: 0,
            set_ids: 0,
            open_len: None,
        }
    }

    /// Makes the commit fail with [`super::CommitError::Raced`] unless the ruleset is at this generation
    /// (`NFNL_BATCH_GENID`); 0 is any.
    pub fn expect_generation(&mut self, generation: u32) {
        self.bytes[GENERATION_AT..GENERATION_AT + 4].copy_from_slice(&generation.to_be_bytes());
    }

    /// The generation that is expected; 0 is any.
    pub fn expected_generation(&self) -> u32 {
        u32::from_be_bytes(self.bytes[GENERATION_AT..GENERATION_AT + 4].try_into().expect("a slice of 4"))
    }

    /// Adds a table, or changes its flags; what is in it stays.
    pub fn put_table(&mut self, operation: u32, table: &Table) {
        self.message(operation, NFT_MSG_NEWTABLE, NLM_F_CREATE, table.family, |batch| {
            put_table(&mut batch.bytes, &batch.table, table);
        });
    }

    /// Removes a table and everything in it.
    pub fn remove_table(&mut self, operation: u32, family: Family) {
        self.message(operation, NFT_MSG_DELTABLE, 0, family, |batch| {
            put_str(&mut batch.bytes, NFTA_TABLE_NAME, &batch.table);
        });
    }

    /// Adds a chain; none of that name may be there.
    pub fn put_chain(&mut self, operation: u32, family: Family, chain: &Chain) {
        self.message(operation, NFT_MSG_NEWCHAIN, NLM_F_CREATE | NLM_F_EXCL, family, |batch| {
            put_chain(&mut batch.bytes, &batch.table, chain);
        });
    }

    /// Removes a chain and its rules; no rule or element elsewhere may refer to it.
    pub fn remove_chain(&mut self, operation: u32, family: Family, chain: &str) {
        self.message(operation, NFT_MSG_DELCHAIN, 0, family, |batch| {
            put_str(&mut batch.bytes, NFTA_CHAIN_TABLE, &batch.table);
            put_str(&mut batch.bytes, NFTA_CHAIN_NAME, chain);
        });
    }

    /// Appends a rule to its chain. Its handle is ignored: the kernel gives one.
    pub fn append_rule(&mut self, operation: u32, family: Family, rule: &Rule) {
        self.message(operation, NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND, family, |batch| {
            put_rule(&mut batch.bytes, &batch.table, rule);
        });
    }

    /// Removes a rule by its handle.
    pub fn remove_rule(&mut self, operation: u32, family: Family, chain: &str, handle: u64) {
        self.message(operation, NFT_MSG_DELRULE, 0, family, |batch| {
            put_str(&mut batch.bytes, NFTA_RULE_TABLE, &batch.table);
            put_str(&mut batch.bytes, NFTA_RULE_CHAIN, chain);
            put_be64(&mut batch.bytes, NFTA_RULE_HANDLE, handle);
        });
    }

    /// Removes every rule of a chain.
    pub fn flush_chain(&mut self, operation: u32, family: Family, chain: &str) {
        self.message(operation, NFT_MSG_DELRULE, 0, family, |batch| {
            put_str(&mut batch.bytes, NFTA_RULE_TABLE, &batch.table);
            put_str(&mut batch.bytes, NFTA_RULE_CHAIN, chain);
        });
    }

    /// Adds a set or a map; none of that name may be there.
    pub fn put_set(&mut self, operation: u32, family: Family, set: &Set) {
        self.set_ids += 1;
        self.message(operation, NFT_MSG_NEWSET, NLM_F_CREATE | NLM_F_EXCL, family, |batch| {
            put_set(&mut batch.bytes, &batch.table, set, batch.set_ids);
        });
    }

    /// Removes a set or a map with its elements; no rule may refer to it.
    pub fn remove_set(&mut self, operation: u32, family: Family, set: &str) {
        self.message(operation, NFT_MSG_DELSET, 0, family, |batch| {
            put_str(&mut batch.bytes, NFTA_SET_TABLE, &batch.table);
            put_str(&mut batch.bytes, NFTA_SET_NAME, set);
        });
    }

    /// Removes every element of a set.
    pub fn flush_set(&mut self, operation: u32, family: Family, set: &str) {
        self.message(operation, NFT_MSG_DELSETELEM, 0, family, |batch| {
            put_str(&mut batch.bytes, NFTA_SET_ELEM_LIST_TABLE, &batch.table);
            put_str(&mut batch.bytes, NFTA_SET_ELEM_LIST_SET, set);
        });
    }

    /// Adds a flowtable; to one that is there already, the devices that it does not have.
    pub fn put_flowtable(&mut self, operation: u32, family: Family, flowtable: &Flowtable) {
        self.message(operation, NFT_MSG_NEWFLOWTABLE, NLM_F_CREATE, family, |batch| {
            put_flowtable(&mut batch.bytes, &batch.table, flowtable);
        });
    }

    /// Removes devices from a flowtable (Linux 5.8). One that it does not have is refused (`ENOENT`).
    pub fn remove_devices(&mut self, operation: u32, family: Family, flowtable: &Flowtable) {
        self.message(operation, NFT_MSG_DELFLOWTABLE, 0, family, |batch| {
            put_flowtable(&mut batch.bytes, &batch.table, flowtable);
        });
    }

    /// Removes a flowtable; no rule may refer to it. What is in it goes back to the usual path.
    pub fn remove_flowtable(&mut self, operation: u32, family: Family, flowtable: &str) {
        self.message(operation, NFT_MSG_DELFLOWTABLE, 0, family, |batch| {
            put_str(&mut batch.bytes, NFTA_FLOWTABLE_TABLE, &batch.table);
            put_str(&mut batch.bytes, NFTA_FLOWTABLE_NAME, flowtable);
        });
    }

    /// Begins to add elements to a set or a map. One that is there already is refused (`EEXIST`): to change its
    /// value, remove it first in the same batch.
    pub fn put_elements<'b>(&'b mut self, family: Family, set: &'b str) -> Elements<'b> {
        Elements { batch: self, kind: NFT_MSG_NEWSETELEM, flags: NLM_F_CREATE | NLM_F_EXCL, family, set, open: None }
    }

    /// Begins to remove elements from a set or a map; keys are enough. One that is not there is refused (`ENOENT`).
    pub fn remove_elements<'b>(&'b mut self, family: Family, set: &'b str) -> Elements<'b> {
        Elements { batch: self, kind: NFT_MSG_DELSETELEM, flags: 0, family, set, open: None }
    }

    /// How many pushes there were.
    pub fn len(&self) -> usize {
        self.pushed
    }

    /// Nothing was pushed.
    pub fn is_empty(&self) -> bool {
        self.pushed == 0
    }

    /// How many bytes it takes so far.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The name of the tables.
    pub fn table(&self) -> &str {
        &self.table
    }

    /// What is pushed from now on is about the tables of this name. For what is many tables' and must happen at once.
    pub fn turn_to(&mut self, table: &str) {
        table.clone_into(&mut self.table);
    }

    fn message(&mut self, operation: u32, kind: u16, flags: u16, family: Family, body: impl FnOnce(&mut Batch)) {
        let start = self.begin(kind, flags, family);
        self.mark(start, operation);
        body(self);
        message::end(&mut self.bytes, start);
    }

    fn begin(&mut self, kind: u16, flags: u16, family: Family) -> usize {
        self.unseal();
        let kind = (NFNL_SUBSYS_NFTABLES << 8) | kind;
        let start = message::begin(&mut self.bytes, kind, flags, family.abi() as u8);
        self.starts.push(start as u32);
        start
    }

    fn mark(&mut self, offset: usize, operation: u32) {
        self.pushed += 1;
        // A new message is marked even if it goes on with the same operation: `operations_of` looks at one message.
        let message = self.starts.last().copied().unwrap_or_default();
        if self.marks.last().is_none_or(|last| last.operation != operation || last.offset < message) {
            self.marks.push(Mark { offset: offset as u32, operation });
        }
    }

    /// The whole transaction as netlink messages, numbered from `sequence` on: what [`super::Nftables::commit`] sends.
    /// An acknowledgement is asked for on the last operation alone. May be called again, and more may be pushed after
    /// it.
    pub fn encoded(&mut self, sequence: u32) -> &[u8] {
        if self.open_len.is_none() {
            self.open_len = Some((self.bytes.len(), self.starts.len()));
            if let [_, .., last] = self.starts[..] {
                message::flag(&mut self.bytes, last as usize, NLM_F_ACK);
            }
            let start = message::begin_for(&mut self.bytes, NFNL_MSG_BATCH_END, 0, 0, NFNL_SUBSYS_NFTABLES);
            message::end(&mut self.bytes, start);
            self.starts.push(start as u32);
        }
        for (index, start) in self.starts.iter().enumerate() {
            message::number(&mut self.bytes, *start as usize, sequence.wrapping_add(index as u32));
        }
        &self.bytes
    }

    fn unseal(&mut self) {
        if let Some((bytes, messages)) = self.open_len.take() {
            self.bytes.truncate(bytes);
            self.starts.truncate(messages);
        }
    }

    /// How many messages [`Batch::encoded`] has.
    pub(super) fn messages(&self) -> u32 {
        self.starts.len() as u32
    }

    /// The operations that an error of message `index` may be about: the one at `offset` in it, or all of them.
    pub(super) fn operations_of(&self, index: u32, offset: Option<u32>) -> Vec<u32> {
        let Some(start) = self.starts.get(index as usize).copied() else { return Vec::new() };
        let end = self.starts.get(index as usize + 1).copied().unwrap_or(self.bytes.len() as u32);
        let first = self.marks.partition_point(|mark| mark.offset < start);
        let behind = self.marks.partition_point(|mark| mark.offset < end);
        let marks = &self.marks[first..behind];
        match offset.map(|offset| marks.partition_point(|mark| mark.offset <= start + offset)) {
            Some(at) if at > 0 => vec![marks[at - 1].operation],
            // The name of the set, before the first element, or no offset: it may be any.
            _ => marks.iter().map(|mark| mark.operation).collect(),
        }
    }

    /// What message `index` is about: `ip set services`.
    pub(super) fn object_of(&self, index: u32) -> String {
        let start = self.starts.get(index as usize).copied().unwrap_or_default() as usize;
        let Some(message) = Messages(&self.bytes[start..]).next() else { return "batch".to_owned() };
        let (word, name) = match message.kind & 0xff {
            NFT_MSG_NEWTABLE | NFT_MSG_DELTABLE => ("table", NFTA_TABLE_NAME),
            NFT_MSG_NEWCHAIN | NFT_MSG_DELCHAIN => ("chain", NFTA_CHAIN_NAME),
            NFT_MSG_NEWRULE | NFT_MSG_DELRULE => ("rule in chain", NFTA_RULE_CHAIN),
            NFT_MSG_NEWSET | NFT_MSG_DELSET => ("set", NFTA_SET_NAME),
            NFT_MSG_NEWFLOWTABLE | NFT_MSG_DELFLOWTABLE => ("flowtable", NFTA_FLOWTABLE_NAME),
            NFT_MSG_NEWSETELEM | NFT_MSG_DELSETELEM => ("element of set", NFTA_SET_ELEM_LIST_SET),
            _ => return "batch".to_owned(),
        };
        let family = Family::from_abi(message.family().into()).unwrap_or(Family::Ipv4);
        let table = table_name(message.attrs()).unwrap_or_default();
        match message.attrs().find(name).and_then(|attr| attr.str()) {
            Some(name) if word != "table" => format!("{family} {table} {word} {name}"),
            _ => format!("{word} {family} {table}"),
        }
    }
}

/// Elements of one set on their way into a batch: packed into as few messages as the 64 KiB limit of an attribute
/// allows.
#[derive(Debug)]
pub struct Elements<'b> {
    batch: &'b mut Batch,
    kind: u16,
    flags: u16,
    family: Family,
    set: &'b str,
    open: Option<OpenList>,
}

/// A message whose list is still growing.
#[derive(Clone, Copy, Debug)]
struct OpenList {
    message: usize,
    list: usize,
}

impl Elements<'_> {
    /// Adds one.
    pub fn push(&mut self, operation: u32, element: &Element<'_>) {
        if self.open.is_some_and(|open| self.batch.bytes.len() - open.list > ELEMENTS_LIMIT) {
            self.finish();
        }
        if self.open.is_none() {
            let message = self.batch.begin(self.kind, self.flags, self.family);
            let batch = &mut *self.batch;
            put_str(&mut batch.bytes, NFTA_SET_ELEM_LIST_TABLE, &batch.table);
            put_str(&mut batch.bytes, NFTA_SET_ELEM_LIST_SET, self.set);
            self.open = Some(OpenList { message, list: open(&mut batch.bytes, NFTA_SET_ELEM_LIST_ELEMENTS) });
        }
        self.batch.mark(self.batch.bytes.len(), operation);
        put_element(&mut self.batch.bytes, element);
    }

    fn finish(&mut self) {
        if let Some(open) = self.open.take() {
            close(&mut self.batch.bytes, open.list);
            message::end(&mut self.batch.bytes, open.message);
        }
    }
}

impl Drop for Elements<'_> {
    fn drop(&mut self) {
        self.finish();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(batch: &mut Batch) -> Vec<(u16, u16, u32)> {
        let sealed = batch.encoded(100).to_vec();
        Messages(&sealed).map(|message| (message.kind & 0xff, message.flags & NLM_F_ACK, message.sequence)).collect()
    }

    #[test]
    fn only_the_last_operation_is_acknowledged_and_sealing_can_be_repeated() {
        let mut batch = Batch::new("t");
        batch.remove_table(0, Family::Ipv4);
        batch.remove_table(1, Family::Ipv6);
        let expected = vec![(16, 0, 100), (NFT_MSG_DELTABLE, 0, 101), (NFT_MSG_DELTABLE, NLM_F_ACK, 102), (17, 0, 103)];
        assert_eq!(kinds(&mut batch), expected);
        assert_eq!(kinds(&mut batch), expected);
        batch.flush_set(2, Family::Ipv4, "s");
        assert_eq!(kinds(&mut batch).len(), 5);
    }

    #[test]
    fn elements_fill_messages_below_the_limit_and_each_is_found_by_its_offset() {
        let mut batch = Batch::new("t");
        let mut elements = batch.put_elements(Family::Ipv4, "s");
        for operation in 0..10_000u32 {
            elements.push(operation, &Element::key(&operation.to_be_bytes()));
        }
        drop(elements);
        assert_eq!(batch.len(), 10_000);
        let sealed = batch.encoded(0).to_vec();
        let mut seen = 0;
        for (index, message) in Messages(&sealed).enumerate() {
            let Some(list) = message.attrs().find(NFTA_SET_ELEM_LIST_ELEMENTS) else { continue };
            assert!(list.payload.len() < u16::MAX.into());
            assert_eq!(batch.operations_of(index as u32, None).first(), Some(&seen));
            for element in list.nested() {
                let offset = element.payload.as_ptr() as usize - 4 - sealed.as_ptr() as usize;
                let offset = offset as u32 - batch.starts[index];
                assert_eq!(batch.operations_of(index as u32, Some(offset)), [seen]);
                seen += 1;
            }
        }
        assert_eq!(seen, 10_000);
    }

    #[test]
    fn objects_are_named_for_errors() {
        let mut batch = Batch::new("t");
        batch.remove_table(7, Family::Ipv6);
        batch.remove_chain(8, Family::Ipv4, "pick-3");
        batch.put_elements(Family::Ipv4, "services").push(9, &Element::key(&[1; 4]));
        batch.encoded(0);
        let objects: Vec<_> = (0..5).map(|index| batch.object_of(index)).collect();
        assert_eq!(objects, ["batch", "table ip6 t", "ip t chain pick-3", "ip t element of set services", "batch"]);
        assert_eq!(batch.operations_of(2, None), [8]);
    }
}
