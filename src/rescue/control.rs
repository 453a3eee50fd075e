//! The control file of a cluster, in the words of `pg_controldata`.

use std::collections::HashMap;

use super::RescueError;
use super::programs::run_own;
use crate::pg::throwaway::Keeper;
use crate::progress::Progress;

/// What it says.
#[derive(Clone, Default, Debug)]
pub(super) struct Control {
    values: HashMap<String, String>,
    /// Whether the file itself is damaged.
    pub(super) damaged: bool,
}

impl Control {
    /// Asks about the cluster in `data` of the keeper's folder.
    pub(super) fn of(keeper: &Keeper, progress: &dyn Progress) -> Result<Self, RescueError> {
        let name = "pg_controldata";
        let mut command = keeper.program(name);
        command.arg("-D").arg(keeper.folder().join("data"));
        let ran = run_own(name, command, "", progress)?;
        if ran.success { Ok(Self::parse(&ran.stdout)) } else { Err(ran.failed(name)) }
    }

    fn parse(text: &str) -> Self {
        let values = text.lines().filter_map(|line| line.split_once(':'));
        Self {
            values: values.map(|(key, value)| (key.into(), value.trim().to_owned())).collect(),
            damaged: text.contains("does not match value stored in file"),
        }
    }

    fn text(&self, key: &str) -> &str {
        self.values.get(key).map_or("", String::as_str)
    }

    fn number(&self, key: &str) -> u64 {
        self.text(key).parse().unwrap_or(0)
    }

    /// `in production`, `shut down`, ...
    pub(super) fn state(&self) -> &str {
        self.text("Database cluster state")
    }

    /// Whether the server was stopped in an orderly way: then there is nothing to recover.
    pub(super) fn is_clean(&self) -> bool {
        matches!(self.state(), "shut down" | "shut down in recovery")
    }

    /// Whether pages have checksums.
    pub(super) fn has_checksums(&self) -> bool {
        self.number("Data page checksum version") > 0
    }

    /// The name of the folder that such a server has in each tablespace.
    pub(super) fn tablespace_folder(&self, major: u32) -> String {
        format!("PG_{major}_{}", self.text("Catalog version number"))
    }

    /// Where recovery begins, as `(position, timeline)`.
    pub(super) fn redo(&self) -> (&str, &str) {
        let timeline = self.text("Latest checkpoint's TimeLineID");
        (self.text("Latest checkpoint's REDO location"), timeline)
    }

    /// A setting of the old server that recovery may need as it was.
    pub(super) fn setting(&self, name: &str) -> u64 {
        self.number(&format!("{name} setting"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_pg_controldata() {
        let control = Control::parse(
            "pg_control version number:            1700\n\
             Database cluster state:               in production\n\
             Latest checkpoint's REDO location:    0/1A2B3C4\n\
             Latest checkpoint's TimeLineID:       3\n\
             max_prepared_xacts setting:           7\n\
             Data page checksum version:           1\n",
        );
        assert!(!control.is_clean() && control.has_checksums() && !control.damaged);
        assert_eq!(control.redo(), ("0/1A2B3C4", "3"));
        assert_eq!(control.setting("max_prepared_xacts"), 7);
        let odd = "WARNING: Calculated CRC checksum does not match value stored in file.\n";
        assert!(Control::parse(odd).damaged);
    }
}
