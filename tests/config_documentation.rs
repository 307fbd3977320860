//! docs/CONFIG.md says what is true: its example loads, and it names every key.

mod support;

use support::{Case, EXAMPLE, TRANSLATE};

const DOCUMENTATION: &str = include_str!("../docs/CONFIG.md");

#[test]
fn the_documented_example_loads() {
    let (_, rest) = DOCUMENTATION.split_once("```toml\n").expect("an example");
    let (example, _) = rest.split_once("```").expect("its end");
    assert_eq!(example.replace("file:/etc/portcullis/cbp.psk", "file:PSK"), EXAMPLE);
    assert!(Case::new().load(&example.replace("file:/etc/portcullis/cbp.psk", "file:PSK")).is_ok());
}

/// A newcomer's first file.
#[test]
fn the_example_of_the_readme_loads_without_a_warning() {
    let (_, rest) = include_str!("../README.md").split_once("```toml\n").expect("an example");
    let (example, _) = rest.split_once("```").expect("its end");
    let loaded = Case::new().load(&example.replace("file:/etc/portcullis/cbp.psk", "file:PSK")).expect("it loads");
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    let [record] = &loaded.agreements[..] else { panic!("one agreement") };
    assert!(record.missing().is_empty(), "{:?}", record.missing());
}

/// The help on an unknown key lists the keys of its table; the table of the documentation must be the same.
#[test]
fn every_key_is_documented_and_no_other() {
    for (section, heading, next) in [
        ("[gateway]\n", "## `[gateway]`", "## `[agreement"),
        ("[agreement.cbp]\n", "## `[agreement.NAME]`", "## `[tunnel"),
        ("[tunnel.cbp]\n", "## `[tunnel.NAME]`", "### Suites"),
        ("[[rule]]\n", "## `[[rule]]`", "## `[[translate]]`"),
        ("[[translate]]\n", "## `[[translate]]`", "## Warnings"),
    ] {
        let example = format!("{EXAMPLE}{TRANSLATE}");
        let text = example.replace(section, &format!("{section}wombat = 1\n"));
        let refused = Case::new().load(&text).unwrap_err();
        let help = refused.errors[0].mend().expect("a list of keys");
        let mut keys: Vec<&str> = help.trim_start_matches("the keys of this table are ").split(", ").collect();
        let (_, rest) = DOCUMENTATION.split_once(heading).expect("a heading");
        let (table, _) = rest.split_once(next).expect("the next heading");
        let mut documented: Vec<&str> = table
            .lines()
            .filter_map(|line| line.strip_prefix("| `")?.split(" | ").next())
            .flat_map(|cell| cell.split(", "))
            .map(|key| key.trim_matches('`'))
            .collect();
        keys.sort_unstable();
        documented.sort_unstable();
        assert_eq!(documented, keys, "{heading}");
    }
}
