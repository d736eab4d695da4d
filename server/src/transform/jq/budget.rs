//! What one run of a filter may use. Every loop of a filter passes [`tick`], which counts and, past the budget, unwinds out
//! of the interpreter: an error would not do, because filters can catch errors.

use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};

use jaq_json::{Num, Val};

use super::STACK_BYTES;

/// What a filter may use for one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JqLimits {
    /// Steps: a call, a value made, each element of it.
    pub steps_max: u64,
    /// Outputs.
    pub outputs_max: usize,
    /// Bytes of all outputs together, and of any value on the way.
    pub output_bytes_max: usize,
}

/// How deep values may nest.
pub(super) const DEPTH_MAX: usize = 128;
/// So many bytes of text count as one step.
const BYTES_PER_STEP: usize = 1 << 10;
/// The most bits of a whole number: arithmetic on larger ones takes more than a step's time.
const NUMBER_BITS_MAX: u64 = 32 << 10;

thread_local! {
    static STEPS: Cell<u64> = const { Cell::new(0) };
    static BYTES_MAX: Cell<usize> = const { Cell::new(0) };
    /// The address below which the stack counts as used up.
    static STACK_END: Cell<usize> = const { Cell::new(0) };
}

/// Why a run was ended.
struct Ended(String);

/// The budget of one run, on this thread.
pub(super) struct Budget {
    limits: JqLimits,
}

impl Budget {
    pub(super) fn begin(limits: JqLimits) -> Self {
        STEPS.set(limits.steps_max);
        BYTES_MAX.set(limits.output_bytes_max);
        STACK_END.set(stack_pointer().saturating_sub(STACK_BYTES / 4 * 3));
        Self { limits }
    }

    /// Runs until the end or until the budget is used up.
    pub(super) fn within<T>(&self, run: impl FnOnce() -> T) -> Result<T, String> {
        // What the run leaves behind is dropped with it.
        panic::catch_unwind(AssertUnwindSafe(run)).map_err(|reason| match reason.downcast::<Ended>() {
            Ok(ended) => ended.0,
            Err(_) => format!("the jq interpreter failed within its {} steps", self.limits.steps_max),
        })
    }
}

/// Counts a step that has this value in hand.
pub(super) fn tick(value: &Val) {
    if stack_pointer() < STACK_END.get() {
        end("the filter recurses too deep".to_owned());
    }
    spend(1);
    let mut bytes = BYTES_MAX.get();
    measure(value, 0, &mut bytes);
}

/// Fails where a text repeated so often would be past the limit.
pub(super) fn check_product(left: &Val, right: &Val) {
    let (text, times) = match (left, right) {
        (Val::TStr(text) | Val::BStr(text), Val::Num(times)) | (Val::Num(times), Val::TStr(text) | Val::BStr(text)) => {
            (text, times)
        }
        _ => return,
    };
    let times = match times {
        Num::Int(times) => usize::try_from(*times).unwrap_or(0),
        Num::Float(times) if *times < 1e9 => *times as usize,
        Num::Dec(times) => times.parse::<f64>().map_or(usize::MAX, |times| times as usize),
        Num::Float(_) | Num::BigInt(_) => usize::MAX,
    };
    if text.len().saturating_mul(times) > BYTES_MAX.get() {
        too_large();
    }
}

fn spend(steps: u64) {
    match STEPS.get().checked_sub(steps) {
        Some(left) => STEPS.set(left),
        None => end("the filter takes more steps than it may".to_owned()),
    }
}

/// Looks at all of a value, as it is when it is written out: what is shared counts each time.
fn measure(value: &Val, depth: usize, bytes: &mut usize) {
    let taken = match value {
        Val::TStr(text) | Val::BStr(text) => {
            spend((text.len() / BYTES_PER_STEP) as u64);
            text.len()
        }
        Val::Num(Num::BigInt(number)) if number.bits() > NUMBER_BITS_MAX => {
            end(format!("the filter made a number of more than {NUMBER_BITS_MAX} bits"))
        }
        Val::Num(Num::Dec(digits)) => digits.len(),
        _ => 1,
    };
    match bytes.checked_sub(taken) {
        Some(left) => *bytes = left,
        None => too_large(),
    }
    if depth >= DEPTH_MAX && matches!(value, Val::Arr(_) | Val::Obj(_)) {
        end(format!("the filter made a value that nests deeper than {DEPTH_MAX}"));
    }
    match value {
        Val::Arr(elements) => {
            spend(elements.len() as u64 / 8);
            elements.iter().for_each(|element| measure(element, depth + 1, bytes));
        }
        Val::Obj(fields) => {
            spend(fields.len() as u64 / 8);
            for (name, value) in fields.iter() {
                measure(name, depth + 1, bytes);
                measure(value, depth + 1, bytes);
            }
        }
        _ => {}
    }
}

fn too_large() -> ! {
    end(format!("the filter made a value of more than {} bytes", BYTES_MAX.get()))
}

fn end(reason: String) -> ! {
    // Not a panic: no message is printed, and nothing is wrong with the process.
    panic::resume_unwind(Box::new(Ended(reason)))
}

/// Roughly.
#[inline(never)]
fn stack_pointer() -> usize {
    let here = 0_u8;
    std::ptr::from_ref(&here).addr()
}
