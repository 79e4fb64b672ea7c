package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"countroom/ledger/entry"
)

// arguments are the command line, whose flags may stand anywhere.
type arguments struct {
	command string // "receipt", "log", "evidence", "dispute", "assessment", "help", "version"
	subject string // FILE, URL or DIR

	vkey, token, save string
	history           string
	certificate       string
	known, secrets    []string
	seed              uint64 // of countroom-verify seed open
	json              bool
	workers           int // 0: not given
	witnesses         []string
	quorum            int
	subjects          func(uint64, entry.Record) // of countroom-verify subjects: see verify.Options
}

// looksLikeVKey tells a verifier key from the name of a file.
func looksLikeVKey(s string) bool { return strings.Count(s, "+") >= 2 }

func isURL(s string) bool { return strings.HasPrefix(s, "http://") || strings.HasPrefix(s, "https://") }

func isDir(s string) bool {
	info, err := os.Stat(s)
	return err == nil && info.IsDir()
}

func parse(args []string) (*arguments, error) {
	if len(args) == 0 {
		return nil, errors.New("expected a command: receipt, log, export, vault, subjects, watch, evidence, seed, assessment, version")
	}
	a := &arguments{}
	var plain []string // what is no flag
	known, witness, flags := false, false, true
	for i := 0; i < len(args); i++ {
		arg := args[i]
		if arg == "--" && flags {
			flags, known, witness = false, false, false
			continue
		}
		if !flags || arg == "-" || !strings.HasPrefix(arg, "-") {
			if known && !isURL(arg) && !isDir(arg) {
				a.known = append(a.known, arg)
			} else if witness && looksLikeVKey(arg) {
				a.witnesses = append(a.witnesses, arg)
			} else {
				plain = append(plain, arg)
			}
			continue
		}
		known, witness = false, false
		name, value, given := strings.Cut(strings.TrimLeft(arg, "-"), "=")
		next := func() (string, error) {
			if given {
				return value, nil
			}
			if i++; i >= len(args) || strings.HasPrefix(args[i], "--") {
				return "", fmt.Errorf("--%s: expected a value", name)
			}
			return args[i], nil
		}
		var err error
		switch name {
		case "h", "help":
			return &arguments{command: "help"}, nil
		case "version":
			return &arguments{command: "version"}, nil
		case "vkey":
			a.vkey, err = next()
		case "token":
			a.token, err = next()
		case "history":
			a.history, err = next()
		case "certificate":
			a.certificate, err = next()
		case "save":
			a.save, err = next()
		case "known":
			var file string
			file, err = next()
			a.known = append(a.known, file)
			known = true
		case "secret":
			var file string
			file, err = next()
			a.secrets = append(a.secrets, file)
		case "witness":
			var key string
			key, err = next()
			a.witnesses = append(a.witnesses, key)
			witness = true
		case "quorum":
			if value, err = next(); err == nil {
				if a.quorum, err = strconv.Atoi(value); err != nil || a.quorum < 1 {
					err = fmt.Errorf("--quorum %s: expected how many of the witnesses, from 1", value)
				}
			}
		case "json":
			a.json = true
			if given {
				a.json, err = strconv.ParseBool(value)
			}
		case "workers":
			if value, err = next(); err == nil {
				if a.workers, err = strconv.Atoi(value); err != nil || a.workers < 1 || a.workers > 1024 {
					err = fmt.Errorf("--workers %s: expected 1 to 1024", value)
				}
			}
		default:
			return nil, fmt.Errorf("unknown flag %s", arg)
		}
		if err != nil {
			return nil, err
		}
	}
	if len(plain) == 0 {
		return nil, errors.New("expected a command: receipt, log, export, vault, subjects, watch, evidence, seed, assessment, version")
	}
	a.command = plain[0]
	what := ""
	switch a.command {
	case "help", "version":
		return a, nil
	case "receipt":
		what = "one FILE with a saved answer"
		if a.token != "" || a.save != "" || a.known != nil || a.secrets != nil || a.json || a.workers != 0 {
			return nil, errors.New("receipt: expected no flags but --vkey, --history, --witness and --quorum")
		}
	case "evidence":
		what = "one FILE of evidence"
		if a.token != "" || a.save != "" || a.known != nil || a.secrets != nil || a.json || a.workers != 0 || a.witnesses != nil {
			return nil, errors.New("evidence: expected no flags but --vkey and --history")
		}
	case "dispute":
		what = "one FILE with a dispute pack"
		if a.token != "" || a.save != "" || a.known != nil || a.secrets != nil || a.json || a.workers != 0 || a.witnesses != nil || a.history != "" {
			return nil, errors.New("dispute: expected no flag but --vkey")
		}
	case "assessment":
		what = "one DIR with an examination"
		if a.token != "" || a.save != "" || a.known != nil || a.json || a.workers != 0 {
			return nil, errors.New("assessment: expected no flags but --vkey and --history")
		}
	case "export":
		what = "one FILE with an export"
		if a.token != "" || a.save != "" || a.known != nil || a.secrets != nil || a.workers != 0 {
			return nil, errors.New("export: expected no flags but --vkey, --history, --certificate, --witness, --quorum and --json")
		}
	case "log":
		what = "one URL or DIR of a log"
		if a.history != "" {
			return nil, errors.New("log: expected no --history: the log itself leads from key to key")
		}
	default:
		return nil, fmt.Errorf("unknown command %q: expected receipt, log, export, vault, subjects, watch, evidence, seed, assessment or version", a.command)
	}
	if len(plain) != 2 {
		return nil, fmt.Errorf("%s: expected %s, got %d arguments", a.command, what, len(plain)-1)
	}
	a.subject = plain[1]
	switch {
	case a.vkey == "" && a.command == "evidence" && a.history == "":
	case a.vkey == "":
		return nil, fmt.Errorf("%s: expected --vkey FILE, the house's verifier key", a.command)
	case a.certificate != "" && a.command != "export":
		return nil, errors.New("--certificate: expected with export only")
	case a.quorum > len(a.witnesses):
		return nil, fmt.Errorf("--quorum %d: expected at most the %d witnesses given as --witness", a.quorum, len(a.witnesses))
	case !isURL(a.subject) && a.save != "":
		return nil, errors.New("--save: expected with the URL of a house only")
	case !isURL(a.subject) && a.token != "":
		return nil, errors.New("--token: expected with the URL of a house only")
	}
	return a, nil
}
