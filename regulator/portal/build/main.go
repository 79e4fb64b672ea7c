// Command build builds the checking program of the portal's pages, package
// replay as WebAssembly, into the folder assets: "make wasm" runs it.
package main

import (
	"log"
	"os"

	"countroom/regulator/portal/program"
)

func main() {
	log.SetFlags(0)
	p, err := program.Build(".")
	if err != nil {
		log.Fatal(err)
	}
	for name, b := range map[string][]byte{"replay.wasm.gz": p.Packed, "wasm_exec.js": p.Exec, "replay.sources": []byte(p.Sources + "\n")} {
		if err := os.WriteFile("assets/"+name, b, 0o644); err != nil {
			log.Fatal(err)
		}
	}
}
