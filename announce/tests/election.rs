//! Situations, one by one: what a node does, and what it says.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use switchyard_announce::election::*;
use switchyard_announce::wire::Mac;
use switchyard_announce::wire::heartbeat::*;

const OWN: Mac = Mac([2, 0, 0, 0, 0, 1]);
const PEER: Mac = Mac([2, 0, 0, 0, 0, 2]);
const FOREIGN: Mac = Mac([6, 0, 0, 0, 0, 9]);

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn address(number: u32) -> IpAddr {
    Ipv4Addr::from_bits(0xc0a8_4300 + number).into()
}

fn wish(preference: u32) -> Wish {
    Wish { preference, standing: Standing::Sound, first: address(240) }
}

/// A node that is looked at, with its clock.
struct Node {
    election: Election,
    now: Duration,
    outputs: Vec<Output>,
    sequence: u64,
}

impl Node {
    fn new(incumbency: Incumbency) -> Self {
        let config = Config {
            cluster: name("kubernetes"),
            node: name("node-1"),
            interface: 2,
            incarnation: 1,
            timing: Timing::default(),
            incumbency,
            watchdog: Some(Duration::from_secs(5)),
        };
        let now = Duration::from_secs(100);
        let mut node = Self { election: Election::new(now, config), now, outputs: Vec::new(), sequence: 0 };
        node.take(Input::Link(Some(OWN)));
        node
    }

    /// It has listened and bids for addresses 240 to 240 + count.
    fn bidding(count: u32) -> Self {
        let mut node = Self::new(Incumbency::Sticky);
        node.bid((0..count).map(|number| (address(240 + number), wish(0))).collect());
        node
    }

    /// It holds them.
    fn holding(count: u32) -> Self {
        let mut node = Self::bidding(count);
        node.pass(1500);
        assert_eq!(node.election.held().count(), count as usize);
        node
    }

    fn bid(&mut self, wishes: BTreeMap<IpAddr, Wish>) {
        self.take(Input::Bids(wishes));
    }

    fn take(&mut self, input: Input) {
        self.outputs.extend(self.election.handle(self.now, input));
    }

    /// Time passes, and the node has the turns that it asks for.
    fn pass(&mut self, millis: u64) {
        self.pass_with(millis, |_| {});
    }

    /// The same, and after each turn something else happens.
    fn pass_with(&mut self, millis: u64, mut meanwhile: impl FnMut(&mut Self)) {
        let end = self.now + Duration::from_millis(millis);
        while let Some(next) = self.election.next().filter(|next| *next < end) {
            self.now = self.now.max(next);
            self.take(Input::Ticked);
            meanwhile(self);
        }
        self.now = end;
        self.take(Input::Ticked);
    }

    /// A peer says something; its promise is a second.
    fn hear(&mut self, node: &str, body: Body, table: Summary) {
        self.hear_as(node, 1, Status { settled: true, api: true, resuming: false }, body, table);
    }

    fn hear_as(&mut self, node: &str, incarnation: u64, status: Status, body: Body, table: Summary) {
        self.sequence += 1;
        let message = Message {
            sender: Sender { cluster: name("kubernetes"), node: name(node), interface: 2, incarnation },
            sequence: self.sequence,
            interval: Duration::from_secs(1),
            status,
            table,
            body,
        };
        self.take(Input::Message(PEER, Box::new(message)));
    }

    /// A peer bids.
    fn hear_bid(&mut self, node: &str, address: IpAddr, bid: Bid) {
        let mut table = Summary::default();
        table.add(address, &bid);
        self.hear(node, Body::Changes(vec![(address, Some(bid))]), table);
    }

    fn hear_station(&mut self, address: IpAddr, mac: Mac, said: Said) {
        self.take(Input::Station { address, mac, said });
    }

    fn events(&mut self) -> Vec<Event> {
        let outputs = std::mem::take(&mut self.outputs);
        outputs
            .into_iter()
            .filter_map(|output| match output {
                Output::Tell(event) => Some(event),
                _ => None,
            })
            .collect()
    }

    fn sent(&mut self) -> Vec<Message> {
        let outputs = std::mem::take(&mut self.outputs);
        outputs
            .into_iter()
            .filter_map(|output| match output {
                Output::Send(message) => Some(message),
                _ => None,
            })
            .collect()
    }

    fn holds(&self) -> bool {
        self.election.holds(address(240))
    }
}

fn bid(state: State) -> Bid {
    let term = if state == State::Holding { 1 } else { 0 };
    Bid { state, standing: Standing::Sound, preference: 0, term, key: 0 }
}

#[test]
fn an_address_that_no_node_has_is_probed_before_it_is_held() {
    let mut node = Node::bidding(1);
    node.pass(590);
    assert!(!node.outputs.iter().any(|output| matches!(output, Output::Probe(_))), "it listens");
    node.pass(600);
    assert!(!node.holds());
    node.pass(20);
    assert!(node.holds());
    assert_eq!(node.election.answer(address(240)), Some(OWN));
    assert_eq!(node.election.answer(address(241)), None);
    assert_eq!(node.outputs.iter().filter(|output| matches!(output, Output::Probe(_))).count(), 3);
    let last_send = node.outputs.iter().rposition(|output| matches!(output, Output::Send(_)));
    let burst = node.outputs.iter().position(|output| matches!(output, Output::Burst(_)));
    assert!(burst > last_send.map(|_| 0), "the burst comes after the bid is told");
}

#[test]
fn heartbeats_do_not_grow_with_the_number_of_addresses() {
    assert_eq!(heartbeats_of_ten_seconds(1), heartbeats_of_ten_seconds(1000));
    assert_eq!(heartbeats_of_ten_seconds(1).0, 50);
}

/// How many messages a holder of so many addresses sends, and of how many bytes.
fn heartbeats_of_ten_seconds(addresses: u32) -> (usize, usize) {
    let mut node = Node::holding(addresses);
    node.sent();
    node.pass(10_000);
    let sent = node.sent();
    assert!(sent.iter().all(|message| message.body == Body::Hello), "{sent:?}");
    (sent.len(), sent.iter().map(|message| encode(message, None).len()).sum())
}

#[test]
fn holders_share_two_hundred_messages_a_second() {
    let mut node = Node::holding(1);
    for peer in 0..99 {
        node.hear_bid(&format!("peer-{peer}"), address(1), bid(State::Holding));
    }
    node.sent();
    node.take(Input::Ticked);
    node.pass(2_000);
    let interval = node.sent().last().unwrap().interval;
    assert_eq!(interval, Duration::from_millis(500), "100 holders");
}

#[test]
fn a_flood_of_forged_names_does_not_grow_memory() {
    let mut node = Node::holding(10);
    let start = std::time::Instant::now();
    for number in 0..20_000_u32 {
        let bids = (0..20).map(|at| (address(number * 20 + at), bid(State::Candidate))).collect();
        let (first, last) = (address(0), address(u32::MAX >> 8));
        node.hear(&format!("forged-{number}"), Body::Range { first, last, bids }, Summary::default());
        node.outputs.clear();
    }
    let (peers, bids) = node.election.remembered();
    assert!(peers <= 1024 && bids <= 262_144, "{peers} peers, {bids} bids");
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    // One name with many bids is bounded too.
    for number in 0..2_000_u32 {
        let changes = (0..20).map(|at| (address(number * 20 + at), Some(bid(State::Candidate)))).collect();
        node.hear("forged-0", Body::Changes(changes), Summary::default());
    }
    assert!(node.election.remembered().1 <= 262_144);
    node.pass(10_000);
    assert_eq!(node.election.remembered(), (0, 0), "all are forgotten");
    assert_eq!(node.election.held().count(), 10);
}

#[test]
fn old_messages_change_nothing() {
    let mut node = Node::bidding(1);
    node.hear_bid("node-2", address(240), bid(State::Holding));
    node.pass(900);
    let replay = Message {
        sender: Sender { cluster: name("kubernetes"), node: name("node-2"), interface: 2, incarnation: 1 },
        sequence: 1,
        interval: Duration::from_secs(1),
        status: Status::default(),
        table: Summary::default(),
        body: Body::Gone,
    };
    node.take(Input::Message(PEER, Box::new(replay.clone())));
    node.pass(100);
    assert!(!node.holds(), "a farewell that was heard already");
    // After a start the sequence begins anew, and what was said before does not count.
    let sender = Sender { incarnation: 2, ..replay.sender.clone() };
    node.take(Input::Message(PEER, Box::new(Message { sender, body: Body::Hello, ..replay.clone() })));
    node.pass(100);
    assert!(node.holds(), "the new process holds nothing");
    node.take(Input::Message(PEER, Box::new(Message { sequence: 1000, ..replay })));
    assert_eq!(node.election.heard().count(), 1, "a message of the process before");
}

#[test]
fn a_foreign_station_keeps_the_address() {
    let mut node = Node::bidding(1);
    node.pass(650);
    node.hear_station(address(240), FOREIGN, Said::Claim);
    node.pass_with(3_000, |node| {
        if node.outputs.iter().any(|output| matches!(output, Output::Probe(_))) {
            node.outputs.retain(|output| !matches!(output, Output::Probe(_)));
            node.hear_station(address(240), FOREIGN, Said::Claim);
        }
    });
    assert!(!node.holds());
    let blocked = node.events().iter().filter(|event| matches!(event, Event::Blocked { .. })).count();
    assert_eq!(blocked, 1, "told once");
    node.pass(2_000);
    assert!(node.holds(), "within two seconds after it left");
}

#[test]
fn a_claim_while_held_is_defended_once_in_ten_seconds() {
    let mut node = Node::holding(1);
    node.outputs.clear();
    for _ in 0..30 {
        node.hear_station(address(240), FOREIGN, Said::Claim);
        node.pass(500);
    }
    assert!(node.holds());
    assert_eq!(node.outputs.iter().filter(|output| matches!(output, Output::Defend(_))).count(), 2);
    node.outputs.clear();
    node.hear_station(address(240), OWN, Said::Claim);
    assert!(node.outputs.is_empty(), "its own");
}

#[test]
fn another_program_on_a_peers_node_is_waited_for() {
    let mut node = Node::bidding(1);
    node.hear("node-2", Body::Hello, Summary::default());
    node.pass_with(800, |node| node.hear("node-2", Body::Hello, Summary::default()));
    node.hear_station(address(240), PEER, Said::Claim);
    let station = Station::Peer(name("node-2"));
    assert!(node.events().contains(&Event::Blocked { address: address(240), mac: PEER, station }));
    node.pass(2_000);
    assert!(node.holds());
}

#[test]
fn another_cluster_is_foreign_and_named() {
    let mut node = Node::holding(1);
    node.outputs.clear();
    let message = Message {
        sender: Sender { cluster: name("other"), node: name("node-7"), interface: 2, incarnation: 1 },
        sequence: 1,
        interval: Duration::from_secs(1),
        status: Status::default(),
        table: Summary::default(),
        body: Body::Hello,
    };
    node.take(Input::Message(FOREIGN, Box::new(message)));
    node.hear_station(address(240), FOREIGN, Said::Claim);
    let events = node.events();
    let (cluster, of) = (name("other"), name("node-7"));
    assert!(events.contains(&Event::ForeignCluster { cluster: cluster.clone(), node: of.clone(), mac: FOREIGN }));
    let station = Station::Cluster { cluster, node: of };
    assert!(events.contains(&Event::Conflict { address: address(240), mac: FOREIGN, station }), "{events:?}");
    assert_eq!(node.election.heard().count(), 0);
}

#[test]
fn where_heartbeats_do_not_pass_the_first_in_the_order_holds() {
    let own = order_key("node-1", address(240));
    let names: Vec<String> = (2..50).map(|number| format!("node-{number}")).collect();
    let better = names.iter().find(|node| order_key(node, address(240)) < own).unwrap();
    let worse = names.iter().find(|node| order_key(node, address(240)) > own).unwrap();
    assert_eq!(unheard(&[], true), (true, false));
    assert_eq!(unheard(&[worse], true), (true, true));
    assert_eq!(unheard(&[worse, better], true), (false, true));
    assert_eq!(unheard(&[worse], false), (false, true), "without the API it is not known which nodes live");
}

/// Whether a node that expects these and hears none holds after five seconds, and whether it says that all is silent.
fn unheard(expected: &[&str], api: bool) -> (bool, bool) {
    let mut node = Node::new(Incumbency::Sticky);
    node.take(Input::Expected(expected.iter().map(|node| name(node)).collect()));
    node.take(Input::Api(api));
    node.bid([(address(240), wish(0))].into());
    node.pass(5_000);
    let silent = node.events().contains(&Event::SegmentSilent { expected: expected.len() });
    (node.holds(), silent)
}

#[test]
fn a_peer_that_was_heard_may_die_although_it_is_expected() {
    let mut node = Node::bidding(1);
    node.take(Input::Expected([name("node-2")].into()));
    node.hear_bid("node-2", address(240), bid(State::Holding));
    node.pass(2_500);
    assert!(!node.holds());
    node.pass(1_000);
    assert!(node.holds());
}

#[test]
fn a_node_whose_decisions_hang_or_that_is_cut_off_from_the_api_is_relieved() {
    for cause in ["hangs", "cut off"] {
        let mut node = Node::holding(1);
        if cause == "cut off" {
            node.take(Input::Api(false));
        }
        node.hear_bid("node-2", address(240), Bid { key: u64::MAX, ..bid(State::Candidate) });
        let end = node.now + Duration::from_secs(if cause == "hangs" { 6 } else { 42 });
        let mut told = None;
        while node.now < end {
            node.now = node.election.next().unwrap().min(end);
            if cause == "hangs" {
                node.take(Input::Tick);
            } else {
                node.take(Input::Ticked);
            }
            told = node
                .sent()
                .iter()
                .rev()
                .find_map(|message| match &message.body {
                    Body::Changes(changes) => changes[0].1.map(|bid| bid.standing),
                    _ => None,
                })
                .or(told);
            node.hear("node-2", Body::Hello, {
                let mut table = Summary::default();
                table.add(address(240), &Bid { key: u64::MAX, ..bid(State::Candidate) });
                table
            });
        }
        assert_eq!(told, Some(Standing::Doubtful), "{cause}");
        assert!(node.holds(), "{cause}: until another holds");
        node.hear_bid("node-2", address(240), Bid { term: 2, ..bid(State::Holding) });
        assert!(!node.holds(), "{cause}");
    }
}

#[test]
fn a_stopped_node_answers_nothing_before_it_has_listened() {
    let mut node = Node::holding(1);
    node.outputs.clear();
    node.now += Duration::from_millis(700);
    node.take(Input::Tick);
    assert_eq!(node.election.answer(address(240)), None);
    assert!(node.outputs.contains(&Output::Flush));
    node.pass(550);
    assert!(!node.holds());
    node.pass(100);
    assert!(node.holds(), "no other took it");
    node.now += Duration::from_millis(250);
    node.take(Input::Tick);
    assert!(node.holds(), "late, and within its promise");
}

#[test]
fn the_better_holder_asks_a_deaf_one_and_yields_if_it_answers() {
    for answers in [true, false] {
        let mut node = Node::holding(1);
        node.outputs.clear();
        let theirs = Bid { term: 9, ..bid(State::Holding) };
        node.pass_with(8_000, |node| {
            node.hear_bid("node-2", address(240), theirs);
            if node.outputs.iter().any(|output| matches!(output, Output::Probe(_))) && answers {
                node.hear_station(address(240), PEER, Said::Claim);
            }
            node.outputs.retain(|output| !matches!(output, Output::Probe(_)));
        });
        assert_eq!(node.holds(), !answers);
    }
}

#[test]
fn a_link_that_is_down_holds_nothing_and_a_new_mac_is_announced() {
    let mut node = Node::holding(2);
    node.outputs.clear();
    node.take(Input::Link(Some(FOREIGN)));
    assert_eq!(node.outputs.iter().filter(|output| matches!(output, Output::Burst(_))).count(), 2);
    assert_eq!(node.election.answer(address(240)), Some(FOREIGN));
    node.take(Input::Link(None));
    assert!(!node.holds());
    assert_eq!(node.election.next(), None);
    assert!(node.election.progress().all(|(_, progress)| progress == Progress::Down));
    node.take(Input::Link(Some(OWN)));
    node.pass(1_300);
    assert!(node.holds());
}

#[test]
fn a_returning_first_node_takes_back_only_with_failback() {
    for (incumbency, takes) in [(Incumbency::Sticky, false), (Incumbency::Failback, true)] {
        let mut node = Node::new(incumbency);
        node.bid([(address(240), wish(0))].into());
        // As its holder sends it, of a node that is the last in the order.
        let theirs = Bid { key: u64::MAX, ..bid(State::Holding) };
        node.pass_with(3_000, |node| node.hear_bid("node-2", address(240), theirs));
        assert_eq!(node.holds(), takes, "{incumbency:?}");
    }
}

#[test]
fn a_last_resort_is_held_and_relieved_by_a_node_with_endpoints() {
    let mut node = Node::new(Incumbency::Sticky);
    node.bid([(address(240), Wish { standing: Standing::LastResort, ..wish(0) })].into());
    node.pass(1_300);
    assert!(node.holds(), "clients are refused at once");
    node.hear_bid("node-2", address(240), Bid { term: 2, ..bid(State::Holding) });
    assert!(!node.holds());
    let mut node = Node::bidding(1);
    let theirs = Bid { standing: Standing::LastResort, ..bid(State::Holding) };
    node.pass_with(1_050, |node| node.hear_bid("node-2", address(240), theirs));
    assert!(!node.holds(), "services change on all nodes, and not at the same instant");
    node.pass_with(300, |node| node.hear_bid("node-2", address(240), theirs));
    assert!(node.holds());
}
