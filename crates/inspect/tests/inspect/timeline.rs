//! The lanes, as a picture and as a page.

use crate::support::{assert_snapshot, recorded};
use allexmaster_inspect::replay::Past;
use allexmaster_inspect::source;
use allexmaster_inspect::time::Zone;
use allexmaster_inspect::timeline::{Sort, Timeline, build, html, svg};

fn lanes(name: &str) -> Timeline {
    let mut past = Past::new(source::open(&recorded(name)).unwrap());
    build(&mut past, 1..=u64::MAX).unwrap()
}

#[test]
fn the_lanes_tell_what_was_when() {
    for name in ["crash_loop", "lost_lanmanager", "adoption"] {
        let timeline = lanes(name);
        let mut text = String::new();
        for lane in &timeline.lanes {
            text.push_str(&format!("{} ({})\n", lane.name, lane.about));
            for bar in &lane.bars {
                text.push_str(&format!(
                    "  {:>6} to {:>6} ms  {}  [{}]  #{}: {}\n",
                    bar.from - timeline.from,
                    bar.to - timeline.from,
                    bar.sort.word(),
                    bar.note,
                    bar.sequence,
                    bar.cause
                ));
            }
            for (at, sequence, what) in &lane.marks {
                text.push_str(&format!(
                    "  ! {:>6} ms  #{sequence}: {what}\n",
                    at - timeline.from
                ));
            }
        }
        assert_snapshot(&format!("timeline_{name}"), text);
    }
}

#[test]
fn bars_of_a_lane_follow_one_another_within_the_time_that_is_shown() {
    for name in ["crash_loop", "port_conflict", "lost_lanmanager", "adoption"] {
        let timeline = lanes(name);
        for lane in &timeline.lanes {
            let mut last = timeline.from;
            for bar in &lane.bars {
                assert!(
                    last <= bar.from && bar.from <= bar.to && bar.to <= timeline.to,
                    "{name}"
                );
                last = bar.to;
            }
        }
    }
}

#[test]
fn no_text_of_the_journal_becomes_a_part_of_the_page() {
    let mut timeline = lanes("crash_loop");
    timeline.lanes[2].name = "</script><script>alert(1)</script>".to_owned();
    timeline.lanes[2].bars[0].cause = "<img src=x onerror=alert(1)>\u{1}".to_owned();
    let page = html(&timeline, &Zone::utc());
    assert!(!page.contains("alert(1)</script>") && !page.contains("<img"));
    let picture = svg(&timeline, &Zone::utc());
    assert!(
        !picture.contains("<script") && !picture.contains("<img") && !picture.contains('\u{1}')
    );
}

#[test]
fn the_page_asks_nobody_for_anything() {
    let page = html(&lanes("crash_loop"), &Zone::utc());
    for word in ["http://", "https://", "src=", "@import", "url("] {
        let own = page.matches(word).count();
        // The endpoint of the LanManager is a text in the data, and an address of `ws`.
        assert_eq!(own, 0, "{word}");
    }
    assert!(Sort::ALL.iter().all(|sort| page.contains(sort.colour())));
}
