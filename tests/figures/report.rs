//! Rows of figures.

use std::time::Duration;

pub(crate) fn seconds(what: &str, time: Duration) {
    println!("{what:<90} {:>10.2} s", time.as_secs_f64());
}

pub(crate) fn milliseconds(what: &str, time: Duration) {
    println!("{what:<90} {:>10.1} ms", time.as_secs_f64() * 1_000.0);
}

pub(crate) fn ratio(what: &str, one: Duration, other: Duration) {
    println!(
        "{what:<90} {:>10.2}",
        one.as_secs_f64() / other.as_secs_f64()
    );
}

pub(crate) fn megabytes(what: &str, kibibytes: u64) {
    println!(
        "{what:<90} {:>10.1} MB",
        kibibytes as f64 * 1_024.0 / 1_000_000.0
    );
}

pub(crate) fn count(what: &str, number: usize) {
    println!("{what:<90} {number:>10}");
}
