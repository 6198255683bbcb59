package plan

import "github.com/seldon-operator/seldon-operator/composition/object"

// Remedy returns what to do about an object that is blocked for a reason, or a warning with
// it. It is empty for reasons whose messages have the remedy, because it depends on the
// object, and for those that end without an action. owner names the owner of the object, such
// as "Site blue" or "this object".
func Remedy(options object.Options, reason Reason, owner string) string {
	switch reason {
	case RestartRequired:
		return "to apply the change and restart the pods, set the annotation " + options.AllowRestartAnnotation() + `: "true" on ` + owner
	case FieldManagerConflict:
		return "remove the field from the configuration of one of the two field managers"
	case MetadataPending:
		return "to change and restart the pods now, set the annotation " + options.ApplyMetadataAnnotation() + `: "true" on ` + owner
	default:
		return ""
	}
}
