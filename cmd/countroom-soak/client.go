package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"
)

// answerMost bounds the time that one answer may take. The server gives up after
// twenty seconds itself.
const answerMost = 30 * time.Second

// conn is one connection of one worker. Requests are written by hand, since the
// generator shares the machine with the server that it measures.
type conn struct {
	addr string
	c    net.Conn
	r    *bufio.Reader
	out  []byte
	in   []byte
}

// request is one call of the API and what it must be answered with, unless the
// server is overloaded.
type request struct {
	method, path string
	token        string
	key          string
	contentType  string // of a body; "" means JSON
	gzip         bool
	body         []byte
	want         int
	problem      string // the name of the problem that is wanted
}

// answer holds until the connection's next request.
type answer struct {
	status      int
	contentType string
	retryAfter  string
	replayed    bool
	body        []byte
}

func (c *conn) close() {
	if c.c != nil {
		c.c.Close()
		c.c = nil
	}
}

// do sends a request and reads the answer, over a new connection if there is
// none.
func (c *conn) do(q *request) (answer, error) {
	a, err := c.try(q)
	if err != nil {
		c.close()
	}
	return a, err
}

func (c *conn) try(q *request) (a answer, err error) {
	if c.c == nil {
		if c.c, err = net.DialTimeout("tcp", c.addr, answerMost); err != nil {
			return a, err
		}
		c.r = bufio.NewReaderSize(c.c, 4<<10)
	}
	b := append(c.out[:0], q.method...)
	b = append(append(append(b, ' '), q.path...), " HTTP/1.1\r\nHost: soak\r\n"...)
	if q.token != "" {
		b = append(append(append(b, "Authorization: Bearer "...), q.token...), "\r\n"...)
	}
	if q.key != "" {
		b = append(append(append(b, "Idempotency-Key: "...), q.key...), "\r\n"...)
	}
	if q.gzip {
		b = append(b, "Accept-Encoding: gzip\r\n"...)
	}
	if q.body != nil {
		contentType := q.contentType
		if contentType == "" {
			contentType = "application/json"
		}
		b = append(append(b, "Content-Type: "...), contentType...)
		b = strconv.AppendInt(append(b, "\r\nContent-Length: "...), int64(len(q.body)), 10)
		b = append(b, "\r\n"...)
	} else if q.method == http.MethodPost {
		b = append(b, "Content-Length: 0\r\n"...)
	}
	c.out = append(append(b, "\r\n"...), q.body...)
	if err := c.c.SetDeadline(time.Now().Add(answerMost)); err != nil {
		return a, err
	}
	if _, err := c.c.Write(c.out); err != nil {
		return a, fmt.Errorf("sending: %w", err)
	}
	resp, err := http.ReadResponse(c.r, nil)
	if err != nil {
		return a, fmt.Errorf("reading the answer: %w", err)
	}
	defer resp.Body.Close()
	if resp.ContentLength < 0 || resp.ContentLength > 16<<20 {
		return a, fmt.Errorf("an answer of length %d", resp.ContentLength)
	}
	if n := int(resp.ContentLength); n > cap(c.in) {
		c.in = make([]byte, n)
	}
	c.in = c.in[:resp.ContentLength]
	if _, err := io.ReadFull(resp.Body, c.in); err != nil {
		return a, fmt.Errorf("reading the body: %w", err)
	}
	if resp.Close {
		c.close()
	}
	return answer{
		status: resp.StatusCode, contentType: resp.Header.Get("Content-Type"), retryAfter: resp.Header.Get("Retry-After"),
		replayed: resp.Header.Get("Idempotency-Replayed") == "true", body: c.in,
	}, nil
}
