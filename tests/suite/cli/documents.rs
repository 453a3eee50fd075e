//! What is said of the command elsewhere: help, documents, completions, manual pages.

use super::*;

/// `docs/commands.md` repeats every help text; `PGARK_BLESS=1` brings it up to date.
#[test]
fn the_documents_say_what_help_says() {
    let here = TempDir::new().unwrap();
    let path = support::root().join("docs/commands.md");
    let document = std::fs::read_to_string(&path).unwrap();
    let mut wanted = document.clone();
    let overview = pgark(here.path(), &["--help"]).stdout;
    let verbs = overview.lines().skip_while(|line| *line != "Commands:").skip(1);
    let verbs = verbs.take_while(|line| !line.is_empty()).filter_map(|line| {
        let verb = line.strip_prefix("  ")?.split(' ').next().unwrap_or_default();
        (!verb.is_empty()).then_some(verb)
    });
    for verb in [""].into_iter().chain(verbs) {
        let verb = if verb == "rules" { "rules suggest" } else { verb };
        let args: Vec<&str> = verb.split_whitespace().chain(["--help"]).collect();
        let help = pgark(here.path(), &args);
        assert_eq!(help.code, Some(0));
        for line in help.stdout.lines() {
            assert!(line.chars().count() <= 80, "{verb}: too wide: {line}");
        }
        let open = format!("```text\n$ pgark {}\n", args.join(" "));
        let start = wanted.find(&open).unwrap_or_else(|| panic!("{open} is not there"));
        let start = start + open.len();
        let end = start + wanted[start..].find("```").unwrap();
        let help: Vec<&str> = help.stdout.lines().map(str::trim_end).collect();
        wanted.replace_range(start..end, &format!("{}\n", help.join("\n")));
    }
    if std::env::var_os("PGARK_BLESS").is_some() {
        std::fs::write(&path, &wanted).unwrap();
    } else {
        assert!(document == wanted, "docs/commands.md is behind --help: run with PGARK_BLESS=1");
    }
}

/// Every field that `--json` prints is in `docs/json.md`.
#[test]
fn the_documents_name_every_json_field() {
    let here = TempDir::new().unwrap();
    std::fs::copy(archive(here.path()), here.path().join("bad.pgark")).unwrap();
    damage(&here.path().join("bad.pgark"));
    let document = std::fs::read_to_string(support::root().join("docs/json.md")).unwrap();
    for args in [
        &["inspect", "shop.pgark", "--json"][..],
        &["inspect", "shop.pgark", "--json", "--table", "image"],
        &["inspect", "missing.pgark", "--json"],
        &["verify", "shop.pgark", "--json"],
        &["verify", "missing.pgark", "--json"],
        &["verify", "bad.pgark", "--json"],
        &["repair", "bad.pgark", "-o", "fixed.pgark", "--json"],
        &["compare", "shop.pgark", "--with", "shop.pgark", "--json"],
        &["compare", "shop.pgark", "--with", "missing.pgark", "--json"],
        &["export", "shop.pgark", "--json", "-o", "shop.sql"],
        &["extract", "bad.pgark", "--json", "--column", "image.file", "--to", "files"],
        &["extract", "shop.pgark", "--json", "--column", "image.file", "--to", "images"],
    ] {
        let ran = pgark(here.path(), args);
        let mut all = Vec::new();
        crate::support::fields(&serde_json::from_str(&ran.stdout).unwrap(), &mut all);
        for field in all {
            assert!(document.contains(&format!("`{field}`")), "{args:?}: {field}");
        }
    }
}

/// Completions and manual pages come of the same definitions as the help.
#[test]
fn help_completions_and_manual_pages() {
    let here = TempDir::new().unwrap();
    let overview = pgark(here.path(), &["help"]);
    assert_eq!(overview.code, Some(0));
    let named = |line: &str| {
        line.starts_with("  ").then(|| line.split_whitespace().next().unwrap().to_owned())
    };
    let (topics, verbs) = overview.stdout.split_once("\nCommands").unwrap();
    for name in topics.lines().filter_map(named) {
        let told = pgark(here.path(), &["help", &name]);
        assert!(told.code == Some(0) && told.stdout.lines().count() > 5, "{name}");
    }
    assert_eq!(pgark(here.path(), &["man", "--to", "man"]).code, Some(0));
    for name in verbs.lines().filter_map(named) {
        let told = pgark(here.path(), &["help", &name]).stdout;
        // clap sets a help without long texts in fewer lines.
        let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        let help = pgark(here.path(), &[&name, "--help"]).stdout;
        assert_eq!(words(&told), words(&help), "{name}");
        let page =
            std::fs::read_to_string(here.path().join(format!("man/pgark-{name}.1"))).unwrap();
        assert!(page.starts_with(".ie") || page.contains(".TH"), "{name}");
    }
    let unknown = pgark(here.path(), &["help", "nothing"]);
    assert_eq!(unknown.code, Some(2));
    let script = pgark(here.path(), &["completions", "bash"]).stdout;
    std::fs::write(here.path().join("completions"), script).unwrap();
    let complete = "source ./completions; COMP_WORDS=(pgark re); COMP_CWORD=1; \
        _pgark pgark re pgark; echo \"${COMPREPLY[@]}\"";
    let ran = support::run(Command::new("bash").args(["-c", complete]).current_dir(here.path()));
    assert_eq!(ran.stdout.trim(), "restore rescue repair", "{}", ran.stderr);
}
