//! What a running agent gives up at its start: gaining privileges, being read by other processes of its user, and
//! system calls that it does not make.
//!
//! The process does this itself, and not its container, so that it holds on every node and needs no file there. The
//! list is what was seen of both backends, files and the API, and what other versions of the C library use in their
//! place. Any other call fails with `ENOSYS`, as on an older kernel: a C library that tries a newer call then takes the
//! one that it knows.
//!
//! Programs that a kubeconfig names inherit the list and could not run. With such a kubeconfig there is none.

use std::collections::BTreeMap;
use std::env::consts::ARCH;
use std::path::Path;

use kubernetes::source::SourceConfig;
use nix::errno::Errno;
use nix::libc::{self, c_long};
use nix::sys::prctl;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};

/// Whether system calls are restricted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Confinement {
    /// To the list.
    Listed,
    /// They are not: the kubeconfig names a program to run.
    RunsPrograms,
}

/// Whether sockets of packets may be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PacketSockets {
    /// Addresses are announced, or may be later: the configuration file can turn it on.
    Allowed,
    /// They will not be.
    Refused,
}

/// Why a restriction is not in force.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConfineError {
    #[error(transparent)]
    Process(#[from] Errno),
    #[error(transparent)]
    Filter(#[from] seccompiler::Error),
    #[error(transparent)]
    List(#[from] seccompiler::BackendError),
}

/// Restricts this process for the rest of its life. Before its first thread: threads inherit it.
///
/// # Errors
/// If the kernel cannot do it. The process may go on.
pub(super) fn confine(source: &SourceConfig, packets: PacketSockets) -> Result<Confinement, ConfineError> {
    // Its memory holds credentials.
    prctl::set_dumpable(false)?;
    prctl::set_no_new_privs()?;
    if runs_programs(source) {
        return Ok(Confinement::RunsPrograms);
    }
    seccompiler::apply_filter(&filter(packets)?)?;
    Ok(Confinement::Listed)
}

/// Whether the kubeconfig names a program that prints credentials. If it cannot be read, a later one may.
fn runs_programs(source: &SourceConfig) -> bool {
    match source {
        SourceConfig::Folder(_) => false,
        SourceConfig::Kubernetes(way) => way.kubeconfig.as_deref().is_some_and(names_program),
    }
}

#[cfg(feature = "kubernetes")]
fn names_program(kubeconfig: &Path) -> bool {
    use kube::config::Kubeconfig;

    Kubeconfig::read_from(kubeconfig).map_or(true, |kubeconfig| {
        kubeconfig.auth_infos.iter().any(|named| named.auth_info.as_ref().is_some_and(|user| user.exec.is_some()))
    })
}

#[cfg(not(feature = "kubernetes"))]
fn names_program(_: &Path) -> bool {
    false
}

fn filter(packets: PacketSockets) -> Result<BpfProgram, seccompiler::BackendError> {
    let families = match packets {
        PacketSockets::Allowed => FAMILIES.into_iter().chain([libc::AF_PACKET as u64]).collect(),
        PacketSockets::Refused => FAMILIES.to_vec(),
    };
    let mut rules: BTreeMap<c_long, Vec<SeccompRule>> = CALLS.iter().map(|call| (*call, Vec::new())).collect();
    for (call, argument, values) in [
        (libc::SYS_socket, 0, &families[..]),
        (libc::SYS_ioctl, 1, &REQUESTS),
        (libc::SYS_prctl, 0, &[libc::PR_SET_NAME as u64, libc::PR_SET_VMA as u64]),
    ] {
        let allowed = values.iter().map(|value| rule(argument, SeccompCmpOp::Eq, *value));
        rules.insert(call, allowed.collect::<Result<_, _>>()?);
    }
    // Threads, but no namespaces. clone3 hides its flags from a filter.
    rules.insert(libc::SYS_clone, vec![rule(0, SeccompCmpOp::MaskedEq(NAMESPACES), 0)?]);
    let refused = SeccompAction::Errno(libc::ENOSYS as u32);
    SeccompFilter::new(rules, refused, SeccompAction::Allow, ARCH.try_into()?)?.try_into()
}

fn rule(argument: u8, operator: SeccompCmpOp, value: u64) -> Result<SeccompRule, seccompiler::BackendError> {
    SeccompRule::new(vec![SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value)?])
}

/// Of sockets: the C library asks a cache of names by AF_UNIX.
const FAMILIES: [u64; 4] = [libc::AF_UNIX as u64, libc::AF_INET as u64, libc::AF_INET6 as u64, libc::AF_NETLINK as u64];

/// TCGETS, TCGETS2, TIOCGWINSZ: whether there is a terminal, and how wide; FIONREAD, FIONBIO: what a socket holds, and
/// whether it blocks. By number (asm-generic/ioctls.h): C libraries differ in their type.
const REQUESTS: [u64; 5] = [0x5401, 0x802c_542a, 0x5413, 0x541b, 0x5421];

/// Every `CLONE_NEW…` of clone(2).
const NAMESPACES: u64 = (libc::CLONE_NEWNS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET) as u64;

/// Calls that are allowed with any argument.
const CALLS: &[c_long] = &[
    // Files.
    libc::SYS_openat,
    libc::SYS_close,
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_pread64,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_pwrite64,
    libc::SYS_lseek,
    libc::SYS_ftruncate,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_statfs,
    libc::SYS_fstatfs,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_readlinkat,
    libc::SYS_getdents64,
    libc::SYS_getcwd,
    libc::SYS_fcntl,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_pipe2,
    libc::SYS_inotify_init1,
    libc::SYS_inotify_add_watch,
    libc::SYS_inotify_rm_watch,
    // Memory.
    libc::SYS_brk,
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mprotect,
    libc::SYS_mremap,
    libc::SYS_madvise,
    // Threads and signals.
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_futex,
    libc::SYS_set_robust_list,
    libc::SYS_get_robust_list,
    libc::SYS_set_tid_address,
    libc::SYS_rseq,
    libc::SYS_membarrier,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_yield,
    libc::SYS_sigaltstack,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_restart_syscall,
    libc::SYS_tgkill,
    libc::SYS_tkill,
    // The process, the machine, time and chance.
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    libc::SYS_getrusage,
    libc::SYS_prlimit64,
    libc::SYS_uname,
    libc::SYS_sysinfo,
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_gettimeofday,
    libc::SYS_getrandom,
    // Events.
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_eventfd2,
    libc::SYS_ppoll,
    // Sockets, but for `socket`.
    libc::SYS_socketpair,
    libc::SYS_bind,
    libc::SYS_listen,
    libc::SYS_accept,
    libc::SYS_accept4,
    libc::SYS_connect,
    libc::SYS_shutdown,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    libc::SYS_getsockopt,
    libc::SYS_setsockopt,
    libc::SYS_sendto,
    libc::SYS_sendmsg,
    libc::SYS_sendmmsg,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_recvmmsg,
    // Older ways that this architecture still has.
    #[cfg(target_arch = "x86_64")]
    libc::SYS_arch_prctl,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_open,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_stat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_lstat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_access,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_readlink,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_dup2,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_pipe,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_poll,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_epoll_create,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_epoll_wait,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_getrlimit,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_time,
];

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_list_becomes_a_program() {
        let filters = [PacketSockets::Allowed, PacketSockets::Refused].map(|packets| filter(packets).unwrap());
        assert!(filters.iter().all(|filter| filter.len() > CALLS.len()));
        assert_ne!(filters[0].len(), filters[1].len());
    }

    #[cfg(feature = "kubernetes")]
    #[test]
    fn a_kubeconfig_that_names_a_program_is_told_from_others() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kubeconfig");
        for (user, expected) in [
            ("{tokenFile: /token}", false),
            ("{exec: {apiVersion: client.authentication.k8s.io/v1, command: aws}}", true),
            ("[", true),
        ] {
            let text = format!("apiVersion: v1\nkind: Config\nusers: [{{name: node, user: {user}}}]\n");
            fs::write(&path, text).unwrap();
            assert_eq!(names_program(&path), expected, "{user}");
        }
    }
}
