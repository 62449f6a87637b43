//! Tells when somebody else changed a table of ours.

/// A subscription to the kernel's nf_tables notifications (`NFNLGRP_NFTABLES`).
#[derive(Debug)]
pub struct Watch {
    table: String,
}

impl Watch {
    /// Subscribes, in the network namespace of this thread, to changes of the tables of this name.
    ///
    /// # Errors
    /// The socket's.
    pub fn open(table: &str) -> std::io::Result<Self> {
        Ok(Watch { table: table.to_owned() })
    }

    /// Resolves when a transaction that did not come from port `ours` touched a table of our name, or when notifications were
    /// lost. Cancel-safe: what was not reported is reported by the next call.
    ///
    /// # Errors
    /// The socket's.
    pub async fn changed(&mut self, _ours: u32) -> std::io::Result<()> {
        let _ = &self.table;
        todo!()
    }
}
