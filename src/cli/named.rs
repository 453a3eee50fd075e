//! Profiles among what was typed: a name where a database or an archive is expected.

use std::path::{Path, PathBuf};

use super::Context;
use super::hints::Failure;
use super::units;
use crate::pg::Params;
use crate::profile::config::FILE_NAME;
use crate::profile::connect;
use crate::profile::shelf::{latest_name, series};
use crate::profile::{Config, Connected, Profile};

/// A database that was named.
pub(super) struct Reached {
    /// How to connect.
    pub(super) params: Params,
    /// `pg_dump` in the container that the database is in.
    pub(super) pg_dump: Option<String>,
    /// The words of a `psql` that leads there, for people.
    pub(super) psql: Vec<String>,
    /// The profile, if it was named by one.
    pub(super) profile: Option<Profile>,
    /// What the connection may go through; open as long as this is there.
    connected: Option<Connected>,
}

impl Reached {
    fn plain(params: Params) -> Self {
        let psql = connect::psql(&params);
        Self { params, pg_dump: None, psql, profile: None, connected: None }
    }

    fn of(profile: Profile) -> Result<Self, Failure> {
        let connected = profile.connect();
        let connected = connected.map_err(|error| Failure::Connect(profile.name.clone(), error))?;
        Ok(Self {
            params: connected.params.clone(),
            pg_dump: connected.pg_dump.clone(),
            psql: connected.psql.clone(),
            profile: Some(profile),
            connected: Some(connected),
        })
    }

    /// What it is called where a line begins with it.
    pub(super) fn name(&self) -> String {
        match &self.profile {
            Some(profile) => format!("profile {}", profile.name),
            None => self.params.describe(),
        }
    }
}

impl Context {
    /// The file of profiles: the one that is named, or the nearest one above.
    ///
    /// None if there is none. One that is named and not there is an error.
    pub(super) fn config(&self) -> Result<Option<Config>, Failure> {
        let path = match &self.config {
            Some(path) => Some(path.clone()),
            None => std::env::current_dir().ok().and_then(|folder| Config::find(&folder)),
        };
        path.map(|path| Config::read(&path)).transpose().map_err(Failure::Config)
    }

    /// The profile of this name, if there is one. What cannot be a name is not looked up.
    pub(super) fn profile(&self, typed: &str) -> Result<Option<Profile>, Failure> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if typed.is_empty() || !typed.chars().all(plain) {
            return Ok(None);
        }
        Ok(self.config()?.and_then(|config| config.profile(typed).cloned()))
    }

    /// The database that was typed, a profile's or another.
    pub(super) fn reach(&self, typed: Option<&str>) -> Result<Reached, Failure> {
        if let Some(typed) = typed
            && let Some(profile) = self.profile(typed)?
        {
            return self.reach_profile(profile, Some(typed));
        }
        let params = Params::resolve(typed).map_err(Failure::Connection)?;
        self.notes(params.notes());
        Ok(Reached::plain(params))
    }

    /// The same without a word about it, for one that was named before.
    pub(super) fn reach_quietly(&self, typed: &str) -> Result<Reached, Failure> {
        match self.profile(typed)? {
            Some(profile) => Reached::of(profile),
            None => Params::resolve(Some(typed)).map(Reached::plain).map_err(Failure::Connection),
        }
    }

    /// A profile's database. `typed` where a database might have been meant: then it is said that
    /// it is not.
    pub(super) fn reach_profile(
        &self,
        profile: Profile,
        typed: Option<&str>,
    ) -> Result<Reached, Failure> {
        self.about(&profile);
        let reached = Reached::of(profile)?;
        if let Some(profile) = &reached.profile {
            let other = typed.map_or_else(String::new, |typed| {
                format!("; dbname={typed} means a database of that name")
            });
            self.printer.message(&format!(
                "profile {} ({}{other}):\n  {}",
                profile.name,
                units::near(&profile.file),
                reached.params.describe()
            ));
        }
        if let Some(connected) = &reached.connected {
            self.notes(&connected.notes);
        }
        Ok(reached)
    }

    fn notes(&self, notes: &[String]) {
        for note in notes {
            self.printer.message(&format!("note: {note}"));
        }
    }

    /// The archive that was typed: a file, or a profile for the latest of its archives.
    pub(super) fn archive(&self, typed: &Path) -> Result<PathBuf, Failure> {
        if typed.exists() {
            return Ok(typed.to_owned());
        }
        // A file that is not there is for whoever opens it to complain of.
        let Some(name) = typed.to_str() else { return Ok(typed.to_owned()) };
        match self.profile(name)? {
            Some(profile) => latest(&profile),
            None => Ok(typed.to_owned()),
        }
    }
}

/// The latest archive of a profile.
pub(super) fn latest(profile: &Profile) -> Result<PathBuf, Failure> {
    let path = profile.dir.join(latest_name(&series(&profile.name)));
    if path.exists() {
        Ok(units::near(&path).into())
    } else {
        Err(Failure::NoLatest(profile.name.clone(), path))
    }
}

/// What profiles stand in, for messages: the file that was found, or that none was.
pub(super) fn whereabouts(config: Option<&Config>) -> String {
    match config {
        Some(config) => config.path.display().to_string(),
        None => format!("no {FILE_NAME} here or in a folder above"),
    }
}
