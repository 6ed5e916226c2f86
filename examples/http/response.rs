//! Requests to responses: GET and HEAD of files below a folder.

use std::path::Path;

/// The response to a request's head, and whether the connection closes after it.
pub fn answer(head: &[u8], root: &Path) -> (Vec<u8>, bool) {
    let Ok(head) = std::str::from_utf8(head) else {
        return (closing(error("400 Bad Request")), true);
    };
    let mut lines = head.split("\r\n");
    let mut words = lines.next().unwrap_or_default().split(' ');
    let (method, target, version) = (words.next(), words.next(), words.next());
    let (Some(method), Some(target), Some(version)) = (method, target, version) else {
        return (closing(error("400 Bad Request")), true);
    };
    let header = |name: &str| {
        let named = lines.clone().filter_map(|line| line.split_once(':'));
        named
            .filter(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim())
            .next()
    };
    // A body that is not read would be taken for the next request.
    let body = header("content-length").is_some_and(|length| length != "0");
    let closes = header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
    let close = closes || version != "HTTP/1.1" || body || header("transfer-encoding").is_some();
    let response = match method {
        "GET" => file(target, root, true),
        "HEAD" => file(target, root, false),
        _ => error("405 Method Not Allowed"),
    };
    if close {
        (closing(response), true)
    } else {
        (response, false)
    }
}

/// Says in a response that the connection closes after it (RFC 9112, section 9.6).
pub fn closing(mut response: Vec<u8>) -> Vec<u8> {
    let line = response.windows(2).position(|two| two == b"\r\n");
    let at = line.expect("a response has a status line") + 2;
    response.splice(at..at, *b"Connection: close\r\n");
    response
}

fn file(target: &str, root: &Path, with_body: bool) -> Vec<u8> {
    let path = target.split('?').next().unwrap_or_default();
    let path = root.join(path.trim_start_matches('/'));
    // Links and dots may not lead out of the folder.
    let Some(path) = path
        .canonicalize()
        .ok()
        .filter(|path| path.starts_with(root))
    else {
        return error("404 Not Found");
    };
    let path = if path.is_dir() {
        path.join("index.html")
    } else {
        path
    };
    match std::fs::read(&path) {
        Ok(body) => {
            let kind = match path.extension().and_then(|extension| extension.to_str()) {
                Some("html") => "text/html; charset=utf-8",
                Some("txt") => "text/plain; charset=utf-8",
                _ => "application/octet-stream",
            };
            let mut response = head("200 OK", kind, body.len());
            if with_body {
                response.extend_from_slice(&body);
            }
            response
        }
        Err(_) => error("404 Not Found"),
    }
}

/// A response that says only what went wrong.
pub fn error(status: &str) -> Vec<u8> {
    let body = format!("{status}\n");
    let mut response = head(status, "text/plain; charset=utf-8", body.len());
    response.extend_from_slice(body.as_bytes());
    response
}

fn head(status: &str, kind: &str, len: usize) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len}\r\n\r\n")
        .into_bytes()
}
