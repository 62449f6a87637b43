//! Tables that mark instead of translating, in network namespaces of the tests' own: the same promises, without IPVS.

mod netns;
mod sample;

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::num::NonZeroU32;
use std::sync::Mutex;

use backend_api::*;
use netns::{isolated, nft};
use switchyard_nft::marking::{Mark, MarkingTables, Marks, Target};
use switchyard_nft::{NftDataplane, Options, Others};

/// A mark by what it stands for; it remembers which endpoints answer, as IPVS does.
#[derive(Debug, Default)]
struct Servers {
    answering: Mutex<BTreeMap<Mark, BTreeMap<EndpointAddress, u32>>>,
    unfit: Option<ServiceName>,
}

impl Marks for Servers {
    fn mark(&self, service: &ServiceName, port: &ServicePort, frontend: FrontendKey, target: Target) -> Option<Mark> {
        let mut hasher = DefaultHasher::new();
        (service, &port.name, port.family, port.protocol, target).hash(&mut hasher);
        (port.protocol != Protocol::Tcp).then_some(frontend).hash(&mut hasher);
        let mark = Mark(Mark::PREFIX | (hasher.finish() as u32 & 0x7f_ffff) | 1);
        let answering = match target {
            Target::Pool(pool) => port.pool(pool).map(|one| (one.address, one.weight.into())).collect(),
            Target::Endpoint(endpoint) => BTreeMap::from([(endpoint, 1)]),
        };
        self.answering.lock().unwrap().insert(mark, answering);
        Some(mark)
    }

    fn unfit(&self, service: &ServiceName) -> Option<String> {
        (self.unfit.as_ref() == Some(service)).then(|| "its virtual server was refused".to_owned())
    }
}

impl Servers {
    fn answer(&self, mark: Mark) -> BTreeMap<EndpointAddress, u32> {
        self.answering.lock().unwrap().get(&mark).cloned().unwrap_or_default()
    }
}

async fn open() -> MarkingTables {
    MarkingTables::open(Options::default()).await.unwrap()
}

async fn sync(tables: &mut MarkingTables, state: &ServiceState, servers: &Servers) -> Report {
    tables.sync(state, Scope::All, servers).await.unwrap().report
}

async fn assert_forwards(tables: &mut MarkingTables, state: &ServiceState, servers: &Servers) {
    let observed = tables.observe(&|mark| servers.answer(mark)).await.unwrap();
    let expected = Observed::expected(state);
    assert!(observed.frontends.keys().eq(expected.frontends.keys()), "{observed:#?} instead of {expected:#?}");
    for (key, expected) in &expected.frontends {
        let observed = &observed.frontends[key];
        assert!(observed.forwards_like(expected), "{key}: {observed:#?} instead of {expected:#?}");
    }
}

#[test]
fn what_is_programmed_is_observed_and_syncing_again_writes_nothing() {
    isolated(|| async {
        let (state, servers) = (sample::everything(), Servers::default());
        let mut tables = open().await;
        let report = sync(&mut tables, &state, &servers).await;
        assert_eq!(report.failed, []);
        assert!(report.writes > 0);
        assert_forwards(&mut tables, &state, &servers).await;
        assert_eq!(sync(&mut tables, &state, &servers).await.writes, 0);
        drop(tables);
        let mut tables = open().await;
        assert_eq!(sync(&mut tables, &state, &servers).await.writes, 0, "a new process");
    });
}

#[test]
fn nothing_is_handed_to_a_flowtable_and_that_is_said() {
    isolated(|| async {
        let (mut state, servers) = (sample::everything(), Servers::default());
        let mut tables = open().await;
        assert_eq!(sync(&mut tables, &state, &servers).await.warnings, Vec::<String>::new());
        let offload = Some(Offload { after: NonZeroU32::MIN, devices: BTreeMap::from([(1, "lo".to_owned())]) });
        state.set_node(NodeNetwork { offload, ..sample::node() });
        let report = sync(&mut tables, &state, &servers).await;
        assert_eq!(report.writes, 0);
        assert!(report.warnings[0].contains("IPVS"), "{:?}", report.warnings);
    });
}

#[test]
fn a_new_process_reads_the_marks() {
    isolated(|| async {
        let (state, servers) = (sample::everything(), Servers::default());
        assert_eq!(open().await.marks().await.unwrap(), []);
        sync(&mut open().await, &state, &servers).await;
        let mut read = open().await.marks().await.unwrap();
        read.sort();
        assert!(read.iter().any(|marked| marked.pool == Some(Pool::Local)), "{read:?}");
        assert!(read.iter().any(|marked| marked.pool.is_none()), "{read:?}");
        for marked in read {
            let (service, port, _) = state.find(&marked.frontend).unwrap();
            let targets = match marked.pool {
                Some(pool) => vec![Target::Pool(pool)],
                None => port.endpoints.iter().map(|endpoint| Target::Endpoint(endpoint.address)).collect(),
            };
            let mark = |target| servers.mark(&service.name, port, marked.frontend, target);
            let marks: Vec<_> = targets.into_iter().map(mark).collect();
            assert!(marks.contains(&Some(marked.mark)), "{marked:?}");
        }
    });
}

#[test]
fn nft_lists_the_tables_and_loads_what_it_lists() {
    isolated(|| async {
        // A table of an owner goes with nft, which would own what it loads.
        let mut tables = MarkingTables::open(Options::default().others(Others::LetIn)).await.unwrap();
        sync(&mut tables, &sample::everything(), &Servers::default()).await;
        let Some(listing) = nft(&["list", "ruleset"], "") else { return };
        let listing = listing.unwrap();
        tables.remove_all().await.unwrap();
        nft(&["-f", "-"], &listing).unwrap().unwrap();
        let again = nft(&["list", "ruleset"], "").unwrap().unwrap();
        let lines = |listing: &str| {
            let marks = listing
                .lines()
                .filter(|line| (line.contains("mark") || line.contains("label")) && !line.contains(" : "));
            marks.map(|line| line.replace("tcp dport", "th dport")).collect::<Vec<_>>()
        };
        assert_eq!(lines(&again), lines(&listing));
        assert!(lines(&listing).len() > 20, "{listing}");
    });
}

#[test]
fn a_service_that_has_no_virtual_server_is_left_out_alone() {
    isolated(|| async {
        let mut state = ServiceState::new(sample::node());
        sample::plain(3).into_iter().for_each(|service| drop(state.upsert(service).unwrap()));
        let left_out = state.services().next().unwrap().name.clone();
        let servers = Servers { unfit: Some(left_out.clone()), ..Servers::default() };
        let mut tables = open().await;
        let report = sync(&mut tables, &state, &servers).await;
        assert_eq!(report.failed.len(), 1);
        assert_eq!(
            (&report.failed[0].service, &*report.failed[0].reason),
            (&left_out, "its virtual server was refused")
        );
        state.remove(&left_out);
        assert_forwards(&mut tables, &state, &servers).await;
    });
}

#[test]
fn each_backend_takes_over_from_the_other() {
    isolated(|| async {
        let (state, servers) = (sample::everything(), Servers::default());
        let mut nft = NftDataplane::open(Options::default()).await.unwrap();
        nft.sync(&state, Scope::All).await.unwrap();
        drop(nft);
        let mut tables = open().await;
        assert!(sync(&mut tables, &state, &servers).await.writes > 0);
        assert_forwards(&mut tables, &state, &servers).await;
        drop(tables);
        let mut nft = NftDataplane::open(Options::default()).await.unwrap();
        assert!(nft.sync(&state, Scope::All).await.unwrap().writes > 0);
        assert_eq!(nft.sync(&state, Scope::All).await.unwrap().writes, 0);
        assert_eq!(nft.observe().await.unwrap().frontends.len(), Observed::expected(&state).frontends.len());
        drop(nft);
        open().await.remove_all().await.unwrap();
        assert_eq!(open().await.marks().await.unwrap(), []);
    });
}
