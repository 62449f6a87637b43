//! Lists, in pages if asked for.

use serde_json::{Value, json};

use super::Shared;
use super::refusals::Refused;
use super::selector::Selector;
use super::store::Resource;

/// A list's text. The pages of one list all show the same version.
pub(super) fn list(
    shared: &Shared,
    resource: Resource,
    selector: &Selector,
    limit: Option<usize>,
    from: Option<String>,
) -> Result<String, Refused> {
    let state = shared.state();
    let (version, skip) = match from {
        None => (state.store.version(), 0),
        Some(token) => {
            let place = token.split_once('-').and_then(|(version, at)| Some((version.parse().ok()?, at.parse().ok()?)));
            place.ok_or_else(|| Refused::new(400, "BadRequest", format!("continue key is not valid: {token}")))?
        }
    };
    if !state.store.knows(version) {
        return Err(Refused::expired(
            "The provided continue parameter is too old to display a consistent list result.",
        ));
    }
    let objects = state.store.at(resource, version);
    let chosen: Vec<_> = objects.values().filter(|stored| selector.chooses(&stored.value)).collect();
    let end = limit.map_or(chosen.len(), |limit| (skip + limit).min(chosen.len()));
    let mut metadata = json!({"resourceVersion": version.to_string()});
    if end < chosen.len() {
        metadata["continue"] = Value::from(format!("{version}-{end}"));
        metadata["remainingItemCount"] = Value::from(chosen.len() - end);
    }
    let items: Vec<_> = chosen[skip.min(end)..end].iter().map(|stored| stored.item.as_str()).collect();
    Ok(format!(
        r#"{{"kind":"{}List","apiVersion":"{}","metadata":{metadata},"items":[{}]}}"#,
        resource.kind(),
        resource.api_version(),
        items.join(",")
    ))
}
