//go:build js && wasm

package main

import (
	"syscall/js"

	"countroom/regulator/replay"
)

func main() {
	if err := replay.SelfTest(); err != nil {
		panic(err) // the page says that the program could not be loaded
	}
	js.Global().Set("countroom", js.ValueOf(map[string]any{
		"check":      js.FuncOf(check),
		"consistent": js.FuncOf(consistent),
		"size":       js.FuncOf(size),
	}))
	if ready := js.Global().Get("countroomReady"); ready.Type() == js.TypeFunction {
		ready.Invoke()
	}
	select {} // the functions stay
}

// check(vkey, answer, nonce, more…) returns a report.
func check(_ js.Value, args []js.Value) any {
	q := &replay.Question{VKey: text(args, 0), Answer: text(args, 1), Nonce: text(args, 2)}
	for i := 3; i < len(args); i++ {
		q.More = append(q.More, text(args, i))
	}
	return report(replay.Check(q))
}

// consistent(vkey, one, two, hashes) returns a report.
func consistent(_ js.Value, args []js.Value) any {
	hashes, err := replay.ParseHashes(text(args, 3))
	if err != nil {
		return map[string]any{"verdict": string(replay.Fails), "steps": []any{
			map[string]any{"state": string(replay.Fails), "title": "The proof can be read", "text": "It cannot: " + err.Error() + "."},
		}}
	}
	return report(replay.Consistent(text(args, 0), text(args, 1), text(args, 2), hashes))
}

// size(checkpoint) returns the size that a checkpoint names, or -1.
func size(_ js.Value, args []js.Value) any {
	n, err := replay.Size(text(args, 0))
	if err != nil {
		return -1
	}
	return float64(n)
}

// text returns an argument that is a string.
func text(args []js.Value, i int) string {
	if i < len(args) && args[i].Type() == js.TypeString {
		return args[i].String()
	}
	return ""
}

func report(r *replay.Report) map[string]any {
	steps := []any{}
	for _, s := range r.Steps {
		steps = append(steps, map[string]any{"state": string(s.State), "title": s.Title, "text": s.Text})
	}
	return map[string]any{
		"verdict": string(r.Verdict()), "steps": steps, "index": float64(r.Index), "type": r.Type, "size": float64(r.Size), "leaf": string(r.Leaf), "round": round(r.Round),
	}
}

func round(r *replay.Round) any {
	if r == nil {
		return nil
	}
	spins := []any{}
	for _, s := range r.Spins {
		rows, wins := []any{}, []any{}
		for _, row := range s.Cells {
			cells := []any{}
			for _, c := range row {
				cells = append(cells, map[string]any{"symbol": c.Symbol, "lit": c.Lit})
			}
			rows = append(rows, cells)
		}
		for _, w := range s.Wins {
			wins = append(wins, map[string]any{"line": w.Line, "count": w.Count, "symbol": w.Symbol, "pay": w.Pay.Decimal()})
		}
		scatterPay := ""
		if s.ScatterPay.Amount > 0 {
			scatterPay = s.ScatterPay.Decimal()
		}
		spins = append(spins, map[string]any{
			"free": s.Free, "multiplier": float64(s.Multiplier), "rows": rows, "wins": wins, "scatters": s.Scatters, "scatterPay": scatterPay, "awarded": s.Awarded, "pay": s.Pay.Decimal(),
		})
	}
	return map[string]any{"game": r.Game, "release": r.Release, "stake": r.Stake.Decimal(), "payout": r.Payout.Decimal(), "capped": r.Capped, "spins": spins}
}
