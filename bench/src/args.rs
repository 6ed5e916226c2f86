//! The words of a command line: `--name value`, and `--name` alone for a switch.

use std::collections::HashMap;
use std::fmt::Display;
use std::str::FromStr;

/// Words that have been read and not asked for.
pub struct Args {
    words: HashMap<String, Option<String>>,
}

impl Args {
    /// Reads words of this kind.
    ///
    /// # Errors
    /// A word that is no name, in words.
    pub fn read(words: impl Iterator<Item = String>) -> Result<Args, String> {
        let mut read: HashMap<String, Option<String>> = HashMap::new();
        let mut words = words.peekable();
        while let Some(word) = words.next() {
            let Some(name) = word.strip_prefix("--") else {
                return Err(format!("{word}: an option begins with --"));
            };
            let value = words.next_if(|next| !next.starts_with("--"));
            read.insert(name.to_owned(), value);
        }
        Ok(Args { words: read })
    }

    /// Whether a switch is there.
    ///
    /// # Errors
    /// If it has a value.
    pub fn switch(&mut self, name: &str) -> Result<bool, String> {
        match self.words.remove(name) {
            Some(Some(value)) => Err(format!("--{name} {value}: it takes no value")),
            given => Ok(given.is_some()),
        }
    }

    /// A value, if it is there.
    ///
    /// # Errors
    /// If it is missing, or is none of that type.
    pub fn optional<T: FromStr<Err: Display>>(&mut self, name: &str) -> Result<Option<T>, String> {
        match self.words.remove(name) {
            None => Ok(None),
            Some(None) => Err(format!("--{name} takes a value")),
            Some(Some(value)) => match value.parse() {
                Ok(value) => Ok(Some(value)),
                Err(error) => Err(format!("--{name} {value}: {error}")),
            },
        }
    }

    /// A value.
    ///
    /// # Errors
    /// As for [`optional`](Self::optional), and if it is not there.
    pub fn required<T: FromStr<Err: Display>>(&mut self, name: &str) -> Result<T, String> {
        self.optional(name)?.ok_or(format!("--{name} is missing"))
    }

    /// One of some words, if it is there.
    ///
    /// # Errors
    /// If it is another one.
    pub fn choice<T: Copy>(
        &mut self,
        name: &str,
        choices: &[(&str, T)],
    ) -> Result<Option<T>, String> {
        let Some(word) = self.optional::<String>(name)? else {
            return Ok(None);
        };
        let chosen = choices.iter().find(|(choice, _)| *choice == word);
        match chosen {
            Some(&(_, choice)) => Ok(Some(choice)),
            None => Err(format!("--{name} {word} is none of the choices")),
        }
    }

    /// Makes sure that nothing is left.
    ///
    /// # Errors
    /// An option that nobody asked for.
    pub fn end(self) -> Result<(), String> {
        match self.words.into_keys().next() {
            Some(name) => Err(format!("--{name} is not known")),
            None => Ok(()),
        }
    }
}
