//! Data directories of which a part is elsewhere.

use super::*;

/// A folder that the server may make a tablespace in.
fn make_space(server: &Server, space: &Path) {
    std::fs::create_dir(space).unwrap();
    if std::fs::metadata(server.socket_dir()).unwrap().uid() == 65534 {
        ok(Command::new("chown").arg("65534").arg(space));
    }
}

/// Beside the data directory, in a tar, elsewhere, nowhere.
#[test]
fn tablespaces() {
    for major in [14, 18] {
        let place = Place::new();
        let spaces = Place::new();
        let space = spaces.work.path().join("fast");
        let server = durable(major);
        make_space(&server, &space);
        std::fs::set_permissions(&space, std::fs::Permissions::from_mode(0o777)).unwrap();
        server.createdb("shop");
        server.psql("postgres", &format!("CREATE TABLESPACE fast LOCATION '{}'", space.display()));
        server.psql(
            "shop",
            "CREATE TABLE t (i integer, b bytea) TABLESPACE fast;
             INSERT INTO t SELECT i, sha256(int4send(i)) FROM generate_series(1, 50) i;
             CREATE TABLE plain AS SELECT 1 AS one;
             CREATE INDEX ON plain (one) TABLESPACE fast; CHECKPOINT",
        );
        kill(&server);
        copy(&server.socket_dir().join("data"), &place.old());
        let before = traces(&space);
        let json = place.json(&place.old(), 0, &["-o", "a.pgark"]);
        assert_eq!(json["tablespaces"][0]["found"], space.to_str().unwrap());
        assert_eq!(place.cat("a.pgark", "t").lines().count(), 50);
        assert_eq!(traces(&space), before, "the tablespace was touched");

        // Both in one tar, under the names that the machine had.
        let inner = place.path("all").join(space.strip_prefix("/").unwrap().parent().unwrap());
        std::fs::create_dir_all(&inner).unwrap();
        std::fs::rename(&space, inner.join("fast")).unwrap();
        copy(&place.old(), &place.path("all/data"));
        let all = tar(&place, "all.tar", &["all"]);
        place.json(&all, 1, &["-o", "b.pgark"]);
        place.assert_equal("a.pgark", "b.pgark");

        // Nowhere: what is in it is named.
        let lost = place.rescue(&place.old(), &["-o", "c.pgark"]);
        assert_eq!(lost.code, Some(3), "{}", lost.stderr);
        for told in ["tablespace fast is missing", "public.t", space.to_str().unwrap(), "--map"] {
            assert!(lost.stderr.contains(told), "{told}: {}", lost.stderr);
        }
        assert!(!lost.stderr.contains("plain"), "{}", lost.stderr);
        let map = format!("{}={}", spaces.work.path().display(), inner.display());
        let json = place.json(&place.old(), 0, &["-o", "c.pgark", "--map", &map]);
        assert!(json["tablespaces"][0]["found"].as_str().unwrap().contains("/all/"), "{json}");
        place.assert_equal("a.pgark", "c.pgark");
        assert!(!space.exists(), "the server made the tablespace anew, outside of the copy");
    }
}

/// Replaying `CREATE TABLESPACE` writes to the original's place.
#[test]
fn a_tablespace_that_the_wal_makes() {
    let place = Place::new();
    let spaces = Place::new();
    let space = spaces.work.path().join("fast");
    let server = durable(17);
    make_space(&server, &space);
    server.createdb("shop");
    server.psql("postgres", "CHECKPOINT");
    server.psql("postgres", &format!("CREATE TABLESPACE fast LOCATION '{}'", space.display()));
    server.psql("shop", "CREATE TABLE t TABLESPACE fast AS SELECT 1 AS one");
    kill(&server);
    copy(&server.socket_dir().join("data"), &place.old());
    let before = traces(&space);
    let ran = place.rescue(&place.old(), &["-o", "a.pgark"]);
    assert_eq!(ran.code, Some(3), "{}", ran.stderr);
    assert!(ran.stderr.contains("replaying it writes there"), "{}", ran.stderr);
    assert_eq!(traces(&space), before);
}

/// `pg_basebackup` while rows are written: `backup_label` says where recovery begins, and a list of
/// tablespaces takes the place of links.
#[test]
fn base_backups() {
    for major in [14, 18] {
        let place = Place::new();
        let spaces = Place::new();
        let space = spaces.work.path().join("fast");
        let server = durable(major);
        make_space(&server, &space);
        server.createdb("shop");
        server.psql("postgres", &format!("CREATE TABLESPACE fast LOCATION '{}'", space.display()));
        server
            .psql("shop", "CREATE TABLE t TABLESPACE fast AS SELECT generate_series(1, 1000) AS i");
        let mut backup = server.tool("pg_basebackup");
        ok(backup.args(["-Ft", "-X", "fetch", "-c", "fast", "-D"]).arg(place.path("backup")));
        server.psql("shop", "TRUNCATE t");
        let before = traces(&space);
        let base = place.path("backup/base.tar");
        let lost = place.rescue(&base, &["-o", "a.pgark"]);
        assert!(lost.stderr.contains("tablespace fast is missing"), "{}", lost.stderr);
        let oid = server.psql("postgres", "SELECT oid FROM pg_tablespace WHERE spcname = 'fast'");
        std::fs::create_dir(place.path("space")).unwrap();
        let mut unpack = Command::new("tar");
        unpack.arg("-xf").arg(place.path(&format!("backup/{oid}.tar")));
        ok(unpack.arg("-C").arg(place.path("space")));
        let map = format!("{}={}", space.display(), place.path("space").display());
        let json = place.json(&base, 0, &["-o", "a.pgark", "--map", &map]);
        assert_eq!(json["replayed"], true, "{json}");
        assert_eq!(place.cat("a.pgark", "t").lines().count(), 1000);
        assert_eq!(traces(&space), before, "the tablespace of the server was touched");
    }
}
