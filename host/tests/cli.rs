//! The binary as a user meets it: what it prints, and its exit codes.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::{Command, Output};

use snapbox::{assert_data_eq, file};

fn mshost(dir: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mshost"));
    command.args(args).current_dir(dir).env_remove("MSHOST_TOPOLOGY").env_remove("RUST_LOG").output().unwrap()
}

fn stdout(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// `SNAPSHOTS=overwrite cargo test` writes the files anew.
#[test]
fn help_is_as_written_down() {
    let dir = tempfile::tempdir().unwrap();
    assert_data_eq!(stdout(&mshost(dir.path(), &["--help"])), file!["snapshots/help.txt"]);
    assert_data_eq!(stdout(&mshost(dir.path(), &["new", "--help"])), file!["snapshots/help-new.txt"]);
    assert_data_eq!(stdout(&mshost(dir.path(), &["check", "--help"])), file!["snapshots/help-check.txt"]);
    assert_data_eq!(stdout(&mshost(dir.path(), &["plan", "--help"])), file!["snapshots/help-plan.txt"]);
    assert_data_eq!(stdout(&mshost(dir.path(), &["restart", "--help"])), file!["snapshots/help-restart.txt"]);
    for (command, expected) in [
        ("--help", file!["snapshots/help-dead-letters.txt"]),
        ("list", file!["snapshots/help-dead-letters-list.txt"]),
        ("show", file!["snapshots/help-dead-letters-show.txt"]),
        ("requeue", file!["snapshots/help-dead-letters-requeue.txt"]),
        ("purge", file!["snapshots/help-dead-letters-purge.txt"]),
    ] {
        assert_data_eq!(stdout(&mshost(dir.path(), &["dead-letters", command, "--help"])), expected);
    }
    assert!(stdout(&mshost(dir.path(), &["--version"])).starts_with("mshost "));
}

#[test]
fn exit_codes_tell_failure_from_misuse() {
    let dir = tempfile::tempdir().unwrap();
    let code = |args: &[&str]| {
        let output = mshost(dir.path(), args);
        assert!(output.stdout.is_empty(), "errors go to standard error: {output:?}");
        assert!(!output.stderr.is_empty());
        output.status.code()
    };
    assert_eq!(code(&["new", "Not-A-Name"]), Some(1));
    assert_eq!(code(&["--no-such-option"]), Some(2));
    assert_eq!(code(&["no-such-command"]), Some(2));
    assert_eq!(code(&["inspect"]), Some(2));
}

/// The whole promise of `mshost new`: it builds as it is, and its test passes.
#[test]
fn a_new_plugin_builds_and_its_test_passes() {
    let dir = tempfile::tempdir().unwrap();
    let told = stdout(&mshost(dir.path(), &["new", "image_resizer"]));
    assert!(told.contains("type = \"IMAGE_RESIZER\""), "{told}");
    let plugin = dir.path().join("image_resizer");
    // The versions that this workspace has been built with are here: nothing has to be downloaded.
    std::fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.lock"), plugin.join("Cargo.lock")).unwrap();
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("new");
    let cargo = Command::new(env!("CARGO"))
        .args(["test", "--offline", "--quiet"])
        .current_dir(&plugin)
        .env("CARGO_TARGET_DIR", &target)
        .env("RUSTFLAGS", "-Dwarnings")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&cargo.stderr);
    assert!(cargo.status.success(), "{said}");
    assert!(String::from_utf8_lossy(&cargo.stdout).contains("1 passed"), "{cargo:?}");
    assert!(target.join("debug/deps").read_dir().unwrap().count() > 0);
}

#[test]
fn a_result_that_cannot_be_written_is_a_failure_and_a_reader_that_has_gone_is_none() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("plugins")).unwrap();
    std::fs::write(dir.path().join("topology.toml"), "").unwrap();
    let check = |stdout: std::process::Stdio| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mshost"));
        command.arg("check").current_dir(dir.path()).env_remove("BROKER_URL").env_remove("RUST_LOG").stdout(stdout);
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, said) = check(std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap().into());
    assert!(code == Some(1) && said.contains("cannot be written to standard output: No space left"), "{code:?} {said}");
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    assert_eq!(check(writer.into()).0, Some(0));
}
