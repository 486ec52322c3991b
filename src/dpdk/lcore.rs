//! Running closures on EAL's worker lcores, with the shape of `std::thread::scope`: they may borrow, they are all
//! waited for, and a panic comes back as a value instead of crossing EAL's C frame.

use super::{DpdkError, Eal, Lcore};
use std::cell::RefCell;
use std::ffi::{c_int, c_void};
use std::fmt;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Mutex, PoisonError};

/// Where closures are launched from. Lives in [`scope`].
#[derive(Debug)]
pub struct Scope<'scope, 'env: 'scope> {
    eal: Eal,
    launched: RefCell<Vec<(Lcore, Said)>>,
    _scope: PhantomData<&'scope mut &'scope ()>,
    _env: PhantomData<&'env mut &'env ()>,
}

/// Lcores whose closure panicked, and what they said.
#[derive(Debug)]
pub struct Panicked(pub Vec<(Lcore, String)>);

/// What a closure said when it panicked.
type Said = Arc<Mutex<Option<String>>>;

/// One launch at a time: EAL checks and sets an lcore's state in two steps.
static LAUNCH: Mutex<()> = Mutex::new(());

/// The EAL lcore this thread is, or `None` for a thread that EAL did not start.
pub fn current() -> Option<Lcore> {
    // SAFETY: reads a variable of the calling thread.
    let id = unsafe { dpdk_sys::shim_lcore_id() };
    (id < dpdk_sys::SHIM_MAX_LCORE).then(|| Lcore::new(id))
}

/// Run `f`, which launches closures on lcores, and wait for all of them.
///
/// # Errors
/// [`Panicked`] when a closure did; the others ran to their end all the same. `f`'s own panic goes on after the wait.
pub fn scope<'env, R>(eal: &Eal, f: impl for<'scope> FnOnce(&'scope Scope<'scope, 'env>) -> R) -> Result<R, Panicked> {
    let scope = Scope { eal: eal.clone(), launched: RefCell::default(), _scope: PhantomData, _env: PhantomData };
    let result = catch_unwind(AssertUnwindSafe(|| f(&scope)));
    let panicked = scope.join();
    match result {
        Err(payload) => resume_unwind(payload),
        Ok(result) if panicked.is_empty() => Ok(result),
        Ok(_) => Err(Panicked(panicked)),
    }
}

/// Run `work` on an idle worker lcore and wait for what it returns: what it allocates and touches first lies near that
/// lcore.
///
/// # Errors
/// [`Panicked`], and those of [`Scope::launch`].
pub fn on<R: Send>(eal: &Eal, lcore: Lcore, work: impl FnOnce() -> R + Send) -> Result<Result<R, DpdkError>, Panicked> {
    let mut result = None;
    let launched = scope(eal, |scope| {
        let result = &mut result;
        scope.launch(lcore, move || *result = Some(work()))
    })?;
    // It was launched, has been waited for, and did not panic.
    Ok(launched.map(|()| result.expect("a closure that ran to its end has left its result")))
}

impl<'scope> Scope<'scope, '_> {
    /// Run `work` on a worker lcore that is idle. What it owns is dropped there.
    ///
    /// # Errors
    /// The main lcore, an lcore EAL was not given, one that is busy.
    pub fn launch(&'scope self, lcore: Lcore, work: impl FnOnce() + Send + 'scope) -> Result<(), DpdkError> {
        let workers = self.eal.workers();
        let refuse = |problem| DpdkError::Launch {
            lcore: lcore.id(),
            problem,
            workers: workers.iter().map(Lcore::to_string).collect(),
        };
        if lcore == self.eal.main_lcore() {
            return Err(refuse("it is the main lcore, which runs control"));
        }
        if !workers.contains(&lcore) {
            return Err(refuse("EAL has no such lcore"));
        }
        let said = Arc::new(Mutex::new(None));
        let task = Box::into_raw(Box::new(Task { work: Box::new(work), said: Arc::clone(&said) }));
        let guard = LAUNCH.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: `run` takes the box over exactly once, on a worker lcore of the running EAL; what the closure borrows
        // outlives 'scope, and `scope` joins the lcore before 'scope ends.
        let rc = unsafe { dpdk_sys::rte_eal_remote_launch(Some(run), task.cast::<c_void>(), lcore.id()) };
        drop(guard);
        if rc != 0 {
            // SAFETY: a refused launch never calls `run`, so the box is still ours.
            drop(unsafe { Box::from_raw(task) });
            return Err(refuse("it is running something else"));
        }
        self.launched.borrow_mut().push((lcore, said));
        Ok(())
    }

    /// Lcores whose closure has not returned yet.
    pub fn running(&self) -> Vec<Lcore> {
        let launched = self.launched.borrow();
        launched.iter().map(|(lcore, _)| *lcore).filter(|lcore| is_running(*lcore)).collect()
    }

    fn join(&self) -> Vec<(Lcore, String)> {
        let mut panicked = Vec::new();
        for (lcore, said) in self.launched.borrow_mut().drain(..) {
            // SAFETY: a worker lcore of the running EAL; waits for its function to return.
            unsafe { dpdk_sys::rte_eal_wait_lcore(lcore.id()) };
            let said = said.lock().unwrap_or_else(PoisonError::into_inner).take();
            panicked.extend(said.map(|said| (lcore, said)));
        }
        panicked
    }
}

struct Task<'scope> {
    work: Box<dyn FnOnce() + Send + 'scope>,
    said: Said,
}

/// What EAL calls on the lcore. The panic hook has printed by the time a panic is caught here.
unsafe extern "C" fn run(task: *mut c_void) -> c_int {
    // SAFETY: `launch` leaked this box for this one call. The lifetime is erased; `scope` joins before it ends.
    let Task { work, said } = *unsafe { Box::from_raw(task.cast::<Task<'static>>()) };
    let Err(payload) = catch_unwind(AssertUnwindSafe(work)) else { return 0 };
    let text = payload
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without a message".into());
    *said.lock().unwrap_or_else(PoisonError::into_inner) = Some(text);
    // A payload whose own drop panics must not unwind into C either.
    std::mem::forget(payload);
    -1
}

fn is_running(lcore: Lcore) -> bool {
    // SAFETY: a worker lcore of the running EAL. State 0 is WAIT, in every version.
    unsafe { dpdk_sys::rte_eal_get_lcore_state(lcore.id()) != 0 }
}

impl std::error::Error for Panicked {}

impl fmt::Display for Panicked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (lcore, said)) in self.0.iter().enumerate() {
            write!(f, "{}lcore {lcore} panicked: {said}", if i > 0 { "; " } else { "" })?;
        }
        Ok(())
    }
}
