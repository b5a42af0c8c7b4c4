//! The section `launchers`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use allexmaster_state::{PerProtocol, Protocol};

use super::document::{
    Findings, Located, Section, did_you_mean, elements, listed, place_of, section, text, unexpected,
};
use super::error::Mistake;
use crate::launch::{
    BadTemplate, EXEC_DOMAIN, INCARNATION_VARIABLE, Launcher, PARENT_VARIABLE, PLACEHOLDERS,
    RUNTIME_FOLDER_VARIABLE, SPAWN_VARIABLE, Template,
};

const COMMAND: &str =
    "a list of texts, as in [\"python3\", \"-m\", \"http.server\", \"{httpport}\"]";
const READY: &str = "a list of protocols, as in [\"http\"]";
const PROTOCOLS: [&str; 3] = ["tcp", "http", "ws"];
/// What the master itself writes into a child's environment.
const RESERVED: [&str; 4] = [
    INCARNATION_VARIABLE,
    SPAWN_VARIABLE,
    RUNTIME_FOLDER_VARIABLE,
    PARENT_VARIABLE,
];

/// Reads all launchers; those with mistakes are left out.
pub(super) fn read(located: &Located<'_>, findings: &mut Findings) -> BTreeMap<String, Launcher> {
    let mut launchers = BTreeMap::new();
    for (name, located) in named(located, findings) {
        if let Some(mistake) = bad_name(&name, &located) {
            findings.mistake(mistake);
        }
        let Some(section) = section(&located, findings) else {
            continue;
        };
        if let Some(launcher) = read_one(section, &located) {
            launchers.insert(name, launcher);
        }
    }
    launchers
}

fn read_one(mut section: Section<'_, '_>, launcher: &Located<'_>) -> Option<Launcher> {
    let command = section.value("command");
    let folder = section.text("cwd").map(PathBuf::from);
    let environment = section.value("environment");
    let ready = section.value("ready");
    let environment = environment.map(|located| variables(&located, section.findings()));
    let ready = ready.and_then(|located| protocols(&located, section.findings()));
    let command = match command {
        Some(located) => read_command(&located, section.findings()),
        None => {
            let message = format!("`{}` has no `command`", launcher.path);
            let mistake = Mistake::new(
                Some(launcher.place.clone()),
                message,
                "no `command` in here",
            );
            section
                .findings()
                .mistake(mistake.help(format!("add \"command\": {COMMAND}")));
            None
        }
    };
    section.finish();
    let (program, arguments) = command?;
    Some(Launcher {
        program,
        arguments,
        folder,
        environment: environment.unwrap_or_default(),
        ready,
    })
}

fn read_command(
    located: &Located<'_>,
    findings: &mut Findings,
) -> Option<(PathBuf, Vec<Template>)> {
    if located.value.as_string_lit().is_some() {
        let mistake = unexpected(located, COMMAND);
        findings.mistake(mistake.help("each argument for itself: there is no shell to split them"));
        return None;
    }
    let before = findings.mistakes.len();
    let words = elements(located, COMMAND, findings);
    let mut words = words.iter();
    let Some(first) = words.next() else {
        if findings.mistakes.len() == before {
            findings.mistake(unexpected(located, COMMAND));
        }
        return None;
    };
    let program = text(first, findings)?;
    match Template::parse(&program) {
        Ok(template) if template.is_constant() => {}
        Ok(_) | Err(_) => {
            let message = format!("`{}`, the program, cannot have placeholders", first.path);
            let mistake = Mistake::new(Some(first.place.clone()), message, "the program itself");
            findings.mistake(mistake.help(
                "what a machine may run is up to its configuration alone: make a launcher for each program",
            ));
        }
    }
    // Arguments may be empty texts.
    let arguments = words.filter_map(|word| template(word, findings)).collect();
    Some((PathBuf::from(program), arguments))
}

fn template(located: &Located<'_>, findings: &mut Findings) -> Option<Template> {
    let Some(literal) = located.value.as_string_lit() else {
        findings.mistake(unexpected(located, "a text"));
        return None;
    };
    let mistake = |message: String| Mistake::new(Some(located.place.clone()), message, "in here");
    if literal.value.contains('\0') {
        findings.mistake(mistake(format!(
            "`{}` contains a zero byte, which no program can be given",
            located.path
        )));
        return None;
    }
    match Template::parse(&literal.value) {
        Ok(template) => Some(template),
        Err(error) => {
            let mistake = mistake(format!("`{}`: {error}", located.path));
            findings.mistake(mistake.help(template_help(&error)));
            None
        }
    }
}

fn template_help(error: &BadTemplate) -> String {
    match error {
        BadTemplate::Unknown { name } => match did_you_mean(name, &PLACEHOLDERS) {
            Some(meant) => format!("did you mean `{{{meant}}}`? A brace itself is written {{{{"),
            None => format!(
                "the placeholders are {}; a brace itself is written {{{{",
                listed(&PLACEHOLDERS)
            ),
        },
        BadTemplate::Unclosed | BadTemplate::Unopened => {
            "a brace itself is written twice: {{ or }}".to_owned()
        }
    }
}

fn variables(located: &Located<'_>, findings: &mut Findings) -> BTreeMap<String, Template> {
    let mut variables = BTreeMap::new();
    for (name, located) in named(located, findings) {
        let mistake =
            |message: String| Mistake::new(Some(located.place.clone()), message, "its value");
        if name.is_empty() || name.contains(['=', '\0']) {
            findings.mistake(mistake(format!(
                "`{}`: the name of a variable cannot be empty or contain `=`",
                located.path
            )));
        } else if RESERVED.contains(&name.as_str()) {
            findings.mistake(mistake(format!("`{name}` is set by the master itself")));
        } else if let Some(template) = template(&located, findings) {
            variables.insert(name, template);
        }
    }
    variables
}

fn protocols(located: &Located<'_>, findings: &mut Findings) -> Option<PerProtocol<bool>> {
    let before = findings.mistakes.len();
    let mut ready = PerProtocol::default();
    for element in elements(located, READY, findings) {
        let literal = element.value.as_string_lit();
        let protocol = literal.and_then(|literal| {
            Protocol::ALL
                .into_iter()
                .find(|protocol| protocol.to_string() == literal.value)
        });
        match protocol {
            Some(protocol) => *ready.get_mut(protocol) = true,
            None => {
                let expected = format!("one of {}", listed(&PROTOCOLS));
                let mut mistake = unexpected(&element, &expected);
                let meant = literal.and_then(|literal| did_you_mean(&literal.value, &PROTOCOLS));
                if let Some(meant) = meant {
                    mistake = mistake.help(format!("did you mean `{meant}`?"));
                }
                findings.mistake(mistake);
            }
        }
    }
    if findings.mistakes.len() > before {
        return None;
    }
    if ready == PerProtocol::default() {
        let mistake = unexpected(located, "at least one protocol");
        findings.mistake(mistake.help("the LanManager takes no service without a port"));
        return None;
    }
    Some(ready)
}

fn bad_name(name: &str, located: &Located<'_>) -> Option<Mistake> {
    let bad = name.is_empty()
        || name.contains(|letter: char| {
            letter == ':' || letter.is_whitespace() || letter.is_control()
        });
    bad.then(|| {
        let message = format!("`{name}` is no name for a launcher");
        let mistake = Mistake::new(Some(located.place.clone()), message, "this launcher");
        mistake.help(format!(
            "a name without blanks and colons: needs ask for the launcher `web` as `{EXEC_DOMAIN}:web`"
        ))
    })
}

/// The members of an object whose keys are free.
fn named<'doc>(located: &Located<'doc>, findings: &mut Findings) -> Vec<(String, Located<'doc>)> {
    let Some(object) = located.value.as_object() else {
        findings.mistake(unexpected(located, "an object, as in { … }"));
        return Vec::new();
    };
    // Reports what stands there twice.
    Section::new(format!("{}.", located.path), object, findings);
    object
        .properties
        .iter()
        .map(|property| {
            let name = property.name.as_str().to_owned();
            let located = Located {
                path: format!("{}.{name}", located.path),
                place: place_of(&property.value),
                value: &property.value,
            };
            (name, located)
        })
        .collect()
}
