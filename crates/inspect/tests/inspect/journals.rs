//! Journals of real runs, and failures that were made into tests by `allexmaster journal test`: what
//! the rules make of each of them.

use allexmaster_inspect::replay::Past;
use allexmaster_inspect::source;
use allexmaster_inspect::transcript::transcript;

#[test]
fn every_recorded_journal_leads_to_what_is_accepted() {
    let mut names: Vec<String> = std::fs::read_dir(crate::support::journals())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "ndjson")
        })
        .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    names.sort();
    assert!(names.len() >= 4);
    for name in names {
        let mut past = Past::new(source::open(&crate::support::recorded(&name)).unwrap());
        let text = transcript(&mut past).unwrap();
        crate::support::assert_snapshot(&format!("test_{name}"), text);
    }
}
