//! Which LoadBalancer service has which address: pools and services in, verdicts with reasons out.
//!
//! ```text
//! pools ──────► Layout: which pool has an address,  ─┐
//!               which is the lowest free one         │
//! services ───► Claims: which service has which     ─┼─► Allocator ─► Decision: addresses, what is
//!  (with what   address, which can share             │   (or plan)    given and lost, why there is
//!  they hold)                                        │                no more; events
//! namespaces ─► labels, for the pools' selectors    ─┘
//! ```
//!
//! The rules are MetalLB's, with these differences: the order never depends on chance; a pool that is wrong or overlaps
//! another stops no other; what a service has stays until what it asks for instead is granted.
//!
//! The allocator remembers nothing that a service's status does not say, but for the grace of a pool that is gone: a
//! restarted program adopts what the services hold.
//!
//! ```
//! # use backend_api as switchyard_api;
//! use switchyard_allocation::{AddressRange, Options, Pool, Service, plan};
//! use switchyard_api::ServiceName;
//!
//! let (range, _) = AddressRange::parse("192.168.67.240/31")?;
//! let services = ["a", "b", "c"].map(|name| Service::new(ServiceName::new("default", name)));
//! let plan = plan(Options::default(), [Pool::new("office", vec![range])], services, []);
//!
//! let verdicts: Vec<_> = plan.decisions.values().map(|decision| &decision.verdict).collect();
//! assert_eq!(verdicts[1].addresses[0].to_string(), "192.168.67.241");
//! let problem = verdicts[2].problem.as_ref().expect("the pool has two addresses");
//! assert_eq!((problem.reason(), problem.to_string().as_str()), ("PoolExhausted", "pool office: no address left"));
//! # Ok::<(), switchyard_allocation::RangeError>(())
//! ```
//!
//! **Invariants**, each with its test in `tests/`:
//!
//! - Nothing here does I/O, reads a clock, or knows Kubernetes (`nothing_here_does_io_or_reads_a_clock`).
//! - No two services have one address, unless they may share it
//!   (`edits_one_by_one_end_where_a_plan_from_scratch_would`).
//! - Edits one by one end where a plan from scratch would, and a second plan changes nothing (the same).
//! - What is held is adopted before anything is given (`what_is_held_is_adopted_before_anything_is_given`).

mod allocator;
mod claims;
mod find;
mod layout;
mod plan;
mod pool;
mod range;
mod selector;
mod service;
mod settle;
mod verdict;
mod waiting;

pub use allocator::{Allocator, Edit};
pub use layout::PoolMap;
pub use plan::{Options, OutsidePools, Overlap, Plan, PoolCounts, Sharing, plan};
pub use pool::{Assign, Avoid, Pool, PoolName, ServiceAllocation, Unfit};
pub use range::{AddressRange, Masked, RangeError};
pub use selector::{Labels, Operator, Requirement, Selector, any_matches};
pub use service::{Demand, FamilyPolicy, Requested, Service, SharingKey};
pub use verdict::{
    BadRequest, Clash, Decision, Event, EventKind, Lost, LostBecause, Problem, Refusal, RefusedBecause, Verdict,
};
