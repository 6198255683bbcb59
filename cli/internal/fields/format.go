package fields

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"unicode/utf8"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Masked describes a value that must not be printed.
type Masked string

// Format returns a value in one line of at most width characters, 0 for any number: a plain
// string as it is, others as JSON. A value that is cut ends with "...", absent is "(none)".
func Format(value any, width int) string {
	var text string
	switch value := value.(type) {
	case nil:
		text = "(none)"
	case Masked:
		text = string(value)
	case string:
		text = value
		if !isPlain(value) {
			text = compact(value)
		}
	default:
		text = compact(value)
	}
	if width > 0 && utf8.RuneCountInString(text) > width {
		const cut = "..."
		text = string([]rune(text)[:max(width-len(cut), 0)]) + cut
	}
	return text
}

// isPlain reports whether a string is unambiguous and readable without quotes.
func isPlain(text string) bool {
	if text == "" || text != strings.TrimSpace(text) {
		return false
	}
	if _, err := strconv.ParseFloat(text, 64); err == nil {
		return false
	}
	switch text {
	case "true", "false", "null", "(none)":
		return false
	}
	for _, r := range text {
		if !strconv.IsPrint(r) || r == '"' {
			return false
		}
	}
	return !strings.ContainsRune("{[", rune(text[0]))
}

// compact returns a value as JSON in one line.
func compact(value any) string {
	buffer := &bytes.Buffer{}
	encoder := json.NewEncoder(buffer)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return fmt.Sprint(value)
	}
	return strings.TrimSuffix(buffer.String(), "\n")
}

// Mask replaces the values of a Secret in changes: "(12 bytes)" and, for the new value,
// "(12 bytes, changed)". Changes of other kinds are returned as they are.
func Mask(kind schema.GroupKind, changes []Change) []Change {
	if kind.Group != "" || kind.Kind != "Secret" {
		return changes
	}
	masked := make([]Change, len(changes))
	for i, change := range changes {
		if root := change.Elements[0].Field; root == "data" || root == "stringData" {
			added := change.Old == nil
			change.Old = mask(change.Old, root == "data", false)
			change.New = mask(change.New, root == "data", !added)
		}
		masked[i] = change
	}
	return masked
}

// MaskObject returns an object with the values of a Secret replaced; others as they are.
func MaskObject(kind schema.GroupKind, object map[string]any) map[string]any {
	if kind.Group != "" || kind.Kind != "Secret" {
		return object
	}
	result := maps.Clone(object)
	for _, root := range []string{"data", "stringData"} {
		if value, has := object[root]; has {
			result[root] = mask(value, root == "data", false)
		}
	}
	return result
}

func mask(value any, encoded, changed bool) any {
	switch value := value.(type) {
	case nil:
		return nil
	case map[string]any:
		result := make(map[string]any, len(value))
		for key, each := range value {
			result[key] = string(mask(each, encoded, changed).(Masked))
		}
		return result
	case string:
		length := len(value)
		if decoded, err := base64.StdEncoding.DecodeString(value); encoded && err == nil {
			length = len(decoded)
		}
		if changed {
			return Masked(fmt.Sprintf("(%d bytes, changed)", length))
		}
		return Masked(fmt.Sprintf("(%d bytes)", length))
	}
	return Masked("(masked)")
}
