import Foundation
import Yams
import XTunerText

/// Turns YAML into ``ConfigurationNode``: composes, expands anchors and merge keys, keeps lines.
struct ConfigurationParser {
  /// Bounds what anchors may expand to, so that a small file cannot fill the memory.
  static let nodeLimit = 100_000

  let origin: @Sendable (_ line: Int) -> ConfigurationOrigin
  private var nodeCount = 0

  /// A problem with the YAML itself.
  struct Failure: Error {
    var origin: ConfigurationOrigin
    var keyPath = ""
    var reason: String
  }

  init(origin: @escaping @Sendable (_ line: Int) -> ConfigurationOrigin) {
    self.origin = origin
  }

  /// Parses one document.
  ///
  /// - Returns: `nil` for a text without any document.
  static func parse(
    _ text: String, origin: @escaping @Sendable (_ line: Int) -> ConfigurationOrigin
  ) throws(Failure) -> ConfigurationNode? {
    let root: Node?
    do {
      try AliasGuard(text, origin: origin, limit: nodeLimit).check()
      root = try Parser(yaml: text).singleRoot()
    } catch let failure as Failure {
      throw failure
    } catch let error as YamlError {
      throw failure(for: error, in: text, origin: origin)
    } catch {
      throw Failure(origin: .file, reason: "cannot be parsed as YAML: \(error)")
    }
    guard let root else { return nil }
    var parser = ConfigurationParser(origin: origin)
    return try parser.convert(root, keyPath: "")
  }

  private mutating func convert(
    _ node: Node, keyPath: String
  ) throws(Failure) -> ConfigurationNode {
    let place = origin(node.mark?.line ?? 1)
    nodeCount += 1
    guard nodeCount <= Self.nodeLimit else {
      throw Failure(
        origin: place, keyPath: keyPath,
        reason: "anchors expand to more than \(Self.nodeLimit) values")
    }
    switch node {
    case .scalar(let scalar):
      let isText = try isExplicitText(scalar.tag, at: place, keyPath)
      let isPlain = (scalar.style == .plain || scalar.style == .any) && !isText
      return .init(content: .scalar(scalar.string, isPlain: isPlain), origin: place)
    case .sequence(let items):
      _ = try isExplicitText(items.tag, at: place, keyPath)
      var list: [ConfigurationNode] = []
      for (index, item) in items.enumerated() {
        list.append(try convert(item, keyPath: "\(keyPath)[\(index)]"))
      }
      return .init(content: .list(list), origin: place)
    case .mapping(let mapping):
      _ = try isExplicitText(mapping.tag, at: place, keyPath)
      return .init(content: .mapping(try entries(of: mapping, keyPath)), origin: place)
    case .alias:
      throw Failure(origin: place, keyPath: keyPath, reason: "has an alias without an anchor")
    }
  }

  private mutating func entries(
    of mapping: Node.Mapping, _ keyPath: String
  ) throws(Failure) -> [ConfigurationNode.Entry] {
    var own: [ConfigurationNode.Entry] = []
    var keys: Set<ExactText> = []
    var merged: [ConfigurationNode.Entry] = []
    for (keyNode, valueNode) in mapping {
      let place = origin(keyNode.mark?.line ?? 1)
      guard case .scalar(let scalar) = keyNode else {
        throw Failure(origin: place, keyPath: keyPath, reason: "a key must be a plain text")
      }
      let key = scalar.string
      if key == "<<", scalar.style == .plain {
        merged += try mergedEntries(convert(valueNode, keyPath: keyPath), keyPath)
        continue
      }
      let path = keyPath.isEmpty ? key : "\(keyPath).\(key)"
      guard keys.insert(ExactText(key)).inserted else {
        throw Failure(origin: place, keyPath: path, reason: "is given twice; keep one")
      }
      own.append(.init(key: key, origin: place, value: try convert(valueNode, keyPath: path)))
    }
    for entry in merged where keys.insert(ExactText(entry.key)).inserted { own.append(entry) }
    return own
  }

  private func mergedEntries(
    _ node: ConfigurationNode, _ keyPath: String
  ) throws(Failure) -> [ConfigurationNode.Entry] {
    switch node.content {
    case .mapping(let entries): return entries
    case .list(let items):
      var result: [ConfigurationNode.Entry] = []
      for item in items { result += try mergedEntries(item, keyPath) }
      return result
    case .scalar:
      throw Failure(
        origin: node.origin, keyPath: keyPath,
        reason: "the merge key << must name a mapping, is \(node.summary)")
    }
  }

  /// True for `!!str`; other standard tags are hints that typed decoding does not need.
  private func isExplicitText(
    _ tag: Tag, at place: ConfigurationOrigin, _ keyPath: String
  ) throws(Failure) -> Bool {
    let name = tag.description
    let standard = "tag:yaml.org,2002:"
    if name == "!" || name == "\(standard)str" { return true }
    if name.isEmpty || name.hasPrefix(standard) { return false }
    throw Failure(origin: place, keyPath: keyPath, reason: "has the unknown YAML tag \(name)")
  }

  // MARK: - Errors of the YAML library

  private static func failure(
    for error: YamlError, in text: String, origin: @Sendable (_ line: Int) -> ConfigurationOrigin
  ) -> Failure {
    switch error {
    case .scanner(_, let problem, let mark, _), .parser(_, let problem, let mark, _),
      .composer(_, let problem, let mark, _):
      return Failure(
        origin: origin(mark.line), reason: syntaxReason(problem, text: text, mark: mark))
    case .duplicatedKeysInMapping(let keys, let context):
      let names = keys.map { ConfigurationValue.quoted($0) }.joined(separator: ", ")
      return Failure(
        origin: origin(context.mark.line),
        reason: "the key \(names) is given more than once in one mapping, first here; keep one")
    case .reader(let problem, _, let value, _):
      let line = firstLineWithForbiddenCharacter(text) ?? 1
      return Failure(
        origin: origin(line),
        reason: "is not YAML: \(problem) (character U+\(String(value, radix: 16).uppercased()))")
    case .no, .memory, .writer, .emitter, .representer, .dataCouldNotBeDecoded:
      return Failure(origin: .file, reason: "cannot be parsed as YAML: \(error)")
    }
  }

  private static func syntaxReason(_ problem: String, text: String, mark: Mark) -> String {
    let lines = text.split(separator: "\n", omittingEmptySubsequences: false)
    let line = lines.indices.contains(mark.line - 1) ? lines[mark.line - 1] : ""
    if line.prefix(while: { $0 == " " || $0 == "\t" }).contains("\t") {
      return "is not YAML: a tab indents this line; indent with spaces"
    }
    if problem == "but found another document" {
      return "has more than one YAML document; keep one"
    }
    return "is not YAML: \(problem) (column \(mark.column))"
  }

  private static func firstLineWithForbiddenCharacter(_ text: String) -> Int? {
    var line = 1
    for scalar in text.unicodeScalars {
      if scalar == "\n" { line += 1 }
      let isControl = scalar.value < 0x20 && scalar != "\n" && scalar != "\r" && scalar != "\t"
      if isControl || scalar.value == 0x7F { return line }
    }
    return nil
  }
}
