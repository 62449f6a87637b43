//! A watch as an API server sends it, line by line: nothing panics, and what is told to be gone was told before.

use kubernetes::source::list_watch::Failure;

use super::told::Told;

pub(super) fn check(bytes: &[u8]) {
    let Some((mut told, lines)) = Told::of_kind(bytes) else { return };
    for line in lines.split(|byte| *byte == b'\n') {
        let mut events = Vec::new();
        if let Err(failure) = told.list_watch.line(line, &mut events) {
            told.list_watch.failed(&failure);
        }
        told.take(events);
    }
    told.list_watch.ended();
    told.list_watch.failed(&Failure::Cut);
    told.end();
}
