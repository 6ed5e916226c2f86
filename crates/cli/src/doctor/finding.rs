//! What the doctor says, as text and as JSON.

use std::fmt;

use serde_json::{Value, json};

/// How something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// As it should be.
    Ok,
    /// Worth knowing.
    Note,
    /// It hurts: ringwire will not start, or lose packets, or be slower than it could be for no reason.
    Problem,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Verdict::Ok => "ok",
            Verdict::Note => "note",
            Verdict::Problem => "problem",
        })
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    /// What: a word of docs/DOCTOR.md.
    pub(crate) subject: &'static str,
    /// How it is.
    pub(crate) verdict: Verdict,
    /// What was seen.
    pub(crate) says: String,
    /// Why it matters.
    pub(crate) why: Option<String>,
    /// The command that cures it, or what to do where that is no command.
    pub(crate) cure: Option<String>,
}

impl Finding {
    pub(crate) fn ok(subject: &'static str, says: impl Into<String>) -> Finding {
        Finding {
            subject,
            verdict: Verdict::Ok,
            says: says.into(),
            why: None,
            cure: None,
        }
    }

    pub(crate) fn note(subject: &'static str, says: impl Into<String>) -> Finding {
        Finding {
            verdict: Verdict::Note,
            ..Finding::ok(subject, says)
        }
    }

    /// Something that hurts, and why.
    pub(crate) fn problem(
        subject: &'static str,
        says: impl Into<String>,
        why: impl Into<String>,
    ) -> Finding {
        Finding {
            verdict: Verdict::Problem,
            ..Finding::ok(subject, says).because(why)
        }
    }

    pub(crate) fn because(mut self, why: impl Into<String>) -> Finding {
        self.why = Some(why.into());
        self
    }

    pub(crate) fn cured_by(mut self, cure: impl Into<String>) -> Finding {
        self.cure = Some(cure.into());
        self
    }

    fn to_json(&self) -> Value {
        json!({
            "subject": self.subject,
            "verdict": self.verdict.to_string(),
            "says": self.says,
            "why": self.why,
            "cure": self.cure,
        })
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:8} {:12} {}", self.verdict, self.subject, self.says)?;
        for (word, text) in [("why", &self.why), ("cure", &self.cure)] {
            if let Some(text) = text {
                write!(f, "\n{:21} {word}: {text}", "")?;
            }
        }
        Ok(())
    }
}

/// All that is to be said of an interface and its machine.
#[derive(Clone, Debug)]
pub(crate) struct Diagnosis {
    pub(crate) interface: String,
    pub(crate) findings: Vec<Finding>,
}

impl Diagnosis {
    /// How many things hurt.
    pub(crate) fn problems(&self) -> usize {
        let hurts = |finding: &&Finding| finding.verdict == Verdict::Problem;
        self.findings.iter().filter(hurts).count()
    }

    pub(crate) fn to_json(&self) -> Value {
        let findings: Vec<Value> = self.findings.iter().map(Finding::to_json).collect();
        json!({
            "interface": self.interface,
            "problems": self.problems(),
            "findings": findings,
        })
    }
}

impl fmt::Display for Diagnosis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in &self.findings {
            writeln!(f, "{finding}")?;
        }
        match self.problems() {
            0 => write!(f, "\n{}: nothing hurts", self.interface),
            1 => write!(f, "\n{}: 1 problem", self.interface),
            more => write!(f, "\n{}: {more} problems", self.interface),
        }
    }
}

/// A name as a word of a shell command: an interface's may have any character but `/` and blanks.
pub(crate) fn word(name: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-@:".contains(c);
    if !name.is_empty() && name.chars().all(plain) {
        return name.to_owned();
    }
    format!("'{}'", name.replace('\'', r"'\''"))
}

/// Numbers in a row, as in `0, 1, 5`.
pub(crate) fn row(numbers: &[u32]) -> String {
    let numbers: Vec<String> = numbers.iter().map(u32::to_string).collect();
    numbers.join(", ")
}

/// A count with its noun.
pub(crate) fn count(number: u64, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}
