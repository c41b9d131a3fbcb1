//! What a session has on a link: its channel, and the marker of jobs in hand.

use std::sync::Arc;

use lapin::Consumer as Stream;

use super::session_channel::SessionChannel;

/// What a session has on a link.
pub(super) struct ChannelAttachment {
    pub(super) channel: Arc<SessionChannel>,
    /// See [`super::in_hand_marker`].
    pub(super) marker: Option<Stream>,
}

impl ChannelAttachment {
    /// To be called once nothing is in hand any more. The broker answers after it has heard what became of the jobs.
    pub(super) async fn unmark(attached: Option<&mut Self>) {
        if let Some(Self { channel, marker }) = attached
            && let Some(marker) = marker.take()
        {
            let _ = channel.cancel(&marker).await;
        }
    }
}
