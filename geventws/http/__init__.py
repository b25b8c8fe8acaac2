"""HTTP/1.1 as text (RFC 9110, RFC 9112): headers, targets, the heads of requests and answers. No I/O."""
