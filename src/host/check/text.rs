//! A report as text: whole for `tickpath check`, a line a finding for the start of a run.

use super::{Finding, Report, Severity};
use crate::host::ranges::ranges;
use std::fmt::{self, Display, Formatter};

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let subject = &self.subject;
        let name = subject.pipeline.as_deref().unwrap_or("this host, without a pipeline");
        let hot = if subject.hot_cpus.is_empty() { "none".into() } else { ranges(&subject.hot_cpus) };
        write!(f, "checked: {name}; hot CPUs {hot}")?;
        for port in &subject.ports {
            write!(f, "; port {}", port.name)?;
            let device = port.interface.as_ref().unwrap_or(&port.device);
            if *device != port.name {
                write!(f, " ({device})")?;
            }
        }
        for memory in &subject.memory {
            write!(f, "; {} MiB of hugepages on node {}", memory.bytes.div_ceil(1 << 20), memory.node)?;
        }
        writeln!(f)?;
        if subject.hot_cpus.is_empty() {
            writeln!(f, "no CPU is hot: checks of CPUs were left out (name a pipeline, or isolate CPUs)")?;
        }
        for finding in &self.findings {
            finding.write(f)?;
        }
        if !self.unread.is_empty() {
            writeln!(f, "\nnot readable here:")?;
        }
        for unread in &self.unread {
            writeln!(f, "  {:<24} {}", unread.id, unread.what)?;
        }
        if let Some(boot) = self.boot.as_ref().filter(|boot| !boot.missing.is_empty()) {
            writeln!(
                f,
                "\nkernel parameters (GRUB_CMDLINE_LINUX in /etc/default/grub, then sudo update-grub and a reboot):"
            )?;
            writeln!(f, "  {}", boot.line)?;
            writeln!(f, "  this kernel was not given: {}", boot.missing.join(" "))?;
        }
        self.write_tuned(f)?;
        if let Some(effect) = &self.effect {
            effect.fmt(f)?;
        }
        let count = |severity, one: &str| match self.count(severity) {
            1 => format!("1 {one}"),
            n => format!("{n} {one}s"),
        };
        let (errors, warnings) = (count(Severity::Error, "error"), count(Severity::Warning, "warning"));
        writeln!(f, "\n{errors}, {warnings}, {} for information", self.count(Severity::Information))
    }
}

impl Report {
    fn write_tuned(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.tuned.active.is_none() && self.tuned.settles.is_empty() {
            return Ok(());
        }
        writeln!(f, "\ntuned: active profile {}", self.tuned.active.as_deref().unwrap_or("none"))?;
        for (profile, ids) in &self.tuned.settles {
            let ids = ids.iter().copied().collect::<Vec<_>>().join(" ");
            writeln!(f, "  {} would settle: {ids}", profile.name())?;
        }
        Ok(())
    }

    /// Errors and warnings, a line each, and how to see more; empty without any.
    pub fn brief(&self) -> String {
        let told = self.findings.iter().filter(|finding| finding.severity > Severity::Information);
        let mut lines: Vec<String> =
            told.map(|finding| format!("{}: {}: {}", finding.severity.name(), finding.id, finding.found)).collect();
        if !lines.is_empty() {
            let name = self.subject.pipeline.as_deref().unwrap_or_default();
            lines.push(format!("`tickpath check {name}` says what each costs and how to mend it\n"));
        }
        lines.join("\n")
    }
}

impl Finding {
    pub(in crate::host) fn write(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "\n{:<11} {:<24} {}", self.severity.name(), self.id, self.found)?;
        for evidence in &self.evidence {
            writeln!(f, "  read      {}: {}", evidence.path, evidence.value)?;
        }
        writeln!(f, "  costs     {}", self.why)?;
        for (label, text) in [("now", &self.until_reboot), ("for good", &self.permanent)] {
            if let Some(text) = text {
                writeln!(f, "  {label:<9} {text}")?;
            }
        }
        Ok(())
    }
}
