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

/// The name of the service that a log file is of.
pub(super) fn service_of(file: &str) -> Option<String> {
    let name = file.strip_suffix(ENDING)?;
    let mut bytes = Vec::new();
    let mut left = name.as_bytes();
    while let Some((&byte, rest)) = left.split_first() {
        left = rest;
        let digits = (byte == b'%').then(|| rest.get(..2)).flatten();
        let digits = digits.and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(decoded) => {
                bytes.push(decoded);
                left = rest.get(2..).unwrap_or_default();
            }
            None => bytes.push(byte),
        }
    }
    String::from_utf8(bytes).ok()
}
