//! The keys of `[log]`.

use mshost_core::telemetry::{LogFormat, LogLevel};

use crate::declaration::{ConfigSection, SectionRole, keys};
use crate::kinds::WordKind;

const LEVELS: WordKind<LogLevel> = WordKind(&[
    ("off", LogLevel::Off),
    ("error", LogLevel::Error),
    ("warn", LogLevel::Warn),
    ("info", LogLevel::Info),
    ("debug", LogLevel::Debug),
    ("trace", LogLevel::Trace),
]);

pub(crate) static SECTION: ConfigSection = ConfigSection {
    heading: "[log]",
    role: SectionRole::TopLevel,
    doc: "What the host writes to standard error. Where `RUST_LOG` is set in the environment, it alone decides the levels.",
    example: "[log]\nformat = \"json\"\nlevel = \"info\"\nworker = \"debug\"\n",
    keys: &[KEYS],
};

keys! {
    /// The keys of the table.
    KEYS of "[log]";

    /// How a line is written: as text, coloured on a terminal, or as one JSON object.
    FORMAT = "format": WordKind<LogFormat> = WordKind(&[("text", LogFormat::Text), ("json", LogFormat::Json)]), HasDefault(LogFormat::Text), AtOnce;

    /// What is logged: this level and all that is more serious.
    LEVEL = "level": WordKind<LogLevel> = LEVELS, HasDefault(LogLevel::Info), AtOnce;

    /// The level of the manager.
    MANAGER = "manager": WordKind<LogLevel> = LEVELS, Optional("`level`"), AtOnce;

    /// The level of the workers and of what their plugins log.
    WORKER = "worker": WordKind<LogLevel> = LEVELS, Optional("`level`"), AtOnce;
}
