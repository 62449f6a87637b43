//! Reads Prometheus' text format (0.0.4) as strictly as `promtool check metrics` does.

use std::collections::{BTreeMap, BTreeSet};

/// Every sample by its name and labels, in the form `name{label="value"}`, and the type and the help of each family.
#[derive(Debug, Default)]
pub(crate) struct Exposition {
    pub(crate) samples: BTreeMap<String, f64>,
    pub(crate) types: BTreeMap<String, String>,
    pub(crate) helps: BTreeMap<String, String>,
}

impl Exposition {
    pub(crate) fn read(text: &str) -> Result<Self, String> {
        let mut read = Self::default();
        let mut current = String::new();
        if !text.ends_with('\n') {
            return Err("the last line does not end".to_owned());
        }
        for line in text.lines() {
            read.line(line, &mut current).map_err(|reason| format!("{reason}: {line}"))?;
        }
        read.check_histograms()?;
        Ok(read)
    }

    fn line(&mut self, line: &str, current: &mut String) -> Result<(), String> {
        if let Some(described) = line.strip_prefix("# HELP ") {
            let (name, help) = described.split_once(' ').ok_or("no help")?;
            let before = self.helps.insert(name.to_owned(), help.to_owned());
            return before.map_or(Ok(()), |_| Err("a second HELP".to_owned()));
        }
        if let Some(described) = line.strip_prefix("# TYPE ") {
            let (name, kind) = described.split_once(' ').ok_or("no type")?;
            if !["counter", "gauge", "histogram", "summary", "untyped"].contains(&kind) {
                return Err("an unknown type".to_owned());
            }
            if kind == "counter" && !name.ends_with("_total") || name.ends_with("_total_total") {
                return Err("a counter ends with _total, once".to_owned());
            }
            if !self.helps.contains_key(name) || self.types.insert(name.to_owned(), kind.to_owned()).is_some() {
                return Err("no HELP, or a second TYPE".to_owned());
            }
            *current = name.to_owned();
            return Ok(());
        }
        if line.starts_with('#') || line.is_empty() {
            return Err("neither HELP nor TYPE nor a sample".to_owned());
        }
        let (name, labels, value) = sample(line)?;
        let family = self.types.get(current).ok_or("a sample before its TYPE")?;
        let suffixes: &[&str] = if family == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
        if !suffixes.iter().any(|suffix| name == format!("{current}{suffix}")) {
            return Err(format!("a sample of another family than {current}"));
        }
        let labels: Vec<String> = labels.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        self.samples.insert(format!("{name}{labels}"), value).map_or(Ok(()), |_| Err("a sample twice".to_owned()))
    }

    /// Buckets only grow, and the last is the count.
    fn check_histograms(&self) -> Result<(), String> {
        for name in self.types.iter().filter(|(_, kind)| *kind == "histogram").map(|(name, _)| name) {
            let mut series: BTreeMap<String, Vec<(f64, f64)>> = BTreeMap::new();
            for (sample, value) in &self.samples {
                let Some(labels) = sample.strip_prefix(&format!("{name}_bucket{{")) else { continue };
                let labels: Vec<&str> = labels.trim_end_matches('}').split(',').collect();
                let (le, rest): (Vec<&str>, Vec<&str>) = labels.into_iter().partition(|label| label.starts_with("le="));
                let bound = le[0].trim_start_matches("le=").trim_matches('"').replace("+Inf", "inf");
                series.entry(rest.join(",")).or_default().push((bound.parse().unwrap(), *value));
            }
            for (labels, mut buckets) in series {
                buckets.sort_by(|one, other| one.0.total_cmp(&other.0));
                let labels = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
                let count = self.samples.get(&format!("{name}_count{labels}"));
                let grows = buckets.windows(2).all(|pair| pair[0].1 <= pair[1].1);
                if !grows || buckets.last().map(|(bound, _)| *bound) != Some(f64::INFINITY) {
                    return Err(format!("{name}{labels}: buckets that do not grow to infinity"));
                }
                if count != buckets.last().map(|(_, value)| value) {
                    return Err(format!("{name}{labels}: the last bucket is not the count"));
                }
            }
        }
        Ok(())
    }

    /// The bounds of a histogram's buckets, as written.
    pub(crate) fn bounds(&self, name: &str, labels: &str) -> BTreeSet<String> {
        let of = |sample: &String| {
            let rest = sample.strip_prefix(&format!("{name}_bucket{{le=\""))?;
            let (bound, rest) = rest.split_once('"')?;
            (rest.trim_start_matches(',').trim_end_matches('}') == labels).then(|| bound.to_owned())
        };
        self.samples.keys().filter_map(of).collect()
    }

    /// The samples of a family.
    pub(crate) fn samples_of(&self, family: &str) -> Vec<&str> {
        let is_histogram = self.types.get(family).is_some_and(|kind| kind == "histogram");
        let suffixes: &[&str] = if is_histogram { &["_bucket", "_sum", "_count"] } else { &[""] };
        let names: Vec<String> = suffixes.iter().map(|suffix| format!("{family}{suffix}")).collect();
        let all = self.samples.keys().map(String::as_str);
        all.filter(|sample| names.iter().any(|name| sample.split('{').next() == Some(name))).collect()
    }

    pub(crate) fn value(&self, sample: &str) -> f64 {
        *self.samples.get(sample).unwrap_or_else(|| panic!("{sample}: not among {:#?}", self.samples.keys()))
    }
}

type Sample<'a> = (&'a str, Vec<(String, String)>, f64);

fn sample(line: &str) -> Result<Sample<'_>, String> {
    let end = line.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':')).ok_or("no value")?;
    let (name, mut rest) = line.split_at(end);
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
        return Err("no name".to_owned());
    }
    let mut labels = Vec::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        while !rest.starts_with('}') {
            let (label, after) = rest.split_once("=\"").ok_or("no label")?;
            let (value, after) = quoted(after)?;
            if label.is_empty() || !label.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
                return Err("a label's name".to_owned());
            }
            labels.push((label.to_owned(), value));
            rest = after.strip_prefix(',').unwrap_or(after);
        }
        rest = &rest[1..];
    }
    let value = rest.strip_prefix(' ').ok_or("no space before the value")?;
    let value = value.replace("+Inf", "inf").parse().map_err(|_| "no number".to_owned())?;
    Ok((name, labels, value))
}

/// A label's value, unescaped, and what comes behind its quote.
fn quoted(text: &str) -> Result<(String, &str), String> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((value, &text[at + 1..])),
            '\\' => match chars.next().map(|(_, c)| c) {
                Some('n') => value.push('\n'),
                Some(c @ ('\\' | '"')) => value.push(c),
                _ => return Err("an unknown escape".to_owned()),
            },
            c => value.push(c),
        }
    }
    Err("a value that does not end".to_owned())
}

#[test]
fn mistakes_are_found() {
    let good = "# HELP a_total A.\n# TYPE a_total counter\na_total{b=\"c\\\"\"} 1\n";
    assert_eq!(Exposition::read(good).unwrap().value("a_total{b=\"c\"\"}"), 1.0);
    for bad in [
        "# HELP a A.\n# TYPE a counter\na_total 1\n",
        "# HELP a_total A.\n# TYPE a_total counter\na_total 1",
        "# HELP a_total A.\n# TYPE a_total counter\na_total x\n",
        "# HELP a_total A.\n# TYPE a_total counter\na_total 1\na_total 1\n",
        "# HELP a_total A.\n# TYPE a_total counter\nb_total 1\n",
        "# HELP a A.\n# TYPE a info\na 1\n",
        "# HELP h H.\n# TYPE h histogram\nh_sum 1\nh_count 2\nh_bucket{le=\"+Inf\"} 1\n",
        "# HELP a A.\n# TYPE a gauge\na 1\n# EOF\n",
    ] {
        assert!(Exposition::read(bad).is_err(), "{bad}");
    }
}
