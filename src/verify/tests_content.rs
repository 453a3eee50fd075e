//! What is in the rows: values, keys, references. Every rule has rows that break it.

use super::tests::*;
use super::*;
use crate::format::manifest::{Collation, Match, Name, TableKind};

#[test]
fn falsified_table_facts_are_found() {
    let with = |change: fn(&mut crate::format::manifest::TableData)| {
        let bytes = sample().write_with(|m| change(m.tables[CATEGORY].data.as_mut().unwrap()));
        full(bytes).findings
    };
    exactly(&with(|data| data.rows += 1), &["E407"]);
    exactly(&with(|data| data.digest.0[7] ^= 1), &["E408"]);
    exactly(&with(|data| data.bytes += 1), &["E410"]);
    exactly(&with(|data| data.blobs += 1), &["E410"]);
    let told = with(|data| data.segments += 1);
    assert!(told.iter().any(|f| f.code == Code::ManifestInconsistent), "{told:#?}");
    let told =
        full(sample().write_with(|m| m.tables[ITEM].data.as_mut().unwrap().segments = 0)).findings;
    exactly(&told, &["E206", "E407", "E314"]);
    let told = full(sample().write_with(|m| m.created += 1)).findings;
    // The writer sets it.
    exactly(&told, &[]);
}

#[test]
fn schema_slices_must_cover_their_file() {
    for change in [
        (|s: &mut Sample| s.manifest.schema.pre_data[1].offset += 1) as fn(&mut Sample),
        |s| s.manifest.schema.pre_data[1].length -= 1,
        |s| s.manifest.schema.pre_data[1].length = u64::MAX / 4,
        |s| s.manifest.schema.pre_data.clear(),
    ] {
        let mut bad = sample();
        change(&mut bad);
        exactly(&bad.told(), &["E501"]);
    }
    let mut bad = sample();
    bad.pre[5] = 0xff;
    exactly(&bad.told(), &["E502"]);
}

#[test]
fn rows_that_no_server_would_take_are_found() {
    let with = |table: usize, row: usize, text: &str| {
        let mut bad = sample();
        bad.rows[table][row] = text.into();
        bad.told()
    };
    exactly(&with(CATEGORY, 1, "2\t1"), &["E402"]);
    exactly(&with(CATEGORY, 1, "2\t1\tx\ty"), &["E402"]);
    exactly(&with(CATEGORY, 1, "2\t1\t\\x"), &["E401"]);
    exactly(&with(CATEGORY, 1, "2\t1\t\\N"), &["E404"]);
    exactly(&with(CATEGORY, 1, "two\t1\tx"), &["E405"]);
    exactly(&with(ITEM, 1, "2\t\\N\tb\tSad"), &["E406"]);
    let told = with(CATEGORY, 1, "2\t1\t\\N");
    assert_eq!(
        told[0].to_string(),
        "E404 public.category row 2 (id = 2) column name: the column is NOT NULL"
    );
    let mut ascii = sample();
    ascii.manifest.source.encoding = "SQL_ASCII".into();
    exactly(&ascii.told(), &["N411"]);
    let mut standby = sample();
    standby.manifest.source.standby = true;
    standby.manifest.tables[ITEM].unlogged = true;
    exactly(&standby.told(), &["N412"]);
}

#[test]
fn keys_and_references_are_held() {
    let with = |table: usize, row: usize, text: &str| {
        let mut bad = sample();
        bad.rows[table][row] = text.into();
        bad.told()
    };
    let told = with(CATEGORY, 1, "3\t1\tx");
    exactly(&told, &["E601"]);
    assert_eq!(
        told[0].to_string(),
        "E601 public.category row 3 (id = 3) constraint category_pkey: id = 3 is also in row 2"
    );
    exactly(&with(CATEGORY, 1, "2\t1\tfood"), &["E602"]);
    exactly(&with(CATEGORY, 1, "2\t7\tx"), &["E603"]);
    let told = with(ITEM, 2, "3\t4.0\t\\N\tok");
    exactly(&told, &["E603"]);
    assert_eq!(
        told[0].to_string(),
        "E603 public.item row 3 (id = 3) column category constraint item_category_fkey: \
         category = 4.0 is not in public.category (id)"
    );
    exactly(&with(ITEM, 2, "3\t3\tA\tok"), &["E603"]);
    exactly(&with(ITEM, 2, "4\t3\t\\N\tok"), &["W607"]);
    // The last value was not handed out yet.
    let mut bad = sample();
    bad.manifest.sequences[0].is_called = false;
    exactly(&bad.told(), &["W607"]);
    let mut unchecked = sample();
    unchecked.rows[ITEM][2] = "3\t9\t\\N\tok".into();
    unchecked.manifest.foreign_keys[0].validated = false;
    exactly(&unchecked.told(), &["W605"]);
    assert!(full(unchecked.write()).ok);
}

#[test]
fn many_violations_are_counted_and_some_are_told() {
    let mut bad = sample();
    bad.rows[ITEM] = (1..=500).map(|n| format!("{n}\t77\t\\N\tok")).collect();
    bad.manifest.sequences.clear();
    let report = full(bad.write());
    exactly(&report.findings, &["E603"]);
    assert_eq!(report.errors, 500);
    assert_eq!(report.findings.len(), EXAMPLES + 1);
    assert_eq!(report.findings[0].row, Some(1));
}

#[test]
fn what_only_the_server_can_compare_is_left_open() {
    let mut open = sample();
    open.manifest.tables[IMAGE].columns[0].collation =
        Some(Collation { name: Name::new("public", "loose"), deterministic: false });
    open.rows[ITEM][0] = "1\t1\tA\tok".into();
    let told = open.told();
    exactly(&told, &["N606"]);
    let named: Vec<_> = told.iter().filter_map(|finding| finding.constraint.as_deref()).collect();
    assert_eq!(named, ["image_pkey", "item_image_fkey"]);
    let mut open = sample();
    open.manifest.foreign_keys[1].references = Name::new("ext", "elsewhere");
    exactly(&open.told(), &["N606"]);
}

#[test]
fn composite_references_and_match_full() {
    let pair = |rows: [&str; 3], match_type| {
        let mut sample = sample();
        let columns = || vec![column("a", "int4", false), column("b", "text", false)];
        let mut holder = table("pair", columns(), None);
        holder.unique.push(key("pair_key", &["b", "a"]));
        let user = table("user", columns(), None);
        sample.manifest.tables.extend([holder, user]);
        let mut reference = foreign("user_fkey", ("user", &["b", "a"]), ("pair", &["b", "a"]));
        reference.match_type = match_type;
        sample.manifest.foreign_keys.push(reference);
        sample.rows.push(vec!["1\tx".into(), "2\ty".into(), "\\N\tx".into(), "\\N\tx".into()]);
        sample.rows.push(rows.iter().map(ToString::to_string).collect());
        sample.told()
    };
    exactly(&pair(["1\tx", "\\N\tz", "\\N\t\\N"], Match::Simple), &[]);
    exactly(&pair(["1\tx", "2\tx", "1\ty"], Match::Simple), &["E603"]);
    exactly(&pair(["1\tx", "2\ty", "\\N\t\\N"], Match::Full), &[]);
    exactly(&pair(["1\tx", "\\N\tz", "\\N\t\\N"], Match::Full), &["E604"]);
}

#[test]
fn partitions_hold_their_parents_keys() {
    let parts = |rows: [&[&str]; 2], references: &str| {
        let mut sample = sample();
        let columns = || vec![column("id", "int8", true), column("v", "int8", false)];
        let mut parent = table("part", columns(), Some(key("part_pkey", &["id"])));
        parent.kind = TableKind::Partitioned;
        parent.partition_key = Some("RANGE (v)".into());
        let leaf = |name: &str| {
            let mut columns = columns();
            if name == "part_b" {
                // Columns of a partition may be in another order.
                columns.reverse();
            }
            let mut leaf = table(name, columns, Some(key(&format!("{name}_pkey"), &["id"])));
            leaf.partition_of = Some(Name::new("public", "part"));
            let bound = if name == "part_a" { "FROM (0) TO (1)" } else { "FROM (1) TO (9)" };
            leaf.partition_bound = Some(format!("FOR VALUES {bound}"));
            leaf
        };
        let leaves = [leaf("part_a"), leaf("part_b")];
        let user = table("user", vec![column("part", "int4", false)], None);
        sample.manifest.tables.push(parent);
        sample.manifest.tables.extend(leaves);
        sample.manifest.tables.push(user);
        sample.manifest.foreign_keys.push(foreign(
            "user_fkey",
            ("user", &["part"]),
            ("part", &["id"]),
        ));
        for rows in rows {
            sample.rows.push(rows.iter().map(ToString::to_string).collect());
        }
        sample.rows.push(vec![references.into()]);
        sample.told()
    };
    exactly(&parts([&["1\t0"], &["1\t2"]], "2"), &[]);
    exactly(&parts([&["1\t0"], &["1\t2"]], "3"), &["E603"]);
    exactly(&parts([&["1\t0"], &["0\t2"]], "2"), &["E612"]);
    let told = parts([&["1\t0"], &["1\t1"]], "1");
    exactly(&told, &["E601"]);
    assert_eq!(told[0].message, "id = 1 is also in row 1 of public.part_a");
}
