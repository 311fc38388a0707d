package integration

import (
	"fmt"
	"strings"
)

// shape is one thing that a caller can send beside the routes as written.
// {writer} and the like stand for tokens, {id} for an import of the writer's.
type shape struct {
	section, name string
	bytes         string
	// fine: the shape is a rightful spelling, and may be answered with success.
	fine bool
}

// Pieces of the shapes about framing. Behind each stands a second request that
// would read the newest checkpoint as the auditor.
const (
	tokenize = "POST /api/v1/tokens HTTP/1.1\r\nHost: api.example.com\r\nAuthorization: Bearer {writer}\r\nContent-Type: application/json\r\n"
	second   = "GET /api/v1/audit/checkpoint HTTP/1.1\r\nHost: api.example.com\r\nAuthorization: Bearer {auditor}\r\nConnection: close\r\n\r\n"
	marker   = "/api/v1/audit/checkpoint" // the second request's route
	live     = " /api/v1/health/live HTTP/1.1\r\nHost: api.example.com\r\n"
	ended    = "Connection: close\r\n\r\n"
)

// framed is a tokenize request with the given lines of framing.
func framed(lines, body string) string { return tokenize + lines + "\r\n" + body }

func chunked(body string) string { return fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(body), body) }

func fields(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "X-A%d: a\r\n", i)
	}
	return b.String()
}

func length() string { return fmt.Sprintf("Content-Length: %d\r\n", len(emailBody)) }

// shapes lists everything, in the order of the document.
func shapes() []shape {
	var all []shape
	add := func(section string, fine bool, named ...string) {
		for i := 0; i < len(named); i += 2 {
			all = append(all, shape{section: section, name: named[i], bytes: named[i+1], fine: fine})
		}
	}
	add("Message length", true,
		"as it should be", framed(length()+"Connection: close\r\n", emailBody),
		"Content-Length twice, the same", framed(length()+length()+"Connection: close\r\n", emailBody),
		"Expect: 100-continue", framed(length()+"Expect: 100-continue\r\nConnection: close\r\n", emailBody),
		"underscore: Transfer_Encoding beside a length", framed(length()+"Transfer_Encoding: chunked\r\nConnection: close\r\n", emailBody),
	)
	add("Message length", false,
		"chunked", framed("Transfer-Encoding: chunked\r\n", chunked(emailBody)),
		"chunked beside a shorter Content-Length", framed("Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", chunked(emailBody)),
		"chunked before a longer Content-Length", framed("Transfer-Encoding: chunked\r\nContent-Length: 400\r\n", chunked(emailBody)),
		"Content-Length twice, differing", framed(length()+"Content-Length: 4\r\n", emailBody),
		"Content-Length as a list", framed("Content-Length: 47, 47\r\n", emailBody),
		"Content-Length negative", framed("Content-Length: -47\r\n", emailBody),
		"Content-Length with a plus", framed("Content-Length: +47\r\n", emailBody),
		"Content-Length in hex", framed("Content-Length: 0x2f\r\n", emailBody),
		"Content-Length with a space inside", framed("Content-Length: 4 7\r\n", emailBody),
		"Content-Length above 63 bits", framed("Content-Length: 9223372036854775808\r\n", emailBody),
		"Content-Length folded over two lines", framed("Content-Length: 4\r\n 7\r\n", emailBody),
		"space before the colon of Content-Length", framed("Content-Length : 47\r\n", emailBody),
		"Transfer-Encoding: chunked, identity", framed("Transfer-Encoding: chunked, identity\r\n", chunked(emailBody)),
		"Transfer-Encoding: gzip, chunked", framed("Transfer-Encoding: gzip, chunked\r\n", chunked(emailBody)),
		"Transfer-Encoding: identity", framed("Transfer-Encoding: identity\r\n"+length(), emailBody),
		"Transfer-Encoding: xchunked", framed("Transfer-Encoding: xchunked\r\n"+length(), emailBody),
		"Transfer-Encoding: \"chunked\", quoted", framed("Transfer-Encoding: \"chunked\"\r\n"+length(), emailBody),
		"Transfer-Encoding twice", framed("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", chunked(emailBody)),
		"vertical tab before chunked", framed("Transfer-Encoding: \vchunked\r\n"+length(), emailBody),
		"space before the colon of Transfer-Encoding", framed("Transfer-Encoding : chunked\r\n"+length(), chunked(emailBody)),
		"Transfer-Encoding folded over two lines", framed("Transfer-Encoding:\r\n chunked\r\n"+length(), chunked(emailBody)),
		"chunk with an extension", framed("Transfer-Encoding: chunked\r\n", "2f;a=b\r\n"+emailBody+"\r\n0\r\n\r\n"),
		"chunk of 2^68 bytes", framed("Transfer-Encoding: chunked\r\n", "fffffffffffffffff\r\n"+emailBody+"\r\n0\r\n\r\n"),
		"chunk of negative size", framed("Transfer-Encoding: chunked\r\n", "-2f\r\n"+emailBody+"\r\n0\r\n\r\n"),
		"chunk size ended by a bare LF", framed("Transfer-Encoding: chunked\r\n", "2f\n"+emailBody+"\r\n0\r\n\r\n"),
		"Authorization in a trailer", "POST /api/v1/tokens HTTP/1.1\r\nHost: api.example.com\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n"+
			"Trailer: Authorization\r\n\r\n2f\r\n"+emailBody+"\r\n0\r\nAuthorization: Bearer {writer}\r\n\r\n",
		"Expect of something else", framed(length()+"Expect: 200-ok\r\nConnection: close\r\n", emailBody),
		"a request as the body of a refused one", "POST /api/v1/tokens HTTP/1.1\r\nHost: api.example.com\r\nConnection: close\r\n"+
			"Content-Length: {second}\r\n\r\n",
	)
	add("Header lines", true,
		"bare LF for every line", strings.ReplaceAll("GET"+live+ended, "\r\n", "\n"),
		"Authorization folded over two lines", "GET /api/v1/imports/{id}/result HTTP/1.1\r\nHost: api.example.com\r\nAuthorization: Bearer\r\n {writer}\r\n"+ended,
		"Upgrade: h2c", "GET"+live+"Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\nConnection: Upgrade, HTTP2-Settings, close\r\n\r\n",
		"Upgrade: websocket", "GET"+live+"Upgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nConnection: Upgrade, close\r\n\r\n",
		"Host empty", "GET /api/v1/health/live HTTP/1.1\r\nHost:\r\n"+ended,
	)
	add("Header lines", false,
		"bare CR for every line", strings.ReplaceAll("GET"+live+ended, "\r\n", "\r")+"\r\n\r\n",
		"bare CR inside a value", "GET"+live+"X-A: a\rX-B: b\r\n"+ended,
		"NUL inside a value", "GET"+live+"X-A: a\x00b\r\n"+ended,
		"NUL inside a name", "GET"+live+"X\x00A: a\r\n"+ended,
		"space inside a name", "GET"+live+"X A: a\r\n"+ended,
		"a line without a colon", "GET"+live+"X-A\r\n"+ended,
		"a line with no name", "GET"+live+": a\r\n"+ended,
		"the first line folded", "GET /api/v1/health/live HTTP/1.1\r\n Host: api.example.com\r\n"+ended,
		"Host missing", "GET /api/v1/health/live HTTP/1.1\r\n"+ended,
		"Host twice", "GET"+live+"Host: other.example.com\r\n"+ended,
		"Host with a path", "GET /api/v1/health/live HTTP/1.1\r\nHost: api.example.com/x\r\n"+ended,
		"Host with a space", "GET /api/v1/health/live HTTP/1.1\r\nHost: api example\r\n"+ended,
		"header of 48 KiB", "GET"+live+"X-A: "+strings.Repeat("a", 48<<10)+"\r\n"+ended,
		"header of 2 MiB", "GET"+live+"X-A: "+strings.Repeat("a", 2<<20)+"\r\n"+ended,
		"200 header fields", "GET"+live+fields(200)+ended,
	)
	all = append(all, targets()...)
	all = append(all, outsiders()...)
	return all
}

// targets are request lines.
func targets() []shape {
	var all []shape
	add := func(fine bool, named ...string) {
		for i := 0; i < len(named); i += 2 {
			all = append(all, shape{section: "Request line", name: named[i], bytes: named[i+1], fine: fine})
		}
	}
	line := func(l string) string {
		return l + "\r\nHost: api.example.com\r\nAuthorization: Bearer {operator}\r\n" + ended
	}
	add(true,
		"absolute form", line("GET http://api.example.com/api/v1/keys HTTP/1.1"),
		"absolute form of another host", line("GET http://other.example.com/api/v1/keys HTTP/1.1"),
		"HTTP/1.0", line("GET /api/v1/keys HTTP/1.0"),
		"HTTP/1.0, chunked and kept alive", strings.Replace(framed("Connection: keep-alive\r\nTransfer-Encoding: chunked\r\n", chunked(emailBody)), "HTTP/1.1", "HTTP/1.0", 1),
		"HTTP/1.2", line("GET /api/v1/keys HTTP/1.2"),
	)
	add(false,
		"authority form", line("GET api.example.com:443 HTTP/1.1"),
		"CONNECT", line("CONNECT api.example.com:443 HTTP/1.1"),
		"CONNECT with a path", line("CONNECT /api/v1/keys HTTP/1.1"),
		"OPTIONS *", line("OPTIONS * HTTP/1.1"),
		"GET *", line("GET * HTTP/1.1"),
		"no slash", line("GET api/v1/keys HTTP/1.1"),
		"fragment", line("GET /api/v1/keys#x HTTP/1.1"),
		"space inside the target", line("GET /api/v1/keys x HTTP/1.1"),
		"tab for the space", line("GET\t/api/v1/keys\tHTTP/1.1"),
		"NUL inside the target", line("GET /api/v1/keys\x00 HTTP/1.1"),
		"raw byte above 127", line("GET /api/v1/keys\xff HTTP/1.1"),
		"method in lower case", line("get /api/v1/keys HTTP/1.1"),
		"method that is none", line("G(ET /api/v1/keys HTTP/1.1"),
		"protocol in lower case", line("GET /api/v1/keys http/1.1"),
		"HTTP/0.9", "GET /api/v1/keys\r\n\r\n",
		"HTTP/2.0 as a version", line("GET /api/v1/keys HTTP/2.0"),
		"preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00",
		"TRACE", line("TRACE /api/v1/keys HTTP/1.1"),
		"preflight of CORS", "OPTIONS /api/v1/tokens HTTP/1.1\r\nHost: api.example.com\r\nOrigin: https://app.example.com\r\n"+
			"Access-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: authorization\r\n"+ended,
	)
	return all
}
