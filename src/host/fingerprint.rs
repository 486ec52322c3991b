//! The fingerprint of a run: everything about program and host that can make one run slower than another, as a flat list
//! of facts. It goes into every trace, and the difference of two is the first thing that a comparison looks at.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Facts by dotted name, such as `kernel.release` or `cpu2.governor`. A fact that could not be read is absent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint(pub BTreeMap<String, String>);
