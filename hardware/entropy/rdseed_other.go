//go:build !amd64

package entropy

import (
	"errors"
	"runtime"
)

var errNoRDSEED = errors.New("RDSEED is an instruction of amd64 processors, and this is " + runtime.GOARCH)

func rdseedWord() (uint64, error) { return 0, errNoRDSEED }

func rdseedThere() error { return errNoRDSEED }
