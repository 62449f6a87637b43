//! When to look at what time changes.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::port::Port;
use crate::programmer::{Programmer, Seen};

/// How often draining real servers are asked for their connections, up to [`MANY`] virtual servers that have such.
const DRAINING: Duration = Duration::from_secs(5);

/// How often a few virtual servers are compared: how long a flush goes unnoticed.
const SOME: Duration = Duration::from_secs(1);

/// How often it is compared which virtual servers there are, up to [`MANY`] of them.
const ALL: Duration = Duration::from_secs(30);

/// From so many on, less often in proportion: looking always costs the same share of the time.
const MANY: usize = 2_000;

/// The next time of each look. Outlives whoever waits for it.
#[derive(Debug)]
pub(crate) struct Rounds {
    draining: Instant,
    some: Instant,
    all: Instant,
}

impl Rounds {
    /// From now on.
    pub(crate) fn begin() -> Self {
        let now = Instant::now();
        Self { draining: now + DRAINING, some: now + SOME, all: now + ALL }
    }

    /// Waits for the next look, and looks. Cancel-safe.
    pub(crate) async fn next<P: Port>(&mut self, programmer: &mut Programmer<P>) -> Seen {
        sleep_until(self.draining.min(self.some).min(self.all)).await;
        let now = Instant::now();
        let seen = if self.draining <= now {
            self.draining = now + DRAINING * turns(programmer.draining());
            programmer.remove_drained().await
        } else if self.all <= now {
            self.all = now + ALL * turns(programmer.len());
            programmer.compare_all().await
        } else {
            self.some = now + SOME;
            programmer.compare_some().await
        };
        seen.unwrap_or_else(|error| {
            tracing::warn!(%error, "virtual servers could not be looked at");
            Seen::Otherwise
        })
    }
}

fn turns(servers: usize) -> u32 {
    u32::try_from(servers / MANY + 1).unwrap_or(u32::MAX)
}
