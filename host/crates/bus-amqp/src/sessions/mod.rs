//! What is known of the consumer sessions of this host: what each worker wants delivered and has in hand.

pub(super) mod demand;
pub(super) mod jobs_in_hand;
pub(super) mod session_registry;
