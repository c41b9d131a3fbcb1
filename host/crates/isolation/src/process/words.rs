//! What a child writes: events of its log, which go to the host's, and whatever else its plugin or the system says.

use std::io::PipeReader;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use bytes::{Buf, BytesMut};
use mshost_core::ids::{PluginName, WorkerId};
use mshost_plugin_host::log_event;
use parking_lot::Mutex;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe::Receiver;

use super::super::child::{EVENT, LogLine};
use super::ending::OUT_OF_MEMORY;

/// Longer lines are cut, in bytes.
const MAX_LINE: usize = 64 << 10;

/// The most bytes of the last words that are kept.
const MAX_WORDS: usize = 500;

/// What was written last that is not of the log.
#[derive(Clone, Default)]
pub(super) struct LastWords(Arc<Mutex<Option<String>>>);

impl LastWords {
    pub(super) fn get(&self) -> Option<String> {
        self.0.lock().clone()
    }

    fn note(&self, words: &str) {
        let mut last = self.0.lock();
        // What follows that is an attempt to say where.
        if !last.as_ref().is_some_and(|last| last.contains(OUT_OF_MEMORY)) {
            *last = Some(words[..words.floor_char_boundary(MAX_WORDS)].to_owned());
        }
    }
}

/// Passes on what a child writes, until it has ended.
pub(super) async fn pass_on(said: PipeReader, worker: WorkerId, plugin: PluginName, last: LastWords) {
    let mut receiver = match Receiver::from_owned_fd(OwnedFd::from(said)) {
        Ok(receiver) => receiver,
        Err(error) => return tracing::error!(target: "mshost::isolation", %worker, "its log cannot be read: {error}"),
    };
    let mut buffer = BytesMut::new();
    loop {
        // An error is an end, too.
        let ended = !matches!(receiver.read_buf(&mut buffer).await, Ok(1..));
        while let Some(end) = buffer.iter().position(|byte| *byte == b'\n') {
            pass_line(&String::from_utf8_lossy(&buffer[..end]), &worker, &plugin, &last);
            buffer.advance(end + 1);
        }
        if buffer.len() >= MAX_LINE || (ended && !buffer.is_empty()) {
            pass_line(&String::from_utf8_lossy(&buffer), &worker, &plugin, &last);
            buffer.clear();
        }
        if ended {
            return;
        }
    }
}

fn pass_line(line: &str, worker: &WorkerId, plugin: &PluginName, last: &LastWords) {
    let event = line.strip_prefix(EVENT).and_then(|json| serde_json::from_str::<LogLine>(json).ok());
    match event {
        Some(LogLine { level, target, message, mut fields }) => {
            // Said of every event of this plugin, as of those of others.
            fields.retain(|(name, _)| name != "plugin");
            if fields.iter().all(|(name, _)| name != "worker") {
                fields.push(("worker".to_owned(), worker.to_string()));
            }
            log_event(plugin, level, &target, &message, &fields);
        }
        None if line.trim().is_empty() => {}
        None => {
            let words = line.trim();
            last.note(words);
            log_event(plugin, 2, "mshost::isolation", words, &[("worker".to_owned(), worker.to_string())]);
        }
    }
}
