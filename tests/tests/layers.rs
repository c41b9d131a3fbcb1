//! The order that ARCHITECTURE.md promises: who may use whom, and where unsafe code may stand.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use mshost_tests::host::repository;

/// The modules of the host from top to bottom. A module uses only those below it; those of one row do not use each other.
const LAYERS: [&[&str]; 12] = [
    &["cli"],
    &["supervisor"],
    &["isolation"],
    &["worker"],
    &["plugin"],
    &["interop"],
    &["manager"],
    &["bus"],
    &["topology"],
    &["admin"],
    &["metrics", "telemetry"],
    &["ids", "backoff"],
];

/// The only places where unsafe code may stand.
const UNSAFE: [&str; 2] = ["host/src/plugin/library.rs", "plugin-api/src/abi/"];

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

fn layer(module: &str) -> usize {
    LAYERS
        .iter()
        .position(|row| row.contains(&module))
        .unwrap_or_else(|| panic!("the module {module} is not in the list of layers"))
}

/// The modules that a text names as `crate::MODULE`, comments aside.
fn used(text: &str) -> BTreeSet<String> {
    let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    code.flat_map(|line| line.split("crate::").skip(1).map(str::to_owned).collect::<Vec<_>>())
        .filter_map(|rest| {
            let name: String = rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
            (!name.is_empty()).then_some(name)
        })
        .collect()
}

#[test]
fn no_module_reaches_back_up() {
    let root = repository().join("host/src");
    let mut wrong = Vec::new();
    let mut seen = 0;
    for path in sources(&root) {
        let relative = path.strip_prefix(&root).unwrap();
        let first = relative.components().next().unwrap().as_os_str().to_str().unwrap();
        let module = first.trim_end_matches(".rs");
        if matches!(module, "lib" | "main") {
            continue;
        }
        for target in used(&std::fs::read_to_string(&path).unwrap()) {
            seen += 1;
            if target != module && layer(&target) <= layer(module) {
                wrong.push(format!("{} uses crate::{target}", relative.display()));
            }
        }
    }
    assert!(seen > 50, "the test reads no code: {seen}");
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn unsafe_code_stands_in_one_module_of_each_crate() {
    let root = repository();
    let folders =
        ["host/src", "plugin-api/src", "plugins/rest/src", "plugins/pilot/src", "plugins/db/src", "tests/src"];
    let mut wrong = Vec::new();
    for path in folders.iter().flat_map(|folder| sources(&root.join(folder))) {
        let relative = path.strip_prefix(&root).unwrap().to_str().unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        let is_unsafe = |line: &str| {
            ["unsafe {", "unsafe fn", "unsafe impl", "unsafe extern"].iter().any(|word| line.contains(word))
        };
        if code.into_iter().any(is_unsafe) && !UNSAFE.iter().any(|place| relative.starts_with(place)) {
            wrong.push(relative.to_owned());
        }
    }
    assert!(wrong.is_empty(), "unsafe code outside of {UNSAFE:?}: {wrong:#?}");
}
