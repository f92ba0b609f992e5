extension ChatTemplate {
  /// A Jinja template that renders as this one does, for `chat_template` in
  /// `tokenizer_config.json`; nil for families whose checkpoints bring their own.
  ///
  /// It is written for plain ChatML, `qwen3` and `qwen3-2507`. Contents must be strings.
  public var jinjaTemplate: String? {
    switch name {
    case "chatml", "internvl": Self.chatMLJinja
    case "qwen3": Self.qwen3Jinja(blocks: true)
    case "qwen3-2507": Self.qwen3Jinja(blocks: false)
    default: nil
    }
  }

  private static let chatMLJinja = """
    {%- for m in messages -%}
    {{- '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' -}}
    {%- endfor -%}
    {%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}
    """

  private static func qwen3Jinja(blocks: Bool) -> String {
    """
    {%- set has_system = messages[0].role in ['system', 'developer'] -%}
    {%- if tools -%}
    {{- '<|im_start|>system\\n' + (messages[0].content + '\\n\\n' if has_system else '') -}}
    {{- '# Tools\\n\\nYou may call one or more functions to assist with the user query.\\n\\n' -}}
    {{- 'You are provided with function signatures within <tools></tools> XML tags:\\n<tools>' -}}
    {%- for tool in tools -%}{{- '\\n' + (tool | tojson) -}}{%- endfor -%}
    {{- '\\n</tools>\\n\\nFor each function call, return a json object with function name and ' -}}
    {{- 'arguments within <tool_call></tool_call> XML tags:\\n<tool_call>\\n{"name": ' -}}
    {{- '<function-name>, "arguments": <args-json-object>}\\n</tool_call><|im_end|>\\n' -}}
    {%- elif has_system -%}
    {{- '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' -}}
    {%- endif -%}
    \(blocks ? lastQuestionJinja : "")
    {%- for m in messages -%}
    {%- if m.role == 'user' or (m.role in ['system', 'developer'] and not loop.first) -%}
    {{- '<|im_start|>' + ('user' if m.role == 'user' else 'system') + '\\n' + m.content -}}
    {{- '<|im_end|>\\n' -}}
    {%- elif m.role == 'assistant' -%}
    {%- set answer = namespace(text=m.content or '', lead=m.content or '') -%}
    {{- '<|im_start|>assistant\\n' -}}
    \(blocks ? thinkingJinja : "")
    {{- answer.text -}}
    {%- for call in m.tool_calls or [] -%}
    {%- set f = call.function or call -%}
    {{- '\\n' if answer.lead or not loop.first -}}
    {{- '<tool_call>\\n{"name": "' + f.name + '", "arguments": ' -}}
    {{- f.arguments if f.arguments is string else f.arguments | tojson -}}
    {{- '}\\n</tool_call>' -}}
    {%- endfor -%}
    {{- '<|im_end|>\\n' -}}
    {%- elif m.role == 'tool' -%}
    {{- '<|im_start|>user' if loop.first or messages[loop.index0 - 1].role != 'tool' -}}
    {{- '\\n<tool_response>\\n' + m.content + '\\n</tool_response>' -}}
    {{- '<|im_end|>\\n' if loop.last or messages[loop.index0 + 1].role != 'tool' -}}
    {%- endif -%}
    {%- endfor -%}
    {%- if add_generation_prompt -%}
    {{- '<|im_start|>assistant\\n' -}}
    \(blocks ? generationJinja : "")
    {%- endif -%}
    """
  }

  private static let lastQuestionJinja = """
    {%- set question = namespace(last=messages | length - 1, found=false) -%}
    {%- for m in messages | reverse -%}
    {%- if not question.found and m.role == 'user' and not (m.content.startswith('<tool_response>') \
    and m.content.endswith('</tool_response>')) -%}
    {%- set question.found = true -%}{%- set question.last = loop.revindex0 -%}
    {%- endif -%}
    {%- endfor -%}
    """

  private static let thinkingJinja = """
    {%- set thought = namespace(text=m.reasoning_content or '') -%}
    {%- if not (m.reasoning_content is string) and '</think>' in answer.text -%}
    {%- set thought.text = answer.text.split('</think>')[0].rstrip('\\n').split('<think>')[-1] -%}
    {%- set answer.text = answer.text.split('</think>')[-1].lstrip('\\n') -%}
    {%- set answer.lead = answer.text -%}
    {%- endif -%}
    {%- if loop.index0 > question.last and (loop.last or thought.text) -%}
    {{- '<think>\\n' + thought.text.strip('\\n') + '\\n</think>\\n\\n' -}}
    {%- set answer.text = answer.text.lstrip('\\n') -%}
    {%- endif -%}
    """

  private static let generationJinja = """
    {{- '<think>\\n\\n</think>\\n\\n' if enable_thinking is defined and not enable_thinking -}}
    """
}
