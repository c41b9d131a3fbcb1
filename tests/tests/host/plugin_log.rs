//! What a plugin logs is in the log of its host: at its own level, with its own target, fields and spans, and its name.

use std::path::Path;

use mshost_tests::fixtures::{fixture, released_echo};
use mshost_tests::host_process::{HostProcess, HostSite};
use serde_json::{Value, json};

/// A host with the worker `EC` of an echo, which starts like this.
fn host(plugin: &Path, start: &str, log: &str) -> HostProcess {
    let site = HostSite::new();
    site.plugin(plugin);
    site.topology(&topology(plugin, start, log));
    HostProcess::start(site, &[])
}

fn topology(plugin: &Path, start: &str, log: &str) -> String {
    let name = plugin.file_stem().unwrap().to_str().unwrap().trim_start_matches("lib");
    format!(
        "[host]\nadmin = \"127.0.0.1:0\"\ndebounce = \"50ms\"\n[log]\n{log}\n\
         [[worker]]\ntype = \"EC\"\nplugin = \"{name}\"\n[worker.config]\nstart = \"{start}\"\n"
    )
}

/// The lines of the log with this text, without their times.
fn lines(host: &HostProcess, text: &str) -> Vec<String> {
    let log = host.log();
    let found = log.iter().filter(|line| line.contains(text));
    found.map(|line| line.split_once(' ').unwrap().1.trim_start().to_owned()).collect()
}

const SPAN: &str = "span=\"morning task=\\\"wake up\\\"\"";

#[test]
fn each_event_keeps_its_level_target_fields_and_spans() {
    let host = host(&fixture("echo"), "log", "");
    host.until_running("EC", 1);
    let plugin = "plugin=mshost_fixture_echo";
    let told = lines(&host, "told ");
    assert_eq!(
        told,
        [
            format!("ERROR mshost_fixture_echo: told of an error {plugin} count=3 name=\"two words\" {SPAN}"),
            format!("WARN  mshost_fixture_echo: told to warn {plugin} {SPAN}"),
            format!("INFO  elsewhere: told to log\\non two lines {plugin} multi=\"a\\nb\" {SPAN}"),
        ]
    );
}

#[test]
fn the_topology_sets_the_level_of_plugins_while_they_run() {
    let plugin = fixture("echo");
    let host = host(&plugin, "log", "worker = \"error\"");
    host.until_running("EC", 1);
    assert_eq!(lines(&host, "told ").len(), 1, "{}", host.log_text());
    // The level is what this changes at first, and then the worker starts anew.
    host.site.topology(&topology(&plugin, "well", "worker = \"trace\""));
    host.until_log(&["topology applied", "revision=2"]);
    host.site.topology(&topology(&plugin, "log", "worker = \"trace\""));
    host.until_log(&["TRACE", "told to trace"]);
    assert_eq!(lines(&host, "told ").len(), 1 + 5, "{}", host.log_text());
}

#[test]
fn as_json_each_field_is_a_field() {
    let plugin = fixture("echo");
    let host = host(&plugin, "well", "");
    host.until_running("EC", 1);
    host.site.topology(&topology(&plugin, "log", "format = \"json\""));
    let line: Value = serde_json::from_str(&host.until_log(&["told of an error"])).unwrap();
    let (level, target) = (&line["level"], &line["target"]);
    assert_eq!((level, target), (&json!("ERROR"), &json!("plugin::mshost_fixture_echo")), "{line}");
    assert_eq!(line["message"], "told of an error", "{line}");
    let fields = ["plugin", "count", "name", "span"].map(|key| line["fields"][key].clone());
    assert_eq!(json!(fields), json!(["mshost_fixture_echo", "3", "two words", "morning task=\"wake up\""]), "{line}");
}

/// An older plugin in this host, all of it: found, loaded, started, heard, unloaded.
#[test]
fn a_plugin_of_the_first_plugin_api_runs_and_is_heard() {
    let plugin = released_echo("0.1.0");
    let mut host = host(&plugin, "well", "");
    host.until_running("EC", 1);
    host.site.topology(&topology(&plugin, "panic", ""));
    let line = host.until_log(&["panicked at echo/src/lib.rs:", "told to panic", "plugin=mshost_abi_compat_echo"]);
    assert!(line.contains(" ERROR panic: "), "{line}");
    host.until_log(&["EC[0]", "the old one goes on", "told to panic"]);
    host.until_running("EC", 1);
    assert!(host.stop().success(), "{}", host.log_text());
    host.until_log(&["unloaded", "plugin=mshost_abi_compat_echo"]);
}
