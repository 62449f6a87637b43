//! When this station says unasked that it has an address.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use crate::election::Moment;

/// After an address is taken, in milliseconds. The second is for a first that was lost; the others pass Linux's lock
/// time of one second, for clients that saw another answer meanwhile.
const STEPS: [u64; 6] = [0, 100, 1100, 2200, 3300, 4400];

/// Then again and again, so that switches and routers do not forget: every 60 s, up to a fifth more or less.
const REFRESH: Duration = Duration::from_secs(60);

/// Packets go out in turns at least this far apart,
const TURN: Duration = Duration::from_millis(20);
/// with at most as many addresses in each: 2,000 a second,
const AT_ONCE: usize = 40;
/// of which refreshes are one: 50 a second.
const REFRESHES_AT_ONCE: usize = 1;

/// The addresses that are held on an interface, each with the next time.
#[derive(Debug, Default)]
pub(super) struct Bursts {
    /// Since when, and the next step.
    held: BTreeMap<IpAddr, (Moment, usize, Moment)>,
    due: BTreeSet<(Moment, IpAddr)>,
    turn: Moment,
}

impl Bursts {
    /// Begins anew.
    pub(super) fn start(&mut self, now: Moment, address: IpAddr) {
        self.stop(address);
        self.held.insert(address, (now, 0, now));
        self.due.insert((now, address));
    }

    pub(super) fn stop(&mut self, address: IpAddr) {
        if let Some((_, _, due)) = self.held.remove(&address) {
            self.due.remove(&(due, address));
        }
    }

    pub(super) fn next(&self) -> Option<Moment> {
        self.due.first().map(|(due, _)| (*due).max(self.turn))
    }

    /// The addresses to be announced now.
    pub(super) fn take(&mut self, now: Moment) -> Vec<IpAddr> {
        let (mut taken, mut refreshes) = (Vec::new(), 0);
        if now < self.turn {
            return taken;
        }
        let due: Vec<(Moment, IpAddr)> = self.due.range(..=(now, LAST)).copied().collect();
        for (at, address) in due {
            if taken.len() == AT_ONCE {
                break;
            }
            let Some((since, step, due)) = self.held.get_mut(&address) else { continue };
            if *step >= STEPS.len() {
                if refreshes == REFRESHES_AT_ONCE {
                    continue;
                }
                refreshes += 1;
            }
            *step += 1;
            *due = match STEPS.get(*step) {
                Some(millis) => (*since + Duration::from_millis(*millis)).max(now + TURN),
                None => now + REFRESH * (80 + spread(address, *step)) / 100,
            };
            self.due.remove(&(at, address));
            self.due.insert((*due, address));
            taken.push(address);
        }
        if !taken.is_empty() {
            self.turn = now + TURN;
        }
        taken
    }
}

const LAST: IpAddr = IpAddr::V6(std::net::Ipv6Addr::from_bits(u128::MAX));

/// 0 to 40, another for each address and time.
fn spread(address: IpAddr, step: usize) -> u32 {
    let bytes = match address {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits(),
    };
    ((bytes.wrapping_mul(0x9e37_79b9) + step as u128 * 17) % 41) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(addresses: u32, seconds: u64) -> Vec<Vec<u64>> {
        let mut bursts = Bursts::default();
        (0..addresses).for_each(|number| bursts.start(Duration::ZERO, address(number)));
        let mut times = vec![Vec::new(); addresses as usize];
        while let Some(next) = bursts.next()
            && next < Duration::from_secs(seconds)
        {
            for taken in bursts.take(next) {
                let at = (0..addresses).find(|number| address(*number) == taken).unwrap();
                times[at as usize].push(next.as_millis() as u64);
            }
        }
        times
    }

    fn address(number: u32) -> IpAddr {
        IpAddr::from(std::net::Ipv4Addr::from_bits(0x0a00_0000 + number))
    }

    #[test]
    fn an_address_is_announced_six_times_and_then_every_minute() {
        let [times] = &times(1, 200)[..] else { panic!("one address") };
        assert_eq!(times[..6], STEPS);
        let gaps: Vec<u64> = times[5..].windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(gaps.len() >= 2 && gaps.iter().all(|gap| (48_000..=72_000).contains(gap)), "{gaps:?}");
    }

    #[test]
    fn many_addresses_are_announced_soon_and_not_all_at_once() {
        let times = times(334, 3);
        let first: Vec<u64> = times.iter().map(|times| times[0]).collect();
        assert!(first.iter().all(|time| *time <= 200), "{first:?}");
        let all: Vec<u64> = times.into_iter().flatten().collect();
        assert!(
            (0..3000).step_by(20).all(|at| all.iter().filter(|time| (at..at + 20).contains(*time)).count() <= AT_ONCE)
        );
    }

    #[test]
    fn what_is_stopped_is_not_announced() {
        let mut bursts = Bursts::default();
        let address = IpAddr::from([10, 0, 0, 1]);
        bursts.start(Duration::ZERO, address);
        bursts.stop(address);
        assert_eq!((bursts.next(), bursts.take(Duration::from_secs(1))), (None, Vec::new()));
    }
}
