//! Counts, references, foreign keys and sequences: the server's own work.

use super::database::{Asked, Database, described};
use super::{CheckError, RuleOutcome, RuleState, limit, number, with_rest};
use crate::format::manifest::{ForeignKey, Match, Name};
use crate::format::rules::{CountRule, ReferenceRule, Test};
use crate::pg::{ident, read_sequences};
use crate::verify::{Code, Finding};

/// How many rows there are.
pub(super) async fn count(
    database: &Database,
    rule: &CountRule,
) -> Result<(RuleOutcome, Vec<Finding>), CheckError> {
    let words = rule.words();
    let (Some(place), Some(table)) = (database.place(&rule.table), database.table(&rule.table))
    else {
        return Err(gone(&rule.table));
    };
    let mut condition = String::new();
    if let Some(asked) = &rule.condition {
        let column = table.columns.iter().find(|column| column.name == asked.column);
        let column = column.ok_or_else(|| gone(&rule.table))?;
        let name = ident(&column.name);
        condition = match asked.test {
            // Of a composite, IS NULL would ask whether all its fields are.
            Test::Null => format!(" WHERE {name} IS NOT DISTINCT FROM NULL"),
            Test::NotNull => format!(" WHERE {name} IS DISTINCT FROM NULL"),
            Test::Equals => {
                let value = asked.value.as_deref().unwrap_or_default();
                format!(" WHERE {}", database.is_value(place, column, value))
            }
        };
    }
    let source = Database::source(table);
    let sql = format!("SELECT pg_catalog.count(*) FROM {source} a{condition}");
    let found = match database.ask(&format!("counting rows of {}", rule.table), &sql).await? {
        Asked::Rows(rows) => Some(number(&rows)?),
        Asked::NoValue => Some(0),
        Asked::Senseless => None,
    };
    let outcome =
        |state, looked_at, broken| RuleOutcome { rule: words.clone(), state, looked_at, broken };
    let about = |code, what| vec![Finding::new(code, what).table(&rule.table).rule(&words)];
    let Some(found) = found else {
        let what = "the server cannot ask the column for this value".to_owned();
        return Ok((outcome(RuleState::Undecided, 0, 0), about(Code::Undecided, what)));
    };
    let few = rule.at_least.is_some_and(|least| found < least);
    let many = rule.at_most.is_some_and(|most| found > most);
    if few || many {
        let told = about(Code::CountRule, format!("there are {found}"));
        return Ok((outcome(RuleState::Broken, found, 1), told));
    }
    Ok((outcome(RuleState::Holds, found, 0), Vec::new()))
}

/// What some columns refer to.
struct Link<'a> {
    table: &'a Name,
    columns: &'a [String],
    references: &'a Name,
    referenced: &'a [String],
    empty_is_none: bool,
}

/// What following references came to.
enum Followed {
    /// So many, of which so many lead nowhere, and the first of these.
    Found { all: u64, broken: u64, examples: Vec<Finding> },
    /// The server cannot compare the two sides.
    Undecided,
}

/// A reference that no foreign key declares.
pub(super) async fn reference(
    database: &Database,
    rule: &ReferenceRule,
) -> Result<(RuleOutcome, Vec<Finding>), CheckError> {
    let words = rule.words();
    let link = Link {
        table: &rule.table,
        columns: &rule.columns,
        references: &rule.references,
        referenced: &rule.referenced_columns,
        empty_is_none: rule.empty_is_none,
    };
    let outcome =
        |state, looked_at, broken| RuleOutcome { rule: words.clone(), state, looked_at, broken };
    match follow(database, &link, Code::DanglingSoftReference).await? {
        Followed::Undecided => {
            let what = "its two sides have types that the server does not compare";
            let finding = Finding::new(Code::Undecided, what).table(&rule.table).rule(&words);
            Ok((outcome(RuleState::Undecided, 0, 0), vec![finding]))
        }
        Followed::Found { all, broken, examples } => {
            let state = if broken == 0 { RuleState::Holds } else { RuleState::Broken };
            let examples = examples.into_iter().map(|finding| finding.rule(&words)).collect();
            Ok((outcome(state, all, broken), with_rest(examples, broken)))
        }
    }
}

/// A foreign key that the server does not vouch for.
pub(super) async fn unchecked(
    database: &Database,
    key: &ForeignKey,
) -> Result<Vec<Finding>, CheckError> {
    let link = Link {
        table: &key.table,
        columns: &key.columns,
        references: &key.references,
        referenced: &key.referenced_columns,
        empty_is_none: false,
    };
    let code = Code::UncheckedConstraintViolated;
    let mut findings = match follow(database, &link, code).await? {
        Followed::Undecided => {
            let what = "its two sides have types that the server does not compare";
            vec![Finding::new(Code::Undecided, what).table(&key.table)]
        }
        Followed::Found { broken, examples, .. } => with_rest(examples, broken),
    };
    if key.match_type == Match::Full && key.columns.len() > 1 {
        let table = database.table(&key.table).ok_or_else(|| gone(&key.table))?;
        let nulls = |with: &str| {
            let columns = key.columns.iter().map(|name| format!("{} IS NULL", ident(name)));
            columns.collect::<Vec<_>>().join(with)
        };
        let sql = format!(
            "SELECT pg_catalog.count(*) FROM {} a WHERE ({}) AND NOT ({})",
            Database::source(table),
            nulls(" OR "),
            nulls(" AND ")
        );
        let doing = format!("checking foreign key {} of {}", key.name, key.table);
        let partial = number(&database.lead().rows(&doing, &sql, &[]).await?)?;
        if partial > 0 {
            let what = format!("it is NULL in part in {partial} row(s), and declared MATCH FULL");
            findings.push(Finding::new(code, what).table(&key.table));
        }
    }
    Ok(findings.into_iter().map(|finding| finding.constraint(&key.name)).collect())
}

async fn follow(database: &Database, link: &Link<'_>, code: Code) -> Result<Followed, CheckError> {
    let place = database.place(link.table).ok_or_else(|| gone(link.table))?;
    let (Some(table), Some(target)) = (database.table(link.table), database.table(link.references))
    else {
        return Err(gone(link.references));
    };
    let mut given = Vec::new();
    let mut equal = Vec::new();
    for (ours, theirs) in link.columns.iter().zip(link.referenced) {
        let left = format!("a.{}", ident(ours));
        let right = format!("b.{}", ident(theirs));
        given.push(format!("{left} IS DISTINCT FROM NULL"));
        if link.empty_is_none {
            given.push(format!("pg_catalog.length({}) > 0", database.text(place, ours)));
        }
        let ours = table.columns.iter().find(|column| column.name == *ours);
        let theirs = target.columns.iter().find(|column| column.name == *theirs);
        let (Some(ours), Some(theirs)) = (ours, theirs) else { return Err(gone(link.table)) };
        match database.equal(ours, &left, theirs, &right).await? {
            Some(sql) => equal.push(sql),
            None => return Ok(Followed::Undecided),
        }
    }
    let (source, holders) = (Database::source(table), Database::source(target));
    let given = given.join(" AND ");
    let nowhere = format!("NOT EXISTS (SELECT 1 FROM {holders} b WHERE {})", equal.join(" AND "));
    let doing =
        format!("following {} ({}) to {}", link.table, link.columns.join(", "), link.references);
    let ask = async |sql: String| match database.ask(&doing, &sql).await? {
        Asked::Rows(rows) => Ok(Some(rows)),
        Asked::Senseless | Asked::NoValue => Ok::<_, CheckError>(None),
    };
    let count = "SELECT pg_catalog.count(*) FROM";
    let Some(rows) = ask(format!("{count} {source} a WHERE {given} AND {nowhere}")).await? else {
        return Ok(Followed::Undecided);
    };
    let broken = number(&rows)?;
    let sql = format!("{count} {source} a WHERE {given}");
    let all = number(&database.lead().rows(&doing, &sql, &[]).await?)?;
    if broken == 0 {
        return Ok(Followed::Found { all, broken, examples: Vec::new() });
    }
    let (names, mut texts) = database.key(place);
    texts.extend(link.columns.iter().map(|column| database.text(place, column)));
    let sql = format!(
        "SELECT {} FROM {source} a WHERE {given} AND {nowhere} ORDER BY {} {}",
        texts.join(", "),
        database.order(place),
        limit()
    );
    let rows = ask(sql).await?.unwrap_or_default();
    let mut examples = Vec::with_capacity(rows.len());
    for row in &rows {
        let mut fields = Vec::with_capacity(texts.len());
        for at in 0..texts.len() {
            let field: Option<String> = row.try_get(at).map_err(|error| {
                CheckError::Server(crate::pg::PgError::server(doing.clone(), error))
            })?;
            fields.push(field);
        }
        let (key, values) = fields.split_at(names.len());
        let text = described(link.columns, values);
        let (theirs, columns) = (link.references, link.referenced.join(", "));
        let finding = Finding::new(code, format!("{text} is not in {theirs} ({columns})"))
            .table(link.table)
            .key((!names.is_empty()).then(|| described(&names, key)));
        examples.push(match link.columns {
            [column] => finding.column(column),
            _ => finding,
        });
    }
    Ok(Followed::Found { all, broken, examples })
}

/// Sequences that would give what their column has passed: how many feed a column at all.
pub(super) async fn sequences(database: &Database) -> Result<(u64, Vec<Finding>), CheckError> {
    let mut extremes = Vec::new();
    for sequence in &database.catalog.sequences {
        let Some(owned) = &sequence.owned_by else { continue };
        let Some(table) = database.table(&owned.table) else { continue };
        let which = if sequence.increment < 0 { "min" } else { "max" };
        let sql = format!(
            "SELECT pg_catalog.{which}({})::pg_catalog.int8 FROM {} a",
            ident(&owned.column),
            Database::source(table)
        );
        let doing = format!("looking for the last value of {}.{}", owned.table, owned.column);
        // A column that is no number cannot be passed.
        if let Asked::Rows(rows) = database.ask(&doing, &sql).await? {
            let passed = rows.first().and_then(|row| row.try_get::<_, Option<i64>>(0).ok());
            extremes.push((sequence, owned, passed.flatten()));
        }
    }
    // After the rows: a sequence that moved on meanwhile is not behind them.
    let facts: Vec<_> = extremes.iter().map(|(facts, ..)| (*facts).clone()).collect();
    let values = read_sequences(database.lead(), &facts).await?;
    let mut findings = Vec::new();
    for (sequence, (_, owned, passed)) in values.iter().zip(&extremes) {
        let Some(passed) = passed else { continue };
        let step = if sequence.is_called { i128::from(sequence.increment) } else { 0 };
        let next = i128::from(sequence.last_value) + step;
        let passed = i128::from(*passed);
        let behind = if sequence.increment < 0 { next >= passed } else { next <= passed };
        if behind {
            let what =
                format!("the next value of {} is {next}, the column holds {passed}", sequence.name);
            let finding = Finding::new(Code::SequenceBehind, what);
            findings.push(finding.table(&owned.table).column(&owned.column));
        }
    }
    Ok((u64::try_from(facts.len()).unwrap_or(u64::MAX), findings))
}

/// What a rule is about was looked up a moment ago.
fn gone(table: &Name) -> CheckError {
    CheckError::Internal(format!("{table} is no longer in the catalog"))
}
