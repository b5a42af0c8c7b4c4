//! A JSON document whose values know their places.

use std::collections::BTreeMap;
use std::ops::{Range, RangeInclusive};

use jsonc_parser::ast::{Object, Value};
use jsonc_parser::common::Ranged;

use super::error::Mistake;

/// Minimum Jaro-Winkler similarity, from 0 to 1, of a mistyped key to the right one.
const ALIKE: f64 = 0.8;
/// From this length on, one wrong letter or two swapped ones (`tpc`) count as a mistyped key.
const SHORT: usize = 3;

/// Maximum mistakes that are reported: a file with more is not a configuration.
const MAX_MISTAKES: usize = 50;

/// What was found while reading: what is wrong, and where everything stands.
#[derive(Default)]
pub(super) struct Findings {
    pub(super) mistakes: Vec<Mistake>,
    pub(super) warnings: Vec<Mistake>,
    /// The places of the values, by their paths (`limits.stopgrace`).
    places: BTreeMap<String, Range<usize>>,
}

impl Findings {
    /// Where the value of a path stands; `None` where it does not come from the file.
    pub(super) fn place(&self, path: &str) -> Option<Range<usize>> {
        self.places.get(path).cloned()
    }

    pub(super) fn mistake(&mut self, mistake: Mistake) {
        if self.mistakes.len() < MAX_MISTAKES {
            self.mistakes.push(mistake);
        }
    }
}

/// An object of the document. Keys are read one by one; those that were not read are unknown keys.
pub(super) struct Section<'doc, 'run> {
    /// Its path with a dot at the end; empty for the whole document.
    prefix: String,
    object: &'doc Object<'doc>,
    asked: Vec<&'static str>,
    findings: &'run mut Findings,
}

/// A value, its path and its place.
pub(super) struct Located<'doc> {
    pub(super) path: String,
    pub(super) place: Range<usize>,
    pub(super) value: &'doc Value<'doc>,
}

impl<'doc, 'run> Section<'doc, 'run> {
    pub(super) fn new(
        prefix: String,
        object: &'doc Object<'doc>,
        findings: &'run mut Findings,
    ) -> Self {
        report_repeated(&prefix, object, findings);
        Self {
            prefix,
            object,
            asked: Vec::new(),
            findings,
        }
    }

    pub(super) fn value(&mut self, key: &'static str) -> Option<Located<'doc>> {
        self.asked.push(key);
        let found = self.object.properties.iter();
        let property = found.rev().find(|property| property.name.as_str() == key)?;
        let located = Located {
            path: format!("{}{key}", self.prefix),
            place: place_of(&property.value),
            value: &property.value,
        };
        let places = &mut self.findings.places;
        places.insert(located.path.clone(), located.place.clone());
        Some(located)
    }

    pub(super) fn text(&mut self, key: &'static str) -> Option<String> {
        let located = self.value(key)?;
        text(&located, self.findings)
    }

    /// A whole number within limits.
    pub(super) fn number(
        &mut self,
        key: &'static str,
        allowed: &RangeInclusive<i64>,
    ) -> Option<i64> {
        let located = self.value(key)?;
        let number = whole_number(located.value).filter(|number| allowed.contains(number));
        if number.is_none() {
            let (least, most) = (allowed.start(), allowed.end());
            let expected = format!("a whole number from {least} to {most}");
            self.findings.mistake(unexpected(&located, &expected));
        }
        number
    }

    /// An object below this one.
    pub(super) fn section(&mut self, key: &'static str) -> Option<Section<'doc, '_>> {
        let located = self.value(key)?;
        section(&located, self.findings)
    }

    /// Reports the keys that were not read.
    pub(super) fn finish(self) {
        for property in &self.object.properties {
            let key = property.name.as_str();
            if self.asked.contains(&key) {
                continue;
            }
            let range = property.name.range();
            let mut mistake = Mistake::new(
                Some(range.start..range.end),
                format!("there is no key `{}{key}`", self.prefix),
                "unknown key",
            );
            mistake = match did_you_mean(key, &self.asked) {
                Some(meant) => mistake.help(format!("did you mean `{meant}`?")),
                None => mistake.help(format!("the keys here are {}", listed(&self.asked))),
            };
            self.findings.mistake(mistake);
        }
    }

    pub(super) fn findings(&mut self) -> &mut Findings {
        self.findings
    }
}

/// The object that a value must be.
pub(super) fn section<'doc, 'run>(
    located: &Located<'doc>,
    findings: &'run mut Findings,
) -> Option<Section<'doc, 'run>> {
    match located.value.as_object() {
        Some(object) => Some(Section::new(format!("{}.", located.path), object, findings)),
        None => {
            findings.mistake(unexpected(located, "an object, as in { … }"));
            None
        }
    }
}

/// The text that a value must be: not empty.
pub(super) fn text(located: &Located<'_>, findings: &mut Findings) -> Option<String> {
    match located.value.as_string_lit() {
        Some(literal) if !literal.value.is_empty() => Some(literal.value.to_string()),
        Some(_) | None => {
            findings.mistake(unexpected(located, "a text that is not empty"));
            None
        }
    }
}

/// The elements that a value must consist of.
pub(super) fn elements<'doc>(
    located: &Located<'doc>,
    expected: &str,
    findings: &mut Findings,
) -> Vec<Located<'doc>> {
    let Some(array) = located.value.as_array() else {
        findings.mistake(unexpected(located, expected));
        return Vec::new();
    };
    let place = |(index, value): (usize, &'doc Value<'doc>)| Located {
        path: format!("{}[{index}]", located.path),
        place: place_of(value),
        value,
    };
    array.elements.iter().enumerate().map(place).collect()
}

/// The mistake of a value that is something else.
pub(super) fn unexpected(located: &Located<'_>, expected: &str) -> Mistake {
    let found = match located.value {
        Value::StringLit(literal) if literal.value.is_empty() => "an empty text".to_owned(),
        Value::StringLit(_) => "a text".to_owned(),
        Value::NumberLit(number) => shortened(number.value),
        Value::BooleanLit(truth) => truth.value.to_string(),
        Value::Object(_) => "an object".to_owned(),
        Value::Array(array) if array.elements.is_empty() => "an empty list".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        Value::NullKeyword(_) => "null".to_owned(),
    };
    let path = &located.path;
    Mistake::new(
        Some(located.place.clone()),
        format!("`{path}` must be {expected}, not {found}"),
        format!("expected {expected}"),
    )
}

/// What was probably meant.
pub(crate) fn did_you_mean<'word>(written: &str, known: &[&'word str]) -> Option<&'word str> {
    let plain = |word: &str| word.to_lowercase().replace(['_', '-', ' '], "");
    let written = plain(written);
    known
        .iter()
        .map(|word| (plain(word), *word))
        .filter(|(plain, _)| {
            strsim::jaro_winkler(&written, plain) >= ALIKE
                || (written.len() >= SHORT && strsim::osa_distance(&written, plain) == 1)
        })
        .map(|(plain, word)| (strsim::jaro_winkler(&written, &plain), word))
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, word)| word)
}

/// Words, each in backticks, for messages.
pub(super) fn listed(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    quoted.join(", ")
}

pub(super) fn place_of(value: &Value<'_>) -> Range<usize> {
    let range = value.range();
    range.start..range.end
}

/// The value as plain JSON.
pub(super) fn to_json(value: &Value<'_>) -> serde_json::Value {
    match value {
        Value::StringLit(literal) => literal.value.as_ref().into(),
        Value::NumberLit(number) => serde_json::from_str(number.value).unwrap_or_default(),
        Value::BooleanLit(truth) => truth.value.into(),
        Value::Object(object) => {
            let members = object.properties.iter();
            let members = members
                .map(|property| (property.name.as_str().to_owned(), to_json(&property.value)));
            serde_json::Value::Object(members.collect())
        }
        Value::Array(array) => array.elements.iter().map(to_json).collect(),
        Value::NullKeyword(_) => serde_json::Value::Null,
    }
}

fn report_repeated(prefix: &str, object: &Object<'_>, findings: &mut Findings) {
    let mut seen = std::collections::BTreeSet::new();
    for property in &object.properties {
        let key = property.name.as_str();
        if !seen.insert(key) {
            let range = property.name.range();
            let mistake = Mistake::new(
                Some(range.start..range.end),
                format!("`{prefix}{key}` stands here twice"),
                "again",
            );
            findings.mistake(mistake.help("remove one of the two"));
        }
    }
}

fn whole_number(value: &Value<'_>) -> Option<i64> {
    value.as_number_lit()?.value.parse().ok()
}

/// A number may be written with a million digits; a message shows the first.
fn shortened(number: &str) -> String {
    const SHOWN: usize = 24;
    match number.get(..SHOWN) {
        Some(start) if number.len() > SHOWN => format!("{start}…"),
        Some(_) | None => number.to_owned(),
    }
}
