//! Elements of a set by their keys: a constant price for each, where a listing's grows with the size of the set.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;

use nix::errno::Errno;

use super::{Nftables, begin, object, refused};
use crate::attr::{close, open, put_str};
use crate::error::ReadError;
use crate::message::{self, Ack};
use crate::nftables::abi::*;
use crate::nftables::expr::Family;
use crate::nftables::notification::ElementList;
use crate::nftables::object::Element;
use crate::nftables::wire::put_element;

/// Keys asked for at a time at most: the answers, a page or two each in the kernel, must fit into the receive buffer.
const KEYS_AT_A_TIME: usize = 256;

/// Keys in one message at most.
const KEYS_IN_A_MESSAGE: usize = 64;

/// What came to a message.
#[derive(Debug, Default)]
struct Progress {
    /// Keys that were found, in order.
    found: usize,
    /// How it ended.
    end: Option<Ack>,
}

impl Nftables {
    /// Shows those elements of a set or a map that have one of these keys, each with its key's index.
    ///
    /// Takes about 1.4 µs a key, whatever the size of the set, and up to 3 µs for a key that is not there.
    ///
    /// # Errors
    /// As [`ReadError`] says; a set that is not there has no elements.
    pub async fn find(
        &mut self,
        family: Family,
        set: &str,
        keys: &[&[u8]],
        mut each: impl FnMut(usize, &Element<'_>),
    ) -> Result<(), ReadError> {
        let most = self.socket.answers_at_a_time(KEYS_AT_A_TIME);
        let mut open = spans(0..keys.len(), KEYS_IN_A_MESSAGE.min(most)).collect::<VecDeque<_>>();
        while !open.is_empty() {
            let asked = take(&mut open, most);
            let mut requests = Vec::new();
            for span in &asked {
                self.put_get_elements(&mut requests, (family, set), &keys[span.clone()]);
            }
            let mut came: Vec<Progress> = asked.iter().map(|_| Progress::default()).collect();
            self.socket
                .ask_for_several(requests, |index, message| {
                    let index = index as usize;
                    let progress = &mut came[index];
                    progress.end = message.ack();
                    if progress.end.is_none() {
                        let key = asked[index].start + progress.found;
                        progress.found += 1;
                        ElementList::of(message.attrs()).iter().for_each(|element| each(key, &element));
                    }
                })
                .await?;
            for (span, Progress { found, end }) in asked.into_iter().zip(came) {
                match end {
                    Some(ack) if ack.errno == Errno::ENOENT as i32 => {
                        // The kernel stops at the first key that it does not find. The others are asked for in two
                        // messages, so that even where none is there each is sent a few times only.
                        let rest = span.start + found + 1..span.end;
                        open.extend(spans(rest, span.len().div_ceil(2)));
                    }
                    Some(ack) if ack.errno != 0 => {
                        return Err(refused(&object(family, self.table(), &format!("set {set}")), ack));
                    }
                    _ if found < span.len() => {
                        return Err(io::Error::other("an element of the kernel's answer was lost").into());
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }

    fn put_get_elements(&self, requests: &mut Vec<u8>, (family, set): (Family, &str), keys: &[&[u8]]) {
        let start = begin(requests, NFT_MSG_GETSETELEM, family.abi() as u8);
        message::flag(requests, start, NLM_F_ACK);
        put_str(requests, NFTA_SET_ELEM_LIST_TABLE, self.table());
        put_str(requests, NFTA_SET_ELEM_LIST_SET, set);
        let list = open(requests, NFTA_SET_ELEM_LIST_ELEMENTS);
        for key in keys {
            put_element(requests, &Element::key(key));
        }
        close(requests, list);
        message::end(requests, start);
    }
}

/// A range in parts of a length at most.
fn spans(range: Range<usize>, length: usize) -> impl Iterator<Item = Range<usize>> {
    let end = range.end;
    range.step_by(length.max(1)).map(move |start| start..(start + length.max(1)).min(end))
}

/// The first spans that have `most` keys together at most, but one at least.
fn take(open: &mut VecDeque<Range<usize>>, most: usize) -> Vec<Range<usize>> {
    let mut taken = Vec::new();
    let mut keys = 0;
    while let Some(span) = open.front()
        && (taken.is_empty() || keys + span.len() <= most)
    {
        keys += span.len();
        taken.extend(open.pop_front());
    }
    taken
}
