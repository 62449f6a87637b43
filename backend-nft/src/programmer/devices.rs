//! Which devices our flowtables have, and the warning where there can be none.
//!
//! Apart from the batch that programs services: a device may vanish at any time, and a batch that names it then is
//! refused as a whole. So devices follow in a batch of their own, and what is wrong with one is a warning.
//!
//! What if we die before that batch? Connections are forwarded as ever; the next process reads which devices there are.

use std::collections::{BTreeMap, BTreeSet};

use backend_api::{Family, NodeNetwork, Offload, Report, ServiceState, SyncError};

use super::Programmer;
use crate::errors::{from_commit, from_read};
use crate::marks::Marks;
use crate::plan::Terms;
use crate::port::Port;
use crate::ruleset::{Delivery, FLOWTABLE};
use crate::transaction::Transaction;
use netlink::nftables::{CommitError, Refusal};

/// Why tables that mark hand nothing over.
const TRANSLATED_BY_IPVS: &str =
    "connections are not handed to a flowtable: IPVS translates them, which a flowtable cannot";

impl<P: Port> Programmer<P> {
    /// The terms for `desired`, and why they are not what it asks for.
    pub(super) async fn terms<'a>(
        &mut self,
        desired: &ServiceState,
        marks: Option<&'a dyn Marks>,
    ) -> Result<(Terms<'a>, Option<String>), SyncError> {
        let node = desired.node();
        let lacking = match (&node.offload, self.delivery) {
            (None, _) => None,
            (Some(_), Delivery::Mark) => Some(TRANSLATED_BY_IPVS.to_owned()),
            (Some(_), Delivery::Translate) => self.lacking().await?,
        };
        let node = match &lacking {
            None => node.clone(),
            Some(_) => NodeNetwork { offload: None, ..(**node).clone() }.into(),
        };
        Ok((Terms { marks, node }, lacking))
    }

    /// Why this kernel can hand nothing over. Asked when it matters first: the question may load modules.
    async fn lacking(&mut self) -> Result<Option<String>, SyncError> {
        if self.lacking.is_none() {
            let reason = self.port.lacks_flowtables().await?;
            self.lacking =
                Some(reason.map(|reason| {
                    format!("connections are not handed to a flowtable: this kernel has none ({reason})")
                }));
        }
        Ok(self.lacking.clone().flatten())
    }

    /// Gives our flowtables the devices that `offload` names, and takes the others out.
    pub(super) async fn join_devices(&mut self, offload: Option<&Offload>, report: &mut Report) {
        if self.joined.as_ref() == offload {
            return;
        }
        self.joined = None;
        let Some(offload) = offload else { return };
        match self.converge_devices(offload).await {
            Ok((writes, failed)) => {
                report.writes += writes;
                self.joined = failed.is_empty().then(|| offload.clone());
                report.warnings.extend(failed);
            }
            Err(error) => {
                report.warnings.push(format!("flowtables have perhaps not all devices: {error}"));
                report.unfinished = true;
            }
        }
    }

    /// How many writes that took, and what is wrong with which device.
    async fn converge_devices(&mut self, offload: &Offload) -> Result<(usize, BTreeSet<String>), SyncError> {
        let mut transaction = self.device_changes(offload).await?;
        let mut failed = BTreeSet::new();
        while !transaction.is_empty() {
            match self.port.commit(&transaction).await {
                Ok(()) => break,
                Err(CommitError::Refused(refusals)) if leave_out(&mut transaction, &refusals, &mut failed) => {}
                Err(error) => return Err(from_commit(error)),
            }
        }
        Ok((transaction.len(), failed))
    }

    async fn device_changes(&mut self, offload: &Offload) -> Result<Transaction, SyncError> {
        let wanted: BTreeSet<&String> = offload.devices.values().collect();
        let mut transaction = Transaction::default();
        for family in Family::ALL {
            let flowtables = self.port.flowtables(family).await.map_err(from_read)?;
            let there = flowtables.into_iter().find(|flowtable| flowtable.name == FLOWTABLE);
            let there = there.map(|flowtable| flowtable.devices).unwrap_or_default();
            let leaving = there.iter().filter(|device| !wanted.contains(device));
            transaction.remove_devices.extend(leaving.map(|device| (family, device.clone())));
            let coming = wanted.iter().filter(|device| !there.contains(**device));
            transaction.add_devices.extend(coming.map(|device| (family, (*device).clone())));
        }
        Ok(transaction)
    }
}

/// Leaves out the devices that were refused, and says so of those that should have come. Whether there were any.
fn leave_out(transaction: &mut Transaction, refusals: &[Refusal], failed: &mut BTreeSet<String>) -> bool {
    let by_operation = refusals.iter().flat_map(|refusal| refusal.operations.iter().map(move |at| (*at, refusal)));
    let refused: BTreeMap<u32, &Refusal> = by_operation.collect();
    let (before, mut operations) = (transaction.len(), 0..);
    // One that is to leave and is not there has left by itself.
    transaction.remove_devices.retain(|_| operations.next().is_none_or(|number| !refused.contains_key(&number)));
    transaction.add_devices.retain(|(_, device)| match operations.next().and_then(|number| refused.get(&number)) {
        None => true,
        Some(Refusal { errno, .. }) => {
            failed.insert(format!(
                "device {device}: not in the flowtable, its packets go the usual way: {}",
                errno.desc()
            ));
            false
        }
    });
    transaction.len() < before
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use backend_api::Scope;

    use super::*;
    use crate::fake::FakeKernel;
    use crate::ruleset::ChainName;

    type OnFake = Programmer<FakeKernel>;

    fn sync(programmer: &mut OnFake, devices: Option<&[&str]>) -> Report {
        let devices = devices.map(|devices| (2..).zip(devices.iter().map(|device| (*device).to_owned())).collect());
        let offload = devices.map(|devices| Offload { after: NonZeroU32::MIN, devices });
        let state = ServiceState::new(NodeNetwork { offload, ..NodeNetwork::unknown() });
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(programmer.sync(&state, Scope::All, None)).unwrap().report
    }

    fn on_fake(devices: &[&str]) -> OnFake {
        let devices = devices.iter().map(|device| (*device).to_owned()).collect();
        OnFake::new(FakeKernel { devices, ..FakeKernel::default() }, Delivery::Translate)
    }

    /// Whether the chain is there, and the devices of the flowtable.
    fn found(programmer: &OnFake) -> (bool, Option<Vec<&str>>) {
        let table = programmer.port.tables.v6.as_ref().unwrap();
        let devices = table.flowtables.get(FLOWTABLE).map(|devices| devices.iter().map(String::as_str).collect());
        (table.chains.contains_key(&ChainName::Fastpath.to_string()), devices)
    }

    #[test]
    fn flowtable_and_devices_come_change_and_go() {
        let mut programmer = on_fake(&["a", "b", "c"]);
        sync(&mut programmer, None);
        assert_eq!(found(&programmer), (false, None));
        for (devices, writes) in [(&["a", "b"][..], 18), (&["a", "b"], 0), (&["b", "c"], 4), (&[], 4)] {
            assert_eq!(sync(&mut programmer, Some(devices)).writes, writes, "{devices:?}");
            assert_eq!(found(&programmer), (true, Some(devices.to_vec())));
            let mut newcomer = OnFake::new(std::mem::take(&mut programmer.port), Delivery::Translate);
            assert_eq!(sync(&mut newcomer, Some(devices)).writes, 0, "after a restart");
            programmer.port = newcomer.port;
        }
        sync(&mut programmer, None);
        assert_eq!(found(&programmer), (false, None));
    }

    #[test]
    fn a_newcomer_turns_it_on_and_off_and_mends_what_others_undid() {
        let mut programmer = on_fake(&["a"]);
        for devices in [None, Some(&["a"][..]), None, Some(&["a"])] {
            programmer.forget();
            sync(&mut programmer, devices);
            assert_eq!(found(&programmer), (devices.is_some(), devices.map(<[_]>::to_vec)));
        }
        let table = programmer.port.tables.v6.as_mut().unwrap();
        table.chains.remove(&ChainName::Fastpath.to_string());
        table.flowtables.clear();
        programmer.forget();
        sync(&mut programmer, Some(&["a"]));
        assert_eq!(found(&programmer), (true, Some(vec!["a"])));
    }

    #[test]
    fn a_device_that_is_gone_is_named_and_keeps_no_other_out() {
        let mut programmer = on_fake(&["a", "c"]);
        for _ in 0..2 {
            let report = sync(&mut programmer, Some(&["a", "b", "c"]));
            assert_eq!(report.warnings.len(), 1, "{:?}", report.warnings);
            assert!(report.warnings[0].contains("device b"), "{:?}", report.warnings);
            assert_eq!(found(&programmer), (true, Some(vec!["a", "c"])));
        }
        programmer.port.devices.insert("b".to_owned());
        assert_eq!(sync(&mut programmer, Some(&["a", "b", "c"])).warnings, Vec::<String>::new(), "tried again");
        assert_eq!(found(&programmer), (true, Some(vec!["a", "b", "c"])));
    }

    #[test]
    fn a_kernel_without_flowtables_is_named_and_forwards_as_ever() {
        let mut programmer = on_fake(&["a"]);
        programmer.port.lacks_flowtables = true;
        for writes in [true, false] {
            let report = sync(&mut programmer, Some(&["a"]));
            assert_eq!(report.writes > 0, writes);
            assert!(report.warnings[0].contains("CONFIG_NF_FLOW_TABLE"), "{:?}", report.warnings);
        }
        assert_eq!(found(&programmer), (false, None));
    }
}
