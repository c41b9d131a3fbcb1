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
    /// As the tests are.
    #[default]
    Plain,
    /// With `opt-level = 3`.
    Optimised,
    /// With `-Z randomize-layout`: the order of fields that is left to the compiler is another.
    RandomLayout,
    /// With `panic = "abort"`.
    PanicAbort,
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

/// Builds a package; the folder where its artefacts are.
fn build(package: &str, how: Build, what: &[&str]) -> PathBuf {
    static BUILT: OnceLock<Mutex<HashMap<(String, Build), PathBuf>>> = OnceLock::new();
    let mut built = BUILT.get_or_init(Mutex::default).lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some(folder) = built.get(&(package.to_owned(), how)) {
        return folder.clone();
    }
    let (target, profile) = own_folders();
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")))
        .args(["build", "--quiet", "--package", package])
        .args(what);
    cargo.env("PILOT_VERSION", PILOT_VERSION);
    if profile == "release" {
        cargo.arg("--release");
    }
    let section = if profile == "release" { "release" } else { "dev" };
    let target = match how {
        Build::Plain => target,
        Build::Optimised => {
            cargo.args(["--config", &format!("profile.{section}.opt-level=3")]);
            target.join("fixtures-optimised")
        }
        Build::RandomLayout => {
            cargo.env("RUSTC_BOOTSTRAP", "1").env("RUSTFLAGS", "-Z randomize-layout -Z layout-seed=42");
            target.join("fixtures-random-layout")
        }
        Build::PanicAbort => {
            cargo.args(["--config", &format!("profile.{section}.panic=\"abort\"")]);
            target.join("fixtures-panic-abort")
        }
    };
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
