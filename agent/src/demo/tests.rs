//! The demo finds a dataplane that does nothing.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use backend_api::{Dataplane, Fake};

use super::show::{Ending, show};
use super::stage::Opening;
use super::*;

/// What was written, to be read afterwards.
#[derive(Clone, Default)]
struct Shown(Arc<Mutex<Vec<u8>>>);

impl Write for Shown {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn run_with(opening: Opening, connections: u32) -> (Ending, String) {
    let written = Shown::default();
    let mut page = Page::new(Box::new(written.clone()), Style::Plain, Audience::Absent);
    let args = Args { backend: Backend::Nftables, keep: false, connections };
    let ending = show(&mut page, &args, opening).unwrap();
    let bytes = written.0.lock().unwrap().clone();
    (ending, String::from_utf8(bytes).unwrap())
}

#[test]
fn a_dataplane_that_does_nothing_is_reported() {
    if testbed::privilege::skip() {
        return;
    }
    let opening = Box::pin(async { Ok(Box::new(Fake::default()) as Box<dyn Dataplane>) });
    let (ending, text) = run_with(opening, 3);
    assert_eq!(ending, Ending::Mismatched, "{text}");
    let missed = "mytools → kubernetes, 10.96.0.1:443/TCP: 3 answered by sink, expected ctrlnode";
    assert!(text.contains(missed), "{text}");
    assert!(text.contains("outsider → nginx-deploy-nodeport-svc, node port"), "{text}");
    assert!(text.contains("answered by node2"), "{text}");
}

#[cfg(feature = "nftables")]
#[test]
fn the_example_is_forwarded_as_expected() {
    if testbed::privilege::skip() {
        return;
    }
    let (ending, text) = run_with(Box::pin(Backend::Nftables.open()), 100);
    assert_eq!(ending, Ending::AsExpected, "{text}");
}
