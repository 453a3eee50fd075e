//! Rules, media types, checksums and images, on archives made without a database. Each guards
//! against a backup that is called good while what the application needs of it is broken.

use std::sync::Arc;

use md5::{Digest as _, Md5};

use super::judge::hex;
use super::rules::RuleFile;
use super::tests::{CATEGORY, IMAGE, ITEM, Sample, column, damage, exactly, full, sample};
use super::*;
use crate::format::rules::Algorithm;
use crate::progress::Silent;

fn picture(name: &str) -> Vec<u8> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/sample/images");
    let mut all: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ending| ending == name))
        .map(|path| std::fs::read(path).unwrap())
        .collect();
    all.sort_by_key(Vec::len);
    all.swap_remove(0)
}

fn with(sample: &Sample, text: &str) -> Report {
    let file: Arc<dyn ReadAt> = Arc::new(sample.write());
    let rules = RuleFile::parse(text).unwrap();
    let options = VerifyOptions { level: Level::Full, memory: 1 << 20, ..VerifyOptions::default() };
    run_with_rules(&file, &options, Some(&rules), &Silent).unwrap()
}

fn told(sample: &Sample, text: &str) -> Vec<Finding> {
    with(sample, text).findings
}

/// Items with no foreign keys, which only rules know to refer to images.
fn soft(items: &[&str]) -> Sample {
    let mut sample = sample();
    sample.manifest.foreign_keys.clear();
    sample.rows[ITEM] = items.iter().map(ToString::to_string).collect();
    sample
}

const REFERENCE: &str =
    "[[reference]]\ntable = 'item'\ncolumn = 'imageId'\nreferences = 'image.fileId'\n";

#[test]
fn soft_references_are_held() {
    let good = soft(&["1\t1\ta\tok", "2\t\\N\te\tsad", "3\t3\t\\N\tok"]);
    exactly(&told(&good, REFERENCE), &[]);
    let bad = soft(&["1\t1\ta\tok", "2\t1\tgone\tsad", "3\t1\t\tok"]);
    exactly(&told(&bad, ""), &[]);
    let findings = told(&bad, REFERENCE);
    exactly(&findings, &["E610"]);
    assert_eq!(
        findings[0].to_string(),
        "E610 public.item row 2 (id = 2) column imageId [reference public.item (imageId) to \
         public.image (\"fileId\")]: imageId = gone is not in public.image (fileId)"
            .replace("\"fileId\"", "fileId")
    );
    // The empty string is a value, unless the rule says otherwise.
    assert_eq!(findings.len(), 2);
    let empty = format!("{REFERENCE}empty = 'none'\n");
    assert_eq!(told(&bad, &empty).len(), 1);
    // A rule beside a foreign key on the same columns.
    let mut both = sample();
    both.rows[ITEM][1] = "2\t1\tgone\tsad".into();
    exactly(&told(&both, REFERENCE), &["E603", "E610"]);
}

#[test]
fn composite_soft_references_are_held_in_their_order() {
    let rule = "[[reference]]\ntable = 'public.item'\ncolumns = ['imageId', 'id']\n\
                references = ['pair.b', 'pair.a']\n";
    let made = |pairs: &[&str]| {
        let mut sample = soft(&["1\t1\tx\tok", "2\t1\ty\tok", "3\t1\t\\N\tok"]);
        let columns = vec![column("a", "int4", false), column("b", "text", false)];
        sample.manifest.tables.push(super::tests::table("pair", columns, None));
        sample.rows.push(pairs.iter().map(ToString::to_string).collect());
        told(&sample, rule)
    };
    exactly(&made(&["1\tx", "2\ty"]), &[]);
    exactly(&made(&["1\tx", "1\ty", "2\tx"]), &["E610"]);
}

#[test]
fn soft_references_to_lost_rows_are_not_called_broken() {
    let sample = soft(&["1\t7\ta\tok", "2\t8\tb\tsad"]);
    let rule = "[[reference]]\ntable = 'item'\ncolumn = 'category'\nreferences = 'category.id'\n";
    exactly(&told(&sample, rule), &["E610"]);
    let mut bytes = sample.write();
    damage(&mut bytes, b"fru\\tit", |part| part[0] ^= 1);
    let file: Arc<dyn ReadAt> = Arc::new(bytes);
    let rules = RuleFile::parse(rule).unwrap();
    let report = run_with_rules(&file, &VerifyOptions::default(), Some(&rules), &Silent).unwrap();
    exactly(&report.findings, &["E303", "E409", "N608"]);
}

#[test]
fn what_a_soft_reference_cannot_compare_is_left_open() {
    let sample = soft(&["1\t1\ta\tok"]);
    let rule = "[[reference]]\ntable = 'item'\ncolumn = 'imageId'\nreferences = 'category.id'\n";
    exactly(&told(&sample, rule), &["N606"]);
}

#[test]
fn counts_are_held() {
    let sample = soft(&["1\t1.00\ta\tok", "2\t\\N\tb\tsad", "3\t3\t\\N\tok"]);
    let count =
        |table: &str, rest: &str| told(&sample, &format!("[[count]]\ntable = '{table}'\n{rest}\n"));
    for good in [
        "at_least = 3",
        "at_most = 3",
        "where = { column = 'category', is = 'null' }\nat_least = 1\nat_most = 1",
        "where = { column = 'category', is = 'not null' }\nat_least = 2\nat_most = 2",
        "where = { column = 'category', equals = 1 }\nat_least = 1\nat_most = 1",
        "where = { column = 'mood', equals = 'ok' }\nat_least = 2\nat_most = 2",
        "where = { column = 'mood', equals = 'bad' }\nat_most = 0",
    ] {
        exactly(&count("item", good), &[]);
    }
    for bad in [
        "at_least = 4",
        "at_most = 2",
        "where = { column = 'category', is = 'null' }\nat_least = 2",
        "where = { column = 'category', is = 'not null' }\nat_most = 1",
        "where = { column = 'category', equals = 1 }\nat_most = 0",
        "where = { column = 'mood', equals = 'ok' }\nat_least = 3",
    ] {
        exactly(&count("item", bad), &["E611"]);
    }
    let findings = count("item", "at_least = 4");
    assert_eq!(
        findings[0].to_string(),
        "E611 public.item [count public.item: at least 4]: there are 3"
    );
    // Rows that are lost may be those that are missing, but never make too many fewer.
    let mut bytes = sample.write();
    damage(&mut bytes, b"fru\\tit", |part| part[0] ^= 1);
    let file: Arc<dyn ReadAt> = Arc::new(bytes);
    let rules = RuleFile::parse("[[count]]\ntable = 'category'\nat_least = 3\n").unwrap();
    let report = run_with_rules(&file, &VerifyOptions::default(), Some(&rules), &Silent).unwrap();
    exactly(&report.findings, &["E303", "E409", "N608"]);
}

/// Images a to e, with what their rows say of them: `(type, checksum)`.
fn images(of: [(&[u8], &str, &str); 5]) -> Sample {
    let mut sample = soft(&[]);
    sample.manifest.sequences.clear();
    sample.images = of.iter().map(|(bytes, ..)| bytes.to_vec()).collect();
    sample.manifest.tables[IMAGE].columns.insert(1, column("type", "text", false));
    sample.manifest.tables[IMAGE].columns.insert(2, column("sum", "text", false));
    sample.rows[IMAGE] = ["a", "b", "c", "d", "e"]
        .iter()
        .zip(of)
        .map(|(name, (_, media, sum))| format!("{name}\t{media}\t{sum}"))
        .collect();
    sample
}

const IMAGES: &str = "[[blob]]\ntable = 'image'\ncolumn = 'file'\n";

#[test]
fn media_types_are_held_against_content() {
    let (png, jpg, gif, webp) = (picture("png"), picture("jpg"), picture("gif"), picture("webp"));
    let rule = format!("{IMAGES}media_type = 'type'\n");
    let good = images([
        (&png, "image/png", "\\N"),
        (&jpg, "image/jpg; x=y", "\\N"),
        (&gif, "\\N", "\\N"),
        (&webp, "IMAGE/WEBP", "\\N"),
        (b"<svg/>", "image/svg+xml", "\\N"),
    ]);
    let report = with(&good, &rule);
    exactly(&report.findings, &[]);
    assert_eq!((report.images, report.images_damaged), (5, 0));
    let bad = images([
        (&png, "image/jpeg", "\\N"),
        (&png, "image/png", "\\N"),
        (b"words", "image/png", "\\N"),
        (&gif, "application/octet-stream", "\\N"),
        (b"words", "text/plain", "\\N"),
    ]);
    let findings = told(&bad, &rule);
    exactly(&findings, &["E702"]);
    assert_eq!(findings.iter().filter_map(|f| f.row).collect::<Vec<_>>(), [1, 3, 4]);
    assert_eq!(findings[0].key.as_deref(), Some("fileId = a"));
    assert_eq!(findings[0].message, "type = image/jpeg, but its content is image/png");
    assert_eq!(findings[0].blob, Some(Digest::of(&png).to_string()));
    exactly(&told(&bad, ""), &[]);
}

#[test]
fn checksums_are_held_against_bytes() {
    let (png, long) = (picture("png"), super::tests::noise(700_000));
    let sum = |algorithm: Algorithm, bytes: &[u8]| match algorithm {
        Algorithm::Md5 => hex(&Md5::digest(bytes)),
        Algorithm::Sha1 => hex(&sha1::Sha1::digest(bytes)).to_uppercase(),
        Algorithm::Sha256 => hex(&Digest::of(bytes).0),
    };
    for algorithm in [Algorithm::Md5, Algorithm::Sha1, Algorithm::Sha256] {
        let name = algorithm.name();
        let rule = format!("{IMAGES}checksum = {{ column = 'sum', algorithm = '{name}' }}\n");
        let of = |bytes: &[u8]| sum(algorithm, bytes);
        let good = images([
            (&png, "", &of(&png)),
            (&long, "", &of(&long)),
            (b"tiny", "", &of(b"tiny")),
            (&png, "", "\\N"),
            (&png, "", &of(&png)),
        ]);
        exactly(&told(&good, &rule), &[]);
        let bad = images([
            (&png, "", &of(&long)),
            (&long, "", &of(b"tiny")),
            (b"tiny", "", &of(&png)),
            (&png, "", "xyz"),
            (&png, "", &of(&png)),
        ]);
        let findings = told(&bad, &rule);
        exactly(&findings, &["E703"]);
        let rows: Vec<_> = findings.iter().filter_map(|f| f.row).collect();
        assert_eq!(rows, [1, 2, 3, 4], "{name} {findings:#?}");
        assert!(findings[0].message.starts_with("sum = "), "{}", findings[0]);
        assert!(findings[0].message.ends_with(&of(&png).to_lowercase()), "{}", findings[0]);
    }
}

#[test]
fn images_are_decoded_and_named_with_their_rows() {
    let (png, jpg) = (picture("png"), picture("jpg"));
    let cut = &jpg[..jpg.len() / 2];
    let mut corrupt = png.clone();
    let middle = corrupt.len() / 2;
    corrupt[middle] ^= 0x55;
    let bad =
        images([(&png, "", ""), (cut, "", ""), (&corrupt, "", ""), (cut, "", ""), (b"", "", "")]);
    // Without a rule: warnings, and an archive that is good.
    let report = full(bad.write());
    exactly(&report.findings, &["W705"]);
    assert!(report.ok);
    assert_eq!(report.findings.iter().filter_map(|f| f.row).collect::<Vec<_>>(), [2, 3, 4]);
    // Of the two rows with the same bytes, the image is one.
    assert_eq!((report.images, report.images_damaged), (3, 2));
    assert_eq!(report.findings[0].key.as_deref(), Some("fileId = b"));
    assert_eq!(report.findings[0].blob, Some(Digest::of(cut).to_string()));
    assert_eq!(report.findings[0].message, "image/jpeg: it is cut off");
    assert_eq!(report.uses, []);
    // Who shows them is told where a rule says who refers to them.
    let mut shown = bad.clone();
    shown.rows[ITEM] = ["1\t\\N\tb\tok", "2\t\\N\ta\tok", "3\t\\N\td\tok", "4\t\\N\td\tsad"]
        .map(ToString::to_string)
        .to_vec();
    let uses = with(&shown, REFERENCE).uses;
    let [image] = uses.as_slice() else { panic!("{uses:#?}") };
    assert_eq!((image.by.as_str(), image.rows), ("public.item", 3));
    assert_eq!(image.examples, ["id = 1", "id = 3", "id = 4"]);
    assert!(image.rule.is_some() && image.constraint.is_none());
    // With one: errors, also for what is no image at all.
    let report = with(&bad, &format!("{IMAGES}image = true\n"));
    exactly(&report.findings, &["E704", "E701"]);
    assert!(!report.ok);
    let words = images([(b"words", "", ""); 5]);
    let findings = told(&words, &format!("{IMAGES}image = true\n"));
    exactly(&findings, &["E704"]);
    assert_eq!(findings[0].message, "its content is of no known type, not an image");
    exactly(&told(&words, &format!("{IMAGES}not_empty = true\n")), &[]);
    exactly(&told(&bad, &format!("{IMAGES}not_empty = true\n")), &["E701", "W705"]);
}

#[test]
fn image_bombs_and_images_that_are_not_decoded_are_told() {
    let deep = format!("<svg>{}", "<g>".repeat(5000));
    let avif = [&b"\0\0\0\x1cftypavif"[..], &[0; 100]].concat();
    let odd = images([
        (deep.as_bytes(), "", ""),
        (&avif, "image/avif", ""),
        (b"x", "", ""),
        (b"x", "", ""),
        (b"x", "", ""),
    ]);
    exactly(&told(&odd, ""), &["W707", "N708"]);
    let findings = told(&odd, &format!("{IMAGES}image = true\n"));
    exactly(&findings, &["E704", "E706", "N708"]);
}

/// Images longer than a chunk are put together before they are decoded.
#[test]
fn images_of_many_chunks_are_decoded() {
    let mut long = picture("jpg");
    // Comment segments right after the start, until it is long.
    let comment = [&[0xff, 0xfe, 0xff, 0xff][..], &super::tests::noise(65_533)].concat();
    for _ in 0..12 {
        long.splice(2..2, comment.iter().copied());
    }
    let mut broken = long.clone();
    broken.truncate(long.len() - 1000);
    let all =
        images([(&long, "", ""), (&broken, "", ""), (b"", "", ""), (b"", "", ""), (b"", "", "")]);
    let findings = told(&all, "");
    exactly(&findings, &["W705"]);
    assert_eq!(findings.iter().filter_map(|f| f.row).collect::<Vec<_>>(), [2]);
}

#[test]
fn rules_that_the_archive_carries_are_used_unless_others_are_given() {
    let bad = soft(&["1\t1\tgone\tok"]);
    let file = RuleFile::parse(REFERENCE).unwrap();
    let (rules, unknown) = rules::resolve(&file, &bad.manifest.tables);
    assert!(unknown.is_empty());
    let bytes = bad.write_with(|manifest| manifest.rules = Some(rules.clone()));
    exactly(&full(bytes.clone()).findings, &["E610"]);
    let none = RuleFile::parse("").unwrap();
    let archive: Arc<dyn ReadAt> = Arc::new(bytes);
    let report = run_with_rules(&archive, &VerifyOptions::default(), Some(&none), &Silent).unwrap();
    exactly(&report.findings, &[]);
    // A manifest may carry a rule about what it does not have.
    let mut rules = rules;
    rules.references[0].columns[0] = "nothing".into();
    let lying = bad.write_with(|manifest| manifest.rules = Some(rules.clone()));
    exactly(&full(lying).findings, &["E609"]);
}

#[test]
fn rules_about_what_is_not_there_are_told() {
    for rule in [
        "[[reference]]\ntable = 'nothing'\ncolumn = 'a'\nreferences = 'image.fileId'\n",
        "[[reference]]\ntable = 'item'\ncolumn = 'a'\nreferences = 'image.fileId'\n",
        "[[reference]]\ntable = 'item'\ncolumn = 'imageId'\nreferences = 'image.nothing'\n",
        "[[reference]]\ntable = 'item'\ncolumn = 'imageId'\nreferences = 'nothing.fileId'\n",
        "[[blob]]\ntable = 'image'\ncolumn = 'fileId'\nimage = true\n",
        "[[blob]]\ntable = 'image'\ncolumn = 'file'\nmedia_type = 'nothing'\n",
        "[[blob]]\ntable = 'image'\ncolumn = 'file'\n\
         checksum = { column = 'file', algorithm = 'md5' }\n",
        "[[count]]\ntable = 'other.item'\nat_least = 1\n",
        "[[count]]\ntable = 'item'\nwhere = { column = 'x', is = 'null' }\nat_least = 1\n",
        "[[count]]\ntable = 'image'\nwhere = { column = 'file', equals = 'x' }\nat_least = 1\n",
    ] {
        let findings = told(&sample(), &format!("\n{rule}"));
        exactly(&findings, &["E609"]);
        assert!(findings[0].message.starts_with("the rule on line 3:"), "{}", findings[0]);
    }
}

#[test]
fn files_of_rules_that_make_no_sense_are_refused_with_their_line() {
    for (line, text) in [
        (2, "[[count]]\nfoo = 1\ntable = 'x'\nat_least = 1\n"),
        (1, "[[other]]\n"),
        (2, "[[count]]\ntable = 'x'\n"),
        (2, "[[count]]\ntable = 'x'\nat_least = 2\nat_most = 1\n"),
        (3, "[[count]]\ntable = 'x'\nat_least = -1\n"),
        (2, "[[count]]\ntable = 'x'\nat_least = 1\nwhere = { column = 'a' }\n"),
        (4, "[[count]]\ntable = 'x'\nat_least = 1\nwhere = { column = 'a', is = 'nil' }\n"),
        (2, "[[reference]]\ntable = 'x'\nreferences = 'a.b'\n"),
        (2, "[[reference]]\ntable = 'x'\ncolumns = ['a', 'b']\nreferences = 'a.b'\n"),
        (2, "[[blob]]\ntable = 'x'\ncolumn = 'y'\n"),
        (3, "[[blob]]\ntable = 'x'\ncolumn = \n"),
    ] {
        let error = RuleFile::parse(text).unwrap_err();
        assert_eq!(error.line, line, "{text}: {error}");
    }
    // Profiles may stand in the same file.
    assert!(RuleFile::parse("[profile.staging]\nurl = 'x'\n").is_ok());
}

#[test]
fn names_may_be_quoted_and_must_be_clear() {
    let mut two = sample();
    let mut other = two.manifest.tables[CATEGORY].clone();
    other.name.schema = "other.schema".into();
    two.manifest.tables.insert(0, other);
    let tables = &two.manifest.tables;
    let count = |name: &str| {
        let text = format!("[[count]]\ntable = '{name}'\nat_least = 1\n");
        let (rules, unknown) = rules::resolve(&RuleFile::parse(&text).unwrap(), tables);
        rules.counts.first().map(|rule| rule.table.schema.clone()).ok_or(unknown)
    };
    assert_eq!(count("public.category").as_deref(), Ok("public"));
    assert_eq!(count("\"other.schema\".\"category\"").as_deref(), Ok("other.schema"));
    assert!(count("category").unwrap_err()[0].message.contains("name the schema"));
    for bad in ["", "a..b", "\"a", "a.b.c", "\"a\"b"] {
        assert!(count(bad).is_err(), "{bad}");
    }
}

#[test]
fn rules_are_proposed_with_their_evidence() {
    let propose = |sample: &Sample| {
        let archive = crate::format::reader::Archive::from_file(Arc::new(sample.write())).unwrap();
        suggest::suggest(&archive, 4096, &Silent).unwrap()
    };
    let (png, gif) = (picture("png"), picture("gif"));
    let sum = |bytes: &[u8]| hex(&Md5::digest(bytes));
    let of = [(&png, "image/png"), (&gif, "image/gif")].map(|(of, name)| (of, name, sum(of)));
    let mut good = images([
        (of[0].0, of[0].1, &of[0].2),
        (of[1].0, of[1].1, &of[1].2),
        (of[0].0, of[0].1, &of[0].2),
        (of[1].0, of[1].1, &of[1].2),
        (of[0].0, "\\N", "\\N"),
    ]);
    good.rows[ITEM] = (1..=400)
        .map(|n| format!("{n}\t{}\t{}\tok", n % 3 + 1, ["a", "b", "", "\\N"][n % 4]))
        .collect();
    let found = propose(&good);
    let words = found.rules.words();
    assert_eq!(
        words,
        [
            "reference public.item (imageId) to public.image (fileId), empty means none",
            "blob public.image (file): not empty, an image that decodes, media type in type, md5 in sum",
        ],
        "{found:#?}"
    );
    assert_eq!(
        found.evidence[0],
        "all 200 values (2 distinct, 100 empty) of public.item.imageId occur in the unique column \
         fileId of public.image"
    );
    // As it is printed it is a file of rules, and means the same.
    let (again, unknown) =
        rules::resolve(&RuleFile::parse(&found.to_toml()).unwrap(), &good.manifest.tables);
    assert!(unknown.is_empty(), "{unknown:?}");
    assert_eq!(again, found.rules);
    exactly(&told(&good, &found.to_toml()), &[]);
    // One value that is nowhere, and nothing is proposed.
    good.rows[ITEM][200] = "201\t1\tgone\tok".into();
    assert!(propose(&good).rules.references.is_empty());
}
