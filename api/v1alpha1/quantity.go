package v1alpha1

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/json"
)

// Parsing a quantity takes time that grows with its exponent: 1e-99999999 takes
// resource.ParseQuantity more than a minute, and the schema that Kubernetes'
// own types have lets it pass. Whoever may create a Server could so stop an
// operator that decodes it. Nothing here is parsed before it was looked at.

// maxExponentDigits is how many digits the exponent of a quantity may have; it
// is far beyond what any quantity needs.
const maxExponentDigits = 3

var errExponent = errors.New("the exponent of the quantity is out of range")

// hasHugeExponent finds something like 1e-99999999 anywhere in text.
func hasHugeExponent[T string | []byte](text T) bool {
	isDigit := func(i int) bool { return i >= 0 && i < len(text) && text[i] >= '0' && text[i] <= '9' }
	for i := 1; i < len(text); i++ {
		if text[i] != 'e' && text[i] != 'E' || !isDigit(i-1) && text[i-1] != '.' {
			continue
		}
		first := i + 1
		if first < len(text) && (text[first] == '+' || text[first] == '-') {
			first++
		}
		end := first
		for isDigit(end) {
			end++
		}
		if end-first > maxExponentDigits {
			return true
		}
	}
	return false
}

// Quantities in Kubernetes' types stand in maps of these names, and in fields of
// those names.
var (
	quantityMaps   = []string{"limits", "overhead", "requests"}
	quantityFields = []string{"divisor", "sizeLimit"}
)

// checkQuantities returns an error if parsing a quantity in data, the JSON of a
// Kubernetes type, would take unreasonable time. The same text may stand where
// no quantity is expected, as an environment variable for example.
func checkQuantities(data []byte) error {
	if !hasHugeExponent(data) {
		return nil
	}
	var value any
	if err := json.Unmarshal(data, &value); err != nil {
		return err
	}
	return checkQuantitiesIn(value, "", "")
}

// checkQuantitiesIn checks value, which stands at path, below the field of the
// given name.
func checkQuantitiesIn(value any, path, field string) error {
	switch value := value.(type) {
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(value)) {
			child := value[name]
			text, isText := child.(string)
			isQuantity := slices.Contains(quantityMaps, field) || slices.Contains(quantityFields, name)
			if isText && isQuantity && hasHugeExponent(text) {
				return fmt.Errorf("%s: %w", strings.TrimPrefix(path+"."+name, "."), errExponent)
			}
			if err := checkQuantitiesIn(child, path+"."+name, name); err != nil {
				return err
			}
		}
	case []any:
		for i, child := range value {
			if err := checkQuantitiesIn(child, fmt.Sprintf("%s[%d]", path, i), ""); err != nil {
				return err
			}
		}
	}
	return nil
}
