//! The names of descriptors.

/// The most bytes of a name (systemd's limit, too).
pub(crate) const NAME_MOST: usize = 255;
/// How much of it the keeper adds to the name of a listener, to name a connection: a point and the
/// digits of a number.
const SUFFIX_MOST: usize = 21;

/// A name that a descriptor may have: 1 to 255 visible ASCII characters and blanks, no colon.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Name(Box<str>);

impl Name {
    /// `None` where the text is no name.
    pub(super) fn new(text: &str) -> Option<Self> {
        is_name(text).then(|| Self(text.into()))
    }

    /// What systemd calls descriptors that nobody named.
    pub(super) fn unnamed() -> Self {
        Self("stored".into())
    }

    /// The name of a connection that came in at a listener of this name.
    pub(super) fn of_connection(&self, number: u64) -> Self {
        let listener = self.0.get(..NAME_MOST - SUFFIX_MOST).unwrap_or(&self.0);
        Self(format!("{listener}.{number}").into())
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether a descriptor may have this name.
pub(crate) fn is_name(text: &str) -> bool {
    let visible = |byte: u8| (b' '..0x7f).contains(&byte) && byte != b':';
    (1..=NAME_MOST).contains(&text.len()) && text.bytes().all(visible)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short_visible_and_without_a_colon() {
        assert!(Name::new("local.17").is_some());
        assert!(Name::new(&"n".repeat(NAME_MOST)).is_some());
        for bad in ["", "a:b", "a\nb", "ä", &"n".repeat(NAME_MOST + 1)] {
            assert_eq!(Name::new(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_name_of_a_connection_is_a_name() {
        for listener in ["local", &"n".repeat(NAME_MOST)] {
            let name = Name::new(listener).unwrap().of_connection(u64::MAX);
            assert!(is_name(name.as_str()), "{name:?}");
        }
    }
}
