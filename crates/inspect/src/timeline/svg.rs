//! The lanes as a picture of its own.

use std::fmt::Write as _;

use super::{Lane, Sort, Timeline};
use crate::time::Zone;

const WIDTH: u64 = 1200;
const LEFT: u64 = 190;
const TOP: u64 = 76;
const LANE: u64 = 34;
const BAR: u64 = 20;
/// So many times are written under the lanes.
const TICKS: u64 = 6;

/// Draws the lanes.
#[must_use]
pub fn svg(timeline: &Timeline, zone: &Zone) -> String {
    let lanes = timeline.lanes.len() as u64;
    let height = TOP + lanes * LANE + 40;
    let mut text = String::new();
    // Writing to a text cannot fail.
    let _ = write!(
        text,
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" font-family="system-ui, sans-serif" font-size="13"><rect width="100%" height="100%" fill="#fff"/><text x="16" y="26" font-size="17" font-weight="600" fill="#1c2330">{}</text>"##,
        escape(&title(timeline, zone))
    );
    legend(&mut text);
    for (row, lane) in (0..).zip(&timeline.lanes) {
        draw_lane(&mut text, timeline, zone, lane, TOP + row * LANE);
    }
    ticks(&mut text, timeline, zone, height);
    text.push_str("</svg>\n");
    text
}

/// What is seen, in one line.
pub(super) fn title(timeline: &Timeline, zone: &Zone) -> String {
    format!(
        "{} to {}, {} events",
        zone.moment_with_zone(timeline.from),
        zone.moment_with_zone(timeline.to),
        timeline.events
    )
}

fn legend(text: &mut String) {
    let mut x = LEFT;
    for sort in Sort::ALL {
        let _ = write!(
            text,
            r##"<rect x="{x}" y="42" width="14" height="14" rx="2" fill="{}"/><text x="{}" y="54" fill="#4a5362">{}</text>"##,
            sort.colour(),
            x + 19,
            sort.word()
        );
        x += 40 + 8 * sort.word().len() as u64;
    }
}

fn draw_lane(text: &mut String, timeline: &Timeline, zone: &Zone, lane: &Lane, y: u64) {
    let _ = write!(
        text,
        r##"<line x1="{LEFT}" x2="{}" y1="{}" y2="{}" stroke="#e6e9ee"/><text x="16" y="{}" fill="#1c2330">{}</text>"##,
        WIDTH - 16,
        y + LANE - 4,
        y + LANE - 4,
        y + 19,
        escape(&crate::screen::cut(&lane.name, 24))
    );
    for bar in &lane.bars {
        let (from, to) = (x_of(timeline, bar.from), x_of(timeline, bar.to));
        let _ = write!(
            text,
            r##"<rect x="{from:.1}" y="{}" width="{:.1}" height="{BAR}" fill="{}"><title>{}</title></rect>"##,
            y + 4,
            (to - from).max(1.0),
            bar.sort.colour(),
            escape(&format!(
                "{} {} to {}\n{}\n#{}: {}",
                bar.sort.word(),
                zone.time(bar.from),
                zone.time(bar.to),
                bar.note,
                bar.sequence,
                bar.cause
            ))
        );
    }
    for (at, sequence, what) in &lane.marks {
        let x = x_of(timeline, *at);
        let _ = write!(
            text,
            r##"<path d="M{x:.1} {}l-5 -8h10z" fill="#1c2330"><title>{}</title></path>"##,
            y + 7,
            escape(&format!("#{sequence} {}\n{what}", zone.time(*at)))
        );
    }
}

fn ticks(text: &mut String, timeline: &Timeline, zone: &Zone, height: u64) {
    let span = timeline.to.saturating_sub(timeline.from);
    for tick in 0..=TICKS {
        let at = timeline.from + span * tick / TICKS;
        let anchor = match tick {
            0 => "start",
            TICKS => "end",
            _ => "middle",
        };
        let _ = write!(
            text,
            r##"<text x="{:.1}" y="{}" text-anchor="{anchor}" fill="#4a5362">{}</text>"##,
            x_of(timeline, at),
            height - 14,
            if span < 20_000 {
                zone.time(at)
            } else {
                zone.seconds(at)
            }
        );
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a place on a picture is no more exact than a pixel"
)]
fn x_of(timeline: &Timeline, at: u64) -> f64 {
    let span = timeline.to.saturating_sub(timeline.from).max(1) as f64;
    let room = (WIDTH - LEFT - 16) as f64;
    LEFT as f64 + (at.saturating_sub(timeline.from)) as f64 / span * room
}

/// Text for XML, of which nothing is taken for a tag.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            // XML has no place for these.
            '\u{0}'..='\u{8}' | '\u{b}' | '\u{c}' | '\u{e}'..='\u{1f}' => escaped.push('\u{fffd}'),
            _ => escaped.push(letter),
        }
    }
    escaped
}
