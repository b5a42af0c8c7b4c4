//! Figures, one a line.

use std::time::Duration;

/// The sizes of a bench: numbers of the command line in their order, instead of those of `--small`
/// where that is said, or of the default.
pub fn sizes<const COUNT: usize>(default: [usize; COUNT], small: [usize; COUNT]) -> [usize; COUNT] {
    let mut sizes = if is_small() { small } else { default };
    let numbers = std::env::args().filter_map(|text| text.parse().ok());
    for (size, number) in sizes.iter_mut().zip(numbers) {
        *size = number;
    }
    sizes
}

/// A size of a bench: the full one, or that of `--small`.
pub fn size<T>(full: T, small: T) -> T {
    if is_small() { small } else { full }
}

/// Whether the gate asks for a run of seconds.
pub fn is_small() -> bool {
    std::env::args().any(|text| text == "--small")
}

/// The figure in the middle and the greatest; zeros where there is none.
pub fn median_and_most(figures: &[f64]) -> (f64, f64) {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.get(sorted.len() / 2).copied();
    (
        middle.unwrap_or_default(),
        sorted.last().copied().unwrap_or_default(),
    )
}

pub fn seconds(what: &str, time: Duration) {
    row(what, &format!("{:.2} s", time.as_secs_f64()));
}

pub fn milliseconds(what: &str, time: Duration) {
    row(what, &format!("{:.1} ms", time.as_secs_f64() * 1e3));
}

pub fn megabytes(what: &str, kibibytes: u64) {
    row(what, &format!("{:.1} MB", to_megabytes(kibibytes)));
}

pub fn count(what: &str, number: usize) {
    row(what, &number.to_string());
}

/// A figure and its goal, with the verdict.
pub fn goal(what: &str, figure: f64, most: f64) {
    let verdict = if figure <= most { "met" } else { "missed" };
    row(
        what,
        &format!("{figure:.2} (goal: at most {most}; {verdict})"),
    );
}

/// What a bench could not measure here, in the words that `.ci/run` looks for.
pub fn not_run(what: &str, why: &str) {
    println!("NOT RUN: {what}: {why}");
}

pub fn row(what: &str, figure: &str) {
    println!("{what:<88} {figure:>12}");
}

pub fn to_megabytes(kibibytes: u64) -> f64 {
    kibibytes as f64 * 1_024.0 / 1e6
}
