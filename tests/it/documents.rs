//! What the documents say of the tests is so.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

const FAILURE_MODES: &str = include_str!("../../docs/failure-modes.md");

#[test]
fn each_failure_mode_names_tests_that_are_there() {
    let there = tests_below(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests"));
    let rows: Vec<_> = FAILURE_MODES.lines().filter(|line| line.starts_with("| ")).collect();
    let rows: Vec<_> = rows.into_iter().filter(|row| !row.ends_with("| test |")).collect();
    assert!(rows.len() > 40, "the page has its tables");
    for row in rows {
        let named: Vec<_> = row.split('`').filter_map(|word| word.rsplit_once("::")).map(|(_, name)| name).collect();
        assert!(!named.is_empty(), "no test is named for: {row}");
        for name in named {
            assert!(there.contains(name), "{name} is no test; it is named for: {row}");
        }
    }
}

/// The names of all functions in the files below it.
fn tests_below(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).expect("the sources are there");
    let paths: Vec<_> = entries.map(|entry| entry.expect("the folder can be read").path()).collect();
    paths.iter().flat_map(|path| if path.is_dir() { tests_below(path) } else { functions_in(path) }).collect()
}

fn functions_in(file: &Path) -> BTreeSet<String> {
    let text = fs::read_to_string(file).unwrap_or_default();
    let after_fn = text.split("fn ").skip(1);
    after_fn.filter_map(|rest| rest.split_once('(')).map(|(name, _)| name.to_owned()).collect()
}
