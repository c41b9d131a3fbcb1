//! What ARCHITECTURE.md promises of the structure and Cargo does not enforce: the order of the crates, and where unsafe code may
//! stand.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use mshost_tests::host_process::repository;
use mshost_tests::module_graph::ModuleGraph;

/// The crates of the host from top to bottom, with the folder of each. A crate uses only those below it.
const LAYERS: [(&str, &str); 12] = [
    ("mshost", "host"),
    ("mshost-isolation", "host/crates/isolation"),
    ("mshost-worker", "host/crates/worker"),
    ("mshost-plugin-host", "host/crates/plugin-host"),
    ("mshost-msjs", "host/crates/msjs"),
    ("mshost-manager", "host/crates/manager"),
    ("mshost-bus-amqp", "host/crates/bus-amqp"),
    ("mshost-bus-embedded", "host/crates/bus-embedded"),
    ("mshost-topology", "host/crates/topology"),
    ("mshost-bus", "host/crates/bus"),
    ("mshost-core", "host/crates/core"),
    ("mshost-plugin-api", "plugin-api"),
];

/// Crates of one row of the map in ARCHITECTURE.md: neither uses the other, although the list above has one before the other.
const INDEPENDENT: [(&str, &str); 5] = [
    ("mshost-bus-amqp", "mshost-bus-embedded"),
    ("mshost-bus-amqp", "mshost-topology"),
    ("mshost-bus-embedded", "mshost-topology"),
    ("mshost-plugin-host", "mshost-topology"),
    ("mshost-plugin-host", "mshost-manager"),
];

/// The only places where unsafe code may stand.
const UNSAFE: [&str; 2] = ["host/crates/plugin-host/src/loader/library.rs", "plugin-api/src/abi/"];

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

/// The crates of the workspace that a crate's `[dependencies]` name.
fn dependencies(folder: &str) -> Vec<String> {
    let manifest = std::fs::read_to_string(repository().join(folder).join("Cargo.toml")).unwrap();
    let table: toml::Table = manifest.parse().unwrap();
    let names = table["dependencies"].as_table().unwrap().keys();
    names.filter(|name| name.starts_with("mshost")).cloned().collect()
}

#[test]
fn a_crate_uses_only_those_below_it() {
    let layer = |name: &str| LAYERS.iter().position(|(other, _)| *other == name);
    for folder in std::fs::read_dir(repository().join("host/crates")).unwrap() {
        let folder = folder.unwrap().file_name().into_string().unwrap();
        assert!(layer(&format!("mshost-{folder}")).is_some(), "the crate {folder} is not in the list of layers");
    }
    for (name, folder) in LAYERS {
        for below in dependencies(folder) {
            let place = layer(&below).unwrap_or_else(|| panic!("{name} uses {below}, which is no layer of the host"));
            assert!(Some(place) > layer(name), "{name} uses {below}, which stands above it");
            assert!(!INDEPENDENT.contains(&(name, &below)), "{name} uses {below}, of the same row");
        }
    }
}

#[test]
fn unsafe_code_stands_in_one_module_of_each_crate() {
    let root = repository();
    let folders = ["host", "plugin-api/src", "plugins/rest/src", "plugins/pilot/src", "plugins/db/src", "tests/src"];
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

#[test]
fn no_files_of_a_crate_use_each_other_in_a_circle() {
    let root = repository();
    let mut arrows = 0;
    let mut wrong = Vec::new();
    for (_, folder) in LAYERS {
        let graph = ModuleGraph::read(&root.join(folder).join("src"));
        arrows += graph.size().1;
        wrong.extend(
            graph.circles().into_iter().map(|circle| {
                circle.iter().map(|path| path.strip_prefix(&root).unwrap().to_owned()).collect::<Vec<_>>()
            }),
        );
    }
    assert!(arrows > 300, "the test reads no code: {arrows} arrows");
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Files of the repository that end so, apart from what is built or installed.
fn files_ending(endings: &[&str]) -> Vec<PathBuf> {
    fn walk(folder: &Path, endings: &[&str], found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap_or_default();
            if path.is_dir() {
                if !matches!(name, "target" | "node_modules" | "state" | ".git") {
                    walk(&path, endings, found);
                }
            } else if endings.iter().any(|ending| name.ends_with(ending)) {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    walk(&repository(), endings, &mut found);
    found
}

#[test]
fn links_between_documents_lead_somewhere() {
    let mut links = 0;
    let mut wrong = Vec::new();
    // What stands in a crate's sources is a part of a page that is generated elsewhere.
    for file in files_ending(&[".md"]).iter().filter(|file| !file.components().any(|part| part.as_os_str() == "src")) {
        let text = std::fs::read_to_string(file).unwrap();
        let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        for target in targets.filter(|target| !target.contains("://") && !target.starts_with('#')) {
            links += 1;
            let path = target.split('#').next().unwrap();
            if !file.parent().unwrap().join(path).exists() {
                wrong.push(format!("{}: {target}", file.strip_prefix(repository()).unwrap().display()));
            }
        }
    }
    assert!(links > 20, "the test reads no documents: {links} links");
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_readme_fits_two_screens_and_the_map_has_every_crate() {
    let read = |file: &str| std::fs::read_to_string(repository().join(file)).unwrap();
    assert!(read("README.md").lines().count() <= 120);
    let map = read("ARCHITECTURE.md");
    for (_, folder) in LAYERS {
        assert!(map.contains(&format!("`{folder}`")), "{folder} is not on the map");
    }
}

/// Words of a private language that have a standard term; names of objects on a broker that older hosts use are kept.
const PRIVATE_WORDS: [&str; 19] = [
    "undertaker",
    "grave",
    "graves",
    "berth",
    "shelf",
    "stragglers",
    "servant",
    "fossil",
    "fossils",
    "zoo",
    "animals",
    "patrons",
    "knobs",
    "laps",
    "unbegun",
    "undone",
    "keeper",
    "porter",
    "outlook",
];

#[test]
fn code_is_written_in_standard_terms() {
    let root = repository();
    let mut found = Vec::new();
    for path in ["host", "plugin-api", "tests"].iter().flat_map(|folder| sources(&root.join(folder))) {
        let relative = path.strip_prefix(&root).unwrap();
        if relative.ends_with("tests/layers.rs") || relative.starts_with("tests/abi_compat") {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap().replace("mshost.undone", "").to_lowercase();
        let words: BTreeSet<&str> = text.split(|c: char| !c.is_alphanumeric()).collect();
        found.extend(
            PRIVATE_WORDS
                .iter()
                .filter(|word| words.contains(*word))
                .map(|word| format!("{}: {word}", relative.display())),
        );
    }
    assert!(found.is_empty(), "{found:#?}");
}
