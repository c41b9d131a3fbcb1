//! What every bus engine must do, said once and run against each engine: all of it in MessagePack, which is the default, and what
//! an encoding could break in JSON and BSON, too.
//!
//! An engine implements [`Engine`], and `conformance!(ThatEngine)` makes one `#[test]` of each.
//! A check knows nothing of the engine. It makes worker types of its own, so that all checks can share one broker; it waits for
//! conditions, with a generous limit, and never for time to pass.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub mod crashes;
pub mod dead_letters;
pub mod deadlines;
pub mod delivery;
pub mod host_pair;
pub mod lifecycle;
pub mod limits;
pub mod notifications;
pub mod settling;
pub mod waiting;

use std::sync::Arc;
use std::time::Duration;

use mshost_bus::{Absent, BusLimits, Codec, HostBus};

pub use host_pair::HostPair;

/// The longest that any check may take.
const CHECK_LIMIT: Duration = Duration::from_secs(120);

/// How the bus of a group of checks is set up.
#[derive(Debug, Clone, Default)]
pub struct BusSettings {
    /// Its limits.
    pub limits: BusLimits,
    /// What becomes of a job for a type that had workers and has none now.
    pub absent: Absent,
}

impl From<BusLimits> for BusSettings {
    fn from(limits: BusLimits) -> Self {
        Self { limits, ..Self::default() }
    }
}

/// A bus engine under test.
pub trait Engine {
    /// Whether both queues of a worker share its prefetch to the job. Where they do not, each keeps to it.
    const SHARED_PREFETCH: bool = true;

    /// Whether it knows of a worker that dies which of its jobs it had begun. A host knows of a child no more than what it has
    /// given it, and has it do alone what comes back: the tests of `isolation` look at that.
    const KNOWS_STARTED_JOBS: bool = true;

    /// Two hosts that meet on one new bus, which may be one and the same where the engine is in process.
    fn hosts(codec: Codec, settings: BusSettings) -> impl Future<Output = [Arc<dyn HostBus>; 2]>;
}

/// Runs one check on a runtime of its own.
///
/// # Panics
/// Where the check fails, or takes longer than two minutes.
pub fn run<E: Engine>(codec: Codec, settings: impl Into<BusSettings>, check: impl AsyncFnOnce(&HostPair)) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let settings = settings.into();
        let mut pair = HostPair::new(codec, E::hosts(codec, settings.clone()).await, settings.limits);
        pair.shared_prefetch = E::SHARED_PREFETCH;
        pair.knows_started_jobs = E::KNOWS_STARTED_JOBS;
        tokio::time::timeout(CHECK_LIMIT, check(&pair)).await.expect("the check took longer than two minutes");
        pair.bus.close().await;
        pair.other.close().await;
    });
}

/// Every check there is as tests of `$engine`, and those of the encoding in each codec.
#[macro_export]
macro_rules! conformance {
    ($engine:ty) => {
        $crate::conformance_in!($engine, msgpack, MsgPack);
        $crate::encoding_conformance_in!($engine, json, Json);
        $crate::encoding_conformance_in!($engine, bson, Bson);
    };
}

/// The checks in which all that is encoded crosses the bus: a job with each of its fields, its route and its payload; what is
/// counted with it when it is tried again; dead letters; every kind of notification; and sizes, which differ by the codec.
#[doc(hidden)]
#[macro_export]
macro_rules! encoding_conformance_in {
    ($engine:ty, $module:ident, $codec:ident) => {
        mod $module {
            use super::*;
            $crate::conformance_checks!($engine, $codec, delivery:
                a_job_reaches_a_worker_of_the_type_with_all_that_it_carries,
                payload_bytes_arrive_as_they_were_sent,
                a_pipeline_visits_each_worker_in_turn,
            );
            $crate::conformance_checks!($engine, $codec, settling:
                a_retried_delivery_comes_again_as_the_next_attempt,
                attempts_add_up,
            );
            $crate::conformance_checks!($engine, $codec, limits:
                a_job_that_is_too_large_is_refused,
                data_in_another_codec_is_refused,
                trying_to_send_says_the_same_as_sending,
            );
            $crate::conformance_checks!($engine, $codec, dead_letters:
                a_buried_job_is_listed_and_does_not_come_again,
                a_dead_letter_of_another_bus_is_kept_and_can_be_sent_again,
                a_dead_letter_is_sent_again_as_a_first_attempt,
            );
            $crate::conformance_checks!($engine, $codec, deadlines:
                a_job_that_expires_while_it_waits_is_buried_and_reported,
                the_deadline_travels_with_a_retry,
            );
            $crate::conformance_checks!($engine, $codec, notifications:
                every_kind_reaches_every_subscriber,
            );
        }
    };
}

/// Every check there is in one codec. The list of checks stands here.
#[doc(hidden)]
#[macro_export]
macro_rules! conformance_in {
    ($engine:ty, $module:ident, $codec:ident) => {
        mod $module {
            use super::*;
            $crate::conformance_checks!($engine, $codec, delivery:
                a_job_reaches_a_worker_of_the_type_with_all_that_it_carries,
                a_job_reaches_the_one_worker_that_it_names,
                payload_bytes_arrive_as_they_were_sent,
                a_pipeline_visits_each_worker_in_turn,
                jobs_of_one_sender_keep_their_order,
                neither_queue_of_a_worker_starves_the_other,
                free_workers_share_the_jobs,
                jobs_go_round_among_workers,
                many_senders_and_workers_lose_and_double_nothing,
                other_runtimes_may_use_the_bus,
            );
            $crate::conformance_checks!($engine, $codec, settling:
                an_acked_job_does_not_come_again,
                a_dropped_delivery_comes_again_flagged,
                a_requeued_delivery_comes_again_flagged,
                a_retried_delivery_comes_again_as_the_next_attempt,
                a_retried_delivery_waits_for_its_delay,
                a_retry_that_is_due_while_nobody_is_there_waits,
                a_retry_at_once_while_nobody_is_there_waits,
                a_job_in_hand_of_one_that_left_outlives_the_last_worker,
                attempts_add_up,
                a_retried_delivery_for_one_worker_goes_to_it,
                a_dropped_consumer_hands_back_what_it_held,
                settling_after_the_consumer_is_gone_fails,
                a_stopped_consumer_hands_back_what_it_has_not_returned,
                a_consumer_that_has_left_its_type_takes_what_is_for_its_id,
                a_paused_consumer_keeps_its_place_and_takes_what_is_for_its_id,
                a_paused_consumer_leaves_the_work_to_others,
                a_paused_consumer_may_leave,
                a_paused_consumer_stays_when_another_leaves,
                a_stopped_consumer_can_still_settle,
                a_cancelled_next_loses_nothing,
                random_failures_lose_nothing,
            );
            $crate::conformance_checks!($engine, $codec, limits:
                a_type_without_workers_is_refused,
                an_id_that_is_not_there_is_refused,
                a_type_is_refused_once_its_last_worker_has_left,
                a_type_is_refused_once_its_last_worker_has_left_it,
                an_id_is_refused_once_it_has_left,
                queued_jobs_wait_for_the_next_worker,
                a_job_that_is_too_large_is_refused,
                data_in_another_codec_is_refused,
                trying_to_send_says_the_same_as_sending,
                prefetch_is_a_limit,
                settling_makes_room,
                a_full_queue_makes_senders_wait,
            );
            $crate::conformance_checks!($engine, $codec, dead_letters:
                a_buried_job_is_listed_and_does_not_come_again,
                a_dead_letter_of_another_bus_is_kept_and_can_be_sent_again,
                a_dead_letter_is_sent_again_as_a_first_attempt,
                a_dead_letter_that_cannot_be_sent_stays_one,
                unknown_dead_letters_are_named,
                purged_dead_letters_are_gone,
            );
            $crate::conformance_checks!($engine, $codec, deadlines:
                a_job_that_expires_while_it_waits_is_buried_and_reported,
                a_job_that_expires_while_nobody_is_there_is_not_delivered,
                the_deadline_travels_with_a_retry,
            );
            $crate::conformance_checks!($engine, $codec, waiting:
                a_job_waits_for_the_next_worker_of_its_type,
                a_type_that_nobody_has_heard_of_is_refused,
                a_job_for_one_worker_does_not_wait_for_another,
            );
            $crate::conformance_checks!($engine, $codec, crashes:
                a_job_that_was_never_begun_does_not_count_as_delivered,
                a_job_that_kills_its_worker_takes_no_others_along,
            );
            $crate::conformance_checks!($engine, $codec, notifications:
                every_kind_reaches_every_subscriber,
                subscribers_hear_in_order,
                a_slow_subscriber_holds_up_nobody,
            );
            $crate::conformance_checks!($engine, $codec, lifecycle:
                an_open_bus_says_so,
                depths_are_told,
                closing_ends_everything_and_can_be_repeated,
                closing_wakes_those_who_wait,
            );
        }
    };
}

/// One group of checks as tests.
#[doc(hidden)]
#[macro_export]
macro_rules! conformance_checks {
    ($engine:ty, $codec:ident, $group:ident: $($check:ident),* $(,)?) => {
        $(
            #[test]
            fn $check() {
                use $crate::conformance::{$group, run};
                run::<$engine>(mshost_bus::Codec::$codec, $group::limits(), async |pair| $group::$check(pair).await);
            }
        )*
    };
}

#[cfg(test)]
mod tests {
    /// A check that nobody runs proves nothing.
    #[test]
    fn every_check_is_in_the_list() {
        let list = include_str!("mod.rs");
        let groups = [
            include_str!("delivery.rs"),
            include_str!("settling.rs"),
            include_str!("limits.rs"),
            include_str!("notifications.rs"),
            include_str!("lifecycle.rs"),
            include_str!("dead_letters.rs"),
            include_str!("deadlines.rs"),
            include_str!("waiting.rs"),
            include_str!("crashes.rs"),
        ];
        let checks = groups.iter().flat_map(|group| group.lines()).filter_map(|line| {
            let (name, rest) = line.strip_prefix("pub async fn ")?.split_once('(')?;
            rest.starts_with("pair: &HostPair)").then_some(name)
        });
        let missing: Vec<_> = checks.filter(|name| !list.contains(&format!(" {name},"))).collect();
        assert!(missing.is_empty(), "not in the list: {missing:?}");
    }
}
