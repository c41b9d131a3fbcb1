//! Why workers change, in words for a person.

use super::diff::{Change, Reason};
use super::plan::{Plan, Slot};

/// Why a change is made that leads from `running` to `wanted`. Values of a configuration are not said.
#[must_use]
pub fn reasons(change: &Change, running: &Plan, wanted: &Plan) -> Vec<String> {
    match change {
        Change::Start { slot, .. } => {
            vec![match (running.get(slot), instances(running, slot), instances(wanted, slot)) {
                (Some(_), ..) => "its plugin is there".to_owned(),
                (None, 0, _) => "new in the topology".to_owned(),
                (None, from, to) => format!("instances {from} → {to}"),
            }]
        }
        Change::Stop { slot } => vec![match (instances(running, slot), instances(wanted, slot)) {
            (_, 0) => "no longer in the topology".to_owned(),
            (from, to) => format!("instances {from} → {to}"),
        }],
        Change::Wait { slot, .. } => vec![format!("the plugin {} cannot be had", slot.plugin)],
        Change::Swap { reasons, .. } => reasons.iter().map(in_words).collect(),
    }
}

/// As for logs, but for the numbers of generations, which a preview can only guess.
fn in_words(reason: &Reason) -> String {
    match reason {
        Reason::NewGeneration { .. } => "another version of its plugin".to_owned(),
        reason => reason.to_string(),
    }
}

/// How many slots there are of the same worker and plugin.
fn instances(plan: &Plan, slot: &Slot) -> usize {
    let same = |other: &&Slot| other.worker_type == slot.worker_type && other.plugin == slot.plugin;
    plan.iter().map(|(slot, _)| slot).filter(same).count()
}
