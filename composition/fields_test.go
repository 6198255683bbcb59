package composition

import (
	"testing"

	"k8s.io/apimachinery/pkg/util/json"
)

func decode(t testing.TB, text string) any {
	t.Helper()
	var value any
	if err := json.Unmarshal([]byte(text), &value); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return value
}

func TestSameFields(t *testing.T) {
	tests := map[string]struct {
		desired, owned string
		differing      string // "" if they are the same
	}{
		"a map":                  {`{"a":1,"b":{"c":"x"}}`, `{"f:a":{},"f:b":{"f:c":{}}}`, ""},
		"a field taken":          {`{"a":1,"b":{"c":"x"}}`, `{"f:a":{},"f:b":{}, "f:d":{}}`, ".d"},
		"a field too little":     {`{"a":1,"b":{"c":"x","d":1}}`, `{"f:a":{},"f:b":{"f:c":{}}}`, ".b.d"},
		"a field too much":       {`{"b":{"c":"x"}}`, `{"f:b":{".":{},"f:c":{},"f:d":{}}}`, ".b.d"},
		"a leaf of many fields":  {`{"a":{"b":[1,2]}}`, `{"f:a":{}}`, ""},
		"the item itself":        {`{"a":{"b":1}}`, `{"f:a":{".":{}}}`, ""},
		"a value where a map is": {`{"a":"x"}`, `{"f:a":{"f:b":{}}}`, ".a"},
		"nothing where a map is": {`{"a":null}`, `{"f:a":{"f:b":{}}}`, ".a"},
		"items by name":          {`{"env":[{"name":"A","value":"1"}]}`, `{"f:env":{"k:{\"name\":\"A\"}":{".":{},"f:name":{},"f:value":{}}}}`, ""},
		"an item taken":          {`{"env":[{"name":"A"},{"name":"B"}]}`, `{"f:env":{"k:{\"name\":\"A\"}":{".":{},"f:name":{}}}}`, ".env"},
		"an item too much":       {`{"env":[]}`, `{"f:env":{"k:{\"name\":\"A\"}":{".":{},"f:name":{}}}}`, `.env[{"name":"A"}]`},
		"a field of an item":     {`{"env":[{"name":"A","value":"1"}]}`, `{"f:env":{"k:{\"name\":\"A\"}":{".":{},"f:name":{}}}}`, `.env[{"name":"A"}].value`},
		"items by two keys":      {`{"p":[{"port":1,"protocol":"TCP"},{"port":1,"protocol":"UDP"}]}`, `{"f:p":{"k:{\"port\":1,\"protocol\":\"TCP\"}":{},"k:{\"port\":1,\"protocol\":\"UDP\"}":{}}}`, ""},
		"a defaulted key":        {`{"p":[{"port":1,"protocol":"UDP"},{"port":1}]}`, `{"f:p":{"k:{\"port\":1,\"protocol\":\"TCP\"}":{},"k:{\"port\":1,\"protocol\":\"UDP\"}":{}}}`, ""},
		"a large key":            {`{"p":[{"port":12345678}]}`, `{"f:p":{"k:{\"port\":12345678}":{}}}`, ""},
		"another key":            {`{"p":[{"port":2}]}`, `{"f:p":{"k:{\"port\":1}":{}}}`, `.p[{"port":1}]`},
		"a set":                  {`{"s":["a","b"]}`, `{"f:s":{"v:\"a\"":{},"v:\"b\"":{}}}`, ""},
		"a set of numbers":       {`{"s":[1,2000000]}`, `{"f:s":{"v:1":{},"v:2000000":{}}}`, ""},
		"a member taken":         {`{"s":["a","b"]}`, `{"f:s":{"v:\"a\"":{}}}`, ".s"},
		"a member too much":      {`{"s":["a"]}`, `{"f:s":{"v:\"a\"":{},"v:\"b\"":{}}}`, `.s["b"]`},
		"maps in a set":          {`{"s":[{"a":1}]}`, `{"f:s":{"v:{\"a\":1}":{}}}`, `.s[{"a":1}]`},
		"keys that are no JSON":  {`{"s":[{"a":1}]}`, `{"f:s":{"k:{":{}}}`, `.s[{]`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			differing, same := OwnsExactly(decode(t, test.desired), decode(t, test.owned).(map[string]any), "")
			if same != (test.differing == "") || differing != test.differing {
				t.Errorf("got %v, %q, want %q", same, differing, test.differing)
			}
		})
	}
}

func TestSameScalar(t *testing.T) {
	same := [][2]any{{int64(1), int64(1)}, {int64(2000000), float64(2000000)}, {float64(3), int64(3)}, {"a", "a"}, {true, true}, {nil, nil}}
	for _, pair := range same {
		if !sameScalar(pair[0], pair[1]) {
			t.Errorf("%v (%T) and %v (%T) are not the same", pair[0], pair[0], pair[1], pair[1])
		}
	}
	different := [][2]any{{int64(1), "1"}, {int64(1), true}, {"a", nil}, {nil, false}, {float64(1.5), int64(1)},
		{map[string]any{}, map[string]any{}}, {[]any{}, []any{}}, {"a", map[string]any{}}}
	for _, pair := range different {
		if sameScalar(pair[0], pair[1]) {
			t.Errorf("%v (%T) and %v (%T) are the same", pair[0], pair[0], pair[1], pair[1])
		}
	}
}

// Whatever JSON is rendered, and whatever managedFields say, nothing panics; and
// what is contained in itself is found so.
func FuzzMatch(f *testing.F) {
	f.Add(`{"a":[{"name":"x","v":1}],"b":[1,"y",null]}`, `{"f:a":{"k:{\"name\":\"x\"}":{".":{},"f:v":{}}},"f:b":{"v:1":{}}}`)
	f.Add(`[[{}],[[]],""]`, `{"v:[{}]":{},"k:{}":{},"k:null":{}}`)
	f.Add(`{"":{"":0}}`, `{"f:":{"f:":{"f:":null}}}`)
	f.Fuzz(func(t *testing.T, left, right string) {
		var a, b any
		if json.Unmarshal([]byte(left), &a) != nil || json.Unmarshal([]byte(right), &b) != nil {
			return
		}
		owned, _ := b.(map[string]any)
		OwnsExactly(a, owned, "")
		containedIn(a, b, "")
		containedIn(b, a, "")
		firstDifference(a, b, "")
		if where, ok := containedIn(a, a, ""); !ok {
			t.Errorf("%s is not contained in itself: %s", left, where)
		}
		if fields, isMap := a.(map[string]any); isMap {
			if where, same := OwnsExactly(fields, fieldsOf(fields), ""); !same {
				t.Errorf("%s does not have its own fields: %s", left, where)
			}
		}
	})
}

func TestTookFrom(t *testing.T) {
	const desired = `{"data":{"a":"1"},"env":[{"name":"A","value":"1"}]}`
	const ours = `{"f:data":{},"f:env":{"k:{\"name\":\"A\"}":{".":{},"f:name":{}}}}`
	for theirs, took := range map[string]bool{
		`{}`: false,
		`{"f:metadata":{"f:annotations":{"f:x":{}}}}`:                        false,
		`{"f:data":{"f:a":{}}}`:                                              true,
		`{"f:data":{"f:b":{}}}`:                                              false,
		`{"f:env":{"k:{\"name\":\"A\"}":{".":{},"f:name":{}}}}`:              false,
		`{"f:env":{"k:{\"name\":\"A\"}":{".":{},"f:name":{},"f:value":{}}}}`: true,
		`{"f:env":{"k:{\"name\":\"B\"}":{".":{},"f:name":{},"f:value":{}}}}`: false,
		`{"f:env":{"k:{":{}}}`:                                               false,
	} {
		got := tookFrom(decode(t, desired), decode(t, theirs).(map[string]any), decode(t, ours).(map[string]any))
		if got != took {
			t.Errorf("%s: got %v", theirs, got)
		}
	}
}
