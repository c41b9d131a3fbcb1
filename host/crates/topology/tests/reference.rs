//! The reference of the configuration is what the code says: `docs/configuration.md` and `docs/topology.schema.json`.
//!
//! `BLESS=1 cargo test -p mshost-topology --test reference` writes both anew; read the difference before you commit it.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::{Path, PathBuf};
use std::{env, fs};

use mshost_topology::{self as topology, Topology, reference};
use serde_json::Value;

const CASES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/topology");

/// The folder of the workspace.
fn root() -> PathBuf {
    let found = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().find(|folder| folder.join("Cargo.lock").is_file());
    found.unwrap().to_owned()
}

/// The text of a generated file, which is first written anew where that is asked for.
fn generated(name: &str, text: &str) -> String {
    let path = root().join("docs").join(name);
    if env::var_os("BLESS").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
    }
    fs::read_to_string(path).unwrap_or_default()
}

#[test]
fn the_page_is_what_the_keys_say() {
    let page = reference::configuration_page();
    assert!(
        generated("configuration.md", &page) == page,
        "docs/configuration.md is not current: run this test with BLESS=1"
    );
}

#[test]
fn the_schema_is_what_the_keys_say() {
    let schema = reference::topology_schema();
    let text = generated("topology.schema.json", &format!("{schema:#}\n"));
    assert!(
        serde_json::from_str::<Value>(&text).is_ok_and(|written| written == schema),
        "docs/topology.schema.json is not current: run this test with BLESS=1"
    );
}

/// What the schema says of a topology's text; empty where it fits.
fn misfits(text: &str) -> Vec<String> {
    let validator = jsonschema::validator_for(&reference::topology_schema()).unwrap();
    let document: Value = toml::from_str(text).unwrap();
    validator.iter_errors(&document).map(|error| format!("{}: {error}", error.instance_path())).collect()
}

/// A folder with a topology, and the environment that it is read in (`NAME=value` lines of `env`).
fn is_valid(folder: &Path) -> bool {
    let variables = fs::read_to_string(folder.join("env")).unwrap_or_default();
    let variable = |name: &str| variables.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    topology::load(&folder.join("topology.toml"), &|name| variable(name).map(str::to_owned)).is_ok()
}

#[test]
fn every_valid_topology_fits_the_schema() {
    let cases = fs::read_dir(CASES).unwrap().map(|entry| entry.unwrap().path());
    let valid: Vec<PathBuf> = cases.chain([root()]).filter(|folder| is_valid(folder)).collect();
    assert!(valid.len() >= 20, "only {} valid topologies", valid.len());
    for folder in valid {
        let text = fs::read_to_string(folder.join("topology.toml")).unwrap();
        assert_eq!(misfits(text.trim_start_matches('\u{feff}')), Vec::<String>::new(), "{}", folder.display());
    }
}

#[test]
fn the_schema_refuses_what_no_topology_has() {
    let worker = "[[worker]]\ntype = \"WB\"\nplugin = \"db\"\n";
    assert_eq!(misfits(worker), Vec::<String>::new());
    for text in [
        "unknown = 1",
        "[host]\nunknown = 1",
        "[host]\ncanary = { unknown = 1 }",
        "[bus]\ncodec = \"XML\"",
        "[bus]\nqueue_limit = 0",
        "[bus]\nsend_timeout = 5",
        "[bus]\nmax_message = \"1 parsec\"",
        "[manager]\nenabled = \"yes\"",
        "[log]\nlevel = \"loud\"",
        "[defaults]\ntype = \"WB\"",
        "[defaults]\nretry = { unknown = 1 }",
        "[worker]\ntype = \"WB\"",
        "[[worker]]\ntype = \"WB\"",
        &format!("{worker}unknown = 1"),
        &format!("{worker}sandbox = {{ connect = [0] }}"),
    ] {
        assert_ne!(misfits(text), Vec::<String>::new(), "{text}");
    }
}

/// The TOML of the page, section by section.
fn examples() -> Vec<String> {
    let page = reference::configuration_page();
    let blocks = page.split("```toml\n").skip(1);
    blocks.map(|block| block.split_once("```").unwrap().0.to_owned()).collect()
}

fn parse(text: &str) -> Topology {
    let environment = |name: &str| (name == "RABBITMQ_PASSWORD").then(|| "secret".to_owned());
    topology::parse(&root().join("topology.toml"), text, &environment)
        .unwrap_or_else(|errors| panic!("{text}\n{errors}"))
}

#[test]
fn every_example_is_valid() {
    let examples = examples();
    assert!(examples.len() >= 10, "only {} examples", examples.len());
    for example in examples {
        parse(&example);
        assert_eq!(misfits(&example), Vec::<String>::new(), "{example}");
    }
}

/// In debug builds each table that is read checks that all of its declared keys were asked for.
#[test]
#[cfg(debug_assertions)]
fn every_declared_key_is_read() {
    let topology = parse(
        "config = \"config/config.toml\"\n[host]\ncanary = {}\n[bus]\n[manager]\n[log]\n[defaults]\nretry = {}\nrestart = {}\n\
         [[worker]]\ntype = \"WB\"\nplugin = \"db\"\nisolation = \"process\"\nlimits = {}\nsandbox = {}\n",
    );
    assert_eq!(topology.workers.len(), 1);
}

/// A default of the page, written into the file, changes nothing.
#[test]
fn the_defaults_of_the_page_are_those_of_the_host() {
    let schema = reference::topology_schema();
    let table = |name: &str, schema: &Value| {
        let properties = schema["properties"].as_object().unwrap();
        let defaults = properties.iter().filter_map(|(key, schema)| Some((key, schema.get("default")?)));
        let lines: String = defaults.map(|(key, default)| format!("{key} = {default}\n")).collect();
        format!("[{name}]\n{lines}")
    };
    let names = ["host", "bus", "manager", "log", "defaults"];
    let mut text: String = names.map(|name| table(name, &schema["properties"][name])).concat();
    let worker = "[[worker]]\ntype = \"WB\"\nplugin = \"db\"\n";
    // The journal's other keys are warned of without `journal`.
    text = text.lines().filter(|line| !line.starts_with("journal_")).collect::<Vec<_>>().join("\n");
    let (plain, written) = (parse(worker), parse(&format!("{text}\n{worker}")));
    assert_eq!(plain.changed_settings(&written), []);
    assert_eq!(format!("{:?}", plain.workers), format!("{:?}", written.workers));
    assert!(text.lines().count() >= 40, "{text}");
}
