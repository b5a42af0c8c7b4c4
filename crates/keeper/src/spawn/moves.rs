//! How descriptors come to the numbers that a program expects them at, without one overwriting
//! another that is still to be moved.

use std::collections::BTreeMap;
use std::os::fd::RawFd;

/// A move from a number to a number; the same number: the descriptor only has to stay open.
pub(crate) type Move = (RawFd, RawFd);

/// The order in which `wanted` moves can be made. A ring (3 to 4, 4 to 3) is broken by way of
/// `spare`, a number that is neither a source nor a target.
///
/// A source may have several targets (a log file is both output and error output); a target has
/// one source. Takes time in proportion to the number of moves, times its logarithm.
pub(crate) fn in_order(wanted: &[Move], spare: RawFd) -> Vec<Move> {
    // How many moves still start from a number that something is to be moved to.
    let mut readers: BTreeMap<RawFd, usize> = wanted.iter().map(|(_, to)| (*to, 0)).collect();
    let mut source_of: BTreeMap<RawFd, RawFd> = BTreeMap::new();
    let mut ordered = Vec::with_capacity(wanted.len());
    for (from, to) in wanted {
        if from != to {
            source_of.insert(*to, *from);
            if let Some(count) = readers.get_mut(from) {
                *count += 1;
            }
        }
    }
    let mut free: Vec<RawFd> = source_of
        .keys()
        .copied()
        .filter(|to| readers.get(to) == Some(&0))
        .collect();
    loop {
        while let Some(to) = free.pop() {
            let Some(from) = source_of.remove(&to) else {
                continue;
            };
            ordered.push((from, to));
            if let Some(count) = readers.get_mut(&from) {
                *count -= 1;
                if *count == 0 {
                    free.push(from);
                }
            }
        }
        // What is left are rings: each target in them is the source of exactly one other move.
        let Some((to, _)) = source_of.first_key_value() else {
            break;
        };
        let to = *to;
        ordered.push((to, spare));
        for from in source_of.values_mut().filter(|from| **from == to) {
            *from = spare;
        }
        free.push(to);
    }
    // Last, since a descriptor that stays may have to be copied first and is never overwritten.
    ordered.extend(wanted.iter().filter(|(from, to)| from == to));
    ordered
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What each number means after the moves, where at first each means itself.
    fn made(moves: &[Move]) -> BTreeMap<RawFd, RawFd> {
        let mut meaning = BTreeMap::new();
        for (from, to) in moves {
            let meant = meaning.get(from).copied().unwrap_or(*from);
            meaning.insert(*to, meant);
        }
        meaning
    }

    #[test]
    fn a_ring_is_broken_by_way_of_the_spare_number() {
        let ordered = in_order(&[(4, 3), (3, 4)], 9);
        assert_eq!(ordered, [(3, 9), (4, 3), (9, 4)]);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, cases: 512, ..ProptestConfig::default() })]

        #[test]
        fn every_target_gets_what_its_source_meant(
            sources in proptest::collection::vec(0..24, 0..20),
            first in 0..6,
        ) {
            let wanted: Vec<Move> = sources.into_iter().zip(first..).collect();
            let made = made(&in_order(&wanted, 99));
            for (from, to) in &wanted {
                prop_assert_eq!(made.get(to), Some(from), "{:?}", wanted);
            }
        }
    }
}
