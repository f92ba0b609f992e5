/// The ids that `addSpecialTokens` puts before and after a text.
struct PostProcessor: Sendable, Equatable {
  private(set) var before: [Int32] = []
  private(set) var after: [Int32] = []

  init() {}

  /// Reads the `post_processor` key.
  init(_ node: ConfigurationNode) throws(TokenizerError) { try add(node) }

  /// Puts `id` in front of everything.
  mutating func putBefore(_ id: Int32) { before.insert(id, at: 0) }

  /// Puts `id` behind everything.
  mutating func putAfter(_ id: Int32) { after.append(id) }

  private mutating func add(_ node: ConfigurationNode) throws(TokenizerError) {
    let type = try node.type(of: "post_processor")
    switch type {
    case "ByteLevel": return  // Changes offsets only.
    case "Sequence":
      for element in try node.required("processors").elements() { try add(element) }
    case "TemplateProcessing": try addTemplate(node)
    default:
      throw node.error(
        .unsupported,
        "the post-processor \(type) is not implemented; known are ByteLevel, TemplateProcessing, "
          + "Sequence")
    }
  }

  private mutating func addTemplate(_ node: ConfigurationNode) throws(TokenizerError) {
    let tokens = try node.required("special_tokens")
    var left: [Int32] = []
    var right: [Int32] = []
    var hasSequence = false
    let single = try node.required("single")
    for element in try single.elements() {
      if try element.member("Sequence") != nil {
        guard !hasSequence else {
          throw single.error(.unsupported, "holds the text more than once")
        }
        hasSequence = true
      } else {
        let name = try element.required("SpecialToken").required("id").string()
        for id in try tokens.required(name).required("ids").elements() {
          let id = Int32(try id.count())
          if hasSequence { right.append(id) } else { left.append(id) }
        }
      }
    }
    guard hasSequence else { throw single.error(.unsupported, "does not hold the text") }
    before = left + before
    after += right
  }
}
