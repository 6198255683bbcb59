package v1alpha1_test

import (
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/seldon-operator/seldon-operator/api/v1alpha1"
)

func TestScalingBounds(t *testing.T) {
	n := func(value int64) *int64 { return &value }
	const unlimited = v1alpha1.UnlimitedReplicas
	for _, test := range []struct {
		replicas, minimum, maximum             *int64
		wantReplicas, wantMinimum, wantMaximum uint32
		err                                    string
	}{
		{nil, nil, nil, 1, 0, unlimited, ""},
		{nil, nil, n(0), 1, 0, unlimited, ""},
		{nil, nil, n(-1), 1, 0, unlimited, ""},
		{nil, nil, n(2), 1, 0, 2, ""},
		{nil, n(0), nil, 1, 0, unlimited, ""},
		{nil, n(2), nil, 2, 2, unlimited, ""},
		{nil, n(3), n(1), 0, 0, 0, "minReplicas 3 exceeds maxReplicas 1"},
		{n(0), nil, nil, 0, 0, unlimited, ""},
		{n(0), n(0), n(4), 0, 0, 4, ""},
		{n(0), n(1), nil, 0, 0, 0, "replicas 0 is below minReplicas 1"},
		{n(2), n(1), n(3), 2, 1, 3, ""},
		{n(2), nil, nil, 2, 0, unlimited, ""},
		{n(4), n(4), n(4), 4, 4, 4, ""},
		{n(1), n(2), n(4), 0, 0, 0, "replicas 1 is below minReplicas 2"},
		{n(5), n(1), n(4), 0, 0, 0, "replicas 5 exceeds maxReplicas 4"},
		{n(6), n(6), n(4), 0, 0, 0, "minReplicas 6 exceeds maxReplicas 4"},
		{n(-1), nil, nil, 1, 0, unlimited, ""},
		{n(-1), n(-2), n(7), 1, 0, 7, ""},
		{n(-1), n(1), nil, 0, 0, 0, "replicas -1 is below minReplicas 1"},
		{n(math.MaxUint32), nil, nil, math.MaxUint32, 0, unlimited, ""},
		{n(1), nil, n(math.MaxInt64), 1, 0, unlimited, ""},
		{n(math.MaxInt64), nil, nil, 0, 0, 0, "replicas 9223372036854775807 exceeds maxReplicas 4294967295"},
		{n(math.MaxInt64), nil, n(math.MaxInt64), 0, 0, 0, "replicas 9223372036854775807 exceeds maxReplicas 4294967295"},
		{nil, n(math.MaxInt64), nil, 0, 0, 0, "minReplicas 9223372036854775807 exceeds maxReplicas 4294967295"},
	} {
		spec := v1alpha1.ScalingSpec{Replicas: test.replicas, MinReplicas: test.minimum, MaxReplicas: test.maximum}
		replicas, minimum, maximum, err := spec.Bounds()
		if replicas != test.wantReplicas || minimum != test.wantMinimum || maximum != test.wantMaximum {
			t.Errorf("bounds of %s: %d, %d, %d; want %d, %d, %d", mustMarshal(t, spec),
				replicas, minimum, maximum, test.wantReplicas, test.wantMinimum, test.wantMaximum)
		}
		if (err == nil) != (test.err == "") || err != nil && (!strings.HasPrefix(err.Error(), "invalid scaling: "+test.err+": ") || !errors.Is(err, v1alpha1.ErrScaling)) {
			t.Errorf("bounds of %s: error %v, want %q", mustMarshal(t, spec), err, test.err)
		}
	}
}

func TestMemoryBytes(t *testing.T) {
	text, number := v1alpha1.FromString, v1alpha1.FromInt
	for _, test := range []struct {
		memory v1alpha1.IntOrString
		want   uint64
		err    string
	}{
		{text("1M"), 1e6, ""},
		{text("1Mi"), 1 << 20, ""},
		{text("1e3"), 1000, ""},
		{number(1000000), 1e6, ""},
		{text("1.5Gi"), 3 << 29, ""},
		{text("1.5G"), 15e8, ""},
		{text("1.0"), 1, ""},
		{text("2000m"), 2, ""},
		{text("1.1Gi"), 1181116007, ""},
		{text("1n"), 1, ""},
		{text("0"), 0, ""},
		{text("9223372036854775806"), math.MaxInt64 - 1, ""},
		{text("8Ei"), 0, `memory "8Ei" is 8Ei or more`},
		{number(math.MaxInt64), 0, `memory "9223372036854775807" is 8Ei or more`},
		{text("-1M"), 0, `memory "-1M" is negative`},
		{number(-1), 0, `memory "-1" is negative`},
		{text("1e-99999999"), 0, `memory "1e-99999999": the exponent of the quantity is out of range`},
		{text("1e1.5"), 0, `memory "1e1.5": `},
		{text(""), 0, `memory "": `},
	} {
		got, err := (&v1alpha1.ModelSpec{Memory: &test.memory}).MemoryBytes()
		switch {
		case test.err != "":
			if got != nil || err == nil || !strings.HasPrefix(err.Error(), test.err) {
				t.Errorf("bytes of %s: %v, %v; want error %q", &test.memory, got, err, test.err)
			}
		case err != nil || got == nil || *got != test.want:
			t.Errorf("bytes of %s: %v, %v; want %d", &test.memory, got, err, test.want)
		}
	}
	if got, err := (&v1alpha1.ModelSpec{}).MemoryBytes(); got != nil || err != nil {
		t.Errorf("bytes of no memory: %v, %v", got, err)
	}
}
