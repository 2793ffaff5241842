//lint:file-ignore SA1019 the suite also calls what 2026-07-28 deprecates: sampling, roots, logging.

package e2e_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/mcpauth-go/mcpauth/gateway"
)

// fixture is the server that the conformance suite plays with. What it is to
// offer, by name, is in the suite's scenarios; they look at the kind of what
// comes back, rarely at its content.
type fixture struct{ *mcp.Server }

func newFixture(context.Context, gateway.Call) (gateway.Instance, error) {
	f := fixture{mcp.NewServer(&mcp.Implementation{Name: "fixture", Version: "1"}, &mcp.ServerOptions{
		CompletionHandler: func(context.Context, *mcp.CompleteRequest) (*mcp.CompleteResult, error) {
			return &mcp.CompleteResult{Completion: mcp.CompletionResultDetails{Values: []string{}}}, nil
		},
		SubscribeHandler:   func(context.Context, *mcp.SubscribeRequest) error { return nil },
		UnsubscribeHandler: func(context.Context, *mcp.UnsubscribeRequest) error { return nil },
	})}
	f.addContent()
	f.addNotifications()
	f.addRequests()
	f.addInputRequests()
	f.addChanges()
	return gateway.Instance{Server: f.Server}, nil
}

// run is what a tool does.
type run = func(context.Context, *mcp.CallToolRequest) (*mcp.CallToolResult, error)

const (
	anyObject = `{"type":"object"}`
	part      = "Plays its part in the suite." // a description is demanded
)

func (f fixture) addTool(name, schema string, run run) {
	mcp.AddTool(f.Server, &mcp.Tool{Name: name, Description: part, InputSchema: json.RawMessage(schema)},
		func(ctx context.Context, r *mcp.CallToolRequest, _ map[string]any) (*mcp.CallToolResult, any, error) {
			result, err := run(ctx, r)
			return result, nil, err
		})
}

func (f fixture) addPrompt(name string, get mcp.PromptHandler, arguments ...string) {
	p := &mcp.Prompt{Name: name, Description: part}
	for _, argument := range arguments {
		p.Arguments = append(p.Arguments, &mcp.PromptArgument{Name: argument, Description: part, Required: true})
	}
	f.AddPrompt(p, get)
}

// always is a tool that answers with content.
func always(content ...mcp.Content) run {
	return func(context.Context, *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		return &mcp.CallToolResult{Content: content}, nil
	}
}

func says(format string, args ...any) *mcp.CallToolResult {
	return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: fmt.Sprintf(format, args...)}}}
}

// addContent adds what is there to be read: tools, resources and prompts.
func (f fixture) addContent() {
	text := &mcp.TextContent{Text: "some text"}
	image := &mcp.ImageContent{Data: []byte("a picture"), MIMEType: "image/png"}
	embedded := &mcp.EmbeddedResource{Resource: &mcp.ResourceContents{URI: "test://embedded", MIMEType: "text/plain", Text: "some text"}}
	f.addTool("test_simple_text", anyObject, always(text))
	f.addTool("test_image_content", anyObject, always(image))
	f.addTool("test_audio_content", anyObject, always(&mcp.AudioContent{Data: []byte("a sound"), MIMEType: "audio/wav"}))
	f.addTool("test_embedded_resource", anyObject, always(embedded))
	f.addTool("test_multiple_content_types", anyObject, always(text, image, embedded))
	f.addTool("test_error_handling", anyObject, func(context.Context, *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		return nil, errors.New("this tool always fails")
	})
	f.addTool("test_x_mcp_header", `{"type":"object","properties":{"region":{"type":"string","x-mcp-header":"Region"},"level":{"type":"integer"}}}`, always(text))
	// The suite demands that this very schema arrives.
	f.addTool("json_schema_2020_12_tool", `{
		"$schema": "https://json-schema.org/draft/2020-12/schema",
		"type": "object",
		"$defs": {"address": {"$anchor": "addressDef", "type": "object", "properties": {"street": {"type": "string"}, "city": {"type": "string"}}}},
		"properties": {
			"name": {"type": "string"},
			"address": {"$ref": "#/$defs/address"},
			"contactMethod": {"type": "string", "enum": ["phone", "email"]},
			"phone": {"type": "string"},
			"email": {"type": "string"}
		},
		"allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
		"if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
		"then": {"required": ["phone"]},
		"else": {"required": ["email"]},
		"additionalProperties": false
	}`, always(text))

	read := func(mime string, blob []byte) mcp.ResourceHandler {
		return func(_ context.Context, r *mcp.ReadResourceRequest) (*mcp.ReadResourceResult, error) {
			contents := &mcp.ResourceContents{URI: r.Params.URI, MIMEType: mime, Blob: blob}
			if blob == nil {
				contents.Text = "contents of " + r.Params.URI
			}
			return &mcp.ReadResourceResult{Contents: []*mcp.ResourceContents{contents}}, nil
		}
	}
	f.AddResource(&mcp.Resource{Name: "text", URI: "test://static-text"}, read("text/plain", nil))
	f.AddResource(&mcp.Resource{Name: "binary", URI: "test://static-binary"}, read("image/png", image.Data))
	f.AddResource(&mcp.Resource{Name: "watched", URI: "test://watched-resource"}, read("text/plain", nil))
	f.AddResourceTemplate(&mcp.ResourceTemplate{Name: "template", URITemplate: "test://template/{id}/data"}, read("application/json", nil))

	prompt := func(name string, content func(arguments map[string]string) mcp.Content, arguments ...string) {
		f.addPrompt(name, func(_ context.Context, r *mcp.GetPromptRequest) (*mcp.GetPromptResult, error) {
			return &mcp.GetPromptResult{Messages: []*mcp.PromptMessage{{Role: "user", Content: content(r.Params.Arguments)}}}, nil
		}, arguments...)
	}
	prompt("test_simple_prompt", func(map[string]string) mcp.Content { return text })
	prompt("test_prompt_with_image", func(map[string]string) mcp.Content { return image })
	prompt("test_prompt_with_arguments", func(arguments map[string]string) mcp.Content {
		return &mcp.TextContent{Text: arguments["arg1"] + " and " + arguments["arg2"]}
	}, "arg1", "arg2")
	prompt("test_prompt_with_embedded_resource", func(arguments map[string]string) mcp.Content {
		return &mcp.EmbeddedResource{Resource: &mcp.ResourceContents{URI: arguments["resourceUri"], MIMEType: "text/plain", Text: "some text"}}
	}, "resourceUri")
}

// addNotifications adds tools that tell the client something as they run.
func (f fixture) addNotifications() {
	log := func(ctx context.Context, r *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		for i := range 3 {
			if err := r.Session.Log(ctx, &mcp.LoggingMessageParams{Level: "info", Data: i}); err != nil {
				return nil, err
			}
		}
		return says("logged"), nil
	}
	f.addTool("test_tool_with_logging", anyObject, log)
	f.addTool("test_logging_tool", anyObject, log) // called without a level, which silences it
	f.addTool("test_tool_with_progress", anyObject, func(ctx context.Context, r *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		for _, done := range []float64{0, 50, 100} {
			progress := &mcp.ProgressNotificationParams{ProgressToken: r.Params.GetProgressToken(), Progress: done, Total: 100}
			if err := r.Session.NotifyProgress(ctx, progress); err != nil {
				return nil, err
			}
		}
		return says("done"), nil
	})
	f.addTool("test_streaming_elicitation", anyObject, always(&mcp.TextContent{Text: "asked nothing"}))
	f.addTool("test_reconnection", anyObject, func(_ context.Context, r *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		if r.Extra != nil && r.Extra.CloseSSEStream != nil {
			r.Extra.CloseSSEStream(mcp.CloseSSEStreamArgs{RetryAfter: time.Millisecond})
		}
		return says("reconnected"), nil
	})
}

// addRequests adds tools that ask the client by requests of their own, as
// before 2026-07-28.
func (f fixture) addRequests() {
	f.addTool("test_sampling", anyObject, func(ctx context.Context, r *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		result, err := r.Session.CreateMessage(ctx, sampling())
		if err != nil {
			return nil, err
		}
		return says("sampled %v", result.Content), nil
	})
	for name, properties := range map[string]string{
		"test_elicitation": `{"username": {"type": "string"}}`,
		"test_elicitation_sep1034_defaults": `{
			"name": {"type": "string", "default": "John Doe"},
			"age": {"type": "integer", "default": 30},
			"score": {"type": "number", "default": 95.5},
			"status": {"type": "string", "enum": ["active", "inactive", "pending"], "default": "active"},
			"verified": {"type": "boolean", "default": true}
		}`,
		"test_elicitation_sep1330_enums": `{
			"untitledSingle": {"type": "string", "enum": ["option1", "option2", "option3"]},
			"titledSingle": {"type": "string", "oneOf": [{"const": "value1", "title": "One"}, {"const": "value2", "title": "Two"}, {"const": "value3", "title": "Three"}]},
			"legacyEnum": {"type": "string", "enum": ["opt1", "opt2", "opt3"], "enumNames": ["One", "Two", "Three"]},
			"untitledMulti": {"type": "array", "items": {"type": "string", "enum": ["option1", "option2", "option3"]}},
			"titledMulti": {"type": "array", "items": {"anyOf": [{"const": "value1", "title": "One"}, {"const": "value2", "title": "Two"}, {"const": "value3", "title": "Three"}]}}
		}`,
	} {
		f.addTool(name, anyObject, func(ctx context.Context, r *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
			result, err := r.Session.Elicit(ctx, elicitation(properties))
			if err != nil {
				return nil, err
			}
			return says("action=%s, content=%v", result.Action, result.Content), nil
		})
	}
}

// The three things that a server can ask of a client.
func elicitation(properties string) *mcp.ElicitParams {
	return &mcp.ElicitParams{Message: "Please tell.", RequestedSchema: json.RawMessage(`{"type":"object","properties":` + properties + `}`)}
}

func sampling() *mcp.CreateMessageParams {
	return &mcp.CreateMessageParams{MaxTokens: 100, Messages: []*mcp.SamplingMessage{{Role: "user", Content: &mcp.TextContent{Text: "Please say."}}}}
}

func roots() *mcp.ListRootsParams { return &mcp.ListRootsParams{} }

// addInputRequests adds tools and a prompt that ask the client in the result
// and are called again with the answer, as of 2026-07-28.
func (f fixture) addInputRequests() {
	name, ok := elicitation(`{"name":{"type":"string"}}`), elicitation(`{"ok":{"type":"boolean"}}`)
	for tool, rounds := range map[string][]mcp.InputRequestMap{
		"test_input_required_result_elicitation":     {{"user_name": name}},
		"test_input_required_result_sampling":        {{"capital_question": sampling()}},
		"test_input_required_result_list_roots":      {{"client_roots": roots()}},
		"test_input_required_result_multiple_inputs": {{"user_name": name, "greeting": sampling(), "client_roots": roots()}},
		"test_input_required_result_request_state":   {{"confirm": ok}},
		"test_input_required_result_tampered_state":  {{"confirm": ok}},
		"test_input_required_result_multi_round":     {{"step1": name}, {"step2": elicitation(`{"color":{"type":"string"}}`)}},
	} {
		f.addTool(tool, anyObject, func(_ context.Context, r *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
			round := 0 // whose answers these are, if they are any
			if s := r.Params.RequestState; s != "" {
				var err error
				if round, err = strconv.Atoi(s); err != nil || round < 0 || round >= len(rounds) {
					return nil, &jsonrpc.Error{Code: jsonrpc.CodeInvalidParams, Message: "not a state that was handed out"}
				}
			}
			if answered(rounds[round], r.Params.InputResponses) {
				round++
			}
			if round == len(rounds) {
				return says("state-ok"), nil
			}
			return &mcp.CallToolResult{InputRequests: rounds[round], RequestState: strconv.Itoa(round)}, nil
		})
	}
	f.addTool("test_input_required_result_capabilities", anyObject, func(_ context.Context, r *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		can, requests := r.ClientCapabilities(), mcp.InputRequestMap{}
		if can.Elicitation != nil {
			requests["user_name"] = name
		}
		if can.Sampling != nil {
			requests["greeting"] = sampling()
		}
		return &mcp.CallToolResult{InputRequests: requests}, nil
	})
	f.addTool("test_missing_capability", anyObject, func(_ context.Context, r *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		if r.ClientCapabilities().Sampling != nil {
			return says("the client can sample"), nil
		}
		data, err := json.Marshal(mcp.MissingRequiredClientCapabilityData{RequiredCapabilities: &mcp.ClientCapabilities{Sampling: &mcp.SamplingCapabilities{}}})
		if err != nil {
			return nil, err
		}
		return nil, &jsonrpc.Error{Code: mcp.CodeMissingRequiredClientCapabilities, Message: "the client cannot sample", Data: data}
	})
	f.addPrompt("test_input_required_result_prompt", func(_ context.Context, r *mcp.GetPromptRequest) (*mcp.GetPromptResult, error) {
		requests := mcp.InputRequestMap{"user_context": elicitation(`{"context":{"type":"string"}}`)}
		if !answered(requests, r.Params.InputResponses) {
			return &mcp.GetPromptResult{InputRequests: requests}, nil
		}
		return &mcp.GetPromptResult{Messages: []*mcp.PromptMessage{{Role: "user", Content: &mcp.TextContent{Text: "thank you"}}}}, nil
	})
}

// answered says whether each request has an answer of its kind.
func answered(requests mcp.InputRequestMap, answers mcp.InputResponseMap) bool {
	for key, request := range requests {
		ok := false
		switch request.(type) {
		case *mcp.ElicitParams:
			var r *mcp.ElicitResult
			r, ok = answers[key].(*mcp.ElicitResult)
			ok = ok && r.Action == "accept" && len(r.Content) > 0
		case *mcp.CreateMessageParams:
			_, ok = answers[key].(*mcp.CreateMessageWithToolsResult)
		case *mcp.ListRootsParams:
			_, ok = answers[key].(*mcp.ListRootsResult)
		}
		if !ok {
			return false
		}
	}
	return true
}

// addChanges adds tools that change what there is, which subscribers hear of.
func (f fixture) addChanges() {
	f.addTool("test_trigger_tool_change", anyObject, func(context.Context, *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		f.addTool("changed", anyObject, always())
		return says("changed"), nil
	})
	f.addTool("test_trigger_prompt_change", anyObject, func(context.Context, *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		f.addPrompt("changed", func(context.Context, *mcp.GetPromptRequest) (*mcp.GetPromptResult, error) {
			return &mcp.GetPromptResult{}, nil
		})
		return says("changed"), nil
	})
}
