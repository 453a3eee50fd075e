//! `pgark.toml`: environments by name. Rules may stand in the same file; they are for
//! [`crate::verify::rules`] to read.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::docker::Place;
use super::keep::Keep;
use crate::pg::Params;

/// The name that is looked for.
pub const FILE_NAME: &str = "pgark.toml";

/// A file longer than this is refused.
const LONGEST: usize = 4 << 20;

/// Tables of the file that are about rules, and none of ours.
const RULES: [&str; 3] = ["reference", "blob", "count"];

/// What a profile may say besides libpq's parameters.
const KEYS: [&str; 12] = [
    "url",
    "password_file",
    "docker",
    "compose",
    "dir",
    "keep",
    "rules",
    "aliases",
    "protected",
    "on_success",
    "on_failure",
    "hook_timeout",
];

/// How long a command at the end may take, where the profile says nothing: copies to far places
/// are slow.
const HOOK_TIMEOUT: Duration = Duration::from_secs(3600);

/// The folder of a profile's archives where it names none.
const DEFAULT_DIR: &str = "backups";

/// What a `pgark.toml` says.
#[derive(Clone, Debug)]
pub struct Config {
    /// The file.
    pub path: PathBuf,
    /// The profiles in it, by name.
    pub profiles: Vec<Profile>,
}

/// The named settings of one environment.
#[derive(Clone, Debug)]
pub struct Profile {
    /// Its name: letters, digits, `-`, `_` and `.`.
    pub name: String,
    /// Other names for it.
    pub aliases: Vec<String>,
    /// The file it stands in.
    pub file: PathBuf,
    /// Parameters of the connection, as libpq names them.
    pub(super) connection: Vec<(String, String)>,
    /// A file that holds the password.
    pub(super) password_file: Option<PathBuf>,
    /// The container that the server runs in.
    pub place: Option<Place>,
    /// The folder of its archives.
    pub dir: PathBuf,
    /// How many archives are kept.
    pub keep: Keep,
    /// Where rules come from.
    pub rules: Rules,
    /// Whether replacing its database needs the name to be typed.
    pub protected: bool,
    /// What to run when a command of this profile ended well.
    pub on_success: Option<Hook>,
    /// What to run when one did not, or found faults.
    pub on_failure: Option<Hook>,
    /// How long these may take.
    pub hook_timeout: Duration,
    /// What a person should know about how it is written.
    pub notes: Vec<String>,
}

/// Where a profile's rules come from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Rules {
    /// There are none.
    None,
    /// The file of the profile has some.
    Here,
    /// Another file.
    File(PathBuf),
}

/// A command to run; its folder is that of the file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Hook {
    /// A line for `sh -c`.
    Shell(String),
    /// A program and its arguments.
    Words(Vec<String>),
}

/// Why a `pgark.toml` cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It cannot be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// It cannot be understood.
    #[error("{}: line {line}: {message}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        message: String,
    },
}

/// A value that is not what it should be, and where it stands.
struct Fault {
    at: usize,
    message: String,
}

type Parsed<T> = Result<T, Fault>;

fn fault<T>(span: Range<usize>, message: impl Into<String>) -> Parsed<T> {
    Err(Fault { at: span.start, message: message.into() })
}

impl Config {
    /// The `pgark.toml` of a folder, or of the nearest one above that has one.
    pub fn find(folder: &Path) -> Option<PathBuf> {
        folder.ancestors().map(|folder| folder.join(FILE_NAME)).find(|path| path.is_file())
    }

    /// Reads a file.
    ///
    /// # Errors
    /// [`ConfigError`], with the line that is at fault.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let read = |source| ConfigError::Read { path: path.to_owned(), source };
        let text = std::fs::read_to_string(path).map_err(read)?;
        // Relative paths are relative to the file, wherever this process is.
        let path = std::path::absolute(path).map_err(read)?;
        Self::parse(&text, &path)
    }

    /// The same of text that was read from `path`, an absolute path.
    ///
    /// # Errors
    /// [`ConfigError::Syntax`].
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let syntax = |at: usize, message: String| {
            let before = text.as_bytes().iter().take(at);
            let line = 1 + before.filter(|byte| **byte == b'\n').count();
            ConfigError::Syntax { path: path.to_owned(), line, message }
        };
        if text.len() > LONGEST {
            return Err(syntax(0, format!("the file is longer than {LONGEST} bytes")));
        }
        let table = DeTable::parse(text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            syntax(at, error.message().replace('\n', ", "))
        })?;
        let profiles = profiles(table.get_ref(), path).map_err(|f| syntax(f.at, f.message))?;
        Ok(Self { path: path.to_owned(), profiles })
    }

    /// The profile of this name or alias.
    pub fn profile(&self, name: &str) -> Option<&Profile> {
        self.profiles
            .iter()
            .find(|profile| profile.name == name || profile.aliases.iter().any(|a| a == name))
    }
}

fn profiles(file: &DeTable<'_>, path: &Path) -> Parsed<Vec<Profile>> {
    let rules = file.keys().any(|key| RULES.contains(&key.get_ref().as_ref()));
    let mut profiles: Vec<Profile> = Vec::new();
    for (key, value) in file {
        match key.get_ref().as_ref() {
            name if RULES.contains(&name) => {}
            "profile" => {
                let what = "profiles are written as [profile.NAME]";
                let Some(tables) = value.get_ref().as_table() else {
                    return fault(value.span(), what);
                };
                for (name, value) in tables {
                    let Some(table) = value.get_ref().as_table() else {
                        return fault(name.span(), what);
                    };
                    profiles.push(profile(name, table, path, rules)?);
                    distinct(&profiles, name.span())?;
                }
            }
            other => {
                let known = "[profile.NAME], [[reference]], [[blob]] and [[count]]";
                return fault(key.span(), format!("unknown key {other:?}; there are {known}"));
            }
        }
    }
    Ok(profiles)
}

/// That the last profile shares no name with the ones before.
fn distinct(profiles: &[Profile], span: Range<usize>) -> Parsed<()> {
    let Some((last, before)) = profiles.split_last() else { return Ok(()) };
    let names = |profile: &Profile| {
        let aliases = profile.aliases.iter().cloned();
        aliases.chain([profile.name.clone()]).collect::<Vec<_>>()
    };
    for name in names(last) {
        if let Some(other) = before.iter().find(|other| names(other).contains(&name)) {
            let message = format!("{name} is a name of profile {} already", other.name);
            return fault(span, message);
        }
    }
    Ok(())
}

fn profile(
    name: &Spanned<DeString<'_>>,
    table: &DeTable<'_>,
    path: &Path,
    rules: bool,
) -> Parsed<Profile> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut out = Profile {
        name: good_name(name.get_ref(), name.span())?,
        aliases: Vec::new(),
        file: path.to_owned(),
        connection: Vec::new(),
        password_file: None,
        place: None,
        dir: folder.join(DEFAULT_DIR),
        keep: Keep::default(),
        rules: if rules { Rules::Here } else { Rules::None },
        protected: false,
        on_success: None,
        on_failure: None,
        hook_timeout: HOOK_TIMEOUT,
        notes: Vec::new(),
    };
    let mut url = None;
    let mut password = None;
    for (key, value) in table {
        let name = key.get_ref().as_ref();
        match name {
            "url" => url = Some((text(value)?, key.span())),
            "password_file" => out.password_file = Some(folder.join(text(value)?)),
            "docker" => {
                if out.place.is_some() {
                    return fault(key.span(), "a profile has either docker or compose");
                }
                out.place = Some(Place::Docker(text(value)?));
            }
            "compose" => {
                if out.place.is_some() {
                    return fault(key.span(), "a profile has either docker or compose");
                }
                out.place = Some(compose(value, folder)?);
            }
            "dir" => out.dir = folder.join(text(value)?),
            "keep" => out.keep = keep(value)?,
            "rules" => out.rules = Rules::File(folder.join(text(value)?)),
            "aliases" => {
                for alias in texts(value)? {
                    out.aliases.push(good_name(&alias, value.span())?);
                }
            }
            "protected" => match value.get_ref().as_bool() {
                Some(protected) => out.protected = protected,
                None => return fault(value.span(), "protected is true or false"),
            },
            "on_success" => out.on_success = Some(hook(value)?),
            "on_failure" => out.on_failure = Some(hook(value)?),
            "hook_timeout" => out.hook_timeout = seconds(value)?,
            name if Params::is_parameter(name) => {
                if name == "password" {
                    password = Some(key.span());
                }
                out.connection.push((name.to_owned(), parameter(value)?));
            }
            other => return unknown(other, key.span()),
        }
    }
    if let Some((url, span)) = url {
        if let Some((key, _)) = out.connection.first() {
            return fault(span, format!("a profile has either url or {key} and its like"));
        }
        out.connection = match Params::pairs(&url) {
            Ok(pairs) => pairs,
            Err(error) => return fault(span, error.to_string()),
        };
        if let Some((key, _)) = out.connection.iter().find(|(key, _)| !Params::is_parameter(key)) {
            return fault(span, format!("the url has an unknown parameter {key}"));
        }
        if out.says("password") {
            password = Some(span);
        }
    }
    if let Some(span) = password {
        if out.password_file.is_some() {
            return fault(span, "a profile has either a password or a password_file");
        }
        out.notes.push(format!(
            "profile {}: a password in {FILE_NAME} can be read by everybody who can read the file",
            out.name
        ));
    }
    let led = out.says("service") || out.place.is_some();
    if !led && out.names_place() && !out.says("dbname") {
        return fault(name.span(), "the profile does not say which database: dbname is missing");
    }
    if out.place.is_some() && out.says("service") {
        return fault(name.span(), "a profile has either docker or compose, or a service");
    }
    Ok(out)
}

impl Profile {
    /// Whether the profile gives a parameter of the connection.
    pub(super) fn says(&self, name: &str) -> bool {
        self.connection.iter().any(|(key, value)| key == name && !value.is_empty())
    }

    /// Whether it says where the database is. If not, libpq's environment does.
    pub(super) fn names_place(&self) -> bool {
        let place = ["host", "hostaddr", "port", "dbname", "service"];
        self.place.is_some() || place.iter().any(|name| self.says(name))
    }
}

fn unknown<T>(key: &str, span: Range<usize>) -> Parsed<T> {
    let typed = key.to_ascii_lowercase().replace('-', "_");
    let near = |known: &&&str| {
        typed.starts_with(**known) || (typed.len() > 2 && known.starts_with(&typed))
    };
    let hint = match KEYS.iter().find(near) {
        Some(known) => format!("; there is {known}"),
        None => format!("; there are {} and libpq's parameters", KEYS.join(", ")),
    };
    fault(span, format!("unknown key {key:?}{hint}"))
}

/// A name that may be part of a file's name and of no other profile's.
fn good_name(name: &str, span: Range<usize>) -> Parsed<String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let fits = (1..=60).contains(&name.len()) && name.chars().all(plain);
    if !fits || !name.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        return fault(
            span,
            format!("{name:?} is no name for a profile: letters, digits, -, _ and . make one"),
        );
    }
    if name == "latest"
        || name == "safety"
        || name.ends_with("_latest")
        || name.ends_with("_safety")
    {
        return fault(span, format!("{name:?} has another meaning in the names of archives"));
    }
    Ok(name.to_owned())
}

fn text(value: &Spanned<DeValue<'_>>) -> Parsed<String> {
    match value.get_ref().as_str() {
        Some("") => fault(value.span(), "this is empty"),
        Some(text) => Ok(text.to_owned()),
        None => fault(value.span(), "text in quotes is expected here"),
    }
}

fn texts(value: &Spanned<DeValue<'_>>) -> Parsed<Vec<String>> {
    match value.get_ref().as_array() {
        Some(array) => array.iter().map(text).collect(),
        None => fault(value.span(), "a list of texts is expected here"),
    }
}

/// A parameter of the connection: text or a number.
fn parameter(value: &Spanned<DeValue<'_>>) -> Parsed<String> {
    if let Some(number) = value.get_ref().as_integer() {
        return Ok(number.to_string());
    }
    match value.get_ref().as_str() {
        Some(text) => Ok(text.to_owned()),
        None => fault(value.span(), "text in quotes or a number is expected here"),
    }
}

/// A time of at least a second.
fn seconds(value: &Spanned<DeValue<'_>>) -> Parsed<Duration> {
    let number = value.get_ref().as_integer().and_then(|text| text.to_string().parse().ok());
    match number.filter(|number| (1..=1_000_000).contains(number)) {
        Some(number) => Ok(Duration::from_secs(number)),
        None => fault(value.span(), "a number of seconds is expected here"),
    }
}

fn hook(value: &Spanned<DeValue<'_>>) -> Parsed<Hook> {
    if value.get_ref().is_array() {
        let words = texts(value)?;
        if words.is_empty() {
            return fault(value.span(), "a command has at least one word");
        }
        return Ok(Hook::Words(words));
    }
    text(value).map(Hook::Shell)
}

fn compose(value: &Spanned<DeValue<'_>>, folder: &Path) -> Parsed<Place> {
    const WANTED: &str = "compose is { file = \"compose.yml\", service = \"db\" }";
    let Some(table) = value.get_ref().as_table() else { return fault(value.span(), WANTED) };
    let (mut files, mut service, mut project) = (Vec::new(), None, None);
    for (key, value) in table {
        match key.get_ref().as_ref() {
            "file" if value.get_ref().is_array() => files = texts(value)?,
            "file" => files = vec![text(value)?],
            "service" => service = Some(text(value)?),
            "project" => project = Some(text(value)?),
            other => {
                let message = format!("unknown key {other:?}; there are file, service, project");
                return fault(key.span(), message);
            }
        }
    }
    match service {
        Some(service) if !files.is_empty() => {
            let files = files.iter().map(|file| folder.join(file)).collect();
            Ok(Place::Compose { files, service, project })
        }
        _ => fault(value.span(), WANTED),
    }
}

fn keep(value: &Spanned<DeValue<'_>>) -> Parsed<Keep> {
    const WANTED: &str = "keep is { last = 3, daily = 7, ... }";
    let Some(table) = value.get_ref().as_table() else { return fault(value.span(), WANTED) };
    let mut out = Keep::default();
    for (key, value) in table {
        let Some(slot) = out.slot(key.get_ref()) else {
            let message = format!("unknown key {:?}; there are {}", key.get_ref(), Keep::NAMES);
            return fault(key.span(), message);
        };
        let number = value.get_ref().as_integer().filter(|number| number.radix() == 10);
        let Some(Ok(number)) = number.map(|number| number.as_str().parse()) else {
            return fault(value.span(), "a number of archives is expected here, from 0 on");
        };
        *slot = number;
    }
    if out.is_empty() {
        return fault(value.span(), "keep keeps nothing: say how many, such as { last = 3 }");
    }
    Ok(out)
}

#[cfg(test)]
mod tests;
