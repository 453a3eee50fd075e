//! Ctrl-C: the first asks the work to end cleanly, the second leaves at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::signal::unix::{SignalKind, signal};

use super::exit::Exit;
use super::printer::Printer;

/// Whether somebody wants the work to end. Cheap to clone and to ask.
#[derive(Clone, Default, Debug)]
pub(super) struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Listens from now on, on a thread of its own. Where that is not to be had, Ctrl-C ends the
    /// process as it always does.
    pub(super) fn listen(printer: &Arc<Printer>) -> Self {
        let interrupt = Self::default();
        let (flag, printer) = (interrupt.clone(), Arc::clone(printer));
        let thread = std::thread::Builder::new().name("signals".to_owned());
        // No thread: the default action of the signals stays in place.
        _ = thread.spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
            if let Ok(runtime) = runtime {
                _ = runtime.block_on(flag.watch(&printer));
            }
        });
        interrupt
    }

    /// Whether to end.
    pub(super) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    async fn watch(&self, printer: &Printer) -> std::io::Result<()> {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        loop {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            if self.0.swap(true, Ordering::Relaxed) {
                leave();
            }
            printer.message("interrupted: ending cleanly (once more to leave at once)");
        }
    }
}

#[expect(clippy::exit, reason = "somebody asked twice; workers may be stuck in I/O")]
fn leave() -> ! {
    std::process::exit(i32::from(Exit::Interrupted.code()))
}
