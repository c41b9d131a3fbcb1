//! What can be set about the log.

use std::fmt;

/// How a line is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// Text, coloured where it goes to a terminal.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// What is logged: this and everything graver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum LogLevel {
    /// Nothing.
    Off,
    /// What failed.
    Error,
    /// What a person should look at.
    Warn,
    /// What happened.
    #[default]
    Info,
    /// Why it happened.
    Debug,
    /// Each step.
    Trace,
}

impl LogLevel {
    fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

impl fmt::Display for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The log's settings.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LogSettings {
    /// How a line is written.
    pub format: LogFormat,
    /// The level of everything of ours that has none of its own below.
    pub level: LogLevel,
    /// The level of the manager (`SystemManager_log`).
    pub manager: Option<LogLevel>,
    /// The level of the workers and of what their plugins say (`Worker_log`).
    pub worker: Option<LogLevel>,
}

impl LogSettings {
    /// As a filter. Libraries say what a person should look at and no more, whatever our own level is. lapin is not
    /// heard at all: it prints bodies of messages, and takes for an error what the bus asks for; the bus tells what matters.
    pub(super) fn directives(&self) -> String {
        let Self { level, manager, worker, .. } = self;
        let others = (*level).min(LogLevel::Warn);
        let manager = manager.unwrap_or(*level);
        let worker = worker.unwrap_or(*level);
        format!("{others},lapin=off,mshost={level},mshost::manager={manager},mshost::worker={worker},plugin={worker}")
    }
}
