//! Delivers marked packets to this node: lo up, the rules and the route, over rtnetlink.
//!
//! Kept apart from what they are ([`super::rules`]): here alone they are read and written. They stay when we go; the
//! next process knows them by protocol number, priority and table.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use backend_api::{Family, SyncError};
use futures_util::TryStreamExt;
use netlink::Namespace;
use nix::errno::Errno;
use rtnetlink::packet_route::link::LinkFlags;
use rtnetlink::packet_route::route::{RouteAttribute, RouteMessage};
use rtnetlink::packet_route::rule::{RuleAttribute, RuleMessage};
use rtnetlink::{Handle, IpVersion, LinkUnspec};
use tokio::task::JoinSet;

use super::rules::{LOOPBACK, Place, TABLE, is_our_route, is_right, is_right_route, place, route};
use super::watch::Watch;
use crate::errors::{errno, from_rtnetlink};

/// How often to look again when others change rules while we do.
const ATTEMPTS: u32 = 4;

/// Rules and routes of one network namespace.
#[derive(Debug)]
pub(crate) struct Routing {
    handle: Handle,
    watch: Watch,
    /// Whether anything of ours should be there.
    is_wanted: bool,
    /// Something happened that has not been looked at.
    is_suspicious: bool,
    /// Whether lo may have IPv6; none in a kernel without.
    ipv6_disabled: Option<File>,
    /// Priorities of others' rules that were warned of.
    warned: Vec<(Family, u32)>,
    /// Reads the socket, and ends with us.
    _reader: JoinSet<()>,
}

/// One write.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    /// `ip link set lo up`
    RaiseLoopback,
    /// Removes a route of ours.
    RemoveRoute(Family, RouteMessage),
    /// Adds ours.
    AddRoute(Family),
    /// Removes a rule of ours at this place.
    RemoveRule(Family, Place),
    /// Adds ours.
    AddRule(Family, Place),
}

/// What is there.
#[derive(Clone, Debug)]
struct Found {
    is_loopback_up: bool,
    families: Vec<InFamily>,
}

/// What is there in one family.
#[derive(Clone, Debug)]
struct InFamily {
    family: Family,
    /// All, in order.
    rules: Vec<RuleMessage>,
    /// Ours.
    routes: Vec<RouteMessage>,
}

impl Routing {
    /// Opens sockets in a network namespace. Within a tokio runtime.
    ///
    /// # Errors
    /// The sockets'.
    pub(crate) fn open(namespace: &Namespace) -> io::Result<Self> {
        namespace.run(Self::open_here)?
    }

    fn open_here() -> io::Result<Self> {
        // Before anything is looked at, so that nothing happens unseen.
        let watch = Watch::open()?;
        // Strict, so that the kernel dumps our table alone, and not a router's million routes.
        let (connection, handle, _) = rtnetlink::new_connection_with_strict_check()?;
        let mut reader = JoinSet::new();
        reader.spawn(connection);
        let ipv6_disabled = File::open("/proc/sys/net/ipv6/conf/lo/disable_ipv6").ok();
        if ipv6_disabled.is_none() {
            tracing::debug!("kernel has no IPv6: no rules and routes for it");
        }
        Ok(Self {
            handle,
            watch,
            is_wanted: false,
            is_suspicious: false,
            ipv6_disabled,
            warned: Vec::new(),
            _reader: reader,
        })
    }

    /// Makes everything be there and as it should be; how many writes that took.
    ///
    /// # Errors
    /// The kernel's; what was written before stays.
    pub(crate) async fn establish(&mut self) -> Result<usize, SyncError> {
        self.is_wanted = true;
        let mut writes = 0;
        for _ in 0..ATTEMPTS {
            let found = self.look().await?;
            let steps = missing(&found);
            if steps.is_empty() {
                self.warn_of_skipped(&found);
                return Ok(writes);
            }
            writes += self.perform(&steps).await?;
        }
        Err(SyncError::Raced { object: "rules and routes".to_owned() })
    }

    /// Takes away what is ours; how many writes that took. lo stays up.
    ///
    /// # Errors
    /// The kernel's; what was written before stays.
    pub(crate) async fn remove(&mut self) -> Result<usize, SyncError> {
        self.is_wanted = false;
        let mut writes = 0;
        for _ in 0..ATTEMPTS {
            let steps = leftover(&self.look_everywhere().await?);
            if steps.is_empty() {
                return Ok(writes);
            }
            writes += self.perform(&steps).await?;
        }
        Err(SyncError::Raced { object: "rules and routes".to_owned() })
    }

    /// Whether anything of ours is there, in whatever form. A kernel without rules has none of ours.
    ///
    /// # Errors
    /// The kernel's.
    pub(crate) async fn is_there(&self) -> Result<bool, SyncError> {
        match self.look_everywhere().await {
            Ok(found) => Ok(!leftover(&found).is_empty()),
            Err(SyncError::Unsupported { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Resolves when something of ours is not as it should be any more. Cancel-safe.
    ///
    /// # Errors
    /// The socket's; nothing will be noticed then.
    pub(crate) async fn changed(&mut self) -> io::Result<()> {
        loop {
            if !self.is_suspicious {
                self.watch.suspicion().await?;
                // Remembered over the suspension that follows.
                self.is_suspicious = true;
            }
            let is_changed = self.is_wanted && !self.is_whole().await;
            self.is_suspicious = false;
            if is_changed {
                return Ok(());
            }
        }
    }

    /// Whether nothing is missing, as far as can be seen.
    async fn is_whole(&self) -> bool {
        self.look().await.is_ok_and(|found| missing(&found).is_empty())
    }

    async fn look(&self) -> Result<Found, SyncError> {
        self.look_at(Family::ALL.into_iter().filter(|family| self.has(*family))).await
    }

    /// In both families: one that was switched off may still have what is ours.
    async fn look_everywhere(&self) -> Result<Found, SyncError> {
        let in_kernel: &[Family] = if self.ipv6_disabled.is_some() { &Family::ALL } else { &[Family::V4] };
        self.look_at(in_kernel.iter().copied()).await
    }

    async fn look_at(&self, families: impl Iterator<Item = Family>) -> Result<Found, SyncError> {
        let mut found = Found { is_loopback_up: self.is_loopback_up().await?, families: Vec::new() };
        for family in families {
            let (rules, routes) = (self.rules(family).await?, self.routes(family).await?);
            found.families.push(InFamily { family, rules, routes });
        }
        Ok(found)
    }

    /// Whether a family can have a route over lo.
    fn has(&self, family: Family) -> bool {
        match (family, &self.ipv6_disabled) {
            (Family::V4, _) => true,
            (Family::V6, None) => false,
            (Family::V6, Some(file)) => {
                let mut value = [0];
                let is_enabled = file.read_at(&mut value, 0).is_ok() && value == *b"0";
                if !is_enabled {
                    tracing::debug!("IPv6 is disabled on lo: no rules and routes for it");
                }
                is_enabled
            }
        }
    }

    async fn is_loopback_up(&self) -> Result<bool, SyncError> {
        let request = self.handle.link().get().match_index(LOOPBACK);
        let links = request.execute().try_next().await;
        let link = links.map_err(|error| from_rtnetlink("interface lo", &error))?;
        Ok(link.is_some_and(|link| link.header.flags.contains(LinkFlags::Up)))
    }

    async fn rules(&self, family: Family) -> Result<Vec<RuleMessage>, SyncError> {
        let version = match family {
            Family::V4 => IpVersion::V4,
            Family::V6 => IpVersion::V6,
        };
        let rules = self.handle.rule().get(version).execute().try_collect().await;
        rules.map_err(|error| from_rtnetlink(&format!("{} rules (CONFIG_IP_MULTIPLE_TABLES)", word(family)), &error))
    }

    async fn routes(&self, family: Family) -> Result<Vec<RouteMessage>, SyncError> {
        let mut of_ours = RouteMessage::default();
        of_ours.header.address_family = route(family).header.address_family;
        of_ours.attributes = vec![RouteAttribute::Table(TABLE)];
        let routes = self.handle.route().get(of_ours).execute().try_collect::<Vec<_>>().await;
        match routes {
            Ok(routes) => Ok(routes.into_iter().filter(is_our_route).collect()),
            // There is no such table before it has a route.
            Err(error) if errno(&error) == Some(Errno::ENOENT) => Ok(Vec::new()),
            Err(error) => Err(from_rtnetlink(&format!("{} routes of table {TABLE}", word(family)), &error)),
        }
    }

    /// How many steps were done, until another program was faster.
    async fn perform(&self, steps: &[Step]) -> Result<usize, SyncError> {
        for (done, step) in steps.iter().enumerate() {
            match self.perform_one(step).await {
                Ok(()) => {}
                Err(SyncError::Raced { .. }) => return Ok(done),
                Err(error) => return Err(error),
            }
        }
        Ok(steps.len())
    }

    async fn perform_one(&self, step: &Step) -> Result<(), SyncError> {
        let handle = &self.handle;
        let (object, outcome) = match step {
            Step::RaiseLoopback => {
                tracing::info!("interface lo is down: set up, IPVS takes no real server otherwise");
                let lo = LinkUnspec::new_with_index(LOOPBACK).up().build();
                ("interface lo".to_owned(), handle.link().set(lo).execute().await)
            }
            Step::RemoveRoute(family, found) => {
                (route_text(*family), handle.route().del(found.clone()).execute().await)
            }
            Step::AddRoute(family) => (route_text(*family), handle.route().add(route(*family)).execute().await),
            Step::RemoveRule(family, place) => {
                (rule_text(*family, *place), handle.rule().del(place.any(*family)).execute().await)
            }
            Step::AddRule(family, place) => {
                let mut request = handle.rule().add();
                *request.message_mut() = place.rule(*family);
                (rule_text(*family, *place), request.execute().await)
            }
        };
        outcome.map_err(|error| match (step, errno(&error)) {
            (Step::RemoveRoute(..) | Step::RemoveRule(..), Some(Errno::ENOENT | Errno::ESRCH))
            | (Step::AddRule(..), Some(Errno::EEXIST)) => SyncError::Raced { object },
            _ => from_rtnetlink(&object, &error),
        })
    }

    /// The goto passes over what others have between it and its target; that is said once.
    fn warn_of_skipped(&mut self, found: &Found) {
        for InFamily { family, rules, .. } in &found.families {
            for priority in rules.iter().filter(|rule| place(rule).is_none()).filter_map(priority) {
                let skipped = Place::Own.priority()..Place::Behind.priority();
                if skipped.contains(&priority) && !self.warned.contains(&(*family, priority)) {
                    self.warned.push((*family, priority));
                    let family = word(*family);
                    tracing::warn!(family, priority, "foreign ip rule is bypassed by packets from this node");
                }
            }
        }
    }
}

/// What is to be done so that everything is there.
fn missing(found: &Found) -> Vec<Step> {
    let mut steps = Vec::new();
    // First: a route over an interface that is down is refused.
    if !found.is_loopback_up {
        steps.push(Step::RaiseLoopback);
    }
    for InFamily { family, rules, routes } in &found.families {
        let family = *family;
        let (right, wrong): (Vec<_>, Vec<_>) = routes.iter().partition(|route| is_right_route(route, family));
        steps.extend(wrong.into_iter().map(|route| Step::RemoveRoute(family, route.clone())));
        if right.is_empty() {
            steps.push(Step::AddRoute(family));
        }
        for wanted in Place::ALL {
            let ours: Vec<_> = rules.iter().filter(|rule| place(rule) == Some(wanted)).collect();
            if matches!(ours[..], [only] if is_right(only, wanted, family)) {
                continue;
            }
            // All of them: the kernel removes the first that fits, and could take the right one for the wrong.
            steps.extend(ours.iter().map(|_| Step::RemoveRule(family, wanted)));
            steps.push(Step::AddRule(family, wanted));
        }
    }
    steps
}

/// What is to be done so that nothing of ours is there.
fn leftover(found: &Found) -> Vec<Step> {
    let mut steps = Vec::new();
    for InFamily { family, rules, routes } in &found.families {
        for gone in Place::ALL.into_iter().rev() {
            let ours = rules.iter().filter(|rule| place(rule) == Some(gone));
            steps.extend(ours.map(|_| Step::RemoveRule(*family, gone)));
        }
        steps.extend(routes.iter().map(|route| Step::RemoveRoute(*family, route.clone())));
    }
    steps
}

fn priority(rule: &RuleMessage) -> Option<u32> {
    rule.attributes.iter().find_map(|attribute| match attribute {
        RuleAttribute::Priority(priority) => Some(*priority),
        _ => None,
    })
}

fn word(family: Family) -> &'static str {
    match family {
        Family::V4 => "ip",
        Family::V6 => "ip6",
    }
}

fn rule_text(family: Family, place: Place) -> String {
    format!("{} rule {}", word(family), place.priority())
}

fn route_text(family: Family) -> String {
    format!("{} route local default in table {TABLE}", word(family))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(is_loopback_up: bool, places: &[Place]) -> Found {
        let rules = places.iter().map(|place| place.rule(Family::V4)).collect();
        Found { is_loopback_up, families: vec![InFamily { family: Family::V4, rules, routes: Vec::new() }] }
    }

    /// At no instant does a mark lead the node's own packets back to itself.
    #[test]
    fn the_goto_comes_before_the_mark_and_goes_after_it() {
        let add = |place| Step::AddRule(Family::V4, place);
        let steps = missing(&found(false, &[]));
        let expected =
            [Step::RaiseLoopback, Step::AddRoute(Family::V4), add(Place::Behind), add(Place::Own), add(Place::Marked)];
        assert_eq!(steps, expected);
        let remove = |place| Step::RemoveRule(Family::V4, place);
        let steps = leftover(&found(true, &Place::ALL));
        assert_eq!(steps, [remove(Place::Marked), remove(Place::Own), remove(Place::Behind)]);
    }

    #[test]
    fn a_rule_that_is_there_twice_is_made_anew() {
        let twice = found(true, &[Place::Behind, Place::Own, Place::Own, Place::Marked]);
        let remove = Step::RemoveRule(Family::V4, Place::Own);
        let expected = [Step::AddRoute(Family::V4), remove.clone(), remove, Step::AddRule(Family::V4, Place::Own)];
        assert_eq!(missing(&twice), expected);
    }
}
