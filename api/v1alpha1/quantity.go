package v1alpha1

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/json"
)

// The time to parse a quantity grows with its exponent: resource.ParseQuantity needs
// more than a minute for 1e-99999999, which the schema of Kubernetes' types accepts. Users
// who can create a Server could otherwise stop an operator that decodes it. Quantities are
// therefore checked before they are parsed.

// maxExponentDigits is the maximum number of digits in the exponent of a quantity. No
// valid quantity needs as many.
const maxExponentDigits = 3

var errExponent = errors.New("the exponent of the quantity is out of range")

// hasHugeExponent reports whether text contains a number such as 1e-99999999.
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

// The names of maps and of fields with quantities in the types of Kubernetes.
var (
	quantityMaps   = []string{"limits", "overhead", "requests"}
	quantityFields = []string{"divisor", "sizeLimit"}
)

// checkQuantities returns an error if data, the JSON of a Kubernetes type, has a quantity
// with an exponent for which parsing lasts too long. The same text is valid in a field that is
// not a quantity, such as the value of an environment variable.
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

// checkQuantitiesIn checks value at path. field is the name of its innermost field.
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
