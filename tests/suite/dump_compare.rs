//! The comparison that the round trips stand on: guards against one that forgives too much.

use crate::support::dump::{assert_same, normalised};

const DUMP: &str = "--\n-- PostgreSQL database dump\n--\n\n\\restrict abc\n\n--\n-- Name: t; Type: TABLE; \
    Schema: public; Owner: -\n--\n\nCREATE TABLE public.t (\n    a integer,\n    \"b, c\" text\n);\n\n\
    --\n-- Data for Name: t; Type: TABLE DATA\n--\n\nCOPY public.t (a, \"b, c\") FROM stdin;\n1\tx\n\
    2\t-- Name: y\n\\.\n\n\\unrestrict abc\n\n";

fn differs(from: &str, to: &str) -> bool {
    assert!(DUMP.contains(from));
    normalised(DUMP) != normalised(&DUMP.replacen(from, to, 1))
}

#[test]
fn order_does_not_count() {
    let other = DUMP
        .replace("1\tx\n2\t-- Name: y", "-- Name: y\t2\nx\t1")
        .replace("(a, \"b, c\")", "(\"b, c\", a)")
        .replace("    a integer,\n    \"b, c\" text\n", "    \"b, c\" text,\n    a integer\n")
        .replace("restrict abc", "restrict xyz");
    assert_same(DUMP, &other, "order");
}

#[test]
fn everything_else_does() {
    assert!(differs("1\tx\n", ""));
    assert!(differs("1\tx\n", "1\tx\n1\tx\n"));
    assert!(differs("1\tx", "x\t1"));
    assert!(differs("a integer", "a bigint"));
    assert!(differs("Owner: -", "Owner: me"));
    assert!(differs("\"b, c\") FROM", "b) FROM"));
    assert!(differs(");\n", ") WITH (fillfactor='70');\n"));
}
