//! Builds fixture plugins and the mshost binary, once a process each.
#![allow(clippy::expect_used, clippy::unwrap_used)] // a harness that cannot build has nothing else to say

use std::collections::HashMap;
use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, OnceLock};

/// What the pilot of the tests says that it is: can be found in the library, and replaced.
pub const PILOT_VERSION: &str = "v0000000";

/// How a fixture is built, where that is not as the tests are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Build {
    /// As the tests are: with `opt-level = 0` and debug assertions, but for benchmarks.
    #[default]
    Plain,
    /// With `opt-level = 1`, without debug assertions and overflow checks.
    LittleOptimised,
    /// With `opt-level = 3`.
    Optimised,
    /// With fat LTO, in one codegen unit, without debug assertions, stripped: as a release is made.
    Lto,
    /// With `-Z randomize-layout`: the order of fields that is left to the compiler is another.
    RandomLayout,
    /// With `panic = "abort"`.
    PanicAbort,
}

impl Build {
    /// What it sets in `[profile]`.
    fn profile(self) -> &'static [&'static str] {
        match self {
            Self::Plain | Self::RandomLayout => &[],
            Self::LittleOptimised => &["opt-level=1", "debug-assertions=false", "overflow-checks=false"],
            Self::Optimised => &["opt-level=3"],
            Self::Lto => {
                &["opt-level=3", "lto=\"fat\"", "codegen-units=1", "debug-assertions=false", "strip=\"symbols\""]
            }
            Self::PanicAbort => &["panic=\"abort\""],
        }
    }

    /// The folder in the target folder that keeps it apart from the others.
    fn folder(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::LittleOptimised => "fixtures-little-optimised",
            Self::Optimised => "fixtures-optimised",
            Self::Lto => "fixtures-lto",
            Self::RandomLayout => "fixtures-random-layout",
            Self::PanicAbort => "fixtures-panic-abort",
        }
    }
}

/// The library of the fixture in `tests/fixtures/NAME`.
#[must_use]
pub fn fixture(name: &str) -> PathBuf {
    fixture_built(name, Build::Plain)
}

/// The library of a fixture, built in some way.
#[must_use]
pub fn fixture_built(name: &str, how: Build) -> PathBuf {
    let file = format!("libmshost_fixture_{}.so", name.replace('-', "_"));
    build(&format!("mshost-fixture-{name}"), how, &["--lib"]).join(file)
}

/// The mshost binary.
#[must_use]
pub fn mshost_binary() -> PathBuf {
    build("mshost", Build::Plain, &["--bin", "mshost"]).join("mshost")
}

/// The library of one of the example's plugins.
#[must_use]
pub fn example(name: &str) -> PathBuf {
    build(&format!("mshost-plugin-{name}"), Build::Plain, &["--lib"]).join(format!("lib{name}.so"))
}

/// The echo fixture's fossil: built with the `mshost-plugin-api` that is kept in `tests/fossils/VERSION`.
#[must_use]
pub fn fossil(version: &str) -> PathBuf {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("fossils").join(version);
    build_in(&workspace, "mshost-fossil-echo", Build::Plain, &["--lib"]).join("libmshost_fossil_echo.so")
}

/// The echo fixture, built with a `mshost-plugin-api` that is ours but for what `change` makes of its version and of the
/// text of its `abi/traits.rs`. `name` tells it from others.
#[must_use]
pub fn echo_of_another_api(name: &str, version: &str, change: impl Fn(&str) -> String) -> PathBuf {
    let package = format!("mshost-fixture-echo-{name}");
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ is in the checkout");
    let workspace = own_folders().0.join(format!("fixtures-{name}"));
    let copy = |from: &str, to: &str, change: &dyn Fn(String) -> String| {
        let text = std::fs::read_to_string(repository.join(from)).unwrap_or_else(|error| panic!("{from}: {error}"));
        write_where_new(&workspace.join(to), &change(text));
    };
    copy("Cargo.toml", "Cargo.toml", &|text| {
        let ours = format!("version = \"{}\"", env!("CARGO_PKG_VERSION"));
        let text = text.replacen(&ours, &format!("version = \"{version}\""), 1);
        let members = text.lines().find(|line| line.starts_with("members = ")).expect("a workspace has members");
        text.replace(members, "members = [\"plugin-api\", \"echo\"]")
    });
    copy("Cargo.lock", "Cargo.lock", &|text| text);
    copy("tests/fixtures/echo/Cargo.toml", "echo/Cargo.toml", &|text| text.replace("mshost-fixture-echo", &package));
    copy("tests/fixtures/echo/src/lib.rs", "echo/src/lib.rs", &|text| text);
    for file in files_in(&repository.join("plugin-api")) {
        let file = file.strip_prefix(repository).expect("it is in there").to_string_lossy().into_owned();
        copy(&file, &file, &|text| if file.ends_with("abi/traits.rs") { change(&text) } else { text });
    }
    build_in(&workspace, &package, Build::Plain, &["--lib"]).join(format!("lib{}.so", package.replace('-', "_")))
}

fn files_in(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    entries.flat_map(|path| if path.is_dir() { files_in(&path) } else { vec![path] }).collect()
}

/// Leaves a file as it is that need not change, or cargo would build it again.
fn write_where_new(file: &Path, text: &str) {
    if std::fs::read_to_string(file).is_ok_and(|there| there == text) {
        return;
    }
    std::fs::create_dir_all(file.parent().expect("a file is in a folder")).expect("a folder");
    std::fs::write(file, text).expect("a file");
}

/// A library made of C by the linker's own compiler, which Rust needs anyway.
#[must_use]
pub fn c_library(source: &str, flags: &[&str]) -> Vec<u8> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (c, library) = (folder.path().join("x.c"), folder.path().join("libx.so"));
    std::fs::write(&c, source).expect("a file");
    let output = Command::new("cc").args(["-shared", "-fPIC", "-o"]).args([&library, &c]).args(flags).output();
    let output = output.expect("cc runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    std::fs::read(library).expect("cc has written it")
}

/// The bytes of a fixture that has a `DEED`, with this one in it.
#[must_use]
pub fn with_deed(fixture_name: &str, deed: &str) -> Vec<u8> {
    const MARK: &[u8] = b"DEED:";
    const LENGTH: usize = 32;
    let mut library = std::fs::read(fixture(fixture_name)).expect("the fixture is built");
    let padded = format!("DEED:{deed:<width$}", width = LENGTH - MARK.len());
    assert_eq!(padded.len(), LENGTH, "{deed:?} is too long");
    // Where the mark is followed by blanks up to its length; the code has the mark alone, too.
    let places: Vec<_> = (0..library.len() - LENGTH)
        .filter(|&at| library[at..].starts_with(MARK) && library[at + LENGTH - 4..at + LENGTH] == *b"    ")
        .collect();
    assert_eq!(places.len(), 1, "{fixture_name} has one deed");
    library[places[0]..places[0] + LENGTH].copy_from_slice(padded.as_bytes());
    library
}

/// Builds a package of this workspace; the folder where its artefacts are.
fn build(package: &str, how: Build, what: &[&str]) -> PathBuf {
    build_in(Path::new(env!("CARGO_MANIFEST_DIR")), package, how, what)
}

/// Builds a package; the folder where its artefacts are.
fn build_in(workspace: &Path, package: &str, how: Build, what: &[&str]) -> PathBuf {
    static BUILT: OnceLock<Mutex<HashMap<(String, Build), PathBuf>>> = OnceLock::new();
    let mut built = BUILT.get_or_init(Mutex::default).lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some(folder) = built.get(&(package.to_owned(), how)) {
        return folder.clone();
    }
    let (target, profile) = own_folders();
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(workspace).args(["build", "--quiet", "--package", package]).args(what);
    cargo.env("PILOT_VERSION", PILOT_VERSION);
    // What cargo tells a test of its own package; there are build scripts that would run again for it, and what needs them.
    let told = |name: &str| ["CARGO_PKG_", "CARGO_MANIFEST_"].iter().any(|start| name.starts_with(start));
    for (name, _) in env::vars_os().filter(|(name, _)| name.to_str().is_some_and(told)) {
        cargo.env_remove(name);
    }
    if profile == "release" {
        cargo.arg("--release");
    }
    let section = if profile == "release" { "release" } else { "dev" };
    for setting in how.profile() {
        cargo.args(["--config", &format!("profile.{section}.{setting}")]);
    }
    if how == Build::RandomLayout {
        cargo.env("RUSTC_BOOTSTRAP", "1").env("RUSTFLAGS", "-Z randomize-layout -Z layout-seed=42");
    }
    let target = target.join(how.folder());
    let output = cargo.arg("--target-dir").arg(&target).output().expect("cargo runs");
    assert!(output.status.success(), "building {package}: {}", String::from_utf8_lossy(&output.stderr));
    let folder = target.join(profile);
    built.insert((package.to_owned(), how), folder.clone());
    folder
}

/// The target folder and the profile of the running test: `target/debug/deps/TEST`.
fn own_folders() -> (PathBuf, String) {
    let test = env::current_exe().expect("a test has a file");
    let profile = test.ancestors().nth(2).expect("a test is in target/PROFILE/deps");
    let name = profile.file_name().expect("a profile has a name").to_string_lossy().into_owned();
    (profile.parent().expect("a profile is in a target folder").to_owned(), name)
}
