//! Progress for people: a bar on a terminal, a line every few seconds elsewhere.
//!
//! Workers only add to counters. One thread of its own looks at them and draws, so that nothing
//! a terminal does can hold up the work.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::interrupt::Interrupt;
use super::printer::Printer;
use super::units;
use crate::progress::{Phase, Progress};

/// How often a bar is drawn.
const FRAME: Duration = Duration::from_millis(100);
/// How often there is a line where there is no terminal.
const LINE: Duration = Duration::from_secs(5);

/// Shows progress. Ends with [`Bars::finish`] or when dropped.
pub(super) struct Bars {
    state: Arc<State>,
    drawer: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Default)]
struct State {
    rows: AtomicU64,
    bytes: AtomicU64,
    stage: Mutex<Stage>,
    what: Mutex<String>,
    notes: Mutex<Vec<String>>,
    over: AtomicBool,
    interrupt: Interrupt,
}

/// The phase that is on. The totals are estimates; 0 where there is none.
#[derive(Clone, Copy, Default)]
struct Stage {
    phase: Option<Phase>,
    number: u64,
    rows: u64,
    bytes: u64,
    began: Option<Instant>,
}

/// What is shown at one moment.
struct Glance {
    stage: Stage,
    rows: u64,
    bytes: u64,
    spent: Duration,
    what: String,
}

impl Bars {
    /// Starts drawing, if the printer wants progress; notes are shown either way.
    pub(super) fn start(printer: &Arc<Printer>, interrupt: &Interrupt) -> Arc<Self> {
        let state = Arc::new(State { interrupt: interrupt.clone(), ..State::default() });
        let (theirs, printer) = (Arc::clone(&state), Arc::clone(printer));
        let drawer = std::thread::Builder::new().name("progress".to_owned());
        let drawer = drawer.spawn(move || draw(&theirs, &printer)).ok();
        Arc::new(Self { state, drawer: Mutex::new(drawer) })
    }

    /// Takes the bar away and shows the notes that are left.
    pub(super) fn finish(&self) {
        self.state.over.store(true, Ordering::Relaxed);
        let drawer = self.drawer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(drawer) = drawer {
            drawer.thread().unpark();
            // A drawer that panicked has nothing more to say.
            _ = drawer.join();
        }
    }
}

impl Drop for Bars {
    fn drop(&mut self) {
        self.finish();
    }
}

impl Progress for Bars {
    fn begin(&self, phase: Phase, rows: u64, bytes: u64) {
        let mut stage = self.state.stage.lock().unwrap_or_else(PoisonError::into_inner);
        self.state.rows.store(0, Ordering::Relaxed);
        self.state.bytes.store(0, Ordering::Relaxed);
        let number = stage.number + 1;
        *stage = Stage { phase: Some(phase), number, rows, bytes, began: Some(Instant::now()) };
        drop(stage);
        self.on("");
    }

    fn rows(&self, rows: u64) {
        self.state.rows.fetch_add(rows, Ordering::Relaxed);
    }

    fn bytes(&self, bytes: u64) {
        self.state.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    fn on(&self, what: &str) {
        // Never waits: if the drawer is looking just now, the next name comes soon enough.
        if let Ok(mut current) = self.state.what.try_lock() {
            what.clone_into(&mut current);
        }
    }

    fn note(&self, text: &str) {
        self.state.notes.lock().unwrap_or_else(PoisonError::into_inner).push(text.to_owned());
    }

    fn interrupted(&self) -> bool {
        self.state.interrupt.is_set()
    }
}

impl State {
    fn glance(&self) -> Glance {
        let stage = *self.stage.lock().unwrap_or_else(PoisonError::into_inner);
        Glance {
            stage,
            rows: self.rows.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            spent: stage.began.map_or(Duration::ZERO, |began| began.elapsed()),
            what: self.what.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }

    fn take_notes(&self) -> Vec<String> {
        std::mem::take(&mut *self.notes.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The drawer's thread.
fn draw(state: &State, printer: &Printer) {
    let terminal = printer.shows_progress() && Printer::err_is_terminal();
    let mut bar = ProgressBar::hidden();
    let mut last = Instant::now();
    let mut shown = None;
    loop {
        let over = state.over.load(Ordering::Relaxed);
        for note in state.take_notes() {
            bar.suspend(|| printer.message(&format!("note: {note}")));
        }
        if over {
            break;
        }
        let glance = state.glance();
        if terminal {
            if shown.replace(glance.stage.number) == Some(glance.stage.number) {
                show(&bar, &glance, printer);
            } else {
                bar.finish_and_clear();
                bar = fresh(&glance, printer);
            }
        } else if printer.shows_progress() && last.elapsed() >= LINE {
            if glance.stage.phase.is_some() {
                printer.message(&line(&glance));
            }
            last = Instant::now();
        }
        std::thread::park_timeout(FRAME);
    }
    bar.finish_and_clear();
}

/// The bar of a phase, hidden until all of it is set: what is set one by one is drawn one by one.
fn fresh(glance: &Glance, printer: &Printer) -> ProgressBar {
    let (template, (part, whole)) = match glance.whole() {
        Some(whole) => (BAR, whole),
        None => (SPINNER, (0, 0)),
    };
    // The fallback cannot come about: both templates are constants, and tested.
    let style = ProgressStyle::with_template(template);
    let bar = ProgressBar::with_draw_target(Some(whole), ProgressDrawTarget::hidden())
        .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        .with_position(part)
        .with_prefix(glance.name())
        .with_message(printer.redact(&glance.figures()));
    bar.set_draw_target(ProgressDrawTarget::stderr());
    bar.tick();
    bar
}

fn show(bar: &ProgressBar, glance: &Glance, printer: &Printer) {
    if let Some((part, whole)) = glance.whole() {
        bar.set_length(whole);
        bar.set_position(part);
    }
    bar.set_message(printer.redact(&glance.figures()));
    bar.tick();
}

const BAR: &str = "{prefix:<16} [{bar:20}] {percent:>3}%  {wide_msg}";
const SPINNER: &str = "{prefix:<16} {spinner}  {wide_msg}";

/// One line for a log.
fn line(glance: &Glance) -> String {
    let percent = glance.whole().map_or_else(String::new, |(part, whole)| {
        format!(" {}%", u128::from(part) * 100 / u128::from(whole.max(1)))
    });
    format!("{}:{percent} {}", glance.name(), glance.figures())
}

impl Glance {
    fn name(&self) -> &'static str {
        match self.stage.phase {
            Some(Phase::Schema) => "reading schema",
            Some(Phase::Rows) => "saving rows",
            Some(Phase::Finish) => "closing archive",
            Some(Phase::Verify) => "verifying",
            Some(Phase::Images) => "checking images",
            Some(Phase::Keys) => "checking keys",
            Some(Phase::PreData) => "creating tables",
            Some(Phase::Load) => "loading rows",
            Some(Phase::PostData) => "adding indexes",
            Some(Phase::Export) => "writing",
            Some(Phase::Compare) => "comparing",
            Some(Phase::Repair) => "repairing",
            Some(Phase::Merge) => "merging",
            Some(Phase::Differences) => "finding rows",
            Some(Phase::Look) => "looking through",
            Some(Phase::Copy) => "copying",
            Some(Phase::Pages) => "checking pages",
            Some(Phase::Server) => "server",
            Some(Phase::Rules) => "checking rules",
            None => "starting",
        }
    }

    /// What is counted beside bytes.
    fn counted(&self) -> (&'static str, &'static str) {
        match self.stage.phase {
            Some(Phase::PreData | Phase::PostData) => ("object", "objects"),
            _ => ("row", "rows"),
        }
    }

    /// What is done of what, in bytes if those can be estimated, else in rows. Estimates may be
    /// wrong: never more than the whole.
    fn whole(&self) -> Option<(u64, u64)> {
        let (part, whole) = match (self.stage.bytes, self.stage.rows) {
            (0, 0) => return None,
            (0, rows) => (self.rows, rows),
            (bytes, _) => (self.bytes, bytes),
        };
        Some((part.min(whole), whole))
    }

    /// `12,345 rows, 1.2 GiB, 110.0 MiB/s, 38 s left, public.image`.
    fn figures(&self) -> String {
        let mut parts = Vec::new();
        let (one, many) = self.counted();
        if self.rows > 0 {
            parts.push(units::counted(self.rows, one, many));
        }
        if self.bytes > 0 {
            parts.push(units::size(self.bytes));
        }
        let millis = self.spent.as_millis();
        // Rates and what follows from them mean nothing in the first moments.
        if millis >= 1000 {
            let rate =
                |amount: u64| u64::try_from(u128::from(amount) * 1000 / millis).unwrap_or(u64::MAX);
            if self.bytes > 0 {
                parts.push(format!("{}/s", units::size(rate(self.bytes))));
            } else if self.rows > 0 {
                parts.push(format!("{}/s", units::counted(rate(self.rows), one, many)));
            }
            if let Some((part, whole)) = self.whole()
                && part > 0
                && part < whole
            {
                let left = millis * u128::from(whole - part) / u128::from(part);
                let left = Duration::from_millis(u64::try_from(left).unwrap_or(u64::MAX));
                parts.push(format!("{} left", units::span(left)));
            }
        }
        let mut out = parts.join(", ");
        if !self.what.is_empty() {
            let comma = if out.is_empty() { "" } else { ", " };
            _ = write!(out, "{comma}{}", self.what);
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::super::redact::Redactor;
    use super::*;

    fn glance(rows: u64, bytes: u64, seconds: u64) -> Glance {
        let stage = Stage {
            phase: Some(Phase::Rows),
            number: 1,
            rows: 1000,
            bytes: 100 << 20,
            began: None,
        };
        let spent = Duration::from_secs(seconds);
        Glance { stage, rows, bytes, spent, what: "public.image".to_owned() }
    }

    #[test]
    fn lines_say_what_is_done_and_left() {
        assert_eq!(
            line(&glance(250, 25 << 20, 10)),
            "saving rows: 25% 250 rows, 25.0 MiB, 2.5 MiB/s, 30 s left, public.image"
        );
        assert_eq!(line(&glance(0, 0, 0)), "saving rows: 0% public.image");
        // An estimate that was too low must not give 200 % or a negative time.
        assert_eq!(
            line(&glance(2000, 200 << 20, 10)),
            "saving rows: 100% 2,000 rows, 200.0 MiB, 20.0 MiB/s, public.image"
        );
        let mut objects = glance(3, 0, 0);
        objects.stage = Stage { phase: Some(Phase::PostData), rows: 5, bytes: 0, ..objects.stage };
        assert_eq!(line(&objects), "adding indexes: 60% 3 objects, public.image");
    }

    #[test]
    fn templates_are_templates() {
        assert!(ProgressStyle::with_template(BAR).is_ok());
        assert!(ProgressStyle::with_template(SPINNER).is_ok());
    }

    #[test]
    fn counters_start_anew_with_a_phase() {
        let printer = Arc::new(Printer::new(true, false, Redactor::default()));
        let bars = Bars::start(&printer, &Interrupt::default());
        bars.begin(Phase::Rows, 10, 10);
        bars.rows(3);
        bars.bytes(4);
        bars.begin(Phase::Finish, 0, 0);
        let glance = bars.state.glance();
        assert_eq!((glance.rows, glance.bytes, glance.stage.number), (0, 0, 2));
        bars.finish();
    }
}
