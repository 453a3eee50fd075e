//! Where statements end, wherever the text is cut.

use proptest::prelude::*;

use super::splitter::*;
use super::*;

fn split(text: &str) -> Vec<Piece<'_>> {
    statements(text).map(Result::unwrap).collect()
}

fn ends(text: &str) -> Vec<&str> {
    let texts = split(text).into_iter().map(|piece| match piece {
        Piece::Statement(text) | Piece::Command(text) => text.trim(),
    });
    texts.collect()
}

/// Guards against a semicolon that ends nothing being taken for an end, and the other way.
#[test]
fn semicolons_that_end_and_that_do_not() {
    for (text, expected) in [
        ("a; b;", vec!["a;", "b;"]),
        ("'a;''b;' ; c;", vec!["'a;''b;' ;", "c;"]),
        ("'a\\'; b;", vec!["'a\\';", "b;"]),
        ("E'a\\';' ; e'\\\\'; b;", vec!["E'a\\';' ;", "e'\\\\';", "b;"]),
        ("E'a'\n'\\';b' ;", vec!["E'a'\n'\\';b' ;"]),
        ("be'\\'; c;", vec!["be'\\';", "c;"]),
        ("U&'\\'; c;", vec!["U&'\\';", "c;"]),
        ("\"a;\"\"b;\" ; c;", vec!["\"a;\"\"b;\" ;", "c;"]),
        (
            "$$ ; $$; $a$ ; $$ ; $b$ $a$; x$a$; y;",
            vec!["$$ ; $$;", "$a$ ; $$ ; $b$ $a$;", "x$a$;", "y;"],
        ),
        ("$a$ $a $a$; $1; $é_1$;$é_1$;", vec!["$a$ $a $a$;", "$1;", "$é_1$;$é_1$;"]),
        ("-- a;\nb; /* ; /* ; */ ; */ c;", vec!["-- a;\nb;", "/* ; /* ; */ ; */ c;"]),
        ("a - b; a / b; a -/* ; */- b;", vec!["a - b;", "a / b;", "a -/* ; */- b;"]),
        ("r (a; b;); c;", vec!["r (a; b;);", "c;"]),
        (
            "CREATE OR REPLACE FUNCTION f() BEGIN ATOMIC SELECT CASE WHEN 1 THEN 2 END; END; c;",
            vec![
                "CREATE OR REPLACE FUNCTION f() BEGIN ATOMIC SELECT CASE WHEN 1 THEN 2 END; END;",
                "c;",
            ],
        ),
        (
            "create procedure p() begin atomic select 1; end; BEGIN; END;",
            vec!["create procedure p() begin atomic select 1; end;", "BEGIN;", "END;"],
        ),
        ("create table begin (a); c;", vec!["create table begin (a);", "c;"]),
        (
            "create function f(begin int) as 'x'; c;",
            vec!["create function f(begin int) as 'x';", "c;"],
        ),
        ("\\connect a;b\na;\n  \\restrict x\n", vec!["\\connect a;b", "a;", "\\restrict x"]),
        ("a \\b ; c;", vec!["a \\b ;", "c;"]),
        (
            "SET standard_conforming_strings = off; 'a\\'; b'; c;",
            vec!["SET standard_conforming_strings = off;", "'a\\'; b';", "c;"],
        ),
    ] {
        assert_eq!(ends(text), expected, "{text}");
    }
    assert_eq!(split("\\a\nb;"), [Piece::Command("\\a\n"), Piece::Statement("b;")]);
}

/// Guards against a dump that was cut short passing for a whole one.
#[test]
fn a_text_that_ends_too_soon() {
    for (text, within) in [
        ("a; b", "a statement"),
        ("a; b 'c", "a quoted string"),
        ("a; E'c\\", "a quoted string"),
        ("a; \"c", "a quoted identifier"),
        ("a; $x$ c $x", "a dollar quote"),
        ("a; /* b", "a comment"),
        ("a; (b;", "a statement"),
        ("a; $x", "a statement"),
        ("CREATE FUNCTION f() BEGIN ATOMIC;", "a statement"),
    ] {
        let last = statements(text).last().unwrap();
        assert_eq!(last, Err(DdlError::Cut { within }), "{text}");
    }
    for text in ["", " \n", "a; -- b", "a;\n-- b\n/* c */ "] {
        assert!(statements(text).all(|piece| piece.is_ok()), "{text}");
    }
    let tag = format!("${}$", "x".repeat(TAG + 1));
    assert!(matches!(statements(&tag).next(), Some(Err(DdlError::NotUnderstood { .. }))));
}

/// Fragments that matter, in any order.
fn hostile() -> impl Strategy<Value = String> {
    let fragments = [
        "'",
        "''",
        "\"",
        "$",
        "$a$",
        "$$",
        "\\",
        "E'",
        "e",
        "U&",
        ";",
        "(",
        ")",
        "--",
        "/*",
        "*/",
        "\n",
        "\r",
        " ",
        "begin",
        "END ",
        "case ",
        "CREATE FUNCTION ",
        "or replace ",
        "1",
        "a",
        "é",
        "\u{1F600}",
        "\0",
        "/",
        "*",
        "-",
        ".",
        ",",
        "[",
        "]",
    ];
    proptest::collection::vec(proptest::sample::select(fragments.to_vec()), 0..60)
        .prop_map(|parts| parts.concat())
}

type Ends = Vec<(usize, End)>;

fn in_pieces(text: &[u8], cuts: &[usize]) -> (Ends, Result<Option<End>, DdlError>) {
    let mut splitter = Splitter::new();
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (text.len() + 1)).collect();
    cuts.extend([0, text.len()]);
    cuts.sort_unstable();
    let mut found = Vec::new();
    for pair in cuts.windows(2) {
        let mut at = pair[0];
        while at < pair[1] {
            let (read, end) = splitter.push(&text[at..pair[1]]).unwrap();
            assert!(read > 0, "no progress");
            at += read;
            found.extend(end.map(|end| (at, end)));
        }
    }
    (found, splitter.finish())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

    /// Guards against a state that is lost between two reads.
    #[test]
    fn cut_anywhere(text in hostile(), cuts in proptest::collection::vec(0_usize..1000, 0..8)) {
        let whole = in_pieces(text.as_bytes(), &[]);
        prop_assert_eq!(&in_pieces(text.as_bytes(), &cuts), &whole);
        let every: Vec<usize> = (0..text.len()).collect();
        prop_assert_eq!(&in_pieces(text.as_bytes(), &every), &whole);
    }

    /// Guards against bytes that are lost, given twice, or never given.
    #[test]
    fn the_pieces_cover_the_text(text in hostile()) {
        let mut covered = String::new();
        let mut failed = false;
        for piece in statements(&text) {
            match piece {
                Ok(Piece::Statement(piece) | Piece::Command(piece)) => covered.push_str(piece),
                Err(_) => failed = true,
            }
        }
        prop_assert!(text.starts_with(&covered));
        if !failed {
            let rest = &text[covered.len()..];
            prop_assert!(super::lex::token(rest, 0, true).kind == super::lex::Kind::End, "{rest:?}");
        }
    }

    /// Guards against the splitter and the tokens disagreeing: within a statement, its last
    /// token is the semicolon.
    #[test]
    fn tokens_agree(text in hostile()) {
        for piece in statements(&text) {
            let Ok(Piece::Statement(piece)) = piece else { continue };
            let (mut at, mut last) = (0, 0);
            loop {
                let token = super::lex::token(piece, at, true);
                if token.kind == super::lex::Kind::End { break; }
                (at, last) = (token.end, token.start);
            }
            prop_assert_eq!(last, piece.len() - 1, "{:?}", piece);
        }
    }
}

/// Guards against depth or size costing memory or time.
#[test]
fn deep_and_long() {
    let deep = format!("a {}{};", "(".repeat(1 << 20), ")".repeat(1 << 20));
    assert_eq!(split(&deep).len(), 1);
    let comments = format!("{}{} a;", "/*".repeat(1 << 20), "*/".repeat(1 << 20));
    assert_eq!(split(&comments).len(), 1);
    let many = "a;".repeat(1 << 18);
    assert_eq!(split(&many).len(), 1 << 18);
    let mut splitter = Splitter::new();
    let long = vec![b'x'; 1 << 16];
    for _ in 0..256 {
        assert_eq!(splitter.push(&long).unwrap(), (long.len(), None));
    }
    assert!(splitter.tag.capacity() <= TAG);
}
