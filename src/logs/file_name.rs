//! File names that any file system takes, made of names that may be anything.

/// What a log file's name ends with.
pub(super) const ENDING: &str = ".log";
/// File systems take 255 bytes; this leaves room for the ending, a number and a temporary name.
const LONGEST: usize = 200;
/// How much of a name that is too long is kept, for people.
const KEPT: usize = 160;
/// Digits of the hash that distinguish long names.
const HASH_DIGITS: usize = 32;

/// The name of the log file of a service. Two services never share one: every character that is not
/// plainly safe is written as `%` and two digits, and a name that gets too long ends with its hash.
pub(super) fn of(instance: &str) -> String {
    let mut name = String::with_capacity(instance.len() + ENDING.len());
    for byte in instance.bytes() {
        let leading_dot = byte == b'.' && name.is_empty();
        if (byte.is_ascii_alphanumeric() || b"._-".contains(&byte)) && !leading_dot {
            name.push(char::from(byte));
        } else {
            name.push_str(&format!("%{byte:02x}"));
        }
    }
    if name.is_empty() {
        // No other name is this: a lone `%` is always followed by two digits.
        name.push('%');
    }
    if name.len() > LONGEST {
        let hash = blake3::hash(instance.as_bytes()).to_hex();
        name.truncate(KEPT);
        // `~` is never left as it is, so no short name looks like this.
        name.push('~');
        name.extend(hash.chars().take(HASH_DIGITS));
    }
    name.push_str(ENDING);
    name
}
