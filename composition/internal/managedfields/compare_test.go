package managedfields

import (
	"fmt"
	"testing"

	"github.com/seldon-operator/seldon-operator/composition/internal/jsontest"
)

func TestOwnsExactly(t *testing.T) {
	tests := map[string]struct {
		desired, owned string
		differing      string // "" if they are equal
	}{
		"a map":                                {`{"a":1,"b":{"c":"x"}}`, `{"f:a":{},"f:b":{"f:c":{}}}`, ""},
		"a field that is owned only":           {`{"a":1,"b":{"c":"x"}}`, `{"f:a":{},"f:b":{}, "f:d":{}}`, ".d"},
		"a field that is not owned":            {`{"a":1,"b":{"c":"x","d":1}}`, `{"f:a":{},"f:b":{"f:c":{}}}`, ".b.d"},
		"a nested field that is owned only":    {`{"b":{"c":"x"}}`, `{"f:b":{".":{},"f:c":{},"f:d":{}}}`, ".b.d"},
		"a leaf of many fields":                {`{"a":{"b":[1,2]}}`, `{"f:a":{}}`, ""},
		"the item itself":                      {`{"a":{"b":1}}`, `{"f:a":{".":{}}}`, ""},
		"a value in place of a map":            {`{"a":"x"}`, `{"f:a":{"f:b":{}}}`, ".a"},
		"null in place of a map":               {`{"a":null}`, `{"f:a":{"f:b":{}}}`, ".a"},
		"items by name":                        {`{"env":[{"name":"A","value":"1"}]}`, `{"f:env":{"k:{\"name\":\"A\"}":{".":{},"f:name":{},"f:value":{}}}}`, ""},
		"an item that is not owned":            {`{"env":[{"name":"A"},{"name":"B"}]}`, `{"f:env":{"k:{\"name\":\"A\"}":{".":{},"f:name":{}}}}`, ".env"},
		"an item that is owned only":           {`{"env":[]}`, `{"f:env":{"k:{\"name\":\"A\"}":{".":{},"f:name":{}}}}`, `.env[{"name":"A"}]`},
		"a field of an item that is not owned": {`{"env":[{"name":"A","value":"1"}]}`, `{"f:env":{"k:{\"name\":\"A\"}":{".":{},"f:name":{}}}}`, `.env[{"name":"A"}].value`},
		"items by two keys":                    {`{"p":[{"port":1,"protocol":"TCP"},{"port":1,"protocol":"UDP"}]}`, `{"f:p":{"k:{\"port\":1,\"protocol\":\"TCP\"}":{},"k:{\"port\":1,\"protocol\":\"UDP\"}":{}}}`, ""},
		"a defaulted key":                      {`{"p":[{"port":1,"protocol":"UDP"},{"port":1}]}`, `{"f:p":{"k:{\"port\":1,\"protocol\":\"TCP\"}":{},"k:{\"port\":1,\"protocol\":\"UDP\"}":{}}}`, ""},
		"a large key":                          {`{"p":[{"port":12345678}]}`, `{"f:p":{"k:{\"port\":12345678}":{}}}`, ""},
		"another key":                          {`{"p":[{"port":2}]}`, `{"f:p":{"k:{\"port\":1}":{}}}`, `.p[{"port":1}]`},
		"a set":                                {`{"s":["a","b"]}`, `{"f:s":{"v:\"a\"":{},"v:\"b\"":{}}}`, ""},
		"a set of numbers":                     {`{"s":[1,2000000]}`, `{"f:s":{"v:1":{},"v:2000000":{}}}`, ""},
		"a member that is not owned":           {`{"s":["a","b"]}`, `{"f:s":{"v:\"a\"":{}}}`, ".s"},
		"a member that is owned only":          {`{"s":["a"]}`, `{"f:s":{"v:\"a\"":{},"v:\"b\"":{}}}`, `.s["b"]`},
		"maps in a set":                        {`{"s":[{"a":1}]}`, `{"f:s":{"v:{\"a\":1}":{}}}`, `.s[{"a":1}]`},
		"keys that are not JSON":               {`{"s":[{"a":1}]}`, `{"f:s":{"k:{":{}}}`, `.s[{]`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			differing, same := OwnsExactly(jsontest.Decode(t, test.desired), jsontest.Decode(t, test.owned).(map[string]any), "")
			if same != (test.differing == "") || differing != test.differing {
				t.Errorf("got %v, %q, want %q", same, differing, test.differing)
			}
		})
	}
}

func TestOwnsAnyOf(t *testing.T) {
	const desired = `{"data":{"a":"1"},"env":[{"name":"A","value":"1"}]}`
	const own = `{"f:data":{},"f:env":{"k:{\"name\":\"A\"}":{".":{},"f:name":{}}}}`
	for other, want := range map[string]bool{
		`{}`: false,
		`{"f:metadata":{"f:annotations":{"f:x":{}}}}`:                        false,
		`{"f:data":{"f:a":{}}}`:                                              true,
		`{"f:data":{"f:b":{}}}`:                                              false,
		`{"f:env":{"k:{\"name\":\"A\"}":{".":{},"f:name":{}}}}`:              false,
		`{"f:env":{"k:{\"name\":\"A\"}":{".":{},"f:name":{},"f:value":{}}}}`: true,
		`{"f:env":{"k:{\"name\":\"B\"}":{".":{},"f:name":{},"f:value":{}}}}`: false,
		`{"f:env":{"k:{":{}}}`:                                               false,
	} {
		got := ownsAnyOf(jsontest.Decode(t, desired), jsontest.Decode(t, other).(map[string]any), jsontest.Decode(t, own).(map[string]any))
		if got != want {
			t.Errorf("%s: got %v", other, got)
		}
	}
}

// BenchmarkOwnership compares a long list with the ownership of its fields.
func BenchmarkOwnership(b *testing.B) {
	for _, count := range []int{1_000, 10_000, 100_000} {
		var ports []any
		owned := map[string]any{}
		for i := range count {
			ports = append(ports, map[string]any{"containerPort": int64(i)})
			owned[fmt.Sprintf(`k:{"containerPort":%d,"protocol":"TCP"}`, i)] = map[string]any{".": map[string]any{}, "f:containerPort": map[string]any{}}
		}
		b.Run(fmt.Sprint(count), func(b *testing.B) {
			for b.Loop() {
				if where, same := OwnsExactly(ports, owned, ""); !same {
					b.Fatal(where)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*count), "ns/item")
		})
	}
}
