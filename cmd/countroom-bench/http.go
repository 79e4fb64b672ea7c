package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"time"

	"countroom/api"
	"countroom/cmd/appliance"

	"github.com/labstack/echo/v4"
)

// loadJob tells the load generator, a process of its own, what to send.
type loadJob struct {
	Addr    string
	Tokens  []string // one a connection
	Prefix  string   // of idempotency keys
	Seconds float64
}

type loadResult struct {
	Rate     float64
	P50, P99 time.Duration
}

// overHTTP measures spins with full receipts through real sockets beside an
// echo server that reads the same request and answers with nothing.
func overHTTP(o options, a *appliance.Appliance, seats []player) error {
	handler := api.New(a.House, api.Options{Log: slog.New(slog.DiscardHandler)})
	house, err := serve(api.HTTPServer(handler))
	if err != nil {
		return err
	}
	defer house.Close()
	e := echo.New()
	e.POST("/v1/spins", func(c echo.Context) error {
		if _, err := io.Copy(io.Discard, c.Request().Body); err != nil {
			return err
		}
		return c.NoContent(http.StatusCreated)
	})
	noop, err := serve(&http.Server{Handler: e})
	if err != nil {
		return err
	}
	defer noop.Close()

	heading(fmt.Sprintf("spins over HTTP with full receipts, log of %d entries", a.Ledger.Signed().Size))
	fmt.Println("  connections   spins/s   p50 ms   p99 ms  of the no-op   no-op/s  its p99 ms")
	for _, n := range []int{64, 256} {
		job := loadJob{Seconds: o.length.Seconds()}
		for _, s := range seats[:n] {
			job.Tokens = append(job.Tokens, s.token)
		}
		job.Addr = noop.addr
		limit, err := runLoad(job)
		if err != nil {
			return err
		}
		job.Addr, job.Prefix = house.addr, fmt.Sprintf("http-%d-%d-", os.Getpid(), n)
		stop, err := profile(o.profile)
		if err != nil {
			return err
		}
		r, err := runLoad(job)
		stop()
		if err != nil {
			return err
		}
		fmt.Printf("  %11d  %8.0f  %7.2f  %7.2f  %12.2f  %8.0f  %10.2f\n", n, r.Rate, ms(r.P50), ms(r.P99), r.Rate/limit.Rate, limit.Rate, ms(limit.P99))
	}
	return nil
}

type served struct {
	*http.Server
	addr string
}

func serve(s *http.Server) (served, error) {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return served{}, err
	}
	go s.Serve(lis)
	return served{s, lis.Addr().String()}, nil
}

func runLoad(job loadJob) (r loadResult, err error) {
	in, err := json.Marshal(job)
	if err != nil {
		return r, err
	}
	self, err := os.Executable()
	if err != nil {
		return r, err
	}
	cmd := exec.Command(self, "-load", "-")
	cmd.Stdin, cmd.Stderr = bytes.NewReader(in), os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return r, fmt.Errorf("load generator: %w", err)
	}
	return r, json.Unmarshal(out, &r)
}

// generateLoad is the other process: plain sockets and hand-made requests, so
// that it takes as little of the machine as it can.
func generateLoad(string) error {
	var job loadJob
	if err := json.NewDecoder(os.Stdin).Decode(&job); err != nil {
		return err
	}
	conns := make([]*client, len(job.Tokens))
	for i, token := range job.Tokens {
		c, err := net.Dial("tcp", job.Addr)
		if err != nil {
			return err
		}
		defer c.Close()
		conns[i] = &client{conn: c, r: bufio.NewReaderSize(c, 16<<10), token: token, key: job.Prefix + strconv.Itoa(i) + "-"}
	}
	r, err := measure(len(conns), time.Duration(job.Seconds*float64(time.Second)), func(i int) error { return conns[i].spin() })
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(loadResult{Rate: r.rate, P50: r.p50, P99: r.p99})
}

type client struct {
	conn       net.Conn
	r          *bufio.Reader
	token, key string
	n          int
	buf        []byte
}

func (c *client) spin() error {
	c.n++
	b := append(c.buf[:0], "POST /v1/spins HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nContent-Length: 12\r\nAuthorization: Bearer "...)
	b = append(append(b, c.token...), "\r\nIdempotency-Key: "...)
	b = strconv.AppendInt(append(b, c.key...), int64(c.n), 10)
	c.buf = append(b, "\r\n\r\n{\"stake\":20}"...)
	if _, err := c.conn.Write(c.buf); err != nil {
		return err
	}
	length := -1
	for first := true; ; first = false {
		line, err := c.r.ReadSlice('\n')
		if err != nil {
			return err
		}
		if first && !bytes.HasPrefix(line, []byte("HTTP/1.1 201")) {
			return fmt.Errorf("answer: %s", line)
		}
		if len(line) == 2 {
			break
		}
		if v, ok := bytes.CutPrefix(line, []byte("Content-Length: ")); ok {
			if length, err = strconv.Atoi(string(bytes.TrimSpace(v))); err != nil {
				return err
			}
		}
	}
	if length < 0 {
		return errors.New("an answer without Content-Length")
	}
	_, err := c.r.Discard(length)
	return err
}
