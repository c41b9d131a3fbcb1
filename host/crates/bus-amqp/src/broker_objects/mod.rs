//! Every exchange and queue that this engine declares, with its name ([`names`]) and arguments ([`queues`], [`shared_queues`]).
//!
//! | object | kind |
//! |---|---|
//! | `mshost.jobs` | direct, durable; the key is the worker type or the worker id. No alternate exchange: it would suppress `basic.return` |
//! | `mshost.job.TYPE` | queue; workers of a type compete for it |
//! | `mshost.hold.TYPE` | queue without messages; workers that have left the type consume from it while they have jobs in hand |
//! | `mshost.id.ID` | queue of one worker; expires when unused, its messages before that |
//! | `mshost.retry.MS` | queues that hosts take jobs from when these are due |
//! | `mshost.undone` | queue of what the broker gave up (expired, rejected): a host reports each and keeps it as a dead letter |
//! | `mshost.dead` | queue of dead letters |
//! | `mshost.legacy.next` | queue of MicroServices.js's `worker.next`, single active consumer: one host alone hears each |
//! | `mshost.manager` | queue, durable, single active consumer, at most 16 messages: elects the one manager that acts for all hosts |
//! | `notifications`, `polling` | topic, not durable, not auto-delete: MicroServices.js's; anything else is refused by both sides |

pub(super) mod names;
pub(super) mod queues;
pub(super) mod quorum_warmup;
pub(super) mod shared_queues;
