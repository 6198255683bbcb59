package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

const generated = "../bases"

// TestRelaxed checks that the committed CRDs are the output of this program, and that it
// does not change anything else.
func TestRelaxed(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(generated, "*.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no CRDs in %s: %v", generated, err)
	}
	directory := t.TempDir()
	before := map[string][]byte{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		before[filepath.Base(file)] = text
		if err := os.WriteFile(filepath.Join(directory, filepath.Base(file)), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := relaxAll(directory); err != nil {
		t.Fatal(err)
	}
	for name, want := range before {
		got, err := os.ReadFile(filepath.Join(directory, name))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s differs from the output of this program: run \"make manifests\"", name)
		}
	}
}

func TestRelax(t *testing.T) {
	const crd = `spec:
  versions:
  - name: v1
    schema:
      openAPIV3Schema:
        properties:
          status:
            properties:
              conditions:
                items:
                  properties:
                    lastTransitionTime: {type: string, format: date-time}
                    message: {type: string, maxLength: 9}
                    observedGeneration: {type: integer, format: int64, minimum: 0}
                    reason: {type: string, minLength: 1, pattern: a}
                    status: {type: string, enum: ["True"]}
                    type: {type: string, pattern: a, maxLength: 9, title: a}
                  required: [lastTransitionTime, message, reason, status, type]
`
	const want = `---
spec:
  versions:
  - name: v1
    schema:
      openAPIV3Schema:
        properties:
          status:
            properties:
              conditions:
                items:
                  properties:
                    lastTransitionTime:
                      type: string
                    message:
                      type: string
                    observedGeneration:
                      format: int64
                      minimum: 0
                      type: integer
                    reason:
                      type: string
                    severity:
                      type: string
                    status:
                      enum:
                      - "True"
                      type: string
                    type:
                      title: a
                      type: string
                  required:
                  - status
                  - type
`
	file := filepath.Join(t.TempDir(), "crd.yaml")
	if err := os.WriteFile(file, []byte(crd), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := relaxFile(file); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestRelaxNothing(t *testing.T) {
	if err := relaxAll(t.TempDir()); err == nil {
		t.Error("no error for a directory without CRDs")
	}
}
