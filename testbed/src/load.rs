//! A client that keeps dialling while something else happens.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::dial::Dial;
use super::place::Place;
use super::probe;
use super::tally::Tally;

/// Between two dials: a thousand a second are many connections, and few enough for any connection-tracking table.
const PACE: Duration = Duration::from_millis(1);

/// New connections, one after another, until it is finished.
#[derive(Debug)]
pub struct Load {
    stop: Arc<AtomicBool>,
    dialled: Arc<AtomicUsize>,
    thread: Option<JoinHandle<io::Result<Tally>>>,
}

impl Load {
    /// Begins to dial from `place`.
    ///
    /// # Errors
    /// No thread could be made.
    pub fn start(place: &Place, dial: &Dial) -> io::Result<Self> {
        let (stop, dialled) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (stopped, counted, dial) = (stop.clone(), dialled.clone(), place.sourced(dial));
        let thread = place.namespace.spawn("load", move || {
            let mut tally = Tally::default();
            while !stopped.load(Ordering::Relaxed) {
                tally.add(probe::dial_here(&dial));
                counted.fetch_add(1, Ordering::Relaxed);
                thread::sleep(PACE);
            }
            tally
        })?;
        Ok(Self { stop, dialled, thread: Some(thread) })
    }

    /// How many dials have ended.
    pub fn dialled(&self) -> usize {
        self.dialled.load(Ordering::Relaxed)
    }

    /// Ends it, and counts.
    ///
    /// # Errors
    /// The thread never got into its namespace.
    ///
    /// # Panics
    /// If the thread did.
    pub fn finish(mut self) -> io::Result<Tally> {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().expect("a load is finished once");
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}
