//! The record of instruction counts (`bench/instructions.json`): how they are counted, and what they are compared by.
//!
//! The same program takes the same instructions wherever the compiler, what it compiles for, the C library (whose
//! memcpy(3) is chosen by the processor) and Valgrind are the same. Where one is not, counts are not compared.

use std::collections::BTreeMap;
use std::ffi::CStr;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

/// By how many percent a count may differ from its record. In both directions: a record that is too high would hide
/// growth up to it.
pub const TOLERATED_PERCENT: f64 = 3.0;
/// What callgrind begins the name of a dump with.
const TITLE_AT: &str = "desc: Trigger: Client Request: ";
const TOTALS_AT: &str = "totals: ";
/// Where one item of a title, or of what is printed, ends.
const SEPARATOR: &str = ": ";

/// What counts depend on beside the program: by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    /// What this program was built by, and runs on: under Valgrind, that is the processor that Valgrind has.
    pub fn of_this_program() -> Environment {
        let items = [
            ("rustc", env!("BUILT_BY").to_owned()),
            ("target", env!("BUILT_FOR").to_owned()),
            ("target features", env!("BUILT_WITH").to_owned()),
            ("optimization level", env!("BUILT_AT").to_owned()),
            ("processor features", processor_features()),
            ("libc", libc_version()),
        ];
        Environment(items.map(|(name, value)| (name.into(), value)).into())
    }

    /// Prints it for [`count`], which runs this program.
    pub fn print(&self) {
        for (name, value) in &self.0 {
            println!("{name}{SEPARATOR}{value}");
        }
    }

    fn parse(printed: &str) -> Environment {
        let items = printed
            .lines()
            .filter_map(|line| line.split_once(SEPARATOR));
        Environment(
            items
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
        )
    }

    /// In what this, of the record, differs from the present one: for people.
    pub fn differences(&self, now: &Environment) -> Vec<String> {
        let all = self
            .0
            .keys()
            .chain(now.0.keys().filter(|name| !self.0.contains_key(*name)));
        let differing = all.filter(|name| self.0.get(*name) != now.0.get(*name));
        let value =
            |of: &Environment, name| of.0.get(name).map_or("none", String::as_str).to_owned();
        differing
            .map(|name| {
                format!(
                    "{name}: the record's {}, here {}",
                    value(self, name),
                    value(now, name)
                )
            })
            .collect()
    }
}

/// Those that the C library and the compiler's own code may ask for.
#[cfg(target_arch = "x86_64")]
fn processor_features() -> String {
    macro_rules! features {
        ($($name:tt)*) => {
            [$(($name, std::arch::is_x86_feature_detected!($name))),*]
        };
    }
    let all = features!("sse3" "ssse3" "sse4.1" "sse4.2" "popcnt" "avx" "avx2" "bmi1" "bmi2" "fma" "lzcnt" "movbe" "avx512f" "avx512vl" "avx512bw" "ermsb" "rtm");
    let there: Vec<_> = all.iter().filter(|it| it.1).map(|it| it.0).collect();
    there.join(",")
}

#[cfg(not(target_arch = "x86_64"))]
fn processor_features() -> String {
    std::env::consts::ARCH.into()
}

fn libc_version() -> String {
    // SAFETY: it returns a string that is never freed.
    let version = unsafe { CStr::from_ptr(libc::gnu_get_libc_version()) };
    version.to_string_lossy().into_owned()
}

/// Instructions of one operation, by its name.
pub type Counts = BTreeMap<String, f64>;

/// What was counted, and where.
#[derive(Clone, Debug)]
pub struct Record {
    /// Where.
    pub environment: Environment,
    /// What.
    pub instructions: Counts,
}

impl Record {
    /// The one in the repository.
    ///
    /// # Errors
    /// If it is not there, or is none.
    pub fn read() -> Result<Record, String> {
        let path = path();
        let text = std::fs::read_to_string(&path);
        let text = text.map_err(|error| format!("{}: {error}", path.display()))?;
        Record::parse(&text).ok_or(format!("{} is no record", path.display()))
    }

    fn parse(text: &str) -> Option<Record> {
        let record: Value = serde_json::from_str(text).ok()?;
        let items = |name: &str| record.get(name)?.as_object().cloned();
        let environment = items("environment")?.into_iter();
        let environment = environment.map(|(name, value)| Some((name, value.as_str()?.to_owned())));
        let instructions = items("instructions")?.into_iter();
        let instructions = instructions.map(|(name, value)| Some((name, value.as_f64()?)));
        Some(Record {
            environment: Environment(environment.collect::<Option<_>>()?),
            instructions: instructions.collect::<Option<_>>()?,
        })
    }

    /// Puts this into the repository.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn write(&self) -> io::Result<()> {
        std::fs::write(path(), self.text())
    }

    fn text(&self) -> String {
        let record = json!({
            "environment": self.environment.0,
            "instructions": self.instructions,
        });
        format!("{record:#}\n")
    }

    /// Whether an operation still takes what the record says.
    ///
    /// # Errors
    /// If not: for people.
    pub fn holds(&self, name: &str, now: f64) -> Result<(), String> {
        let Some(&old) = self.instructions.get(name) else {
            return Err(format!(
                "{name} is not in the record: `make instructions` adds it"
            ));
        };
        let percent = percent(old, now);
        if percent.abs() <= TOLERATED_PERCENT {
            return Ok(());
        }
        Err(format!(
            "{name} takes {now:.1} instructions, {percent:+.2} % of the {old:.1} of the record. If that is meant, \
             `make instructions` writes the record anew: into the same commit"
        ))
    }
}

/// By how many percent a count is another one than before.
pub fn percent(before: f64, now: f64) -> f64 {
    (now / before - 1.0) * 100.0
}

fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("instructions.json")
}

/// How a dump of callgrind's is called.
pub fn title(operations: usize, name: &str) -> String {
    format!("{operations}{SEPARATOR}{name}")
}

/// Valgrind's version.
///
/// # Errors
/// Why nothing can be counted here: for people.
pub fn valgrind_version() -> Result<String, String> {
    if cfg!(not(target_arch = "x86_64")) {
        return Err("nothing is counted but on x86-64".into());
    }
    let version = Command::new("valgrind").arg("--version").output();
    let version = version.map_err(|error| format!("valgrind does not run: {error}"))?;
    Ok(String::from_utf8_lossy(&version.stdout).trim().to_owned())
}

/// Runs the program under callgrind, and reads what it counts. Without the environment's variables, which lie on the
/// stack: where its frames are is the same each time, then.
///
/// # Errors
/// Why nothing can be counted: for people.
pub fn count(program: &Path) -> Result<Record, String> {
    let version = valgrind_version()?;
    let folder = Folder::new().map_err(|error| format!("no folder for callgrind: {error}"))?;
    let run = Command::new("valgrind")
        .args([
            "--tool=callgrind",
            "--instr-atstart=no",
            "--collect-atstart=no",
        ])
        .arg(format!("--callgrind-out-file={}/dump", folder.0.display()))
        .arg(program)
        .env_clear()
        .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
        .output()
        .map_err(|error| format!("valgrind does not run: {error}"))?;
    if !run.status.success() {
        return Err(String::from_utf8_lossy(&run.stderr).into_owned());
    }
    let mut environment = Environment::parse(&String::from_utf8_lossy(&run.stdout));
    environment.0.insert("valgrind".into(), version);
    let instructions = folder
        .counts()
        .map_err(|error| format!("what callgrind wrote: {error}"))?;
    match instructions.is_empty() {
        true => Err("callgrind has counted nothing".into()),
        false => Ok(Record {
            environment,
            instructions,
        }),
    }
}

/// Where callgrind writes to, until it is dropped.
struct Folder(PathBuf);

impl Folder {
    fn new() -> io::Result<Folder> {
        let path =
            std::env::temp_dir().join(format!("ringwire-instructions-{}", std::process::id()));
        std::fs::create_dir(&path)?;
        Ok(Folder(path))
    }

    fn counts(&self) -> io::Result<Counts> {
        let mut counts = Counts::new();
        for file in std::fs::read_dir(&self.0)? {
            let text = std::fs::read_to_string(file?.path())?;
            counts.extend(dumped(&text));
        }
        Ok(counts)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // It is in the way of nobody.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The operation of a dump, and the instructions that one of it took, to a tenth. The last dump, at the program's
/// end, has no title.
fn dumped(text: &str) -> Option<(String, f64)> {
    let value = |key| text.lines().find_map(|line| line.strip_prefix(key));
    let (operations, name) = value(TITLE_AT)?.split_once(SEPARATOR)?;
    let operations: f64 = operations.parse().ok()?;
    let total: f64 = value(TOTALS_AT)?.trim().parse().ok()?;
    Some((name.to_owned(), (total / operations * 10.0).round() / 10.0))
}

#[cfg(test)]
#[path = "guard_tests.rs"]
mod tests;
