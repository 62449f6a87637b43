//! What the fuzzer checks, played with its seeds and some mutations of them, which are the same in each run.
//!
//! Each of `fuzz/`'s targets is one test. `SWITCHYARD_MUTATIONS=100000` plays more of each seed.

use std::collections::BTreeSet;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

#[path = "../../fuzz/src/checks/mod.rs"]
pub mod checks;

/// How many mutations of each seed are played.
const MUTATIONS: usize = 300;

/// No mutation is longer: how much work an input is depends on its length.
const LONGEST: usize = 2048;

/// Pieces that mean something to a parser.
const PIECES: [&[u8]; 16] = [
    b"\0",
    b"\xff\xff",
    b"\0\0\0\0",
    b"\n",
    b"---\n",
    b"- ",
    b": ",
    b"{",
    b"}",
    b"[",
    b"\"",
    b"null",
    b"-1",
    b"1e99",
    b"&a ",
    b"*a",
];

macro_rules! targets {
    ($($target:ident),* $(,)?) => {
        $(#[test]
        fn $target() {
            play(stringify!($target));
        })*

        const PLAYED: &[&str] = &[$(stringify!($target)),*];
    };
}

targets!(
    api_lists,
    attributes,
    configuration,
    conntrack_dump,
    flags,
    ipvs_dump,
    kubeconfig,
    nftables_dump,
    notifications,
    objects,
    rtnetlink_dump,
    watch_lines,
);

#[test]
fn every_target_is_played_here_and_by_the_fuzzer() {
    let files = std::fs::read_dir(fuzz().join("fuzz_targets")).unwrap();
    let files: BTreeSet<_> = files.map(|file| file.unwrap().path().file_stem().unwrap().to_owned()).collect();
    let table = checks::TARGETS.iter().map(|(name, _)| (*name).into());
    assert_eq!(table.collect::<BTreeSet<_>>(), files);
    assert_eq!(PLAYED.iter().map(|name| (*name).into()).collect::<BTreeSet<_>>(), files);
}

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz")
}

fn play(target: &str) {
    let mutations = std::env::var("SWITCHYARD_MUTATIONS").ok();
    let mutations = mutations.map_or(MUTATIONS, |number| number.parse().expect("a number of mutations"));
    let seeds = std::fs::read_dir(fuzz().join("seeds").join(target)).unwrap();
    let mut seeds: Vec<_> = seeds.map(|seed| seed.unwrap().path()).collect();
    seeds.sort();
    assert!(!seeds.is_empty(), "{target} has no seeds");
    let mut random = Random(7);
    for seed in seeds {
        let seed = std::fs::read(seed).unwrap();
        play_one(target, &seed);
        for _ in 0..mutations {
            play_one(target, &mutated(&seed, &mut random));
        }
    }
}

fn play_one(target: &str, bytes: &[u8]) {
    if catch_unwind(|| checks::check(target, bytes)).is_err() {
        panic!("{target} does not bear \"{}\"", bytes.escape_ascii());
    }
}

/// One to four edits: other bits, a piece put in, bytes taken out or doubled, an end.
fn mutated(seed: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len() + 1);
        let end = (at + random.below(16)).min(bytes.len());
        match random.below(6) {
            0 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
            1 if at < bytes.len() => bytes[at] = random.below(256) as u8,
            2 => drop(bytes.splice(at..at, PIECES[random.below(PIECES.len())].iter().copied())),
            3 => drop(bytes.drain(at..end)),
            4 => bytes.extend_from_within(at..end),
            _ if random.below(8) == 0 => bytes.truncate(at),
            _ => {}
        }
    }
    bytes.truncate(LONGEST);
    bytes
}

/// A generator of Marsaglia's (xorshift64).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }
}
