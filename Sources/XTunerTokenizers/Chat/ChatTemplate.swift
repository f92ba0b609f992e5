/// How much a gpt-oss model is asked to think before it answers.
public enum ReasoningEffort: String, Sendable, Hashable, CaseIterable, Codable {
  case low, medium, high
}

/// Writes conversations in the form a model family was trained on.
///
/// Plain names (`qwen3`, `gpt-oss`, `deepseek-v3`, ...) follow the template published with the
/// checkpoint; these are the default. Names that end in `-xtuner`, and `internvl-3.5` and
/// `intern-s1`, follow the fixed formats XTuner V1 trains with, which write no thinking blocks and
/// differ in the placement of system and tool messages.
///
/// `render` is the view of inference; `segments` is the view of training. They hold the same text,
/// but for two cases in which the published template throws reasoning away that is to be learned:
/// in `segments` DeepSeek R1 and V3.1 keep that of the last answer, and Kimi K2 Thinking that of all
/// answers after the last question.
public struct ChatTemplate: Sendable {
  /// The name the template was looked up by.
  public let name: String
  /// Texts of the tokens that end an answer; generation stops at each of them.
  public var stopTokens: [String] { format.stopTokens }

  /// The date that the model is told, `YYYY-MM-DD`; nil where the family has no place for one.
  public var currentDate: String? {
    if case .harmony = format.layout { harmonySettings.currentDate } else { nil }
  }

  let format: ChatFormat
  let harmonySettings: HarmonySettings

  /// The names of all templates.
  public static var names: [String] { ChatFormat.table.map(\.name) }

  /// Looks a template up by name.
  ///
  /// - Throws: `ChatTemplateError` that lists the known names when there is none of this name.
  public static func named(_ name: String) throws(ChatTemplateError) -> ChatTemplate {
    guard let entry = ChatFormat.table.first(where: { $0.name == name }) else {
      let guess = closest(to: name, in: names).map { ", did you mean \"\($0)\"?" } ?? "."
      throw ChatTemplateError(
        .unknownTemplate,
        "chat template \"\(name)\" is unknown\(guess) Known: \(names.joined(separator: ", ")).")
    }
    return ChatTemplate(name: name, format: entry.format, harmonySettings: HarmonySettings())
  }

  /// The same template with the values that gpt-oss writes into its system message.
  ///
  /// - Parameters:
  ///   - currentDate: The date the model is told, `YYYY-MM-DD`; without it, today in UTC as of the
  ///     look-up of the template. Set it where a run must be repeatable on another day.
  ///   - reasoningEffort: `medium` unless set.
  /// - Returns: A template that differs from this one in the given values.
  /// - Throws: `ChatTemplateError` when the family has no place for the values.
  public func configured(
    currentDate: String? = nil, reasoningEffort: ReasoningEffort? = nil
  ) throws(ChatTemplateError) -> ChatTemplate {
    guard case .harmony = format.layout else {
      throw ChatTemplateError(
        .unsupportedSetting,
        "\(name) has no place for a date or a reasoning effort; only gpt-oss templates have")
    }
    var settings = harmonySettings
    settings.currentDate = currentDate ?? settings.currentDate
    settings.reasoningEffort = reasoningEffort ?? settings.reasoningEffort
    return ChatTemplate(name: name, format: format, harmonySettings: settings)
  }

  /// Everything but the conversation that the rendered text depends on, for cache keys.
  public var fingerprint: String {
    switch format.layout {
    case .turns: "\(name)/2"
    case .harmony:
      "\(name)/2/\(harmonySettings.currentDate)/\(harmonySettings.reasoningEffort.rawValue)"
    }
  }

  /// Renders a conversation for inference.
  ///
  /// - Parameters:
  ///   - messages: At least one message.
  ///   - tools: Declarations in the OpenAI layout.
  ///   - addGenerationPrompt: Whether the header of an answer follows.
  ///   - enableThinking: For hybrid families, whether the generation prompt lets the model think.
  /// - Returns: The text, special tokens included.
  /// - Throws: `ChatTemplateError` that names the message at fault.
  public func render(
    _ messages: [ChatMessage], tools: [JSONValue] = [], addGenerationPrompt: Bool = false,
    enableThinking: Bool = true
  ) throws(ChatTemplateError) -> String {
    let segments = try pieces(
      messages, tools: tools,
      purpose: .prompt(
        addsGenerationPrompt: addGenerationPrompt, enablesThinking: enableThinking))
    return segments.map(\.text).joined()
  }

  /// Renders a finished conversation for training and marks what is learned.
  ///
  /// Learned are what the assistant writes itself (reasoning, content, calls) and the token that
  /// ends its turn; not its header, not the separator behind the turn. An answer without reasoning
  /// writes the empty thinking block itself where the published prompt leaves that to the model.
  /// `loss` of a message overrides this for what it writes. For gpt-oss only what follows the last
  /// question is learned by default, since earlier answers have lost their reasoning and do not end
  /// with `<|return|>`; for DeepSeek an answer of the last round whose reasoning prompts never show
  /// is not, unless it is the last. Neighbouring pieces alternate in `carriesLoss`.
  ///
  /// - Throws: `ChatTemplateError` that names the message at fault.
  public func segments(
    _ messages: [ChatMessage], tools: [JSONValue] = []
  ) throws(ChatTemplateError) -> [ChatSegment] {
    try pieces(messages, tools: tools, purpose: .training)
  }

  private func pieces(
    _ messages: [ChatMessage], tools: [JSONValue], purpose: RenderPurpose
  ) throws(ChatTemplateError) -> [ChatSegment] {
    let conversation = try CheckedConversation(messages, tools: tools, template: self)
    if conversation.isRawText {
      var output = SegmentBuilder()
      for message in messages { output.append(message.content, loss: message.loss ?? true) }
      return output.segments
    }
    switch format.layout {
    case .turns(let format):
      var renderer = TurnRenderer(
        name: name, format: format, conversation: conversation, purpose: purpose)
      return try renderer.render()
    case .harmony(let format):
      var renderer = HarmonyRenderer(
        name: name, format: format, settings: harmonySettings, conversation: conversation,
        purpose: purpose)
      return try renderer.render()
    }
  }
}

/// What a rendered conversation is for.
enum RenderPurpose: Sendable, Equatable {
  case prompt(addsGenerationPrompt: Bool, enablesThinking: Bool)
  case training
}

/// The nearest candidate by edit distance, when it is near enough to be a slip of the pen.
private func closest(to name: String, in candidates: [String]) -> String? {
  let distances = candidates.map { (name: $0, distance: editDistance(name.lowercased(), $0)) }
  guard let best = distances.min(by: { $0.distance < $1.distance }) else { return nil }
  return best.distance <= max(2, name.count / 3) ? best.name : nil
}

private func editDistance(_ first: String, _ second: String) -> Int {
  let (first, second) = (Array(first), Array(second))
  var row = Array(0...second.count)
  for (rowIndex, left) in first.enumerated() {
    var diagonal = row[0]
    row[0] = rowIndex + 1
    for (columnIndex, right) in second.enumerated() {
      let substitution = diagonal + (left == right ? 0 : 1)
      diagonal = row[columnIndex + 1]
      row[columnIndex + 1] = min(substitution, row[columnIndex] + 1, diagonal + 1)
    }
  }
  return row[second.count]
}
