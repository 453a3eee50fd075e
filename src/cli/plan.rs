//! What a restore will do, in words.

use std::fmt::Write as _;

use super::render::wrapped;
use super::units::{counted, near, size};
use crate::restore::{Plan, Step};

/// All of it, for people.
pub(super) fn words(plan: &Plan) -> String {
    let mut out = wrapped(&format!("Plan for {}:", plan.server), "", "  ");
    for (at, step) in plan.steps.iter().enumerate() {
        out.push_str(&wrapped(&step_words(step), &format!("  {}. ", at + 1), "     "));
    }
    for connection in &plan.connections {
        _ = writeln!(out, "  connected now: {connection}");
    }
    if plan.space.needed > 0 && !plan.space.is_short() {
        let free = plan.space.free.map_or_else(
            || "how much is free there is not known".to_owned(),
            |free| format!("{} are free there", size(free)),
        );
        _ = writeln!(
            out,
            "  room: {} and what indexes take, on the server's disk; {free}",
            size(plan.space.needed)
        );
    }
    for note in &plan.notes {
        out.push_str(&wrapped(&format!("note: {note}"), "  ", "    "));
    }
    out
}

/// One step.
pub(super) fn step_words(step: &Step) -> String {
    let rows = |number: u64| counted(number, "row", "rows");
    match step {
        Step::Save(path) => format!("save what is there now to {}", near(path)),
        Step::Verify(path) => format!("verify {}", path.display()),
        Step::DropLeftover(name) => format!("drop {name}, left by an earlier restore"),
        Step::Make { encoding, collation } => {
            format!("create a new database beside, encoding {encoding}, collation {collation}")
        }
        Step::Restore { tables, rows: number, bytes } => format!(
            "create {} and the rest of the schema, load {} ({} of rows and blobs, before the \
             server's overhead and indexes)",
            counted(*tables, "table", "tables"),
            rows(*number),
            size(*bytes)
        ),
        Step::Schema(objects) => format!(
            "create up to {} of the schema, without rows",
            counted(*objects, "object", "objects")
        ),
        Step::Fill { rows: number, bytes, sequences } => format!(
            "lock the tables against writers and load {} ({} of rows and blobs) into them, if \
             they are empty, in one transaction: set {}, check the target's foreign keys, and \
             commit",
            rows(*number),
            size(*bytes),
            counted(*sequences, "sequence", "sequences")
        ),
        Step::Compare => "read all of it back and compare it with the archive".into(),
        Step::Give(database) => {
            format!(
                "give {database} the archive's comment, privileges and settings of its database"
            )
        }
        Step::Name { database, given: true } => format!(
            "give the new database the archive's owner, comment, privileges and settings of its \
             database, as far as chosen, and name it {database}"
        ),
        Step::Name { database, given: false } => format!("name the new database {database}"),
        Step::Disconnect(database) => format!("end all connections to {database}"),
        Step::Swap { database, bytes, settings } => {
            let old = bytes.map_or_else(String::new, |bytes| format!(" ({})", size(bytes)));
            let what = settings.map_or_else(
                || " and the comment, privileges and settings of the archive's database".to_owned(),
                |number| {
                    format!(", comment, privileges and {}", counted(number, "setting", "settings"))
                },
            );
            format!(
                "in one transaction: rename {database}{old} to {database}_before_<time>, give the \
                 new one its owner{what}, and rename it to {database}"
            )
        }
    }
}

/// Guards against figures that nobody can read.
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_units() {
        let restore = Step::Restore { tables: 1, rows: 1_088, bytes: 12_998_323 };
        assert_eq!(
            step_words(&restore),
            "create 1 table and the rest of the schema, load 1,088 rows (12.4 MiB of rows and \
             blobs, before the server's overhead and indexes)"
        );
        let swap =
            Step::Swap { database: "shop".into(), bytes: Some(7_427_763), settings: Some(2) };
        assert_eq!(
            step_words(&swap),
            "in one transaction: rename shop (7.1 MiB) to shop_before_<time>, give the new one \
             its owner, comment, privileges and 2 settings, and rename it to shop"
        );
    }
}
