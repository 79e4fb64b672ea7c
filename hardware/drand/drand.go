// Package drand fetches rounds of a public randomness beacon from its HTTP
// servers (https://docs.drand.love). It trusts none of them: which chain it is is
// configured, and each round is checked by the group's key.
package drand

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"countroom/rngcert/beacon"
)

// Timeout is how long one server is waited for.
const Timeout = 2 * time.Second

// answerMost bounds an answer; real ones have some hundreds of bytes.
const answerMost = 1 << 14

// Client asks the servers of one chain, one after another until one has what
// holds. Its methods may be called by any goroutine.
type Client struct {
	urls   []string
	hash   [32]byte
	public *[beacon.PublicKeySize]byte
	http   *http.Client
	chain  atomic.Pointer[beacon.Chain]
}

// New returns a client of the chain with that hash. The group's key follows from
// the hash; it may be given as well, to be sure.
func New(urls []string, hash [32]byte, public *[beacon.PublicKeySize]byte) (*Client, error) {
	if len(urls) == 0 {
		return nil, errors.New("drand: expected the URL of at least one server")
	}
	return &Client{urls: urls, hash: hash, public: public, http: &http.Client{Timeout: Timeout}}, nil
}

// Chain returns the chain's key and schedule, which it fetches once.
func (c *Client) Chain(ctx context.Context) (*beacon.Chain, error) {
	if chain := c.chain.Load(); chain != nil {
		return chain, nil
	}
	var chain *beacon.Chain
	err := c.ask(ctx, "info", func(body []byte) error {
		got, err := beacon.ParseInfo(body)
		if err != nil {
			return err
		}
		if hash := got.Hash(); hash != c.hash {
			return fmt.Errorf("it is chain %x, expected %x", hash, c.hash)
		}
		if c.public != nil && got.PublicKey != *c.public {
			return fmt.Errorf("its key is %x, expected %x", got.PublicKey, *c.public)
		}
		chain = got
		return nil
	})
	if err != nil {
		return nil, err
	}
	c.chain.Store(chain)
	return chain, nil
}

// Round returns the signature of a round, which holds.
func (c *Client) Round(ctx context.Context, round uint64) (sig [beacon.SignatureSize]byte, err error) {
	chain, err := c.Chain(ctx)
	if err != nil {
		return sig, err
	}
	err = c.ask(ctx, "public/"+strconv.FormatUint(round, 10), func(body []byte) error {
		n, got, err := beacon.ParseRound(body)
		if err != nil {
			return err
		}
		if n != round {
			return fmt.Errorf("it is round %d, expected %d", n, round)
		}
		_, err = chain.Verify(round, got)
		sig = got
		return err
	})
	return sig, err
}

// ask asks the servers in turn until one's answer is good.
func (c *Client) ask(ctx context.Context, what string, good func(body []byte) error) error {
	var errs []error
	for _, url := range c.urls {
		url = fmt.Sprintf("%s/%x/%s", strings.TrimSuffix(url, "/"), c.hash, what)
		body, err := c.get(ctx, url)
		if err == nil {
			err = good(body)
		}
		if err == nil {
			return nil
		}
		errs = append(errs, fmt.Errorf("%s: %w", url, err))
		if ctx.Err() != nil {
			break
		}
	}
	return fmt.Errorf("drand: no server has %s: %w", what, errors.Join(errs...))
}

func (c *Client) get(ctx context.Context, url string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, errors.New(resp.Status)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, answerMost+1))
	if err == nil && len(body) > answerMost {
		err = fmt.Errorf("an answer of more than %d bytes", answerMost)
	}
	return body, err
}
