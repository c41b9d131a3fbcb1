//! Topologies in, what a user reads out.
//!
//! Each folder of `tests/topology/` is a case: `topology.toml`, maybe the files that it names, maybe `env` (`NAME=value`
//! lines) and `schema.json` (what the first worker's plugin exports), and `expected.txt`: what is rendered, or the plan.
//! `BLESS=1 cargo test -p mshost-topology --test topology` writes `expected.txt` anew; read the difference before you commit it.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

use mshost_topology::{Diagnostics, RenderStyle, Topology};

const CASES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/topology");

fn variables(folder: &Path) -> BTreeMap<String, String> {
    let text = fs::read_to_string(folder.join("env")).unwrap_or_default();
    let pairs = text.lines().map(|line| line.split_once('=').expect("NAME=value"));
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn load(folder: &Path) -> Result<Topology, Diagnostics> {
    // A checkout gives files whatever mode the umask leaves; that secrets are readable to all is another test's.
    for file in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if file.extension().is_some_and(|extension| extension == "secret") {
            fs::set_permissions(file, Permissions::from_mode(0o600)).unwrap();
        }
    }
    let variables = variables(folder);
    mshost_topology::load(&folder.join("topology.toml"), &|name| variables.get(name).cloned())
}

/// What one case says, with the folder's own path left out.
fn outcome(folder: &Path) -> String {
    let said = match load(folder) {
        Err(errors) => errors.render(RenderStyle::Plain),
        Ok(topology) => {
            let warnings = topology.warnings.as_ref().map(|warnings| warnings.render(RenderStyle::Plain));
            warnings.unwrap_or_default() + &schema_errors(folder, &topology).unwrap_or_else(|| values(&topology))
        }
    };
    said.replace(&format!("{}/", folder.display()), "").replace(&folder.display().to_string(), "")
}

fn schema_errors(folder: &Path, topology: &Topology) -> Option<String> {
    let schema = fs::read_to_string(folder.join("schema.json")).ok()?;
    let schema = serde_json::from_str(&schema).expect("schema.json is JSON");
    let found = Diagnostics::new(&topology.source, mshost_topology::check_config(topology, 0, &schema));
    Some(found.map_or_else(|| "the config fits the schema\n".to_owned(), |found| found.render(RenderStyle::Plain)))
}

/// Every value, but for those that depend on the machine.
fn values(topology: &Topology) -> String {
    let Topology { host, bus, manager, logs, workers, .. } = topology;
    let mut out = String::new();
    let host = mshost_topology::HostConfig { name: "HOST".to_owned(), ..host.clone() };
    writeln!(out, "{host:#?}\n{bus:#?}\n{manager:#?}\n{logs:#?}").unwrap();
    for worker in workers {
        writeln!(out, "{worker:#?}\nconfig: {:#}", worker.config).unwrap();
    }
    out
}

#[test]
fn a_file_too_large_is_not_read() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("topology.toml"), "#".repeat((1 << 20) + 1)).unwrap();
    assert_eq!(outcome(folder.path()), "error: cannot read topology.toml: it is larger than 1MiB\n\n1 error\n");
    fs::write(folder.path().join("topology.toml"), "#".repeat(1 << 20)).unwrap();
    assert!(load(folder.path()).is_ok());
}

#[test]
fn a_secret_that_everybody_can_read_is_warned_of() {
    let folder = tempfile::tempdir().unwrap();
    let text = "[bus]\nurl = \"amqps://me@broker\"\npassword_file = \"password\"\n";
    fs::write(folder.path().join("topology.toml"), text).unwrap();
    let password = folder.path().join("password");
    fs::write(&password, "s3cret\n").unwrap();
    for (mode, is_warned) in [(0o600, false), (0o640, false), (0o644, true)] {
        fs::set_permissions(&password, Permissions::from_mode(mode)).unwrap();
        let topology = load(folder.path()).unwrap();
        let warnings = topology.warnings.map(|found| found.render(RenderStyle::Plain)).unwrap_or_default();
        assert_eq!(warnings.contains("every user of this machine can read the file of `password_file`"), is_warned);
        assert!(!format!("{warnings}{:?}", topology.bus).contains("s3cret"));
    }
}

/// What a log shows of a file that is broken on reload.
#[test]
fn each_error_has_a_line_for_logs() {
    let errors = load(&Path::new(CASES).join("several_places")).unwrap_err();
    let lines: Vec<String> = errors.lines().map(|line| line.replace(&format!("{CASES}/several_places/"), "")).collect();
    assert_eq!(
        lines,
        [
            "topology.toml:4:1: error: unknown key `admn` in [host]",
            "config.toml:1:13: error: `keepalive`: expected a whole number from 0 to 86400000, found a string",
        ]
    );
}

#[test]
fn a_line_for_logs_stays_one_line() {
    let text = "\"a\\nb\\u001B[31m\" = 1";
    let errors = mshost_topology::parse(Path::new("t.toml"), text, &|_| None).unwrap_err();
    assert_eq!(
        errors.lines().collect::<Vec<_>>(),
        [
            "t.toml:1:1: error: unknown key `a\\nb\\u{1b}[31m` in the topology (the keys here are `config`, `host`, `bus`, `manager`, `log`, `defaults` and `worker`)"
        ]
    );
    let escapes = errors.render(RenderStyle::Plain).contains('\u{1b}');
    assert!(!escapes, "a file must not be able to write to the terminal");
}

/// Colours are all that coloured output has more.
#[test]
fn colours_change_no_text() {
    for folder in cases() {
        let Err(errors) = load(&folder) else { continue };
        let coloured = errors.render(RenderStyle::Coloured);
        let mut text = String::new();
        for (index, part) in coloured.split("\u{1b}[").enumerate() {
            text.push_str(if index == 0 { part } else { part.split_once('m').unwrap().1 });
        }
        assert_ne!(coloured, text, "there are colours in {}", folder.display());
        assert_eq!(text, errors.render(RenderStyle::Plain), "{}", folder.display());
    }
}

fn cases() -> Vec<PathBuf> {
    let mut cases: Vec<PathBuf> = fs::read_dir(CASES).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.retain(|path| path.is_dir());
    cases.sort();
    cases
}

#[test]
fn each_case_says_what_it_said() {
    let bless = env::var_os("BLESS").is_some();
    let mut differing = Vec::new();
    let cases = cases();
    assert!(cases.len() >= 40, "only {} cases found", cases.len());
    for folder in cases {
        let name = folder.file_name().unwrap().to_string_lossy().into_owned();
        let said = outcome(&folder);
        if bless {
            fs::write(folder.join("expected.txt"), &said).unwrap();
        }
        let expected = fs::read_to_string(folder.join("expected.txt")).unwrap_or_default();
        if said != expected {
            differing.push(format!("--- {name}: expected\n{expected}--- {name}: found\n{said}"));
        }
    }
    assert!(differing.is_empty(), "{}", differing.join("\n"));
}
