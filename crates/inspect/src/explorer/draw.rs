//! The screen.

use std::ops::Range;

use allexmaster_state::{ServiceState, State};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Clear, Paragraph, Wrap};

use super::app::{App, Status, TypingFor};
use super::keys::HELP;
use super::shown::{Cause, Shown};
use crate::command::{tone_of, with_times};
use crate::failure;
use crate::screen::{Tone, cut};
use crate::words::{self, SHORT};

/// The heights of the density, from none to most.
const LEVELS: [&str; 9] = [" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"];

pub fn draw(frame: &mut Frame<'_>, app: &mut App) {
    let [top, scrubber, middle, bottom] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(4),
        Constraint::Min(6),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    let [left, right] =
        Layout::horizontal([Constraint::Percentage(52), Constraint::Percentage(48)]).areas(middle);
    draw_heading(frame, app, top);
    draw_scrubber(frame, app, scrubber);
    draw_services(frame, app, left);
    draw_event(frame, app, right);
    draw_bottom(frame, app, bottom);
    if app.help {
        draw_help(frame);
    }
}

fn style(tone: Tone) -> Style {
    match tone {
        Tone::Plain => Style::new(),
        Tone::Faint => Style::new().add_modifier(Modifier::DIM),
        Tone::Strong => Style::new().add_modifier(Modifier::BOLD),
        Tone::Good => Style::new().fg(Color::Green),
        Tone::Waiting => Style::new().fg(Color::Yellow),
        Tone::Bad => Style::new().fg(Color::Red),
    }
}

fn draw_heading(frame: &mut Frame<'_>, app: &App, area: Rect) {
    let lan = app.shown.after.as_ref().map(State::lan_status);
    let read = if app.index.complete {
        String::new()
    } else {
        format!("  reading: {} of {}", app.index.facts.len(), app.last)
    };
    let line = Line::from(vec![
        Span::styled(
            format!(" #{} of {} ", app.at(), app.last),
            Style::new().add_modifier(Modifier::REVERSED),
        ),
        Span::raw(format!("  {}  ", app.zone.moment(app.shown.recorded.at.0))),
        lan.map_or_else(Span::default, |lan| {
            let tone = if lan.state == "connected" {
                Tone::Good
            } else {
                Tone::Bad
            };
            Span::styled(format!("LanManager {}", lan.state), style(tone))
        }),
        Span::styled(format!("  {}{read}", app.place), style(Tone::Faint)),
    ]);
    frame.render_widget(Paragraph::new(line), area);
}

/// The whole life, with the density of events, bad news, and where we are.
fn draw_scrubber(frame: &mut Frame<'_>, app: &App, area: Rect) {
    let width = usize::from(area.width.saturating_sub(2)).max(1);
    let (from, to) = app.span;
    // They are in the order of time, so a million need not be looked at one by one.
    let facts = &app.index.facts;
    let before =
        |column| facts.partition_point(|fact| column_of(fact.at, app.span, width) < column);
    let borders: Vec<usize> = (0..=width).map(before).collect();
    let columns: Vec<Range<usize>> = borders.windows(2).map(|pair| pair[0]..pair[1]).collect();
    let counts: Vec<u64> = columns.iter().map(|facts| facts.len() as u64).collect();
    let most = counts.iter().copied().max().unwrap_or(1).max(1);
    let here = column_of(app.shown.recorded.at.0, app.span, width);
    let density = (0..width).map(|column| {
        let text = LEVELS[level(counts[column], most)];
        let mut look = style(if app.index.any_bad(&columns[column]) {
            Tone::Bad
        } else {
            Tone::Good
        });
        if column == here {
            look = look.add_modifier(Modifier::REVERSED);
        }
        Span::styled(text, look)
    });
    let signs = (0..width).map(|column| {
        if column == here {
            Span::styled("▲", style(Tone::Strong))
        } else if app.index.any_start(&columns[column]) {
            Span::styled("┃", style(Tone::Waiting))
        } else {
            Span::raw(" ")
        }
    });
    let (begin, end) = (app.zone.moment(from), app.zone.moment(to));
    let gap = width.saturating_sub(begin.len() + end.len());
    let lines = vec![
        Line::from(density.collect::<Vec<_>>()),
        Line::from(signs.collect::<Vec<_>>()),
        Line::styled(
            format!("{begin}{}{end}", " ".repeat(gap)),
            style(Tone::Faint),
        ),
    ];
    let inner = Rect {
        x: area.x + 1,
        width: area.width.saturating_sub(2),
        ..area
    };
    frame.render_widget(Paragraph::new(lines), inner);
}

fn column_of(at: u64, (from, to): (u64, u64), width: usize) -> usize {
    let span = u128::from((to - from).max(1));
    let column = u128::from(at.saturating_sub(from)) * (width as u128 - 1) / span;
    usize::try_from(column).unwrap_or(0).min(width - 1)
}

fn level(count: u64, most: u64) -> usize {
    if count == 0 {
        return 0;
    }
    // By the logarithm: one event is seen beside ten thousand.
    let share = (u64::BITS - count.leading_zeros()) * 8 / (u64::BITS - most.leading_zeros()).max(1);
    usize::try_from(share).unwrap_or(8).clamp(1, 8)
}

fn draw_services(frame: &mut Frame<'_>, app: &mut App, area: Rect) {
    let block = Block::new().borders(Borders::TOP);
    let Some(state) = &app.shown.after else {
        let block = block.title(" services and needs ");
        let text = Paragraph::new(to_be_read(app)).wrap(Wrap { trim: false });
        frame.render_widget(text.block(block), area);
        return;
    };
    let total = state.services.len();
    let room = usize::from(area.height.saturating_sub(3));
    app.scroll = app.scroll.min(total.saturating_sub(room));
    let cause = app.shown.cause.as_ref();
    let changed =
        |name| cause.is_some_and(|cause| cause.before.status_of(name) != state.status_of(name));
    let mut lines = vec![Line::styled(
        format!("{:<16}{:<12}{:<8}ports", "name", "state", "pid"),
        style(Tone::Faint),
    )];
    let shown = state.services.iter().skip(app.scroll).take(room);
    for (name, _) in shown {
        let Some(status) = state.status_of(name) else {
            continue;
        };
        let mut look = style(tone_of(status.state));
        if changed(name) {
            look = look.add_modifier(Modifier::BOLD | Modifier::UNDERLINED);
        }
        let pid = status.pid.map_or_else(String::new, |pid| pid.to_string());
        let ports = status
            .ports
            .iter()
            .filter_map(|(_, port)| port.map(|port| port.to_string()));
        let ports = ports.collect::<Vec<_>>().join(" ");
        let text = format!(
            "{:<16}{:<12}{pid:<8}{ports}",
            cut(name.as_str(), 15),
            status.state
        );
        lines.push(Line::styled(text, look));
        if let Some(reason) = status.reason {
            let text = cut(&format!("  {reason}"), usize::from(area.width));
            lines.push(Line::styled(text, style(Tone::Faint)));
        }
    }
    let title = format!(" services and needs ({total}): {} ", outline(state));
    let block = block.title(cut(&title, usize::from(area.width)));
    frame.render_widget(Paragraph::new(lines).block(block), area);
}

/// What stands where a state is not known yet.
fn to_be_read(app: &App) -> Line<'static> {
    let text = if app.index.complete {
        "not known: the journal cannot be read up to here".to_owned()
    } else {
        let (read, at) = (app.index.facts.len(), app.at());
        format!("comes when all before it is read: {read} events, up to {at}")
    };
    Line::styled(text, style(Tone::Faint))
}

fn outline(state: &State) -> String {
    let statuses = state.service_statuses();
    let running = statuses
        .filter(|status| status.state == ServiceState::Running)
        .count();
    let cooling = state.ports.blocked().count();
    let leased = state.ports.leases().count();
    format!("{running} running; {leased} ports leased, {cooling} cooling down")
}

fn draw_event(frame: &mut Frame<'_>, app: &App, area: Rect) {
    let Shown { recorded, .. } = &app.shown;
    let lines = match (&app.shown.cause, &app.shown.after) {
        (Some(cause), Some(after)) => lines_of_event(app, cause, after),
        // Whom it is about, and whether it is bad news, is only known from the state before it.
        (Some(_) | None, _) => vec![to_be_read(app)],
    };
    let title = format!(" {} ", recorded.event.kind_name());
    let block = Block::new()
        .borders(Borders::TOP | Borders::LEFT)
        .title(Span::styled(title, style(Tone::Strong)));
    frame.render_widget(
        Paragraph::new(lines)
            .wrap(Wrap { trim: false })
            .block(block),
        area,
    );
}

/// What happened, what it caused, and what it changed.
fn lines_of_event(app: &App, cause: &Cause, after: &State) -> Vec<Line<'static>> {
    let recorded = &app.shown.recorded;
    let tone = failure::tone(&cause.before, recorded);
    let mut lines = vec![
        Line::styled(words::event(&cause.before, recorded), style(tone)),
        Line::raw(""),
    ];
    for effect in &cause.effects {
        lines.push(Line::raw(format!("→ {}", words::effect(after, effect))));
    }
    if cause.effects.is_empty() {
        lines.push(Line::styled("it caused nothing", style(Tone::Faint)));
    }
    lines.push(Line::raw(""));
    for change in SHORT.difference(&cause.before, after) {
        let old = with_times(&app.zone, change.before.as_deref().unwrap_or("(nothing)"));
        let new = with_times(&app.zone, change.after.as_deref().unwrap_or("(gone)"));
        lines.push(Line::from(vec![
            Span::styled(
                format!("{}: ", with_times(&app.zone, &change.place)),
                style(Tone::Faint),
            ),
            Span::styled(old, style(Tone::Bad)),
            Span::raw(" → "),
            Span::styled(new, style(Tone::Good)),
        ]));
    }
    lines
}

fn draw_bottom(frame: &mut Frame<'_>, app: &App, area: Rect) {
    let line = if let Some(typing) = &app.typing {
        let prompt = match typing.what {
            TypingFor::Search => "search: ",
            TypingFor::Breakpoint => "stop where (service, kind, state): ",
            TypingFor::Goto => "go to (918, 03:12:07, 10m): ",
        };
        Line::from(format!(" {prompt}{}▏", typing.text))
    } else {
        match (&app.status, &app.index.damage) {
            (Status::Failed(text), _) => Line::styled(format!(" {text}"), style(Tone::Bad)),
            (Status::Told(text), _) => Line::styled(format!(" {text}"), style(Tone::Waiting)),
            (Status::Quiet, Some(damage)) => Line::styled(format!(" {damage}"), style(Tone::Bad)),
            (Status::Quiet, None) => Line::styled(
                " ←→ event  f failure  s start  / search  b breakpoint  space run  g go to  ? help  q leave",
                style(Tone::Faint),
            ),
        }
    };
    frame.render_widget(Paragraph::new(line), area);
}

fn draw_help(frame: &mut Frame<'_>) {
    let area = frame.area();
    let (width, height) = (64.min(area.width), (HELP.len() as u16 + 2).min(area.height));
    let window = Rect {
        x: area.x + (area.width - width) / 2,
        y: area.y + (area.height - height) / 2,
        width,
        height,
    };
    let lines: Vec<Line<'_>> = HELP
        .iter()
        .map(|(keys, what)| {
            Line::from(vec![
                Span::styled(format!(" {keys:<11}"), style(Tone::Strong)),
                Span::raw(*what),
            ])
        })
        .collect();
    frame.render_widget(Clear, window);
    frame.render_widget(
        Paragraph::new(lines).block(Block::bordered().title(" keys ")),
        window,
    );
}
