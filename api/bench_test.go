package api

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"countroom/games/house"
	"countroom/ledger"

	"github.com/labstack/echo/v4"
)

// wire is one keep-alive connection whose client does as little as it can: it
// shares the processor with the server.
type wire struct {
	conn net.Conn
	r    *bufio.Reader
	out  []byte
}

func dial(b *testing.B, url string) *wire {
	conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		b.Fatal(err)
	}
	return &wire{conn: conn, r: bufio.NewReaderSize(conn, 16<<10)}
}

var contentLength = []byte("Content-Length: ")

// send sends a whole request and reads the status and the body's length off the
// answer.
func (w *wire) send() (status int, err error) {
	if _, err := w.conn.Write(w.out); err != nil {
		return 0, err
	}
	length := 0
	for first := true; ; first = false {
		line, err := w.r.ReadSlice('\n')
		if err != nil {
			return 0, err
		}
		if first {
			if status, err = strconv.Atoi(string(line[9:12])); err != nil {
				return 0, err
			}
		}
		if rest, ok := bytes.CutPrefix(line, contentLength); ok {
			if length, err = strconv.Atoi(string(bytes.TrimSpace(rest))); err != nil {
				return 0, err
			}
		}
		if len(line) == 2 {
			_, err = io.CopyN(io.Discard, w.r, int64(length))
			return status, err
		}
	}
}

// benchmark posts a stake over some connections, each with one of the tokens.
func benchmark(b *testing.B, url, path string, tokens []string, connections, want int) {
	var key, worker atomic.Int64
	b.ReportAllocs()
	b.SetParallelism(max(1, connections/runtime.GOMAXPROCS(0)))
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		token := tokens[int(worker.Add(1))%len(tokens)]
		w := dial(b, url)
		defer w.conn.Close()
		for pb.Next() {
			w.out = fmt.Appendf(w.out[:0], "POST %s HTTP/1.1\r\nHost: house\r\nAuthorization: Bearer %s\r\nIdempotency-Key: bench-%d\r\nContent-Type: application/json\r\nContent-Length: 12\r\n\r\n{\"stake\":20}", path, token, key.Add(1))
			if status, err := w.send(); err != nil || status != want {
				b.Errorf("%d %v", status, err)
				return
			}
		}
	})
}

// BenchmarkSpinHTTP is a spin over a socket, for some numbers of connections,
// each of a player of its own. Beside it, BenchmarkNoopHTTP is the same request
// answered with nothing.
func BenchmarkSpinHTTP(b *testing.B) {
	for _, connections := range []int{2, 16, 64, 256} {
		b.Run(fmt.Sprint(connections), func(b *testing.B) {
			w := open(b)
			tokens := make([]string, connections)
			for i := range tokens {
				tokens[i] = w.player(fmt.Sprint("p", i), 1<<40)
			}
			benchmark(b, w.url, "/v1/spins", tokens, connections, 201)
		})
	}
}

func BenchmarkNoopHTTP(b *testing.B) {
	for _, connections := range []int{2, 16, 64, 256} {
		b.Run(fmt.Sprint(connections), func(b *testing.B) {
			w := open(b)
			w.api.echo.POST("/noop", func(c echo.Context) error { return c.NoContent(http.StatusNoContent) })
			benchmark(b, w.url, "/noop", []string{operatorToken}, connections, 204)
		})
	}
}

// BenchmarkRefusedHTTP is a spin that is refused because too many commands wait.
func BenchmarkRefusedHTTP(b *testing.B) {
	for _, connections := range []int{2, 64} {
		b.Run(fmt.Sprint(connections), func(b *testing.B) {
			signer := new(stuck)
			w := open(b, func(l *ledger.Config, _ *house.Config) {
				signer.Signer, l.Signer = l.Signer, signer
				l.QueueMost = 1
			})
			token := w.player("p", 1<<40)
			signer.Lock()
			first := make(chan *answer)
			go func() { first <- w.post("/v1/spins", token, `{"stake":20}`) }()
			for w.post("/v1/spins", token, `{"stake":20}`).json["type"] != "/problems/overloaded" {
			}
			benchmark(b, w.url, "/v1/spins", []string{token}, connections, 503)
			signer.Unlock()
			<-first
		})
	}
}
