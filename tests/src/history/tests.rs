//! A checker that cannot fail proves nothing: each rule is broken here once.

use std::fs::File;
use std::io::Write;

use super::record::JournalRecord;
use super::{HistoryVerdict, Journals, PipelineHistory, Violation};

const FLAWLESS: &[JournalRecord<'static>] = &[
    JournalRecord::Started,
    JournalRecord::Intent { pipeline: 7 },
    sent(1, "J1", None),
    begun(1, "J1", 1, false),
    sent(2, "J2", Some("J1")),
    begun(2, "J2", 1, false),
    sent(3, "J3", Some("J2")),
    begun(3, "J3", 1, false),
    JournalRecord::Done { job: "J3" },
    JournalRecord::Finished,
];

const fn sent(stage: u8, job: &'static str, by: Option<&'static str>) -> JournalRecord<'static> {
    JournalRecord::Sent { pipeline: 7, stage, job, by }
}

const fn begun(stage: u8, job: &'static str, attempt: u32, redelivered: bool) -> JournalRecord<'static> {
    JournalRecord::Begun { pipeline: 7, stage, job, attempt, redelivered }
}

fn history<'a>(records: impl IntoIterator<Item = &'a JournalRecord<'a>>) -> PipelineHistory {
    let mut history = PipelineHistory::default();
    records.into_iter().for_each(|record| history.add(record));
    history
}

fn verdict<'a>(records: impl IntoIterator<Item = &'a JournalRecord<'a>>) -> HistoryVerdict {
    history(records).verdict()
}

/// The flawless history without one record.
fn without(place: usize) -> impl Iterator<Item = &'static JournalRecord<'static>> {
    FLAWLESS.iter().enumerate().filter_map(move |(index, record)| (index != place).then_some(record))
}

fn violations<'a>(records: impl IntoIterator<Item = &'a JournalRecord<'a>>) -> Vec<Violation> {
    verdict(records).violations
}

#[test]
fn a_flawless_history_is_one() {
    let verdict = verdict(FLAWLESS);
    verdict.assert_flawless();
    let expected = HistoryVerdict { accepted: 1, jobs: 3, executed: 1, ..HistoryVerdict::default() };
    assert_eq!(verdict, expected);
    assert!(history(FLAWLESS).is_settled());
}

#[test]
fn a_job_that_never_comes_is_lost_at_each_stage() {
    for (stage, end, job) in [(1, 3, "J1"), (2, 5, "J2"), (3, 7, "J3")] {
        let records = &FLAWLESS[..end];
        assert_eq!(violations(records), [Violation::Lost { pipeline: 7, stage, job: job.into() }]);
        let mut open = history(records);
        open.add(&JournalRecord::Finished);
        assert!(!open.is_settled() && open.open() == 1);
    }
}

#[test]
fn a_lost_job_does_not_hide_behind_a_duplicate_of_its_pipeline() {
    let twice = [begun(1, "J1", 1, true), sent(2, "K2", Some("J1"))];
    let found = violations(FLAWLESS.iter().chain(&twice));
    assert_eq!(found, [Violation::Lost { pipeline: 7, stage: 2, job: "K2".into() }]);
}

#[test]
fn a_job_that_was_begun_and_not_done_has_failed_in_silence() {
    // The execution of the last stage that came to no end.
    let found = violations(without(8));
    assert_eq!(found, [Violation::Silent { pipeline: 7, stage: 3, job: "J3".into(), executions: 1 }]);
    for excuse in [true, false] {
        let mut history = history(without(8));
        if excuse {
            history.add(&JournalRecord::Failed { job: "J3", reason: "told to fail" });
        } else {
            history.add_dead_letter("J3");
        }
        history.verdict().assert_flawless();
        assert!(history.is_settled());
    }
}

#[test]
fn a_job_that_nobody_sent_is_invented() {
    let invented = |stage, jobs, allowed| Violation::Invented { pipeline: 7, stage, jobs, allowed };
    for stage in 1..=3 {
        let records = [begun(stage, "K", 1, false)];
        assert_eq!(violations(FLAWLESS.iter().chain(&records)), [invented(stage, 1, 0)]);
    }
    assert_eq!(violations(&[begun(1, "K", 1, false)]), [invented(1, 1, 0)]);
    let somewhere_else = [begun(3, "J1", 1, true)];
    assert!(violations(FLAWLESS.iter().chain(&somewhere_else)).contains(&Violation::MixedUp { job: "J1".into() }));
}

#[test]
fn a_sender_that_died_may_have_sent_what_it_did_not_record() {
    // The generator died before the record of its send, and the next one sent again.
    let died = [
        JournalRecord::Started,
        JournalRecord::Intent { pipeline: 7 },
        begun(1, "K1", 1, false),
        JournalRecord::Started,
    ];
    let sent_by_it = [sent(2, "K2", Some("K1")), begun(2, "K2", 1, false), sent(3, "K3", Some("K2"))];
    let done = [begun(3, "K3", 1, false), JournalRecord::Done { job: "K3" }];
    let records: Vec<_> = died.iter().chain(&sent_by_it).chain(&done).chain(&FLAWLESS[1..]).collect();
    let verdict = verdict(records.iter().copied());
    verdict.assert_flawless();
    assert_eq!((verdict.accepted, verdict.executed, verdict.resent), (1, 1, 2));
    // But not two of them.
    let one_more = [begun(1, "L1", 1, false)];
    let found = violations(records.into_iter().chain(&one_more));
    assert_eq!(found, [Violation::Invented { pipeline: 7, stage: 1, jobs: 2, allowed: 1 }]);
    // The same in a stage: J1 was begun twice, and one of the two recorded no send.
    let again = [begun(1, "J1", 1, true), begun(2, "K2", 1, false)];
    assert_eq!(violations(FLAWLESS.iter().chain(&again)), []);
}

#[test]
fn a_refusal_is_believed_where_it_is_certain() {
    for certain in [true, false] {
        let refused = [JournalRecord::Intent { pipeline: 7 }, JournalRecord::Refused { pipeline: 7, certain }];
        let came =
            [begun(1, "K1", 1, false), sent(2, "K2", Some("K1")), JournalRecord::Failed { job: "K2", reason: "no" }];
        let found = violations(FLAWLESS.iter().chain(&refused).chain(&came));
        let expected = Violation::Invented { pipeline: 7, stage: 1, jobs: 1, allowed: 0 };
        assert_eq!(found, if certain { vec![expected] } else { vec![] });
    }
}

#[test]
fn a_second_execution_has_to_say_so() {
    let second = [begun(2, "J2", 1, false)];
    let found = violations(FLAWLESS.iter().chain(&second));
    let unflagged = Violation::Unflagged { pipeline: 7, stage: 2, job: "J2".into(), executions: 2, unflagged: 2 };
    assert_eq!(found, [unflagged]);
    for second in [begun(2, "J2", 1, true), begun(2, "J2", 2, false)] {
        let verdict = verdict(FLAWLESS.iter().chain([&second]));
        verdict.assert_flawless();
        assert_eq!((verdict.duplicates, verdict.overtaken), ([0, 1, 0], 0));
    }
    let redelivery = [begun(2, "J2", 1, true)];
    assert_eq!(verdict(redelivery.iter().chain(FLAWLESS)).overtaken, 1);
}

#[test]
fn a_send_without_an_answer_is_one() {
    let found = violations(FLAWLESS.iter().chain(&[JournalRecord::Intent { pipeline: 8 }]));
    assert_eq!(found, [Violation::Unanswered { pipeline: 8 }]);
}

#[test]
fn journals_are_read_as_they_grow_and_half_a_record_spoils_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let mut file = File::create(folder.path().join("HG.journal")).unwrap();
    let (mut journals, mut history) = (Journals::new(folder.path()), PipelineHistory::default());
    for record in &FLAWLESS[..5] {
        write!(file, "{record}").unwrap();
        journals.read(&mut history).unwrap();
    }
    assert_eq!(history.open(), 1);
    let half = JournalRecord::Done { job: "J999" }.to_string();
    write!(file, "{}", &half[..half.len() - 4]).unwrap();
    journals.read(&mut history).unwrap();
    let rest: String = FLAWLESS[5..].iter().map(ToString::to_string).collect();
    let (first, second) = rest.split_at(rest.len() / 2);
    for part in [first, second] {
        write!(file, "{part}").unwrap();
        journals.read(&mut history).unwrap();
    }
    let verdict = history.verdict();
    verdict.assert_flawless();
    assert_eq!((verdict.accepted, verdict.executed, verdict.torn), (1, 1, 1));
    assert!(history.is_settled());
}

#[test]
fn every_record_is_read_as_it_was_written() {
    let others = [
        JournalRecord::Refused { pipeline: 1, certain: true },
        JournalRecord::Refused { pipeline: 1, certain: false },
        JournalRecord::Failed { job: "J", reason: "Job send too many times: told to fail (2 attempts)" },
        begun(3, "J", 2, true),
    ];
    for record in FLAWLESS.iter().chain(&others) {
        let written = record.to_string();
        assert_eq!(JournalRecord::parse(written.trim_matches('\n')), Some(*record), "{written}");
        assert_eq!(JournalRecord::parse(&written.trim_matches('\n')[..written.len() - 4]), None, "{written}");
    }
}
