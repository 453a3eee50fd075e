//! Connecting as libpq users expect, and COPY in both directions.
//!
//! Guards above all against a COPY that ended early and is taken for a whole table: by an error of
//! the server before or after its end, by a session that is killed, by a connection that is cut at
//! the worst moment (a proxy does it at exactly that one).
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod tls;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use pgark::pg::tuple::{Tuples, begin_tuple, put_field};
use pgark::pg::{CopyIn, CopyOut, Params, PgError, Session, literal};

use crate::support::{MAJORS, Options, Server};

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap_or_else(|error| panic!("{error}"))
        .block_on(future)
}

async fn open(conn: &str) -> Result<Session, PgError> {
    Session::open(&Params::resolve(Some(conn))?).await
}

async fn connect(server: &Server, database: &str) -> Session {
    open(&server.url(database)).await.unwrap()
}

async fn one(session: &Session, sql: &str) -> String {
    session.rows("asking", sql, &[]).await.unwrap()[0].get(0)
}

/// Reads a COPY to its end; the runs as they came.
async fn all(mut copy: CopyOut, target: usize) -> Result<Vec<Vec<u8>>, PgError> {
    let mut out = Vec::new();
    while let Some(run) = copy.next(target).await? {
        out.push(run);
    }
    Ok(out)
}

#[test]
fn sessions_have_fixed_settings_on_every_version() {
    for major in MAJORS {
        let server = Server::shared(major);
        let database = server.database("settings");
        server.psql(
            "postgres",
            &format!(
                "ALTER DATABASE {database} SET datestyle = 'german, dmy'; \
                 ALTER DATABASE {database} SET bytea_output = 'escape'; \
                 ALTER DATABASE {database} SET statement_timeout = 1; \
                 ALTER DATABASE {database} SET extra_float_digits = -5; \
                 ALTER DATABASE {database} SET intervalstyle = 'iso_8601'; \
                 ALTER DATABASE {database} SET timezone = 'Asia/Tokyo'; \
                 ALTER DATABASE {database} SET search_path = 'public'"
            ),
        );
        run(async {
            // Not the environment, not the user's own options: ours.
            let session =
                open(&format!("{}?options=-c%20datestyle%3Dsql", server.url(&database))).await;
            let session = session.unwrap();
            assert_eq!(session.server_version_num() / 10_000, major);
            assert_eq!(session.server_encoding(), "UTF8");
            let text = one(
                &session,
                "SELECT concat_ws(' ', date '2024-02-01', timestamptz '2024-02-01 00:00:00+09', \
                 interval '1 day', 0.1::float8 + 0.2::float8, '\\xff'::bytea, \
                 current_setting('application_name'), '[' || current_setting('search_path') || ']', \
                 current_setting('row_security'), current_setting('client_encoding'))",
            );
            assert_eq!(
                text.await,
                "2024-02-01 2024-01-31 15:00:00+00 1 day 0.30000000000000004 \\xff pgark [] \
                 off UTF8"
            );
            session.read_in_heap_order().await.unwrap();
            assert_eq!(one(&session, "SHOW enable_indexscan").await, "off");
            session.close().await;
        });
    }
}

#[test]
fn copy_gives_whole_rows_in_runs() {
    for major in MAJORS {
        let server = Server::shared(major);
        run(async {
            let session = connect(server, "postgres").await;
            let rows = "SELECT i, repeat('x', i % 700) || E'\\n\\t\\\\' \
                        FROM generate_series(1, 20000) i";
            for target in [1, 1000, 1 << 20] {
                let copy = CopyOut::text(&session, &format!("COPY ({rows}) TO STDOUT")).await;
                let runs = all(copy.unwrap(), target).await.unwrap();
                for (at, run) in runs.iter().enumerate() {
                    assert_eq!(run.last(), Some(&b'\n'));
                    assert!(run.len() >= target || at == runs.len() - 1);
                    assert!(run.len() < target + 4096);
                }
                let text = runs.concat();
                assert_eq!(text.split(|b| *b == b'\n').count(), 20_001);
                assert!(text.ends_with(b"xxx\\n\\t\\\\\n"));

                let sql = format!("COPY ({rows}) TO STDOUT (FORMAT binary)");
                let copy = CopyOut::binary(&session, &sql).await.unwrap();
                let mut count = 0_i32;
                for run in all(copy, target).await.unwrap() {
                    let (mut tuples, mut fields) = (Tuples::new(&run, 2), Vec::new());
                    while tuples.next_into(&mut fields).unwrap() {
                        count += 1;
                        assert_eq!(fields[0], Some(&count.to_be_bytes()[..]));
                        assert!(fields[1].unwrap().ends_with(b"\n\t\\"));
                    }
                }
                assert_eq!(count, 20_000);
            }
            for (rows, expected) in
                [("SELECT 1 WHERE false", 0), ("SELECT FROM generate_series(1,3)", 3)]
            {
                let copy = CopyOut::text(&session, &format!("COPY ({rows}) TO STDOUT")).await;
                assert_eq!(all(copy.unwrap(), 10).await.unwrap().concat().len(), expected);
                let sql = format!("COPY ({rows}) TO STDOUT (FORMAT binary)");
                let copy = CopyOut::binary(&session, &sql).await.unwrap();
                let runs = all(copy, 10).await.unwrap();
                assert_eq!(runs.concat().len(), expected * 2);
                // The session is of use afterwards.
                assert_eq!(one(&session, "SELECT 'fine'").await, "fine");
            }
            session.close().await;
        });
    }
}

/// One value larger than any run comes whole.
#[test]
fn a_large_value_comes_in_one_run() {
    let server = Server::shared(18);
    run(async {
        let session = connect(server, "postgres").await;
        let sql = "COPY (SELECT i, decode(repeat('ab', 40 << 20), 'hex') FROM generate_series(1, 2) i) \
                   TO STDOUT (FORMAT binary)";
        let runs = all(CopyOut::binary(&session, sql).await.unwrap(), 1 << 20).await.unwrap();
        assert_eq!(runs.len(), 2);
        for run in runs {
            let (mut tuples, mut fields) = (Tuples::new(&run, 2), Vec::new());
            assert!(tuples.next_into(&mut fields).unwrap());
            assert_eq!(fields[1].unwrap().len(), 40 << 20);
        }
    });
}

#[test]
fn an_error_in_the_middle_of_a_copy_is_an_error() {
    for format in ["text", "binary"] {
        let server = Server::shared(18);
        run(async {
            let session = connect(server, "postgres").await;
            let sql = format!(
                "COPY (SELECT 1 / (i - 300000), 'x' FROM generate_series(1, 400000) i) \
                 TO STDOUT (FORMAT {format})"
            );
            let mut copy = match format {
                "text" => CopyOut::text(&session, &sql).await.unwrap(),
                _ => CopyOut::binary(&session, &sql).await.unwrap(),
            };
            let error = loop {
                match copy.next(100_000).await {
                    Ok(Some(_)) => {}
                    Ok(None) => panic!("taken for whole"),
                    Err(error) => break error,
                }
            };
            let said = error.to_string();
            assert!(said.contains("22012") && said.contains("division by zero"), "{said}");
            assert!(said.contains("COPY (SELECT 1 /"), "{said}");
            assert!(copy.next(1).await.is_err(), "an end after an error");
            assert_eq!(one(&session, "SELECT 'fine'").await, "fine");
        });
    }
}

/// A deferred constraint fails when the statement commits, after `CopyDone`: the client library's
/// own stream ends without an error.
#[test]
fn an_error_after_the_last_row_is_an_error() {
    for major in MAJORS {
        let server = Server::shared(major);
        let database = server.database("late");
        server.psql(
            &database,
            "CREATE TABLE t (id int UNIQUE DEFERRABLE INITIALLY DEFERRED); \
             CREATE TABLE ok (id int)",
        );
        run(async {
            let session = connect(server, &database).await;
            let copy = |table: &str| {
                format!("COPY (INSERT INTO public.{table} VALUES (1), (1) RETURNING id) TO STDOUT")
            };
            let stream = session.client().copy_out(&copy("t")).await.unwrap();
            drop(stream);
            let error = all(CopyOut::text(&session, &copy("t")).await.unwrap(), 1 << 20).await;
            let said = error.unwrap_err().to_string();
            assert!(said.contains("23505"), "{said}");
            let fine = all(CopyOut::text(&session, &copy("ok")).await.unwrap(), 1).await;
            assert_eq!(fine.unwrap().concat(), b"1\n1\n");
        });
        assert_eq!(server.psql(&database, "SELECT count(*) FROM t"), "0");
    }
}

#[test]
fn a_killed_session_is_an_error() {
    let server = Server::shared(17);
    run(async {
        let (session, other) =
            (connect(server, "postgres").await, connect(server, "postgres").await);
        let sql = "COPY (SELECT repeat('x', 1000) FROM generate_series(1, 10000000)) TO STDOUT";
        let mut copy = CopyOut::text(&session, sql).await.unwrap();
        copy.next(1).await.unwrap();
        let pid = one(
            &other,
            "SELECT pid::text FROM pg_stat_activity WHERE query LIKE 'COPY (SELECT repeat%'",
        );
        let kill = format!("SELECT pg_terminate_backend({})::text", pid.await);
        assert_eq!(one(&other, &kill).await, "true");
        let error = all(copy, 1 << 20).await.unwrap_err();
        // A server that cannot send because nobody reads hangs up without its last words.
        let told = error.to_string().contains("57P01");
        assert!(told || matches!(error, PgError::Lost { .. }), "{error}");
        // What comes after still knows.
        let error = session.run("going on", "SELECT 1").await.unwrap_err();
        assert!(matches!(error, PgError::Lost { .. }), "{error}");
    });
}

#[test]
fn a_statement_can_be_cancelled_and_a_dropped_session_is_gone() {
    let server = Server::shared(16);
    run(async {
        let session = connect(server, "postgres").await;
        let canceller = session.canceller();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(300)).await;
            canceller.cancel().await.unwrap();
        });
        let error = session.run("sleeping", "SELECT pg_sleep(60)").await.unwrap_err();
        assert_eq!(error.code().unwrap().code(), "57014");
        // A server signals the process and its group: the second signal may come late.
        drop(session);

        let session = connect(server, "postgres").await;
        let sql = "COPY (SELECT repeat('y', 1000) FROM generate_series(1, 10000000)) TO STDOUT";
        let mut copy = CopyOut::text(&session, sql).await.unwrap();
        copy.next(1).await.unwrap();
        drop((copy, session));
        let other = connect(server, "postgres").await;
        let left = "SELECT count(*)::text FROM pg_stat_activity WHERE query LIKE 'COPY (SELECT repeat(''y%'";
        for _ in 0..100 {
            if one(&other, left).await == "0" {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("the server still works for a session that was dropped");
    });
}

/// What a proxy does when the server sends `CopyDone`.
#[derive(Clone, Copy, PartialEq)]
enum Prank {
    /// Cuts the connection right behind it.
    CutBehind,
    /// Cuts the connection in front of it.
    CutInFront,
    /// Passes it on, and nothing after it, and keeps the connection.
    Stall,
}

/// A proxy for one connection that plays a prank; its port.
fn proxy(server: &Server, prank: Prank) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (port, to) = (listener.local_addr().unwrap().port(), server.port());
    thread::spawn(move || {
        let (mut client, _) = listener.accept().unwrap();
        let mut server = TcpStream::connect(("127.0.0.1", to)).unwrap();
        let (mut from, mut into) = (client.try_clone().unwrap(), server.try_clone().unwrap());
        thread::spawn(move || std::io::copy(&mut from, &mut into));
        let mut head = [0; 5];
        while server.read_exact(&mut head).is_ok() {
            let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]);
            let mut body = vec![0; usize::try_from(length).unwrap() - 4];
            server.read_exact(&mut body).unwrap();
            let done = head[0] == b'c';
            if done && prank == Prank::CutInFront {
                break;
            }
            if client.write_all(&head).and_then(|()| client.write_all(&body)).is_err() {
                break;
            }
            if done && prank == Prank::Stall {
                thread::sleep(Duration::from_secs(20));
            }
            if done {
                break;
            }
        }
        let _ = (client.shutdown(Shutdown::Both), server.shutdown(Shutdown::Both));
    });
    port
}

/// Guards against the end of the stream being taken for the end of the command.
#[test]
fn a_connection_cut_at_the_end_of_a_copy_is_an_error() {
    let server = Server::start_with(18, &Options { tcp: true, ..Options::default() });
    for prank in [Prank::CutBehind, Prank::CutInFront, Prank::Stall] {
        for binary in [false, true] {
            let port = proxy(&server, prank);
            run(async {
                let url = format!("postgres://postgres@127.0.0.1:{port}/postgres?sslmode=disable");
                let session = open(&url).await.unwrap();
                let rows = "SELECT generate_series(1, 1000)";
                let mut copy = if binary {
                    let sql = format!("COPY ({rows}) TO STDOUT (FORMAT binary)");
                    CopyOut::binary(&session, &sql).await.unwrap()
                } else {
                    CopyOut::text(&session, &format!("COPY ({rows}) TO STDOUT")).await.unwrap()
                };
                copy.silence(Duration::from_millis(400));
                let error = all(copy, 100).await.unwrap_err();
                if prank == Prank::Stall {
                    assert!(matches!(error, PgError::Silent { .. }), "{error}");
                } else {
                    assert!(matches!(error, PgError::Lost { .. }), "{error}");
                }
            });
        }
    }
}

#[test]
fn rows_go_in_and_come_back() {
    for major in MAJORS {
        let server = Server::shared(major);
        let database = server.database("in");
        server.psql(&database, "CREATE TABLE t (id int PRIMARY KEY, b bytea)");
        run(async {
            let session = connect(server, &database).await;
            let mut copy =
                CopyIn::text(&session, "COPY public.t (id, b) FROM STDIN").await.unwrap();
            for i in 0..1000 {
                copy.send(Bytes::from(format!("{i}\t\\\\xff00\n"))).await.unwrap();
            }
            copy.send(Bytes::new()).await.unwrap();
            assert_eq!(copy.finish().await.unwrap(), 1000);

            let sql = "COPY public.t (id, b) FROM STDIN (FORMAT binary)";
            let mut copy = CopyIn::binary(&session, sql).await.unwrap();
            let mut run = Vec::new();
            for i in 1000_i32..3000 {
                begin_tuple(&mut run, 2);
                assert!(put_field(&mut run, Some(&i.to_be_bytes())));
                assert!(put_field(&mut run, (i % 2 == 0).then_some(&[7; 5000])));
            }
            copy.send(Bytes::from(run)).await.unwrap();
            assert_eq!(copy.finish().await.unwrap(), 2000);
            let sums = "SELECT concat_ws(' ', count(*), count(b), sum(length(b))) FROM public.t";
            assert_eq!(one(&session, sums).await, "3000 2000 5002000");

            // No rows are a COPY too.
            let copy = CopyIn::binary(&session, sql).await.unwrap();
            assert_eq!(copy.finish().await.unwrap(), 0);

            // Dropped is aborted.
            let mut copy = CopyIn::text(&session, "COPY public.t FROM STDIN").await.unwrap();
            copy.send(Bytes::from_static(b"9999\t\\N\n")).await.unwrap();
            drop(copy);
            assert_eq!(one(&session, sums).await, "3000 2000 5002000");

            let mut copy = CopyIn::text(&session, "COPY public.t FROM STDIN").await.unwrap();
            copy.send(Bytes::from_static(b"1\t\\N\n")).await.unwrap();
            let said = copy.finish().await.unwrap_err().to_string();
            assert!(said.contains("23505") && said.contains("COPY t, line 1"), "{said}");
        });
    }
}

/// Guards against sending a terabyte before its first row is said to be bad, and against rows
/// lost or counted twice where a COPY is begun anew.
#[test]
fn an_error_comes_to_light_long_before_the_end() {
    let server = Server::shared(18);
    let database = server.database("stretch");
    server.psql(&database, "CREATE TABLE t (id int, t text)");
    run(async {
        let session = connect(server, &database).await;
        let row = Bytes::from([b"1\t", vec![b'x'; 1 << 20].as_slice(), b"\n"].concat());
        let mut copy = CopyIn::text(&session, "COPY public.t FROM STDIN").await.unwrap();
        copy.send(Bytes::from_static(b"bad\tx\n")).await.unwrap();
        let mut sent = 0;
        let error = loop {
            sent += 1;
            assert!(sent < 400, "no error after {sent} MiB");
            if let Err(error) = copy.send(row.clone()).await {
                break error;
            }
        };
        assert!(error.to_string().contains("22P02"), "{error}");
        drop(copy);
        let mut copy = CopyIn::text(&session, "COPY public.t FROM STDIN").await.unwrap();
        for _ in 0..300 {
            copy.send(row.clone()).await.unwrap();
        }
        assert_eq!(copy.finish().await.unwrap(), 300);
        let sums = "SELECT concat_ws(' ', count(*), sum(length(t)) >> 20) FROM public.t";
        assert_eq!(one(&session, sums).await, "300 300");
    });
}

/// Guards against a database whose bytes are not UTF-8 failing or being changed.
#[test]
fn sql_ascii_passes_through() {
    let server = Server::start_with(15, &Options { sql_ascii: true, ..Options::default() });
    server.psql("postgres", "CREATE TABLE t (v text)");
    run(async {
        let session = connect(&server, "postgres").await;
        assert_eq!(session.server_encoding(), "SQL_ASCII");
        let mut copy = CopyIn::text(&session, "COPY public.t FROM STDIN").await.unwrap();
        copy.send(Bytes::from_static(b"caf\xe9 \xff\n")).await.unwrap();
        copy.finish().await.unwrap();
        let copy = CopyOut::text(&session, "COPY public.t TO STDOUT").await.unwrap();
        assert_eq!(all(copy, 1).await.unwrap().concat(), b"caf\xe9 \xff\n");
    });
}

#[test]
fn passwords_come_from_the_string_and_the_password_file() {
    let secret = "it's: a \\ 'secret'";
    let options = Options { tcp: true, password: Some(secret.to_owned()), ..Options::default() };
    let server = Server::start_with(16, &options);
    let base = format!("host=127.0.0.1 port={} user=postgres dbname=postgres", server.port());
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("pass");
    let escaped = secret.replace('\\', "\\\\").replace(':', "\\:");
    std::fs::write(&file, format!("127.0.0.1:*:postgres:postgres:{escaped}\n")).unwrap();
    tls::private(&file);
    let quoted = secret.replace('\\', "\\\\").replace('\'', "\\'");
    run(async {
        open(&format!("{base} password='{quoted}'")).await.unwrap();
        open(&format!("{base} passfile={}", file.display())).await.unwrap();
        let none = format!("{base} passfile=/nonexistent");
        let said = open(&none).await.map(|_| ()).unwrap_err().to_string();
        assert!(said.contains("asks for a password"), "{said}");
        let wrong = format!("{base} password=hunter2");
        let error = open(&wrong).await.map(|_| ()).unwrap_err();
        let said = format!("{error} {error:?}");
        assert!(said.contains("28P01") && !said.contains("hunter2"), "{said}");
        // A password that is wrong is wrong everywhere: no second host is asked.
        let two = wrong.replace("host=127.0.0.1", "host=127.0.0.1,127.0.0.1");
        let Err(PgError::Connect { attempts }) = open(&two).await else { panic!("connected") };
        assert_eq!(attempts.len(), 1);
    });
}

#[test]
fn hosts_are_tried_in_order() {
    let server = Server::start_with(15, &Options { tcp: true, ..Options::default() });
    run(async {
        let dead = { TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port() };
        let socket = server.socket_dir().to_str().unwrap().replace('/', "%2F");
        let url = |first: &str, more: &str| {
            let port = server.port();
            format!("postgres://postgres@127.0.0.1:{dead},{first}:{port}/postgres{more}")
        };
        let session = open(&url("127.0.0.1", "")).await.unwrap();
        assert!(session.params().describe().contains(&server.port().to_string()));
        assert!(!session.params().describe().contains(&dead.to_string()));
        open(&url(&socket, "")).await.unwrap();
        open(&url("localhost", "?target_session_attrs=primary")).await.unwrap();
        open(&url("localhost", "?target_session_attrs=prefer-standby")).await.unwrap();
        let error = open(&url("127.0.0.1", "?target_session_attrs=standby")).await;
        let said = error.map(|_| ()).unwrap_err().to_string();
        assert!(said.contains(&dead.to_string()) && said.contains("not a standby"), "{said}");
        let said = open("postgres://postgres@no-such-host.invalid/x").await.map(|_| ());
        assert!(said.unwrap_err().to_string().contains("no-such-host.invalid"));
        let said = open(&server.url("no such database")).await.map(|_| ()).unwrap_err();
        assert!(said.to_string().contains("3D000"), "{said}");
    });
}

/// A server that accepts a connection and never answers.
#[test]
fn the_connect_timeout_covers_more_than_the_socket() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    run(async {
        let url = format!("postgres://u@127.0.0.1:{port}/d?connect_timeout=2");
        let said = open(&url).await.map(|_| ()).unwrap_err().to_string();
        assert!(said.contains("within 2 s"), "{said}");
    });
}
