//! Properties of the ELF check: for any bytes it ends, reads little, and accepts nothing that is cut off.
#![allow(clippy::unwrap_used)]

use std::io::{self, Cursor, Read, Seek, SeekFrom};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use super::elf;
use super::load_error::LoadFailure;

const HEADER: usize = 64;
const SEGMENT: usize = 56;
const LOAD: u32 = 1;
const DYNAMIC: u32 = 2;

/// The most that a look may read: the header, the largest table of segments, one entry of the dynamic section.
const MAX_READ: usize = HEADER + SEGMENT * 65_535 + 8;

/// A file that counts what is read of it.
struct Counted {
    file: Cursor<Vec<u8>>,
    read: usize,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.read += count;
        Ok(count)
    }
}

impl Seek for Counted {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}

fn check(bytes: &[u8]) -> Result<(), LoadFailure> {
    let mut file = Counted { file: Cursor::new(bytes.to_vec()), read: 0 };
    let result = elf::check(&mut file);
    assert!(file.read <= MAX_READ, "{} bytes were read", file.read);
    result
}

/// A library of these sizes: header, segments (one of them the dynamic section, in the first), what they hold.
fn library(contents: &[u16]) -> Vec<u8> {
    let segments = contents.len() + 1;
    let mut bytes = vec![0; HEADER + SEGMENT * segments];
    let machine: u16 = if cfg!(target_arch = "x86_64") { 62 } else { 183 };
    bytes[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    bytes[16..18].copy_from_slice(&3_u16.to_le_bytes());
    bytes[18..20].copy_from_slice(&machine.to_le_bytes());
    bytes[32..40].copy_from_slice(&(HEADER as u64).to_le_bytes());
    bytes[54..56].copy_from_slice(&(SEGMENT as u16).to_le_bytes());
    bytes[56..58].copy_from_slice(&(segments as u16).to_le_bytes());
    let mut describe = |number: usize, kind: u32, offset: usize, length: usize| {
        let at = HEADER + SEGMENT * number;
        bytes[at..at + 4].copy_from_slice(&kind.to_le_bytes());
        bytes[at + 8..at + 16].copy_from_slice(&(offset as u64).to_le_bytes());
        bytes[at + 32..at + 40].copy_from_slice(&(length as u64).to_le_bytes());
    };
    let mut end = HEADER + SEGMENT * segments;
    describe(0, DYNAMIC, end, 16);
    for (number, length) in contents.iter().enumerate() {
        let length = 16 + usize::from(*length);
        describe(1 + number, LOAD, end, length);
        end += length;
    }
    bytes.resize(end, 1);
    bytes
}

/// What the table of segments says that the file must hold, read as plainly as can be.
fn needed(bytes: &[u8]) -> u128 {
    let number = |at: u128, size: u128| {
        (at..at + size).rev().fold(0_u128, |sum, at| {
            let digit = usize::try_from(at).ok().and_then(|at| bytes.get(at)).copied().unwrap_or_default();
            sum << 8 | u128::from(digit)
        })
    };
    let segments = (0..number(56, 2)).map(|index| number(32, 8) + SEGMENT as u128 * index);
    let held = segments.filter(|at| [LOAD, DYNAMIC].map(u128::from).contains(&number(*at, 4)));
    held.map(|at| number(at + 8, 8) + number(at + 32, 8)).max().unwrap_or_default()
}

proptest! {
    #[test]
    fn any_bytes_are_refused(bytes in vec(any::<u8>(), 0..512)) {
        prop_assert!(check(&bytes).is_err());
        let as_elf = [b"\x7fELF\x02\x01\x01", &bytes[..]].concat();
        prop_assert!(check(&as_elf).is_err() || needed(&as_elf) <= as_elf.len() as u128);
    }

    #[test]
    fn a_whole_library_passes_and_no_part_of_it_does(contents in vec(any::<u16>(), 1..4), cut in any::<Index>()) {
        let whole = library(&contents);
        prop_assert_eq!(check(&whole), Ok(()));
        let part = &whole[..cut.index(whole.len())];
        let refused = check(part).unwrap_err();
        let is_truncated = matches!(refused, LoadFailure::Truncated { found, .. } if found == part.len() as u64);
        prop_assert!(is_truncated || part.len() < 4, "{} bytes: {}", part.len(), refused);
    }

    #[test]
    fn a_damaged_library_is_taken_only_where_all_is_there_that_it_speaks_of(
        contents in vec(0..512_u16, 1..4),
        damage in vec((any::<Index>(), any::<u8>()), 1..8),
    ) {
        let mut bytes = library(&contents);
        // Most of it in the headers, where it tells.
        let headers = HEADER + SEGMENT * (contents.len() + 1);
        for (at, byte) in damage {
            bytes[at.index(headers)] = byte;
        }
        if check(&bytes).is_ok() {
            prop_assert!(needed(&bytes) <= bytes.len() as u128);
        }
    }
}
