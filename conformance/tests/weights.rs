//! The claims about weights, for the backend that `SWITCHYARD_BACKEND` names.

use switchyard_conformance::weights::{self, Claim};
use switchyard_conformance::{Subject, under_test};

fn check(claim: Claim) {
    if testbed::privilege::skip() {
        return;
    }
    if let Err(error) = weights::check(&Subject::of(under_test()), claim) {
        panic!("{error}");
    }
}

#[test]
fn shares_follow_weights() {
    check(Claim::SharesFollowWeights);
}

#[test]
fn sticky_clients_keep_their_endpoint_while_weights_change() {
    check(Claim::StickyClientsStay);
}

#[test]
fn weight_0_keeps_what_is_established_and_gets_nothing_new() {
    check(Claim::Weight0Drains);
}
