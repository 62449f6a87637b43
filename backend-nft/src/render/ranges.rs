//! Source ranges without overlap, as the kernel wants them.

use backend_api::Cidr;

/// The same addresses in as few ranges as there are: those inside another are left out. Two ranges of prefixes never
/// overlap in part.
pub(super) fn disjoint(ranges: &[Cidr]) -> Vec<Cidr> {
    let mut sorted = ranges.to_vec();
    // A wider range sorts before what it contains: same or smaller network, then the shorter prefix.
    sorted.sort_unstable();
    sorted.dedup();
    let mut kept: Vec<Cidr> = Vec::with_capacity(sorted.len());
    for range in sorted {
        if !kept.last().is_some_and(|last| last.contains(range.network())) {
            kept.push(range);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(ranges: &[&str], expected: &[&str]) {
        let parse = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<Cidr>>();
        assert_eq!(disjoint(&parse(ranges)), parse(expected));
    }

    #[test]
    fn a_range_inside_another_says_nothing_new() {
        check(&[], &[]);
        check(&["10.0.0.0/8", "10.1.0.0/16", "10.1.2.3/32"], &["10.0.0.0/8"]);
        check(&["10.1.2.3/32", "10.0.0.0/8", "11.0.0.0/8"], &["10.0.0.0/8", "11.0.0.0/8"]);
        check(&["10.0.0.0/9", "10.0.0.0/8"], &["10.0.0.0/8"]);
        check(&["fd00::/64", "fd00::1/128", "fd00:0:0:1::/64"], &["fd00::/64", "fd00:0:0:1::/64"]);
        check(&["0.0.0.0/0", "10.0.0.0/8"], &["0.0.0.0/0"]);
    }
}
