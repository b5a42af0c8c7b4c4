//! Comparing with the accepted snapshots, all of which are in one folder of the repository.

use std::panic::Location;
use std::path::Path;

/// The repository, from the folder of this crate.
const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// Compares a text with the accepted snapshot of this name. Its `source` is the file of the caller, so
/// helpers in between are `#[track_caller]` too; insta's own macro would name this file.
///
/// # Panics
/// The texts differ.
#[track_caller]
pub fn assert_snapshot(name: &str, text: &str) {
    let root = Path::new(ROOT).canonicalize().unwrap();
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(root.join("snapshots"));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    let _bound = settings.bind_to_scope();
    let test = Location::caller();
    let compared = insta::_macro_support::assert_snapshot(
        (name.to_owned(), text).into(),
        &root,
        name,
        "",
        test.file(),
        test.line(),
        "",
    );
    if let Err(error) = compared {
        panic!("{error}");
    }
}
