//! The sysctls that IPVS needs, each with its reason.
//!
//! **Invariant:** a sysctl is that of the network namespace that [`Sysctls::open`] was told, whatever thread reads or
//! writes it (`host::tests::sysctls_are_those_of_the_namespace_that_they_were_opened_in`). What /proc/sys/net shows
//! is chosen by the thread that opens; an open file stays what it is.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;

use backend_api::SyncError;
use netlink::Namespace;

use super::settings::Values;
use crate::errors::unsupported;

/// A sysctl that we set.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sysctl {
    /// Below /proc/sys/net/ipv4; also the name under which its original is remembered.
    pub(crate) name: &'static str,
    /// What it must be.
    pub(crate) value: u32,
    /// What if it cannot be.
    pub(crate) need: Need,
}

/// How much depends on a sysctl.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// Everything.
    Always,
    /// Something, which a warning names.
    Helpful,
    /// Something, if strict ARP was chosen.
    StrictArp,
}

/// What every backend needs.
pub(crate) const FORWARDING: &str = "ip_forward";

/// All that we set.
pub(crate) const ALL: [Sysctl; 5] = [
    // Without it IPVS takes its packets away from conntrack, and masquerading, the hairpin and every rule on `ct
    // original` see nothing.
    Sysctl { name: "vs/conntrack", value: 1, need: Need::Always },
    // What cuts a UDP flow when its real server is removed: the flow's next packet is balanced anew. At 0 it is a black
    // hole for as long as the client keeps sending.
    Sysctl { name: "vs/expire_nodest_conn", value: 1, need: Need::Always },
    // Requests arrive on one interface and leave on another. kube-proxy sets it in this mode, so a node may rely on it.
    Sysctl { name: FORWARDING, value: 1, need: Need::Helpful },
    // An address is answered for only on the interface that has it, as load balancers that announce addresses by ARP
    // (MetalLB) ask for.
    Sysctl { name: "conf/all/arp_ignore", value: 1, need: Need::StrictArp },
    // And no interface asks for others with an address that is another's.
    Sysctl { name: "conf/all/arp_announce", value: 2, need: Need::StrictArp },
];

/// Seconds for which conntrack remembers an established TCP connection; read only.
const TCP_ESTABLISHED: &str = "/proc/sys/net/netfilter/nf_conntrack_tcp_timeout_established";

/// Whether packets between pods on one bridge pass netfilter; not there where bridges have nothing to do with it. Read
/// only: other programs on the node decide by it.
const BRIDGED: [&str; 2] = ["bridge-nf-call-iptables", "bridge-nf-call-ip6tables"];

/// The sysctls of one network namespace.
#[derive(Debug)]
pub(crate) struct Sysctls {
    files: Vec<(Sysctl, io::Result<Opened>)>,
    tcp_established: io::Result<File>,
    bridged: Vec<(&'static str, io::Result<File>)>,
    /// What has been warned of: once is enough.
    warned: BTreeSet<&'static str>,
}

#[derive(Debug)]
struct Opened {
    file: File,
    /// Why it can only be read, if so: mostly a read-only /proc.
    read_only: Option<io::Error>,
}

/// A sysctl that could not be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unwritten {
    /// As [`Sysctl::name`].
    pub(crate) name: &'static str,
    /// As sysctl(8) knows it.
    pub(crate) sysctl: String,
    /// What it was to be.
    pub(crate) value: u32,
    /// Why it is not.
    pub(crate) reason: String,
}

/// What sysctls are, and what we ask of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Current {
    /// The value of each that can be written, or has the right one.
    pub(crate) now: Values,
    /// What they must be.
    pub(crate) wanted: Values,
}

impl Sysctls {
    /// Opens the files of a network namespace.
    ///
    /// # Errors
    /// The namespace cannot be entered.
    pub(crate) fn open(namespace: &Namespace) -> io::Result<Self> {
        namespace.run(|| Self {
            files: ALL.map(|sysctl| (sysctl, Opened::open(sysctl.name))).into(),
            tcp_established: File::open(TCP_ESTABLISHED),
            bridged: BRIDGED.map(|name| (name, File::open(format!("/proc/sys/net/bridge/{name}")))).into(),
            warned: BTreeSet::new(),
        })
    }

    /// What can be had and is not, with a warning the first time for what is only helpful.
    ///
    /// # Errors
    /// [`SyncError::Unsupported`] names a sysctl that must have another value, and cannot be written.
    pub(crate) fn current(&mut self, strict_arp: bool) -> Result<Current, SyncError> {
        let mut current = Current::default();
        for (sysctl, opened) in &self.files {
            let is_wanted = sysctl.need != Need::StrictArp || strict_arp;
            match value(opened, is_wanted.then_some(sysctl.value)) {
                Ok(now) => {
                    current.now.insert(sysctl.name, now);
                }
                Err(reason) if sysctl.need == Need::Always => {
                    return Err(unsupported(&format!("sysctl {}", full_name(sysctl)), reason));
                }
                Err(_) if !is_wanted => continue,
                Err(reason) => {
                    if self.warned.insert(sysctl.name) {
                        tracing::warn!(
                            sysctl = full_name(sysctl),
                            value = sysctl.value,
                            reason,
                            "sysctl cannot be set"
                        );
                    }
                    continue;
                }
            }
            if is_wanted {
                current.wanted.insert(sysctl.name, sysctl.value);
            }
        }
        Ok(current)
    }

    /// Warns once where packets between pods on one bridge bypass netfilter.
    pub(crate) fn warn_of_bridges(&mut self) {
        for (name, file) in &self.bridged {
            if file.as_ref().is_ok_and(|file| read(file).is_ok_and(|value| value == 0)) && self.warned.insert(name) {
                let sysctl = format!("net.bridge.{name}");
                tracing::warn!(
                    sysctl,
                    value = 0,
                    "pods on one bridge cannot reach each other by a service: set it to 1"
                );
            }
        }
    }

    /// The value of each that can be read.
    pub(crate) fn all(&self) -> Values {
        let mut values = Values::new();
        for (sysctl, opened) in &self.files {
            let Ok(opened) = opened else { continue };
            if let Ok(value) = read(&opened.file) {
                values.insert(sysctl.name, value);
            }
        }
        values
    }

    /// Sets those that are among `values`; returns those that could not be set.
    pub(crate) fn write(&self, values: &Values) -> Vec<Unwritten> {
        let mut unwritten = Vec::new();
        for (sysctl, opened) in &self.files {
            let (Some(value), Ok(opened)) = (values.get(sysctl.name), opened) else { continue };
            if let Err(reason) = opened.write(*value) {
                let (name, sysctl, value) = (sysctl.name, full_name(sysctl), *value);
                unwritten.push(Unwritten { name, sysctl, value, reason });
            }
        }
        unwritten
    }

    /// For how many seconds conntrack remembers an established TCP connection, if it tells.
    pub(crate) fn tcp_established(&self) -> Option<u32> {
        read(self.tcp_established.as_ref().ok()?).ok()
    }
}

impl Opened {
    fn open(name: &str) -> io::Result<Self> {
        match OpenOptions::new().read(true).write(true).open(path(name)) {
            Ok(file) => Ok(Self { file, read_only: None }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(error),
            Err(error) => Ok(Self { file: File::open(path(name))?, read_only: Some(error) }),
        }
    }

    /// Why not, if it cannot.
    fn write(&self, value: u32) -> Result<(), String> {
        match &self.read_only {
            Some(reason) => Err(reason.to_string()),
            None => self.file.write_all_at(value.to_string().as_bytes(), 0).map_err(|error| error.to_string()),
        }
    }
}

/// What it is, if that is right already or can be changed; why not otherwise.
fn value(opened: &io::Result<Opened>, wanted: Option<u32>) -> Result<u32, String> {
    let opened = opened.as_ref().map_err(ToString::to_string)?;
    let now = read(&opened.file).map_err(|error| error.to_string())?;
    match &opened.read_only {
        Some(reason) if wanted.is_none_or(|wanted| wanted != now) => Err(format!("is {now}, {reason}")),
        _ => Ok(now),
    }
}

fn read(file: &File) -> io::Result<u32> {
    let mut bytes = [0; 16];
    let length = file.read_at(&mut bytes, 0)?;
    let text = std::str::from_utf8(&bytes[..length]).map_err(io::Error::other)?;
    text.trim().parse().map_err(io::Error::other)
}

fn path(name: &str) -> String {
    format!("/proc/sys/net/ipv4/{name}")
}

/// As sysctl(8) knows it.
fn full_name(sysctl: &Sysctl) -> String {
    format!("net.ipv4.{}", sysctl.name.replace('/', "."))
}
