//! Guards against a slip of the pen that turns a setting off without a word, and against a name
//! that leads to another database than the file says.

use super::*;
use crate::verify::rules::RuleFile;

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse(text, Path::new("/srv/shop/pgark.toml"))
}

fn said(text: &str) -> String {
    match parse(text) {
        Ok(_) => "nothing".to_owned(),
        Err(error) => error.to_string().trim_start_matches("/srv/shop/pgark.toml: ").to_owned(),
    }
}

const WHOLE: &str = r#"
# a comment
[[count]]
table = "user"
at_least = 1

[profile.staging]
host = "db.example.org"
port = 5433
user = "app"
dbname = "shop"
sslmode = "verify-full"
password_file = "secrets/staging"
dir = "archives"
keep = { last = 3, daily = 7, weekly = 4 }
rules = "rules/shop.toml"
aliases = ["sit"]
protected = true
on_success = "rclone copy \"$PGARK_ARCHIVE\" offsite:"
on_failure = ["notify", "--staging"]
hook_timeout = 90

[profile.dev]
compose = { file = "compose.yml", service = "db" }

[profile.prod]
url = "postgres://app@db.example.org/shop"
docker = "shop-db-1"
"#;

#[test]
fn everything_is_read() {
    let config = parse(WHOLE).unwrap();
    assert_eq!(config.profiles.len(), 3);
    let staging = config.profile("sit").unwrap();
    assert_eq!(staging.name, "staging");
    let pairs: Vec<String> = staging.connection.iter().map(|(k, v)| format!("{k}={v}")).collect();
    assert_eq!(
        pairs.join(" "),
        "dbname=shop host=db.example.org port=5433 sslmode=verify-full user=app"
    );
    assert_eq!(staging.password_file.as_deref(), Some(Path::new("/srv/shop/secrets/staging")));
    assert_eq!(staging.dir, Path::new("/srv/shop/archives"));
    assert_eq!((staging.keep.last, staging.keep.daily, staging.keep.yearly), (3, 7, 0));
    assert_eq!(staging.rules, Rules::File("/srv/shop/rules/shop.toml".into()));
    assert!(staging.protected && staging.notes.is_empty());
    assert_eq!(staging.on_failure, Some(Hook::Words(vec!["notify".into(), "--staging".into()])));
    assert_eq!(staging.hook_timeout, Duration::from_secs(90));
    let dev = config.profile("dev").unwrap();
    assert_eq!(dev.hook_timeout, Duration::from_secs(3600));
    assert_eq!(dev.rules, Rules::Here);
    assert_eq!(dev.dir, Path::new("/srv/shop/backups"));
    let Some(Place::Compose { files, service, .. }) = &dev.place else { panic!() };
    assert_eq!((files.as_slice(), service.as_str()), (&["/srv/shop/compose.yml".into()][..], "db"));
    assert!(config.profile("production").is_none());
    // The reader of rules takes the same file.
    RuleFile::parse(WHOLE).unwrap();
}

/// Every line number is that of the fault, and nothing unknown is passed over.
#[test]
fn faults_are_named_with_their_line() {
    for (text, expected) in [
        (
            "x = 1",
            "line 1: unknown key \"x\"; there are [profile.NAME], [[reference]], [[blob]] and [[count]]",
        ),
        (
            "[profile.a]\nurl = \"postgres://h/d\"\nkeeps = { last = 1 }",
            "line 3: unknown key \"keeps\"; there is keep",
        ),
        (
            "[profile.a]\ndbname = \"d\"\n\nkeep = { last = 1,\n dayly = 7 }",
            "line 5: unknown key \"dayly\"; there are last, hourly, daily, weekly, monthly, yearly",
        ),
        (
            "[profile.a]\nkeep = { last = -1 }",
            "line 2: a number of archives is expected here, from 0 on",
        ),
        (
            "[profile.a]\nkeep = { last = 0 }",
            "line 2: keep keeps nothing: say how many, such as { last = 3 }",
        ),
        ("[profile.a]\nprotected = \"yes\"", "line 2: protected is true or false"),
        (
            "[profile.a]\nhost = \"h\"\n",
            "line 1: the profile does not say which database: dbname is missing",
        ),
        (
            "[profile.a]\nurl = \"postgres://h/d\"\nuser = \"u\"",
            "line 2: a profile has either url or user and its like",
        ),
        (
            "[profile.a]\ndocker = \"x\"\ncompose = { file = \"f\", service = \"s\" }",
            "line 2: a profile has either docker or compose",
        ),
        (
            "[profile.a]\ncompose = { file = \"f\" }",
            "line 2: compose is { file = \"compose.yml\", service = \"db\" }",
        ),
        (
            "[profile.\"a/b\"]\ndbname = \"d\"",
            "line 1: \"a/b\" is no name for a profile: letters, digits, -, _ and . make one",
        ),
        (
            "[profile.a_safety]\ndbname = \"d\"",
            "line 1: \"a_safety\" has another meaning in the names of archives",
        ),
        ("[profile.a]\naliases = [\"b\"]\n[profile.b]", "line 3: b is a name of profile a already"),
        (
            "[profile.a]\nhots = \"h\"",
            "line 2: unknown key \"hots\"; there are url, password_file, docker, compose, dir, keep, rules, aliases, protected, on_success, on_failure, hook_timeout and libpq's parameters",
        ),
        (
            "[profile.a]\nurl = \"postgres://h/d\"\nurl = \"postgres://h/d\"",
            "line 3: duplicate key",
        ),
        ("profile = 1", "line 1: profiles are written as [profile.NAME]"),
    ] {
        assert_eq!(said(text), expected, "{text}");
    }
}

/// Guards against a password that stands in a file under version control without anybody
/// hearing of it, and against one that is told.
#[test]
fn a_password_in_the_file_is_noted() {
    for text in [
        "[profile.a]\ndbname = \"d\"\npassword = \"hunter2\"",
        "[profile.a]\nurl = \"postgres://u:hunter2@h/d\"",
        "[profile.a]\nurl = \"postgres://u@h/d?password=hunter2\"",
    ] {
        let config = parse(text).unwrap();
        let notes = &config.profiles[0].notes;
        assert_eq!(notes.len(), 1, "{text}");
        assert!(!notes[0].contains("hunter2"));
        let both = format!("{text}\npassword_file = \"x\"");
        assert!(said(&both).contains("either a password or a password_file"), "{}", said(&both));
    }
    let broken = said("[profile.a]\nurl = \"postgres://u:hunter2%zz@h/d\"");
    assert!(broken.starts_with("line 2: ") && !broken.contains("hunter2"), "{broken}");
}

#[test]
fn the_nearest_file_above_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let deep = folder.path().join("a/b/c");
    std::fs::create_dir_all(&deep).unwrap();
    std::fs::write(folder.path().join("a/pgark.toml"), "").unwrap();
    assert_eq!(Config::find(&deep), Some(folder.path().join("a/pgark.toml")));
    std::fs::write(deep.join("pgark.toml"), "").unwrap();
    assert_eq!(Config::find(&deep), Some(deep.join("pgark.toml")));
}
