//! Starts and ends: of engines, of the keeper, and what signals do.

use std::process::Command;
use std::time::{Duration, Instant};

use allexmaster_testkit::processes::{Signal, lives, signal};
use allexmaster_testkit::wait::wait_for;

use crate::bench::Keeper;

pub(crate) fn an_engine_that_was_stopping_ends_the_keeper_with_its_exit_code() {
    let mut keeper = Keeper::start();
    let mut engine = keeper.ready_engine();
    engine.tell("stopping");
    engine.order("exit 9");
    assert_eq!(keeper.wait().code(), Some(9));
}

pub(crate) fn an_engine_that_cannot_begin_ends_the_keeper_with_its_exit_code() {
    let mut keeper = Keeper::start();
    keeper.engine().order("exit 3");
    assert_eq!(keeper.wait().code(), Some(3));
}

pub(crate) fn an_engine_that_ends_without_having_been_told_to_is_started_again() {
    let keeper = Keeper::start();
    let mut engine = keeper.ready_engine();
    engine.order("exit 0");
    let mut engine = keeper.ready_engine();
    engine.order("exit 1");
    keeper.ready_engine();
    let log = keeper.log();
    assert!(
        log.contains("exited with code 0; it is started again"),
        "{log}"
    );
    assert!(log.contains(" WARN the engine (process "), "{log}");
}

pub(crate) fn an_engine_that_was_killed_while_it_was_stopping_is_started_to_end_its_stop() {
    let mut keeper = Keeper::start();
    let mut engine = keeper.ready_engine();
    engine.tell("stopping");
    engine.kill();
    let mut engine = keeper.ready_engine();
    engine.tell("stopping");
    engine.order("exit 0");
    assert!(keeper.wait().success());
}

pub(crate) fn engines_that_die_before_they_are_ready_are_started_again_after_growing_pauses() {
    let keeper = Keeper::start();
    for _ in 0..5 {
        keeper.engine().kill();
    }
    // After three, the pauses are 100, 200 and 400 ms; no test can see less than that they end.
    keeper.ready_engine();
    assert_eq!(keeper.log().matches("was killed by signal 9").count(), 5);
}

pub(crate) fn stop_signals_are_told_and_do_not_end_the_keeper() {
    let mut keeper = Keeper::start();
    let mut engine = keeper.ready_engine();
    for (number, name) in [
        (Signal::TERM, "signal Terminate"),
        (Signal::INT, "signal Interrupt"),
        (Signal::HUP, "reload"),
    ] {
        signal(keeper.pid(), number);
        assert_eq!(engine.tell("next"), name);
    }
    assert!(keeper.runs());
}

pub(crate) fn a_reload_that_is_asked_for_while_no_engine_is_ready_is_told_to_the_next_one() {
    let mut keeper = Keeper::start();
    let engine = keeper.engine();
    signal(keeper.pid(), Signal::HUP);
    signal(keeper.pid(), Signal::HUP);
    engine.kill();
    let mut engine = keeper.ready_engine();
    assert_eq!(engine.tell("next"), "reload");
    signal(keeper.pid(), Signal::TERM);
    assert_eq!(engine.tell("next"), "signal Terminate", "it was told once");
    assert!(keeper.runs());
}

pub(crate) fn signals_without_a_meaning_do_not_end_the_keeper() {
    let mut keeper = Keeper::start();
    let mut engine = keeper.ready_engine();
    // All but those that it tells the engine of (HUP, INT, TERM), that no program can refuse (KILL, STOP),
    // of own faults, and of a terminal. 32 and 33 are the C library's.
    let others = [3, 10, 12, 13, 14, 16, 17, 23, 24, 25, 26, 27, 28, 29, 30];
    for number in others.into_iter().chain(34..=64) {
        let order = format!("kill -{number} {}", keeper.pid());
        let sent = Command::new("sh").args(["-c", &order]).status();
        assert!(sent.unwrap().success(), "signal {number}");
    }
    signal(keeper.pid(), Signal::TERM);
    assert_eq!(engine.tell("next"), "signal Terminate");
    assert!(keeper.runs());
}

pub(crate) fn a_stop_signal_that_no_engine_has_answered_is_told_to_the_next_one() {
    let mut keeper = Keeper::start();
    let mut engine = keeper.ready_engine();
    signal(keeper.pid(), Signal::TERM);
    assert_eq!(engine.tell("next"), "signal Terminate");
    engine.kill();
    let mut engine = keeper.ready_engine();
    assert_eq!(engine.tell("next"), "signal Terminate");
    engine.tell("stopping");
    engine.kill();
    // This one was answered: the next engine has it from its journal.
    let mut engine = keeper.ready_engine();
    signal(keeper.pid(), Signal::INT);
    assert_eq!(engine.tell("next"), "signal Interrupt");
    engine.tell("stopping");
    engine.order("exit 0");
    assert!(keeper.wait().success());
}

pub(crate) fn a_stop_signal_a_second_after_the_first_ends_both_before_the_engine_is_ready() {
    let mut keeper = Keeper::start();
    let engine = keeper.engine();
    let first = Instant::now();
    wait_for("the engine's end", || {
        signal(keeper.pid(), Signal::TERM);
        (!lives(engine.pid)).then_some(())
    });
    // Until then, all that came were one wish.
    assert!(first.elapsed() >= Duration::from_secs(1));
    assert_eq!(keeper.wait().code(), Some(143));
    wait_for("the engine's end", || (!lives(engine.pid)).then_some(()));
}

pub(crate) fn an_engine_that_is_silent_for_too_long_is_killed_and_started_again() {
    let keeper = Keeper::start();
    let mut engine = keeper.ready_engine();
    let first = engine.pid;
    engine.tell("watchdog 300000");
    let mut engine = keeper.engine();
    assert_ne!(engine.pid, first);
    keeper.wait_for_log("has not answered for 300ms: it is killed");
    assert_eq!(engine.tell("ready"), "done");
    assert_eq!(engine.tell("watchdog 20000000"), "done");
    assert_eq!(engine.tell("keep-alive"), "done");
    assert_eq!(engine.tell("names"), "");
}

pub(crate) fn an_engine_that_gives_signs_of_life_is_left_alone() {
    let mut keeper = Keeper::start();
    let mut engine = keeper.ready_engine();
    let watchdog = Duration::from_secs(1);
    engine.tell(&format!("watchdog {}", watchdog.as_micros()));
    let begun = Instant::now();
    let (mut last, mut longest_silence) = (begun, Duration::ZERO);
    while begun.elapsed() < watchdog + watchdog / 2 {
        assert_eq!(engine.tell("alive"), "done");
        longest_silence = longest_silence.max(last.elapsed());
        last = Instant::now();
    }
    // A machine that stood still for so long tells nothing about the keeper.
    let stood_still = longest_silence > watchdog / 2;
    assert!(
        keeper.runs() && (stood_still || keeper.log().is_empty()),
        "{}",
        keeper.log()
    );
}

pub(crate) fn an_engine_whose_keeper_was_killed_notices_and_goes_on() {
    let mut keeper = Keeper::start();
    let mut engine = keeper.ready_engine();
    signal(keeper.pid(), Signal::KILL);
    keeper.wait();
    assert_eq!(engine.tell("next"), "gone");
    // Whatever is said now is heard by nobody, and no error.
    assert_eq!(engine.tell("store lan 1 text"), "done");
    assert_eq!(engine.tell("alive"), "done");
}

pub(crate) fn a_new_program_is_started_next_time_and_given_up_if_it_is_never_ready() {
    let keeper = Keeper::start();
    let mut engine = keeper.ready_engine();
    assert_eq!(engine.tell("store lan 1 text"), "done");
    let told = engine.tell("program relative");
    assert!(told.contains("name a program with its full path"), "{told}");
    assert_eq!(engine.tell("program /bin/false"), "done");
    engine.order("exit 0");
    let mut engine = keeper.ready_engine();
    assert_eq!(engine.tell("read lan"), "text");
    keeper.wait_for_log("the new program was never ready: back to the one before");
    let missing = keeper.path("missing");
    engine.tell(&format!("program {missing}"));
    engine.order("exit 0");
    keeper.ready_engine();
    keeper.wait_for_log("the engine cannot be started: No such file or directory");
    assert_eq!(keeper.log().matches("back to the one before").count(), 2);
}

pub(crate) fn log_lines_of_the_keeper_are_json_where_the_program_writes_json() {
    let keeper = Keeper::start_with(|command| command.env("ALLEXMASTER_LOG_FORMAT", "json"));
    keeper.ready_engine().kill();
    keeper.ready_engine();
    let log = keeper.log();
    let line: serde_json::Value = serde_json::from_str(log.lines().next().unwrap()).unwrap();
    assert_eq!(line["level"], "WARN");
    assert!(
        line["message"].as_str().unwrap().contains("signal 9"),
        "{log}"
    );
}
