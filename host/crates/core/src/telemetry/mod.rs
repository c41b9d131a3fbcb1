//! The log: one line per event, coloured text on a terminal, plain text or JSON elsewhere.
//!
//! Whatever comes from the bus or from a plugin is escaped, so that no input can forge a line or move the cursor.
//! Levels and format can be changed while the host runs; `RUST_LOG`, where set, has the last word on levels.

mod escape;
mod line_format;
mod settings;

use std::fmt;
use std::io::{self, IsTerminal};
use std::sync::Arc;

use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{EnvFilter, Registry, reload};

pub use escape::Escaped;
use line_format::{FieldFormat, LineFormat, LineStyle, LineStyleCell};
pub use settings::{LogFormat, LogLevel, LogSettings};

/// The log of this process, to change its settings by.
#[derive(Clone)]
pub struct Telemetry {
    filter: reload::Handle<EnvFilter, Registry>,
    style: Arc<LineStyleCell>,
    terminal: bool,
    overrides: Option<String>,
}

impl fmt::Debug for Telemetry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Telemetry").field("overrides", &self.overrides).finish_non_exhaustive()
    }
}

/// Why the log cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// `RUST_LOG` cannot be read.
    #[error("RUST_LOG is not a filter like `info,mshost::worker=debug`: {0}")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    /// This process has a log already.
    #[error("the log of this process is set up already")]
    Already(#[from] tracing::subscriber::SetGlobalDefaultError),
    /// The log is gone.
    #[error("the log cannot be changed: {0}")]
    Gone(#[from] reload::Error),
}

impl Telemetry {
    /// Sets up the log of this process on standard error. Call it once, first of all.
    ///
    /// # Errors
    /// Where `RUST_LOG` cannot be read, or the process has a log already.
    pub fn init(settings: &LogSettings) -> Result<Self, TelemetryError> {
        let overrides = std::env::var("RUST_LOG").ok().filter(|text| !text.trim().is_empty());
        let terminal = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let (subscriber, telemetry) = Self::build(settings, overrides, terminal, io::stderr)?;
        tracing::subscriber::set_global_default(subscriber)?;
        Ok(telemetry)
    }

    /// Changes levels and format from the next event on.
    ///
    /// # Errors
    /// Where the log is gone.
    pub fn apply(&self, settings: &LogSettings) -> Result<(), TelemetryError> {
        self.filter.reload(filter(settings, self.overrides.as_deref())?)?;
        self.style.set(LineStyle::of(settings.format, self.terminal));
        Ok(())
    }

    /// The log itself, without making it the process's own.
    fn build<W>(
        settings: &LogSettings,
        overrides: Option<String>,
        terminal: bool,
        writer: W,
    ) -> Result<(impl tracing::Subscriber + for<'a> LookupSpan<'a> + Send + Sync + use<W>, Self), TelemetryError>
    where
        W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
    {
        let (filter, handle) = reload::Layer::new(filter(settings, overrides.as_deref())?);
        let style = Arc::new(LineStyleCell::new(LineStyle::of(settings.format, terminal)));
        let line = LineFormat::new(Arc::clone(&style));
        let layer = tracing_subscriber::fmt::layer().fmt_fields(FieldFormat).event_format(line).with_writer(writer);
        let subscriber = Registry::default().with(filter).with(layer);
        Ok((subscriber, Self { filter: handle, style, terminal, overrides }))
    }
}

fn filter(settings: &LogSettings, overrides: Option<&str>) -> Result<EnvFilter, TelemetryError> {
    Ok(match overrides {
        Some(text) => EnvFilter::try_new(text)?,
        None => EnvFilter::try_new(settings.directives())?,
    })
}

#[cfg(test)]
mod tests;
