//! Names of stored descriptors.

/// Maximum length of a name in bytes, as systemd has it.
pub(crate) const MAX_NAME: usize = 255;
/// Maximum length that the keeper appends to the name of a listener to name a connection: a point and
/// the digits of a number.
const MAX_SUFFIX: usize = 21;

/// The name of a stored descriptor: 1 to 255 visible ASCII characters and blanks, no colon.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct DescriptorName(Box<str>);

impl DescriptorName {
    /// `None` if the text is no name.
    pub(super) fn new(text: &str) -> Option<Self> {
        is_name(text).then(|| Self(text.into()))
    }

    /// systemd's name for descriptors without one.
    pub(super) fn unnamed() -> Self {
        Self("stored".into())
    }

    /// The name of a connection that was accepted on a listener of this name.
    pub(super) fn of_connection(&self, number: u64) -> Self {
        let listener = self.0.get(..MAX_NAME - MAX_SUFFIX).unwrap_or(&self.0);
        Self(format!("{listener}.{number}").into())
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether a descriptor may have this name.
pub(crate) fn is_name(text: &str) -> bool {
    let visible = |byte: u8| (b' '..0x7f).contains(&byte) && byte != b':';
    (1..=MAX_NAME).contains(&text.len()) && text.bytes().all(visible)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short_visible_and_without_a_colon() {
        assert!(DescriptorName::new("local.17").is_some());
        assert!(DescriptorName::new(&"n".repeat(MAX_NAME)).is_some());
        for bad in ["", "a:b", "a\nb", "ä", &"n".repeat(MAX_NAME + 1)] {
            assert_eq!(DescriptorName::new(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_name_of_a_connection_is_a_name() {
        for listener in ["local", &"n".repeat(MAX_NAME)] {
            let name = DescriptorName::new(listener)
                .unwrap()
                .of_connection(u64::MAX);
            assert!(is_name(name.as_str()), "{name:?}");
        }
    }
}
