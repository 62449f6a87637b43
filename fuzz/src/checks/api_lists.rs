//! Pages of a list as an API server sends them, one after the other, separated by a byte 0: nothing panics, and a later
//! list deletes exactly what was told and is missing.

use kubernetes::source::list_watch::{Failure, Refusal};

use super::told::Told;

pub(super) fn check(bytes: &[u8]) {
    let Some((mut told, pages)) = Told::of_kind(bytes) else { return };
    for page in pages.split(|byte| *byte == 0) {
        let mut events = Vec::new();
        if let Err(failure) = told.list_watch.page(page, &mut events) {
            told.list_watch.failed(&failure);
        }
        told.list_watch.failed(&Failure::Refused(Refusal::read(0, page)));
        told.take(events);
    }
    told.end();
}
