//! The kernel's files: what is set, what can be set, and how many processors there are.

use std::path::{Path, PathBuf};
use std::{fs, io, thread};

use netlink_sys::protocols::NETLINK_NETFILTER;

use super::wanted::{Knob, Present, Setting, wanted};
use crate::config::HostConfig;

/// Where /proc and /sys are.
#[derive(Debug)]
pub(super) struct Files {
    root: PathBuf,
}

impl Default for Files {
    fn default() -> Self {
        Self { root: "/".into() }
    }
}

impl Files {
    /// Those of a test.
    #[cfg(test)]
    pub(super) fn below(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// What is set now, as far as it can be read. If connection tracking is to be set and is not there, the kernel is
    /// made to load it first.
    pub(super) fn present(&self, config: &HostConfig) -> Present {
        let present = self.read_all();
        let conntrack_is_missing = wanted(config, 1, &present)
            .iter()
            .any(|setting| setting.knob != Knob::OomScoreAdj && !present.contains_key(&setting.knob));
        if conntrack_is_missing && self.root == Path::new("/") && load_conntrack().is_ok() {
            return self.read_all();
        }
        present
    }

    fn read_all(&self) -> Present {
        Knob::ALL.into_iter().filter_map(|knob| Some((knob, self.read(knob)?))).collect()
    }

    fn read(&self, knob: Knob) -> Option<i64> {
        fs::read_to_string(self.root.join(knob.path())).ok()?.trim().parse().ok()
    }

    pub(super) fn write(&self, setting: Setting) -> io::Result<()> {
        // Not created if it is missing, so that the error says that it is.
        let mut file = fs::OpenOptions::new().write(true).truncate(true).open(self.root.join(setting.knob.path()))?;
        io::Write::write_all(&mut file, setting.value.to_string().as_bytes())
    }

    /// The processors of the machine. A container that is bound to some of them still gets connections on all.
    pub(super) fn cores(&self) -> u32 {
        let online = fs::read_to_string(self.root.join("sys/devices/system/cpu/online")).ok();
        online.and_then(|list| count(list.trim())).or_else(usable_cores).unwrap_or(1)
    }
}

/// The processors that this process may use.
fn usable_cores() -> Option<u32> {
    thread::available_parallelism().ok().and_then(|cores| u32::try_from(cores.get()).ok())
}

/// How many numbers are in a list such as `0-3,5` (`Documentation/admin-guide/cputopology.rst`).
fn count(list: &str) -> Option<u32> {
    let mut sum = 0u32;
    for range in list.split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
        sum = sum.checked_add(last.checked_sub(first)?.checked_add(1)?)?;
    }
    Some(sum)
}

/// Sends connection tracking any request: the kernel then loads the module, and with it come the files. With
/// `--init-only` no other part of the agent has done so before.
fn load_conntrack() -> io::Result<()> {
    // struct nlmsghdr, then struct nfgenmsg: IPCTNL_MSG_CT_GET_STATS (5) of NFNL_SUBSYS_CTNETLINK (1), to be
    // acknowledged.
    const LENGTH: u32 = 20;
    const KIND: u16 = (1 << 8) | 5;
    const NLM_F_REQUEST_ACK: u16 = 0x1 | 0x4;
    let mut request = Vec::new();
    request.extend(LENGTH.to_ne_bytes());
    request.extend(KIND.to_ne_bytes());
    request.extend(NLM_F_REQUEST_ACK.to_ne_bytes());
    request.extend([0; 12]);
    let mut socket = netlink_sys::Socket::new(NETLINK_NETFILTER)?;
    socket.bind_auto()?;
    // The kernel acts on it while it is sent; the answer says nothing that the files do not.
    socket.send(&request, 0).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_are_counted_as_the_kernel_lists_them() {
        for (list, expected) in
            [("0", Some(1)), ("0-3", Some(4)), ("0-3,5", Some(5)), ("1,3-4,8-11", Some(7)), ("", None), ("3-1", None)]
        {
            assert_eq!(count(list), expected, "{list}");
        }
    }
}
