//go:build tools

// Package tools pins the kind that the test cluster uses where a Docker engine answers.
package tools

import _ "sigs.k8s.io/kind"
