//! Encrypted connections. Guards against one that trusts whom libpq would not.

use super::*;

pub(super) fn private(path: &Path) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

/// Certificates made for one test.
struct Authority {
    dir: tempfile::TempDir,
}

impl Authority {
    fn new() -> Self {
        let authority = Self { dir: tempfile::tempdir().unwrap() };
        authority.openssl(&[
            "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=root",
            "-keyout", "root.key", "-out", "root.crt",
        ]);
        authority
    }

    fn openssl(&self, args: &[&str]) {
        let out = Command::new("openssl").args(args).current_dir(self.dir.path()).output().unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    }

    /// A certificate `NAME.crt` with `NAME.key`, signed by the root.
    fn sign(&self, name: &str, common_name: &str, alternative: Option<&str>) {
        let (key, request, cert) =
            (format!("{name}.key"), format!("{name}.csr"), format!("{name}.crt"));
        let subject = format!("/CN={common_name}");
        self.openssl(&[
            "req", "-newkey", "rsa:2048", "-nodes", "-subj", &subject, "-keyout", &key, "-out",
            &request,
        ]);
        let extensions = alternative.map_or_else(
            || "basicConstraints=CA:FALSE\n".to_owned(),
            |names| format!("basicConstraints=CA:FALSE\nsubjectAltName={names}\n"),
        );
        std::fs::write(self.path("ext"), extensions).unwrap();
        self.openssl(&[
            "x509",
            "-req",
            "-in",
            &request,
            "-CA",
            "root.crt",
            "-CAkey",
            "root.key",
            "-CAcreateserial",
            "-days",
            "2",
            "-extfile",
            "ext",
            "-out",
            &cert,
        ]);
        private(&self.path(&key));
    }

    /// What `openssl req -x509` gives: its own authority, only a common name.
    fn self_signed(&self, name: &str, common_name: &str) {
        let (key, cert) = (format!("{name}.key"), format!("{name}.crt"));
        let subject = format!("/CN={common_name}");
        self.openssl(&[
            "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", &subject,
            "-keyout", &key, "-out", &cert,
        ]);
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn server(&self, major: u32, cert: &str, hba: &str) -> Server {
        let read = |name: String| std::fs::read(self.path(&name)).unwrap();
        let files = vec![
            ("server.crt".to_owned(), read(format!("{cert}.crt"))),
            ("server.key".to_owned(), read(format!("{cert}.key"))),
            ("root.crt".to_owned(), read("root.crt".to_owned())),
            ("pg_hba.conf".to_owned(), format!("local all all trust\n{hba}\n").into_bytes()),
        ];
        let settings = vec![
            ("ssl".to_owned(), "on".to_owned()),
            ("ssl_ca_file".to_owned(), "root.crt".to_owned()),
        ];
        Server::start_with(major, &Options { tcp: true, settings, files, ..Options::default() })
    }
}

/// How a connection with these parameters turns out: `tls`, `clear`, or the error.
fn outcome(server: &Server, more: &str) -> String {
    // Whatever lies about in the home directory of whoever runs the tests stays out of it.
    let rest = if more.contains("sslrootcert") { "" } else { "sslrootcert=/nonexistent" };
    let conn = format!(
        "hostaddr=127.0.0.1 port={} user=postgres dbname=postgres sslcert=/nonexistent {rest} {more}",
        server.port()
    );
    run(async {
        match open(&conn).await {
            Err(error) => error.to_string(),
            Ok(session) => {
                let sql = "SELECT CASE WHEN ssl THEN 'tls' ELSE 'clear' END FROM pg_stat_ssl \
                           WHERE pid = pg_backend_pid()";
                let answer = one(&session, sql).await;
                // A cancel request goes the same way.
                session.canceller().cancel().await.unwrap();
                answer
            }
        }
    })
}

#[test]
fn sslmode_means_what_it_means_to_libpq() {
    let authority = Authority::new();
    authority.sign("good", "other", Some("DNS:localhost,IP:127.0.0.1"));
    authority.sign("byname", "localhost", None);
    authority.self_signed("self", "localhost");
    authority.self_signed("stranger", "localhost");
    let root = format!("sslrootcert={}", authority.path("root.crt").display());
    let own = format!("sslrootcert={}", authority.path("self.crt").display());
    let strange = format!("sslrootcert={}", authority.path("stranger.crt").display());
    let check = |server: &Server, more: &str, expected: &str| {
        let got = outcome(server, more);
        assert!(got.contains(expected), "{more}: {got}");
    };

    let server = authority.server(18, "good", "host all all all trust");
    for (mode, expected) in
        [("disable", "clear"), ("allow", "clear"), ("prefer", "tls"), ("require", "tls")]
    {
        check(&server, &format!("sslmode={mode}"), expected);
        // On a socket there is no TLS, whatever the mode.
        let socket = server.socket_dir().display();
        let conn = format!("host={socket} port={} user=postgres sslmode={mode}", server.port());
        run(async { open(&conn).await.unwrap() });
    }
    check(&server, "host=localhost sslmode=require sslnegotiation=direct", "tls");
    check(&server, "sslmode=verify-ca", "root certificate file /nonexistent: it does not exist");
    check(&server, &format!("host=localhost sslmode=verify-full {root}"), "tls");
    check(&server, &format!("host=127.0.0.1 sslmode=verify-full {root}"), "tls");
    check(&server, &format!("sslmode=verify-full {root}"), "tls");
    check(&server, &format!("host=elsewhere sslmode=verify-full {root}"), "not valid for name");
    check(&server, &format!("host=elsewhere sslmode=verify-ca {root}"), "tls");
    check(&server, &format!("sslmode=verify-ca {strange}"), "certificate");
    // A root file makes `require` check, and `prefer` fall back.
    check(&server, &format!("sslmode=require {strange}"), "certificate");
    check(&server, &format!("sslmode=prefer {strange}"), "clear");
    check(&server, "sslmode=require ssl_max_protocol_version=TLSv1.2", "tls");
    check(&server, "host=localhost sslrootcert=system", "certificate");

    let server = authority.server(18, "byname", "host all all all trust");
    check(&server, &format!("host=localhost sslmode=verify-full {root}"), "tls");
    check(&server, &format!("host=elsewhere sslmode=verify-full {root}"), "not valid for name");

    let server = authority.server(14, "self", "hostssl all all all trust");
    check(&server, &format!("host=localhost sslmode=verify-full {own}"), "tls");
    check(&server, &format!("sslmode=verify-ca {strange}"), "certificate");
    check(&server, "sslmode=disable", "28000");
    check(&server, "sslmode=allow", "tls");

    let server = authority.server(14, "good", "hostnossl all all all trust");
    check(&server, "sslmode=prefer", "clear");
    check(&server, "sslmode=require", "28000");

    // A server without TLS.
    let server = Server::start_with(18, &Options { tcp: true, ..Options::default() });
    check(&server, "sslmode=prefer", "clear");
    check(&server, "sslmode=require", "does not support TLS");
}

#[test]
fn a_client_certificate_logs_in() {
    let authority = Authority::new();
    authority.sign("server", "localhost", None);
    authority.sign("client", "postgres", None);
    let server = authority.server(16, "server", "hostssl all all all cert");
    let path = |name: &str| authority.path(name).display().to_string();
    let conn = format!(
        "host=localhost hostaddr=127.0.0.1 port={} user=postgres dbname=postgres \
         sslmode=verify-full sslrootcert={} sslcert={} sslkey={}",
        server.port(),
        literal(&path("root.crt")),
        literal(&path("client.crt")),
        path("client.key"),
    );
    run(async {
        open(&conn).await.unwrap();
        let without = open(&format!("{conn} sslcertmode=disable")).await.map(|_| ()).unwrap_err();
        assert!(without.to_string().contains("28000"), "{without}");
        let loose = path("client.key");
        std::fs::set_permissions(&loose, std::fs::Permissions::from_mode(0o644)).unwrap();
        let said = open(&conn).await.map(|_| ()).unwrap_err().to_string();
        assert!(said.contains("group or world"), "{said}");
    });
}
