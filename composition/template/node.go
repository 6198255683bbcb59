package template

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
)

// A placeholder is a valid DNS label, which Kustomize accepts wherever a name may be; its
// digits are the index of the parameter. It differs between processes, because compiled
// content may come from users, who must not be able to write one.
var placeholderStart = "p" + hex.EncodeToString(binary.BigEndian.AppendUint64(nil, rand.Uint64())) + "h"

const placeholderEnd = "q"

func placeholder(parameter int) string {
	return placeholderStart + strconv.Itoa(parameter) + placeholderEnd
}

// node is a part of a compiled object: a map, a list, a string with placeholders, or a
// constant.
type node interface {
	// instantiate returns a copy with the placeholders replaced by values, by the index of
	// the parameter. A node without placeholder is not copied.
	instantiate(values []string) any
}

type (
	mapNode  map[string]node
	listNode []node
	// constantNode has no placeholder in it.
	constantNode struct{ value any }
	// stringNode is a string with parameters in it: literal, parameter, literal, ….
	stringNode struct {
		literals   []string
		parameters []int
	}
)

func (n mapNode) instantiate(values []string) any {
	copied := make(map[string]any, len(n))
	for key, child := range n {
		copied[key] = child.instantiate(values)
	}
	return copied
}

func (n listNode) instantiate(values []string) any {
	copied := make([]any, len(n))
	for i, child := range n {
		copied[i] = child.instantiate(values)
	}
	return copied
}

func (n constantNode) instantiate([]string) any { return n.value }

func (n stringNode) instantiate(values []string) any {
	var text strings.Builder
	for i, parameter := range n.parameters {
		text.WriteString(n.literals[i])
		text.WriteString(values[parameter])
	}
	text.WriteString(n.literals[len(n.parameters)])
	return text.String()
}

// compileNode turns decoded JSON into nodes, splitting strings at placeholders.
func compileNode(value any, parameters int) (node, error) {
	switch value := value.(type) {
	case map[string]any:
		compiled, constant := make(mapNode, len(value)), true
		for key, child := range value {
			if strings.Contains(key, placeholderStart) {
				return nil, fmt.Errorf("a parameter may not be part of the key %q", key)
			}
			node, err := compileNode(child, parameters)
			if err != nil {
				return nil, err
			}
			compiled[key] = node
			constant = constant && isConstant(node)
		}
		if constant {
			return constantNode{value}, nil
		}
		return compiled, nil
	case []any:
		compiled, constant := make(listNode, len(value)), true
		for i, child := range value {
			node, err := compileNode(child, parameters)
			if err != nil {
				return nil, err
			}
			compiled[i] = node
			constant = constant && isConstant(node)
		}
		if constant {
			return constantNode{value}, nil
		}
		return compiled, nil
	case string:
		return compileString(value, parameters)
	default:
		return constantNode{value}, nil
	}
}

func isConstant(n node) bool {
	_, constant := n.(constantNode)
	return constant
}

func compileString(text string, parameters int) (node, error) {
	parts := stringNode{}
	for {
		literal, rest, found := strings.Cut(text, placeholderStart)
		parts.literals = append(parts.literals, literal)
		if !found {
			break
		}
		digits, after, ended := strings.Cut(rest, placeholderEnd)
		parameter, err := strconv.Atoi(digits)
		if !ended || err != nil || parameter >= parameters {
			return nil, fmt.Errorf("%q has a malformed placeholder", text)
		}
		parts.parameters = append(parts.parameters, parameter)
		text = after
	}
	if len(parts.parameters) == 0 {
		return constantNode{text}, nil
	}
	return parts, nil
}
