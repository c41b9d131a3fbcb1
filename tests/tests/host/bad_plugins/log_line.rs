//! Lines of the log as they are compared: without what differs from run to run.

use std::path::Path;

/// A line without its time, the folder of the test, and numbers that mean nothing to the reader.
pub fn normal(line: &str, site: &Path) -> String {
    let without_time = line.split_once(' ').map_or(line, |(_, rest)| rest).trim_start();
    let mut text = without_time.replace(&format!("{}/", site.display()), "");
    for before in [".rs:", ".rs:N:", "generation=", "GLIBC_", "again in ", "' (", "task "] {
        text = numbers_after(&text, before);
    }
    long_numbers(&text)
}

/// Ids, with what follows their time, and sizes of libraries.
fn long_numbers(text: &str) -> String {
    let mut shown = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(|c: char| c.is_ascii_digit()) {
        let (before, number) = rest.split_at(at);
        let digits = length(number, |c| c.is_ascii_digit());
        shown.push_str(before);
        if digits < 5 {
            shown.push_str(&number[..digits]);
            rest = &number[digits..];
        } else {
            shown.push('N');
            rest = &number[length(number, |c| c.is_ascii_hexdigit() || c == '-')..];
        }
    }
    shown + rest
}

fn numbers_after(text: &str, mark: &str) -> String {
    let mut parts = text.split(mark);
    let mut shown = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let number = length(part, |c| c.is_ascii_digit() || c == '.');
        shown.push_str(mark);
        shown.push_str(if number > 0 { "N" } else { "" });
        shown.push_str(&part[number..]);
    }
    shown
}

fn length(text: &str, is_part: impl Fn(char) -> bool) -> usize {
    text.find(|c| !is_part(c)).unwrap_or(text.len())
}
