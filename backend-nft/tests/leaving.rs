//! The tables beside those that translate, for as long as IPVS has connections: their promises, without IPVS.

mod netns;
mod sample;

use std::net::{TcpListener, TcpStream};

use backend_api::{Dataplane, Scope};
use netns::{isolated, nft};
use switchyard_nft::marking::{LeavingTables, Mark, MarkingTables, Marks, Target};
use switchyard_nft::{NftDataplane, Options, Others};

fn open() -> LeavingTables {
    LeavingTables::open(Options::default()).unwrap()
}

fn listing() -> Option<String> {
    nft(&["list", "ruleset"], "").map(|listed| listed.unwrap())
}

#[test]
fn they_come_once_stay_with_a_restart_and_go_without_a_trace() {
    isolated(|| async {
        let nothing = listing();
        let mut tables = open();
        assert_eq!(tables.remove().await.unwrap(), 0);
        assert!(!tables.tell().await.unwrap());
        assert_eq!(tables.establish().await.unwrap(), 2, "one in each family");
        assert_eq!(tables.establish().await.unwrap(), 0);
        let there = listing();
        assert!(tables.tell().await.unwrap() && there != nothing || there.is_none());
        drop(tables);
        let mut next = open();
        assert!(next.tell().await.unwrap());
        assert_eq!(next.establish().await.unwrap(), 0, "a new process finds them");
        assert_eq!(next.remove().await.unwrap(), 2);
        assert!(!next.tell().await.unwrap());
        assert_eq!(listing(), nothing);
    });
}

#[test]
fn what_others_changed_in_them_is_made_anew() {
    isolated(|| async {
        // Other programs may change them, or nft could not.
        let options = Options::default().others(Others::LetIn);
        let mut tables = LeavingTables::open(options).unwrap();
        tables.establish().await.unwrap();
        let Some(before) = listing() else { return };
        nft(&["flush", "chain", "ip", "switchyard-leaving", "deliver"], "").unwrap().unwrap();
        nft(&["add", "chain", "ip6", "switchyard-leaving", "mine"], "").unwrap().unwrap();
        assert_eq!(tables.establish().await.unwrap(), 2);
        assert_eq!(listing(), Some(before));
        nft(&["delete", "table", "ip", "switchyard-leaving"], "").unwrap().unwrap();
        assert_eq!(tables.establish().await.unwrap(), 1);
    });
}

#[test]
fn a_foreign_table_of_that_name_is_left_alone() {
    isolated(|| async {
        if nft(&["add", "table", "ip", "switchyard-leaving"], "").is_none() {
            return;
        }
        let before = listing();
        let mut tables = open();
        assert!(!tables.tell().await.unwrap());
        let error = tables.establish().await.unwrap_err();
        assert!(error.to_string().contains("table ip switchyard-leaving"), "{error}");
        assert_eq!(tables.remove().await.unwrap(), 0);
        assert_eq!(listing(), before);
    });
}

#[test]
fn tables_that_mark_tell_of_ipvs_and_those_that_translate_do_not() {
    isolated(|| async {
        let state = sample::everything();
        let mut translating = NftDataplane::open(Options::default()).await.unwrap();
        translating.sync(&state, Scope::All).await.unwrap();
        assert!(!open().tell().await.unwrap());
        drop(translating);
        let mut marking = MarkingTables::open(Options::default()).await.unwrap();
        marking.sync(&state, Scope::All, &Unmarked).await.unwrap();
        assert!(open().tell().await.unwrap());
    });
}

/// Every service is unfit; the tables are there all the same.
#[derive(Debug)]
struct Unmarked;

impl Marks for Unmarked {
    fn mark(
        &self,
        _: &backend_api::ServiceName,
        _: &backend_api::ServicePort,
        _: backend_api::FrontendKey,
        _: Target,
    ) -> Option<Mark> {
        None
    }

    fn unfit(&self, _: &backend_api::ServiceName) -> Option<String> {
        Some("no virtual servers here".to_owned())
    }
}

#[test]
fn new_connections_are_not_marked() {
    isolated(|| async {
        let up = std::process::Command::new("ip").args(["link", "set", "lo", "up"]).status();
        let watcher = "table ip watcher {\nchain out {\ntype filter hook postrouting priority 300;\n\
                       meta mark != 0 counter\nct label 117 counter\nmeta mark 0 counter\n}\n}\n";
        let Some(loaded) = nft(&["-f", "-"], watcher).filter(|_| up.is_ok()) else { return };
        loaded.unwrap();
        open().establish().await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        drop(TcpStream::connect(listener.local_addr().unwrap()).unwrap());
        let counted = nft(&["list", "table", "ip", "watcher"], "").unwrap().unwrap();
        let counters: Vec<&str> = counted.lines().filter(|line| line.contains("counter packets")).collect();
        assert_eq!(counters.len(), 3, "{counted}");
        assert!(counters[0].contains("packets 0 ") && counters[1].contains("packets 0 "), "{counted}");
        assert!(!counters[2].contains("packets 0 "), "{counted}");
    });
}

#[test]
fn nft_loads_what_it_lists() {
    isolated(|| async {
        let options = Options::default().others(Others::LetIn);
        LeavingTables::open(options).unwrap().establish().await.unwrap();
        let Some(listed) = listing() else { return };
        nft(&["-c", "-f", "-"], &format!("flush ruleset\n{listed}")).unwrap().unwrap();
        for rule in ["ct direction original", "ct label 117", "meta mark set 0x53000000", "fib daddr type local"] {
            assert!(listed.contains(rule), "{rule:?} is not in\n{listed}");
        }
    });
}
