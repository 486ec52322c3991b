//! Commands on EAL's telemetry socket, which `dpdk-telemetry.py` lists and asks.
//!
//! In: a command's name, and a function from parameters to an answer. Out: the answer in DPDK's containers, cut to what
//! they hold. A command stays for the life of the process, because DPDK has no way to take it back; its function runs on a
//! thread of DPDK's and must neither block nor touch what a stage owns.

use super::{DpdkError, Eal};
use arc_swap::ArcSwap;
use dpdk_sys::rte_tel_data;
use std::collections::BTreeMap;
use std::ffi::{CStr, CString, c_char, c_int};
use std::panic::catch_unwind;
use std::sync::{Arc, LazyLock};

/// What a command is answered with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Up to [`TEXT`] characters of ASCII; others become `?`.
    Text(String),
    /// A number.
    Number(u64),
    /// Texts.
    List(Vec<String>),
    /// Values by name.
    Dict(Dict),
}

/// Values by name, in order. Of a name, what is no letter, digit or `/` becomes `_`: DPDK refuses it.
pub type Dict = Vec<(String, Value)>;

/// From a command's parameters (what follows its name and a comma; empty without) to its answer.
pub type Answer = fn(&str) -> Dict;

/// Longest text.
pub const TEXT: usize = dpdk_sys::RTE_TEL_MAX_STRING_LEN as usize - 1;
/// Most entries of a [`Dict`].
pub const ENTRIES: usize = dpdk_sys::RTE_TEL_MAX_DICT_ENTRIES as usize;
/// Most texts of a list.
pub const TEXTS: usize = dpdk_sys::RTE_TEL_MAX_ARRAY_ENTRIES as usize;
/// What the client is told to have room for is 16 kB; this much of it is for the answer, the rest for its envelope.
pub const BYTES: usize = (16 << 10) - 256;

/// Commands that are registered. Swapped whole, so that an answer waits for nobody.
static ANSWERS: LazyLock<ArcSwap<BTreeMap<CString, Answer>>> = LazyLock::new(ArcSwap::default);

/// Answer `command`, such as `/tickpath/stages`, from now on. Registered again, the later function answers.
///
/// # Errors
/// A name or a help text that DPDK refuses: a name begins with `/` and has fewer than 56 bytes, a help text fewer than 128.
pub fn register(_: &Eal, command: &str, help: &str, answer: Answer) -> Result<(), DpdkError> {
    let refused = |problem: String| DpdkError::Argument { what: format!("telemetry command {command}"), problem };
    let c_string = |text: &str| CString::new(text).map_err(|_| refused("a NUL byte".into()));
    let (name, help) = (c_string(command)?, c_string(help)?);
    if ANSWERS.load().contains_key(&name) {
        ANSWERS.rcu(|before| with(before, &name, answer));
        return Ok(());
    }
    // SAFETY: EAL is running; both strings are copied; `serve` has the callback's signature and never unwinds.
    let rc = unsafe { dpdk_sys::rte_telemetry_register_cmd(name.as_ptr(), Some(serve), help.as_ptr()) };
    if rc < 0 {
        let why = std::io::Error::from_raw_os_error(-rc);
        return Err(refused(format!("DPDK refuses it ({why}): too long, or no room for more commands")));
    }
    ANSWERS.rcu(|before| with(before, &name, answer));
    Ok(())
}

/// `dict` cut to what an answer holds: [`ENTRIES`] at its top level and [`BYTES`] as JSON. What was left out is said in an
/// entry `left_out`. DPDK leaves out what does not fit without a word.
pub fn fit(mut dict: Dict) -> Dict {
    const LEFT_OUT: usize = 40;
    let mut bytes = 2;
    let fitting = dict.iter().take_while(|(name, value)| {
        bytes += entry_bytes(name, value);
        bytes <= BYTES - LEFT_OUT
    });
    let all = dict.len();
    let mut kept = fitting.count();
    if kept < all || all > ENTRIES {
        kept = kept.min(ENTRIES - 1);
        dict.truncate(kept);
        dict.push(("left_out".into(), Value::Number((all - kept) as u64)));
    }
    dict
}

fn with(before: &BTreeMap<CString, Answer>, name: &CStr, answer: Answer) -> Arc<BTreeMap<CString, Answer>> {
    let mut after = before.clone();
    after.insert(name.to_owned(), answer);
    Arc::new(after)
}

unsafe extern "C" fn serve(command: *const c_char, parameters: *const c_char, info: *mut rte_tel_data) -> c_int {
    const FAILED: c_int = -1;
    if command.is_null() || info.is_null() {
        return FAILED;
    }
    let text = |pointer: *const c_char| match pointer.is_null() {
        true => CString::default(),
        // SAFETY: DPDK hands over NUL-terminated strings for the time of this call.
        false => unsafe { CStr::from_ptr(pointer) }.to_owned(),
    };
    let (command, parameters) = (text(command), text(parameters));
    let answered = catch_unwind(|| {
        let answer = ANSWERS.load().get(&command).copied()?;
        Some(fit(answer(&parameters.to_string_lossy())))
    });
    let Ok(Some(dict)) = answered else { return FAILED };
    // SAFETY: `info` is this call's own empty container.
    unsafe { fill(info, dict) }
}

/// 0, or what DPDK said.
///
/// # Safety
/// `data` is an empty container that nobody else uses.
unsafe fn fill(data: *mut rte_tel_data, dict: Dict) -> c_int {
    // SAFETY: as promised by the caller, here and below; names and texts are NUL-terminated and copied.
    let mut rc = unsafe { dpdk_sys::rte_tel_data_start_dict(data) };
    for (name, value) in dict {
        if rc < 0 {
            return rc;
        }
        let name = c_text(&valid_name(&name));
        rc = match value {
            // SAFETY: see above.
            Value::Text(text) => unsafe {
                dpdk_sys::rte_tel_data_add_dict_string(data, name.as_ptr(), c_text(&text).as_ptr())
            },
            // SAFETY: see above.
            Value::Number(n) => unsafe { dpdk_sys::shim_tel_dict_number(data, name.as_ptr(), n) },
            // SAFETY: see above; the new container is this function's own.
            Value::Dict(inner) => unsafe { nest(data, &name, |own| fill(own, inner)) },
            // SAFETY: see above.
            Value::List(texts) => unsafe {
                nest(data, &name, |own| {
                    let mut rc = dpdk_sys::shim_tel_start_texts(own);
                    for text in texts.iter().take(TEXTS) {
                        rc = rc.min(dpdk_sys::rte_tel_data_add_array_string(own, c_text(text).as_ptr()));
                    }
                    rc
                })
            },
        };
    }
    rc
}

/// A container of its own inside `data`, filled by `fill`.
///
/// # Safety
/// `data` is a started dictionary that nobody else uses.
unsafe fn nest(data: *mut rte_tel_data, name: &CStr, fill: impl FnOnce(*mut rte_tel_data) -> c_int) -> c_int {
    // SAFETY: allocation has no precondition.
    let own = unsafe { dpdk_sys::rte_tel_data_alloc() };
    if own.is_null() {
        return -libc::ENOMEM;
    }
    let mut rc = fill(own);
    if rc >= 0 {
        // SAFETY: the caller's promise; 0 hands `own` over, to be freed when the answer has been sent.
        rc = unsafe { dpdk_sys::rte_tel_data_add_dict_container(data, name.as_ptr(), own, 0) };
    }
    if rc < 0 {
        // SAFETY: it was not handed over.
        unsafe { dpdk_sys::rte_tel_data_free(own) };
    }
    rc
}

/// `text` as printable ASCII of at most [`TEXT`] bytes: DPDK 22.11 escapes control characters, and every byte beyond ASCII, in a
/// way that is not JSON.
fn c_text(text: &str) -> CString {
    let ascii = text.replace('→', "->");
    let plain = |c: char| match c {
        ' '..='~' => c as u8,
        _ if c.is_control() => b' ',
        _ => b'?',
    };
    CString::new(ascii.chars().map(plain).take(TEXT).collect::<Vec<u8>>()).expect("there is no NUL among these")
}

fn valid_name(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '/' { c } else { '_' }).collect()
}

/// Bytes of an entry as JSON.
fn entry_bytes(name: &str, value: &Value) -> usize {
    name.len() + 4 + value_bytes(value)
}

fn value_bytes(value: &Value) -> usize {
    // Every character may be a quote or a backslash, or an arrow.
    let text = |text: &String| 3 + 2 * text.chars().count().min(TEXT);
    match value {
        Value::Text(t) => text(t),
        Value::Number(n) => n.checked_ilog10().unwrap_or(0) as usize + 1,
        Value::List(texts) => 2 + texts.iter().map(text).sum::<usize>(),
        Value::Dict(inner) => 2 + inner.iter().map(|(name, value)| entry_bytes(name, value)).sum::<usize>(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_is_too_long_says_how_much_is_left_out() {
        let entry = |i: usize| (format!("stage_{i}"), Value::Dict(vec![("in".into(), Value::Number(u64::MAX)); 3]));
        let short: Dict = (0..3).map(entry).collect();
        assert_eq!(fit(short.clone()), short);
        for n in [200, 10_000] {
            let cut = fit((0..n).map(entry).collect());
            let last = &cut[cut.len() - 1];
            assert_eq!(*last, ("left_out".into(), Value::Number((n - (cut.len() - 1)) as u64)));
            // Three numbers of twenty digits, and their names: more than 70 bytes each.
            assert!((100..ENTRIES).contains(&cut.len()), "{}", cut.len());
        }
        let many = fit((0..ENTRIES + 1).map(|i| (i.to_string(), Value::Number(1))).collect());
        assert_eq!(many.len(), ENTRIES);
        assert_eq!(many[ENTRIES - 1], ("left_out".into(), Value::Number(2)));
    }

    #[test]
    fn names_and_texts_are_what_dpdk_takes() {
        assert_eq!(valid_name("bats-y/rx→tx.1"), "bats_y/rx_tx_1");
        assert_eq!(c_text(&"é".repeat(300)).as_bytes(), "?".repeat(127).as_bytes());
        assert_eq!(c_text("rx→tx\0\n\"\\").as_bytes(), b"rx->tx  \"\\");
    }
}
