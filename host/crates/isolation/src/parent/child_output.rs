//! Output of a child: log events, which go to the host's log, and lines of its plugin or of the system.

use std::io::PipeReader;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use bytes::{Buf, BytesMut};
use mshost_core::ids::{PluginName, WorkerId};
use mshost_plugin_host::log_event;
use parking_lot::Mutex;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe::Receiver;

use super::exit_cause::OUT_OF_MEMORY;
use crate::ipc::log_record::{LOG_RECORD_PREFIX, LogRecord};

/// Longer lines are cut, in bytes.
const MAX_LINE: usize = 64 << 10;

/// The most bytes of the last line that are kept.
const MAX_KEPT: usize = 500;

/// The last line that is not a log event.
#[derive(Clone, Default)]
pub(super) struct LastLine(Arc<Mutex<Option<String>>>);

impl LastLine {
    pub(super) fn get(&self) -> Option<String> {
        self.0.lock().clone()
    }

    fn note(&self, text: &str) {
        let mut last = self.0.lock();
        // The lines after that one only say where.
        if !last.as_ref().is_some_and(|last| last.contains(OUT_OF_MEMORY)) {
            *last = Some(text[..text.floor_char_boundary(MAX_KEPT)].to_owned());
        }
    }
}

/// Forwards the output of a child until it ends.
pub(super) async fn forward_output(output: PipeReader, worker: WorkerId, plugin: PluginName, last: LastLine) {
    let mut receiver = match Receiver::from_owned_fd(OwnedFd::from(output)) {
        Ok(receiver) => receiver,
        Err(error) => return tracing::error!(target: "mshost::isolation", %worker, "its log cannot be read: {error}"),
    };
    let mut buffer = BytesMut::new();
    loop {
        // An error is an end, too.
        let ended = !matches!(receiver.read_buf(&mut buffer).await, Ok(1..));
        while let Some(end) = buffer.iter().position(|byte| *byte == b'\n') {
            forward_line(&String::from_utf8_lossy(&buffer[..end]), &worker, &plugin, &last);
            buffer.advance(end + 1);
        }
        if buffer.len() >= MAX_LINE || (ended && !buffer.is_empty()) {
            forward_line(&String::from_utf8_lossy(&buffer), &worker, &plugin, &last);
            buffer.clear();
        }
        if ended {
            return;
        }
    }
}

fn forward_line(line: &str, worker: &WorkerId, plugin: &PluginName, last: &LastLine) {
    let event = line.strip_prefix(LOG_RECORD_PREFIX).and_then(|json| serde_json::from_str::<LogRecord>(json).ok());
    match event {
        Some(LogRecord { level, target, message, mut fields }) => {
            // Each event of a plugin gets this field.
            fields.retain(|(name, _)| name != "plugin");
            if fields.iter().all(|(name, _)| name != "worker") {
                fields.push(("worker".to_owned(), worker.to_string()));
            }
            log_event(plugin, level, &target, &message, &fields);
        }
        None if line.trim().is_empty() => {}
        None => {
            let text = line.trim();
            last.note(text);
            log_event(plugin, 2, "mshost::isolation", text, &[("worker".to_owned(), worker.to_string())]);
        }
    }
}
