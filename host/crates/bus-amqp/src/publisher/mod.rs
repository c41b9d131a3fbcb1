//! Publishing: one task, one channel, a bounded window of messages that are not yet confirmed.
//!
//! Senders have a [`publish_handle`], which fails with a [`publish_error`]. The task ([`publish_task`]) publishes, and
//! [`confirm_tracker`] finds out which message a confirm or a return is for. A message leaves the window when its outcome is known.
//! What was published on a channel that broke is published again on the next, marked as resent. Senders wait for a place in the
//! window; that is all the buffer there is.

mod confirm_tracker;
pub(super) mod publish_error;
pub(super) mod publish_handle;
pub(super) mod publish_request;
pub(super) mod publish_task;
