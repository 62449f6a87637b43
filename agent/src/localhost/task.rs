//! A task that ends with whoever holds it.

use tokio::task::JoinHandle;

/// A running task; dropping this ends it at its next wait.
#[derive(Debug)]
pub(super) struct Task(JoinHandle<()>);

impl Task {
    /// Starts it.
    pub(super) fn start(work: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(tokio::spawn(work))
    }

    /// Ends it, and waits until everything that it held is dropped.
    pub(super) async fn end(mut self) {
        self.0.abort();
        // That it was ended is what was wanted; a panic in it was logged by the panic hook.
        let _ = (&mut self.0).await;
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}
