//! Check of a file's ELF headers before anything is loaded from it: names most bad files in plain words.
//!
//! It is no protection: a file that passes may still crash the dynamic linker, for which there is the probe's child process.

use std::io::{self, Read, Seek, SeekFrom};

use super::load_error::LoadFailure;

const HEADER_BYTES: usize = 64;
const PROGRAM_HEADER_BYTES: u64 = 56;
const ET_DYN: u16 = 3;
const PT_LOAD: u32 = 1;
const PT_DYNAMIC: u32 = 2;
const PT_INTERP: u32 = 3;
const PT_GNU_STACK: u32 = 0x6474_e551;
const PF_X: u32 = 1;

#[cfg(target_arch = "x86_64")]
const MACHINE: u16 = 62;
#[cfg(target_arch = "aarch64")]
const MACHINE: u16 = 183;
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
compile_error!("mshost runs on x86-64 and AArch64 Linux");

/// Checks that `file` is a whole shared library for this machine. Reads its headers only, wherever they say that they are.
pub(crate) fn check(file: &mut (impl Read + Seek)) -> Result<(), LoadFailure> {
    let size = file.seek(SeekFrom::End(0)).map_err(unreadable)?;
    let start = read(file, 0, HEADER_BYTES as u64)?;
    let header = ElfBytes(&start);
    if !start.starts_with(b"\x7fELF") {
        return Err(LoadFailure::NotALibrary(describe(&start)));
    }
    let truncated = |expected| LoadFailure::Truncated { expected, found: size };
    if start.len() < HEADER_BYTES {
        return Err(truncated(HEADER_BYTES as u64));
    }
    check_machine(&header)?;
    let tables = [
        (header.u64(32), u64::from(header.u16(54)), u64::from(header.u16(56))),
        (header.u64(40), u64::from(header.u16(58)), u64::from(header.u16(60))),
    ];
    for (offset, entry, count) in tables {
        let end = offset.saturating_add(entry.saturating_mul(count));
        if end > size {
            return Err(truncated(end));
        }
    }
    let (offset, entry, count) = tables[0];
    if entry != PROGRAM_HEADER_BYTES {
        return Err(LoadFailure::NotALibrary("an ELF file with a damaged header".to_owned()));
    }
    let segments = read(file, offset, entry * count)?;
    let dynamic = check_segments(&segments, size)?;
    // Zeros are what a file system may leave of a file that was written right before a power failure.
    if dynamic.is_none_or(|offset| read(file, offset, 8).is_ok_and(|tag| ElfBytes(&tag).u64(0) == 0)) {
        return Err(LoadFailure::NotALibrary("an ELF file without a dynamic section (it may be damaged)".to_owned()));
    }
    Ok(())
}

/// Up to `count` bytes from `offset` on; fewer where the file ends.
fn read(file: &mut (impl Read + Seek), offset: u64, count: u64) -> Result<Vec<u8>, LoadFailure> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(offset)).map_err(unreadable)?;
    file.take(count).read_to_end(&mut bytes).map_err(unreadable)?;
    Ok(bytes)
}

fn unreadable(error: io::Error) -> LoadFailure {
    LoadFailure::io("read it", &error)
}

fn check_machine(header: &ElfBytes<'_>) -> Result<(), LoadFailure> {
    let class = match header.u8(4) {
        1 => "32-bit ",
        2 => "",
        _ => return Err(LoadFailure::NotALibrary("an ELF file with a damaged header".to_owned())),
    };
    let (order, machine) = match header.u8(5) {
        1 => ("", header.u16(18)),
        _ => ("big-endian ", header.u16(18).swap_bytes()),
    };
    if machine != MACHINE || !class.is_empty() || !order.is_empty() {
        return Err(LoadFailure::WrongArchitecture {
            expected: machine_name(MACHINE),
            found: format!("{class}{order}{}", machine_name(machine)),
        });
    }
    match header.u16(16) {
        ET_DYN => Ok(()),
        1 => Err(LoadFailure::NotALibrary("an object file (`.o`)".to_owned())),
        2 => Err(LoadFailure::NotALibrary("a program".to_owned())),
        4 => Err(LoadFailure::NotALibrary("a core dump".to_owned())),
        other => Err(LoadFailure::NotALibrary(format!("an ELF file of type {other}"))),
    }
}

/// The offset of the dynamic section, where there is one.
fn check_segments(segments: &[u8], size: u64) -> Result<Option<u64>, LoadFailure> {
    let mut dynamic = None;
    for segment in segments.chunks_exact(PROGRAM_HEADER_BYTES as usize).map(ElfBytes) {
        let (flags, offset, length) = (segment.u32(4), segment.u64(8), segment.u64(32));
        match segment.u32(0) {
            // A library has none; a position-independent program has.
            PT_INTERP => return Err(LoadFailure::NotALibrary("a program".to_owned())),
            // It would take from every thread of the host what keeps an overflowed buffer from being run.
            PT_GNU_STACK if flags & PF_X != 0 => return Err(LoadFailure::ExecutableStack),
            PT_LOAD | PT_DYNAMIC => {
                let end = offset.saturating_add(length);
                if end > size {
                    return Err(LoadFailure::Truncated { expected: end, found: size });
                }
                if segment.u32(0) == PT_DYNAMIC {
                    dynamic = Some(offset);
                }
            }
            _ => {}
        }
    }
    Ok(dynamic)
}

fn describe(start: &[u8]) -> String {
    match start {
        [] => "an empty file".to_owned(),
        [b'#', b'!', ..] => "a script".to_owned(),
        [b'M', b'Z', ..] => "a Windows program or library".to_owned(),
        [0xfe, 0xed, 0xfa, 0xce | 0xcf, ..] | [0xce | 0xcf, 0xfa, 0xed, 0xfe, ..] => "a macOS library".to_owned(),
        [b'!', b'<', b'a', b'r', b'c', b'h', b'>', ..] => "a static library (`.a`)".to_owned(),
        text if text.iter().all(|byte| byte.is_ascii_graphic() || byte.is_ascii_whitespace()) => {
            "a text file".to_owned()
        }
        _ => "data of another kind".to_owned(),
    }
}

fn machine_name(machine: u16) -> String {
    match machine {
        3 => "x86".to_owned(),
        8 => "MIPS".to_owned(),
        21 => "PowerPC".to_owned(),
        22 => "s390".to_owned(),
        40 => "ARM".to_owned(),
        62 => "x86-64".to_owned(),
        183 => "AArch64".to_owned(),
        243 => "RISC-V".to_owned(),
        258 => "LoongArch".to_owned(),
        other => format!("ELF machine {other}"),
    }
}

/// Reader of little-endian numbers at offsets; 0 beyond the end.
struct ElfBytes<'a>(&'a [u8]);

impl ElfBytes<'_> {
    fn array<const N: usize>(&self, at: usize) -> [u8; N] {
        self.0.get(at..at + N).and_then(|bytes| bytes.try_into().ok()).unwrap_or([0; N])
    }

    fn u8(&self, at: usize) -> u8 {
        u8::from_le_bytes(self.array(at))
    }

    fn u16(&self, at: usize) -> u16 {
        u16::from_le_bytes(self.array(at))
    }

    fn u32(&self, at: usize) -> u32 {
        u32::from_le_bytes(self.array(at))
    }

    fn u64(&self, at: usize) -> u64 {
        u64::from_le_bytes(self.array(at))
    }
}
