// Package goid tells goroutines apart, whatever Go it is built with.
//
// gVisor's own file reads the number at an offset in the runtime's structure that it knows up to Go 1.24. With Go 1.25
// and later it reads a neighbour there, and now and then a sandbox dies of "assertTaskGoroutine". The runtime's own
// text is slower and always right.
package goid

import (
	"bytes"
	"runtime"
	"strconv"
)

// Get returns the number of the current goroutine.
func Get() int64 {
	// "goroutine 18 [running]:..."
	var text [64]byte
	fields := bytes.Fields(text[:runtime.Stack(text[:], false)])
	if len(fields) < 2 {
		panic("runtime.Stack does not name the goroutine")
	}
	id, err := strconv.ParseInt(string(fields[1]), 10, 64)
	if err != nil {
		panic(err)
	}
	return id
}
