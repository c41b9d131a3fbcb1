//! What can be set about the log.

use std::fmt;
use std::str::FromStr;

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

/// A text that is none of the values of a setting.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected}, found {found:?}")]
pub struct UnknownSetting {
    expected: &'static str,
    found: String,
}

impl LogLevel {
    /// The level that the original's switches `SystemManager_log` and `Worker_log` stand for. `false` silences what
    /// goes well, never warnings and errors.
    #[must_use]
    pub fn of_switch(on: bool) -> Self {
        if on { Self::Info } else { Self::Warn }
    }

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

impl FromStr for LogLevel {
    type Err = UnknownSetting;

    fn from_str(text: &str) -> Result<Self, UnknownSetting> {
        let all = [Self::Off, Self::Error, Self::Warn, Self::Info, Self::Debug, Self::Trace];
        all.into_iter().find(|level| level.name().eq_ignore_ascii_case(text)).ok_or_else(|| UnknownSetting {
            expected: "\"off\", \"error\", \"warn\", \"info\", \"debug\" or \"trace\"",
            found: text.to_owned(),
        })
    }
}

impl FromStr for LogFormat {
    type Err = UnknownSetting;

    fn from_str(text: &str) -> Result<Self, UnknownSetting> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err(UnknownSetting { expected: "\"text\" or \"json\"", found: text.to_owned() }),
        }
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
    /// As a filter. Libraries say what a person should look at and no more, whatever our own level is.
    pub(super) fn directives(&self) -> String {
        let Self { level, manager, worker, .. } = self;
        let others = (*level).min(LogLevel::Warn);
        let manager = manager.unwrap_or(*level);
        let worker = worker.unwrap_or(*level);
        format!("{others},mshost={level},mshost::manager={manager},mshost::worker={worker},plugin={worker}")
    }
}
