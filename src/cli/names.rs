//! Which services are meant: names and patterns, and what was probably meant by a name that is none.

use std::cmp::Ordering;

use glob::Pattern;

use crate::client::AskError;
use crate::config::did_you_mean;
use crate::status::ServiceDocument;

/// What a pattern of the command line has in it, and a plain name has not.
const WILD: [char; 3] = ['*', '?', '['];

/// A service that the command line means.
#[derive(Clone, Debug)]
pub(super) struct Picked {
    pub(super) service: ServiceDocument,
    /// Whether it was named, and not only fits a pattern.
    pub(super) named: bool,
}

/// The services that names and patterns mean, each once, in natural order.
///
/// # Errors
/// A name that no service has, or a pattern that none fits.
pub(super) fn pick(
    services: &[ServiceDocument],
    names: &[String],
) -> Result<Vec<Picked>, AskError> {
    let mut picked: Vec<Picked> = Vec::new();
    for name in names {
        let exact = services.iter().find(|one| one.instancename == *name);
        let fitting: Vec<&ServiceDocument> = match exact {
            Some(service) => vec![service],
            None => fitting(services, name),
        };
        if fitting.is_empty() {
            return Err(unknown(services, name));
        }
        for service in fitting {
            let known = picked
                .iter_mut()
                .find(|known| known.service.instancename == service.instancename);
            match known {
                Some(known) => known.named |= exact.is_some(),
                None => picked.push(Picked {
                    service: service.clone(),
                    named: exact.is_some(),
                }),
            }
        }
    }
    picked.sort_by(|one, other| natural(&one.service.instancename, &other.service.instancename));
    Ok(picked)
}

/// Whether a text is a pattern, as `web-*`.
pub(super) fn is_pattern(text: &str) -> bool {
    text.contains(WILD)
}

fn fitting<'a>(services: &'a [ServiceDocument], pattern: &str) -> Vec<&'a ServiceDocument> {
    let pattern = is_pattern(pattern).then(|| Pattern::new(pattern).ok());
    let Some(Some(pattern)) = pattern else {
        return Vec::new();
    };
    let fits = |service: &&ServiceDocument| pattern.matches(&service.instancename);
    services.iter().filter(fits).collect()
}

/// The names, of those that are known, that names and patterns mean; all of them where nothing is said.
///
/// # Errors
/// As [`pick`].
pub(super) fn pick_names(known: &[&str], names: &[String]) -> Result<Vec<String>, AskError> {
    let mut picked = Vec::new();
    for name in names {
        let pattern = is_pattern(name).then(|| Pattern::new(name).ok()).flatten();
        let fits = |one: &&&str| {
            **one == name || pattern.as_ref().is_some_and(|pattern| pattern.matches(one))
        };
        let before = picked.len();
        picked.extend(known.iter().filter(fits).map(|one| (*one).to_owned()));
        if picked.len() == before {
            return Err(unknown_among(known, name));
        }
    }
    if names.is_empty() {
        picked.extend(known.iter().map(|one| (*one).to_owned()));
    }
    picked.sort_by(|one, other| natural(one, other));
    picked.dedup();
    Ok(picked)
}

/// That no service has a name, or fits a pattern; with the name that was probably meant.
pub(super) fn unknown(services: &[ServiceDocument], name: &str) -> AskError {
    let known = services.iter().map(|service| service.instancename.as_str());
    unknown_among(&Vec::from_iter(known), name)
}

fn unknown_among(known: &[&str], name: &str) -> AskError {
    if is_pattern(name) {
        return AskError::UnknownService(format!(
            "no service here fits {name}; `allexmaster status` lists them"
        ));
    }
    AskError::UnknownService(match did_you_mean(name, known) {
        Some(meant) => format!("there is no service named {name} here; did you mean {meant}?"),
        None => format!("there is no service named {name} here; `allexmaster status` lists them"),
    })
}

/// The order in which people count: `job-2` before `job-10`.
pub(super) fn natural(one: &str, other: &str) -> Ordering {
    let (mut one_left, mut other_left) = (one, other);
    loop {
        let (Some(first), Some(second)) = (one_left.chars().next(), other_left.chars().next())
        else {
            return one_left.len().cmp(&other_left.len()).then(one.cmp(other));
        };
        let (order, one_skip, other_skip) = if first.is_ascii_digit() && second.is_ascii_digit() {
            let (first, second) = (digits(one_left), digits(other_left));
            let plain = |text: &str| text.trim_start_matches('0').to_owned();
            let (short, long) = (plain(first), plain(second));
            let order = short.len().cmp(&long.len()).then(short.cmp(&long));
            (order, first.len(), second.len())
        } else {
            let lower = |letter: char| letter.to_lowercase().next().unwrap_or(letter);
            let order = lower(first).cmp(&lower(second));
            (order, first.len_utf8(), second.len_utf8())
        };
        if order != Ordering::Equal {
            return order;
        }
        one_left = one_left.get(one_skip..).unwrap_or_default();
        other_left = other_left.get(other_skip..).unwrap_or_default();
    }
}

/// The digits that a text begins with.
fn digits(text: &str) -> &str {
    let end = text.find(|letter: char| !letter.is_ascii_digit());
    text.get(..end.unwrap_or(text.len())).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::natural;

    #[test]
    fn numbers_in_names_count_as_numbers() {
        let mut names = [
            "job-10", "Web", "job-2", "api", "job-002", "job", "web-1b", "web-1a",
        ];
        names.sort_by(|one, other| natural(one, other));
        assert_eq!(
            names,
            [
                "api", "job", "job-002", "job-2", "job-10", "Web", "web-1a", "web-1b"
            ]
        );
    }
}
