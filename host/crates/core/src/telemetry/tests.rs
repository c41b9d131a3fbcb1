#![allow(clippy::unwrap_used)]

use std::io::Write;

use parking_lot::Mutex;
use serde_json::{Value, json};
use tracing::subscriber::with_default;
use tracing::{debug, error, info, info_span, warn};

use super::*;

#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sink {
    /// What was written since the last time.
    fn take(&self) -> String {
        String::from_utf8(std::mem::take(&mut *self.0.lock())).unwrap()
    }

    /// The same without the time that begins each line.
    fn take_untimed(&self) -> String {
        self.take().lines().map(|line| line.split_once(' ').unwrap().1.to_owned() + "\n").collect()
    }
}

fn log(settings: &LogSettings, overrides: Option<&str>, terminal: bool, run: impl FnOnce(&Sink, &Telemetry)) {
    let sink = Sink::default();
    let writer = sink.clone();
    let (subscriber, telemetry) =
        Telemetry::build(settings, overrides.map(str::to_owned), terminal, move || writer.clone()).unwrap();
    with_default(subscriber, || run(&sink, &telemetry));
}

#[test]
fn text_is_one_readable_line() {
    log(&LogSettings::default(), None, false, |sink, _| {
        let _span = info_span!("job", id = "J1").entered();
        info!(target: "mshost::manager::registry", id = "WB:1460306476102", count = 3, error = "no such table", "worker joined");
        let expected = "INFO  manager: worker joined id=WB:1460306476102 count=3 error=\"no such table\" job{id=J1}\n";
        assert_eq!(sink.take_untimed(), expected);
    });
}

#[test]
fn no_input_can_forge_a_line() {
    let evil = "x\n2026-01-01T00:00:00.000Z ERROR forged\x1b[31m";
    for terminal in [false, true] {
        log(&LogSettings::default(), None, terminal, |sink, telemetry| {
            let _span = info_span!("job", evil).entered();
            info!(evil, shown = %evil, debug = ?evil, "{evil}");
            let text = sink.take();
            assert_eq!(text.lines().count(), 1, "{text}");
            assert!(!text.contains("\x1b[31m"), "{text}");
            telemetry.apply(&LogSettings { format: LogFormat::Json, ..LogSettings::default() }).unwrap();
            info!(evil, "{evil}");
            let text = sink.take();
            assert_eq!(text.lines().count(), 1, "{text}");
            let line: Value = serde_json::from_str(&text).unwrap();
            assert_eq!(line["message"], evil);
        });
    }
}

#[test]
fn json_keeps_the_types_of_fields() {
    let settings = LogSettings { format: LogFormat::Json, ..LogSettings::default() };
    log(&settings, None, true, |sink, _| {
        let _span = info_span!("job", id = "J1").entered();
        warn!(target: "plugin", count = 3, ratio = 0.5, ok = true, name = "db", "slow");
        let mut line: Value = serde_json::from_str(&sink.take()).unwrap();
        assert!(line["time"].take().as_str().unwrap().ends_with('Z'));
        let expected = json!({
            "time": null, "level": "WARN", "target": "plugin", "message": "slow",
            "fields": {"count": 3, "ratio": 0.5, "ok": true, "name": "db"}, "spans": ["job{id=J1}"],
        });
        assert_eq!(line, expected);
    });
}

/// One event of each part at each of two levels.
fn say_everything() {
    debug!(target: "mshost::manager", "1");
    info!(target: "mshost::manager", "2");
    debug!(target: "mshost::worker", "3");
    debug!(target: "plugin::rest::server", "4");
    info!(target: "mshost::bus", "5");
    info!(target: "hyper::proto", "6");
    warn!(target: "hyper::proto", "7");
    warn!(target: "lapin::returned_messages", "9");
    error!(target: "mshost::manager", "8");
}

fn heard(sink: &Sink) -> String {
    say_everything();
    sink.take().lines().filter_map(|line| line.chars().last()).collect()
}

#[test]
fn each_part_has_its_level_and_a_reload_changes_it() {
    let settings =
        LogSettings { manager: Some(LogLevel::Warn), worker: Some(LogLevel::Debug), ..LogSettings::default() };
    log(&settings, None, false, |sink, telemetry| {
        assert_eq!(heard(sink), "34578");
        telemetry.apply(&LogSettings::default()).unwrap();
        assert_eq!(heard(sink), "2578");
        telemetry.apply(&LogSettings { level: LogLevel::Off, ..LogSettings::default() }).unwrap();
        assert_eq!(heard(sink), "");
        telemetry.apply(&LogSettings { level: LogLevel::Trace, ..LogSettings::default() }).unwrap();
        assert_eq!(heard(sink), "1234578", "libraries stay at warn, and lapin must not print messages");
    });
}

#[test]
fn rust_log_has_the_last_word() {
    let quiet = LogSettings { level: LogLevel::Off, ..LogSettings::default() };
    log(&quiet, Some("mshost::manager=debug"), false, |sink, telemetry| {
        assert_eq!(heard(sink), "128");
        telemetry.apply(&LogSettings::default()).unwrap();
        assert_eq!(heard(sink), "128");
    });
    let broken = Telemetry::build(&quiet, Some("mshost=loud".to_owned()), false, io::sink).err().unwrap();
    assert!(broken.to_string().contains("RUST_LOG"), "{broken}");
}
