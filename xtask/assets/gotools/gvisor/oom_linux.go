// Package sys: the OOM score calls of containerd's sys package, for machines without CAP_SYS_RESOURCE.
//
// gVisor's shim lowers its own OOM score and gives up when the kernel refuses. containerd's own file excuses a
// refusal only outside the initial user namespace, so this file takes its place in the vendored module.
package sys

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"syscall"
)

// The range that the kernel accepts (include/uapi/linux/oom.h).
const (
	OOMScoreAdjMin = -1000
	OOMScoreAdjMax = 1000
)

// The module's language version is older than the built-in min and max.
func inRange(score int) bool {
	return OOMScoreAdjMin <= score && score <= OOMScoreAdjMax
}

func oomPath(pid int) string {
	return fmt.Sprintf("/proc/%d/oom_score_adj", pid)
}

// AdjustOOMScore sets a process's score, brought into the range first.
func AdjustOOMScore(pid, score int) error {
	switch {
	case score < OOMScoreAdjMin:
		score = OOMScoreAdjMin
	case score > OOMScoreAdjMax:
		score = OOMScoreAdjMax
	}
	return SetOOMScore(pid, score)
}

// SetOOMScore sets a process's score. A score that may not be set stays as it is.
func SetOOMScore(pid, score int) error {
	if !inRange(score) {
		return fmt.Errorf("OOM score %d of process %d is not between %d and %d", score, pid, OOMScoreAdjMin, OOMScoreAdjMax)
	}
	err := os.WriteFile(oomPath(pid), []byte(strconv.Itoa(score)), 0)
	if errors.Is(err, syscall.EACCES) || errors.Is(err, syscall.EPERM) {
		return nil
	}
	return err
}

// GetOOMScoreAdj reads a process's score.
func GetOOMScoreAdj(pid int) (int, error) {
	text, err := os.ReadFile(oomPath(pid))
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(string(bytes.TrimSpace(text)))
}
