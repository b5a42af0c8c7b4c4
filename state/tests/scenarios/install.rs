//! Packages that are missing.

use allexmaster_state::{PackagePatterns, is_package_name};

use crate::story::{Stage, Story};

fn patterns(texts: &[&str]) -> PackagePatterns {
    PackagePatterns::new(texts.iter().map(|&text| text.to_owned()).collect())
}

/// A service whose package is missing.
fn misses(story: &mut Story, name: &str, package: &str) {
    story.given(|story| {
        story.goes_on(name, Stage::Spawning);
    });
    story.not_installed(name, package);
    story.given(|story| {
        story.wakes();
    });
}

#[test]
fn a_missing_package_is_installed_one_at_a_time_and_again_after_a_pause() {
    let mut story = Story::about(
        "Two services lack their packages. npm installs one after the other; the second fails, is not tried again before 30 s have passed, and then again, with a pause of 60 s.",
    );
    story.given(|story| {
        story.set(|settings| settings.install_modules = patterns(&["allex_*"]));
        story.appears("One").appears("Two");
    });
    misses(&mut story, "One", "allex_one");
    misses(&mut story, "Two", "allex_two");
    story.npm_ends("allex_one", None);
    misses(&mut story, "One", "allex_one");
    story.npm_ends("allex_two", Some("E404"));
    misses(&mut story, "Two", "allex_two");
    story.given(|story| {
        story.waits(30_000);
    });
    misses(&mut story, "Two", "allex_two");
    story.npm_ends("allex_two", Some("E404"));
    misses(&mut story, "Two", "allex_two");
    story.note("a report of an engine before");
    story.npm_ends("allex_two", None).end("install");
}

#[test]
fn what_the_configuration_does_not_allow_is_not_installed() {
    let mut story = Story::about("No pattern allows the package: people are told what would help.");
    story.given(|story| {
        story.set(|settings| settings.install_modules = patterns(&["other_*"]));
        story.appears("One");
    });
    misses(&mut story, "One", "allex_one");
    story.end("install_not_allowed");
}

#[test]
fn an_installation_is_begun_again_by_the_next_engine() {
    let mut story = Story::about(
        "The engine is killed while npm runs: the next one runs it again. A new master does so too, and forgets pauses.",
    );
    story.given(|story| {
        story.set(|settings| settings.install_modules = patterns(&["allex_*"]));
        story.appears("One").appears("Two");
    });
    misses(&mut story, "One", "allex_one");
    misses(&mut story, "Two", "allex_two");
    story.resume_finding(&[]);
    story.npm_ends("allex_one", Some("E404"));
    story.start().end("install_again");
}

#[test]
fn patterns_allow_what_they_say_and_nothing_else() {
    let some = patterns(&["allex_*service", "exact"]);
    for package in ["allex_timeservice", "allex_service", "exact"] {
        assert!(some.allow(package), "{package}");
    }
    for package in [
        "allex_timelib",
        "exactly",
        "inexact",
        "evil",
        "allex_x/../service",
    ] {
        assert!(!some.allow(package), "{package}");
    }
    assert!(!patterns(&[]).allow("allex_timeservice"));
    assert!(patterns(&["*"]).allow("@scope/anything"));
    assert!(!patterns(&["*"]).allow("--global"));
    assert!(patterns(&["a*b*c"]).allow("a1b2c") && !patterns(&["a*b*c"]).allow("acb"));
}

#[test]
fn only_names_of_packages_are_taken() {
    for name in [
        "allex_timeservice",
        "allex__ns_xservice",
        "@scope/name",
        "a.b-c~d",
    ] {
        assert!(is_package_name(name), "{name}");
    }
    let long = "x".repeat(215);
    for name in [
        "",
        ".",
        "..",
        "../x",
        "/tmp/x",
        "a/b",
        "@a",
        "@/b",
        "@a/b/c",
        "-g",
        "a b",
        "a:b",
        "node_modules",
        "git+ssh://x",
        "x@1.0.0",
        &long,
    ] {
        assert!(!is_package_name(name), "{name}");
    }
}
