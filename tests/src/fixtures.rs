//! The mshost binary, the example's plugins and the fixture plugins: built by one call of cargo each, once a process.
//!
//! Plugins are built apart from the host: together they would get its features of tokio, and with them a signal driver that each
//! reload leaves behind. All of them are built by one call, as `make test` does before the tests run, because cargo compiles
//! the dependencies anew for each selection of packages whose features differ.
#![allow(clippy::expect_used, clippy::unwrap_used)] // a harness that cannot build has nothing else to say

use std::collections::HashMap;
use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, OnceLock};

/// The fixture that is built with `panic = "abort"`, apart from the others.
const PANIC_ABORT: &str = "mshost-fixture-panic-abort";

/// What the pilot of the tests says that it is: can be found in the library, and replaced.
pub const PILOT_VERSION: &str = "v0000000";

/// How a fixture is built.
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
        }
    }
}

/// The library of the fixture in `tests/fixtures/NAME`.
#[must_use]
pub fn fixture(name: &str) -> PathBuf {
    plugins().join(library_name(&format!("mshost-fixture-{name}")))
}

/// The library of a fixture, built in some way.
#[must_use]
pub fn fixture_built(name: &str, how: Build) -> PathBuf {
    let package = format!("mshost-fixture-{name}");
    let cargo = Cargo { how, ..Cargo::build(std::slice::from_ref(&package), &["--lib"]) };
    cargo.run_once().join(library_name(&package))
}

/// The library of a plugin with `panic = "abort"`. Its dependencies unwind, as those of every artefact that aborts may.
#[must_use]
pub fn panic_abort_plugin() -> PathBuf {
    let package = PANIC_ABORT.to_owned();
    let cargo = Cargo { command: "rustc", rustc: &["-C", "panic=abort"], ..Cargo::build(&[package], &["--lib"]) };
    cargo.run_once().join(library_name(PANIC_ABORT))
}

/// The mshost binary. It is selected together with the harness, so that both have the features that `cargo test` gives them.
#[must_use]
pub fn mshost_binary() -> PathBuf {
    let packages = ["mshost".to_owned(), env!("CARGO_PKG_NAME").to_owned()];
    Cargo::build(&packages, &["--bin", "mshost"]).run_once().join("mshost")
}

/// The library of one of the example's plugins.
#[must_use]
pub fn example(name: &str) -> PathBuf {
    plugins().join(format!("lib{name}.so"))
}

/// The folder of all plugins and fixtures.
fn plugins() -> PathBuf {
    let names = |folder: &str| {
        let entries = std::fs::read_dir(repository().join(folder)).expect("a folder of packages");
        let folders =
            entries.map(|entry| entry.expect("an entry").path()).filter(|path| path.join("Cargo.toml").exists());
        folders.map(|path| path.file_name().expect("a name").to_string_lossy().into_owned()).collect::<Vec<_>>()
    };
    let examples = names("plugins").into_iter().map(|name| format!("mshost-plugin-{name}"));
    let fixtures = names("tests/fixtures").into_iter().map(|name| format!("mshost-fixture-{name}"));
    let mut packages: Vec<_> = examples.chain(fixtures).filter(|package| package != PANIC_ABORT).collect();
    packages.sort();
    Cargo::build(&packages, &["--lib"]).run_once()
}

fn library_name(package: &str) -> String {
    format!("lib{}.so", package.replace('-', "_"))
}

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ is in the checkout")
}

/// The echo fixture as it was built in the field, with the `mshost-plugin-api` that is kept in `tests/abi_compat/VERSION`.
#[must_use]
pub fn released_echo(version: &str) -> PathBuf {
    let workspace = repository().join("tests/abi_compat").join(version);
    let package = "mshost-abi-compat-echo";
    Cargo { workspace, ..Cargo::build(&[package.to_owned()], &["--lib"]) }.run_once().join(library_name(package))
}

/// The echo fixture, built with a `mshost-plugin-api` that is ours but for what `change` makes of its version and of the
/// text of its `abi/traits.rs`. `name` tells it from others.
#[must_use]
pub fn echo_of_another_api(name: &str, version: &str, change: impl Fn(&str) -> String) -> PathBuf {
    let package = format!("mshost-fixture-echo-{name}");
    let workspace = own_folders().0.join(format!("fixtures-{name}"));
    let copy = |from: &str, to: &str, change: &dyn Fn(String) -> String| {
        let text = std::fs::read_to_string(repository().join(from)).unwrap_or_else(|error| panic!("{from}: {error}"));
        write_where_new(&workspace.join(to), &change(text));
    };
    copy("Cargo.toml", "Cargo.toml", &|text| {
        let ours = format!("version = \"{}\"", env!("CARGO_PKG_VERSION"));
        let text = text.replacen(&ours, &format!("version = \"{version}\""), 1);
        let lines = text.lines().filter(|line| !line.starts_with("default-members = "));
        let ours_alone =
            |line| if str::starts_with(line, "members = ") { "members = [\"plugin-api\", \"echo\"]" } else { line };
        lines.map(ours_alone).collect::<Vec<_>>().join("\n") + "\n"
    });
    copy("Cargo.lock", "Cargo.lock", &|text| text);
    copy("tests/fixtures/echo/Cargo.toml", "echo/Cargo.toml", &|text| text.replace("mshost-fixture-echo", &package));
    copy("tests/fixtures/echo/src/lib.rs", "echo/src/lib.rs", &|text| text);
    for file in files_in(&repository().join("plugin-api")) {
        let file = file.strip_prefix(repository()).expect("it is in there").to_string_lossy().into_owned();
        copy(&file, &file, &|text| if file.ends_with("abi/traits.rs") { change(&text) } else { text });
    }
    Cargo { workspace, ..Cargo::build(std::slice::from_ref(&package), &["--lib"]) }
        .run_once()
        .join(library_name(&package))
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

/// The bytes of a fixture that has a `MODE`, with this one in it.
#[must_use]
pub fn with_mode(fixture_name: &str, mode: &str) -> Vec<u8> {
    const MARK: &[u8] = b"MODE:";
    const LENGTH: usize = 32;
    let mut library = std::fs::read(fixture(fixture_name)).expect("the fixture is built");
    let padded = format!("MODE:{mode:<width$}", width = LENGTH - MARK.len());
    assert_eq!(padded.len(), LENGTH, "{mode:?} is too long");
    // Where the mark is followed by blanks up to its length; the code has the mark alone, too.
    let places: Vec<_> = (0..library.len() - LENGTH)
        .filter(|&at| library[at..].starts_with(MARK) && library[at + LENGTH - 4..at + LENGTH] == *b"    ")
        .collect();
    assert_eq!(places.len(), 1, "{fixture_name} has one mode");
    library[places[0]..places[0] + LENGTH].copy_from_slice(padded.as_bytes());
    library
}

/// A call of cargo that builds some packages.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Cargo {
    /// `build` or `rustc`.
    command: &'static str,
    /// The folder of the workspace.
    workspace: PathBuf,
    packages: Vec<String>,
    /// Which of their targets.
    targets: Vec<&'static str>,
    how: Build,
    /// Further arguments of rustc.
    rustc: &'static [&'static str],
}

impl Cargo {
    /// Builds these targets of packages of this workspace as the tests are built.
    fn build(packages: &[String], targets: &[&'static str]) -> Self {
        let (packages, targets) = (packages.to_vec(), targets.to_vec());
        Self { command: "build", workspace: repository().to_owned(), packages, targets, how: Build::Plain, rustc: &[] }
    }

    /// Runs where this process has not; the folder where the artefacts are.
    fn run_once(self) -> PathBuf {
        static BUILT: OnceLock<Mutex<HashMap<Cargo, PathBuf>>> = OnceLock::new();
        let mut built = BUILT.get_or_init(Mutex::default).lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        built.entry(self).or_insert_with_key(Self::run).clone()
    }

    fn run(&self) -> PathBuf {
        let (target, profile) = own_folders();
        let target = target.join(self.how.folder());
        let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo
            .current_dir(&self.workspace)
            .args([self.command, "--quiet", "--target-dir"])
            .arg(&target)
            .args(&self.targets);
        for package in &self.packages {
            cargo.args(["--package", package]);
        }
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
        for setting in self.how.profile() {
            cargo.args(["--config", &format!("profile.{section}.{setting}")]);
        }
        if self.how == Build::RandomLayout {
            cargo.env("RUSTC_BOOTSTRAP", "1").env("RUSTFLAGS", "-Z randomize-layout -Z layout-seed=42");
        }
        if !self.rustc.is_empty() {
            cargo.arg("--").args(self.rustc);
        }
        let output = cargo.output().expect("cargo runs");
        assert!(output.status.success(), "building {:?}: {}", self.packages, String::from_utf8_lossy(&output.stderr));
        target.join(profile)
    }
}

/// The target folder and the profile of the running test: `target/debug/deps/TEST`.
fn own_folders() -> (PathBuf, String) {
    let test = env::current_exe().expect("a test has a file");
    let profile = test.ancestors().nth(2).expect("a test is in target/PROFILE/deps");
    let name = profile.file_name().expect("a profile has a name").to_string_lossy().into_owned();
    (profile.parent().expect("a profile is in a target folder").to_owned(), name)
}
