//! The rules of the repository itself.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{repository, text};

/// Rust files of the crates, tests inside them included.
fn sources(dir: &Path, out: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() && path.file_name().is_some_and(|n| n != "target") {
            sources(&path, out);
        } else if path.extension().is_some_and(|e| e == "rs") {
            out.push(path);
        }
    }
}

#[test]
fn the_visible_top_level_is_what_it_should_be() {
    let out = Command::new("git").args(["ls-files"]).current_dir(repository("")).output().expect("git runs");
    let files = text(&out.stdout);
    let top: BTreeSet<&str> =
        files.lines().filter_map(|l| l.split('/').next()).filter(|n| !n.starts_with('.')).collect();
    let expected = ["Cargo.lock", "Cargo.toml", "LICENSE", "README.md", "benches", "crates", "sql", "tests"];
    assert_eq!(top, BTreeSet::from(expected));
}

/// Time comes from `Clock`, so that tests can set it. Intervals may be measured anywhere.
#[test]
fn nobody_reads_the_wall_clock_but_the_clock() {
    let mut files = vec![];
    sources(&repository("crates"), &mut files);
    let allowed = ["crates/coord/src/clock.rs"];
    for file in files {
        let name = file.strip_prefix(repository("")).expect("below it").display().to_string();
        // The broker stamps messages itself, as Kafka does, from one place of its own.
        if allowed.contains(&name.as_str()) || name.starts_with("crates/broker/") || name.contains("/tests/")
        {
            continue;
        }
        let text = std::fs::read_to_string(&file).expect("text");
        let shipped = text.split("#[cfg(test)]").next().unwrap_or_default();
        assert!(!shipped.contains("SystemTime::now"), "{name} reads the wall clock");
    }
}

/// Every licence is one that may be linked into an Apache-2.0 program.
#[test]
fn licences_are_permissive() {
    let out = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked", "--offline"])
        // What other systems would link is not here to be read.
        .args(["--filter-platform", "x86_64-unknown-linux-gnu"])
        .current_dir(repository(""))
        .output()
        .expect("cargo runs");
    assert!(out.status.success(), "{}", text(&out.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&out.stdout).expect("JSON");
    let fine = [
        "MIT",
        "Apache-2.0",
        "BSD-2-Clause",
        "BSD-3-Clause",
        "ISC",
        "Zlib",
        "Unicode-3.0",
        "Unicode-DFS-2016",
        "0BSD",
        "CC0-1.0",
        "BSL-1.0",
        "Unlicense",
        "MIT-0",
        "Apache-2.0 WITH LLVM-exception",
    ];
    // By name: pgwire's SCRAM needs the first, decimals of 39 digits the second; the third is Mozilla's list of certificate
    // authorities, under a permissive licence for data.
    let by_name =
        [("x509-certificate", "MPL-2.0"), ("decnumber-sys", "ICU"), ("webpki-roots", "CDLA-Permissive-2.0")];
    for package in metadata["packages"].as_array().expect("a list") {
        let name = package["name"].as_str().expect("a name");
        let licence = package["license"].as_str().unwrap_or("none");
        let alternatives = licence.replace(['(', ')'], "").replace('/', " OR ");
        let good =
            alternatives.split(" OR ").any(|l| l.split(" AND ").all(|part| fine.contains(&part.trim())));
        let named = by_name.iter().any(|(n, l)| *n == name && licence.contains(l));
        assert!(good || named, "{name}: {licence}");
    }
}

/// Numbers of JSON must not pass through maps or floats of another crate's making: the feature would change every
/// visitor of the program.
#[test]
fn serde_jsons_arbitrary_precision_is_off() {
    let out = Command::new(env!("CARGO"))
        .args(["tree", "--offline", "--locked", "-e", "features", "-i", "serde_json", "--workspace"])
        .current_dir(repository(""))
        .output()
        .expect("cargo runs");
    assert!(out.status.success(), "{}", text(&out.stderr));
    assert!(!text(&out.stdout).contains("arbitrary_precision"));
}

/// What `crates/SEGMENT.md` says shows something is there.
#[test]
fn what_the_tables_name_exists() {
    let page = std::fs::read_to_string(repository("crates/SEGMENT.md")).expect("the page");
    let rows = page
        .lines()
        .filter(|l| l.starts_with("| "))
        .filter_map(|l| l.trim_end_matches(" |").rsplit_once(" | "));
    let mut named = 0;
    for (_, shown_by) in rows {
        for name in shown_by.split('`').skip(1).step_by(2).filter(|n| n.contains('/') && !n.contains(' ')) {
            let (file, test) = name.split_once("::").map_or((name, None), |(file, test)| (file, Some(test)));
            let text = std::fs::read_to_string(repository(file)).unwrap_or_else(|e| panic!("{file}: {e}"));
            if let Some(test) = test {
                assert!(text.contains(&format!("#[test]\nfn {test}()")), "{file} has no test {test}");
            }
            named += 1;
        }
    }
    assert!(named > 50, "{named}");
}
