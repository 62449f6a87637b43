//! What is wrong with an object, in a word for a label.

use kubernetes::resolve::Problem;

pub(super) fn word(problem: &Problem) -> &'static str {
    match problem {
        Problem::NotAnAddress(_) => "not_an_address",
        Problem::OldAddress { .. } => "old_address",
        Problem::SpecialAddress(_) => "special_address",
        Problem::OtherFamily { .. } => "other_family",
        Problem::NoClusterIp { .. } => "no_cluster_ip",
        Problem::SecondClusterIp(_) => "second_cluster_ip",
        Problem::PortNumber(_) => "port_number",
        Problem::PortName { .. } => "port_name",
        Problem::PortTaken { .. } => "port_taken",
        Problem::Word { .. } => "unknown_word",
        Problem::NotARange(_) => "not_a_range",
        Problem::OldRange { .. } => "old_range",
        Problem::Closed(_) => "closed",
        Problem::Timeout(_) => "timeout",
        Problem::Scheduler(_) => "scheduler",
        Problem::AffinityDecides(_) => "affinity_decides",
        Problem::Time(_) => "time",
    }
}
