//! What a plugin leaves behind in its process: nothing. These tests look at the whole process, so no other test shares it, and
//! one waits for the other.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod cycles;
mod thread_keys;

use tokio::sync::{Mutex, MutexGuard};

/// The process, for one test at a time.
async fn whole_process() -> MutexGuard<'static, ()> {
    static PROCESS: Mutex<()> = Mutex::const_new(());
    PROCESS.lock().await
}
