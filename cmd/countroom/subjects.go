package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	"countroom/games/house"
	"countroom/ledger/entry"
	"countroom/regulator/disclosure"

	"github.com/spf13/cobra"
)

// whichSubject names a player: by the operator's id, or by the reference that the
// log has, which outlives him.
type whichSubject struct {
	ID  string `json:"id,omitempty"`
	Ref string `json:"ref,omitempty"`
}

func (w *whichSubject) find(ctx context.Context, h *house.House) (house.SubjectView, error) {
	if w.ID != "" {
		return h.Subject(ctx, w.ID)
	}
	ref, err := house.ParseRef(w.Ref)
	if err != nil {
		return house.SubjectView{}, err
	}
	return h.SubjectOf(ctx, ref)
}

type recordSubject struct {
	ID     string            `json:"id"`
	Values map[string]string `json:"values"`
	Key    string            `json:"key"` // of its idempotency
}

type erasureAnswer struct {
	Proposal *proposal
	Ref      string
}

// keptView is a commitment and what has become of its value, as the desk tells it.
// The last of a list has nothing but their number.
type keptView struct {
	Player     string  `json:"player,omitempty"`
	Index      uint64  `json:"index,omitempty"`
	Attribute  string  `json:"attribute,omitempty"`
	Commitment string  `json:"commitment,omitempty"`
	State      string  `json:"state,omitempty"`
	Erased     uint64  `json:"erased,omitempty"`
	Salt       string  `json:"salt,omitempty"`
	Value      string  `json:"value,omitempty"`
	Why        string  `json:"why,omitempty"`
	End        *uint64 `json:"end,omitempty"`
}

func viewKept(k *house.Kept) keptView {
	v := keptView{Player: k.Player.String(), Index: k.Index, Attribute: k.Attribute, Commitment: hex.EncodeToString(k.Commitment[:]), State: k.State, Erased: k.Erased, Value: k.Value}
	if k.State == house.ValuePresent {
		v.Salt = hex.EncodeToString(k.Salt[:])
	}
	if k.Why != nil {
		v.Why = k.Why.Error()
	}
	return v
}

type subjectView struct {
	ID         string     `json:"id,omitempty"`
	Player     string     `json:"player"`
	Erased     uint64     `json:"erased,omitempty"`
	Attributes []keptView `json:"attributes"`
}

// subjectsDesk serves what is known of players.
func (d *door) subjectsDesk(mux *http.ServeMux, answer func(pattern string, handle func(ctx context.Context, h *room, body []byte) (any, error))) {
	answer("POST /subjects/record", func(ctx context.Context, r *room, body []byte) (any, error) {
		var q recordSubject
		if err := strictly(body, &q); err != nil {
			return nil, err
		}
		var list []house.Attribute
		for name, value := range q.Values {
			list = append(list, house.Attribute{Name: name, Value: value})
		}
		receipt, err := r.House.RecordSubject(ctx, house.Request{Key: q.Key, Method: http.MethodPost, Path: "/subjects/record", Principal: "operator", Body: body}, q.ID, list)
		return savedAnswer(receipt.Index, receipt.Leaf, receipt.Proof), err
	})
	answer("POST /subjects/show", func(ctx context.Context, r *room, body []byte) (any, error) {
		var q whichSubject
		if err := strictly(body, &q); err != nil {
			return nil, err
		}
		s, err := q.find(ctx, r.House)
		v := subjectView{ID: s.ID, Player: s.Ref.String(), Erased: s.Erased, Attributes: []keptView{}}
		for i := range s.Attributes {
			v.Attributes = append(v.Attributes, viewKept(&s.Attributes[i]))
		}
		return v, err
	})
	answer("POST /subjects/erasure", func(ctx context.Context, r *room, body []byte) (any, error) {
		var q whichSubject
		if err := strictly(body, &q); err != nil {
			return nil, err
		}
		s, err := q.find(ctx, r.House)
		if err != nil {
			return nil, err
		}
		e, err := r.House.Erasure(ctx, s.Ref)
		if err != nil {
			return nil, err
		}
		p, err := draft(r.Ledger.Origin(), e, house.Words{})
		return erasureAnswer{p, s.Ref.String()}, err
	})
	answer("POST /subjects/rewrap", func(ctx context.Context, r *room, _ []byte) (any, error) { return r.House.Rewrap(ctx) })
	mux.HandleFunc("POST /subjects/kept", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, ceremonyMost))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		room := d.visit()
		defer room.inside.Done()
		if err := streamKept(r.Context(), room, body, w); err != nil {
			http.Error(w, err.Error(), http.StatusConflict) // in the midst of a list it is a line that is none
		}
	})
}

func streamKept(ctx context.Context, r *room, body []byte, w io.Writer) error {
	if r.House == nil {
		return errors.New("the house is not open")
	}
	var q whichSubject
	if err := strictly(body, &q); err != nil {
		return err
	}
	var ref entry.Ref
	if q != (whichSubject{}) {
		s, err := q.find(ctx, r.House)
		if err != nil {
			return err
		}
		ref = s.Ref
	}
	n := uint64(0)
	lines := json.NewEncoder(w)
	err := r.House.Kept(ctx, ref, func(k house.Kept) error {
		n++
		return lines.Encode(viewKept(&k))
	})
	if err != nil {
		return err
	}
	return lines.Encode(keptView{End: &n})
}

// kept yields what the house keeps, of one player or of all.
func (d *desk) kept(ctx context.Context, which whichSubject, yield func(keptView) error) error {
	body, err := json.Marshal(which)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://countroom/subjects/kept", bytes.NewReader(body))
	if err != nil {
		return err
	}
	resp, err := (&http.Client{Transport: d}).Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		b, err := io.ReadAll(io.LimitReader(resp.Body, 1<<16))
		return errors.Join(fmt.Errorf("the house refused: %s", clean(strings.TrimSpace(string(b)))), err)
	}
	lines := json.NewDecoder(bufio.NewReader(resp.Body))
	for n := uint64(0); ; n++ {
		var v keptView
		if err := lines.Decode(&v); err != nil {
			return fmt.Errorf("the house's list was cut off after %d commitments: %w", n, err)
		}
		if v.End != nil {
			if *v.End != n {
				return fmt.Errorf("the house's list has %d commitments, it says %d", n, *v.End)
			}
			return nil
		}
		if err := yield(v); err != nil {
			return err
		}
	}
}

func subjectsCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "subjects",
		Short: "What the house knows of the people who play: record it, show it, prove it, erase it",
		Long: `What the house knows of a player, such as a name, an address or the result of a check,
stands in the log as salted commitments and in the vault under a key of his own.

erase takes two officers: it prints a proposal, for countroom officers approve and
submit. What was erased stays provable as erased, and a copy of the vault brings it
back for two periods at most (docs/subjects.md).`,
	}
	c.AddCommand(subjectsRecord(), subjectsShow(), subjectsDisclose(), subjectsAudit(), subjectsErase(), subjectsRewrap())
	return c
}

// atDesk runs a command at the desk of the house.
func atDesk(c *cobra.Command, config func() (*config, error), do func(ctx context.Context, d *desk) error) (err error) {
	cfg, err := config()
	if err != nil {
		return err
	}
	d, err := openDesk(c.Context(), cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.close()) }()
	return do(c.Context(), d)
}

func subjectsRecord() *cobra.Command {
	c := &cobra.Command{
		Use:   "record PLAYER-ID FILE|-",
		Short: "Record what a player said or what was found out about him, and print the entry",
		Long: `Record attributes of a player. The file, or standard input, is a JSON object of texts,
such as {"name":"Jane Roe","kyc":"passed, reference 4711"}: what stood on the command
line could be read by whoever lists processes. A new value of an attribute takes the
place of the former one; the log keeps the commitments to both.`,
		Args: cobra.ExactArgs(2),
	}
	config := deskFlags(c)
	key := c.Flags().String("key", "", "idempotency key (default random): with the same one it is recorded once")
	c.RunE = func(c *cobra.Command, args []string) error {
		b, err := readCeremony(args[1], c.InOrStdin())
		if err != nil {
			return err
		}
		q := recordSubject{ID: args[0], Key: *key}
		if q.Key == "" {
			q.Key = "desk-" + rand.Text()
		}
		b, err = entry.Canonical(b) // no name twice, and nothing but UTF-8: what is recorded is what was meant
		if err == nil {
			err = strictly(b, &q.Values)
		}
		if err != nil {
			return fmt.Errorf("%s: expected a JSON object of texts: %w", args[1], err)
		}
		return atDesk(c, config, func(ctx context.Context, d *desk) error {
			var saved json.RawMessage
			if err := d.ask(ctx, "POST", "/subjects/record", q, &saved); err != nil {
				return err
			}
			_, err := fmt.Fprintf(c.OutOrStdout(), "%s\n", saved)
			return err
		})
	}
	return c
}

// subjectArgs lets a player be named by his id or by --ref.
func subjectArgs(c *cobra.Command, needed bool) func(args []string) (whichSubject, error) {
	ref := c.Flags().String("ref", "", "the player's reference in the log instead of his id, which is erased with him")
	c.Args = cobra.MaximumNArgs(1)
	return func(args []string) (w whichSubject, err error) {
		w.Ref = *ref
		if len(args) == 1 {
			w.ID = args[0]
		}
		if w.ID != "" && w.Ref != "" || needed && w == (whichSubject{}) {
			err = errors.New("expected a player's id, or his reference with --ref")
		}
		return w, err
	}
}

func printKept(w io.Writer, v keptView) {
	switch v.State {
	case house.ValuePresent:
		fmt.Fprintf(w, "%s  entry %d  present  %s\n", v.Attribute, v.Index, clean(v.Value))
	case house.ValueErased:
		fmt.Fprintf(w, "%s  entry %d  erased (entry %d)\n", v.Attribute, v.Index, v.Erased)
	default:
		fmt.Fprintf(w, "%s  entry %d  MISSING  %s\n", v.Attribute, v.Index, clean(v.Why))
	}
}

var errMissing = errors.New("what the log has commitments to is MISSING in the vault: it was lost or taken away, and not erased")

func subjectsShow() *cobra.Command {
	c := &cobra.Command{Use: "show [PLAYER-ID]", Short: "Show what the house knows of a player"}
	config, which := deskFlags(c), subjectArgs(c, true)
	c.RunE = func(c *cobra.Command, args []string) error {
		w, err := which(args)
		if err != nil {
			return err
		}
		return atDesk(c, config, func(ctx context.Context, d *desk) error {
			var v subjectView
			if err := d.ask(ctx, "POST", "/subjects/show", w, &v); err != nil {
				return err
			}
			out := c.OutOrStdout()
			fmt.Fprintf(out, "player %s", v.Player)
			if v.Erased != 0 {
				fmt.Fprintf(out, "  erased (entry %d)", v.Erased)
			}
			fmt.Fprintln(out)
			for _, a := range v.Attributes {
				printKept(out, a)
			}
			if slices.ContainsFunc(v.Attributes, func(a keptView) bool { return a.State == house.ValueMissing }) {
				return errMissing
			}
			return nil
		})
	}
	return c
}

// line is what a disclosure says of it, which countroom-verify subjects reads.
func (v *keptView) line() ([]byte, error) {
	ref, err := house.ParseRef(v.Player)
	if err != nil {
		return nil, err
	}
	salt, err := hex.DecodeString(v.Salt)
	if err != nil || len(salt) != 32 {
		return nil, fmt.Errorf("salt %q: expected 64 hex digits", v.Salt)
	}
	return disclosure.Line{Attribute: v.Attribute, Index: v.Index, Player: ref, Salt: [32]byte(salt), Value: v.Value}.Append(nil), nil
}

func subjectsDisclose() *cobra.Command {
	c := &cobra.Command{
		Use:   "disclose [PLAYER-ID] -o FILE|-",
		Short: "Write what the house knows, of one player or of all, with what proves that it was recorded so",
		Long: `Write a disclosure: a line for each value that the log has a commitment to, with the salt
that opens it. countroom-verify subjects holds it against the log, and reports what
is neither there nor erased. The file is what the vault hides: keep it as you would
the vault and its key together.`,
	}
	config, which := deskFlags(c), subjectArgs(c, false)
	out := c.Flags().StringP("output", "o", "", "file to write, which must not exist; - is standard output")
	c.RunE = func(c *cobra.Command, args []string) error {
		w, err := which(args)
		if err != nil {
			return err
		}
		if *out == "" {
			return errors.New("--output: expected a file, or - for standard output")
		}
		return atDesk(c, config, func(ctx context.Context, d *desk) error {
			states := map[string]int{}
			err := toFile(c, *out, func(file io.Writer) error {
				buffered := bufio.NewWriter(file)
				err := d.kept(ctx, w, func(v keptView) error {
					states[v.State]++
					if v.State != house.ValuePresent {
						return nil
					}
					line, err := v.line()
					if err == nil {
						_, err = buffered.Write(line)
					}
					return err
				})
				return errors.Join(err, buffered.Flush())
			})
			if err != nil {
				return err
			}
			fmt.Fprintf(c.ErrOrStderr(), "disclosed %d values; %d are erased, %d are missing\n", states[house.ValuePresent], states[house.ValueErased], states[house.ValueMissing])
			if states[house.ValueMissing] > 0 {
				return errMissing
			}
			return nil
		})
	}
	return c
}

func subjectsAudit() *cobra.Command {
	c := &cobra.Command{
		Use:   "audit",
		Short: "Hold the vault against every commitment of the log: present, erased, or MISSING",
		Args:  cobra.NoArgs,
	}
	config := deskFlags(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		return atDesk(c, config, func(ctx context.Context, d *desk) error {
			out := c.OutOrStdout()
			var order []string
			players := map[string]map[string]int{} // by state
			erased := map[string]uint64{}
			total := map[string]int{}
			err := d.kept(ctx, whichSubject{}, func(v keptView) error {
				if players[v.Player] == nil {
					players[v.Player] = map[string]int{}
					order = append(order, v.Player)
				}
				players[v.Player][v.State]++
				total[v.State]++
				if v.Erased != 0 {
					erased[v.Player] = v.Erased
				}
				if v.State == house.ValueMissing {
					fmt.Fprintf(out, "player %s  %s of entry %d  MISSING  %s\n", v.Player, v.Attribute, v.Index, clean(v.Why))
				}
				return nil
			})
			if err != nil {
				return err
			}
			for _, ref := range order {
				n := players[ref]
				switch {
				case erased[ref] != 0:
					fmt.Fprintf(out, "player %s  %d erased (entry %d)\n", ref, n[house.ValueErased], erased[ref])
				case n[house.ValueMissing] != 0:
					fmt.Fprintf(out, "player %s  %d present, %d MISSING\n", ref, n[house.ValuePresent], n[house.ValueMissing])
				default:
					fmt.Fprintf(out, "player %s  %d present\n", ref, n[house.ValuePresent])
				}
			}
			fmt.Fprintf(out, "%d players: %d values present, %d erased, %d missing\n", len(order), total[house.ValuePresent], total[house.ValueErased], total[house.ValueMissing])
			if total[house.ValueMissing] > 0 {
				return errMissing
			}
			return nil
		})
	}
	return c
}

func subjectsErase() *cobra.Command {
	c := &cobra.Command{
		Use:   "erase [PLAYER-ID]",
		Short: "Propose that all that is known of a player be erased for ever",
		Long: `Print a proposal to erase a player whose account is closed and holds nothing, for
countroom officers approve and submit. With the entry his key, his id and all that was
recorded of him are deleted from the vault. His rounds and payments stay in the log
under a reference that leads to nobody; another account may be opened under his id.`,
	}
	config, which := deskFlags(c), subjectArgs(c, true)
	c.RunE = func(c *cobra.Command, args []string) error {
		w, err := which(args)
		if err != nil {
			return err
		}
		return atDesk(c, config, func(ctx context.Context, d *desk) error {
			var a erasureAnswer
			if err := d.ask(ctx, "POST", "/subjects/erasure", w, &a); err != nil {
				return err
			}
			fmt.Fprintf(c.ErrOrStderr(), "%s is player %s\n", clean(w.ID+w.Ref), a.Ref)
			return printJSON(c.OutOrStdout(), a.Proposal)
		})
	}
	return c
}

func subjectsRewrap() *cobra.Command {
	c := &cobra.Command{
		Use:   "rewrap",
		Short: "Begin the next period of the vault now: copies from two periods before it open no more",
		Long: `Wrap the keys of all players for the next period, and give up the key of the period
before the present one. The house does it by itself every --vault-period. Play goes on.
Back-ups from before the present period then restore a log whose players' ids and data
do not open any more: make one as soon as this is done.`,
		Args: cobra.NoArgs,
	}
	config := deskFlags(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		return atDesk(c, config, func(ctx context.Context, d *desk) error {
			var done house.RewrappedVault
			if err := d.ask(ctx, "POST", "/subjects/rewrap", nil, &done); err != nil {
				return err
			}
			fmt.Fprintf(c.OutOrStdout(), "period %d of the vault began with entry %d: the keys of %d players are wrapped in it\n", done.Period, done.Index, done.Subjects)
			if done.Lost > 0 {
				fmt.Fprintf(c.OutOrStdout(), "%d rows of the vault do not open; countroom subjects audit says what is missing\n", done.Lost)
			}
			return nil
		})
	}
	return c
}
