package verify
import ("testing";"countroom/ledger/tlog";"countroom/rngcert/epoch";"countroom/regulator/verify/logtest";"time")
func TestTmp(t *testing.T){
	h := logtest.New(logtest.Config{Seed: 7, Step: time.Millisecond, Limits: epoch.Limits{AgeSeconds: 600, Draws: 2_000, RevealDelaySeconds: 1}})
	var who []logtest.Player
	for range 1000 { who = append(who, h.Join(50_000)) }
	h.Play(who, 20_000); h.Wait(time.Minute); h.Turn()
	files := h.Publish()
	best, leaf := time.Duration(1<<62), time.Duration(1<<62)
	b := make([]byte, 945)
	for range 150 {
		s := cpu(); r, err := Log(t.Context(), Dir(files), Options{VKey: h.VKey}); best = min(best, cpu()-s)
		if err != nil || !r.OK() { t.Fatal(err) }
		for range 20 { s := time.Now(); for range 1000 { tlog.LeafHash(b) }; leaf = min(leaf, time.Since(s)/1000) }
	}
	t.Logf("best %.0f entries/cpu-s, leaf hash %v, proven share", float64(h.Size())/best.Seconds(), leaf)
}
