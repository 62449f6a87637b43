//! A socket belongs to the namespace that it was opened in, whatever thread opens and uses it.

use std::future::Future;
use std::time::Duration;

use crate::isolated::isolated;
use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use switchyard_netlink::conntrack::Conntrack;
use switchyard_netlink::ipset::IpSets;
use switchyard_netlink::ipvs::{Ipvs, OpenError};
use switchyard_netlink::nftables::{Batch, Family, Nftables, Table};
use switchyard_netlink::{Namespace, ReadError};

/// A second namespace, which goes when nothing is open in it any more.
fn other_namespace() -> Namespace {
    let made = std::thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        Namespace::current().unwrap()
    });
    made.join().unwrap()
}

async fn put_table(nftables: &mut Nftables) {
    let mut batch = Batch::new(nftables.table());
    batch.put_table(0, &Table::new(Family::Ipv4));
    nftables.commit(&mut batch).await.unwrap();
}

#[test]
fn a_socket_lists_the_tables_of_the_namespace_it_was_opened_in() {
    isolated(|| async {
        let other = other_namespace();
        let here = Namespace::current().unwrap();
        assert!(!other.is_same(&here).unwrap());
        let mut there = Nftables::open_in(&other, "t").unwrap();
        assert!(Namespace::Current.is_same(&here).unwrap(), "the calling thread stays where it was");
        put_table(&mut there).await;
        assert_eq!(there.tables().await.unwrap(), [Table::new(Family::Ipv4)]);
        assert_eq!(Nftables::open("t").unwrap().tables().await.unwrap(), []);
        // Another socket in that namespace sees the same.
        let again = Nftables::open_in(&other, "t").unwrap().tables().await.unwrap();
        assert_eq!(again, [Table::new(Family::Ipv4)]);
    });
}

#[test]
fn a_namespace_has_a_path_and_a_descriptor() {
    isolated(|| async {
        let other = other_namespace();
        let Namespace::Descriptor(descriptor) = &other else { panic!("a descriptor") };
        let borrowed = Namespace::try_from(std::os::fd::AsFd::as_fd(descriptor)).unwrap();
        assert!(borrowed.is_same(&other).unwrap());
        let number = std::os::fd::AsRawFd::as_raw_fd(descriptor);
        let by_path = Namespace::of_path(format!("/proc/thread-self/fd/{number}")).unwrap();
        assert!(by_path.is_same(&other).unwrap());
    });
}

#[test]
fn a_namespace_that_was_made_later_is_not_the_initial_one() {
    let before = Namespace::current().unwrap();
    isolated(|| async {
        assert!(!other_namespace().is_initial().unwrap());
        assert!(!Namespace::Current.is_initial().unwrap());
        // Asking about another namespace answers for that one.
        let outside = std::thread::spawn(|| Namespace::Current.is_initial().unwrap());
        assert!(!outside.join().unwrap(), "a thread is born into its parent's namespace");
        let asked_from_here = before.is_initial().unwrap();
        assert_eq!(asked_from_here, before.run(|| Namespace::Current.is_initial().unwrap()).unwrap());
    });
}

async fn is_told(change: impl Future<Output = std::io::Result<()>>, within: Duration) -> bool {
    tokio::time::timeout(within, change).await.is_ok()
}

#[test]
fn a_watch_listens_in_the_namespace_of_its_connection() {
    isolated(|| async {
        let other = other_namespace();
        let there = Nftables::open_in(&other, "t").unwrap();
        let mut watch = there.watch().unwrap();
        put_table(&mut Nftables::open("t").unwrap()).await;
        // Notifications are queued before a commit returns, so there is nothing to wait for.
        assert!(!is_told(watch.changed(), Duration::from_millis(50)).await, "a table of this namespace");
        put_table(&mut Nftables::open_in(&other, "t").unwrap()).await;
        assert!(is_told(watch.changed(), Duration::from_secs(5)).await, "a table of the other namespace");
    });
}

#[test]
fn every_kind_of_socket_can_be_opened_in_a_namespace() {
    isolated(|| async {
        let other = other_namespace();
        let mut flows = 0;
        Conntrack::open_in(&other).unwrap().flows(Family::Ipv4, 17, |_| flows += 1).await.unwrap();
        assert_eq!(flows, 0);
        match IpSets::open_in(&other).unwrap().names().await {
            Ok(names) => assert_eq!(names, [] as [String; 0]),
            // A kernel without IP sets.
            Err(ReadError::Refused { .. }) => {}
            Err(error) => panic!("{error}"),
        }
        match Ipvs::open_in(&other).await {
            Ok(mut ipvs) => assert_eq!(ipvs.virtual_servers().await.unwrap(), []),
            Err(OpenError::Missing) => {}
            Err(error) => panic!("{error}"),
        }
    });
}

#[test]
fn what_is_no_namespace_is_refused() {
    isolated(|| async {
        let error = Nftables::open_in(&Namespace::of_path("/dev/null").unwrap(), "t").unwrap_err();
        assert_eq!(error.raw_os_error(), Some(Errno::EINVAL as i32));
    });
}
