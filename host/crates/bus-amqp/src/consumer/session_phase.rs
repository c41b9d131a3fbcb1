//! The phases of a consumer session and what leads from one to the next.
//!
//! ```dot
#![doc = include_str!("session_phase.dot")]
//! ```
//!
//! [`SessionPhase::after`] is a table without side effects: what a phase waits for, and what it does on the broker, is in
//! [`super::session`].

use mshost_core::backoff::Backoff;
use tokio::time::Instant;

/// Where a session stands. `L` is a link to the broker, `A` what the session has on it: its channel. Both are parameters so that
/// the table can be tried without a broker.
#[derive(Debug)]
pub(super) enum SessionPhase<L, A> {
    /// There is no connection to the broker that this session has not used up.
    Disconnected,
    /// Its queues are being declared and bound.
    Declaring(JoinAttempt<L, A>),
    /// The consumers that it wants and has not are being started.
    Subscribing(JoinAttempt<L, A>),
    /// The broker refused or failed; the next attempt comes after a wait.
    BackingOff(JoinAttempt<L, A>),
    /// It has every consumer that it wants.
    Consuming { link: L, attached: A },
    /// It takes no more jobs. By `attached` those in hand can still be settled.
    Stopped { attached: Option<A> },
}

/// An attempt to have every consumer that is wanted.
#[derive(Debug)]
pub(super) struct JoinAttempt<L, A> {
    pub(super) link: L,
    /// What the session has on this link already. It is kept, so that what was delivered by it can be settled.
    pub(super) attached: Option<A>,
    pub(super) backoff: Backoff,
    /// How often a queue went between being declared and being consumed from.
    pub(super) races: u32,
    /// When the wait after a failure is over, where one has begun.
    pub(super) wait_until: Option<Instant>,
}

/// What a session waits for, and what comes of what it does.
#[derive(Debug)]
pub(super) enum SessionEvent<L, A> {
    /// There is a connection.
    Linked(L),
    /// The connection is gone, and all that it delivered is the broker's again.
    Unlinked,
    /// The queues are there and bound.
    Declared,
    /// Every wanted consumer runs.
    Subscribed(A),
    /// A queue was deleted after it had been declared.
    QueueGone,
    /// The broker refused or failed.
    Failed,
    /// The wait before the next attempt is over.
    WaitOver,
    /// A consumer ended, one more is wanted, or it is time to declare again.
    Incomplete,
    /// No more jobs are wanted, or none will come.
    Stop,
}

impl<L, A> SessionPhase<L, A> {
    /// The phase after an event. One that a phase does not wait for leaves it as it is.
    pub(super) fn after(self, event: SessionEvent<L, A>, backoff: impl FnOnce() -> Backoff) -> Self {
        match (self, event) {
            (Self::Stopped { attached }, _) => Self::Stopped { attached },
            (phase, SessionEvent::Stop) => Self::Stopped { attached: phase.into_attached() },
            (_, SessionEvent::Unlinked) => Self::Disconnected,
            (Self::Disconnected, SessionEvent::Linked(link)) => {
                Self::Declaring(JoinAttempt { link, attached: None, backoff: backoff(), races: 0, wait_until: None })
            }
            (Self::Declaring(attempt), SessionEvent::Declared) => Self::Subscribing(attempt),
            (Self::Declaring(attempt) | Self::Subscribing(attempt), SessionEvent::Failed) => Self::BackingOff(attempt),
            (Self::Subscribing(attempt), SessionEvent::Subscribed(attached)) => {
                Self::Consuming { link: attempt.link, attached }
            }
            (Self::Subscribing(attempt), SessionEvent::QueueGone) => {
                Self::Declaring(JoinAttempt { races: attempt.races + 1, ..attempt })
            }
            (Self::BackingOff(attempt), SessionEvent::WaitOver) => {
                Self::Declaring(JoinAttempt { races: 0, wait_until: None, ..attempt })
            }
            (Self::Consuming { link, attached }, SessionEvent::Incomplete) => Self::Declaring(JoinAttempt {
                link,
                attached: Some(attached),
                backoff: backoff(),
                races: 0,
                wait_until: None,
            }),
            (
                phase,
                SessionEvent::Linked(_)
                | SessionEvent::Declared
                | SessionEvent::Subscribed(_)
                | SessionEvent::QueueGone
                | SessionEvent::Failed
                | SessionEvent::WaitOver
                | SessionEvent::Incomplete,
            ) => phase,
        }
    }

    /// What the session has on the broker.
    pub(super) fn attached(&mut self) -> Option<&mut A> {
        match self {
            Self::Disconnected => None,
            Self::Declaring(attempt) | Self::Subscribing(attempt) | Self::BackingOff(attempt) => {
                attempt.attached.as_mut()
            }
            Self::Consuming { attached, .. } => Some(attached),
            Self::Stopped { attached } => attached.as_mut(),
        }
    }

    /// The same, for good.
    pub(super) fn into_attached(self) -> Option<A> {
        match self {
            Self::Disconnected => None,
            Self::Declaring(attempt) | Self::Subscribing(attempt) | Self::BackingOff(attempt) => attempt.attached,
            Self::Consuming { attached, .. } => Some(attached),
            Self::Stopped { attached } => attached,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::collections::{BTreeMap, BTreeSet};
    use std::fmt::Write;
    use std::time::Duration;

    use super::*;

    type Bare = SessionPhase<(), ()>;

    fn backoff() -> Backoff {
        Backoff::new(Duration::ZERO, Duration::ZERO, 0.0)
    }

    fn attempt(attached: Option<()>) -> JoinAttempt<(), ()> {
        JoinAttempt { link: (), attached, backoff: backoff(), races: 0, wait_until: None }
    }

    /// Every phase, with and without a channel.
    fn phases() -> Vec<Bare> {
        let of = |attached| {
            [
                SessionPhase::Declaring(attempt(attached)),
                SessionPhase::Subscribing(attempt(attached)),
                SessionPhase::BackingOff(attempt(attached)),
                SessionPhase::Stopped { attached },
            ]
        };
        let rest = [SessionPhase::Disconnected, SessionPhase::Consuming { link: (), attached: () }];
        of(None).into_iter().chain(of(Some(()))).chain(rest).collect()
    }

    fn events() -> [SessionEvent<(), ()>; 9] {
        [
            SessionEvent::Linked(()),
            SessionEvent::Unlinked,
            SessionEvent::Declared,
            SessionEvent::Subscribed(()),
            SessionEvent::QueueGone,
            SessionEvent::Failed,
            SessionEvent::WaitOver,
            SessionEvent::Incomplete,
            SessionEvent::Stop,
        ]
    }

    fn name(debug: &impl std::fmt::Debug) -> String {
        let text = format!("{debug:?}");
        text.split(|c: char| !c.is_alphanumeric()).next().unwrap().to_owned()
    }

    /// The table as a graph for Graphviz.
    fn graph() -> String {
        let mut edges: BTreeMap<(String, String), BTreeSet<String>> = BTreeMap::new();
        for number in 0..phases().len() {
            for event in events() {
                let phase = phases().swap_remove(number);
                let (from, label) = (name(&phase), name(&event));
                let to = name(&phase.after(event, backoff));
                if from != to {
                    edges.entry((from, to)).or_default().insert(label);
                }
            }
        }
        let mut graph = String::from("digraph consumer_session {\n");
        for ((from, to), labels) in edges {
            let labels = labels.into_iter().collect::<Vec<_>>().join(", ");
            writeln!(graph, "    {from} -> {to} [label=\"{labels}\"];").unwrap();
        }
        graph + "}\n"
    }

    #[test]
    fn the_graph_in_the_documentation_is_the_table() {
        // To renew it: copy what this prints to `session_phase.dot`.
        let graph = graph();
        assert!(graph == include_str!("session_phase.dot"), "the graph is\n{graph}");
    }

    #[test]
    fn a_channel_is_kept_until_its_link_is_gone() {
        for number in 0..phases().len() {
            for event in events() {
                let is_unlinked = matches!(event, SessionEvent::Unlinked);
                let had = phases().swap_remove(number).into_attached().is_some();
                let phase = phases().swap_remove(number);
                let text = format!("{phase:?} after {event:?}");
                let is_stopped = matches!(phase, SessionPhase::Stopped { .. });
                let has = phase.after(event, backoff).into_attached().is_some();
                assert!(has || !had || (is_unlinked && !is_stopped), "{text}");
            }
        }
    }

    #[test]
    fn nothing_leads_out_of_stopped() {
        for event in events() {
            let text = format!("{event:?}");
            let after = Bare::Stopped { attached: None }.after(event, backoff);
            assert!(matches!(after, SessionPhase::Stopped { .. }), "{text}");
        }
    }
}
