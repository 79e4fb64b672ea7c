// Command countroom-verify checks what a house says of itself, for regulators,
// auditors and players: a saved answer, or a whole log. It trusts nothing but
// the house's verifier key, listens on nothing, and works offline.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"time"

	"countroom/games/rounds"
	"countroom/ledger/system"
	"countroom/regulator/verify"
	"countroom/rngcert/decision"
	"countroom/rngcert/escrow"
)

// Exit codes.
const (
	exitHolds     = 0
	exitEvidence  = 1 // against the house
	exitUnchecked = 2 // also for wrong usage
)

const usage = `countroom-verify checks the records of a casino without trusting it.

  countroom-verify receipt FILE --vkey FILE [--history FILE]
        check a saved answer: that the entry in it is in the house's signed log.
        FILE - reads standard input. Where the house has exchanged its key since, its
        history ("countroom keys list --history") leads from --vkey to the new one.
        A round is UNPROVABLE where FILE, a JSON list, also has the answer about its epoch
        (GET /v1/epochs/N) and that was abandoned.

  countroom-verify log URL|DIR --vkey FILE [flags]
        check a whole log, of a house at URL or saved in DIR: every entry, balance,
        outcome and draw, and the signed tree over them.

      --token FILE     bearer token of a regulator or auditor, for the entries
      --known FILE...  answers and checkpoints that somebody kept, to be held against
                       the log; every argument up to the next flag is such a file,
                       but for a URL or a directory, which is the log
      --save DIR       keep what was fetched from URL, to be checked again offline
      --secret FILE    a seed that seed open gave: its epoch is replayed as if the house
                       had revealed it; may be given again
      --json           print the report as one JSON document
      --workers N      bundles worked on at once

Of both, the checkpoint's cosignatures by witnesses outside the house:

      --witness VKEY...  verifier keys of witnesses (or --witness FILE with one); without
                         it cosignatures are counted and not checked
      --quorum N         how many of these must have cosigned, or it could not be
                         checked that there is one history

  countroom-verify watch URL... --vkey FILE [flags]
        follow a house, and check each new checkpoint and each new entry. The first URL is
        followed; the others, mirrors or other ways to the same house, are compared with it,
        and so is what the witnesses at --witness URL cosigned. Another --vkey begins another
        house, with its URLs and its token. An alert is written to standard error, and:

      --token FILE     of the house; without it the entries are not checked
      --witness URL    a witness's address for monitors; may be given again
      --witness VKEY   as below, with --quorum: what the house shows must be cosigned
      --state DIR      what was seen is kept here, and gone through again at a start
      --webhook URL    alerts are posted here as JSON, until they arrive
      --metrics FILE   written after each round for Prometheus' node exporter
      --interval TIME  between rounds (10s)
      --silence TIME   that a house may go without a new checkpoint (1h); 0 is for ever
      --once           one round; --stop ends with the first evidence

  countroom-verify evidence FILE [--vkey FILE [--history FILE]]
        check a file of evidence that a mirror, a watch or a witness kept: whether the house's
        key signed two histories. Exit status 1 says so, whoever wrote the file; 2 that it
        shows less. Without --vkey the keys are those that the file names.

  countroom-verify seed keygen NAME
        make the keys of somebody to whom a house escrows its seeds: NAME.key, NAME.pub

  countroom-verify seed open URL|DIR|FILE --key FILE --out FILE [flags]
        take a layer off an escrowed seed: of a log (--vkey FILE --epoch N), of a saved
        answer about its epoch (--vkey FILE), or of what the holder of the layer before
        handed on. --key may be given again. When no layer is left the seed is held
        against its commitment.

  countroom-verify assessment DIR --vkey FILE [--history FILE]
        check an examination of a house's chance, as countroom rng certify wrote it into DIR:
        that its files are those that the signed log names, that the house's key for exports
        signed for them, and that the verdict follows from the p-values.

  countroom-verify dispute FILE --vkey FILE
        check a dispute pack: that the house's key for exports signed the page, that the
        log has that key and the round, and that the round follows from its draw, its
        rules and, once that is out, its seed.

  countroom-verify export FILE --vkey FILE [flags]
        check an export that an auditor took home: that the house's key for exports signed
        it, that its leaves are in the signed log at their places and, unless it was
        filtered, without a gap, that rounds follow from their draws and the draws from the
        secrets that are out, and that each of its tables is what its leaves come to.

      --history FILE      as for a receipt
      --certificate FILE  a certificate of the same span, handed out alone
      --json              print the report as one JSON document

  countroom-verify vault DIR --log URL|DIR --vkey FILE [--token FILE] [--history FILE]
        hold an authority's vault (a control databank or a SAFE, as countroom vault makes them)
        against the log: that each entry is in one record or left out for a reason, that
        records say what their entries say, and that each day comes to what the log does.
        Exit status 1 says that vault and log differ, whoever made them so.

  countroom-verify subjects FILE --log URL|DIR --vkey FILE [flags]
        hold what a house shows of the people behind its references (FILE, which countroom
        subjects disclose writes; - is standard input) against the commitments in its log:
        each is present, which means that what is shown opens it, or was erased by two
        officers, or is MISSING. Exit status 1 also where what is shown is FALSE, or NOT ERASED.

      --player REF     only of this player, by his reference in hex; may be given again
      --token FILE     bearer token of a regulator or auditor, for the entries
      --json           print the report as one JSON document

  countroom-verify version
  countroom-verify --help

--vkey names the file with the house's verifier key (log.vkey), got from somebody
other than the house. Exit status: 0 all holds, 1 evidence against the house, 2 it
could not be checked.
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	if len(args) > 0 && args[0] == "seed" && !slices.Contains(args, "--help") {
		return seed(ctx, args[1:], stdout, stderr)
	}
	if len(args) > 0 && args[0] == "vault" && !slices.Contains(args, "--help") {
		return vaulted(ctx, args[1:], stdout, stderr)
	}
	if len(args) > 0 && args[0] == "subjects" && !slices.Contains(args, "--help") {
		return disclosed(ctx, args[1:], stdin, stdout, stderr)
	}
	if isWatch(args) {
		return watching(ctx, args[1:], stdout, stderr)
	}
	a, err := parse(args)
	switch {
	case err != nil:
		fmt.Fprintf(stderr, "countroom-verify: %v\nTry countroom-verify --help.\n", err)
		return exitUnchecked
	case a.command == "help":
		io.WriteString(stdout, usage)
		return exitHolds
	case a.command == "version":
		fmt.Fprintf(stdout, "countroom-verify %s, log format %d\n", release(), system.Format)
		return exitHolds
	case a.command == "receipt":
		return receipt(a, stdin, stdout, stderr)
	case a.command == "evidence":
		return shown(a, stdout, stderr)
	case a.command == "dispute":
		return disputed(a, stdout, stderr)
	case a.command == "assessment":
		return examination(a, stdout, stderr)
	case a.command == "export":
		return exported(ctx, a, stdout, stderr)
	}
	return log(ctx, a, stdout, stderr)
}

func release() string {
	if b, ok := debug.ReadBuildInfo(); ok && b.Main.Version != "" {
		return b.Main.Version
	}
	return "(devel)"
}

// trust is in the witnesses that are given, each as a key or in a file.
func (a *arguments) trust() (t verify.Trust, err error) {
	t.Quorum = a.quorum
	for _, key := range a.witnesses {
		if !looksLikeVKey(key) {
			if key, err = line(key); err != nil {
				return t, fmt.Errorf("--witness: %w", err)
			}
		}
		t.Witnesses = append(t.Witnesses, key)
	}
	return t, nil
}

// secretMost bounds key and token files, in bytes.
const secretMost = 4096

// line reads a file of one line.
func line(name string) (string, error) {
	b, err := read(name, nil, secretMost)
	s := strings.TrimSpace(string(b))
	if err == nil && (s == "" || strings.ContainsAny(s, "\r\n")) {
		err = fmt.Errorf("%s: expected one line", name)
	}
	return s, err
}

// read reads a file, or stdin when the name is "-" and there is one.
func read(name string, stdin io.Reader, most int64) ([]byte, error) {
	in := stdin
	if name != "-" || stdin == nil {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	}
	b, err := io.ReadAll(io.LimitReader(in, most+1))
	if err == nil && int64(len(b)) > most {
		err = fmt.Errorf("%s: longer than %d bytes", name, most)
	}
	return b, err
}

func receipt(a *arguments, stdin io.Reader, stdout, stderr io.Writer) int {
	proofs, err := func() ([]verify.Proof, error) {
		vkey, err := line(a.vkey)
		if err != nil {
			return nil, err
		}
		data, err := read(a.subject, stdin, verify.KnownMost)
		if err != nil {
			return nil, err
		}
		ring, err := verify.NewKeyring(vkey)
		if err != nil {
			return nil, err
		}
		if a.history != "" {
			history, err := read(a.history, nil, verify.KnownMost)
			if err != nil {
				return nil, err
			}
			if err := ring.Follow(history); err != nil {
				return nil, fmt.Errorf("%s: %w", a.history, err)
			}
		}
		trust, err := a.trust()
		if err != nil {
			return nil, err
		}
		return ring.ReceiptBy(data, trust)
	}()
	abandoned := map[uint64]uint64{} // epochs, by answers about them, with their entries
	for i := range proofs {
		if r, ok := proofs[i].Record.(*decision.Abandoned); ok {
			abandoned[r.Epoch] = proofs[i].Index
		}
	}
	unprovable := false
	for i := range proofs {
		if proofs[i].Record == nil {
			continue
		}
		printProof(stdout, &proofs[i])
		if r, ok := proofs[i].Record.(*rounds.Settled); ok && abandoned[r.Draw.Epoch] != 0 {
			unprovable = true
			fmt.Fprintf(stdout, "  UNPROVABLE: two officers abandoned epoch %d in entry %d, and nobody can prove its draws\n", r.Draw.Epoch, abandoned[r.Draw.Epoch])
		}
	}
	var f *verify.Finding
	switch {
	case errors.As(err, &f):
		printFindings(stdout, []verify.Finding{*f}, 0)
		fmt.Fprintln(stdout, "EVIDENCE: the answer is not what the house's key says")
		return exitEvidence
	case err != nil:
		fmt.Fprintf(stderr, "countroom-verify: %s\n", clean(err.Error()))
		return exitUnchecked
	}
	if unprovable {
		fmt.Fprintln(stderr, "countroom-verify: the receipts hold; how a round was drawn can be checked by nobody")
		return exitUnchecked
	}
	fmt.Fprintln(stdout, "OK")
	return exitHolds
}

func log(ctx context.Context, a *arguments, stdout, stderr io.Writer) int {
	progress := newProgress(stderr)
	report, err := checkLog(ctx, a, progress.show)
	progress.clear()
	verdict, code := "ok", exitHolds
	switch {
	case report != nil && !report.OK():
		verdict, code = "evidence", exitEvidence
	case err != nil:
		verdict, code = "unchecked", exitUnchecked
	}
	why := ""
	if err != nil {
		why = err.Error()
	}
	if a.json {
		b, err := json.MarshalIndent(struct {
			Verdict string         `json:"verdict"`
			Error   string         `json:"error,omitempty"`
			Report  *verify.Report `json:"report,omitempty"`
		}{verdict, why, report}, "", "  ")
		if err != nil {
			fmt.Fprintf(stderr, "countroom-verify: %s\n", clean(err.Error()))
			return exitUnchecked
		}
		fmt.Fprintf(stdout, "%s\n", b)
		return code
	}
	if report != nil {
		printReport(stdout, report)
	}
	if why != "" {
		fmt.Fprintf(stderr, "countroom-verify: %s\n", clean(why))
	}
	switch verdict {
	case "evidence":
		n := uint64(len(report.Findings)) + report.More
		if n == 1 {
			fmt.Fprintln(stdout, "EVIDENCE AGAINST THE HOUSE: 1 finding")
		} else {
			fmt.Fprintf(stdout, "EVIDENCE AGAINST THE HOUSE: %d findings\n", n)
		}
	case "ok":
		fmt.Fprintln(stdout, "OK")
	}
	return code
}

// checkLog returns no report when the check did not come to begin.
func checkLog(ctx context.Context, a *arguments, progress func(done, total uint64)) (*verify.Report, error) {
	opts := verify.Options{Workers: a.workers, Progress: progress}
	var err error
	if opts.VKey, err = line(a.vkey); err != nil {
		return nil, err
	}
	if opts.Trust, err = a.trust(); err != nil {
		return nil, err
	}
	for _, name := range a.known {
		data, err := read(name, nil, verify.KnownMost)
		if err != nil {
			return nil, err
		}
		opts.Known = append(opts.Known, verify.Known{Name: name, Data: data})
	}
	for _, name := range a.secrets {
		data, err := read(name, nil, secretMost)
		if err != nil {
			return nil, err
		}
		box, err := escrow.Decode(data)
		if err != nil {
			return nil, fmt.Errorf("--secret %s: %w", name, err)
		}
		opts.Opened = append(opts.Opened, verify.Opened{Name: name, Box: box})
	}
	opts.Seed, opts.Subjects = a.seed, a.subjects
	var src verify.Source
	if isURL(a.subject) {
		token := ""
		if a.token != "" {
			if token, err = line(a.token); err != nil {
				return nil, err
			}
		}
		if src, err = verify.HTTP(a.subject, token); err != nil {
			return nil, err
		}
		if opts.Workers == 0 {
			opts.Workers = max(8, runtime.GOMAXPROCS(0)) // most of the time they wait
		}
	} else {
		if info, err := os.Stat(a.subject); err != nil {
			return nil, err
		} else if !info.IsDir() {
			return nil, fmt.Errorf("%s: expected a directory with a log", a.subject)
		}
		src = verify.Dir(os.DirFS(a.subject))
	}
	if a.save == "" {
		return verify.Log(ctx, src, opts)
	}
	saving, err := verify.Save(src, a.save)
	if err != nil {
		return nil, err
	}
	report, err := verify.Log(ctx, saving, opts)
	if err == nil {
		err = saving.Done()
	}
	return report, err
}

// progress shows how far a long check is, on one line of a terminal or now and
// then in a file.
type progress struct {
	w        io.Writer
	terminal bool
	shown    bool
	next     time.Time
}

func newProgress(stderr io.Writer) *progress {
	p := &progress{w: stderr, next: time.Now().Add(2 * time.Second)}
	if f, ok := stderr.(*os.File); ok {
		info, err := f.Stat()
		p.terminal = err == nil && info.Mode()&os.ModeCharDevice != 0
	}
	return p
}

func (p *progress) show(done, total uint64) {
	now := time.Now()
	if now.Before(p.next) || total == 0 {
		return
	}
	text := fmt.Sprintf("%d of %d entries (%d%%)", done, total, uint64(float64(done)/float64(total)*100))
	if p.terminal {
		fmt.Fprintf(p.w, "\r%s", text)
		p.next = now.Add(200 * time.Millisecond)
	} else {
		fmt.Fprintln(p.w, text)
		p.next = now.Add(5 * time.Second)
	}
	p.shown = true
}

func (p *progress) clear() {
	if p.shown && p.terminal {
		fmt.Fprintf(p.w, "\r%s\r", bytes.Repeat([]byte(" "), 60))
	}
}
