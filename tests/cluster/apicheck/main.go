// apicheck checks manifests as the API server of one Kubernetes version would, without starting one.
//
// It reads JSON objects, one a line, and prints a JSON list for each: what is wrong with it. An object is decoded
// strictly with that version's types, so that a field it does not know is an error. A CustomResourceDefinition goes
// through that version's validation, too: structural schema, defaults, compilation and cost of each CEL rule. The
// expressions of a ValidatingAdmissionPolicy are compiled with the functions that that version has; the fields of the
// object that they look at are taken for given.
//
// go.mod has the oldest version that is supported, newest.mod the newest.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"

	v1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/install"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/validation"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apiserver/pkg/admission/plugin/policy/validating"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/kube-openapi/pkg/validation/spec"
)

const longestObject = 16 << 20

func main() {
	known := runtime.NewScheme()
	install.Install(known)
	exitOn(scheme.AddToScheme(known))
	decoder := serializer.NewCodecFactory(known, serializer.EnableStrict).UniversalDeserializer()
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, longestObject)
	for lines.Scan() {
		problems := []string{}
		object, kind, err := decoder.Decode(lines.Bytes(), nil, nil)
		switch {
		case err != nil:
			problems = append(problems, err.Error())
		case kind.Kind == "CustomResourceDefinition":
			problems = append(problems, checkDefinition(known, object)...)
		case kind.Kind == "ValidatingAdmissionPolicy":
			problems = append(problems, checkPolicy(object.(*v1.ValidatingAdmissionPolicy))...)
		}
		answer, err := json.Marshal(problems)
		exitOn(err)
		fmt.Println(string(answer))
	}
	exitOn(lines.Err())
}

func checkDefinition(known *runtime.Scheme, object runtime.Object) []string {
	known.Default(object)
	internal := &apiextensions.CustomResourceDefinition{}
	exitOn(known.Convert(object, internal, nil))
	problems := []string{}
	for _, problem := range validation.ValidateCustomResourceDefinition(context.Background(), internal) {
		if !strings.HasPrefix(problem.Field, "status") { // the API server writes it
			problems = append(problems, problem.Error())
		}
	}
	return problems
}

func checkPolicy(policy *v1.ValidatingAdmissionPolicy) []string {
	for _, condition := range policy.Spec.MatchConditions { // the checker leaves them out
		expression := v1.Validation{Expression: condition.Expression}
		policy.Spec.Validations = append(policy.Spec.Validations, expression)
	}
	// It leaves out wildcards, too, and kinds that it does not know. Any kind will do: see anyObject.
	kind := schema.GroupVersionKind{Group: "batch", Version: "v1", Kind: "Job"}
	rule := v1.Rule{APIGroups: []string{kind.Group}, APIVersions: []string{kind.Version}, Resources: []string{"jobs"}}
	policy.Spec.MatchConstraints = &v1.MatchResources{
		ResourceRules: []v1.NamedRuleWithOperations{{RuleWithOperations: v1.RuleWithOperations{Rule: rule}}},
	}
	mapper := meta.NewDefaultRESTMapper([]schema.GroupVersion{kind.GroupVersion()})
	mapper.Add(kind, meta.RESTScopeNamespace)
	checker := validating.TypeChecker{SchemaResolver: anyObject{}, RestMapper: mapper}
	problems := []string{}
	for _, warning := range checker.Check(policy) {
		problems = append(problems, warning.FieldRef+": "+warning.Warning)
	}
	return problems
}

// anyObject says of every kind that it may have any field.
type anyObject struct{}

func (anyObject) ResolveSchema(schema.GroupVersionKind) (*spec.Schema, error) {
	anything := &spec.Schema{}
	anything.AddExtension("x-kubernetes-int-or-string", true) // dyn, in the words of CEL
	free := spec.MapProperty(anything)
	return free, nil
}

func exitOn(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
