//! Changes at a steady rate: whether a backlog grows, and what they cost the processor.
//!
//! Kept apart from changes one at a time, because here the loop is not waited for: the changes are made by a thread
//! with a clock, and the loop coalesces as it does in a cluster.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use kubernetes::source::Event;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc::{Sender, UnboundedReceiver};
use tokio::time::timeout;

use super::cluster::Cluster;
use super::pipeline::{Moves, Synced, on_processor};

/// How long nothing is heard before what was taken is looked at again.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// So many changes a second, for so long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rate {
    /// Changes of one endpoint each.
    pub per_second: u32,
    /// For how long.
    pub seconds: u32,
}

/// What a steady rate came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sustained {
    /// What was asked for.
    pub asked: Rate,
    /// Changes that were due and not taken by the loop: the most in each second.
    pub backlog: Vec<u64>,
    /// Changes that were taken, by the second, over the whole time.
    pub per_second: f64,
    /// Syncs that they came to.
    pub syncs: u64,
    /// Share of one processor that the agent's thread took.
    pub cpu_share: f64,
}

/// Makes changes at this rate, and watches the loop take them. Changes are built beforehand: only the agent's own work
/// is on its thread.
///
/// # Errors
/// A sentence, where a sync fails.
pub(super) async fn sustain(
    rate: Rate,
    cluster: Cluster,
    objects: &Sender<Vec<Event>>,
    heard: &mut UnboundedReceiver<Result<Synced, String>>,
) -> Result<Sustained, String> {
    let count = u64::from(rate.per_second) * u64::from(rate.seconds);
    let mut moves = Moves::of(cluster);
    let changes: Vec<Event> = (0..count).map(|_| moves.next()).collect();
    let (sent, objects) = (Arc::new(AtomicU64::new(0)), objects.clone());
    let (cpu, start) = (on_processor(), Instant::now());
    let pace = {
        let (sent, queue) = (sent.clone(), objects.clone());
        thread::spawn(move || make(changes, rate, start, &queue, &sent))
    };
    let (mut backlog, mut syncs) = (vec![0u64; rate.seconds as usize], 0);
    let mut elapsed = start.elapsed();
    loop {
        // The loop may have taken the last change before it is counted here: then nothing more is heard.
        if let Ok(outcome) = timeout(LOOK_AGAIN, heard.recv()).await {
            outcome.ok_or("reconcile: ended early")??;
            syncs += 1;
            elapsed = start.elapsed();
        }
        let waiting = (objects.max_capacity() - objects.capacity()) as u64;
        let taken = sent.load(Ordering::Relaxed).saturating_sub(waiting);
        let expected = due(rate, elapsed).min(count);
        if let Some(most) = backlog.get_mut(elapsed.as_secs() as usize) {
            *most = (*most).max(expected.saturating_sub(taken));
        }
        if taken == count {
            break;
        }
    }
    let cpu = on_processor() - cpu;
    pace.join().map_err(|_| "rate: the thread that makes the changes has ended")?;
    Ok(Sustained {
        asked: rate,
        backlog,
        per_second: count as f64 / elapsed.as_secs_f64(),
        syncs,
        cpu_share: cpu.as_secs_f64() / elapsed.as_secs_f64(),
    })
}

fn due(rate: Rate, elapsed: Duration) -> u64 {
    (elapsed.as_secs_f64() * f64::from(rate.per_second)) as u64
}

/// Sends each change when it is due.
fn make(changes: Vec<Event>, rate: Rate, start: Instant, queue: &Sender<Vec<Event>>, sent: &AtomicU64) {
    for (number, change) in (0u32..).zip(changes) {
        let at = start + Duration::from_secs(1) * number / rate.per_second;
        thread::sleep(at.saturating_duration_since(Instant::now()));
        if queue.blocking_send(vec![change]).is_err() {
            return;
        }
        sent.fetch_add(1, Ordering::Relaxed);
    }
}
