//! A section of a file, whose fields are taken one by one. What is left at the end is unknown.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;

use super::tree::{Entry, Node, Value};
use crate::config::duration::GoDuration;
use crate::config::findings::{Findings, Mistake, Place};
use crate::config::idle::{self, Idle, Shape};

/// A section, with the fields that are not taken yet.
pub(super) struct Section<'a> {
    file: &'a str,
    /// Empty at the root.
    path: String,
    fields: BTreeMap<&'a str, &'a Entry>,
}

/// A field that is not null.
pub(super) struct Field<'a> {
    pub(super) place: Place,
    pub(super) value: &'a Value,
}

impl<'a> Section<'a> {
    /// The whole document.
    pub(super) fn root(file: &'a str, node: &'a Node, findings: &mut Findings) -> Self {
        let place = Place::File { file: file.to_owned(), line: Some(node.line) };
        Self::of(file, String::new(), place, &node.value, findings)
    }

    fn of(file: &'a str, path: String, place: Place, value: &'a Value, findings: &mut Findings) -> Self {
        let mut section = Self { file, path, fields: BTreeMap::new() };
        match value {
            Value::Null => {}
            Value::Section(entries) => {
                for entry in entries {
                    // The last one counts, as for kube-proxy.
                    if let Some(former) = section.fields.insert(&entry.name, entry) {
                        let reason = format!("is there twice: line {} counts", entry.line);
                        findings.remark(section.place(&entry.name, former.line), reason);
                    }
                }
            }
            other => findings.mistake(Mistake { place, reason: format!("{}: must be a section", other.shown()) }),
        }
        section
    }

    fn path(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    fn place(&self, name: &str, line: u64) -> Place {
        Place::Field { file: self.file.to_owned(), line, path: self.path(name) }
    }

    /// The field `name`, if it is there and not null.
    pub(super) fn field(&mut self, name: &str) -> Option<Field<'a>> {
        let entry = self.fields.remove(name).filter(|entry| entry.node.value != Value::Null)?;
        Some(Field { place: self.place(name, entry.node.line), value: &entry.node.value })
    }

    /// The section `name`; an empty one if it is not there.
    pub(super) fn section(&mut self, name: &str, findings: &mut Findings) -> Self {
        let path = self.path(name);
        match self.field(name) {
            Some(Field { place, value }) => Self::of(self.file, path, place, value, findings),
            None => Self { file: self.file, path, fields: BTreeMap::new() },
        }
    }

    /// Text that is parsed; empty text says nothing.
    pub(super) fn parsed<T: FromStr<Err: Display>>(&mut self, name: &str, findings: &mut Findings) -> Option<T> {
        self.field(name).and_then(|field| field.text(findings)).and_then(|(place, text)| parse(place, text, findings))
    }

    /// A duration; 0 may be a number.
    pub(super) fn duration<T: FromStr<Err: Display>>(&mut self, name: &str, findings: &mut Findings) -> Option<T> {
        let field = self.field(name)?;
        match field.value {
            Value::Whole(number) => parse(field.place, &number.to_string(), findings),
            _ => field.text(findings).and_then(|(place, text)| parse(place, text, findings)),
        }
    }

    /// True or false.
    pub(super) fn switch(&mut self, name: &str, findings: &mut Findings) -> Option<bool> {
        let field = self.field(name)?;
        match field.value {
            Value::Switch(on) => Some(*on),
            _ => field.refuse("must be true or false", findings),
        }
    }

    /// A whole number in `range`.
    pub(super) fn whole<T: TryFrom<i128>>(
        &mut self,
        name: &str,
        range: RangeInclusive<i64>,
        findings: &mut Findings,
    ) -> Option<T> {
        let field = self.field(name)?;
        let number = match field.value {
            Value::Whole(number) if (i128::from(*range.start())..=i128::from(*range.end())).contains(number) => *number,
            _ => {
                return field.refuse(&Shape::Whole(*range.start(), *range.end()).allowed(), findings);
            }
        };
        T::try_from(number).ok()
    }

    /// A list of texts, each parsed; an empty one says nothing.
    pub(super) fn list<T: FromStr<Err: Display>>(&mut self, name: &str, findings: &mut Findings) -> Option<Vec<T>> {
        let field = self.field(name)?;
        let Value::List(nodes) = field.value else { return field.refuse("must be a list of texts", findings) };
        let before = findings.mistakes.len();
        let mut items = Vec::new();
        for (index, node) in nodes.iter().enumerate() {
            let item = Field { place: self.place(&format!("{name}[{index}]"), node.line), value: &node.value };
            match item.value {
                Value::Text(text) => items.extend(parse::<T>(item.place, text, findings)),
                _ => {
                    item.refuse::<()>("must be text, in quotes if it looks like something else", findings);
                }
            }
        }
        Some(items).filter(|items| !items.is_empty() && findings.mistakes.len() == before)
    }

    /// A field without effect. It is remarked if it says something else than kube-proxy's default.
    pub(super) fn idle(&mut self, name: &str, findings: &mut Findings) {
        let idle = idle::of_field(&self.path(name)).expect("the table has every field that is read so");
        let Some(field) = self.field(name) else { return };
        if !idle_admits(idle, field.value) {
            field.refuse::<()>(&idle.shape.allowed(), findings);
        } else if !says_nothing(field.value) && !is_usual(idle, field.value) {
            findings.remark(field.place, idle.remark());
        }
    }

    /// Fields that have no effect.
    pub(super) fn all_idle(&mut self, names: &[&str], findings: &mut Findings) {
        names.iter().for_each(|name| self.idle(name, findings));
    }

    /// The section `name`, whose fields `idle` have no effect.
    pub(super) fn section_of_idle(&mut self, name: &str, idle: &[&str], findings: &mut Findings) -> Self {
        let mut section = self.section(name, findings);
        section.all_idle(idle, findings);
        section
    }

    /// Remarks the fields that were not taken.
    pub(super) fn end(self, findings: &mut Findings) {
        for (name, entry) in &self.fields {
            findings.remark(self.place(name, entry.line), "unknown field; it has no effect");
        }
    }
}

impl<'a> Field<'a> {
    /// Its text, if it is one, and not empty.
    pub(super) fn text(self, findings: &mut Findings) -> Option<(Place, &'a str)> {
        match self.value {
            Value::Text(text) if text.is_empty() => None,
            Value::Text(text) => Some((self.place, text)),
            Value::List(_) | Value::Section(_) => self.refuse("must be text", findings),
            _ => self.refuse("must be text, in quotes if it looks like something else", findings),
        }
    }

    /// A mistake of this field.
    pub(super) fn refuse<T>(self, allowed: &str, findings: &mut Findings) -> Option<T> {
        findings.mistake(Mistake { place: self.place, reason: format!("{}: {allowed}", self.value.shown()) });
        None
    }
}

fn parse<T: FromStr<Err: Display>>(place: Place, text: &str, findings: &mut Findings) -> Option<T> {
    match text.parse() {
        Ok(value) => Some(value),
        Err(error) => {
            findings.mistake(Mistake::of(place, text, error));
            None
        }
    }
}

/// Whether a field without effect may be written like this.
fn idle_admits(idle: &Idle, value: &Value) -> bool {
    match (idle.shape, value) {
        (Shape::Whole(least, most), Value::Whole(number)) => (i128::from(least)..=i128::from(most)).contains(number),
        (Shape::Fraction, Value::Whole(_) | Value::Fraction(_))
        | (Shape::Switch, Value::Switch(_))
        | (Shape::Text, Value::Text(_))
        | (Shape::Anything, _) => true,
        (Shape::Duration | Shape::PortRange, Value::Text(text)) => text.is_empty() || idle.shape.admits(text),
        (Shape::Duration, Value::Whole(0)) => true,
        (Shape::Cidrs, Value::List(nodes)) => {
            nodes.iter().all(|node| matches!(&node.value, Value::Text(text) if idle.shape.admits(text)))
        }
        (Shape::Gates, Value::Section(entries)) => {
            entries.iter().all(|entry| matches!(entry.node.value, Value::Switch(_)))
        }
        _ => false,
    }
}

/// Whether a value is what Go writes of a field that is not set.
fn says_nothing(value: &Value) -> bool {
    match value {
        Value::Null | Value::Switch(false) | Value::Whole(0) => true,
        Value::Switch(true) | Value::Whole(_) => false,
        Value::Fraction(number) => *number == 0.0,
        Value::Text(text) => text.is_empty() || text.parse().is_ok_and(|GoDuration(duration)| duration.is_zero()),
        Value::List(nodes) => nodes.is_empty(),
        Value::Section(entries) => entries.iter().all(|entry| says_nothing(&entry.node.value)),
    }
}

/// Whether a value is kube-proxy's default.
fn is_usual(idle: &Idle, value: &Value) -> bool {
    let usual = idle.usual_json();
    match (&usual, value) {
        (serde_json::Value::String(usual), Value::Text(text)) if idle.shape == Shape::Duration => {
            usual.parse::<GoDuration>() == text.parse()
        }
        (serde_json::Value::Number(usual), Value::Fraction(number)) => usual.as_f64() == Some(*number),
        _ => usual == value.json(),
    }
}
