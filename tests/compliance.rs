//! docs/COMPLIANCE.md names files and tests: each must exist.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

fn functions(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).expect("a folder of the project") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            functions(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("a source file is UTF-8");
            for line in text.lines() {
                let line = line.trim_start();
                let line = line.strip_prefix("async ").unwrap_or(line);
                if let Some((name, _)) = line.strip_prefix("fn ").and_then(|rest| rest.split_once('(')) {
                    found.insert(name.to_owned());
                }
            }
        }
    }
}

#[test]
fn every_file_and_every_test_named_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(root.join("docs/COMPLIANCE.md")).expect("docs/COMPLIANCE.md");
    let mut known = BTreeSet::new();
    functions(&root.join("src"), &mut known);
    functions(&root.join("tests"), &mut known);
    let mut rows = 0;
    for row in text.lines().filter(|line| line.starts_with("| ") && line.contains("`src/")) {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(|cell| cell.trim().trim_matches('`')).collect();
        let [section, _, file, test] = cells[..] else { panic!("not four cells: {row}") };
        assert!(root.join(file).is_file(), "{section}: {file} does not exist");
        assert!(known.contains(test), "{section}: no test is called {test}");
        rows += 1;
    }
    assert!(rows > 50, "only {rows} rows were read");
}
