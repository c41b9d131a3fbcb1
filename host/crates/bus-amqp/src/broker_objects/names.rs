//! What the objects on the broker are called, and the headers of messages. All of it is a contract with hosts of other versions.

use std::time::Duration;

use lapin::types::ShortString;
use mshost_bus::codec::{NOTIFICATIONS, POLLING};
use mshost_core::ids::{Address, WorkerId, WorkerType};

/// Jobs are published here.
pub(crate) const JOBS: &str = "mshost.jobs";
/// The queue of what the broker gave up.
pub(crate) const BROKER_DEAD_LETTERS: &str = "mshost.undone";
/// The queue of dead letters.
pub(crate) const DEAD_LETTERS: &str = "mshost.dead";
/// The queue that the managers of all hosts compete on.
pub(crate) const MANAGER: &str = "mshost.manager";

/// What MicroServices.js's workers send is heard here, by one host.
pub(crate) const MSJS_JOBS: &str = "mshost.legacy.next";
/// MicroServices.js's: a job is taken.
pub(crate) const MSJS_TAKEN: &str = "worker.next.ack";

/// The shortest delays of the retry queues, in milliseconds. In each queue delays differ by a factor of ten at most, so what
/// is due soon does not wait long behind what is due late.
pub(crate) const RETRY_CLASSES: [u64; 5] = [0, 100, 1_000, 10_000, 100_000];

/// What subscribers hear, by exchange and routing key. MicroServices.js's `worker.next` and `worker.next.ack` are not ours.
pub(crate) const NOTIFICATION_KEYS: [(&str, &str); 8] = [
    (NOTIFICATIONS, "worker.new"),
    (NOTIFICATIONS, "worker.new.send"),
    (NOTIFICATIONS, "worker.new.resend"),
    (NOTIFICATIONS, "worker.getAll"),
    (NOTIFICATIONS, "worker.list"),
    (NOTIFICATIONS, "worker.del"),
    (NOTIFICATIONS, "error"),
    (POLLING, "worker.list"),
];

/// The queue of a type.
pub(crate) fn type_queue(kind: &WorkerType) -> ShortString {
    format!("mshost.job.{kind}").into()
}

/// The queue that shows whether workers which do not consume from a type's queue have jobs of it in hand.
pub(crate) fn in_hand_queue(kind: &WorkerType) -> ShortString {
    format!("mshost.hold.{kind}").into()
}

/// The queue of one worker.
pub(crate) fn own_queue(id: &WorkerId) -> ShortString {
    format!("mshost.id.{id}").into()
}

/// The routing key of an address. A type has no `:`, an id has, so the two never meet.
pub(crate) fn key(address: &Address) -> ShortString {
    match address {
        Address::Any(kind) => ShortString::from(&**kind),
        Address::One(id) => ShortString::from(&**id),
    }
}

/// The queue of a class of delays.
pub(crate) fn retry_queue(from: u64) -> ShortString {
    format!("mshost.retry.{from}").into()
}

/// The queue for a delay.
pub(crate) fn retry_queue_for(delay: Duration) -> ShortString {
    let millis = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
    retry_queue(RETRY_CLASSES.into_iter().rev().find(|from| *from <= millis).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn delays_share_a_queue_with_their_like() {
        let queue = |ms| retry_queue_for(Duration::from_millis(ms)).to_string();
        let names = [0, 99, 100, 2_000, 9_999, 10_000, 86_400_000].map(queue);
        let expected = ["0", "0", "100", "1000", "1000", "10000", "100000"].map(|from| format!("mshost.retry.{from}"));
        assert_eq!(names, expected);
        assert_eq!(retry_queue_for(Duration::MAX).as_str(), "mshost.retry.100000");
    }

    #[test]
    fn the_longest_names_fit_a_short_string() {
        let kind = WorkerType::new(&"x".repeat(mshost_plugin_api::MAX_NAME_BYTES)).unwrap();
        assert!(type_queue(&kind).as_str().len() <= 255);
        assert!(in_hand_queue(&kind).as_str().len() <= 255);
    }
}
