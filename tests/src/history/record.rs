//! One line of a journal: what a worker of the pipeline is about to do, or has done.
//!
//! The fixture plugin `history` compiles this very file, so that what it writes is what the checker reads.

use std::fmt;

/// The last word of every whole record. A process that is killed in a write can leave half a one.
const END: &str = ".";

/// What happened. Job ids and reasons are as the worker saw them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JournalRecord<'a> {
    /// A generator begins, or begins again: the one before it hears no more answers.
    Started,
    /// The generator is about to send the first job of this pipeline.
    Intent {
        /// Its number.
        pipeline: u64,
    },
    /// The bus accepted a job.
    Sent {
        /// The number of its pipeline.
        pipeline: u64,
        /// The stage that it is for, from 1.
        stage: u8,
        /// Its id.
        job: &'a str,
        /// The job whose handler sent it, and has thereby done its work; none for the generator's.
        by: Option<&'a str>,
    },
    /// The bus refused the first job of this pipeline.
    Refused {
        /// Its number.
        pipeline: u64,
        /// Nobody will ever see the job; otherwise the bus does not know.
        certain: bool,
    },
    /// A handler begins.
    Begun {
        /// The number of the job's pipeline.
        pipeline: u64,
        /// The stage, from 1.
        stage: u8,
        /// The job's id.
        job: &'a str,
        /// Which attempt, from 1.
        attempt: u32,
        /// What the job says of itself.
        redelivered: bool,
    },
    /// A handler of the last stage has done its work.
    Done {
        /// The job's id.
        job: &'a str,
    },
    /// A worker heard by `on_error` that a job of its has failed for good.
    Failed {
        /// The job's id.
        job: &'a str,
        /// Why, in words.
        reason: &'a str,
    },
    /// The generator has nothing more to send.
    Finished,
}

impl<'a> JournalRecord<'a> {
    /// Reads one line; `None` where it is no whole record.
    #[must_use]
    pub fn parse(line: &'a str) -> Option<Self> {
        let line = line.strip_suffix(END)?.strip_suffix(' ')?;
        let (kind, rest) = line.split_once(' ').unwrap_or((line, ""));
        let mut words = rest.split(' ');
        let mut word = || words.next();
        Some(match kind {
            "started" => Self::Started,
            "finished" => Self::Finished,
            "intent" => Self::Intent { pipeline: number(word())? },
            "sent" => Self::Sent {
                pipeline: number(word())?,
                stage: number(word())?,
                job: word()?,
                by: Some(word()?).filter(|by| *by != "-"),
            },
            "refused" => Self::Refused { pipeline: number(word())?, certain: number::<u8>(word())? == 1 },
            "begun" => Self::Begun {
                pipeline: number(word())?,
                stage: number(word())?,
                job: word()?,
                attempt: number(word())?,
                redelivered: number::<u8>(word())? == 1,
            },
            "done" => Self::Done { job: word()? },
            "failed" => {
                let (job, reason) = rest.split_once(' ')?;
                Self::Failed { job, reason }
            }
            _ => return None,
        })
    }
}

fn number<T: std::str::FromStr>(word: Option<&str>) -> Option<T> {
    word?.parse().ok()
}

/// A line with its end, and an empty one before it: whatever half a record may stand before it stays on a line of its own.
impl fmt::Display for JournalRecord<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\n")?;
        match self {
            Self::Started => write!(f, "started"),
            Self::Finished => write!(f, "finished"),
            Self::Intent { pipeline } => write!(f, "intent {pipeline}"),
            Self::Sent { pipeline, stage, job, by } => write!(f, "sent {pipeline} {stage} {job} {}", by.unwrap_or("-")),
            Self::Refused { pipeline, certain } => write!(f, "refused {pipeline} {}", u8::from(*certain)),
            Self::Begun { pipeline, stage, job, attempt, redelivered } => {
                write!(f, "begun {pipeline} {stage} {job} {attempt} {}", u8::from(*redelivered))
            }
            Self::Done { job } => write!(f, "done {job}"),
            Self::Failed { job, reason } => write!(f, "failed {job} {}", reason.replace('\n', " ")),
        }?;
        writeln!(f, " {END}")
    }
}
