extension ThinkingFormat {
  /// The content as it is written behind a thinking block.
  func trimmed(_ content: String) -> String {
    trimsLineBreaks ? content.droppingLeadingLineBreaks() : content
  }

  /// Separates reasoning that is written into the content from the answer proper.
  ///
  /// The published templates that remove it leave calls and answers to tool results as they are.
  /// Training never removes it: what a template drops from a prompt is still to be learned.
  func split(
    _ message: CheckedConversation.Message, isPlainAnswer: Bool, isTraining: Bool
  ) -> (reasoning: String?, content: String) {
    let content = message.content
    let asWritten = (message.reasoning, content)
    guard let first = content.firstCut(at: endMark), let last = content.lastCut(at: endMark) else {
      return asWritten
    }
    let mayExtract = message.base.reasoningContent == nil
    switch embedded {
    case .extracted: return mayExtract ? extracted(first: first, last: last) : asWritten
    case .kept:
      let startsWithReasoning = content.utf8.starts(with: startMark.utf8)
      let extracts = isTraining && mayExtract && startsWithReasoning
      return extracts ? extracted(first: first, last: first) : asWritten
    case .removedThroughFirst, .removedThroughLast, .removedEverywhere:
      if case .removedEverywhere = embedded {} else if !isPlainAnswer { return asWritten }
      let end = if case .removedThroughFirst = embedded { first } else { last }
      let extracts = isTraining && mayExtract
      return extracts ? extracted(first: first, last: end) : (message.reasoning, end.after)
    }
  }

  private var startMark: String { "<think>" }
  private var endMark: String { "</think>" }

  /// The reasoning before the first end mark and the answer behind the last one.
  private func extracted(
    first: (before: String, after: String), last: (before: String, after: String)
  ) -> (reasoning: String?, content: String) {
    guard trimsLineBreaks else {
      let reasoning = first.before.lastCut(at: startMark)?.after ?? first.before
      return (reasoning.isEmpty ? nil : reasoning, last.after)
    }
    let beforeEnd = first.before.droppingTrailingLineBreaks()
    let reasoning = (beforeEnd.lastCut(at: startMark)?.after ?? beforeEnd)
      .droppingLeadingLineBreaks()
    return (reasoning.isEmpty ? nil : reasoning, last.after.droppingLeadingLineBreaks())
  }
}

// Text operations of the templates work on bytes: Swift's own compare whole characters, in which
// "\r\n" is one and a combining mark changes the one before it.
extension String {
  /// The text before and after the first occurrence of a mark.
  func firstCut(at mark: String) -> (before: String, after: String)? {
    let (text, mark) = (Array(utf8), Array(mark.utf8))
    guard text.count >= mark.count else { return nil }
    for start in 0...(text.count - mark.count) where text[start...].starts(with: mark) {
      return cut(text, from: start, count: mark.count)
    }
    return nil
  }

  /// The text before and after the last occurrence of a mark.
  func lastCut(at mark: String) -> (before: String, after: String)? {
    let (text, mark) = (Array(utf8), Array(mark.utf8))
    guard text.count >= mark.count else { return nil }
    for start in (0...(text.count - mark.count)).reversed()
    where text[start...].starts(with: mark) {
      return cut(text, from: start, count: mark.count)
    }
    return nil
  }

  func droppingLeadingLineBreaks() -> String {
    String(unicodeScalars.drop { $0 == "\n" })
  }

  func droppingTrailingLineBreaks() -> String {
    guard let end = unicodeScalars.lastIndex(where: { $0 != "\n" }) else { return "" }
    return String(unicodeScalars[...end])
  }

  func trimmingLineBreaks() -> String {
    droppingLeadingLineBreaks().droppingTrailingLineBreaks()
  }

  var endsWithBlankLine: Bool {
    utf8.suffix(2).elementsEqual("\n\n".utf8)
  }
}

private func cut(
  _ text: [UInt8], from start: Int, count: Int
) -> (before: String, after: String) {
  (
    before: String(decoding: text[..<start], as: UTF8.self),
    after: String(decoding: text[(start + count)...], as: UTF8.self)
  )
}
